//! `crater replay` by itself: `cargo run --release -p crater-replay --example replay -- --help`.

use std::process::ExitCode;

use clap::Parser;

#[derive(Debug, Parser)]
struct Program {
    #[command(flatten)]
    args: crater_replay::command::Args,
    /// How to print.
    #[arg(long, short, value_enum, default_value_t)]
    output: crater_replay::command::Output,
}

fn main() -> ExitCode {
    let mut program = Program::parse();
    program.args.output = program.output;
    let (mut out, mut err) = (std::io::stdout().lock(), std::io::stderr().lock());
    match crater_replay::command::run(&program.args, &mut out, &mut err) {
        Ok(code) => ExitCode::from(code),
        Err(_) => ExitCode::FAILURE,
    }
}
