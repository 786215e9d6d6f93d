//! `crater`: the command line, and (`crater up`) the whole mesh in one process.
//!
//! The command line speaks native gRPC to the gateway and knows nothing that the contract does not say. Results go to
//! standard output, everything else to standard error; each kind of refusal has an exit code of its own ([`Error`]).
//! It is not a place for rules: what is allowed is decided, and worded, by the services.

mod cli;
mod client;
mod commands;
mod error;
mod names;
mod output;
mod spec;
pub mod up;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

pub use cli::{Cli, Command};
pub use error::Error;

/// The program, from its arguments to its exit code.
pub fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    // the shim must start fast and alone: no parser, no runtime
    if args.get(1).is_some_and(|a| a == crater_k8s_mem::SHIM_COMMAND) {
        return crater_k8s_mem::shim_main(args.into_iter().skip(2));
    }
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(error) => return refuse(&error, &args),
    };
    match cli.command {
        Command::Up(args) => up::run(args).unwrap_or_else(|error| {
            eprintln!("crater: up: {error:#}");
            ExitCode::from(error::INTERNAL)
        }),
        Command::Scenario(args) => commands::scenario(&args),
        Command::Replay(args) => commands::replay(*args, cli.global.output),
        command => run_client(command, cli.global),
    }
}

/// Help is printed as it is laid out, a mistake in one line.
fn refuse(error: &clap::Error, args: &[OsString]) -> ExitCode {
    use clap::error::ErrorKind;
    match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            // a closed standard output cannot be told of
            let _ = error.print();
        }
        _ => eprintln!("{}", cli::usage(error, args)),
    }
    ExitCode::from(if error.use_stderr() { error::USAGE } else { 0 })
}

fn run_client(command: Command, global: cli::Global) -> ExitCode {
    let what = command.word();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("crater: {what}: starting: {error}");
            return ExitCode::from(error::INTERNAL);
        }
    };
    let result = runtime.block_on(async {
        let limit = match &global.timeout {
            Some(text) => cli::duration("--timeout", text)?,
            None => Duration::MAX,
        };
        if limit == Duration::MAX {
            return commands::run(command, global).await;
        }
        // boxed: the command's future holds whole requests
        tokio::time::timeout(limit, Box::pin(commands::run(command, global)))
            .await
            .unwrap_or(Err(Error::Timeout(limit)))
    });
    // a thread that still reads standard input must not hold the process back
    runtime.shutdown_background();
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            if !matches!(error, Error::ClosedPipe) {
                eprintln!("crater: {what}: {error}");
            }
            ExitCode::from(error.exit_code())
        }
    }
}
