//! Could this ever run, were the cluster empty?

use std::collections::BTreeMap;

use crate::model::{Node, NodeIx, Request, Shape, Snapshot, WHOLE_GPU};
use crate::place::{Part, Try, Want, holds, place, undo};
use crate::pool::{Choice, Pool};
use crate::reason::{Infeasible, Resource};
use crate::room::{Room, Rooms, View};
use crate::shapes::Shapes;

/// Judges a request against all nodes as if nothing ran on them, cordoned and broken ones included.
///
/// # Errors
/// The first thing that makes it impossible.
pub fn check_feasible(request: &Request, nodes: &[Node]) -> Result<(), Infeasible> {
    let (groups, pool) = Pool::alone(nodes, request);
    let rooms = nodes.iter().map(|node| Room::empty(node, true)).collect();
    feasible(request, nodes, &pool, &mut Rooms::of(rooms, &groups.of, groups.len()))
}

/// What was found out about shapes. It stands as long as the nodes are what they are.
#[derive(Default)]
pub(crate) struct Feasible {
    known: Vec<Option<Result<(), Infeasible>>>,
    /// By class of pool: the same on all nodes, the closed ones too.
    pools: BTreeMap<usize, Pool>,
    rooms: Option<Rooms>,
}

impl Feasible {
    /// Could a shape ever run?
    pub fn judge(&mut self, snapshot: &Snapshot, shapes: &Shapes, shape: usize) -> &Result<(), Infeasible> {
        if self.known.len() < shapes.len() {
            self.known.resize(shapes.len(), None);
        }
        self.known[shape].get_or_insert_with(|| {
            let (nodes, groups, request) = (&snapshot.nodes, &shapes.groups, shapes.request(shape));
            let rooms = self.rooms.get_or_insert_with(|| {
                let empty = nodes.iter().map(|node| Room::empty(node, true)).collect();
                Rooms::of(empty, &groups.of, groups.len())
            });
            if groups.all_usable() {
                return feasible(request, nodes, shapes.pool_of(shape), rooms);
            }
            let pool = self.pools.entry(shapes.class(shape)).or_insert_with(|| {
                let levels = shapes.pool_of(shape).levels().cloned();
                let required = request.topology.is_some_and(|asked| asked.required);
                let topology = levels.map(|levels| (levels, required));
                Pool::new(groups, &request.selector, &request.models, topology, true)
            });
            feasible(request, nodes, pool, rooms)
        })
    }
}

/// The same with the pool of the request on all nodes, and with their empty rooms (which are as before afterwards).
pub(crate) fn feasible(
    request: &Request,
    nodes: &[Node],
    pool: &Pool,
    rooms: &mut Rooms,
) -> Result<(), Infeasible> {
    let wants_gpus = request.roles.iter().any(|role| role.each.gpu > 0);
    let no_such_node =
        || Infeasible::NoSuchNode { selector: request.selector.clone(), models: request.models.clone() };
    if wants_gpus && pool.models.is_empty() {
        let mut known = nodes.iter().filter_map(|node| node.model);
        let exists = known.any(|model| request.models.is_empty() || request.models.contains(&model));
        return Err(if exists {
            no_such_node()
        } else {
            Infeasible::NoSuchModel { models: request.models.clone() }
        });
    }
    let widest = Shape::default();
    if pool.nodes(&widest, Choice::Mixed).is_empty() {
        return Err(no_such_node());
    }
    for (name, each) in request.roles.iter().flat_map(|r| r.each.extended.iter().map(|(n, _)| (n, &r.each))) {
        let offers =
            |node: &NodeIx| nodes[node.at()].extended.iter().any(|(known, n)| *known == name && *n > 0);
        if !pool.nodes(each, Choice::Mixed).iter().any(offers) {
            return Err(Infeasible::NoSuchExtended { name });
        }
    }
    for (index, role) in request.roles.iter().enumerate() {
        let how = Try { pool, view: View::Now, choice: Choice::Mixed, pin: None };
        if holds(rooms, &role.each, how) {
            continue;
        }
        let candidates = pool.nodes(&role.each, Choice::Mixed);
        let (resource, wanted, largest) = too_large(&role.each, candidates, nodes);
        let role = u16::try_from(index).unwrap_or(u16::MAX);
        return Err(Infeasible::ReplicaTooLarge { role, resource, wanted, largest });
    }
    gang_fits(request, pool, rooms)
}

/// Which resource of a replica no node has; if each alone would fit somewhere, the one fewest nodes have.
fn too_large(each: &Shape, candidates: &[NodeIx], nodes: &[Node]) -> (Resource, i64, i64) {
    let plain = [(each.gpu, Resource::Gpu), (each.memory, Resource::Memory), (each.cpu, Resource::Cpu)];
    let by_name = each.extended.iter().map(|(name, count)| (count, Resource::Extended(name)));
    let has = |node: &NodeIx, resource: Resource| {
        let node = &nodes[node.at()];
        match resource {
            Resource::Memory => node.memory,
            Resource::Cpu => node.cpu,
            Resource::Extended(name) => {
                let offered = node.extended.iter().filter(|(known, _)| *known == name);
                offered.map(|(_, count)| i64::from(*count)).sum()
            }
            _ => i64::from(node.gpus) * WHOLE_GPU,
        }
    };
    let wanted = plain.into_iter().chain(by_name).filter(|(wanted, _)| *wanted > 0);
    let enough =
        |wanted: i64, resource| candidates.iter().filter(|node| has(node, resource) >= wanted).count();
    let scarcest = wanted.min_by_key(|(wanted, resource)| enough(*wanted, *resource));
    let (wanted, resource) = scarcest.unwrap_or((0, Resource::Gpu));
    let largest = candidates.iter().map(|node| has(node, resource)).max().unwrap_or(0);
    (resource, wanted, largest)
}

fn gang_fits(request: &Request, pool: &Pool, rooms: &mut Rooms) -> Result<(), Infeasible> {
    let want = gang(request);
    let mut best = 0;
    for choice in pool.choices(&want.largest()) {
        match place(rooms, &want, Try { pool, view: View::Now, choice, pin: None }) {
            Ok(placed) => {
                undo(rooms, &want, View::Now, &placed);
                return Ok(());
            }
            Err(misfit) => best = best.max(misfit.fit),
        }
    }
    let key = request.topology.filter(|topology| topology.required).map(|topology| topology.key);
    if let (Some(key), 0) = (key, best)
        && pool.domains(rooms, View::Now, &want.largest(), Choice::Mixed).is_empty()
    {
        return Err(Infeasible::NoSuchTopology { key });
    }
    Err(Infeasible::GangTooLarge { fit: best, need: want.total(), key })
}

/// The replicas of a request that must start together.
pub(crate) fn gang(request: &Request) -> Want {
    let roles = request.roles.iter().enumerate().filter(|(_, role)| role.min > 0);
    let parts = roles.map(|(index, role)| Part {
        role: u16::try_from(index).unwrap_or(u16::MAX),
        each: role.each,
        replicas: (0..role.min).collect(),
    });
    Want { parts: parts.collect() }
}
