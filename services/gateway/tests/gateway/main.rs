//! The gateway over real sockets, in front of real services that know little: what passes, what is refused, and what
//! happens to calls that are open.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so by failing")]

mod backend;
mod door;
mod native;
mod plain;
mod process;
mod web;
