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

#[test]
fn the_same_laws_hold_on_mariadb() {
    crater_mariadb::again_on_mariadb(&["sessions::", "races::", "watch::", "people::", "accounts::"]);
}
