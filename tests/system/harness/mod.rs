//! What the tests share: a running mesh, the command line, the RPCs, programs of others, and waiting for a condition. The tests of
//! the services as processes of their own have the same, but for the mesh.

mod api;
mod cli;
mod mesh;
mod process;
mod program;
#[allow(dead_code, reason = "tests/mesh uses some of it, too")]
pub mod tools;
#[allow(dead_code, reason = "tests/mesh uses some of it, too")]
mod wait;

pub use api::{Api, simple_job};
pub use cli::Cli;
pub use mesh::Mesh;
pub use process::{Ended, Follower, run};
pub use program::{PASSWORD, command};
pub use wait::{PATIENCE, is_alive, processes_of, until};
