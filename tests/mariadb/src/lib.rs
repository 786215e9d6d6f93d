//! A real MariaDB server for a test: of its own folder, port and socket, on loopback, started from Debian's `mariadb-server` and gone with the
//! test, however that ends. What passes on it is said of MariaDB; Oracle's MySQL is another program.
//!
//! The server is as durable as in production: what it acknowledged survives its kill.

#![allow(clippy::unwrap_used, clippy::panic, reason = "it serves tests, which say so by failing")]

mod both;
mod server;

pub use both::{again_on_mariadb, database_for};
pub use server::{MariaDb, Options, Tls};
