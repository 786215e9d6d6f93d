//! Where a limit binds: what must go for the job to be let in.

use std::collections::BTreeSet;

use super::{Ground, Victim};
use crate::reason::Resource;
use crate::rights::Claim;
use crate::work::PieceIx;

impl Ground<'_> {
    /// Takes pieces below the vertex whose limit binds until it no longer does.
    pub(super) fn relieve_limits(
        &mut self,
        claim: &Claim,
        banned: &BTreeSet<PieceIx>,
        victims: &mut Vec<Victim>,
    ) -> bool {
        let asker = self.asker(claim);
        while let Some(bound) = self.tree.bound(asker, &claim.demands, false) {
            if bound.wanted > bound.limit {
                return false;
            }
            let below = (0..self.work.pieces.len()).filter(|ix| {
                let piece = &self.work.pieces[*ix];
                // a job runs on without what is above its gang
                let helps = bound.resource != Resource::Jobs || !piece.surplus || !self.has_gang(piece.job);
                piece.alive && helps && !banned.contains(ix) && self.tree.contains(bound.vertex, piece.leaf)
            });
            let choice = below
                .filter_map(|ix| self.right(claim, ix, false).map(|right| (self.key(ix, &right), ix, right)))
                .min_by_key(|(key, ix, _)| (*key, *ix));
            let Some((_, ix, right)) = choice else { return false };
            self.evict(victims, ix, right);
        }
        true
    }

    fn has_gang(&self, job: usize) -> bool {
        self.work.has(job).pieces.iter().any(|ix| {
            let piece = &self.work.pieces[*ix];
            piece.alive && !piece.surplus
        })
    }
}
