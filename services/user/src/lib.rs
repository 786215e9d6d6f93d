//! The user service: who is who, and who is in which account. It owns passwords, sessions and the keys that sign access tokens.
//!
//! It decides nothing about jobs or quota, and does not check other services' calls: those follow its stream of identities
//! ([`watch`]) and judge for themselves with `crater-auth`.

mod accounts;
mod app;
mod attempts;
mod config;
mod grpc;
mod keys;
mod me;
mod once;
mod parse;
mod passwords;
mod people;
mod refresh;
mod rights;
mod service;
mod sessions;
pub mod watch;

pub use accounts::AccountDraft;
pub use app::{ADMIN, App, Caller, Clock, DEFAULT_ACCOUNT};
pub use config::Config;
pub use me::Me;
pub use people::{Seen, UserDraft};
pub use service::{Deps, UserService, build};
pub use sessions::Tokens;
