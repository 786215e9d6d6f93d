//! How a connection is made, and what it is told first.

use std::sync::{Arc, Once};
use std::time::Duration;

use diesel_async::AsyncMysqlConnection;
use mysql_async::{DriverError, IoError, OptsBuilder, SslOpts};
use tokio::runtime::Handle;

use super::My;
use crate::conn::Role;
use crate::location::{Server, Tls};
use crate::{Error, Result};

/// A connection is made within this, or the server is away.
const CONNECT: Duration = Duration::from_secs(3);
/// A silent connection is asked for a sign of life this often, in milliseconds.
const KEEPALIVE_MS: u32 = 10_000;
/// A statement waits this long for another's lock, in seconds; then the whole transaction begins anew.
pub(super) const LOCK_WAIT: u32 = 3;

/// One service's database on a server.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    pub(crate) server: Arc<Server>,
    pub(crate) name: String,
}

/// Opens a connection to a service's database. Call it on a blocking thread.
///
/// # Errors
/// [`Error::Unavailable`].
pub(crate) fn open(database: &Database, role: Role) -> Result<My> {
    let opening = async {
        let conn = connect(&database.server, Some(&database.name), role).await;
        let conn = conn.map_err(|e| Error::unavailable(e.told(&database.server)))?;
        // it says the character set and the time zone once more: that is the only way in
        AsyncMysqlConnection::try_from(conn).await.map_err(Error::unavailable)
    };
    Ok(My::new(Handle::current().block_on(opening)?))
}

/// Why there is no connection.
pub(super) enum Refusal {
    Slow,
    PasswordFile(std::io::Error),
    Driver(mysql_async::Error),
}

impl From<mysql_async::Error> for Refusal {
    fn from(error: mysql_async::Error) -> Self {
        Self::Driver(error)
    }
}

impl Refusal {
    /// The number of the server's error, if it is one.
    pub(super) fn code(&self) -> Option<u16> {
        match self {
            Self::Driver(mysql_async::Error::Server(e)) => Some(e.code),
            _ => None,
        }
    }

    /// Whether the server may only be away, so that trying again could help.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Slow | Self::Driver(mysql_async::Error::Io(IoError::Io(_))) => !self.is_certificate(),
            Self::Driver(mysql_async::Error::Driver(DriverError::ConnectionClosed)) => true,
            // too many connections, shutting down, out of resources, busy with something else
            _ => matches!(
                self.code(),
                Some(1040 | 1041 | 1053 | 1152 | 1158..=1161 | 1203 | 1205 | 1213 | 1226)
            ),
        }
    }

    /// rustls hands its refusals to tokio as IO errors.
    fn is_certificate(&self) -> bool {
        match self {
            Self::Driver(mysql_async::Error::Io(IoError::Io(e))) => {
                e.kind() == std::io::ErrorKind::InvalidData && e.get_ref().is_some()
            }
            _ => false,
        }
    }

    /// For people: what was tried and what came of it, without the password.
    pub(super) fn told(&self, server: &Server) -> String {
        match self {
            Self::Slow => format!("the database server {server} does not answer"),
            Self::PasswordFile(e) => format!("reading the password_file of {server}: {e}"),
            Self::Driver(mysql_async::Error::Io(IoError::Io(e))) if self.is_certificate() => {
                format!("the database server {server}: TLS: {e}")
            }
            Self::Driver(mysql_async::Error::Io(IoError::Io(e))) => {
                format!("the database server {server} cannot be reached: {e}")
            }
            Self::Driver(mysql_async::Error::Io(IoError::Tls(e))) => {
                format!("the database server {server}: TLS: {e}")
            }
            Self::Driver(mysql_async::Error::Driver(DriverError::NoClientSslFlagFromServer)) => {
                format!("the database server {server} offers no TLS, which its address asks for")
            }
            Self::Driver(mysql_async::Error::Server(e)) => {
                format!("the database server {server}: {} (error {})", e.message, e.code)
            }
            Self::Driver(e) => format!("the database server {server}: {e}"),
        }
    }
}

