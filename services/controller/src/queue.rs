//! Which jobs to look at: each at most once in line, and never by two workers at a time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::index::Key;

#[derive(Default)]
struct Lines {
    ready: VecDeque<Key>,
    queued: BTreeSet<Key>,
    working: BTreeSet<Key>,
    again: BTreeSet<Key>,
    /// When those that pause come back.
    pausing: BTreeMap<Key, Instant>,
}

/// The line. Clones are the same line.
#[derive(Clone, Default)]
pub struct Queue {
    lines: Arc<Mutex<Lines>>,
    added: Arc<Notify>,
}

impl Queue {
    /// Puts a job in line; one that is being worked on is looked at again afterwards.
    pub fn add(&self, key: Key) {
        let mut lines = self.lines();
        if lines.working.contains(&key) {
            lines.again.insert(key);
        } else if lines.queued.insert(key.clone()) {
            lines.ready.push_back(key);
            self.added.notify_one();
        }
    }

    /// Puts a job in line after a while, unless it comes back sooner anyway.
    pub fn add_later(&self, key: Key, after: Duration) {
        let due = Instant::now() + after;
        let mut lines = self.lines();
        if lines.pausing.get(&key).is_some_and(|already| *already <= due) {
            return;
        }
        lines.pausing.insert(key.clone(), due);
        drop(lines);
        let queue = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep_until(due).await;
            let mut lines = queue.lines();
            if lines.pausing.get(&key) == Some(&due) {
                lines.pausing.remove(&key);
                drop(lines);
                queue.add(key);
            }
        });
    }

    /// Takes the next job; give it back with [`Queue::done`].
    pub async fn next(&self) -> Key {
        loop {
            let added = self.added.notified();
            if let Some(key) = self.take() {
                return key;
            }
            added.await;
        }
    }

    /// The work on a job has ended.
    pub fn done(&self, key: &Key) {
        let again = {
            let mut lines = self.lines();
            lines.working.remove(key);
            lines.again.remove(key)
        };
        if again {
            self.add(key.clone());
        }
    }

    fn take(&self) -> Option<Key> {
        let mut lines = self.lines();
        let key = lines.ready.pop_front()?;
        lines.queued.remove(&key);
        lines.working.insert(key.clone());
        if !lines.ready.is_empty() {
            self.added.notify_one();
        }
        Some(key)
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn however_often_a_job_is_to_pause_it_comes_back_once() {
        let queue = Queue::default();
        let key = Key { namespace: "n".into(), job: "j".into() };
        for seconds in [2, 1, 3] {
            queue.add_later(key.clone(), Duration::from_secs(seconds));
        }
        let start = Instant::now();
        assert_eq!(queue.next().await, key);
        queue.done(&key);
        assert_eq!(start.elapsed().as_secs(), 1);
        assert!(tokio::time::timeout(Duration::from_secs(10), queue.next()).await.is_err());
    }

    #[test]
    fn a_job_is_never_worked_on_twice_at_once_and_no_change_is_missed() {
        let queue = Queue::default();
        let key = Key { namespace: "n".into(), job: "j".into() };
        queue.add(key.clone());
        queue.add(key.clone());
        assert_eq!(queue.take(), Some(key.clone()));
        queue.add(key.clone());
        assert_eq!(queue.take(), None);
        queue.done(&key);
        assert_eq!(queue.take(), Some(key));
    }
}
