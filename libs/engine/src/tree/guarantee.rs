//! What is guaranteed: who is inside, who is owed it, and what does not count as borrowed.
//!
//! Work counts against a guarantee in an order: what may not be preempted, what a child was promised, then by priority and submission. A piece is inside
//! where it fits with all that goes before it, whether that is inside or not: who uses more than the guarantee is owed nothing.

use super::demand::sum;
use super::{CPU, Demand, Entry, GPU, Holder, MEMORY, MODELS, Reach, Tree, Vertex};

impl Entry {
    /// All work that is no best effort.
    pub(super) fn stays(&self, r: usize) -> i64 {
        self.inside[r] + self.borrowed[r]
    }
}

impl Tree {
    /// Would this be inside the guarantee of `vertex`, beside so much of each resource?
    fn fits(&self, vertex: Vertex, demands: &[Demand], beside: impl Fn(usize) -> i64) -> bool {
        let entry = &self.entries[vertex];
        if !entry.promises {
            return false;
        }
        let wants_gpus = demands.iter().any(|d| d.gpu > 0);
        let mut judged = false;
        for r in 0..self.capacity.len() {
            let Some(promised) = entry.guaranteed.0[r] else { continue };
            let wanted = sum(demands, r, self.models);
            if wanted == 0 {
                continue;
            }
            if beside(r) + wanted > promised {
                return false;
            }
            judged |= r >= GPU || !wants_gpus;
        }
        // each model must be named, or GPUs in total, and whatever else is asked for by name
        let named =
            |d: &Demand| d.gpu == 0 || d.model.is_some_and(|m| entry.guaranteed.0[MODELS + m.at()].is_some());
        let by_name = |d: &Demand| {
            d.extended.iter().all(|(name, _)| entry.guaranteed.0[MODELS + self.models + name.at()].is_some())
        };
        let gpus = entry.guaranteed.0[GPU].is_some() || demands.iter().all(named);
        judged && gpus && demands.iter().all(by_name)
    }

    /// Would this be inside the guarantee of `vertex`, beside all that runs?
    pub fn covers(&self, vertex: Vertex, demands: &[Demand]) -> bool {
        self.fits(vertex, demands, |r| self.entries[vertex].stays(r))
    }

    /// The same, in the place of something that runs.
    pub fn covers_instead(&self, vertex: Vertex, demands: &[Demand], of: &[Demand]) -> bool {
        self.fits(vertex, demands, |r| self.entries[vertex].stays(r) - sum(of, r, self.models))
    }

    /// At which depths is this owed: would it be inside the guarantee with all that goes before it? What a child is owed goes before what others
    /// borrow below the same parent.
    pub fn owed(&self, leaf: Vertex, demands: &[Demand]) -> u64 {
        let (mut all, mut below) = (0, false);
        for vertex in self.path(leaf) {
            let entry = &self.entries[vertex];
            below = self.fits(vertex, demands, |r| if below { entry.kept[r] } else { entry.stays(r) });
            all |= u64::from(below) << entry.depth;
        }
        all
    }

    /// Would this be inside what the account of `leaf` is guaranteed for as long as it runs, beside what may not be preempted either? What is
    /// guaranteed to others below the account is theirs to come back to, and what a person is guaranteed is theirs whoever else uses it now.
    pub fn covers_for_good(&self, leaf: Vertex, demands: &[Demand]) -> bool {
        let firm = |vertex: Vertex| self.fits(vertex, demands, |r| self.entries[vertex].firm[r]);
        let person = matches!(self.entries[leaf].holder, Some(Holder::User(_)));
        (person && firm(leaf))
            || self
                .path(leaf)
                .find(|vertex| self.is_account(*vertex))
                .is_some_and(|account| firm(account) && self.leaves_promises(account, leaf, demands))
    }

