//! What is known from one frame to the next: a frame is made of the parts of all jobs, and only of those of which something is new is the
//! part found again.
//!
//! A job keeps its ordinal, so that the engine need only look at what changed. That of one that is gone goes to the next that comes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crater_engine::{AccountIx, Job, JobIx};

use super::Beside;
use super::accounts::Accounts;
use super::nodes::Nodes;
use super::part::{Part, Reader};
use crate::cache::{Cache, Key, News};
use crate::frame::{Frame, Rest};
use crate::jobs::JobEntry;

/// Ordinals that nobody has are done away with once they are more than this and more than the others.
const VACANT: usize = 1024;

/// What is known. Forgetting it loses nothing.
#[derive(Default)]
pub struct Known {
    pub(super) accounts: Accounts,
    pub(super) nodes: Nodes,
    begun: bool,
    /// By ordinal; `None`: nobody's.
    slots: Vec<Option<(Arc<Key>, Part)>>,
    of: BTreeMap<Arc<Key>, JobIx>,
    free: BTreeSet<JobIx>,
    /// Jobs that the engine has nothing to do with.
    beside: BTreeMap<Key, Rest>,
    /// Those that were left aside for a while.
    aside: BTreeSet<Key>,
}

impl Known {
    /// Takes in what is new.
    pub fn update(&mut self, cache: &Cache, beside: &Beside<'_>, news: News) {
        let mut all = news.all || !self.begun;
        self.begun = true;
        if all || !self.nodes.stand(cache, &news) {
            let nodes = Nodes::new(cache);
            all |= !nodes.mean_the_same_as(&self.nodes);
            self.nodes = nodes;
        }
        if all || !self.accounts.stand(cache, beside.tree, &news) {
            let accounts = Accounts::new(cache, beside.tree);
            all |= !accounts.mean_the_same_as(&self.accounts);
            self.accounts = accounts;
        }
        let mut new = news.jobs;
        new.append(&mut self.aside);
        self.aside = beside.setbacks.jobs().cloned().collect();
        new.extend(self.aside.iter().cloned());
        if all {
            new.extend(self.of.keys().map(|key| (**key).clone()));
            new.extend(self.beside.keys().cloned());
            new.extend(cache.jobs.iter().map(|(key, _)| key.clone()));
            new.extend(cache.given().map(|(_, given)| given.job.clone()));
        }
        let parts: Vec<(Key, Part)> = {
            let reader = self.reader(cache, beside);
            let part = |key: Key| {
                let part = reader.part(&key, cache.jobs.get(&key));
                (key, part)
            };
            new.into_iter().map(part).collect()
        };
        self.take_in(parts);
        if self.accounts.all.is_empty() {
            // nobody is there, and an ordinal of nobody's is in some account
            (self.slots, self.free) = (Vec::new(), BTreeSet::new());
        }
    }

    pub(super) fn reader<'a>(&'a self, cache: &'a Cache, beside: &'a Beside<'_>) -> Reader<'a> {
        let (setbacks, now_ms) = (beside.setbacks, beside.now_ms);
        Reader { cache, setbacks, now_ms, accounts: &self.accounts, nodes: &self.nodes }
    }

    fn take_in(&mut self, parts: Vec<(Key, Part)>) {
        let mut arrived: Vec<(Key, Part)> = Vec::new();
        for (key, part) in parts {
            self.beside.remove(&key);
            match (self.of.get(&key).copied(), &part.job) {
                (Some(ix), Some(_)) => self.put(ix, key, part),
                (None, Some(_)) => arrived.push((key, part)),
                (had, None) => {
                    if let Some(ix) = had {
                        self.of.remove(&key);
                        self.slots[ix.at()] = None;
                        self.free.insert(ix);
                    }
                    if !part.rest.is_nothing() {
                        self.beside.insert(key, part.rest);
                    }
                }
            }
        }
        if self.free.len() > VACANT + self.of.len() + arrived.len() {
            (self.of, self.free) = (BTreeMap::new(), BTreeSet::new());
            let all = std::mem::take(&mut self.slots).into_iter().flatten();
            arrived.extend(all.map(|(key, part)| ((*key).clone(), part)));
        }
        // who was submitted first has the smaller one
        arrived.sort_by(|(a, of_a), (b, of_b)| (turn(of_a), a).cmp(&(turn(of_b), b)));
        for (key, part) in arrived {
            let ix = self.free.pop_first().unwrap_or_else(|| {
                self.slots.push(None);
                JobIx::of(self.slots.len() - 1)
            });
            self.put(ix, key, part);
        }
    }

