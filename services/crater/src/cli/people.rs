//! The words about people: users, accounts, members, passwords.

use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Args)]
pub struct Passwd {
    /// Read two lines from standard input instead of asking: the present password, and the new one
    #[arg(long)]
    pub password_stdin: bool,
}

/// Whether a user may act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum UserState {
    /// May sign in and call
    Active,
    /// Refused everywhere
    Suspended,
}

#[derive(Debug, Subcommand)]
pub enum User {
    /// List users by name (platform admins)
    #[command(visible_alias = "list")]
    Ls {
        /// Only users whose name, short or long, contains this, in any case
        #[arg(value_name = "TEXT", default_value = "")]
        query: String,
        /// Only users in this state
        #[arg(long, value_enum, ignore_case = true)]
        state: Option<UserState>,
    },
    /// Show users with their accounts: yourself, those whom you manage, or anybody (platform admins)
    Get {
        /// The users
        #[arg(required = true, value_name = "USER")]
        users: Vec<String>,
    },
    /// Create a user (platform admins)
    Create(UserCreate),
    /// Change what a user is called, or whether it may do everything (platform admins)
    #[command(group(clap::ArgGroup::new("change").required(true).multiple(true)))]
    Update {
        /// The user
        user: String,
        /// A name to show
        #[arg(long, value_name = "TEXT", group = "change")]
        display_name: Option<String>,
        /// Whether it may do everything
        #[arg(long, value_name = "true|false", group = "change", action = clap::ArgAction::Set)]
        admin: Option<bool>,
    },
    /// Refuse a user everywhere, at once; jobs run on (platform admins)
    Suspend {
        /// The user
        user: String,
    },
    /// Let a suspended user in again (platform admins)
    #[command(visible_alias = "resume")]
    Reinstate {
        /// The user
        user: String,
    },
    /// Set the password of a user who forgot it; all sessions of the user end (platform admins)
    Password {
        /// The user
        user: String,
        /// Read the password from standard input instead of asking for it
        #[arg(long)]
        password_stdin: bool,
    },
    /// Delete a user for good: the name is never given again (platform admins)
    Delete {
        /// The user
        user: String,
    },
}

#[derive(Debug, Args)]
pub struct UserCreate {
    /// The user's name: lower-case letters, digits and hyphens
    pub user: String,
    /// A name to show
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub display_name: String,
    /// May do everything
    #[arg(long)]
    pub admin: bool,
    /// An account to be a member of at once; may be repeated
    #[arg(short = 'A', long, value_name = "ACCOUNT")]
    pub account: Vec<String>,
    /// Read the password from standard input instead of asking for it
    #[arg(long)]
    pub password_stdin: bool,
}

#[derive(Debug, Args)]
pub struct Account {
    #[command(subcommand)]
    pub command: Option<AccountCommand>,
}

#[derive(Debug, Subcommand)]
pub enum AccountCommand {
    /// List your accounts, or all (platform admins)
    #[command(visible_alias = "list")]
    Ls {
        /// Only accounts directly below this one
        #[arg(long, value_name = "ACCOUNT")]
        parent: Option<String>,
    },
    /// Show accounts
    Get {
        /// The accounts
        #[arg(required = true, value_name = "ACCOUNT")]
        accounts: Vec<String>,
    },
    /// Act in this account from now on, wherever a command names none
    Switch {
        /// The account
        account: String,
    },
    /// Create an account (platform admins)
    Create {
        /// The account's name: lower-case letters, digits and hyphens
        account: String,
        /// A name to show
        #[arg(long, value_name = "TEXT", default_value = "")]
        display_name: String,
        /// The account above it
        #[arg(long, value_name = "ACCOUNT")]
        parent: Option<String>,
    },
    /// Change what an account is called, or move it with all that is below it (platform admins)
    #[command(group(clap::ArgGroup::new("change").required(true).multiple(true)))]
    Update {
        /// The account
        account: String,
        /// A name to show
        #[arg(long, value_name = "TEXT", group = "change")]
        display_name: Option<String>,
        /// The account above it; "" for none
        #[arg(long, value_name = "ACCOUNT", group = "change")]
        parent: Option<String>,
    },
    /// Delete an account for good, and cancel its jobs: the name is never given again (platform admins)
    Delete {
        /// The account
        account: String,
        /// Even if it has members
        #[arg(long)]
        force: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum Member {
    /// List who is in an account
    #[command(visible_alias = "list")]
    Ls {
        #[command(flatten)]
        place: MemberPlace,
    },
    /// Put a user into an account, or change the role there (managers)
    Add {
        /// The user
        user: String,
        #[command(flatten)]
        place: MemberPlace,
        /// What the user may do there
        #[arg(long, value_enum, default_value_t)]
        role: Role,
    },
    /// Take a user out of an account (managers)
    Rm {
        /// The user
        user: String,
        #[command(flatten)]
        place: MemberPlace,
    },
}

#[derive(Debug, Args)]
pub struct MemberPlace {
    /// The account [default: CRATER_ACCOUNT, else the one that you act in, see crater account]
    #[arg(short = 'A', long, value_name = "ACCOUNT")]
    pub account: Option<String>,
}

/// A member's role.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Submits jobs and sees the account's jobs
    #[default]
    Member,
    /// Manages members and everybody's jobs
    Manager,
}
