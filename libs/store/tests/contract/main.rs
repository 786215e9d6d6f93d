//! The laws of the tables and of the door to them, on SQLite and on a real MariaDB server.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so by failing")]

mod door;
mod house;
mod job;
mod jobs;
mod quota;
mod server;
mod user;
