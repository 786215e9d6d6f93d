//! How a database on a server comes to be, and to have the tables that this build expects.
//!
//! The server commits with each statement that makes or changes a table, so a migration is no transaction there. Its statements are
//! therefore done one by one, and how far it came is kept beside them: a process that died between two goes on where it was. A
//! statement that was begun and whose end was not noted may have been done: then the server's "is there already" means that it was.

use std::sync::Arc;
use std::time::Duration;

use diesel::connection::{BoxableConnection, SimpleConnection};
use diesel::migration::{Migration, MigrationSource};
use diesel::mysql::Mysql;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::connect::{Database, Refusal, connect};
use crate::conn::Role;
use crate::location::Server;
use crate::migrate::{Service, unknown};
use crate::{Error, Result};

/// Another process that migrates is waited for this long.
const TURN: Duration = Duration::from_secs(60);

const MADE_ALREADY: [u16; 5] = [1050, 1051, 1060, 1061, 1091];
const COLLATION: &str = "utf8mb4_bin";

/// The service's database on a server, whether it is there or not.
pub(crate) fn named(server: &Server, service: Service) -> Database {
    Database { server: Arc::new(server.clone()), name: format!("{}_{service}", server.prefix) }
}

/// Makes the service's database if it is not there, and brings its tables up to date. Several processes may do so at once.
///
/// # Errors
/// [`Error::Open`] for what a person has to mend; [`Error::Unavailable`] when the server is away.
pub(crate) async fn prepare(server: &Server, service: Service) -> Result<Database> {
    let database = named(server, service);
    let mut conn = reach(&database).await?;
    let result = bring_up_to_date(&mut conn, &database, service).await;
    // the lock on migrations goes with the connection
    drop(conn.disconnect().await);
    result.map(|()| database)
}

async fn reach(database: &Database) -> Result<Conn> {
    let server = &database.server;
    let refused = |e: Refusal| match e.is_passing() {
        true => Error::unavailable(e.told(server)),
        false => Error::Open(e.told(server)),
    };
    // a user that may not make databases gets "access denied" to one that is not there, too
    match connect(server, Some(&database.name), Role::Writer).await {
        Err(e) if matches!(e.code(), Some(1049 | 1044)) => {}
        other => return other.map_err(refused),
    }
    let mut conn = connect(server, None, Role::Writer).await.map_err(refused)?;
    let make = format!(
        "CREATE DATABASE IF NOT EXISTS `{}` CHARACTER SET utf8mb4 COLLATE {COLLATION}",
        database.name
    );
    let made = conn.query_drop(make).await;
    drop(conn.disconnect().await);
    made.map_err(|e| {
        let why = Refusal::from(e);
        match why.is_passing() {
            true => Error::unavailable(why.told(server)),
            false => Error::Open(format!(
                "the database {} is not there and the user {} may not make it: {}",
                database.name,
                server.user,
                why.told(server)
            )),
        }
    })?;
    connect(server, Some(&database.name), Role::Writer).await.map_err(refused)
}

async fn bring_up_to_date(conn: &mut Conn, database: &Database, service: Service) -> Result<()> {
    let refused = |e: mysql_async::Error| {
        let why = Refusal::from(e);
        match why.is_passing() {
            true => Error::unavailable(why.told(&database.server)),
            false => Error::Open(format!(
                "bringing the tables of {} up to date: {}",
                database.name,
                why.told(&database.server)
            )),
        }
    };
    let known = steps(service)?;
    take_turn(conn, database).await.map_err(refused)??;
    check_collation(conn, database).await.map_err(refused)??;
    let tables = [
        diesel::migration::CREATE_MIGRATIONS_TABLE,
        // done: whether the end of the step was noted; a row goes when its migration is whole
        "CREATE TABLE IF NOT EXISTS __crater_migration_steps \
         (version VARCHAR(50) NOT NULL PRIMARY KEY, step BIGINT NOT NULL, done BOOLEAN NOT NULL)",
    ];
    for table in tables {
        conn.query_drop(table).await.map_err(refused)?;
    }
    let applied: Vec<String> =
        conn.query("SELECT version FROM __diesel_schema_migrations").await.map_err(refused)?;
    if let Some(version) = applied.iter().find(|v| !known.iter().any(|m| m.version == **v)) {
        return Err(unknown(&database.name, version, service));
    }
    for migration in known.iter().filter(|m| !applied.contains(&m.version)) {
        apply(conn, migration).await.map_err(refused)?;
    }
    Ok(())
}

/// One process at a time migrates a database; the others wait, and find it done.
async fn take_turn(conn: &mut Conn, database: &Database) -> mysql_async::Result<Result<()>> {
    let wait = (format!("crater_migrate_{}", database.name), TURN.as_secs());
    let got: Option<Option<i64>> = conn.exec_first("SELECT GET_LOCK(?, ?)", wait).await?;
    Ok(match got.flatten() {
        Some(1) => Ok(()),
        _ => Err(Error::unavailable(format!("another process is still migrating {}", database.name))),
    })
}