    /// Is there enough of the guarantee of `account` for this beside what is guaranteed below it to others than `leaf`?
    fn leaves_promises(&self, account: Vertex, leaf: Vertex, demands: &[Demand]) -> bool {
        let above = self.depth(account);
        let way: Vec<Vertex> = self.path(leaf).take_while(|vertex| self.depth(*vertex) >= above).collect();
        let others = || way.iter().flat_map(|vertex| &self.children[*vertex]).filter(|v| !way.contains(v));
        let entry = &self.entries[account];
        (0..self.capacity.len()).all(|r| {
            let wanted = sum(demands, r, self.models);
            let Some(promised) = entry.guaranteed.0[r].filter(|_| wanted > 0) else { return true };
            let unused = others().map(|vertex| &self.entries[*vertex]);
            let unused = unused.filter_map(|of| of.guaranteed.0[r].map(|all| (all - of.firm[r]).max(0)));
            entry.firm[r] + wanted <= promised.saturating_sub(unused.fold(0, i64::saturating_add))
        })
    }

    /// How much more can be owed by the guarantee of a vertex, at the most: of each model in milli-GPU, and milli-cores of work without.
    pub fn uncovered(&self, vertex: Vertex) -> Reach {
        let entry = &self.entries[vertex];
        let below = !self.children[vertex].is_empty();
        let before = |r: usize| if below { entry.kept[r] } else { entry.stays(r) };
        let left = |r: usize| entry.guaranteed.0[r].map(|promised| promised - before(r));
        let models = (MODELS..MODELS + self.models).map(|r| left(GPU).or(left(r)).unwrap_or(0));
        // where no cpu is named, other names cover cpu work without bound
        let cpu = if entry.promises { left(CPU).unwrap_or(i64::MAX) } else { 0 };
        Reach { models: models.collect(), cpu }
    }

    /// [`Entry::allowance`] of a vertex to which something is guaranteed.
    pub(super) fn allowance(&self, vertex: Vertex) -> Vec<i64> {
        let promised = &self.entries[vertex].guaranteed.0;
        let models = promised[MODELS..MODELS + self.models].iter().flatten().copied();
        let gpus = promised[GPU].or_else(|| models.reduce(i64::saturating_add));
        let others = [CPU, MEMORY].into_iter().chain(MODELS + self.models..self.capacity.len());
        let parts = others.filter_map(|r| Some((promised[r]?, self.capacity[r])));
        // the greatest part of the cluster, of the resources that are named
        let parts = parts.chain(gpus.map(|gpus| (gpus, self.capacity[GPU]))).filter(|(_, all)| *all > 0);
        let (part, of) =
            parts
                .reduce(|a, b| {
                    if i128::from(a.0) * i128::from(b.1) < i128::from(b.0) * i128::from(a.1) { b } else { a }
                })
                .unwrap_or((0, 1));
        let implied = |r: usize| i128::from(self.capacity[r]) * i128::from(part) / i128::from(of);
        let all = (0..self.capacity.len())
            .map(|r| promised[r].unwrap_or_else(|| i64::try_from(implied(r)).unwrap_or(i64::MAX)));
        all.collect()
    }

    /// What is borrowed of a resource, were so much more held of it, and so many more GPUs in all; below 0, what is left of the guarantee. It is
    /// what is beyond the guarantee, but no more than the work that is not inside has; of a model that is not named no more than of all GPUs.
    pub(super) fn beyond(&self, entry: &Entry, r: usize, more: i64, gpus: i64) -> i64 {
        let borrowed = entry.borrowed[r] + more;
        if !entry.promises {
            return borrowed;
        }
        let is_model = (MODELS..MODELS + self.models).contains(&r);
        let over =
            |r: usize, more: i64| entry.guaranteed.0[r].map(|promised| entry.stays(r) + more - promised);
        let over = match is_model {
            true => over(r, more).max(over(GPU, gpus)).unwrap_or(borrowed),
            false => entry.stays(r) + more - entry.allowance[r],
        };
        over.min(borrowed)
    }
}
