//! Connections to one backend. A server bounds the streams of one connection, and a call beyond that bound would wait
//! for a stranger's stream to end; so calls spread over as many connections as they need.

use std::sync::{Arc, Mutex, PoisonError};

use crater_service::{Channel, Error, Target};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Calls on one connection: below the 128 streams that a Crater server allows.
const CALLS: usize = 100;
/// Connections to one backend.
const LANES: usize = 64;

#[derive(Clone)]
pub(crate) struct Pool {
    target: Target,
    lanes: Arc<Mutex<Vec<Lane>>>,
}

struct Lane {
    channel: Channel,
    free: Arc<Semaphore>,
}

impl Pool {
    pub(crate) fn new(target: Target) -> Result<Self, Error> {
        let first = Lane::new(&target)?;
        Ok(Self { target, lanes: Arc::new(Mutex::new(vec![first])) })
    }

    /// A channel, to be used for one call while the permit is held; `None` when all connections are full.
    pub(crate) fn take(&self) -> Option<(Channel, OwnedSemaphorePermit)> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = lanes.iter().find_map(Lane::take) {
            return Some(taken);
        }
        if lanes.len() == LANES {
            return None;
        }
        // The target gave a channel before, so it gives another one.
        let lane = Lane::new(&self.target).ok()?;
        let taken = lane.take();
        lanes.push(lane);
        taken
    }
}

impl Lane {
    fn new(target: &Target) -> Result<Self, Error> {
        Ok(Self { channel: target.channel()?, free: Arc::new(Semaphore::new(CALLS)) })
    }

    fn take(&self) -> Option<(Channel, OwnedSemaphorePermit)> {
        let permit = Arc::clone(&self.free).try_acquire_owned().ok()?;
        Some((self.channel.clone(), permit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_connection_is_not_waited_for() {
        let pool = Pool::new("http://127.0.0.1:1".parse().unwrap()).unwrap();
        let held: Vec<_> = (0..CALLS + 1).map(|_| pool.take().unwrap()).collect();
        assert_eq!(pool.lanes.lock().unwrap().len(), 2);
        drop(held);
        drop(pool.take().unwrap());
        assert_eq!(pool.lanes.lock().unwrap().len(), 2);
    }

    #[tokio::test]
    async fn connections_are_bounded() {
        let pool = Pool::new("http://127.0.0.1:1".parse().unwrap()).unwrap();
        let held: Vec<_> = (0..CALLS * LANES).map(|_| pool.take().unwrap()).collect();
        assert!(pool.take().is_none());
        drop(held);
        assert!(pool.take().is_some());
    }
}
