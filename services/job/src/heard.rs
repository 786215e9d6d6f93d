//! What was heard of AIJobs and is not recorded yet: of each the newest only.
//!
//! The watch is read as fast as it comes, however slow the tables are: a watch or a paged list that is left alone for as long as the API server keeps
//! its history ends with 410 Gone, and the list that follows from it would meet the same end.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crater_k8s::AIJob;
use kube::ResourceExt;
use tokio::sync::Notify;

/// An AIJob as it was heard of.
#[derive(Debug)]
pub struct Seen {
    /// The object.
    pub object: AIJob,
    /// By a list, not by the watch.
    pub listed: bool,
}

/// What is to be recorded next. `L` is what the end of a list is to be told of.
#[derive(Debug)]
pub enum Next<L> {
    /// These are as they are, or were.
    Seen(Vec<Seen>),
    /// It is gone from the cluster.
    Gone(Box<AIJob>),
    /// All that was in a list came before.
    Listed(L),
}

#[derive(Debug)]
enum Item<L> {
    Seen(Box<Seen>),
    Gone(Box<AIJob>),
    Listed(L),
}

/// The queue between the watch and the tables.
#[derive(Debug)]
pub struct Heard<L> {
    queue: Mutex<Queue<L>>,
    news: Notify,
}

#[derive(Debug)]
struct Queue<L> {
    items: VecDeque<Item<L>>,
    /// The number of the first item.
    first: usize,
    /// The numbers of the objects that wait, by their uid.
    waiting: HashMap<String, usize>,
}

impl<L> Default for Heard<L> {
    fn default() -> Self {
        let queue = Queue { items: VecDeque::new(), first: 0, waiting: HashMap::new() };
        Self { queue: Mutex::new(queue), news: Notify::new() }
    }
}

impl<L> Heard<L> {
    fn queue(&self) -> MutexGuard<'_, Queue<L>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An object as it is now: it takes the place of what waits of the same one.
    pub fn seen(&self, seen: Seen) {
        self.queue().seen(seen);
        self.news.notify_one();
    }

    /// An object is gone.
    pub fn gone(&self, object: AIJob) {
        let mut queue = self.queue();
        queue.waiting.remove(&object.uid().unwrap_or_default());
        queue.items.push_back(Item::Gone(Box::new(object)));
        drop(queue);
        self.news.notify_one();
    }

    /// A list was heard to its end.
    pub fn listed(&self, listing: L) {
        self.queue().items.push_back(Item::Listed(listing));
        self.news.notify_one();
    }

    /// Waits for what is to be recorded next: up to so many objects. For one caller at a time.
    pub async fn next(&self, most: usize) -> Next<L> {
        loop {
            if let Some(next) = self.queue().next(most) {
                return next;
            }
            self.news.notified().await;
        }
    }
}

impl<L> Queue<L> {
    fn seen(&mut self, seen: Seen) {
        let uid = seen.object.uid().unwrap_or_default();
        let last = self.first + self.items.len();
        let at = *self.waiting.entry(uid).or_insert(last);
        match self.items.get_mut(at - self.first) {
            Some(item) => *item = Item::Seen(Box::new(seen)),
            None => self.items.push_back(Item::Seen(Box::new(seen))),
        }
    }

    fn pop(&mut self) -> Option<Item<L>> {
        let item = self.items.pop_front()?;
        self.first += 1;
        Some(item)
    }

    fn next(&mut self, most: usize) -> Option<Next<L>> {
        let mut batch = Vec::new();
        while batch.len() < most && matches!(self.items.front(), Some(Item::Seen(_))) {
            if let Some(Item::Seen(seen)) = self.pop() {
                self.waiting.remove(&seen.object.uid().unwrap_or_default());
                batch.push(*seen);
            }
        }
        if !batch.is_empty() {
            return Some(Next::Seen(batch));
        }
        Some(match self.pop()? {
            Item::Seen(seen) => Next::Seen(vec![*seen]),
            Item::Gone(object) => Next::Gone(object),
            Item::Listed(listing) => Next::Listed(listing),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(uid: &str, version: u64) -> AIJob {
        serde_json::from_value(serde_json::json!({
            "apiVersion": "crater.sh/v1",
            "kind": "AIJob",
            "metadata": {"name": uid, "uid": uid, "resourceVersion": version.to_string()},
            "spec": {"jobUid": uid, "account": "vision", "creator": "ann", "serviceClass": "Guaranteed", "roles": [], "priority": 0, "maxRetries": 0, "graceSeconds": 30, "revision": 1, "submittedMillis": 0},
        }))
        .unwrap()
    }

    fn seen(uid: &str, version: u64) -> Seen {
        Seen { object: object(uid, version), listed: false }
    }

    async fn all(heard: &Heard<&'static str>, most: usize) -> Vec<String> {
        heard.listed("end");
        let mut told = Vec::new();
        loop {
            match heard.next(most).await {
                Next::Seen(batch) => {
                    let name = |s: &Seen| {
                        format!("{}@{}", s.object.name_any(), s.object.resource_version().unwrap())
                    };
                    told.push(batch.iter().map(name).collect::<Vec<_>>().join(" "));
                }
                Next::Gone(object) => told.push(format!("-{}", object.name_any())),
                Next::Listed("end") => return told,
                Next::Listed(list) => told.push(list.to_owned()),
            }
        }
    }

    #[tokio::test]
    async fn the_newest_of_each_counts_at_the_place_of_its_first() {
        let heard = Heard::default();
        for (uid, version) in [("a", 1), ("b", 2), ("a", 3), ("c", 4), ("b", 5)] {
            heard.seen(seen(uid, version));
        }
        assert_eq!(all(&heard, 2).await, ["a@3 b@5", "c@4"]);
        heard.seen(seen("a", 6));
        heard.seen(seen("b", 7));
        assert!(matches!(heard.next(1).await, Next::Seen(one) if one[0].object.name_any() == "a"));
        heard.seen(seen("a", 8));
        heard.seen(seen("b", 9));
        assert_eq!(all(&heard, 8).await, ["b@9 a@8"]);
    }

    #[tokio::test]
    async fn what_is_gone_goes_after_what_it_was_and_before_what_comes_after() {
        let heard = Heard::default();
        heard.seen(seen("a", 1));
        heard.listed("list");
        heard.seen(seen("a", 2));
        heard.gone(object("a", 3));
        heard.seen(seen("b", 4));
        heard.seen(seen("a", 5));
        assert_eq!(all(&heard, 8).await, ["a@2", "list", "-a", "b@4 a@5"]);
    }

    #[tokio::test]
    async fn a_reader_that_waits_hears_of_what_comes() {
        let heard = std::sync::Arc::new(Heard::<()>::default());
        let waiting = tokio::spawn({
            let heard = heard.clone();
            async move { heard.next(8).await }
        });
        tokio::task::yield_now().await;
        heard.seen(seen("a", 1));
        assert!(matches!(waiting.await.unwrap(), Next::Seen(one) if one.len() == 1));
    }
}
