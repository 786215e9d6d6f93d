//! Where the services keep their tables: a real MariaDB, or, with `CRATER_TEST_DATABASE=sqlite`, a folder.

use std::path::Path;

use crater_mariadb::{MariaDb, Options};

/// The databases of one mesh.
pub enum Database {
    /// A folder of files.
    Sqlite,
    /// A server that it shares with other meshes.
    Shared(String),
    /// A server of its own, which may be killed.
    Own(MariaDb),
}

impl Database {
    /// Of the kind that is asked for.
    pub fn of_environment(own: bool) -> Self {
        match std::env::var("CRATER_TEST_DATABASE").as_deref() {
            Ok("sqlite") => Self::Sqlite,
            Ok("mariadb") | Err(_) if own => Self::Own(MariaDb::start(Options::default())),
            Ok("mariadb") | Err(_) => Self::Shared(MariaDb::shared().fresh_url()),
            Ok(other) => {
                panic!("CRATER_TEST_DATABASE={other}: it is mariadb, which it is unless set, or sqlite")
            }
        }
    }

    /// Its address for a mesh in a folder.
    pub fn address(&self, folder: &Path) -> String {
        match self {
            Self::Sqlite => folder.join("db").to_str().unwrap().to_owned(),
            Self::Shared(url) => url.clone(),
            Self::Own(server) => server.url("mesh"),
        }
    }

    /// The server, where it is this mesh's own.
    pub fn server(&self) -> Option<&MariaDb> {
        match self {
            Self::Own(server) => Some(server),
            _ => None,
        }
    }
}
