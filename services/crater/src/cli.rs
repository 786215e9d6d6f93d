//! The words of the command line: every command and flag, nothing of what they do.

mod people;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::error::{EXIT_CODES, Error};
use crate::output::Format;

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
            Self::Update(_) => "update",
            Self::Delete(_) => "delete",
            Self::Quota(_) => "quota",
            Self::Nodes(_) => "nodes",
            Self::Node(_) => "node",
            Self::Queue(_) => "queue",
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

/// How a job stands to quota and preemption.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Counts against quota; never preempted inside the guarantee
    Guaranteed,
    /// Uses what is idle, may be preempted, is queued again by itself
    #[serde(alias = "best_effort")]
    BestEffort,
}

// Quantities are texts here: they are read where a file's are, so that both are refused in the same words.
#[derive(Debug, Args)]
pub struct Submit {
    /// The job's id, unique in its account [default: made up by the server]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// The account [default: CRATER_ACCOUNT, else the one that you act in, see crater account]
    #[arg(short = 'A', long, value_name = "ACCOUNT")]
    pub account: Option<String>,
    /// How it stands to quota and preemption [default: guaranteed]
    #[arg(long, value_enum)]
    pub class: Option<Class>,
    /// Higher goes first within the account: -1000 to 1000
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub priority: Option<i32>,
    /// How many equal replicas [default: 1]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub replicas: Option<i32>,
    /// How many of them must start together [default: all]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub min_replicas: Option<i32>,
    /// GPUs of each replica: 1, 8, or a share such as 0.5 [default: 0]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub gpu: Option<String>,
    /// A GPU model that will do; may be repeated [default: any]
    #[arg(long, value_name = "MODEL")]
    pub gpu_model: Vec<String>,
    /// CPU of each replica: 2, 0.5, 500m [default: 1]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub cpu: Option<String>,
    /// Memory of each replica: 512Mi, 16Gi [default: 1Gi]
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    pub memory: Option<String>,
    /// The container image
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<String>,
    /// An environment variable; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub env: Vec<String>,
    /// How long it may run in your estimate; helps it to start earlier: 30m, 2h
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub duration: Option<String>,
    /// A label; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub label: Vec<String>,
    /// How often it is started again when it fails [default: 0]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub retries: Option<i32>,
    /// Where it runs inside the container
    #[arg(long, value_name = "DIR")]
    pub workdir: Option<String>,
    /// Follow the job and leave with its exit code; Ctrl-C detaches
    #[arg(long, conflicts_with = "dry_run")]
    pub wait: bool,
    /// Check only, submit nothing
    #[arg(long)]
    pub dry_run: bool,
    /// A job in YAML ("-" for standard input); flags override it
    #[arg(short, long, value_name = "FILE.yaml")]
    pub file: Option<PathBuf>,
    /// What is run, after "--"
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// A state to filter by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum State {
    Queued,
    Starting,
    Running,
    Succeeded,
    Failed,
    Cancelled,
}

#[derive(Debug, Args)]
pub struct Ls {
    /// Only jobs of this account [default: all of yours]
    #[arg(short = 'A', long, value_name = "ACCOUNT")]
    pub account: Option<String>,
    /// Only jobs in this state; may be repeated or separated by commas
    #[arg(long, value_enum, ignore_case = true, value_delimiter = ',')]
    pub state: Vec<State>,
    /// Jobs of all your accounts, which is the default; an admin's are all there are
    #[arg(long, conflicts_with = "account")]
    pub all_accounts: bool,
    /// Only jobs by this user; may be repeated or separated by commas
    #[arg(long, value_name = "USER", value_delimiter = ',')]
    pub user: Vec<String>,
    /// Only jobs of this class
    #[arg(long, value_enum)]
    pub class: Option<Class>,
    /// Only jobs with this label, of any value without "="; may be repeated
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    pub label: Vec<String>,
    /// Only jobs submitted since: a time ago (10m, 2d) or a moment (2026-01-31T12:00:00Z)
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only jobs submitted before: a time ago or a moment
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Only suspended jobs
    #[arg(long)]
    pub suspended: bool,
    /// Only jobs whose id contains this
    #[arg(long, value_name = "TEXT")]
    pub name: Option<String>,
    /// What comes first: the newest, what ended last, or the highest priority
    #[arg(long, value_enum, default_value_t)]
    pub sort: Sort,
    /// The other way round
    #[arg(long, conflicts_with = "watch")]
    pub reverse: bool,
    /// At most so many, 0 for all
    #[arg(long, value_name = "N", default_value_t = 100, allow_hyphen_values = true)]
    pub limit: usize,
    /// Go on with every change, until interrupted
    #[arg(short, long)]
    pub watch: bool,
}

/// The order of a list of jobs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Sort {
    /// When it was submitted
    #[default]
    Created,
    /// When it ended
    Ended,
    /// Its priority
    Priority,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(true))]
