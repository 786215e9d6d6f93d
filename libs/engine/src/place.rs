//! Where a gang goes: candidates by model, labels and topology, then the fewest and tightest nodes.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{KeyIx, ModelIx, Node, NodeIx, Placement, Request, Shape, Snapshot, ValueIx};
use crate::room::{Rooms, View};

/// Replicas to place together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Want {
    pub parts: Vec<Part>,
}

/// Replicas of one role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub role: u16,
    pub each: Shape,
    pub replicas: Vec<u32>,
}

impl Want {
    pub fn total(&self) -> u32 {
        let total: usize = self.parts.iter().map(|part| part.replicas.len()).sum();
        u32::try_from(total).unwrap_or(u32::MAX)
    }

    /// The largest shape, by which the want as a whole is judged.
    pub fn largest(&self) -> Shape {
        self.parts.iter().map(|part| part.each).max_by_key(|e| (e.gpu, e.cpu, e.memory)).unwrap_or_default()
    }
}

/// Which of the models that a request allows: a gang stays on one if it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Choice {
    /// One of [`Pool::models`], by index.
    Only(usize),
    /// Any of them.
    Mixed,
}

/// The nodes that a request may use.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pool {
    /// For roles without GPUs: every open node with the labels asked for.
    any: Vec<NodeIx>,
    /// For roles with GPUs, the preferred model first.
    pub models: Vec<(ModelIx, Vec<NodeIx>)>,
    mixed: Vec<NodeIx>,
    /// The value of the topology label on every node of the cluster.
    values: Option<Vec<Option<ValueIx>>>,
    required: bool,
}

fn has_labels(node: &Node, wanted: &[(KeyIx, ValueIx)]) -> bool {
    wanted.iter().all(|label| node.labels.contains(label))
}

pub(crate) fn value_of(node: &Node, key: KeyIx) -> Option<ValueIx> {
    node.labels.iter().find(|(k, _)| *k == key).map(|(_, value)| *value)
}

impl Pool {
    /// `usable` says which nodes count.
    pub fn new(nodes: &[Node], request: &Request, usable: impl Fn(&Node) -> bool) -> Self {
        let mut pool = Pool::default();
        let mut models: BTreeMap<ModelIx, Vec<NodeIx>> = BTreeMap::new();
        for (i, node) in nodes.iter().enumerate() {
            if !usable(node) || !has_labels(node, &request.selector) {
                continue;
            }
            let ix = NodeIx::of(i);
            pool.any.push(ix);
            if let Some(model) = node.model
                && (request.models.is_empty() || request.models.contains(&model))
            {
                models.entry(model).or_default().push(ix);
                pool.mixed.push(ix);
            }
        }
        if request.models.is_empty() {
            pool.models = models.into_iter().collect();
        } else {
            let preferred = request.models.iter().filter_map(|m| models.remove(m).map(|nodes| (*m, nodes)));
            pool.models = preferred.collect();
        }
        if let Some(topology) = request.topology {
            pool.values = Some(nodes.iter().map(|node| value_of(node, topology.key)).collect());
            pool.required = topology.required;
        }
        pool
    }

    /// What may be tried, in order.
    pub fn choices(&self, each: &Shape) -> Vec<Choice> {
        if each.gpu == 0 {
            return vec![Choice::Mixed];
        }
        let mut choices: Vec<Choice> = (0..self.models.len()).map(Choice::Only).collect();
        if self.models.len() > 1 {
            choices.push(Choice::Mixed);
        }
        choices
    }

    pub fn nodes(&self, each: &Shape, choice: Choice) -> &[NodeIx] {
        match choice {
            _ if each.gpu == 0 => &self.any,
            Choice::Only(i) => &self.models[i].1,
            Choice::Mixed => &self.mixed,
        }
    }

    pub fn value(&self, node: NodeIx) -> Option<ValueIx> {
        self.values.as_ref().and_then(|values| values[node.at()])
    }

    /// Must all replicas share one value of the topology label?
    pub fn bound(&self) -> bool {
        self.values.is_some() && self.required
    }

