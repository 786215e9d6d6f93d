//! The words about jobs.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

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
    /// Other devices of each replica, by the name by which nodes offer them: nvidia.com/mig-1g.5gb=1, rdma/hca=2; may be repeated
    #[arg(long, value_name = "NAME=COUNT")]
    pub device: Vec<String>,
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
    /// A label that each node must have; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub node_selector: Vec<String>,
    /// A label of nodes whose value all replicas must share, for example topology.kubernetes.io/zone
    #[arg(long, value_name = "KEY", conflicts_with = "near")]
    pub within: Option<String>,
    /// The same, if it can be had at once; else a value of a coarser label (from racks to zones), and at last anywhere
    #[arg(long, value_name = "KEY")]
    pub near: Option<String>,
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
    /// Check only, submit nothing; tells where and when it would start, or what would start it
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
pub struct Checkpoint {
    /// The job: ID, ACCOUNT/ID or accounts/ACCOUNT/jobs/ID
    #[arg(value_name = "JOB")]
    pub job: String,
    /// When: a time ago (10m) or a moment (2026-01-31T12:00:00Z) [default: now]
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
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
