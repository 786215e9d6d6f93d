//! What each command does.

mod accounts;
mod change;
mod cluster;
mod describe;
mod follow;
mod jobs;
mod logs;
mod nodes;
mod people;
mod quota;
mod session;
mod submit;
mod usage;
mod whatif;
mod why;

use std::process::ExitCode;

use clap::CommandFactory;

use crate::cli::{Cli, Command, Global, Scenario, ScenarioFormat};
use crate::client::Api;
use crate::error::{Error, INTERNAL, USAGE};
use crate::output::Format;

/// What every command has at hand.
#[derive(Debug)]
pub struct Context {
    pub api: Api,
    pub format: Format,
}

/// Runs scenarios of the scheduling engine.
pub fn scenario(args: &Scenario) -> ExitCode {
    let format = match args.format {
        ScenarioFormat::Text => crater_replay::scenario::Format::Text,
        ScenarioFormat::Json => crater_replay::scenario::Format::Json,
    };
    let (mut out, mut err) = (std::io::stdout().lock(), std::io::stderr().lock());
    match crater_replay::scenario::scenario_main(&args.paths, format, &mut out, &mut err) {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(INTERNAL)),
        Err(error) => ExitCode::from(Error::from(error).exit_code()),
    }
}

/// Replays a recorded workload; needs no server.
pub fn replay(mut args: crater_replay::command::Args, format: Format) -> ExitCode {
    args.output = match format {
        Format::Table | Format::Wide => crater_replay::command::Output::Table,
        Format::Json => crater_replay::command::Output::Json,
        Format::Yaml | Format::Name => {
            eprintln!("crater: replay: --output must be table or json");
            return ExitCode::from(USAGE);
        }
    };
    let (mut out, mut err) = (std::io::stdout().lock(), std::io::stderr().lock());
    match crater_replay::command::run(&args, &mut out, &mut err) {
        Ok(code) => ExitCode::from(code),
        Err(error) => ExitCode::from(Error::from(error).exit_code()),
    }
}

/// Runs a command of the client; the exit code is 0 unless a job's own code is passed on.
pub async fn run(command: Command, global: Global) -> Result<u8, Error> {
    if let Command::Completion { shell } = command {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "crater", &mut script);
        crate::output::print(&String::from_utf8_lossy(&script))?;
        return Ok(0);
    }
    let context = Context { api: Api::new(&global)?, format: global.output };
    match command {
        // answered above, or before
        Command::Up(_) | Command::Scenario(_) | Command::Replay(_) | Command::Completion { .. } => {}
        Command::Login(args) => session::login(&context, args).await?,
        Command::Logout => session::logout(&context).await?,
        Command::Whoami => session::whoami(&context).await?,
        Command::Submit(args) => return submit::submit(&context, *args).await,
        Command::Ls(args) => jobs::ls(&context, args).await?,
        Command::Get(args) => jobs::get(&context, args).await?,
        Command::Logs(args) => logs::logs(&context, args).await?,
        Command::Events(args) => jobs::events(&context, args).await?,
        Command::Usage(args) => usage::usage(&context, args).await?,
        Command::Why(args) => why::why(&context, args).await?,
        Command::Cancel(args) => jobs::cancel(&context, args).await?,
        Command::Suspend(args) => change::suspend(&context, args).await?,
        Command::Resume(args) => change::resume(&context, args).await?,
        Command::Checkpoint(args) => change::checkpoint(&context, args).await?,
        Command::Update(args) => change::update(&context, args).await?,
        Command::Delete(args) => jobs::delete(&context, args).await?,
        Command::Quota(args) => quota::quota(&context, args).await?,
        Command::Nodes(args) if args.watch => nodes::watch(&context).await?,
        Command::Nodes(_) => cluster::nodes(&context).await?,
        Command::Node(command) => nodes::turn(&context, command).await?,
        Command::Queue(args) => cluster::queue(&context, args).await?,
        Command::WhatIf(args) => whatif::what_if(&context, args).await?,
        Command::Passwd(args) => session::passwd(&context, args).await?,
        Command::User(args) => people::user(&context, args).await?,
        Command::Account(args) => accounts::account(&context, args).await?,
        Command::Member(args) => accounts::member(&context, args).await?,
    }
    Ok(0)
}
