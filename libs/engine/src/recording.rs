//! What the engine was given and what it decided, cycle by cycle, so that its decisions can be made again.
//!
//! A recording is a [`Header`] and then a [`Frame`] for each cycle, in order; how they are written down is the caller's business
//! (JSON, one a line). A frame says how its snapshot differs from the one before: lists are patched by runs that are kept and
//! entries that are new, since most of a cluster stays as it is from one cycle to the next.

use serde::{Deserialize, Serialize};

use crate::model::{Account, Hold, Holding, Job, Millis, Node, Plan, Reservation, Settings, Snapshot, User};
use crate::usage::Borrowed;

/// The version that is written, and the only one that is read.
pub const VERSION: u32 = 1;

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// [`VERSION`].
    pub crater_recording: u32,
}

impl Default for Header {
    fn default() -> Self {
        Self { crater_recording: VERSION }
    }
}

/// One cycle: what changed since the last, and what was decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Frame {
    /// [`Snapshot::now`].
    pub now: Millis,
    /// [`Snapshot::cycle`].
    pub cycle: u64,
    /// [`Snapshot::models`].
    pub models: u32,
    /// [`Snapshot::extended`].
    #[serde(default)]
    pub extended: u32,
    /// [`Snapshot::settings`].
    pub settings: Settings,
    /// [`Snapshot::nodes`].
    #[serde(default, skip_serializing_if = "Patch::is_same")]
    pub nodes: Patch<Node>,
    /// [`Snapshot::accounts`].
    #[serde(default, skip_serializing_if = "Patch::is_same")]
    pub accounts: Patch<Account>,
    /// [`Snapshot::users`].
    #[serde(default, skip_serializing_if = "Patch::is_same")]
    pub users: Patch<User>,
    /// [`Snapshot::jobs`].
    #[serde(default, skip_serializing_if = "Patch::is_same")]
    pub jobs: Patch<Job>,
    /// [`Snapshot::holdings`].
    #[serde(default, skip_serializing_if = "Patch::is_same")]
    pub holdings: Patch<Holding>,
    /// [`Snapshot::holds`].
    #[serde(default, skip_serializing_if = "Patch::is_same")]
    pub holds: Patch<Hold>,
    /// [`Snapshot::reservations`].
    #[serde(default, skip_serializing_if = "Patch::is_same")]
    pub reservations: Patch<Reservation>,
    /// [`Snapshot::lately`].
    #[serde(default, skip_serializing_if = "Patch::is_same")]
    pub lately: Patch<Borrowed>,
    /// What was decided.
    pub plan: Plan,
}

/// How a list differs from the one before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Patch<T>(Option<Vec<Piece<T>>>);

impl<T> Default for Patch<T> {
    fn default() -> Self {
        Self(None)
    }
}

/// A stretch of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Piece<T> {
    /// (first, how many) of the list before.
    Keep(u32, u32),
    /// These.
    New(Vec<T>),
}

/// How far ahead an entry is looked for in the list before: further away it is written anew.
const AHEAD: usize = 64;

impl<T: Clone + PartialEq> Patch<T> {
    /// The way from one list to another.
    fn between(before: &[T], after: &[T]) -> Self {
        if before == after {
            return Self(None);
        }
        let mut pieces: Vec<Piece<T>> = Vec::new();
        let mut at = 0;
        for entry in after {
            let ahead = before.iter().skip(at).take(AHEAD).position(|old| old == entry);
            match (ahead.map(|skip| at + skip), pieces.last_mut()) {
                (Some(found), last) => {
                    match last {
                        Some(Piece::Keep(first, count)) if *first as usize + *count as usize == found => {
                            *count += 1
                        }
                        _ => pieces.push(Piece::Keep(u32::try_from(found).unwrap_or(u32::MAX), 1)),
                    }
                    at = found + 1;
                }
                (None, Some(Piece::New(entries))) => {
                    entries.push(entry.clone());
                    // it stands where another stood, most likely
                    at += 1;
                }
                (None, _) => {
                    pieces.push(Piece::New(vec![entry.clone()]));
                    at += 1;
                }
            }
        }
        Self(Some(pieces))
    }

    /// Is the list as it was?
    pub fn is_same(&self) -> bool {
        self.0.is_none()
    }