/// Texts are told apart by their bytes, as in SQLite: tables take that from their database.
async fn check_collation(conn: &mut Conn, database: &Database) -> mysql_async::Result<Result<()>> {
    let is: Option<String> = conn.query_first("SELECT @@collation_database").await?;
    if is.as_deref() == Some(COLLATION) {
        return Ok(Ok(()));
    }
    let count = "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE()";
    let tables: Option<i64> = conn.query_first(count).await?;
    if tables.unwrap_or(0) > 0 {
        return Ok(Err(Error::Open(format!(
            "the database {} has tables and the collation {}: Crater needs {COLLATION}",
            database.name,
            is.unwrap_or_default()
        ))));
    }
    let alter = format!("ALTER DATABASE `{}` CHARACTER SET utf8mb4 COLLATE {COLLATION}", database.name);
    conn.query_drop(alter).await?;
    Ok(Ok(()))
}

/// A migration, statement by statement.
#[derive(Debug, PartialEq, Eq)]
struct Steps {
    version: String,
    statements: Vec<String>,
}

async fn apply(conn: &mut Conn, migration: &Steps) -> mysql_async::Result<()> {
    let version = migration.version.as_str();
    let kept: Option<(i64, bool)> = conn
        .exec_first("SELECT step, done FROM __crater_migration_steps WHERE version = ?", (version,))
        .await?;
    let (at, done) = kept.unwrap_or((0, true));
    if kept.is_none() {
        let begin = "INSERT INTO __crater_migration_steps (version, step, done) VALUES (?, 0, TRUE)";
        conn.exec_drop(begin, (version,)).await?;
    }
    for (step, statement) in (1i64..).zip(&migration.statements) {
        if step < at || (step == at && done) {
            continue;
        }
        let begun = step == at;
        let note = "UPDATE __crater_migration_steps SET step = ?, done = ? WHERE version = ?";
        if changes_rows(statement) {
            let mut tx = conn.start_transaction(mysql_async::TxOpts::default()).await?;
            tx.query_drop(statement).await?;
            tx.exec_drop(note, (step, true, version)).await?;
            tx.commit().await?;
            continue;
        }
        conn.exec_drop(note, (step, false, version)).await?;
        match conn.query_drop(statement).await {
            Err(mysql_async::Error::Server(e)) if begun && MADE_ALREADY.contains(&e.code) => {}
            Err(mysql_async::Error::Server(e)) => {
                // it was refused and not done: the next time it is as new, and "is there already" an error
                conn.exec_drop(note, (step - 1, true, version)).await?;
                return Err(e.into());
            }
            other => other?,
        }
        conn.exec_drop(note, (step, true, version)).await?;
    }
    let mut tx = conn.start_transaction(mysql_async::TxOpts::default()).await?;
    tx.exec_drop("INSERT INTO __diesel_schema_migrations (version) VALUES (?)", (version,)).await?;
    tx.exec_drop("DELETE FROM __crater_migration_steps WHERE version = ?", (version,)).await?;
    tx.commit().await
}

/// Whether a statement is undone by a rollback.
fn changes_rows(statement: &str) -> bool {
    let verb = statement.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
    matches!(verb.as_str(), "INSERT" | "UPDATE" | "DELETE")
}

/// The service's migrations, the oldest first.
fn steps(service: Service) -> Result<Vec<Steps>> {
    let known: Vec<Box<dyn Migration<Mysql>>> = service.migrations().migrations().map_err(Error::internal)?;
    let read = |migration: &dyn Migration<Mysql>| {
        let mut text = Listener(String::new());
        migration.run(&mut text).map_err(Error::internal)?;
        Ok(Steps { version: migration.name().version().to_string(), statements: statements(&text.0) })
    };
    let mut known: Vec<_> = known.iter().map(|m| read(m.as_ref())).collect::<Result<_>>()?;
    known.sort_by(|a, b| a.version.cmp(&b.version));
    Ok(known)
}

/// Hears what a migration would say to a connection: that is how its text is had.
struct Listener(String);

impl SimpleConnection for Listener {
    fn batch_execute(&mut self, query: &str) -> diesel::QueryResult<()> {
        self.0.push_str(query);
        Ok(())
    }
}

impl BoxableConnection<Mysql> for Listener {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn std::any::Any {
        self
    }
}

/// Takes a text apart at its semicolons, and leaves `--` comments out. Quoted text is kept as it is.
fn statements(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut one = String::new();
    let mut quote = None;
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match (quote, c) {
            (None, '-') if rest.peek() == Some(&'-') => {
                for c in rest.by_ref() {
                    if c == '\n' {
                        one.push('\n');
                        break;
                    }
                }
            }
            (None, ';') => all.push(std::mem::take(&mut one)),
            (None, '\'' | '"' | '`') => {
                quote = Some(c);
                one.push(c);
            }
            (Some(open), c) => {
                if open == c {
                    quote = None;
                }
                one.push(c);
            }
            (None, c) => one.push(c),
        }
    }
    all.push(one);
    all.iter().map(|s| s.trim().to_owned()).filter(|s| !s.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_migration_is_taken_apart_at_its_semicolons() {
        let text = "-- it's a comment; with a semicolon\nCREATE TABLE a (x INT); -- the end\n\n\
                    INSERT INTO a VALUES ('it''s; --not');\n";
        assert_eq!(statements(text), ["CREATE TABLE a (x INT)", "INSERT INTO a VALUES ('it''s; --not')"]);
    }

    #[test]
    fn every_migration_has_statements() {
        for service in [Service::User, Service::Quota, Service::Job] {
            let all = steps(service).unwrap();
            assert!(!all.is_empty());
            assert!(all.iter().all(|m| !m.statements.is_empty()), "{all:?}");
        }
    }
}
