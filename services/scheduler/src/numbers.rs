//! Ordinals of jobs that stay what they are from one frame to the next, so that the engine need only look at what changed.

use std::collections::{BTreeMap, BTreeSet};

use crater_engine::{AccountIx, Job, JobIx};

use crate::cache::Key;
use crate::frame::Frame;

/// Ordinals that nobody has are done away with once they are more than this and more than the others.
const VACANT: usize = 1024;

/// Who has which ordinal. Forgetting it loses nothing.
#[derive(Debug, Default)]
pub struct Numbers {
    /// With the job's uid in the database: a later job of the same name is another one.
    of: BTreeMap<Key, (String, JobIx)>,
    free: BTreeSet<JobIx>,
}

impl Numbers {
    /// Gives the jobs of a frame the ordinals that they had in the last one. Of those that are new, who comes first has the smaller one.
    pub fn keep(&mut self, frame: &mut Frame) {
        let uid =
            |at: usize| frame.entries[at].as_ref().map_or("", |entry| entry.object.spec.job_uid.as_str());
        let mut before = std::mem::take(&mut self.of);
        let known: Vec<Option<(String, JobIx)>> = frame
            .jobs
            .iter()
            .enumerate()
            .map(|(at, key)| before.remove(key).filter(|(known, _)| known == uid(at)))
            .collect();
        let live: BTreeSet<JobIx> = known.iter().flatten().map(|(_, ix)| *ix).collect();
        let mut len = live.last().map_or(0, |last| last.at() + 1);
        self.free = (0..len).map(JobIx::of).filter(|ix| !live.contains(ix)).collect();
        let new = frame.jobs.len() - live.len();
        let begin_anew = self.free.len() > VACANT + new + frame.jobs.len();
        if begin_anew {
            self.free.clear();
            len = 0;
        }
        let mut ordinals = Vec::with_capacity(frame.jobs.len());
        for (at, known) in known.into_iter().enumerate() {
            let ix = match known.filter(|_| !begin_anew) {
                Some((_, ix)) => ix,
                None => self.free.pop_first().unwrap_or_else(|| {
                    len += 1;
                    JobIx::of(len - 1)
                }),
            };
            self.of.insert(frame.jobs[at].clone(), (uid(at).to_owned(), ix));
            ordinals.push(ix);
        }
        renumber(frame, &ordinals, len);
    }
}

/// Moves each job to its ordinal; at those of nobody is nobody.
fn renumber(frame: &mut Frame, ordinals: &[JobIx], len: usize) {
    let nobody = Key { namespace: String::new(), name: String::new() };
    let (mut jobs, mut entries) = (vec![nobody; len], vec![None; len]);
    let mut of = vec![Job::nobody(AccountIx(0)); len];
    let all = frame.jobs.drain(..).zip(frame.entries.drain(..)).zip(frame.snapshot.jobs.drain(..));
    for (((key, entry), job), ix) in all.zip(ordinals) {
        (jobs[ix.at()], entries[ix.at()], of[ix.at()]) = (key, entry, job);
    }
    (frame.jobs, frame.entries, frame.snapshot.jobs) = (jobs, entries, of);
    frame.barred =
        std::mem::take(&mut frame.barred).into_iter().map(|(at, why)| (ordinals[at].at(), why)).collect();
    let snapshot = &mut frame.snapshot;
    snapshot.holdings.iter_mut().for_each(|held| held.job = ordinals[held.job.at()]);
    snapshot.holds.iter_mut().for_each(|hold| hold.job = ordinals[hold.job.at()]);
    snapshot.reservations.iter_mut().for_each(|start| start.job = ordinals[start.job.at()]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(names: &[&str]) -> Frame {
        let mut frame = Frame::default();
        for name in names {
            frame.jobs.push(Key { namespace: "n".into(), name: (*name).into() });
            frame.entries.push(None);
            let submitted = i64::from(name.as_bytes()[0]);
            frame.snapshot.jobs.push(Job { submitted, ..Job::default() });
        }
        frame.barred.insert(names.len() - 1, (*names.last().unwrap()).to_owned());
        frame
    }

    /// Names by ordinal, each with its job and what is told of it.
    fn kept(numbers: &mut Numbers, names: &[&str]) -> Vec<String> {
        let mut frame = frame(names);
        numbers.keep(&mut frame);
        for (at, key) in frame.jobs.iter().enumerate() {
            let submitted = key.name.bytes().next().map_or(0, i64::from);
            assert_eq!(frame.snapshot.jobs[at].submitted, submitted);
            assert_eq!(frame.snapshot.jobs[at].closed, key.name.is_empty());
        }
        let (at, told) = frame.barred.first_key_value().unwrap();
        assert_eq!(frame.jobs[*at].name, *told);
        frame.jobs.into_iter().map(|key| key.name).collect()
    }

    #[test]
    fn a_job_keeps_its_ordinal_and_leaves_it_to_the_next_that_comes() {
        let mut numbers = Numbers::default();
        assert_eq!(kept(&mut numbers, &["a", "b", "c"]), ["a", "b", "c"]);
        assert_eq!(kept(&mut numbers, &["b", "c"]), ["", "b", "c"]);
        assert_eq!(kept(&mut numbers, &["0", "b", "c", "d"]), ["0", "b", "c", "d"]);
        assert_eq!(kept(&mut numbers, &["b", "d", "e", "f", "g"]), ["e", "b", "f", "d", "g"]);
        assert_eq!(kept(&mut numbers, &["x"]), ["x"]);
    }

    #[test]
    fn ordinals_of_nobody_do_not_pile_up() {
        let mut numbers = Numbers::default();
        let names: Vec<String> = (0..4 * VACANT).map(|at| format!("{at:05}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(kept(&mut numbers, &names).len(), names.len());
        let last = &names[names.len() - 2..];
        assert_eq!(kept(&mut numbers, last), last);
    }
}
