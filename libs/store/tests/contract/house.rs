//! A place for the tables of one test.

use crater_mariadb::MariaDb;
use crater_store::{Conn, Db, Location, Result, Service, Tx};
use tempfile::TempDir;

/// Databases of one test's own.
pub struct House {
    location: Location,
    address: String,
    // a SQLite house's; kept until the test ends
    _dir: Option<TempDir>,
}

impl House {
    pub fn sqlite() -> Self {
        let dir = TempDir::new().unwrap();
        Self::at(dir.path().to_str().unwrap().to_owned(), Some(dir))
    }

    pub fn mariadb() -> Self {
        Self::at(MariaDb::shared().fresh_url(), None)
    }

    fn at(address: String, dir: Option<TempDir>) -> Self {
        Self { location: address.parse().unwrap(), address, _dir: dir }
    }

    /// The location as a configuration says it.
    pub fn address(&self) -> &str {
        &self.address
    }

    pub async fn open(&self, service: Service) -> Db {
        Db::open(&self.location, service).await.unwrap()
    }
}

/// Makes two tests of one law, `name::sqlite` and `name::mariadb`.
macro_rules! on_both {
    ($($(#[$attribute:meta])* async fn $name:ident($house:ident: House) $body:block)*) => { $(
        mod $name {
            #[allow(unused_imports, reason = "a law may need nothing from around it")]
            use super::*;

            async fn law($house: House) $body

            $(#[$attribute])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                law(House::sqlite()).await;
            }

            $(#[$attribute])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn mariadb() {
                law(House::mariadb()).await;
            }
        }
    )* };
}
pub(crate) use on_both;

/// Runs a transaction on fresh tables, on SQLite and then on MariaDB.
pub async fn with_db(service: Service, body: impl FnMut(&mut Conn) -> Result<()> + Clone + Send + 'static) {
    for (name, house) in [("SQLite", House::sqlite()), ("MariaDB", House::mariadb())] {
        let db = house.open(service).await;
        let done = db.transaction(Tx::Bootstrap, body.clone()).await;
        done.unwrap_or_else(|e| panic!("on {name}: {e}"));
    }
}
