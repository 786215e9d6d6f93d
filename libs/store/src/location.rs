//! Where the databases are, as a configuration or a flag says it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::{Error, Result};

/// Where the databases are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A folder with one SQLite file a service.
    Dir(PathBuf),
    /// A MySQL or MariaDB server with one database a service.
    Server(Box<Server>),
}

/// A database server, and how to reach it.
#[derive(Clone, PartialEq, Eq)]
pub struct Server {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) socket: Option<String>,
    pub(crate) user: String,
    pub(crate) password: Option<String>,
    pub(crate) password_file: Option<PathBuf>,
    pub(crate) prefix: String,
    pub(crate) tls: Tls,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) tls_name: Option<String>,
    pub(crate) readers: usize,
}

/// What is asked of the way to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tls {
    /// Plain text.
    Off,
    /// Encrypted if the server can; nobody's certificate is looked at.
    Preferred,
    /// Encrypted or not at all; nobody's certificate is looked at.
    Required,
    /// Encrypted, to the server of that name, as its certificate proves.
    Verify,
}

impl Tls {
    const WORDS: [(&'static str, Self); 4] = [
        ("off", Self::Off),
        ("preferred", Self::Preferred),
        ("required", Self::Required),
        ("verify", Self::Verify),
    ];
}

/// Connections for writing and for reading, each service: three services stay far below a server's usual 151.
const POOL: usize = 8;
/// More connections than this, for one use of one service, are a mistake in writing.
const POOL_MOST: usize = 256;
/// The longest prefix: a database's name has 64 characters at most, and the lock of its migrations is named after it.
const PREFIX_MOST: usize = 40;

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Server({self})")
    }
}

/// Without the password.
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.socket {
            Some(socket) => write!(f, "mysql://{}@{socket}/{}", self.user, self.prefix),
            None => write!(f, "mysql://{}@{}:{}/{}", self.user, self.host, self.port, self.prefix),
        }
    }
}

impl From<PathBuf> for Location {
    fn from(dir: PathBuf) -> Self {
        Self::Dir(dir)
    }
}

fn bad(why: impl fmt::Display) -> Error {
    Error::Open(format!("the database address: {why}"))
}

impl FromStr for Location {
    type Err = Error;

    /// Reads `sqlite:///var/lib/crater` (a folder), a plain path, or `mysql://user:password@host:port/prefix?key=value&…`. What is wrong with an
    /// address is said without repeating it: it may hold a password.
    fn from_str(url: &str) -> Result<Self> {
        match url.split_once("://") {
            _ if url.is_empty() => Err(bad("is empty")),
            None => Ok(Self::Dir(url.into())),
            Some(("sqlite", "")) => Err(bad("sqlite:// names no folder: write sqlite:///path/of/a/folder")),
            Some(("sqlite", dir)) => Ok(Self::Dir(dir.into())),
            Some(("mysql", _)) => Ok(Self::Server(Box::new(server(url)?))),
            Some((scheme, _)) => Err(bad(format!(
                "there is no database driver for {scheme}://: write sqlite:///path/of/a/folder or mysql://user:password@host/prefix"
            ))),
        }
    }
}

fn server(url: &str) -> Result<Server> {
    let (base, settings) = url.split_once('?').unwrap_or((url, ""));
    let opts = mysql_async::Opts::from_url(base).map_err(|why| match why {
        mysql_async::UrlError::Parse(why) => bad(why),
        _ => bad("is not of the form mysql://user:password@host:port/prefix"),
    })?;
    let prefix = opts.db_name().unwrap_or_default().to_owned();
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if prefix.is_empty() || prefix.len() > PREFIX_MOST || !prefix.chars().all(fits) {
        return Err(bad(format!(
            "the prefix (the path after the host) must be 1 to {PREFIX_MOST} of a-z, 0-9 and _: the databases are called prefix_user, \
             prefix_quota and prefix_job"
        )));
    }
    let Some(user) = opts.user().filter(|user| !user.is_empty()) else {
        return Err(bad("names no user: write mysql://user:password@host/prefix"));
    };
    let mut server = Server {
        // a literal IPv6 address is in brackets only in a URL
        host: opts.ip_or_hostname().trim_matches(['[', ']']).to_owned(),
        port: opts.tcp_port(),
        socket: None,
        user: user.to_owned(),
        password: opts.pass().map(str::to_owned),
        password_file: None,
        prefix,
        tls: Tls::Preferred,
        ca: None,
        tls_name: None,
        readers: POOL,
    };
    let mut tls = None;
    for setting in settings.split('&').filter(|s| !s.is_empty()) {
        let (key, value) = setting.split_once('=').unwrap_or((setting, ""));
        if value.is_empty() {
            return Err(bad(format!("{key} has no value")));
        }
        match key {
            "tls" => tls = Some(one_of_tls(value)?),
            "ca" => server.ca = Some(value.into()),
            "tls_name" => server.tls_name = Some(value.to_owned()),
            "socket" => server.socket = Some(value.to_owned()),
            "password_file" => server.password_file = Some(value.into()),
            "readers" => server.readers = size(key, value)?,
            _ => {
                return Err(bad(format!(
                    "{key} is no setting: there are tls, ca, tls_name, socket, password_file, readers"
                )));
            }
        }
    }
    if server.password.is_some() && server.password_file.is_some() {
        return Err(bad("password_file and a password in the address: give one"));
    }
    // who names a certificate to trust wants it to be looked at
    let verifies = server.ca.is_some() || server.tls_name.is_some();
    server.tls = tls.unwrap_or(if verifies { Tls::Verify } else { Tls::Preferred });
    if verifies && server.tls != Tls::Verify {
        return Err(bad("ca and tls_name say how a certificate is verified: they need tls=verify"));
    }
    if server.socket.is_some() && matches!(server.tls, Tls::Required | Tls::Verify) {
        return Err(bad("a socket of this machine is not encrypted: leave tls or socket out"));
    }
    Ok(server)
}

