//! crater-replay: runs the scheduling engine over worlds that are written down, and judges what comes out.
//!
//! Now: [`scenario`], small worlds with a known right answer. It decides nothing itself; that is `crater-engine`.

pub mod scenario;
