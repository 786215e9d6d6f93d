//! What one job has: what stays, what is promised, what is going.

use std::collections::BTreeSet;

use super::PieceIx;
use crate::model::NodeIx;
use crate::tree::Counted;

/// What a job has.
#[derive(Clone, Debug, Default)]
pub(crate) struct Has {
    /// Replicas that stay, by role.
    pub(super) live: Vec<BTreeSet<u32>>,
    /// Replicas that are promised, by role.
    pub(super) promised: Vec<BTreeSet<u32>>,
    /// Replicas that are going, by role.
    pub(super) going: Vec<BTreeSet<u32>>,
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

static NONE: BTreeSet<u32> = BTreeSet::new();

pub(super) static NOTHING: Has = Has {
    live: Vec::new(),
    promised: Vec::new(),
    going: Vec::new(),
    unconfirmed: None,
    pieces: Vec::new(),
    node: None,
    revoked: false,
    counted: Counted::Not,
};

impl Has {
    pub(super) fn blank(roles: usize) -> Self {
        Self { live: vec![BTreeSet::new(); roles], ..Self::default() }
    }

    /// The replicas of a role in one of the lists; most are never needed.
    pub(super) fn of(list: &mut Vec<BTreeSet<u32>>, role: u16) -> &mut BTreeSet<u32> {
        let role = usize::from(role);
        if role >= list.len() {
            list.resize_with(role + 1, BTreeSet::new);
        }
        &mut list[role]
    }

    /// Replicas of a role that stay.
    pub fn live(&self, role: usize) -> &BTreeSet<u32> {
        self.live.get(role).unwrap_or(&NONE)
    }

    pub(super) fn promised(&self, role: usize) -> &BTreeSet<u32> {
        self.promised.get(role).unwrap_or(&NONE)
    }

    pub(super) fn going_of(&self, role: usize) -> &BTreeSet<u32> {
        self.going.get(role).unwrap_or(&NONE)
    }

    pub fn runs(&self) -> bool {
        self.live.iter().any(|replicas| !replicas.is_empty())
    }

    /// A node by which its topology domain is known, if anything runs or is promised.
    pub fn anchor(&self) -> Option<NodeIx> {
        self.node.filter(|_| self.runs() || self.is_promised())
    }

    pub fn is_promised(&self) -> bool {
        self.promised.iter().any(|replicas| !replicas.is_empty())
    }

    pub fn going(&self) -> u32 {
        u32::try_from(self.going.iter().map(BTreeSet::len).sum::<usize>()).unwrap_or(u32::MAX)
    }

    pub(super) fn counts(&self) -> Counted {
        if self.runs() {
            Counted::Stays
        } else if self.is_promised() {
            Counted::Promised
        } else if self.revoked || self.going.iter().any(|replicas| !replicas.is_empty()) {
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
        replicas.all(|(role, replica)| !self.going_of(usize::from(role)).contains(&replica))
    }
}