    fn put(&mut self, ix: JobIx, key: Key, mut part: Part) {
        part.holdings.iter_mut().for_each(|held| held.job = ix);
        let known = self.slots[ix.at()].take().map(|(key, _)| key);
        let key = known.unwrap_or_else(|| {
            let key = Arc::new(key);
            self.of.insert(key.clone(), ix);
            key
        });
        self.slots[ix.at()] = Some((key, part));
    }

    /// The ordinal of a job.
    pub(super) fn job(&self, key: &Key) -> Option<JobIx> {
        self.of.get(key).copied()
    }

    /// A frame of all parts.
    pub(super) fn frame(&self) -> Frame {
        let mut frame = Frame {
            nodes: self.nodes.names.clone(),
            accounts: self.accounts.names.clone(),
            users: self.accounts.people.clone(),
            by_name: self.of.values().copied().collect(),
            ..Frame::default()
        };
        frame.snapshot.nodes.clone_from(&self.nodes.all);
        frame.snapshot.accounts.clone_from(&self.accounts.all);
        frame.snapshot.users.clone_from(&self.accounts.users);
        frame.jobs.reserve(self.slots.len() + 1);
        frame.entries.reserve(self.slots.len() + 1);
        frame.snapshot.jobs.reserve(self.slots.len() + 1);
        let nobody = Arc::new(Key { namespace: String::new(), name: String::new() });
        let vacant = Job::nobody(AccountIx(0));
        for slot in &self.slots {
            match slot {
                Some((key, part)) => add(&mut frame, key.clone(), part),
                None => {
                    frame.jobs.push(nobody.clone());
                    frame.entries.push(None);
                    frame.snapshot.jobs.push(vacant.clone());
                }
            }
        }
        self.beside.values().for_each(|rest| frame.rest.add(rest));
        let submitted =
            |entry: &JobEntry| (entry.object.spec.submitted_millis, entry.object.spec.job_uid.clone());
        frame.rest.aside.sort_by_cached_key(|(entry, ..)| submitted(entry));
        frame
    }
}

/// Adds a job to a frame, with the next ordinal.
pub(super) fn add(frame: &mut Frame, key: Arc<Key>, part: &Part) {
    let Some(job) = &part.job else { return };
    frame.jobs.push(key);
    frame.entries.push(part.entry.clone());
    frame.snapshot.jobs.push(job.clone());
    frame.snapshot.holdings.extend(part.holdings.iter().cloned());
    frame.rest.add(&part.rest);
}

/// What jobs that come at once go by.
fn turn(part: &Part) -> (i64, &str) {
    let submitted = part.job.as_ref().map_or(0, |job| job.submitted);
    (submitted, part.entry.as_ref().map_or("", |entry| &entry.object.spec.job_uid))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key { namespace: "n".into(), name: name.into() }
    }

    /// Of these jobs something is new, and others are gone.
    fn hear(known: &mut Known, there: &[&str], gone: &[&str]) {
        let job = |name: &&str| Job { submitted: i64::from(name.as_bytes()[0]), ..Job::default() };
        let wants = there.iter().map(|name| (key(name), Part { job: Some(job(name)), ..Part::default() }));
        let over = gone.iter().map(|name| (key(name), Part::default()));
        known.take_in(wants.chain(over).collect());
    }

    /// Names by ordinal, each with its job.
    fn named(known: &Known) -> Vec<String> {
        let frame = known.frame();
        for (key, job) in frame.jobs.iter().zip(&frame.snapshot.jobs) {
            assert_eq!(job.submitted, key.name.bytes().next().map_or(0, i64::from));
            assert_eq!(job.closed, key.name.is_empty());
        }
        frame.jobs.iter().map(|key| key.name.clone()).collect()
    }

    #[test]
    fn a_job_keeps_its_ordinal_and_leaves_it_to_the_next_that_comes() {
        let mut known = Known::default();
        hear(&mut known, &["c", "a", "b"], &[]);
        assert_eq!(named(&known), ["a", "b", "c"]);
        hear(&mut known, &["b"], &["a", "nobody"]);
        assert_eq!(named(&known), ["", "b", "c"]);
        hear(&mut known, &["e", "d"], &["c"]);
        assert_eq!(named(&known), ["d", "b", "e"]);
        assert_eq!(known.job(&key("e")), Some(JobIx(2)));
        assert_eq!(known.job(&key("c")), None);
    }

    #[test]
    fn ordinals_of_nobody_do_not_pile_up() {
        let mut known = Known::default();
        let names: Vec<String> = (0..2 * VACANT + 2).map(|at| format!("{at:05}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        hear(&mut known, &names, &[]);
        let (over, left) = names.split_at(VACANT + 1);
        hear(&mut known, &[], over);
        assert_eq!(named(&known).len(), names.len());
        hear(&mut known, &[], &left[..left.len() - 2]);
        assert_eq!(named(&known), &left[left.len() - 2..]);
    }
}