    /// Topology domains, the least free first; `[None]` (no restriction) last where it is allowed.
    pub fn domains(&self, rooms: &Rooms, view: View, each: &Shape, choice: Choice) -> Vec<Option<ValueIx>> {
        if self.values.is_none() {
            return vec![None];
        }
        let mut free: BTreeMap<ValueIx, i64> = BTreeMap::new();
        for node in self.nodes(each, choice) {
            if let Some(value) = self.value(*node) {
                *free.entry(value).or_default() += rooms.amount(view, *node, each);
            }
        }
        let mut by_room: Vec<(i64, ValueIx)> = free.into_iter().map(|(value, free)| (free, value)).collect();
        by_room.sort_unstable();
        let mut domains: Vec<Option<ValueIx>> = by_room.into_iter().map(|(_, value)| Some(value)).collect();
        if !self.required {
            domains.push(None);
        }
        domains
    }
}

/// Why a want found no place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Misfit {
    /// Replicas for which there is room, in the best domain.
    pub fit: u32,
    pub domain: Option<ValueIx>,
}

/// One try.
#[derive(Clone, Copy)]
pub(crate) struct Try<'a> {
    pub pool: &'a Pool,
    pub view: View,
    pub choice: Choice,
    /// The domain that the job is already bound to.
    pub pin: Option<ValueIx>,
}

/// Places all of `want` or nothing. What is placed is charged to `rooms`.
pub(crate) fn place(rooms: &mut Rooms, want: &Want, how: Try<'_>) -> Result<Vec<Placement>, Misfit> {
    let largest = want.largest();
    let domains = match how.pin {
        Some(value) => vec![Some(value)],
        None => how.pool.domains(rooms, how.view, &largest, how.choice),
    };
    let mut best = Misfit::default();
    for domain in domains {
        match place_within(rooms, want, how, domain) {
            Ok(placements) => return Ok(placements),
            Err(fit) if fit > best.fit || best.domain.is_none() => best = Misfit { fit, domain },
            Err(_) => {}
        }
    }
    Err(best)
}

fn place_within(
    rooms: &mut Rooms,
    want: &Want,
    how: Try<'_>,
    domain: Option<ValueIx>,
) -> Result<Vec<Placement>, u32> {
    let mut placed = Vec::new();
    let mut fit = 0;
    for part in by_size(want) {
        let caps = capacities(rooms, &part.each, part.replicas.len(), how, domain);
        let most = u32::try_from(part.replicas.len()).unwrap_or(u32::MAX);
        fit += caps.iter().map(|(cap, _)| *cap).fold(0, u32::saturating_add).min(most);
        fill(rooms, part, caps, how.view, &mut placed);
    }
    if placed.len() == want.total() as usize {
        return Ok(placed);
    }
    undo(rooms, want, how.view, &placed);
    Err(fit.min(want.total().saturating_sub(1)))
}

/// Places as many replicas as find room within one domain, and charges them.
pub(crate) fn place_some(
    rooms: &mut Rooms,
    want: &Want,
    how: Try<'_>,
    domain: Option<ValueIx>,
) -> Vec<Placement> {
    let mut placed = Vec::new();
    for part in by_size(want) {
        let caps = capacities(rooms, &part.each, part.replicas.len(), how, domain);
        fill(rooms, part, caps, how.view, &mut placed);
    }
    placed
}

/// Takes back what [`place`] charged.
pub(crate) fn undo(rooms: &mut Rooms, want: &Want, view: View, placed: &[Placement]) {
    for placement in placed {
        if let Some(part) = want.parts.iter().find(|part| part.role == placement.role) {
            rooms.give(view, placement.node, &part.each, &placement.gpus);
        }
    }
}

/// Charges placements again that were undone.
pub(crate) fn redo(rooms: &mut Rooms, want: &Want, view: View, placed: &[Placement]) {
    for placement in placed {
        if let Some(part) = want.parts.iter().find(|part| part.role == placement.role) {
            rooms.take(view, placement.node, &part.each, &placement.gpus);
        }
    }
}

