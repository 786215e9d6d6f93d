//! crater-replay: runs the scheduling engine over worlds that are written down, and judges what comes out.
//!
//! [`scenario`]: small worlds with a known right answer. [`placement`]: recorded tasks that fill a cluster. [`time`]: recorded
//! jobs by simulated time, and a workload of one's own. [`recording`]: a scheduler's own cycles. [`command`]: the arguments of
//! `crater replay`. It decides nothing itself; that is `crater-engine`.

pub mod command;
mod document;
pub mod input;
pub mod placement;
pub mod plot;
pub mod recording;
pub mod scenario;
pub mod time;
