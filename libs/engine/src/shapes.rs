//! Requests that are equal are one shape: judged once, whoever asks.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::feasible::gang;
use crate::judge::bit;
use crate::model::{Extended, Job, ModelIx, Node, Request, Shape, Snapshot, Topology};
use crate::place::{Part, Want};
use crate::pool::{Choice, Groups, Pool, Selector};
use crate::room::View;
use crate::topology;
use crate::tree::Demand;

/// Index into [`Shapes::asks`].
pub(crate) type AskIx = usize;

/// Asks that are alike but for cpu and memory: of one pool, with the same devices for as many replicas. Which number a kin has says nothing.
pub(crate) type Kin = usize;

/// What equal jobs ask for at once: the gang of a shape, or one replica more of one of its roles.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub shape: usize,
    pub kin: Kin,
    /// For a job that has nothing yet.
    pub want: Arc<Want>,
    /// What it asks of quota, on each model that it may run on.
    pub options: Vec<(Choice, Vec<Demand>)>,
    /// All views and choices in which it may be placed, as bits; 0: they are too many.
    pub everywhere: u128,
    /// Milli-GPU in all, milli-cores and bytes.
    pub gpu: i64,
    pub cpu: i64,
    pub memory: i64,
    /// The models in whose line it waits; none: it is cpu work.
    pub line: Vec<ModelIx>,
}

/// What makes asks alike.
type KinOf = (usize, bool, Vec<(i64, Extended, usize)>);

struct Known {
    request: Arc<Request>,
    pool: usize,
    /// Where its asks begin: the gang, then each role.
    asks: AskIx,
}

/// All shapes, with the nodes that each may use.
pub(crate) struct Shapes {
    of: Vec<u32>,
    list: Vec<Known>,
    seen: BTreeMap<Arc<Request>, u32>,
    /// Requests by address, so that those that are shared are found without being compared.
    recent: Vec<(usize, u32)>,
    pub asks: Vec<Ask>,
    pools: Vec<Pool>,
    by_class: BTreeMap<PoolClass, usize>,
    levels: topology::Topology,
    /// By pool, whether it is one of several roles that may grow, and GPUs and replicas of each part.
    kins: BTreeMap<KinOf, Kin>,
    /// An ask of each kin.
    firsts: Vec<AskIx>,
    pub groups: Groups,
}

/// What makes two pools the same.
type PoolClass = (Selector, Vec<ModelIx>, Option<Topology>);

const RECENT: usize = 4096;

fn class_of(request: &Request) -> PoolClass {
    (request.selector.clone(), request.models.clone(), request.topology)
}

impl Shapes {
    pub fn new(snapshot: &Snapshot) -> Self {
        let mut shapes = Self {
            of: Vec::with_capacity(snapshot.jobs.len()),
            list: Vec::new(),
            seen: BTreeMap::new(),
            recent: vec![(0, 0); RECENT],
            asks: Vec::new(),
            pools: Vec::new(),
            by_class: BTreeMap::new(),
            levels: topology::Topology::default(),
            kins: BTreeMap::new(),
            firsts: Vec::new(),
            groups: Groups::default(),
        };
        let mut requests: Vec<Arc<Request>> = Vec::new();
        for job in &snapshot.jobs {
            let shape = shapes.find(&job.request).unwrap_or_else(|| {
                requests.push(job.request.clone());
                shapes.note(&job.request, requests.len() - 1)
            });
            shapes.of.push(shape);
        }
        let mut selectors: Vec<Selector> = requests.iter().map(|request| request.selector.clone()).collect();
        // jobs that want any node may come later
        selectors.push(Selector::new());
        selectors.sort_unstable();
        selectors.dedup();
        shapes.groups = Groups::new(&snapshot.nodes, selectors);
        for request in requests {
            shapes.push(&snapshot.nodes, request);
        }
        // an address says nothing once its request may be gone
        shapes.recent = Vec::new();
        shapes
    }

    fn slot(request: &Arc<Request>) -> (usize, usize) {
        let address = Arc::as_ptr(request).addr();
        (address, (address >> 4).wrapping_mul(0x9E37_79B9) >> 8 & (RECENT - 1))
    }

    fn find(&mut self, request: &Arc<Request>) -> Option<u32> {
        let (address, slot) = Self::slot(request);
        if self.recent[slot].0 == address {
            return Some(self.recent[slot].1);
        }
        let shape = *self.seen.get(request)?;
        self.recent[slot] = (address, shape);
        Some(shape)
    }

    fn note(&mut self, request: &Arc<Request>, shape: usize) -> u32 {
        let shape = u32::try_from(shape).unwrap_or(u32::MAX);
        self.seen.insert(request.clone(), shape);
        shape
    }

