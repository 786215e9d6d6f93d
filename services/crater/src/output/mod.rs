//! How results are printed: tables for people, JSON and YAML for programs, names for scripts.

pub mod message;
pub mod table;
pub mod time;

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use crater_api::job::v1::JobState;

/// How results are printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned columns
    #[default]
    Table,
    /// More columns
    Wide,
    /// The messages of the API as JSON
    Json,
    /// The messages of the API as YAML
    Yaml,
    /// Resource names only, one a line
    Name,
}

impl Format {
    /// Whether it is for people.
    pub fn is_table(self) -> bool {
        matches!(self, Self::Table | Self::Wide)
    }
}

/// Whether standard output takes colours.
pub fn colours() -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|v| !v.is_empty());
    io::stdout().is_terminal() && !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|t| t != "dumb")
}

/// Writes to standard output at once: a pipe's reader sees a line when it is there.
pub fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// The word for a state.
pub fn state_word(state: i32) -> &'static str {
    match JobState::try_from(state) {
        Ok(JobState::Queued) => "Queued",
        Ok(JobState::Starting) => "Starting",
        Ok(JobState::Running) => "Running",
        Ok(JobState::Succeeded) => "Succeeded",
        Ok(JobState::Failed) => "Failed",
        Ok(JobState::Cancelled) => "Cancelled",
        Ok(JobState::Unspecified) | Err(_) => "Unknown",
    }
}
