//! What one job has: what stays, what is promised, what is going.

use super::PieceIx;
use crate::model::NodeIx;
use crate::tree::Counted;

/// What a job has.
#[derive(Clone, Debug, Default)]
pub(crate) struct Has {
    /// Replicas that stay.
    pub(super) live: Replicas,
    /// Replicas that are promised.
    pub(super) promised: Replicas,
    /// Replicas that are going.
    pub(super) going: Replicas,
    /// A node that does not answer, on which a replica is going.
    pub unconfirmed: Option<NodeIx>,
    pub pieces: Vec<PieceIx>,
    /// A node on which it runs, by which a topology domain is known.
    pub(super) node: Option<NodeIx>,
    /// Something of it is taken back in this cycle.
    pub(super) revoked: bool,
    /// How it is counted against limits of jobs now.
    pub(super) counted: Counted,
}

/// Replicas of a job by role and number, in order, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Replicas(Vec<(u16, u32)>);

impl Replicas {
    const NONE: Self = Self(Vec::new());

    pub(super) fn insert(&mut self, role: u16, replica: u32) {
        if let Err(at) = self.0.binary_search(&(role, replica)) {
            self.0.insert(at, (role, replica));
        }
    }

    pub(super) fn remove(&mut self, role: u16, replica: u32) {
        if let Ok(at) = self.0.binary_search(&(role, replica)) {
            self.0.remove(at);
        }
    }

    fn of(&self, role: usize) -> OfRole<'_> {
        let from = self.0.partition_point(|(of, _)| usize::from(*of) < role);
        let here = self.0[from..].partition_point(|(of, _)| usize::from(*of) == role);
        OfRole(&self.0[from..from + here])
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Those of one role.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OfRole<'a>(&'a [(u16, u32)]);

impl OfRole<'_> {
    pub fn len(self) -> usize {
        self.0.len()
    }

    pub fn contains(self, replica: u32) -> bool {
        self.0.binary_search_by_key(&replica, |(_, of)| *of).is_ok()
    }
}

pub(super) static NOTHING: Has = Has {
    live: Replicas::NONE,
    promised: Replicas::NONE,
    going: Replicas::NONE,
    unconfirmed: None,
    pieces: Vec::new(),
    node: None,
    revoked: false,
    counted: Counted::Not,
};

impl Has {
    /// Replicas of a role that stay.
    pub fn live(&self, role: usize) -> OfRole<'_> {
        self.live.of(role)
    }

    pub(super) fn promised(&self, role: usize) -> OfRole<'_> {
        self.promised.of(role)
    }

    pub(super) fn going_of(&self, role: usize) -> OfRole<'_> {
        self.going.of(role)
    }

    pub fn runs(&self) -> bool {
        !self.live.is_empty()
    }

    /// A node by which its topology domain is known, if anything runs or is promised.
    pub fn anchor(&self) -> Option<NodeIx> {
        self.node.filter(|_| self.runs() || self.is_promised())
    }

    pub fn is_promised(&self) -> bool {
        !self.promised.is_empty()
    }

    pub fn going(&self) -> u32 {
        u32::try_from(self.going.0.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn counts(&self) -> Counted {
        if self.runs() {
            Counted::Stays
        } else if self.is_promised() {
            Counted::Promised
        } else if self.revoked || !self.going.is_empty() {
            Counted::Going
        } else {
            Counted::Not
        }
    }

    /// Neither holds anything nor is anything promised to it or going.
    pub fn is_nothing(&self) -> bool {
        self.counts() == Counted::Not
    }

    /// May these replicas start, as far as the job's own former replicas are concerned?
    pub fn clear_of_going(&self, mut replicas: impl Iterator<Item = (u16, u32)>) -> bool {
        if !self.runs() {
            return self.going() == 0;
        }
        replicas.all(|(role, replica)| !self.going_of(usize::from(role)).contains(replica))
    }
}
