//! What a node costs a replica under the placement policy that an administrator chose, from the mix of jobs that there is.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{ModelIx, Node, NodeIx, Placing, Request, Shape, Snapshot, WHOLE_GPU};
use crate::pool::{Choice, Pool};
use crate::room::{Room, Rooms, View};
use crate::score::exact::{Expected, Span, left_over, millionths};
use crate::score::outlook::Outlook;
use crate::score::scarcity::Scarcity;
use crate::score::{Ask, Models, Spare};
use crate::shapes::Shapes;

/// Shares put on one node at once are tried one after the other, but no more of them than this.
const MOST_SHARES: u32 = 64;

/// Less is better; between equals the smaller node ordinal.
pub(crate) type Cost = (i64, i64, i64);

/// How nodes are told apart. Found once a cycle.
#[derive(Clone, Debug)]
pub(crate) struct Scorer {
    rule: Rule,
    /// Of each node.
    sites: Vec<Site>,
    /// The kinds of the nodes of each group.
    kinds_in: Vec<BTreeSet<usize>>,
}

#[derive(Clone, Copy, Debug)]
struct Site {
    /// Nodes that are equal when empty are of a kind.
    kind: usize,
    model: u32,
    cpu: i64,
}

#[derive(Clone, Debug)]
enum Rule {
    BestFit(Span),
    Spread,
    Fragmentation(Expected),
    Crater(Outlook, Scarcity),
}

impl Scorer {
    /// For the jobs of a snapshot that are not over, those that wait and those that run; none where nodes are found without scores.
    pub fn new(s: &Snapshot, shapes: &Shapes, rooms: &Rooms) -> Option<Self> {
        if s.settings.placement == Placing::Pack {
            return None;
        }
        let (kinds, sites) = kinds(&s.nodes);
        let rule = match s.settings.placement {
            Placing::Pack => return None,
            Placing::BestFit => Rule::BestFit(Span {
                cpu: s.nodes.iter().map(|node| node.cpu).max().unwrap_or(0),
                gpu: s.nodes.iter().map(|node| i64::from(node.gpus) * WHOLE_GPU).max().unwrap_or(0),
            }),
            Placing::Spread => Rule::Spread,
            Placing::Fragmentation => Rule::Fragmentation(Expected::new(&mix(s, shapes))),
            Placing::Crater => {
                let mix = mix(s, shapes);
                let outlook = Outlook::new(&mix);
                let empty: Vec<Vec<i64>> =
                    kinds.iter().map(|node| vec![WHOLE_GPU; usize::from(node.gpus)]).collect();
                let empty: Vec<Spare<'_>> =
                    kinds.iter().zip(&empty).map(|(node, gpus)| vacant(node, gpus)).collect();
                let mut scarcity = Scarcity::new(&empty, &mix, &outlook);
                let mut left = vec![0; kinds.len()];
                for (at, node) in s.nodes.iter().enumerate().filter(|(_, node)| node.open && !node.lost) {
                    debug_assert!(
                        usize::from(node.gpus) == rooms.room(View::Soon, NodeIx::of(at)).gpus.len()
                    );
                    left[sites[at].kind] += outlook.useful(&rooms.room(View::Soon, NodeIx::of(at)).gpus);
                }
                scarcity.update(&left);
                Rule::Crater(outlook, scarcity)
            }
        };
        let mut kinds_in = vec![BTreeSet::new(); shapes.groups.len()];
        for (site, group) in sites.iter().zip(&shapes.groups.of) {
            kinds_in[*group as usize].insert(site.kind);
        }
        Some(Self { rule, sites, kinds_in })
    }

    /// The kind of a node: nodes that are equal when empty are of a kind.
    pub fn kind(&self, node: NodeIx) -> usize {
        self.sites[node.at()].kind
    }

    /// Does work without GPUs cost the same wherever no GPU is free, but for nodes without any?
    pub fn ignores_spent(&self) -> bool {
        matches!(self.rule, Rule::Crater(..))
    }

    /// Does each replica go to a node by itself, as far as there are enough?
    pub fn spreads(&self) -> bool {
        matches!(self.rule, Rule::Spread)
    }

    /// What it costs to put `times` replicas on a node, which has room for them.
    pub fn cost(&self, node: NodeIx, room: &Room, each: &Shape, times: u32) -> Cost {
        let site = self.sites[node.at()];
        let ask = ask_of(each, &[], 1);
        let (mut after, mut lost) = (room.clone(), 0);
        if ask.is_share() {
            for _ in 0..times.min(MOST_SHARES) {
                let Some(gpus) = self.devices(node, &after, each) else { break };
                if let Rule::Crater(outlook, scarcity) = &self.rule {
                    lost += outlook.loss(&site.spare(&after), &ask) + scarcity.surcharge(site.kind, &ask);
                }
                after.take(each, &gpus);
            }
        } else {
            let all = ask_of(each, &[], times);
            if let Rule::Crater(outlook, scarcity) = &self.rule {
                lost = outlook.loss(&site.spare(room), &all) + scarcity.surcharge(site.kind, &all);
            }
            let gpus: Vec<(u16, i64)> = (0u16..)
                .zip(&room.gpus)
                .filter(|(_, free)| **free >= WHOLE_GPU)
                .take(all.devices as usize)
                .map(|(device, _)| (device, WHOLE_GPU))
                .collect();
            after.take(&Shape { cpu: all.cpu, memory: all.memory, ..Shape::default() }, &gpus);
        }
        let spare = site.spare(&after);
        // work without devices belongs on nodes without
        let astray = i64::from(each.gpu == 0 && each.extended.is_empty() && room.equipped());
        match &self.rule {
            Rule::BestFit(span) => (astray, left_over(&spare, *span), 0),
            Rule::Spread if each.gpu == 0 => (astray, -millionths(after.cpu, site.cpu), 0),
            Rule::Spread => {
                let all = i64::try_from(after.gpus.len()).unwrap_or(i64::MAX / WHOLE_GPU) * WHOLE_GPU;
                (-millionths(after.milli(), all), -millionths(after.cpu, site.cpu), 0)
            }
            Rule::Fragmentation(expected) => {
                let more = expected.wasted(&spare) - expected.wasted(&site.spare(room));
                let tight = room.score(each);
                (more, tight.0, tight.1)
            }
            Rule::Crater(_, scarcity) => (scarcity.cost(site.kind, lost, &Ask::default()), astray, 0),
        }
    }

