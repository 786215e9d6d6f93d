//! crater-replay: runs the scheduling engine over worlds that are written down, and judges what comes out.
//!
//! [`scenario`]: small worlds with a known right answer. [`placement`]: recorded tasks that fill a cluster. [`command`]: the
//! arguments of `crater replay`. It decides nothing itself; that is `crater-engine`.

pub mod command;
pub mod input;
pub mod placement;
pub mod plot;
pub mod recording;
pub mod scenario;
pub mod time;
