//! `crater scenario` by itself: `cargo run --release -p crater-replay --example scenario -- FILE|FOLDER…`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use crater_replay::scenario::{Format, scenario_main};

#[derive(Debug, Parser)]
struct Program {
    /// Files and folders.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// One JSON object a file.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let program = Program::parse();
    let format = if program.json { Format::Json } else { Format::Text };
    let (mut out, mut err) = (std::io::stdout().lock(), std::io::stderr().lock());
    match scenario_main(&program.paths, format, &mut out, &mut err) {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(2)),
        Err(_) => ExitCode::FAILURE,
    }
}
