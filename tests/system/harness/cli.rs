//! The command line of one user, with a home folder of its own.

use std::process::Command;

use tempfile::TempDir;

use super::{Ended, Follower, PATIENCE, command, run};

/// A user's hands.
pub struct Cli {
    home: TempDir,
}

impl Cli {
    /// Signs in by `crater login`.
    pub fn sign_in(url: &str, user: &str, password: &str) -> Self {
        let cli = Self::signed_out();
        let login = ["login", "--server", url, "--user", user, "--password-stdin"];
        cli.run_with(&login, &format!("{password}\n")).ok();
        cli
    }

    /// Somebody who has not signed in.
    pub fn signed_out() -> Self {
        Self { home: tempfile::tempdir().unwrap() }
    }

    /// A command of this user, not started.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = command();
        for name in ["XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"] {
            command.env_remove(name);
        }
        command.env("HOME", self.home.path()).args(args);
        command
    }

    /// Runs a command with an input.
    pub fn run_with(&self, args: &[&str], input: &str) -> Ended {
        run(&mut self.command(args), input, PATIENCE)
    }

    /// Runs a command.
    pub fn run(&self, args: &[&str]) -> Ended {
        self.run_with(args, "")
    }

    /// Runs a command that must do what it was asked; returns its output.
    pub fn ok(&self, args: &[&str]) -> String {
        self.run(args).ok()
    }

    /// Starts a command whose lines are read while it runs.
    pub fn follow(&self, args: &[&str]) -> Follower {
        Follower::start(&mut self.command(args))
    }

    /// Submits a job and returns the name that was printed.
    pub fn submit(&self, flags: &[&str], command: &[&str]) -> String {
        let args: Vec<&str> = ["submit"].iter().chain(flags).chain(&["--"]).chain(command).copied().collect();
        self.ok(&args).trim().to_owned()
    }
}
