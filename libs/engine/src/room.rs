//! How much room each node has, now and soon; the only place where amounts on nodes are added and taken.

use crate::model::{Node, NodeIx, Shape, Snapshot, WHOLE_GPU};

/// What is free on a node. Negative where more is held than there is (a node that shrank).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Room {
    pub cpu: i64,
    pub memory: i64,
    /// Milli-GPU free of each device; 0 for a device that may not be given.
    pub gpus: Vec<i64>,
}

impl Room {
    /// A node without any of our work. `everything`: as if others and broken devices were no hindrance either.
    pub fn empty(node: &Node, everything: bool) -> Self {
        let mut gpus = vec![WHOLE_GPU; usize::from(node.gpus)];
        if everything {
            return Self { cpu: node.cpu, memory: node.memory, gpus };
        }
        for (device, milli) in &node.others_gpus {
            gpus[usize::from(*device)] -= milli;
        }
        for device in &node.bad_gpus {
            gpus[usize::from(*device)] = 0;
        }
        Self { cpu: node.cpu - node.others_cpu, memory: node.memory - node.others_memory, gpus }
    }

    pub fn add(&mut self, each: &Shape, gpus: &[(u16, i64)]) {
        self.cpu += each.cpu;
        self.memory += each.memory;
        for (device, milli) in gpus {
            self.gpus[usize::from(*device)] += milli;
        }
    }

    pub fn take(&mut self, each: &Shape, gpus: &[(u16, i64)]) {
        self.cpu -= each.cpu;
        self.memory -= each.memory;
        for (device, milli) in gpus {
            self.gpus[usize::from(*device)] -= milli;
        }
    }

    fn as_ref(&self) -> Free<'_> {
        Free { one: self, other: self }
    }

    /// How many replicas fit, at most `most`.
    pub fn capacity(&self, each: &Shape, most: u32) -> u32 {
        self.as_ref().capacity(each, most)
    }
}

/// What two rooms both have free: the smaller of each amount.
#[derive(Clone, Copy)]
struct Free<'a> {
    one: &'a Room,
    other: &'a Room,
}

impl Free<'_> {
    fn cpu(&self) -> i64 {
        self.one.cpu.min(self.other.cpu)
    }

    fn memory(&self) -> i64 {
        self.one.memory.min(self.other.memory)
    }

    fn gpus(&self) -> impl Iterator<Item = i64> + '_ {
        self.one.gpus.iter().zip(&self.other.gpus).map(|(a, b)| *a.min(b))
    }

    fn capacity(&self, each: &Shape, most: u32) -> u32 {
        let mut fit = i64::from(most);
        if each.cpu > 0 {
            fit = fit.min(self.cpu() / each.cpu);
        }
        if each.memory > 0 {
            fit = fit.min(self.memory() / each.memory);
        }
        if fit > 0 && each.gpu >= WHOLE_GPU {
            let whole = self.gpus().filter(|free| *free >= WHOLE_GPU).count();
            fit = fit.min(i64::try_from(whole).unwrap_or(i64::MAX) / (each.gpu / WHOLE_GPU));
        } else if fit > 0 && each.gpu > 0 {
            fit = fit.min(self.gpus().map(|free| free.max(0) / each.gpu).sum());
        }
        u32::try_from(fit.max(0)).unwrap_or(most)
    }

    fn devices(&self, each: &Shape) -> Option<Vec<(u16, i64)>> {
        if (each.cpu > 0 && self.cpu() < each.cpu) || (each.memory > 0 && self.memory() < each.memory) {
            return None;
        }
        let numbered = || self.gpus().zip(0u16..);
        if each.gpu == 0 {
            Some(Vec::new())
        } else if each.gpu < WHOLE_GPU {
            // the fullest device that still has room: whole devices stay whole
            let (_, device) = numbered().filter(|(free, _)| *free >= each.gpu).min()?;
            Some(vec![(device, each.gpu)])
        } else {
            let want = usize::try_from(each.gpu / WHOLE_GPU).ok()?;
            let whole =
                numbered().filter(|(free, _)| *free >= WHOLE_GPU).map(|(_, device)| (device, WHOLE_GPU));
            let devices: Vec<_> = whole.take(want).collect();
            (devices.len() == want).then_some(devices)
        }
    }

    /// Smaller is the better fit: leaves the least that somebody else could use.
    fn score(&self, each: &Shape) -> (i64, i64) {
        let whole: i64 = self.gpus().map(|free| free.max(0)).sum();
        if each.gpu == 0 {
            (i64::from(!self.one.gpus.is_empty()), self.cpu())
        } else if each.gpu < WHOLE_GPU {
            (self.gpus().filter(|free| *free >= each.gpu).min().unwrap_or(i64::MAX), whole)
        } else {
            (whole, self.cpu())
        }
    }
}

