//! The user service: who is who, and who is in which account. It owns passwords, sessions and the keys that sign access tokens.
//!
//! It decides nothing about jobs or quota, and does not check other services' calls: those follow its stream of identities
//! ([`watch`]) and judge for themselves with `crater-auth`.

mod app;
mod attempts;
mod config;
mod grpc;
mod keys;
mod parse;
mod passwords;
mod people;
mod refresh;
mod service;
mod sessions;
pub mod watch;

pub use app::{ADMIN, App, Caller, Clock, DEFAULT_ACCOUNT};
pub use config::Config;
pub use people::{AccountDraft, UserDraft};
pub use service::{Deps, UserService, build};
pub use sessions::Tokens;
