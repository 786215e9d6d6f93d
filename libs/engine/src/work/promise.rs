//! Promises of the last cycle: which still stand.

use super::{Spot, Work};
use crate::model::{Class, Hold, Snapshot};
use crate::pool::Choice;
use crate::room::{Rooms, View};
use crate::shapes::Shapes;
use crate::tree::{Asker, Tree, demand_more, model_at};

impl Work {
    /// Promises of the last cycle that still stand.
    pub fn promise(&mut self, snapshot: &Snapshot, tree: &mut Tree, rooms: &mut Rooms, shapes: &Shapes) {
        let mut holds: Vec<&Hold> = snapshot.holds.iter().collect();
        holds.sort_by_key(|hold| (hold.since, hold.job));
        for hold in holds {
            self.promise_again(snapshot, tree, rooms, hold, shapes);
        }
    }

    /// A promise of the last cycle stands while its room is there or coming, and limits allow it.
    fn promise_again(
        &mut self,
        snapshot: &Snapshot,
        tree: &mut Tree,
        rooms: &mut Rooms,
        hold: &Hold,
        shapes: &Shapes,
    ) {
        let job = hold.job.at();
        let of = &snapshot.jobs[job];
        if of.closed || self.has(job).unconfirmed.is_some() || self.has(job).is_promised() {
            return;
        }
        let mut spots = Vec::new();
        let mut left = Vec::new();
        for (index, role) in of.request.roles.iter().enumerate() {
            let live = u32::try_from(self.has(job).live(index).len()).unwrap_or(u32::MAX);
            left.push(role.min.saturating_sub(live));
        }
        let mut sorted = hold.placements.clone();
        sorted.sort();
        sorted.dedup_by_key(|p| (p.role, p.replica));
        sorted.retain(|p| !self.has(job).live(usize::from(p.role)).contains(p.replica));
        let mut taken: Vec<Spot> = Vec::new();
        let pool = shapes.pool(job);
        for place in sorted {
            let each = of.request.roles[usize::from(place.role)].each;
            let gpus: i64 = place.gpus.iter().map(|(_, milli)| milli).sum();
            let allowed = pool.nodes(&each, Choice::Mixed).binary_search(&place.node).is_ok();
            let fits = allowed && gpus == each.gpu && rooms.has(View::Soon, place.node, &each, &place.gpus);
            if !fits {
                continue;
            }
            rooms.take(View::Soon, place.node, &each, &place.gpus);
            let spot =
                Spot { role: place.role, replica: place.replica, node: place.node, each, gpus: place.gpus };
            taken.push(spot.clone());
            spots.push((hold.since, spot));
        }
        let mut counts = vec![0u32; left.len()];
        for spot in &taken {
            counts[usize::from(spot.role)] += 1;
        }
        let whole = counts.iter().zip(&left).all(|(have, need)| have >= need);
        let mut demands = Vec::new();
        for spot in &taken {
            demand_more(&mut demands, &spot.each, model_at(snapshot, spot.node));
        }
        let leaf = tree.leaf(of.account, of.user);
        let asker = Asker { leaf, best_effort: of.class == Class::BestEffort, enters: !self.has(job).runs() };
        if !whole || tree.bound(asker, &demands, false).is_some() {
            for spot in &taken {
                rooms.give(View::Soon, spot.node, &spot.each, &spot.gpus);
            }
            return;
        }
        let first = self.pieces.len();
        self.split(snapshot, tree, job, spots, &mut left, true);
        for ix in first..self.pieces.len() {
            self.charge_new(tree, ix);
        }
    }
}
