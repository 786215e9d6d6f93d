//! Which jobs to look at: each at most once in line, and never by two workers at a time.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::index::Key;

#[derive(Default)]
struct Lines {
    ready: VecDeque<Key>,
    queued: BTreeSet<Key>,
    working: BTreeSet<Key>,
    again: BTreeSet<Key>,
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

    /// Puts a job in line after a while.
    pub fn add_later(&self, key: Key, after: Duration) {
        let queue = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            queue.add(key);
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
