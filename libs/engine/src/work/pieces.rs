//! Makes pieces of replicas.

use super::{Piece, PieceIx, Spot, Work, nodes_of};
use crate::model::{Class, Millis, Snapshot};
use crate::tree::{Charge, Tree, demand_more, model_at};

impl Work {
    /// Makes pieces of a job's replicas: the gang as one, each above it by itself.
    pub(super) fn split(
        &mut self,
        snapshot: &Snapshot,
        tree: &Tree,
        job: usize,
        spots: Vec<(Millis, Spot)>,
        left: &mut [u32],
        promised: bool,
    ) {
        let mut gang: Vec<Spot> = Vec::new();
        let mut gang_started = Millis::MAX;
        for (started, spot) in spots {
            let left = &mut left[usize::from(spot.role)];
            if *left > 0 {
                *left -= 1;
                gang_started = gang_started.min(started);
                gang.push(spot);
            } else {
                self.push(snapshot, tree, job, vec![spot], started, (true, promised));
            }
        }
        if !gang.is_empty() {
            self.push(snapshot, tree, job, gang, gang_started, (false, promised));
        }
    }

    pub(super) fn push(
        &mut self,
        snapshot: &Snapshot,
        tree: &Tree,
        job: usize,
        spots: Vec<Spot>,
        started: Millis,
        (surplus, promised): (bool, bool),
    ) -> PieceIx {
        let of = &snapshot.jobs[job];
        // mostly they are on one model
        let mut demands = Vec::with_capacity(1);
        for spot in &spots {
            demand_more(&mut demands, &spot.each, model_at(snapshot, spot.node));
        }
        let ix = self.pieces.len();
        let leaf = tree.leaf(of.account, of.user);
        if of.class == Class::BestEffort {
            self.spare[leaf].push(ix);
        } else {
            self.of_leaf[leaf].push(ix);
        }
        let end = of.expected_ms.map(|runs| started.saturating_add(runs));
        for node in nodes_of(&spots) {
            self.on_node[node.at()].push(ix);
            let first = &mut self.first_end[node.at()];
            *first = end.unwrap_or(Millis::MAX).min(*first);
        }
        self.surplus_in[leaf] += u32::from(surplus);
        if promised {
            self.promised.push(ix);
        }
        self.has_mut(job).pieces.push(ix);
        self.pieces.push(Piece {
            job,
            leaf,
            line: tree.line(of.account),
            spots,
            demands,
            charge: Charge::of(of),
            surplus,
            promised,
            fresh: false,
            alive: true,
            started,
            end,
        });
        if of.class == Class::BestEffort {
            self.count_spare(ix, 1);
        }
        ix
    }
}
