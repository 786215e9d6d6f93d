//! The `crater` program; everything is in the library.

fn main() -> std::process::ExitCode {
    crater::main()
}
