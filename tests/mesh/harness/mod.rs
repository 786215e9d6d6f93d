//! As the harness of the whole system's tests, from which it takes all but the mesh: here that is six processes.

#[path = "../../system/harness/api.rs"]
mod api;
#[path = "../../system/harness/cli.rs"]
mod cli;
mod database;
mod kubernetes;
mod mesh;
#[path = "../../system/harness/process.rs"]
mod process;
#[path = "../../system/harness/program.rs"]
mod program;
mod service;
#[path = "../../system/harness/tools.rs"]
#[allow(dead_code, reason = "tests/system uses some of it, too")]
pub mod tools;
#[path = "../../system/harness/wait.rs"]
#[allow(dead_code, reason = "tests/system uses some of it, too")]
mod wait;

pub use api::{Api, simple_job};
pub use cli::Cli;
pub use mesh::{Mesh, NAMES, example, mesh_key};
pub use process::{Ended, Follower, run};
pub use program::{PASSWORD, command, program};
pub use wait::{PATIENCE, promised, until};