pub struct Update {
    /// The job: ID, ACCOUNT/ID or accounts/ACCOUNT/jobs/ID
    #[arg(value_name = "JOB")]
    pub job: String,
    /// Higher goes first within the account: -1000 to 1000
    #[arg(long, value_name = "N", allow_hyphen_values = true, group = "change")]
    pub priority: Option<i32>,
    /// How it stands to quota and preemption
    #[arg(long, value_enum, group = "change")]
    pub class: Option<Class>,
    /// How long it may run in your estimate: 30m, 2h; "none" for no estimate
    #[arg(long, value_name = "DURATION", group = "change")]
    pub duration: Option<String>,
    /// A label to set, or KEY- to take one away; may be repeated
    #[arg(short, long, value_name = "KEY=VALUE|KEY-", group = "change")]
    pub label: Vec<String>,
    /// Check only, change nothing
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub struct Jobs {
    /// Jobs: ID, ACCOUNT/ID or accounts/ACCOUNT/jobs/ID
    #[arg(required = true, value_name = "JOB")]
    pub jobs: Vec<String>,
}

#[derive(Debug, Args)]
pub struct OneJob {
    /// The job: ID, ACCOUNT/ID or accounts/ACCOUNT/jobs/ID
    #[arg(value_name = "JOB")]
    pub job: String,
}

/// When lines name the replica that wrote them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Prefix {
    /// When more than one replica is shown
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

#[derive(Debug, Args)]
pub struct Logs {
    /// The job: ID, ACCOUNT/ID or accounts/ACCOUNT/jobs/ID
    #[arg(value_name = "JOB")]
    pub job: String,
    /// Go on until the job ends
    #[arg(short, long)]
    pub follow: bool,
    /// Only this role
    #[arg(long, value_name = "ROLE")]
    pub role: Option<String>,
    /// Only this replica, from 0; with --role where the job has several
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..), allow_hyphen_values = true)]
    pub replica: Option<i32>,
    /// Only the last so many lines of each replica, to begin with
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..), allow_hyphen_values = true)]
    pub tail: Option<i32>,
    /// Which start of the job, from 1 [default: the last one]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..), allow_hyphen_values = true)]
    pub attempt: Option<i32>,
    /// Only lines newer than this: a time ago (10m) or a moment (2026-01-31T12:00:00Z)
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Put the time before each line
    #[arg(long)]
    pub timestamps: bool,
    /// Whether lines name the replica that wrote them
    #[arg(long, value_enum, default_value_t)]
    pub prefix: Prefix,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Quota {
    #[command(subcommand)]
    pub command: Option<QuotaCommand>,
    #[command(flatten)]
    pub subject: Subject,
}

#[derive(Debug, Subcommand)]
pub enum QuotaCommand {
    /// Show what may be used and what is used
    Get(Subject),
    /// List quotas: of all your accounts and the users with limits in them
    Ls {
        /// Only this account and its users
        #[arg(short = 'A', long, value_name = "ACCOUNT")]
        account: Option<String>,
    },
    /// Change limits (platform admins; managers of the account with --user)
    Set(QuotaSet),
}

#[derive(Debug, Clone, Default, Args)]
pub struct Subject {
    /// The account [default: CRATER_ACCOUNT, else the one that you act in, see crater account]
    #[arg(short = 'A', long, value_name = "ACCOUNT")]
    pub account: Option<String>,
    /// One user's share of the account
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
}

#[derive(Debug, Args)]
pub struct QuotaSet {
    #[command(flatten)]
    pub subject: Subject,
    /// Always reachable: cpu=64, memory=1Ti, gpu=8, gpu/A100=4; "none" removes it; may be repeated
    #[arg(long, value_name = "RESOURCE=AMOUNT")]
    pub guaranteed: Vec<String>,
    /// Never exceeded: like --guaranteed, and jobs.waiting=1000, jobs.running=20
    #[arg(long, value_name = "RESOURCE=AMOUNT")]
    pub limit: Vec<String>,
    /// The account's part of what is borrowed, beside the accounts next to it: 1 to 1000000
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=1_000_000), allow_hyphen_values = true)]
    pub weight: Option<i32>,
    /// Check only, change nothing
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub struct Nodes {
    /// Go on with every change, until interrupted
    #[arg(short, long)]
    pub watch: bool,
}

#[derive(Debug, Subcommand)]
pub enum Node {
    /// Start nothing new on a node; what runs there runs on
    Cordon(Cordon),
    /// Open a node again, and end its drain
    Uncordon {
        /// The node
        #[arg(value_name = "NODE")]
        node: String,
        /// Check only, change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Cordon a node and take the jobs off it; waits until it is empty
    Drain {
        #[command(flatten)]
        cordon: Cordon,
        /// Do not wait until the node is empty
        #[arg(long)]
        no_wait: bool,
    },
}

#[derive(Debug, Args)]
pub struct Cordon {
    /// The node
    #[arg(value_name = "NODE")]
    pub node: String,
    /// Why; whoever looks at the node is told
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub reason: String,
    /// Check only, change nothing
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub struct Queue {
    /// Only this account [default: all of yours]
    #[arg(short = 'A', long, value_name = "ACCOUNT")]
    pub account: Option<String>,
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
