//! The `crater` program; everything is in the library.

use mimalloc::MiMalloc;

/// As in the scheduler, which runs in this process too.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> std::process::ExitCode {
    crater::main()
}
