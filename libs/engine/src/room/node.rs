//! What one node has free.

use crate::model::{Extended, ExtendedIx, Node, Shape, WHOLE_GPU};

/// What is free on a node. Negative where more is held than there is (a node that shrank).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Room {
    pub cpu: i64,
    pub memory: i64,
    /// Milli-GPU free of each device; 0 for a device that may not be given.
    pub gpus: Vec<i64>,
    /// How many are free of each device by name, as far as the node offers any.
    extended: Vec<i64>,
    offers: u64,
    /// Devices that are wholly free, and milli-GPU free in all: counted once, read often.
    whole: i64,
    milli: i64,
}

impl Room {
    pub fn new(cpu: i64, memory: i64, gpus: Vec<i64>) -> Self {
        let mut room = Self { cpu, memory, gpus, extended: Vec::new(), offers: 0, whole: 0, milli: 0 };
        room.count();
        room
    }

    /// A node without any of our work. `everything`: as if others and broken devices were no hindrance either.
    pub fn empty(node: &Node, everything: bool) -> Self {
        let mut gpus = vec![WHOLE_GPU; usize::from(node.gpus)];
        let offered = node.extended.iter().map(|(name, _)| name.at() + 1).max().unwrap_or(0);
        let mut extended = vec![0; offered];
        for (name, count) in &node.extended {
            extended[name.at()] += i64::from(*count);
        }
        let named = node.extended.iter().filter(|(_, count)| *count > 0);
        let offers = named.fold(0, |all, (name, _)| all | 1 << (name.at() % 64));
        if everything {
            return Self { extended, offers, ..Self::new(node.cpu, node.memory, gpus) };
        }
        for (name, count) in &node.others_extended {
            if let Some(free) = extended.get_mut(name.at()) {
                *free -= i64::from(*count);
            }
        }
        for (device, milli) in &node.others_gpus {
            gpus[usize::from(*device)] -= milli;
        }
        for device in &node.bad_gpus {
            gpus[usize::from(*device)] = 0;
        }
        let (cpu, memory) = (node.cpu - node.others_cpu, node.memory - node.others_memory);
        Self { extended, offers, ..Self::new(cpu, memory, gpus) }
    }

    /// Devices that are wholly free.
    pub fn whole(&self) -> i64 {
        self.whole
    }

    /// Milli-GPU free in all.
    pub fn milli(&self) -> i64 {
        self.milli
    }

    fn count(&mut self) {
        (self.whole, self.milli) = (0, 0);
        for free in &self.gpus {
            self.whole += i64::from(*free >= WHOLE_GPU);
            self.milli += free.max(&0);
        }
    }

    pub fn add(&mut self, each: &Shape, gpus: &[(u16, i64)]) {
        self.cpu += each.cpu;
        self.memory += each.memory;
        self.count_extended(each, 1);
        for (device, milli) in gpus {
            self.change(usize::from(*device), *milli);
        }
    }

    pub fn take(&mut self, each: &Shape, gpus: &[(u16, i64)]) {
        self.cpu -= each.cpu;
        self.memory -= each.memory;
        self.count_extended(each, -1);
        for (device, milli) in gpus {
            self.change(usize::from(*device), -milli);
        }
    }

    /// So much more is free of a device.
    fn change(&mut self, device: usize, milli: i64) {
        let before = self.gpus[device];
        let after = before + milli;
        self.gpus[device] = after;
        self.whole += i64::from(after >= WHOLE_GPU) - i64::from(before >= WHOLE_GPU);
        self.milli += after.max(0) - before.max(0);
    }

    fn count_extended(&mut self, each: &Shape, sign: i64) {
        // what a node no longer offers is not counted, whoever holds it
        for (name, count) in each.extended.iter() {
            if let Some(free) = self.extended.get_mut(name.at()) {
                *free += sign * count;
            }
        }
    }

    /// How many devices of a name are free.
    pub fn extended(&self, name: ExtendedIx) -> i64 {
        self.extended.get(name.at()).copied().unwrap_or(0)
    }

    /// Names of devices that the node offers, free or not; 64 names apart are told to be the same.
    pub fn offers(&self) -> u64 {
        self.offers
    }

    /// Has it GPUs or other devices, which work without should leave to others?
    pub fn equipped(&self) -> bool {
        !self.gpus.is_empty() || self.offers != 0
    }

    /// By how many devices by name it has less than another.
    pub fn lacks(&self, other: &Room) -> Vec<(ExtendedIx, u32)> {
        let both = self.extended.iter().zip(&other.extended).enumerate();
        let lacks = both.filter(|(_, (mine, theirs))| mine < theirs);
        lacks
            .map(|(name, (mine, theirs))| {
                (ExtendedIx::of(name), u32::try_from(theirs - mine).unwrap_or(u32::MAX))
            })
            .collect()
    }

