//! The words of the command line: every command and flag, nothing of what they do.

mod cluster;
mod jobs;
mod people;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::error::{EXIT_CODES, Error};
use crate::output::Format;

pub use cluster::{Cordon, Node, Nodes, Queue, Quota, QuotaCommand, QuotaSet, Subject, WhatIf};
pub use jobs::{Checkpoint, Class, Jobs, Logs, Ls, OneJob, Prefix, Sort, State, Submit, Update};
pub use people::{Account, AccountCommand, Member, MemberPlace, Passwd, Role, User, UserCreate, UserState};

/// Crater: submit jobs to a shared GPU cluster, and see who gets which GPUs, when, and why.
#[derive(Debug, Parser)]
#[command(name = "crater", version, about, after_help = EXIT_CODES, disable_help_subcommand = false)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// What every command that calls the server understands.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// The server [default: the one of the last login, else http://127.0.0.1:8080]
    #[arg(long, global = true, value_name = "URL", env = "CRATER_SERVER")]
    pub server: Option<String>,
    /// Certificates to trust instead of the system's, for https (PEM)
    #[arg(long, global = true, value_name = "FILE", env = "CRATER_CA")]
    pub ca: Option<PathBuf>,
    /// How results are printed
    #[arg(short, long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: Format,
    /// Give up after this time, with exit code 124: 30s, 10m, 2h
    #[arg(long, global = true, value_name = "DURATION")]
    pub timeout: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the whole of Crater in this process
    Up(crate::up::Args),
    /// Sign in, and remember it for the commands that follow
    Login(Login),
    /// Sign out, here and at the server
    Logout,
    /// Show who you are and which accounts you are in
    Whoami,
    /// Submit a job; prints its id
    Submit(Box<Submit>),
    /// List jobs, newest first
    #[command(visible_alias = "list")]
    Ls(Ls),
    /// Show jobs with their events
    Get(Jobs),
    /// Print what a job wrote, line for line
    Logs(Logs),
    /// List what happened to a job
    Events(OneJob),
    /// Show what a job held and for how long
    Usage(OneJob),
    /// Say why a job waits, or what it holds
    Why(OneJob),
    /// Ask for the end of jobs
    Cancel(Jobs),
    /// Take jobs off their GPUs, or out of the line, until they are resumed
    Suspend(Jobs),
    /// Put suspended jobs back into the line
    Resume(Jobs),
    /// Say that a running job has saved its work: stopped, it loses only what it did since
    Checkpoint(Checkpoint),
    /// Change a job that waits, or the labels of any
    Update(Update),
    /// Delete ended jobs
    Delete(Jobs),
    /// Show or change what an account or a user may use
    Quota(Quota),
    /// List the nodes and who holds their GPUs
    Nodes(Nodes),
    /// Close nodes to new jobs, empty them, open them again (platform admins)
    #[command(subcommand)]
    Node(Node),
    /// List the jobs that wait, in the order in which they go
    Queue(Queue),
    /// Say what would come of more nodes or other limits, and change nothing
    WhatIf(WhatIf),
    /// Change your password
    Passwd(Passwd),
    /// Show or administer users
    #[command(subcommand)]
    User(User),
    /// Show the account that you act in, switch it, or administer accounts
    Account(Account),
    /// Show or change who is in an account
    #[command(subcommand)]
    Member(Member),
    /// Run the scheduling engine over small worlds with a known right answer
    Scenario(Scenario),
    /// Replay a recorded workload under a scheduling policy, and measure what comes of it
    Replay(Box<crater_replay::command::Args>),
    /// Print the completion script of a shell
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
}

impl Command {
    /// The word by which errors name the command.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Up(_) => "up",
            Self::Login(_) => "login",
            Self::Logout => "logout",
            Self::Whoami => "whoami",
            Self::Submit(_) => "submit",
            Self::Ls(_) => "ls",
            Self::Get(_) => "get",
            Self::Logs(_) => "logs",
            Self::Events(_) => "events",
            Self::Usage(_) => "usage",
            Self::Why(_) => "why",
            Self::Cancel(_) => "cancel",
            Self::Suspend(_) => "suspend",
            Self::Resume(_) => "resume",
            Self::Checkpoint(_) => "checkpoint",
            Self::Update(_) => "update",
            Self::Delete(_) => "delete",
            Self::Quota(_) => "quota",
            Self::Nodes(_) => "nodes",
            Self::Node(_) => "node",
            Self::Queue(_) => "queue",
            Self::WhatIf(_) => "what-if",
            Self::Passwd(_) => "passwd",
            Self::User(_) => "user",
            Self::Account(_) => "account",
            Self::Member(_) => "member",
            Self::Scenario(_) => "scenario",
            Self::Replay(_) => "replay",
            Self::Completion { .. } => "completion",
        }
    }
}

