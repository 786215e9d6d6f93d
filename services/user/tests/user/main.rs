//! The laws of the user service, through real gRPC over an in-process channel.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so by failing")]

mod access;
mod accounts;
mod house;
mod passwords;
mod people;
mod races;
mod sessions;
mod watch;
