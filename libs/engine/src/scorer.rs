//! What a node costs a replica under the placement policy that an administrator chose, from the mix of jobs that there is.

mod mix;
mod sites;

use std::sync::Arc;

use crate::model::{NodeIx, Shape, WHOLE_GPU};
use crate::pool::{Choice, Pool};
use crate::room::{ByKind, Room};
use crate::score::Ask;
use crate::score::exact::{Expected, Span, left_over, millionths};
use crate::score::outlook::{Digest, Outlook};
use crate::score::scarcity::Scarcity;

pub(crate) use mix::{Mix, Mixture};
pub(crate) use sites::Sites;

/// Shares put on one node at once are tried one after the other, but no more of them than this.
const MOST_SHARES: u32 = 64;

/// Less is better; between equals the smaller node ordinal.
pub(crate) type Cost = (i64, i64, i64, i64);

/// How nodes are told apart. Found when that is first asked in a cycle.
#[derive(Clone, Debug)]
pub(crate) struct Scorer {
    rule: Rule,
    sites: Arc<Sites>,
}

#[derive(Clone, Debug)]
enum Rule {
    BestFit(Span),
    Spread,
    Fragmentation(Expected),
    Crater(Outlook, Scarcity),
}

impl Scorer {
    /// For the jobs that are in the mix, and what is left of each kind of node.
    pub fn new(mix: &Mix, left: &ByKind) -> Self {
        let sites = mix.sites().clone();
        let rule = match mix {
            Mix::BestFit(sites) => Rule::BestFit(sites.span()),
            Mix::Spread(_) => Rule::Spread,
            Mix::Fragmentation(wanted) => Rule::Fragmentation(wanted.expected()),
            Mix::Crater(wanted) => {
                let (outlook, mut scarcity) = wanted.judged();
                scarcity.update(&left.useful(&outlook));
                Rule::Crater(outlook, scarcity)
            }
        };
        Self { rule, sites }
    }

    /// Does work without GPUs cost the same wherever no GPU is free, but for nodes without any and for what is free of CPU?
    pub fn ignores_spent(&self) -> bool {
        matches!(self.rule, Rule::Crater(..))
    }

    /// Does each replica go to a node by itself, as far as there are enough?
    pub fn spreads(&self) -> bool {
        matches!(self.rule, Rule::Spread)
    }

    /// What it costs to put `times` replicas on a node, which has room for them.
    pub fn cost(&self, node: NodeIx, room: &Room, each: &Shape, times: u32) -> Cost {
        let site = self.sites.of(node);
        // work without devices belongs on nodes without
        let astray = i64::from(each.gpu == 0 && each.extended.is_empty() && room.equipped());
        if let Rule::Crater(outlook, scarcity) = &self.rule {
            let loss = |room: &Room, ask: &Ask| {
                // of whole devices nothing is a rest
                let idle = (room.milli() == room.whole() * WHOLE_GPU).then(|| Digest {
                    rest: 0,
                    useful: room.milli(),
                    idle: room.whole(),
                });
                let devices = idle.unwrap_or_else(|| outlook.digest(&room.gpus));
                outlook.loss_of(devices, &site.spare(room), ask) + scarcity.surcharge(site.kind(), ask)
            };
            let lost = if times > 1 && ask_of(each, 1).is_share() {
                self.one_by_one(node, room, each, times, loss).1
            } else {
                loss(room, &ask_of(each, times))
            };
            // the tightest of those that cost the same
            let tight = if each.gpu == 0 { (room.cpu, 0) } else { room.score(each) };
            return (scarcity.cost(site.kind(), lost, &Ask::default()), astray, tight.0, tight.1);
        }
        let after = if ask_of(each, 1).is_share() {
            self.one_by_one(node, room, each, times, |_, _| 0).0
        } else {
            with_all(room, &ask_of(each, times))
        };
        let spare = site.spare(&after);
        match &self.rule {
            Rule::BestFit(span) => (astray, left_over(&spare, *span), 0, 0),
            Rule::Fragmentation(expected) => {
                let more = expected.wasted(&spare) - expected.wasted(&site.spare(room));
                let tight = room.score(each);
                (more, tight.0, tight.1, 0)
            }
            Rule::Spread | Rule::Crater(..) if each.gpu == 0 => {
                (astray, -millionths(after.cpu, site.cpu), 0, 0)
            }
            Rule::Spread | Rule::Crater(..) => {
                let all = i64::try_from(after.gpus.len()).unwrap_or(i64::MAX / WHOLE_GPU) * WHOLE_GPU;
                (-millionths(after.milli(), all), -millionths(after.cpu, site.cpu), 0, 0)
            }
        }
    }

    /// Puts shares on a node one after the other: what it has free afterwards, and the sum of what each costs.
    fn one_by_one(
        &self,
        node: NodeIx,
        room: &Room,
        each: &Shape,
        times: u32,
        cost: impl Fn(&Room, &Ask) -> i64,
    ) -> (Room, i64) {
        let (mut after, mut sum) = (room.clone(), 0);
        for _ in 0..times.min(MOST_SHARES) {
            let Some(gpus) = self.devices(node, &after, each) else { break };
            sum += cost(&after, &ask_of(each, 1));
            after.take(each, &gpus);
        }
        (after, sum)
    }

    /// How much others need a model, for who would take any: the dearer one is tried later. Whether it is none by itself, what a GPU of it is worth
    /// more than of others (thousandths), and what is wanted of it.
    pub fn dearness(&self, pool: &Pool, choice: Choice, each: &Shape) -> (bool, i64, i64) {
        let Rule::Crater(_, scarcity) = &self.rule else { return (false, 0, 0) };
        let groups = pool.list(each, choice).groups.iter();
        let kinds = groups.flat_map(|group| self.sites.kinds_in(*group));
        let worth = kinds.map(|kind| (scarcity.price(kind), scarcity.wanted(kind))).min().unwrap_or((0, 0));
        (choice == Choice::Mixed, worth.0, worth.1)
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
                (expected.wasted(&self.sites.of(node).spare(&after)), *free, *device)
            }),
        };
        device.map(|(device, _)| vec![(device, each.gpu)])
    }
}

/// What a node has free with all of this on it: the first devices that are wholly free.
fn with_all(room: &Room, all: &Ask) -> Room {
    let mut after = room.clone();
    let whole = (0u16..).zip(&room.gpus).filter(|(_, free)| **free >= WHOLE_GPU);
    let gpus: Vec<(u16, i64)> =
        whole.take(all.devices as usize).map(|(device, _)| (device, WHOLE_GPU)).collect();
    after.take(&Shape { cpu: all.cpu, memory: all.memory, ..Shape::default() }, &gpus);
    after
}

/// So many replicas as one task; of a share no more than one.
fn ask_of(each: &Shape, times: u32) -> Ask {
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
        ..Ask::default()
    }
}