/// Which room is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum View {
    /// What nobody holds at this instant, though it may be promised.
    Raw,
    /// What nobody holds and nobody is promised.
    Now,
    /// What nobody is promised, once everything revoked is gone.
    Soon,
}

/// The room of all nodes.
#[derive(Clone, Debug)]
pub(crate) struct Rooms {
    /// Less what is held, going or not.
    pub now: Vec<Room>,
    /// Less what is held and stays, less what is promised.
    pub soon: Vec<Room>,
}

impl Rooms {
    pub fn new(snapshot: &Snapshot) -> Self {
        let mut now: Vec<Room> = snapshot.nodes.iter().map(|node| Room::empty(node, false)).collect();
        let mut soon = now.clone();
        for held in &snapshot.holdings {
            now[held.node.at()].take(&held.each, &held.gpus);
            // what goes from a node that does not answer is not coming
            if !held.going || snapshot.nodes[held.node.at()].lost {
                soon[held.node.at()].take(&held.each, &held.gpus);
            }
        }
        Self { now, soon }
    }

    fn free(&self, view: View, node: NodeIx) -> Free<'_> {
        let (now, soon) = (&self.now[node.at()], &self.soon[node.at()]);
        match view {
            View::Raw => Free { one: now, other: now },
            View::Now => Free { one: now, other: soon },
            View::Soon => Free { one: soon, other: soon },
        }
    }

    pub fn capacity(&self, view: View, node: NodeIx, each: &Shape, most: u32) -> u32 {
        self.free(view, node).capacity(each, most)
    }

    pub fn devices(&self, view: View, node: NodeIx, each: &Shape) -> Option<Vec<(u16, i64)>> {
        self.free(view, node).devices(each)
    }

    pub fn score(&self, view: View, node: NodeIx, each: &Shape) -> (i64, i64) {
        self.free(view, node).score(each)
    }

    /// Is this exact room free?
    pub fn has(&self, view: View, node: NodeIx, each: &Shape, gpus: &[(u16, i64)]) -> bool {
        let free = self.free(view, node);
        (each.cpu == 0 || free.cpu() >= each.cpu)
            && (each.memory == 0 || free.memory() >= each.memory)
            && gpus.iter().all(|(device, milli)| {
                free.gpus().nth(usize::from(*device)).is_some_and(|have| have >= *milli)
            })
    }

    /// Milli-GPU free (or milli-cores, for work without GPUs).
    pub fn amount(&self, view: View, node: NodeIx, each: &Shape) -> i64 {
        let free = self.free(view, node);
        if each.gpu > 0 { free.gpus().map(|gpu| gpu.max(0)).sum() } else { free.cpu().max(0) }
    }

    /// Charges a placement: what is granted now is gone from every view, what is promised only from `Now` and `Soon`.
    pub fn take(&mut self, view: View, node: NodeIx, each: &Shape, gpus: &[(u16, i64)]) {
        if view != View::Soon {
            self.now[node.at()].take(each, gpus);
        }
        self.soon[node.at()].take(each, gpus);
    }

    /// Undoes [`Rooms::take`].
    pub fn give(&mut self, view: View, node: NodeIx, each: &Shape, gpus: &[(u16, i64)]) {
        if view != View::Soon {
            self.now[node.at()].add(each, gpus);
        }
        self.soon[node.at()].add(each, gpus);
    }
}
