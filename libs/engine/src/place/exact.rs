//! A place for roles that are in each other's way, where there are so few nodes that all ways can be tried.
//!
//! What packs one role best may leave no room for the next. The larger roles are spread in every way over the nodes that have room, as many
//! on each as it holds first; the search is given up after so many steps.

use super::{Part, Placement, Try, Want, by_size, capable};
use crate::model::NodeIx;
use crate::pool::Within;
use crate::room::Rooms;

/// So many nodes at most may have room for a role.
const NODES: usize = 16;
/// So many replicas at most are placed.
const REPLICAS: u32 = 32;
/// So many steps at most are taken for one want, in all topology domains.
pub(super) const STEPS: u32 = 2000;

struct Search<'a> {
    rooms: &'a mut Rooms,
    how: Try<'a>,
    /// The larger roles first, with the nodes that have room for them.
    parts: Vec<(&'a Part, Vec<NodeIx>)>,
    placed: Vec<Placement>,
    left: u32,
}

/// Places all of `want` or nothing; what is placed is charged. `steps`: so many may still be taken.
pub(super) fn search(
    rooms: &mut Rooms,
    want: &Want,
    how: Try<'_>,
    within: Within<'_>,
    steps: &mut u32,
) -> Option<Vec<Placement>> {
    if want.parts.len() < 2 || want.total() > REPLICAS || *steps == 0 {
        return None;
    }
    let mut parts = Vec::new();
    for part in by_size(want) {
        let all = u32::try_from(part.replicas.len()).unwrap_or(u32::MAX);
        let mut nodes = capable(rooms, &part.each, all, how, within);
        let room = nodes.iter().map(|(capacity, _, _)| capacity.0).fold(0, u32::saturating_add);
        if room < all || nodes.len() > NODES {
            return None;
        }
        nodes.sort_unstable_by_key(|(_, _, node)| *node);
        parts.push((part, nodes.into_iter().map(|(_, _, node)| node).collect()));
    }
    let mut search = Search { rooms, how, parts, placed: Vec::new(), left: *steps };
    let found = search.descend(0, 0, 0);
    *steps = search.left;
    found.then_some(search.placed)
}

impl Search<'_> {
    /// Places what is left of a role, of which so many are placed, on its nodes from `node` on, and then the roles after it.
    fn descend(&mut self, part: usize, node: usize, done: usize) -> bool {
        let Some((of, nodes)) = self.parts.get(part) else { return true };
        let (each, left) = (of.each, &of.replicas[done..]);
        if left.is_empty() {
            return self.descend(part + 1, 0, 0);
        }
        self.left = self.left.saturating_sub(1);
        let most = u32::try_from(left.len()).unwrap_or(u32::MAX);
        let rest = nodes[node..].iter().map(|node| self.rooms.capacity(self.how.view, *node, &each, most));
        let rest = rest.fold(0, u32::saturating_add);
        if self.left == 0 || rest < most {
            return false;
        }
        let (at, role, left) = (nodes[node], of.role, left.to_vec());
        let before = self.placed.len();
        for replica in left {
            let Some(gpus) = self.rooms.devices(self.how.view, at, &each) else { break };
            self.rooms.take(self.how.view, at, &each, &gpus);
            self.placed.push(Placement { role, replica, node: at, gpus });
        }
        loop {
            let here = self.placed.len() - before;
            if self.descend(part, node + 1, done + here) {
                return true;
            }
            if here == 0 {
                return false;
            }
            if let Some(last) = self.placed.pop() {
                self.rooms.give(self.how.view, at, &each, &last.gpus);
            }
        }
    }
}