#[derive(Debug, Args)]
pub struct Scenario {
    /// Files, and folders of .yaml files
    #[arg(required = true, value_name = "FILE|DIR")]
    pub paths: Vec<PathBuf>,
    /// How results are printed
    #[arg(long, value_enum, default_value_t)]
    pub format: ScenarioFormat,
}

/// How the results of scenarios are printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum ScenarioFormat {
    /// A line a file
    #[default]
    Text,
    /// A JSON object a file
    Json,
}

#[derive(Debug, Args)]
pub struct Login {
    /// The user's name
    #[arg(long, value_name = "NAME")]
    pub user: String,
    /// Read the password from standard input instead of asking for it
    #[arg(long)]
    pub password_stdin: bool,
}

/// A wrong command line in one line: clap's words without its layout.
pub fn usage(error: &clap::Error, args: &[OsString]) -> String {
    let commands: Vec<String> = Cli::command().get_subcommands().map(|c| c.get_name().to_owned()).collect();
    let word = args.iter().skip(1).filter_map(|a| a.to_str()).find(|a| commands.iter().any(|c| c == a));
    let text = error.to_string();
    let told = text.lines().take_while(|l| !l.starts_with("Usage:") && !l.starts_with("For more"));
    let told: Vec<&str> =
        told.map(str::trim).filter(|l| !l.is_empty() && !l.starts_with("tip: to pass")).collect();
    let told = told.join("; ").replace(":; ", ": ");
    let told = told.strip_prefix("error: ").unwrap_or(&told);
    match word {
        Some(word) => format!("crater: {word}: {told} (see crater {word} --help)"),
        None => format!("crater: {told} (see crater --help)"),
    }
}

/// Reads the duration of a flag.
pub fn duration(flag: &str, text: &str) -> Result<Duration, Error> {
    crater_domain::parse_duration(text).map_err(|e| Error::flag(flag, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_words_of_the_command_come_after_two_hyphens() {
        let cli =
            Cli::try_parse_from(["crater", "submit", "--gpu", "-1", "--", "python", "-u", "a.py"]).unwrap();
        let Command::Submit(submit) = cli.command else { panic!("not submit") };
        assert_eq!(submit.command, ["python", "-u", "a.py"]);
        assert_eq!(submit.gpu.as_deref(), Some("-1"));
    }

    #[test]
    fn global_flags_stand_before_or_after_the_command() {
        for args in [["crater", "-o", "json", "ls"], ["crater", "ls", "-o", "json"]] {
            assert_eq!(Cli::try_parse_from(args).unwrap().global.output, Format::Json);
        }
    }

    #[test]
    fn a_wrong_command_line_is_told_in_one_line_with_its_flag() {
        let told = |args: &[&str]| {
            let args: Vec<OsString> = args.iter().map(OsString::from).collect();
            usage(&Cli::try_parse_from(&args).unwrap_err(), &args)
        };
        for (args, text) in [
            (
                &["crater", "submit", "--priority", "high"][..],
                "crater: submit: invalid value 'high' for '--priority <N>': invalid digit found in string (see crater submit --help)",
            ),
            (
                &["crater", "logs", "a", "--tail", "-1"],
                "crater: logs: invalid value '-1' for '--tail <N>': -1 is not in 0..=2147483647 (see crater logs --help)",
            ),
            (
                &["crater", "get"],
                "crater: get: the following required arguments were not provided: <JOB>... (see crater get --help)",
            ),
            (
                &["crater", "submit", "--gpux", "1"],
                "crater: submit: unexpected argument '--gpux' found; tip: a similar argument exists: '--gpu' (see crater submit --help)",
            ),
            (&["crater", "frob"], "crater: unrecognized subcommand 'frob' (see crater --help)"),
        ] {
            assert_eq!(told(args), text);
        }
    }

    #[test]
    fn waiting_for_a_dry_run_is_refused() {
        assert!(Cli::try_parse_from(["crater", "submit", "--wait", "--dry-run", "--", "true"]).is_err());
    }
}
