//! How a service's tables come to be what this build expects; for a server's databases, see [`crate::my`].

use std::fmt;
use std::path::Path;

use diesel::backend::Backend;
use diesel::migration::{Migration, MigrationSource};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use crate::conn::Conn;
use crate::{Error, Result};

/// A service that owns tables. Each has a database of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// Users, accounts, sessions, signing keys.
    User,
    /// Limits.
    Quota,
    /// Jobs, their events and the outbox.
    Job,
}

impl Service {
    fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Quota => "quota",
            Self::Job => "job",
        }
    }

    pub(crate) fn migrations(self) -> EmbeddedMigrations {
        const USER: EmbeddedMigrations = embed_migrations!("migrations/user");
        const QUOTA: EmbeddedMigrations = embed_migrations!("migrations/quota");
        const JOB: EmbeddedMigrations = embed_migrations!("migrations/job");
        match self {
            Self::User => USER,
            Self::Quota => QUOTA,
            Self::Job => JOB,
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Makes the folder and names the file.
pub(crate) fn prepare(dir: &Path, service: Service) -> Result<String> {
    let refuse = |e: &dyn fmt::Display| Error::Open(format!("making the data folder {}: {e}", dir.display()));
    std::fs::create_dir_all(dir).map_err(|e| refuse(&e))?;
    let file = dir.join(format!("{service}.db"));
    // passwords' hashes and signing keys are in there: SQLite gives its side files the same mode
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        let made = std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(&file);
        made.map_err(|e| refuse(&e))?;
    }
    file.to_str().map(str::to_owned).ok_or_else(|| refuse(&"the path is not UTF-8"))
}

/// Names the file, which must be there.
pub(crate) fn existing(dir: &Path, service: Service) -> Result<String> {
    let file = dir.join(format!("{service}.db"));
    match file.to_str() {
        Some(path) if file.is_file() => Ok(path.to_owned()),
        _ => Err(Error::unavailable(format!("no database at {}", file.display()))),
    }
}

/// Runs what is pending on a SQLite file, each migration in a transaction of its own.
pub(crate) fn run(conn: &mut Conn, service: Service, path: &str) -> Result<()> {
    match &mut conn.0 {
        crate::conn::Backend::Lite(c) => bring_up_to_date(&mut **c, service, path),
        crate::conn::Backend::My(_) => {
            Err(Error::internal("a server's database is migrated before it is opened"))
        }
    }
}

/// The refusal of a database with a migration that is not from here.
pub(crate) fn unknown(database: &str, version: impl fmt::Display, service: Service) -> Error {
    Error::Open(format!(
        "the database {database} has migration {version}, which this build of the {service} service does not know: \
         it was written by a newer version or belongs to another service"
    ))
}

fn bring_up_to_date<DB, C>(conn: &mut C, service: Service, path: &str) -> Result<()>
where
    DB: Backend,
    C: MigrationHarness<DB>,
{
    let refuse = |e: &dyn fmt::Display| Error::Open(format!("bringing the tables in {path} up to date: {e}"));
    let source = service.migrations();
    let known: Vec<Box<dyn Migration<DB>>> = source.migrations().map_err(|e| refuse(&e))?;
    for version in conn.applied_migrations().map_err(|e| refuse(&e))? {
        if !known.iter().any(|m| m.name().version() == version) {
            return Err(unknown(path, version, service));
        }
    }
    conn.run_pending_migrations(source).map_err(|e| refuse(&e))?;
    Ok(())
}