    /// How much more others need a model than there is of it, for who would take any: the dearer one is tried later. Thousandths of a GPU.
    pub fn dearness(&self, pool: &Pool, choice: Choice, each: &Shape) -> (bool, i64) {
        let Rule::Crater(_, scarcity) = &self.rule else { return (false, 0) };
        let groups = pool.list(each, choice).groups.iter();
        let kinds = groups.flat_map(|group| &self.kinds_in[*group as usize]);
        let prices = kinds.map(|kind| scarcity.price(*kind));
        (choice == Choice::Mixed, prices.min().unwrap_or(0))
    }

    /// Which devices of a node one replica gets.
    pub fn devices(&self, node: NodeIx, room: &Room, each: &Shape) -> Option<Vec<(u16, i64)>> {
        let tightest = room.devices(each)?;
        if each.gpu == 0 || each.gpu >= WHOLE_GPU {
            return Some(tightest);
        }
        let fit = || (0u16..).zip(room.gpus.iter().copied()).filter(|(_, free)| *free >= each.gpu);
        let device = match &self.rule {
            Rule::BestFit(_) | Rule::Crater(..) => return Some(tightest),
            Rule::Spread => fit().max_by_key(|(device, free)| (*free, u16::MAX - device)),
            Rule::Fragmentation(expected) => fit().min_by_key(|(device, free)| {
                let mut after = room.clone();
                after.take(each, &[(*device, each.gpu)]);
                (expected.wasted(&self.sites[node.at()].spare(&after)), *free, *device)
            }),
        };
        device.map(|(device, _)| vec![(device, each.gpu)])
    }
}

impl Site {
    fn spare(self, room: &Room) -> Spare<'_> {
        Spare { cpu: room.cpu, memory: room.memory, gpus: &room.gpus, model: self.model }
    }
}

fn vacant<'a>(node: &Node, gpus: &'a [i64]) -> Spare<'a> {
    Spare { cpu: node.cpu, memory: node.memory, gpus, model: model_of(node) }
}

fn model_of(node: &Node) -> u32 {
    node.model.map_or(Models::MOST, |model| model.0)
}

/// A node of each kind, and the kind of each node.
fn kinds(nodes: &[Node]) -> (Vec<&Node>, Vec<Site>) {
    let mut known: BTreeMap<(Option<ModelIx>, u16, i64, i64), usize> = BTreeMap::new();
    let mut firsts = Vec::new();
    let mut sites = Vec::with_capacity(nodes.len());
    for node in nodes {
        let kind = *known.entry((node.model, node.gpus, node.cpu, node.memory)).or_insert_with(|| {
            firsts.push(node);
            firsts.len() - 1
        });
        sites.push(Site { kind, model: model_of(node), cpu: node.cpu });
    }
    (firsts, sites)
}

/// How many replicas of each shape the jobs want that are not over.
fn mix(s: &Snapshot, shapes: &Shapes) -> Vec<(Ask, u32)> {
    let mut jobs = vec![0u32; shapes.len()];
    for (ix, _) in s.jobs.iter().enumerate().filter(|(_, job)| !job.closed) {
        jobs[shapes.of(ix)] += 1;
    }
    let mut mix: BTreeMap<Ask, u32> = BTreeMap::new();
    for (shape, jobs) in jobs.into_iter().enumerate().filter(|(_, jobs)| *jobs > 0) {
        let request: &Request = shapes.request(shape);
        for role in &request.roles {
            let count = mix.entry(ask_of(&role.each, &request.models, 1)).or_default();
            *count = count.saturating_add(jobs.saturating_mul(role.replicas));
        }
    }
    mix.into_iter().collect()
}

/// So many replicas as one task; of a share no more than one.
fn ask_of(each: &Shape, models: &[ModelIx], times: u32) -> Ask {
    let (devices, milli) = match each.gpu {
        0 => (0, 0),
        share if share < WHOLE_GPU => (1, share),
        whole => {
            let devices = u32::try_from(whole / WHOLE_GPU).unwrap_or(u32::MAX);
            (devices.saturating_mul(times), WHOLE_GPU)
        }
    };
    let times = i64::from(times);
    Ask {
        cpu: each.cpu.saturating_mul(times),
        memory: each.memory.saturating_mul(times),
        devices,
        milli,
        models: models.iter().fold(Models::default(), |all, model| all.with(model.0)),
    }
}
