//! Where observations come from. Each source is a task that sends what it sees; none of them ever writes.

pub mod acks;
pub mod api;
pub mod cluster;
mod decode;
pub mod store;

use std::time::Instant;

use tokio::sync::mpsc;

use crate::observation::{Kind, Observation, Version};

/// What a source sends.
#[derive(Debug)]
pub enum Input {
    /// To be judged as it is.
    Seen(Box<Observation>),
    /// To be judged in its order among the versions.
    Version(Kind, Box<Version>),
    /// A watch has told its kind up to a revision.
    Reached(Kind, u64),
    /// A source speaks of a trouble that is not judged.
    Trouble(String),
}

/// The way to the judge, and the audit's clock.
#[derive(Clone)]
pub struct Sink {
    began: Instant,
    inputs: mpsc::Sender<Input>,
}

impl Sink {
    /// With the audit's beginning.
    pub fn new(began: Instant, inputs: mpsc::Sender<Input>) -> Self {
        Self { began, inputs }
    }

    /// Milliseconds since the audit began.
    pub fn now_ms(&self) -> i64 {
        i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    /// Sends an observation; waits while the judge is behind.
    pub async fn saw(&self, observation: Observation) {
        self.send(Input::Seen(Box::new(observation))).await;
    }

    /// Sends anything. The judge is there for as long as its sources are.
    pub async fn send(&self, input: Input) {
        let _ = self.inputs.send(input).await;
    }
}
