//! The whole system, as people meet it: the real `crater` program is started on a folder of its own and on free ports,
//! and used from outside through its command line, its RPCs, kubectl, grpcurl and a browser. Each test is a law.
//!
//! What one crate can show by itself is not shown here.
#![allow(clippy::unwrap_used, clippy::panic)] // a test that cannot go on must say so

mod harness;

mod collector;
mod console;
mod database;
mod devices;
mod door;
mod drain;
mod gang;
mod gpus;
mod grpcurl;
mod kill;
mod kubectl;
mod lifecycle;
mod otlp;
mod played;
mod program;
mod quota;
mod raw;
mod record;
mod refusals;
mod sessions;
mod tokens;
mod trace;
mod whatif;