    fn apply(&self, list: &mut Vec<T>, name: &'static str) -> Result<(), Torn> {
        let Some(pieces) = &self.0 else { return Ok(()) };
        let mut after = Vec::with_capacity(list.len());
        for piece in pieces {
            match piece {
                Piece::Keep(first, count) => {
                    let (first, count) = (*first as usize, *count as usize);
                    after.extend_from_slice(list.get(first..first + count).ok_or(Torn { list: name })?);
                }
                Piece::New(entries) => after.extend(entries.iter().cloned()),
            }
        }
        *list = after;
        Ok(())
    }
}

/// A frame that keeps what was not there: frames were lost before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{list} keeps entries that the cycle before did not have")]
pub struct Torn {
    /// Which list.
    pub list: &'static str,
}

impl Frame {
    /// A cycle, as it differs from the snapshot before (an empty one for the first).
    pub fn between(before: &Snapshot, snapshot: &Snapshot, plan: &Plan) -> Self {
        Self {
            now: snapshot.now,
            cycle: snapshot.cycle,
            models: snapshot.models,
            extended: snapshot.extended,
            settings: snapshot.settings,
            nodes: Patch::between(&before.nodes, &snapshot.nodes),
            accounts: Patch::between(&before.accounts, &snapshot.accounts),
            users: Patch::between(&before.users, &snapshot.users),
            jobs: Patch::between(&before.jobs, &snapshot.jobs),
            holdings: Patch::between(&before.holdings, &snapshot.holdings),
            holds: Patch::between(&before.holds, &snapshot.holds),
            reservations: Patch::between(&before.reservations, &snapshot.reservations),
            lately: Patch::between(&before.lately, &snapshot.lately),
            plan: plan.clone(),
        }
    }

    /// Turns the snapshot of the cycle before into this one's.
    ///
    /// # Errors
    /// When a list keeps what was not there; the snapshot is of no use then.
    pub fn apply(&self, snapshot: &mut Snapshot) -> Result<(), Torn> {
        snapshot.now = self.now;
        snapshot.cycle = self.cycle;
        snapshot.models = self.models;
        snapshot.extended = self.extended;
        snapshot.settings = self.settings;
        self.nodes.apply(&mut snapshot.nodes, "nodes")?;
        self.accounts.apply(&mut snapshot.accounts, "accounts")?;
        self.users.apply(&mut snapshot.users, "users")?;
        self.jobs.apply(&mut snapshot.jobs, "jobs")?;
        self.holdings.apply(&mut snapshot.holdings, "holdings")?;
        self.holds.apply(&mut snapshot.holds, "holds")?;
        self.reservations.apply(&mut snapshot.reservations, "reservations")?;
        self.lately.apply(&mut snapshot.lately, "lately")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_lead_from_any_list_to_any_other() {
        // all pairs of short lists over three letters
        let lists: Vec<Vec<u8>> = (0..256u32)
            .map(|code| (0..4).map(|i| ((code >> (2 * i)) & 3) as u8).filter(|letter| *letter < 3).collect())
            .collect();
        for before in &lists {
            for after in &lists {
                let mut list = before.clone();
                Patch::between(before, after).apply(&mut list, "letters").unwrap();
                assert_eq!(&list, after, "from {before:?}");
            }
        }
    }

    #[test]
    fn what_stays_is_not_written_again() {
        let before: Vec<u32> = (0..1000).collect();
        let mut after = before.clone();
        after.remove(10);
        after[500] = 7777;
        after.push(1000);
        let Patch(Some(pieces)) = Patch::between(&before, &after) else { panic!("it differs") };
        let new: Vec<&Piece<u32>> = pieces.iter().filter(|piece| matches!(piece, Piece::New(_))).collect();
        assert_eq!(new, [&Piece::New(vec![7777]), &Piece::New(vec![1000])]);
        assert!(Patch::between(&before, &before).is_same());
    }

    #[test]
    fn a_patch_on_the_wrong_list_is_refused() {
        let patch = Patch::between(&[1, 2, 3], &[2, 3]);
        assert_eq!(patch.apply(&mut vec![1], "numbers"), Err(Torn { list: "numbers" }));
    }
}
