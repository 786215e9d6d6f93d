//! What was before a cycle touched it, so that everything can be put back.

use super::{Before, Work, nodes_of};
use crate::model::Snapshot;

impl Work {
    /// From now on what is changed can be put back.
    pub fn begin(&mut self) {
        self.before =
            Before { kept: true, pieces: self.pieces.len(), running: self.running, ..Before::default() };
    }

    /// Puts everything back as it was at [`Work::begin`].
    pub fn roll_back(&mut self, snapshot: &Snapshot) {
        let before = std::mem::take(&mut self.before);
        while self.pieces.len() > before.pieces {
            // lists are undone in the order in which they grew
            if self.pieces.last().is_some_and(|piece| piece.charge.best_effort) {
                self.count_spare(self.pieces.len() - 1, -1);
            }
            let Some(piece) = self.pieces.pop() else { break };
            self.surplus_in[piece.leaf] -= u32::from(piece.surplus);
            if piece.charge.best_effort {
                self.spare[piece.leaf].pop();
            } else {
                self.of_leaf[piece.leaf].pop();
            }
            for node in nodes_of(&piece.spots) {
                self.on_node[node.at()].pop();
                self.settle_first_end(snapshot, node);
            }
        }
        for ix in before.touched {
            let piece = &mut self.pieces[ix];
            (piece.alive, piece.fresh) = (true, false);
        }
        for (job, has) in before.jobs {
            self.has[job] = has;
        }
        self.promised.clear();
        self.running = before.running;
    }
}