    /// What it has of devices by name that another has not.
    pub fn beyond(&self, other: &Room) -> Extended {
        Extended::new(other.lacks(self)).unwrap_or_default()
    }

    /// As many as there are of some devices by name.
    pub fn available(&self, wanted: &Extended) -> Extended {
        let there = wanted.iter().map(|(name, count)| (name, count.min(self.extended(name)).max(0)));
        let there = there.map(|(name, count)| (name, u32::try_from(count).unwrap_or(u32::MAX)));
        Extended::new(there).unwrap_or_default()
    }

    /// Becomes a copy, without new memory where it was as large before.
    pub fn become_like(&mut self, other: &Room) {
        self.gpus.clone_from(&other.gpus);
        self.extended.clone_from(&other.extended);
        (self.cpu, self.memory, self.offers) = (other.cpu, other.memory, other.offers);
        (self.whole, self.milli) = (other.whole, other.milli);
    }

    /// Becomes what two rooms both have free.
    pub(super) fn meet(&mut self, one: &Room, other: &Room) {
        self.cpu = one.cpu.min(other.cpu);
        self.memory = one.memory.min(other.memory);
        for (free, (a, b)) in self.gpus.iter_mut().zip(one.gpus.iter().zip(&other.gpus)) {
            *free = *a.min(b);
        }
        for (free, (a, b)) in self.extended.iter_mut().zip(one.extended.iter().zip(&other.extended)) {
            *free = *a.min(b);
        }
        self.count();
    }

    /// Becomes no more than another.
    pub fn lower(&mut self, other: &Room) {
        self.cpu = self.cpu.min(other.cpu);
        self.memory = self.memory.min(other.memory);
        for (free, other) in self.gpus.iter_mut().zip(&other.gpus) {
            *free = (*free).min(*other);
        }
        for (free, other) in self.extended.iter_mut().zip(&other.extended) {
            *free = (*free).min(*other);
        }
        self.count();
    }

    /// Is this exact room free?
    pub fn has(&self, each: &Shape, gpus: &[(u16, i64)]) -> bool {
        (each.cpu == 0 || self.cpu >= each.cpu)
            && (each.memory == 0 || self.memory >= each.memory)
            && each.extended.iter().all(|(name, count)| self.extended(name) >= count)
            && gpus
                .iter()
                .all(|(device, milli)| self.gpus.get(usize::from(*device)).is_some_and(|f| f >= milli))
    }

    /// Does one replica fit?
    #[inline]
    pub fn holds(&self, each: &Shape) -> bool {
        let gpus = if each.gpu >= WHOLE_GPU {
            self.whole * WHOLE_GPU >= each.gpu
        } else {
            each.gpu == 0 || (self.milli >= each.gpu && self.gpus.iter().any(|free| *free >= each.gpu))
        };
        gpus && (each.cpu <= 0 || self.cpu >= each.cpu)
            && (each.memory <= 0 || self.memory >= each.memory)
            && each.extended.iter().all(|(name, count)| self.extended(name) >= count)
    }

    /// How many replicas fit, at most `most`.
    pub fn capacity(&self, each: &Shape, most: u32) -> u32 {
        if most == 1 {
            return u32::from(self.holds(each));
        }
        let mut fit = i64::from(most);
        if each.gpu >= WHOLE_GPU {
            fit = fit.min(self.whole * WHOLE_GPU / each.gpu);
        } else if each.gpu > 0 {
            if self.milli < each.gpu {
                return 0;
            }
            fit = fit.min(self.gpus.iter().map(|free| free.max(&0) / each.gpu).sum());
        }
        if fit > 0 && each.cpu > 0 {
            fit = fit.min(self.cpu / each.cpu);
        }
        if fit > 0 && each.memory > 0 {
            fit = fit.min(self.memory / each.memory);
        }
        if fit > 0 && !each.extended.is_empty() {
            let fits = each.extended.iter().map(|(name, count)| self.extended(name).max(0) / count);
            fit = fits.fold(fit, i64::min);
        }
        u32::try_from(fit.max(0)).unwrap_or(most)
    }

    /// Devices for one replica: the fullest that takes a share, the first that are wholly free.
    pub fn devices(&self, each: &Shape) -> Option<Vec<(u16, i64)>> {
        if (each.cpu > 0 && self.cpu < each.cpu) || (each.memory > 0 && self.memory < each.memory) {
            return None;
        }
        if each.extended.iter().any(|(name, count)| self.extended(name) < count) {
            return None;
        }
        let numbered = || self.gpus.iter().copied().zip(0u16..);
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
    pub fn score(&self, each: &Shape) -> (i64, i64) {
        if each.gpu == 0 {
            (i64::from(self.equipped()), self.cpu)
        } else if each.gpu < WHOLE_GPU {
            let tightest = self.gpus.iter().filter(|free| **free >= each.gpu).min();
            (tightest.copied().unwrap_or(i64::MAX), self.milli)
        } else {
            (self.milli, self.cpu)
        }
    }
}
