//! The one door of the mesh: native gRPC and gRPC-Web on one port, with or without TLS, and the console's files.
//!
//! A call is routed by its method's path to the service that owns it; its body is passed on frame by frame and never
//! decoded. The gateway asks whether the caller may make the call, as the service behind it asks again. What is for the
//! services of the mesh only does not exist here. The gateway holds no state of its own.

mod backends;
mod config;
mod console;
mod cors;
mod error;
mod forward;
mod gateway;
mod pool;

pub use backends::Backends;
pub use config::Config;
pub use error::Error;
pub use gateway::Gateway;