/// The parts, those that are hardest to place first.
fn by_size(want: &Want) -> Vec<&Part> {
    let mut parts: Vec<&Part> = want.parts.iter().collect();
    parts
        .sort_by_key(|part| (std::cmp::Reverse((part.each.gpu, part.each.cpu, part.each.memory)), part.role));
    parts
}

fn capacities(
    rooms: &Rooms,
    each: &Shape,
    most: usize,
    how: Try<'_>,
    domain: Option<ValueIx>,
) -> Vec<(u32, NodeIx)> {
    let most = u32::try_from(most).unwrap_or(u32::MAX);
    let nodes = how.pool.nodes(each, how.choice).iter();
    nodes
        .filter(|node| domain.is_none() || how.pool.value(**node) == domain)
        .map(|node| (rooms.capacity(how.view, *node, each, most), *node))
        .filter(|(capacity, _)| *capacity > 0)
        .collect()
}

/// The fewest nodes: one that holds all that remains, the tightest of those; else the one that holds most.
fn fill(
    rooms: &mut Rooms,
    part: &Part,
    mut caps: Vec<(u32, NodeIx)>,
    view: View,
    placed: &mut Vec<Placement>,
) {
    let mut replicas = part.replicas.iter().copied();
    let mut left = u32::try_from(part.replicas.len()).unwrap_or(u32::MAX);
    let score = |rooms: &Rooms, cap: u32, node: NodeIx| (rooms.score(view, node, &part.each), cap, node);
    let several = caps.iter().all(|(cap, _)| *cap < left);
    if several {
        caps.sort_by_cached_key(|(cap, node)| (std::cmp::Reverse(*cap), score(rooms, *cap, *node)));
    }
    let mut from = 0;
    while left > 0 && from < caps.len() {
        let (cap, node) = if several && caps[from].0 < left {
            caps[from]
        } else {
            let holds_all = caps[from..].iter().filter(|(cap, _)| *cap >= left);
            *holds_all.min_by_key(|(cap, node)| score(rooms, *cap, *node)).unwrap_or(&caps[from])
        };
        from += 1;
        for _ in 0..cap.min(left) {
            let (Some(gpus), Some(replica)) = (rooms.devices(view, node, &part.each), replicas.next()) else {
                return;
            };
            rooms.take(view, node, &part.each, &gpus);
            placed.push(Placement { role: part.role, replica, node, gpus });
            left -= 1;
        }
    }
}

/// Requests that are equal, with their pools: judged once a cycle.
pub(crate) struct Shapes {
    /// Which shape a job has.
    of: Vec<usize>,
    pub pools: Vec<Pool>,
}

impl Shapes {
    pub fn new(snapshot: &Snapshot) -> Self {
        let mut seen: BTreeMap<&Request, usize> = BTreeMap::new();
        let mut pools = Vec::new();
        let mut of = Vec::with_capacity(snapshot.jobs.len());
        for job in &snapshot.jobs {
            let request: &Request = &job.request;
            let shape = *seen.entry(request).or_insert_with(|| {
                pools.push(Pool::new(&snapshot.nodes, request, |node| node.open && !node.lost));
                pools.len() - 1
            });
            of.push(shape);
        }
        Self { of, pools }
    }

    pub fn of(&self, job: usize) -> usize {
        self.of[job]
    }

    pub fn pool(&self, job: usize) -> &Pool {
        &self.pools[self.of[job]]
    }
}

/// What was found not to fit, while rooms only shrink.
#[derive(Default)]
pub(crate) struct Known {
    misfits: BTreeSet<(usize, u32, View, Choice)>,
}

impl Known {
    /// `part` tells the gang (0) from a single replica of a role (1 + role).
    pub fn misfit(&self, shape: usize, part: u32, view: View, choice: Choice) -> bool {
        self.misfits.contains(&(shape, part, view, choice))
    }

    pub fn remember(&mut self, shape: usize, part: u32, view: View, choice: Choice) {
        self.misfits.insert((shape, part, view, choice));
    }

    /// Room became free: nothing is known any more.
    pub fn forget(&mut self) {
        self.misfits.clear();
    }
}