/// Connects, to the database of that name if one is given, and says how this crate wants to be served.
pub(super) async fn connect(
    server: &Server,
    database: Option<&str>,
    role: Role,
) -> Result<mysql_async::Conn, Refusal> {
    let password = match &server.password_file {
        Some(file) => {
            let text = tokio::fs::read_to_string(file).await.map_err(Refusal::PasswordFile)?;
            Some(text.trim_end_matches(['\r', '\n']).to_owned())
        }
        None => server.password.clone(),
    };
    let opts = OptsBuilder::default()
        .ip_or_hostname(server.host.as_str())
        .tcp_port(server.port)
        .socket(server.socket.as_deref())
        // else a connection to this machine moves to a socket that nobody named
        .prefer_socket(false)
        .user(Some(server.user.as_str()))
        .pass(password)
        .db_name(database)
        .tcp_keepalive(Some(KEEPALIVE_MS))
        // diesel keeps the statements
        .stmt_cache_size(0)
        // an UPDATE counts the rows that it found, as SQLite's does
        .client_found_rows(true)
        .init(greeting(role));
    match dial(opts.clone().ssl_opts(ssl(server))).await {
        Err(Refusal::Driver(mysql_async::Error::Driver(DriverError::NoClientSslFlagFromServer)))
            if server.tls == Tls::Preferred =>
        {
            warn_of_plain_text(server);
            dial(opts).await
        }
        other => other,
    }
}

async fn dial(opts: OptsBuilder) -> Result<mysql_async::Conn, Refusal> {
    match tokio::time::timeout(CONNECT, mysql_async::Conn::new(opts)).await {
        Ok(conn) => Ok(conn?),
        Err(_) => Err(Refusal::Slow),
    }
}

/// READ COMMITTED to write: each statement sees what was committed before it, so what is read under a lock is the latest. REPEATABLE READ
/// would go on reading the snapshot of the transaction's first SELECT (which looks for the request's earlier answer), and count a queue
/// as it was before the lock was waited for. REPEATABLE READ to read: the whole transaction sees one moment.
fn greeting(role: Role) -> Vec<String> {
    let isolation = match role {
        Role::Writer => "READ COMMITTED",
        Role::Reader => "REPEATABLE READ",
    };
    vec![
        format!("SET SESSION TRANSACTION ISOLATION LEVEL {isolation}"),
        // strict: what does not fit is refused, not cut
        format!(
            "SET sql_mode = 'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION', autocommit = 1, \
             innodb_lock_wait_timeout = {LOCK_WAIT}"
        ),
    ]
}

fn ssl(server: &Server) -> Option<SslOpts> {
    if server.socket.is_some() || server.tls == Tls::Off {
        return None;
    }
    choose_provider();
    let opts = SslOpts::default().with_danger_tls_hostname_override(server.tls_name.clone());
    Some(match server.tls {
        Tls::Verify => match &server.ca {
            // who names a certificate to trust trusts no other
            Some(ca) => opts.with_root_certs(vec![ca.clone().into()]).with_disable_built_in_roots(true),
            None => opts,
        },
        _ => opts.with_danger_accept_invalid_certs(true),
    })
}

/// The driver takes the process's default, which is missing where two are compiled in.
fn choose_provider() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // another thread may have been faster: then there is one
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    }
}

fn warn_of_plain_text(server: &Server) {
    static TOLD: Once = Once::new();
    let here =
        server.host == "localhost" || server.host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
    if !here {
        TOLD.call_once(|| tracing::warn!(%server, "the database server offers no TLS: passwords and data go in plain text"));
    }
}

#[cfg(test)]
mod tests {
    use mysql_async::prelude::Queryable;

    use super::*;
    use crate::Location;

    async fn cipher(url: &str) -> String {
        let Location::Server(server) = url.parse().unwrap() else { panic!("{url}") };
        let conn = connect(&server, None, Role::Writer).await;
        let mut conn = conn.map_err(|e| e.told(&server)).unwrap();
        let row: Option<(String, String)> = conn.query_first("SHOW STATUS LIKE 'Ssl_cipher'").await.unwrap();
        conn.disconnect().await.unwrap();
        row.unwrap().1
    }

    #[tokio::test]
    async fn a_connection_is_encrypted_as_its_address_asks() {
        use crater_mariadb::{MariaDb, Options};
        let server = MariaDb::start(Options { tls: true, ..Options::default() });
        let url = server.fresh_url();
        let ca = server.tls().unwrap().ca.display();
        assert_eq!(cipher(&format!("{url}?tls=off")).await, "");
        for settings in
            ["", "?tls=preferred", "?tls=required", &format!("?ca={ca}"), &format!("?tls=verify&ca={ca}")]
        {
            let cipher = cipher(&format!("{url}{settings}")).await;
            assert!(cipher.starts_with("TLS_"), "{settings}: {cipher:?}");
        }
    }
}
