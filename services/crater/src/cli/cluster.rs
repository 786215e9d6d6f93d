//! The words about quota, nodes and queues.

use clap::{Args, Subcommand};

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

/// What would come of more nodes, or of other limits: decided as the scheduler would at this moment, and nothing is changed.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(true))]
pub struct WhatIf {
    /// More nodes: COUNT:NODE for nodes like one that is there, or COUNT:gpu=8,gpu-model=H100,cpu=128,memory=1Ti,rdma/hca=8; may be repeated
    #[arg(long, value_name = "COUNT:NODE", group = "change")]
    pub nodes: Vec<String>,
    /// A limit as it would be: gpu=16, gpu/A100=8, cpu=64, memory=1Ti, jobs.running=10; may be repeated
    #[arg(long, value_name = "RESOURCE=AMOUNT", group = "change")]
    pub limit: Vec<String>,
    /// A guarantee as it would be; may be repeated
    #[arg(long, value_name = "RESOURCE=AMOUNT", group = "change")]
    pub guaranteed: Vec<String>,
    #[command(flatten)]
    pub subject: Subject,
}
