//! What was borrowed lately, beside what is borrowed now.

use super::{CPU, Demand, MEMORY, MODELS, SHARE, Tree, Vertex};
use crate::model::{AccountIx, Snapshot};
use crate::usage::{Borrowed, FINE, Usage};

impl Tree {
    /// Takes in what the accounts of a snapshot borrowed lately.
    pub fn remember(&mut self, snapshot: &Snapshot) {
        let counts = snapshot.settings.half_life_ms > 0;
        let nothing = Borrowed::default();
        for account in 0..self.line_of.len() {
            let lately = snapshot.lately.get(account).filter(|_| counts).unwrap_or(&nothing);
            let (vertex, line) = (account + 1, self.line_of[account]);
            self.entries[vertex].lately = self.share_of_usage(vertex, &lately.all);
            if line != vertex {
                self.entries[line].lately = self.share_of_usage(line, &lately.own);
            }
        }
    }

    fn share_of_usage(&self, vertex: Vertex, usage: &Usage) -> i64 {
        let share = |r: usize, amount: i64, fine: i64| {
            let all = i128::from(self.entries[vertex].weight) * i128::from(self.capacity[r].max(1));
            i64::try_from(i128::from(amount) * SHARE / (all * i128::from(fine))).unwrap_or(i64::MAX)
        };
        let gpus = usage.gpu.iter().enumerate().take(self.models);
        let gpus = gpus.map(|(model, nano)| share(MODELS + model, *nano, FINE));
        let others = [share(CPU, usage.cpu, FINE), share(MEMORY, usage.memory, 1)];
        gpus.chain(others).max().unwrap_or(0).max(0)
    }

    /// By what siblings are ordered that borrow: the share of what is borrowed now and that of what was lately, together.
    pub fn standing(&self, vertex: Vertex) -> i64 {
        self.share(vertex).saturating_add(self.entries[vertex].lately)
    }

    /// The same with `demands` more (or less, by `sign`).
    pub fn standing_with(&self, vertex: Vertex, demands: &[Demand], sign: i64) -> i64 {
        self.share_with(vertex, demands, sign).saturating_add(self.entries[vertex].lately)
    }

    /// What each account borrows.
    pub fn borrowed(&self) -> Vec<Borrowed> {
        let of = |vertex: Vertex| self.usage(vertex);
        let accounts = (0..self.line_of.len()).map(AccountIx::of);
        let borrowed = accounts.map(|account| {
            let (vertex, line) = (account.at() + 1, self.line(account));
            Borrowed { all: of(vertex), own: if line == vertex { Usage::default() } else { of(line) } }
        });
        borrowed.collect()
    }

    fn usage(&self, vertex: Vertex) -> Usage {
        let entry = &self.entries[vertex];
        let amount = |r: usize| self.beyond(entry, r, 0, 0).max(0);
        let gpus = MODELS..MODELS + self.models;
        let gpu: Vec<i64> = gpus.map(|r| amount(r).saturating_mul(FINE)).collect();
        let last = gpu.iter().rposition(|nano| *nano != 0).map_or(0, |at| at + 1);
        Usage {
            cpu: amount(CPU).saturating_mul(FINE),
            memory: amount(MEMORY),
            gpu: gpu.into_iter().take(last).collect(),
        }
    }
}
