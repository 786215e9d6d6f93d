//! The tables of every service, and the one door to them.
//!
//! A service opens its own database with [`Db::open`], which brings the tables up to date, and reads and writes only inside
//! [`Db::transaction`] and [`Db::read`] (a consistent snapshot). The queries are in one module
//! a service: [`user`], [`quota`], [`job`]. They are plain functions over [`Conn`], so that a use case puts several of them, and
//! its idempotency row ([`idempotency`]), into one transaction. No type of the database library leaves this crate.
//!
//! A transaction's body is synchronous and runs as a whole on a blocking thread. So a caller that goes away cannot leave a
//! transaction open, a body of five statements hops threads once and not five times, and the same body serves both databases:
//! a SQLite file a service, and a database a service on MySQL or MariaDB ([`Location`]; `docs/database.md`). `query!` compiles every query for both.
//! To keep that so: ids are made by the application, nothing says RETURNING (diesel is built without it), an upsert is an update and an
//! insert when nothing was found, rows are inserted one by one, and no query speaks a dialect.
//!
//! SQLite has one writer; a server has many. So nothing is read and then written on the strength of it, unless what was read is locked
//! (`locked!`, `revision::next`, [`job::lock_account`]) or the write says what it expects (an UPDATE that counts its rows).
//!
//! This is no place for rules of the house (who may do what, which limits hold): those are the services'.

mod conn;
mod db;
mod error;
mod group;
pub mod idempotency;
pub mod job;
mod location;
mod migrate;
mod my;
mod pool;
pub mod quota;
mod revision;
mod tx;
pub mod user;

pub use conn::Conn;
pub use db::{Db, Once};
pub use error::{Error, Transient};
pub use location::{Location, Server};
pub use migrate::Service;
pub use tx::Tx;

/// The result of a query.
pub type Result<T, E = Error> = std::result::Result<T, E>;
