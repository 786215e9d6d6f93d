//! Crater as six processes that find each other over the network, with a cluster on a port of its own: what people do with it, and
//! what happens to them when a part is killed. Each test is a law.
//!
//! What a person meets is the same however the mesh is put together, so those tests are the whole system's own.
#![allow(clippy::unwrap_used, clippy::panic)] // a test that cannot go on must say so

mod chaos;
mod harness;
mod kill;
mod leaders;
mod load;
mod programs;
mod rights;

#[path = "../system/gang.rs"]
mod gang;
#[path = "../system/gpus.rs"]
mod gpus;
#[path = "../system/grpcurl.rs"]
mod grpcurl;
#[path = "../system/kubectl.rs"]
mod kubectl;
#[path = "../system/otlp.rs"]
mod otlp;
#[path = "../system/played.rs"]
mod played;
#[path = "../system/program.rs"]
mod program;
#[path = "../system/quota.rs"]
mod quota;
#[path = "../system/sessions.rs"]
mod sessions;
#[path = "../system/trace.rs"]
mod trace;