    fn push(&mut self, nodes: &[Node], request: Arc<Request>) {
        let class = class_of(&request);
        let pool = *self.by_class.entry(class).or_insert_with_key(|(selector, models, topology)| {
            let topology = topology.map(|asked| (self.levels.levels(nodes, asked.key), asked.required));
            self.pools.push(Pool::new(&self.groups, selector, models, topology, false));
            self.pools.len() - 1
        });
        let shape = self.list.len();
        let asks = self.asks.len();
        let wants =
            std::iter::once(gang(&request)).chain(request.roles.iter().zip(0u16..).map(|(role, ix)| Want {
                parts: vec![Part { role: ix, each: role.each, replicas: vec![0] }],
            }));
        for (part, want) in wants.enumerate() {
            let several = part > 0 && grow_in_several(&request);
            let parts = want
                .parts
                .iter()
                .map(|part| (part.each.gpu, part.each.extended, part.replicas.len()))
                .collect();
            let kin = *self.kins.entry((pool, several, parts)).or_insert_with(|| {
                self.firsts.push(self.asks.len());
                self.firsts.len() - 1
            });
            let ask = Ask::new(shape, kin, &self.pools[pool], want);
            self.asks.push(ask);
        }
        self.list.push(Known { request, pool, asks });
    }

    /// Which shape a job has.
    pub fn of(&self, job: usize) -> usize {
        self.of[job] as usize
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }

    pub fn request(&self, shape: usize) -> &Arc<Request> {
        &self.list[shape].request
    }

    /// What a job's gang asks for, or (1 + role) one replica more.
    pub fn ask(&self, job: usize, part: usize) -> AskIx {
        self.list[self.of(job)].asks + part
    }

    pub fn pool(&self, job: usize) -> &Pool {
        self.pool_of(self.of(job))
    }

    pub fn pool_of(&self, shape: usize) -> &Pool {
        &self.pools[self.list[shape].pool]
    }

    pub fn kins(&self) -> usize {
        self.firsts.len()
    }

    /// An ask of a kin; all others are like it, but for cpu and memory.
    pub fn first_of(&self, kin: Kin) -> AskIx {
        self.firsts[kin]
    }

    /// Which pool a shape has; equal numbers, equal nodes.
    pub fn class(&self, shape: usize) -> usize {
        self.list[shape].pool
    }

    pub fn classes(&self) -> usize {
        self.pools.len()
    }

    /// Takes note of a job that is new or asks for something else; false: its request tells nodes apart that were alike.
    pub fn set(&mut self, nodes: &[Node], ix: usize, job: &Job) -> bool {
        let shape = match self.seen.get(&job.request) {
            Some(shape) => *shape,
            None if self.groups.selector(&job.request.selector).is_none() => return false,
            None => {
                let shape = self.note(&job.request, self.list.len());
                self.push(nodes, job.request.clone());
                shape
            }
        };
        if ix >= self.of.len() {
            self.of.resize(ix + 1, shape);
        }
        self.of[ix] = shape;
        true
    }
}

/// Has a job several roles in which it may grow? The turn of one is that of the others too.
pub(crate) fn grow_in_several(request: &Request) -> bool {
    request.roles.iter().filter(|role| role.min < role.replicas).count() > 1
}

impl Ask {
    fn new(shape: usize, kin: Kin, pool: &Pool, want: Want) -> Self {
        let each = want.largest();
        let choices = pool.choices(&each).into_iter();
        let options: Vec<_> = choices.map(|choice| (choice, demands_for(pool, choice, &want))).collect();
        let bits = options.iter().flat_map(|(choice, _)| [bit(View::Now, *choice), bit(View::Soon, *choice)]);
        let everywhere = bits.sum::<Option<u128>>().unwrap_or(0);
        let total = |of: &dyn Fn(&Shape) -> i64| -> i64 {
            let parts = want.parts.iter();
            parts.map(|p| of(&p.each).saturating_mul(count(p))).fold(0, i64::saturating_add)
        };
        let [gpu, cpu] = [total(&|each| each.gpu), total(&|each| each.cpu)];
        let memory = total(&|each| each.memory);
        let line = if each.gpu == 0 { Vec::new() } else { pool.models.iter().map(|(m, _)| *m).collect() };
        Self { shape, kin, want: Arc::new(want), options, everywhere, gpu, cpu, memory, line }
    }
}

fn count(part: &Part) -> i64 {
    i64::try_from(part.replicas.len()).unwrap_or(i64::MAX)
}

/// What a want asks of quota when it goes where `choice` says.
pub(crate) fn demands_for(pool: &Pool, choice: Choice, want: &Want) -> Vec<Demand> {
    let model = match choice {
        Choice::Only(i) if want.largest().gpu > 0 => Some(pool.models[i].0),
        _ => None,
    };
    let mut demand = Demand { model, ..Demand::default() };
    for part in &want.parts {
        demand.add(&part.each, count(part));
    }
    vec![demand]
}
