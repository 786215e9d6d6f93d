//! Where the tables of the measured mesh are.

use std::sync::OnceLock;

use crater_mariadb::MariaDb;

/// SQLite unless something is said.
#[derive(clap::Args, Debug, Clone, Default)]
pub struct Tables {
    /// Another database than SQLite: mysql://…
    #[arg(long)]
    database_url: Option<String>,
    /// A MariaDB server of its own, started and ended with the run
    #[arg(long, conflicts_with = "database_url")]
    mariadb: bool,
}

impl Tables {
    /// The server's address; none for SQLite.
    pub fn url(&self) -> Option<&str> {
        static OWN: OnceLock<String> = OnceLock::new();
        if self.mariadb {
            return Some(OWN.get_or_init(|| MariaDb::shared().fresh_url()));
        }
        self.database_url.as_deref()
    }

    /// What it is called in a table of figures.
    pub fn name(&self) -> &'static str {
        match self {
            Self { mariadb: true, .. } => "MariaDB",
            Self { database_url: Some(_), .. } => "a server",
            _ => "SQLite",
        }
    }
}