fn one_of_tls(value: &str) -> Result<Tls> {
    let found = Tls::WORDS.iter().find(|(word, _)| *word == value);
    found.map(|(_, tls)| *tls).ok_or_else(|| bad("tls must be off, preferred, required or verify"))
}

fn size(key: &str, value: &str) -> Result<usize> {
    match value.parse() {
        Ok(n) if (1..=POOL_MOST).contains(&n) => Ok(n),
        _ => Err(bad(format!("{key} must be a number from 1 to {POOL_MOST}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(url: &str) -> String {
        url.parse::<Location>().expect_err(url).to_string()
    }

    fn parsed(url: &str) -> Server {
        match url.parse::<Location>().unwrap() {
            Location::Server(server) => *server,
            Location::Dir(dir) => panic!("{dir:?}"),
        }
    }

    #[test]
    fn a_plain_path_and_a_sqlite_address_are_folders() {
        assert_eq!("sqlite:///data".parse::<Location>().unwrap(), Location::Dir("/data".into()));
        assert_eq!("data".parse::<Location>().unwrap(), Location::Dir("data".into()));
    }

    #[test]
    fn a_servers_address_says_all_of_it() {
        let server = parsed("mysql://ann:p%40ss@db.lab:3307/crater?readers=4");
        assert_eq!((server.host.as_str(), server.port, server.prefix.as_str()), ("db.lab", 3307, "crater"));
        assert_eq!((server.user.as_str(), server.password.as_deref()), ("ann", Some("p@ss")));
        assert_eq!((server.readers, server.tls), (4, Tls::Preferred));
        let server = parsed("mysql://ann@[::1]/crater?ca=/etc/db.pem");
        assert_eq!((server.host.as_str(), server.port, server.tls), ("::1", 3306, Tls::Verify));
        assert_eq!(server.ca, Some("/etc/db.pem".into()));
    }

    #[test]
    fn a_password_is_shown_nowhere() {
        let secret = "s3cr3t";
        let server = parsed(&format!("mysql://ann:{secret}@db/crater"));
        assert!(!format!("{server} {server:?}").contains(secret));
        for url in
            ["mysql://ann:s3cr3t@db:port/crater", "mysql://ann:s3cr3t@/crater", "mysql://ann:s3cr3t@db/c?x=y"]
        {
            assert!(!refused(url).contains(secret), "{}", refused(url));
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (url, named) in [
            ("", "is empty"),
            ("sqlite://", "names no folder"),
            ("postgres://db/crater", "postgres://"),
            ("mysql://ann@db/", "prefix"),
            ("mysql://ann@db/Crater", "prefix"),
            ("mysql://ann@db/cra-ter", "prefix"),
            ("mysql://db/crater", "user"),
            ("mysql://ann@db:99999/crater", "port"),
            ("mysql://ann@db/crater?tls=maybe", "tls must be"),
            ("mysql://ann@db/crater?tls", "tls has no value"),
            ("mysql://ann@db/crater?tls=required&ca=/ca.pem", "tls=verify"),
            ("mysql://ann@db/crater?tls=verify&socket=/run/db.sock", "socket"),
            ("mysql://ann@db/crater?readers=0", "readers"),
            ("mysql://ann@db/crater?readers=many", "readers"),
            ("mysql://ann@db/crater?sslmode=off", "sslmode"),
            ("mysql://ann:x@db/crater?password_file=/p", "password_file"),
        ] {
            let text = refused(url);
            assert!(text.contains(named), "{url}: {text}");
            assert!(text.contains("the database address"), "{url}: {text}");
        }
    }
}
