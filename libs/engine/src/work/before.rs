//! What was before a cycle touched it, so that everything can be put back.

use super::{Before, Has, Touched, Work, nodes_of};

impl Before {
    /// What a job had before it was touched; `None`: it was not.
    pub(super) fn of(&self, job: usize) -> Option<&Option<Box<Has>>> {
        let at = self.known.get(job).filter(|at| **at > 0)?;
        self.jobs.get(*at as usize - 1).map(|touched| &touched.has)
    }

    /// A job is about to be touched, which has this.
    pub(super) fn note(&mut self, job: usize, has: &Option<Box<Has>>) {
        if job >= self.known.len() {
            self.known.resize(job + 1, 0);
        }
        if self.known[job] == 0 {
            self.jobs.push(Touched { job, has: has.clone(), grant: 0 });
            self.known[job] = u32::try_from(self.jobs.len()).unwrap_or(u32::MAX);
        }
    }
}

impl Work {
    /// Where the grant of a job that got something in this cycle is among all, from 1; 0: there is none yet.
    pub fn grant_mut(&mut self, job: usize) -> Option<&mut u32> {
        self.before.note(job, &self.has[job]);
        let at = self.before.known.get(job)?;
        self.before.jobs.get_mut((*at as usize).checked_sub(1)?).map(|touched| &mut touched.grant)
    }

    /// From now on what is changed can be put back.
    pub fn begin(&mut self) {
        let mut known = std::mem::take(&mut self.before.known);
        self.before.jobs.iter().for_each(|touched| known[touched.job] = 0);
        known.resize(self.has.len(), 0);
        let (pieces, running) = (self.pieces.len(), self.running);
        self.before = Before { kept: true, pieces, running, known, ..Before::default() };
    }

    /// Puts everything back as it was at [`Work::begin`].
    pub fn roll_back(&mut self) {
        let mut before = std::mem::take(&mut self.before);
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
                self.settle_first_end(node);
            }
        }
        for ix in before.touched {
            let piece = &mut self.pieces[ix];
            (piece.alive, piece.fresh) = (true, false);
        }
        for Touched { job, has, .. } in before.jobs {
            self.has[job] = has;
            before.known[job] = 0;
        }
        self.before.known = before.known;
        self.promised.clear();
        self.running = before.running;
    }
}
