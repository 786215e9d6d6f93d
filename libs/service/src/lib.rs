//! How a Crater service listens, dials, reports health and drains.
//!
//! A service builds a [`Server`], says where with a [`Bind`] and gets a [`Running`] back; it reaches others through a
//! [`Target`]. Both ends may be a socket or an [`InProcess`] endpoint, so the mesh in one process and the mesh on a
//! cluster are the same wiring. [`Readiness`] names what a service still lacks, [`supervise`] keeps its loops alive, and
//! [`Shutdown`] is the one way to ask anything to stop. There are no process globals.
//!
//! It knows nothing of Crater's contract: who may call what is `crater-auth`'s business.

mod config;
mod cut;
mod descriptors;
mod error;
mod guard;
mod health;
mod limits;
mod net;
mod program;
mod readiness;
mod server;
mod signal;
mod supervise;
mod target;
mod tls;

pub use config::load_config;
pub use cut::CutBody;
pub use error::Error;
pub use limits::{CALL_DEADLINE, Limits, MAX_REQUEST, MAX_RESPONSE};
pub use net::{Bind, InProcess, Peer};
pub use program::{BAD_CONFIG, leave, patiently, required, setting};
pub use readiness::{Condition, Missing, Readiness};
pub use server::{Running, Server, ServerConfig};
pub use signal::{run_until_signal, stop_on_signal};
pub use supervise::supervise;
pub use target::{Channel, Target};
pub use tls::Tls;

/// Asks everything that holds a clone to stop. Handlers of long streams need not watch it: the server ends their streams.
pub type Shutdown = tokio_util::sync::CancellationToken;
