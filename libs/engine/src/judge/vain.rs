//! Claims that were made in vain in this cycle: who asks for no less, with no better right, need not ask again.

use std::collections::BTreeMap;

use super::Asking;
use crate::model::Class;
use crate::pool::Choice;
use crate::shapes::Kin;
use crate::tree::Vertex;

/// At most so many searches a cycle for somebody to be migrated may fail.
const FAILED_MOVES: u32 = 16;

/// Who asked: the same kin and leaf, for growth or not, on the nodes of one choice or (`None`) of all.
type Asker = (Kin, Vertex, bool, Class, Option<Choice>);

/// What was asked for: priority, cpu, memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Asked(i32, i64, i64);

impl Asked {
    fn of(asking: &Asking) -> Self {
        Self(asking.priority, asking.cpu, asking.memory)
    }

    /// Whoever failed with this fails with the other too.
    fn covers(self, other: Self) -> bool {
        self.0 >= other.0 && self.1 <= other.1 && self.2 <= other.2
    }
}

/// What failed, none of it covered by another.
#[derive(Clone, Debug, Default)]
struct Failed(Vec<Asked>);

impl Failed {
    fn covers(&self, asked: Asked) -> bool {
        self.0.iter().any(|failed| failed.covers(asked))
    }

    fn add(&mut self, asked: Asked) {
        if !self.covers(asked) {
            self.0.retain(|failed| !asked.covers(*failed));
            self.0.push(asked);
        }
    }
}

#[derive(Default)]
pub(super) struct Vain {
    claims: BTreeMap<Asker, Failed>,
    moves: BTreeMap<Kin, Failed>,
    failed_moves: u32,
}

fn asker(asking: &Asking, choice: Option<Choice>) -> Asker {
    (asking.kin, asking.leaf, asking.growth, asking.class, choice)
}

impl Vain {
    /// Room became free.
    pub fn forget(&mut self) {
        self.claims.clear();
        self.moves.clear();
    }

    pub fn claim(&self, asking: &Asking, choice: Option<Choice>) -> bool {
        let failed = self.claims.get(&asker(asking, choice));
        failed.is_some_and(|failed| failed.covers(Asked::of(asking)))
    }

    pub fn remember_claim(&mut self, asking: &Asking, choice: Option<Choice>) {
        self.claims.entry(asker(asking, choice)).or_default().add(Asked::of(asking));
    }

    pub fn moves_left(&self) -> bool {
        self.failed_moves < FAILED_MOVES
    }

    pub fn may_move(&self, asking: &Asking) -> bool {
        let failed = self.moves.get(&asking.kin);
        self.moves_left() && failed.is_none_or(|failed| !failed.covers(Asked::of(asking)))
    }

    pub fn remember_failed_move(&mut self, asking: &Asking, shared: bool) {
        self.failed_moves += 1;
        if shared {
            self.moves.entry(asking.kin).or_default().add(Asked::of(asking));
        }
    }
}
