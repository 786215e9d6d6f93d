//! The tables of every service, and the one door to them.
//!
//! A service opens its own database with [`Db::open`], which brings the tables up to date, and reads and writes only inside
//! [`Db::transaction`] (one writer at a time) and [`Db::read`] (a consistent snapshot). The queries are in one module
//! a service: [`user`], [`quota`], [`job`]. They are plain functions over [`Conn`], so that a use case puts several of them, and
//! its idempotency row ([`idempotency`]), into one transaction. No type of the database library leaves this crate.
//!
//! A transaction's body is synchronous and runs as a whole on a blocking thread. So a caller that goes away cannot leave a
//! transaction open, a body of five statements hops threads once and not five times, and the same body serves a second
//! database: MySQL is an arm of `Backend` in `conn.rs` over diesel-async's `AsyncConnectionWrapper<AsyncMysqlConnection>` (a
//! synchronous face on a pure Rust driver), for which `query!` compiles every query a second time; it was tried, and all of them did. To
//! keep that true: ids are made by the application, nothing says RETURNING (diesel is built without it), an upsert is a
//! delete and an insert, and no query speaks SQLite's dialect.
//!
//! This is no place for rules of the house (who may do what, which limits hold): those are the services'.

mod conn;
mod db;
mod error;
pub mod idempotency;
pub mod job;
mod migrate;
mod pool;
pub mod quota;
mod revision;
mod tx;
pub mod user;

pub use conn::Conn;
pub use db::{Db, Once};
pub use error::{Error, Transient};
pub use migrate::{Location, Service};
pub use tx::Tx;

/// The result of a query.
pub type Result<T, E = Error> = std::result::Result<T, E>;
