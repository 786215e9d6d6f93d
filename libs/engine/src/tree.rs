//! The account tree: who is promised what, who uses what, and whose limit binds.
//!
//! Its vertices are a root, the accounts, the own queue of an account that has children too, and people with quota of
//! their own. Every job sits in a leaf, so "the level at which two jobs part" always exists.

mod demand;
mod guarantee;
mod lately;
mod limits;
mod shares;

use crate::model::{AccountIx, Amounts, Class, Job, Preemptible, Snapshot, UserIx};
use crate::reason::{Holder, Resource};

pub(crate) use demand::{Demand, demand_more, demand_of, model_at};

/// Index of a vertex; 0 is the root.
pub(crate) type Vertex = usize;

const CPU: usize = 0;
const MEMORY: usize = 1;
const GPU: usize = 2;
const MODELS: usize = 3;

/// In what a share is counted.
const SHARE: i128 = 1_000_000_000_000_000;

/// Amounts by resource; `None` is not named.
#[derive(Clone, Debug)]
struct Named(Vec<Option<i64>>);

impl Named {
    fn new(amounts: &Amounts, models: usize, resources: usize) -> Self {
        let mut named = vec![None; resources];
        named[CPU] = amounts.cpu;
        named[MEMORY] = amounts.memory;
        named[GPU] = amounts.gpu;
        for (model, amount) in &amounts.gpu_models {
            named[MODELS + model.at()] = Some(*amount);
        }
        for (name, amount) in &amounts.extended {
            named[MODELS + models + name.at()] = Some(*amount);
        }
        Self(named)
    }

    fn names_gpus(&self, models: usize) -> bool {
        self.0[GPU..MODELS + models].iter().any(Option::is_some)
    }

    /// A child's promise is its parent's too, unless the parent speaks of GPUs in other terms.
    fn at_least(&mut self, children: &[Option<i64>], models: usize) {
        let speaks = self.names_gpus(models);
        for (r, sum) in children.iter().enumerate() {
            match (self.0[r], sum) {
                (Some(own), Some(sum)) => self.0[r] = Some(own.max(*sum)),
                (None, Some(sum)) if r < GPU || r >= MODELS + models || !speaks => self.0[r] = Some(*sum),
                _ => {}
            }
        }
    }
}

/// Jobs by how they count against a limit of jobs.
#[derive(Clone, Copy, Debug, Default)]
struct Jobs {
    limit: Option<i64>,
    stay: i64,
    promised: i64,
    going: i64,
}

impl Jobs {
    fn of(&mut self, counted: Counted) -> Option<&mut i64> {
        match counted {
            Counted::Not => None,
            Counted::Going => Some(&mut self.going),
            Counted::Promised => Some(&mut self.promised),
            Counted::Stays => Some(&mut self.stay),
        }
    }
}

/// How a job counts against limits of jobs: once, whatever the number of its replicas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Counted {
    /// It holds nothing, and nothing is kept for it.
    #[default]
    Not,
    /// All that it holds is going.
    Going,
    /// Room is kept for it.
    Promised,
    /// It holds something that stays.
    Stays,
}

/// Who is measured against limits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker {
    pub leaf: Vertex,
    pub best_effort: bool,
    /// With what it asks for, one job more would run.
    pub enters: bool,
}

#[derive(Clone, Debug)]
struct Entry {
    parent: Vertex,
    depth: u32,
    weight: i64,
    holder: Option<Holder>,
    guaranteed: Named,
    limit: Named,
    jobs: Jobs,
    limited: bool,
    /// What counts against limits and stays.
    used: Vec<i64>,
    /// What counts against limits and is going.
    going: Vec<i64>,
    /// What is inside the guarantee.
    inside: Vec<i64>,
    /// What is not.
    borrowed: Vec<i64>,
    /// Of both, what goes before whatever has no promise below: what is inside the guarantee of a child, and what may not be preempted.
    kept: Vec<i64>,
    /// Of both, what may not be preempted.
    firm: Vec<i64>,
    /// What does not count as borrowed of resources that are no GPU models: what is guaranteed, or, where that is not named, as great a part of
    /// the cluster as of what is.
    allowance: Vec<i64>,
    /// What runs as best effort.
    spare: Vec<i64>,
    /// The dominant share of what is borrowed, and that of what runs as best effort; counted once, read often.
    share: i64,
    spare_share: i64,
    /// The dominant share of what was borrowed lately.
    lately: i64,
    /// Is anything guaranteed here?
    promises: bool,
    /// Is anything guaranteed to a person in this queue?
    promises_to_people: bool,
    /// Is anything guaranteed to a vertex below the same top-level one, or to that?
    branch_promises: bool,
    /// At which charge it was charged last.
    charged: u64,
}

/// The most that somebody could have a right to: milli-GPU of each model, and milli-cores for work without GPUs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reach {
    pub models: Vec<i64>,
    pub cpu: i64,
}

impl Reach {
    /// Becomes what either allows.
    pub fn widen(&mut self, other: &Reach) {
        self.models.resize(self.models.len().max(other.models.len()), i64::MIN);
        for (mine, theirs) in self.models.iter_mut().zip(&other.models) {
            *mine = (*mine).max(*theirs);
        }
        self.cpu = self.cpu.max(other.cpu);
    }
}

/// A limit that binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bound {
    pub vertex: Vertex,
    pub holder: Holder,
    pub resource: Resource,
    pub used: i64,
    pub wanted: i64,
    pub limit: i64,
}

/// How a piece of work is charged: one bit for each depth at which it is inside the guarantee; best effort apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Charge {
    pub inside: u64,
    pub best_effort: bool,
    /// It may not be preempted.
    pub firm: bool,
}

impl Charge {
    /// As nothing is known yet of guarantees.
    pub fn of(job: &Job) -> Self {
        let best_effort = job.class == Class::BestEffort;
        Self { inside: 0, best_effort, firm: !best_effort && job.preemptible == Preemptible::Never }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Tree {
    entries: Vec<Entry>,
    children: Vec<Vec<Vertex>>,
    line_of: Vec<Vertex>,
    user_of: Vec<Vertex>,
    capacity: Vec<i64>,
    /// How many of the resources are GPU models.
    models: usize,
    best_effort_limited: bool,
    /// How often a vertex was charged.
    charges: u64,
    /// How many turns of guaranteed work wait at or below each vertex; no cycle changes that.
    waiting: Vec<u32>,
    before: Before,
}

/// What vertices were before they were touched, so that everything can be put back.
#[derive(Clone, Debug, Default)]
struct Before {
    kept: bool,
    touched: Vec<bool>,
    entries: Vec<(Vertex, Entry)>,
}

impl Tree {
    pub fn new(snapshot: &Snapshot) -> Self {
        let models = snapshot.models as usize;
        let resources = MODELS + models + snapshot.extended as usize;
        let blank = |parent, weight, holder, guaranteed: &Amounts, limit: &Amounts| {
            let jobs = Jobs { limit: limit.jobs, ..Jobs::default() };
            let limit = Named::new(limit, models, resources);
            Entry {
                parent,
                depth: 0,
                weight,
                holder,
                guaranteed: Named::new(guaranteed, models, resources),
                limited: jobs.limit.is_some() || limit.0.iter().any(Option::is_some),
                limit,
                jobs,
                used: vec![0; resources],
                going: vec![0; resources],
                inside: vec![0; resources],
                borrowed: vec![0; resources],
                kept: vec![0; resources],
                firm: vec![0; resources],
                allowance: Vec::new(),
                spare: vec![0; resources],
                share: 0,
                spare_share: 0,
                lately: 0,
                promises: false,
                promises_to_people: false,
                branch_promises: false,
                charged: 0,
            }
        };
        let none = Amounts::default();
        let mut entries = vec![blank(0, 1, None, &none, &none)];
        for (i, account) in snapshot.accounts.iter().enumerate() {
            let parent = account.parent.map_or(0, |p| p.at() + 1);
            let holder = Some(Holder::Account(AccountIx::of(i)));
            entries.push(blank(parent, account.weight, holder, &account.guaranteed, &account.limit));
        }
        let mut line_of: Vec<Vertex> = (1..=snapshot.accounts.len()).collect();
        for parent in snapshot.accounts.iter().filter_map(|account| account.parent) {
            if line_of[parent.at()] == parent.at() + 1 {
                line_of[parent.at()] = entries.len();
                entries.push(blank(parent.at() + 1, 1, None, &none, &none));
            }
        }
        let mut user_of = Vec::new();
        for (i, user) in snapshot.users.iter().enumerate() {
            user_of.push(entries.len());
            let holder = Some(Holder::User(UserIx::of(i)));
            entries.push(blank(line_of[user.account.at()], 1, holder, &user.guaranteed, &user.limit));
        }
        let mut children = vec![Vec::new(); entries.len()];
        for (vertex, entry) in entries.iter().enumerate().skip(1) {
            children[entry.parent].push(vertex);
        }
        let mut tree = Self {
            waiting: vec![0; entries.len()],
            entries,
            children,
            line_of,
            user_of,
            capacity: vec![0; resources],
            models,
            best_effort_limited: snapshot.settings.best_effort_limited,
            charges: 1,
            before: Before::default(),
        };
        tree.settle_depths();
        tree.settle_guarantees(resources);
        for vertex in 0..tree.entries.len() {
            tree.entries[vertex].promises = tree.entries[vertex].guaranteed.0.iter().any(Option::is_some);
        }
        for top in tree.children[0].clone() {
            let branch = tree.branch(top).1;
            let promises = branch.iter().any(|vertex| tree.entries[*vertex].promises);
            branch.into_iter().for_each(|vertex| tree.entries[vertex].branch_promises = promises);
        }
        for vertex in tree.user_of.clone() {
            let line = tree.entries[vertex].parent;
            tree.entries[line].promises_to_people |= tree.entries[vertex].promises;
        }
        for node in &snapshot.nodes {
            let gpu = i64::from(node.gpus) * crate::model::WHOLE_GPU;
            let all =
                Demand { cpu: node.cpu, memory: node.memory, gpu, model: node.model, ..Demand::default() };
            for (r, amount) in all.amounts(models) {
                tree.capacity[r] += amount;
            }
            for (name, count) in &node.extended {
                tree.capacity[MODELS + models + name.at()] += i64::from(*count);
            }
        }
        for vertex in 0..tree.entries.len() {
            if tree.entries[vertex].promises {
                tree.entries[vertex].allowance = tree.allowance(vertex);
            }
        }
        tree.remember(snapshot);
        tree
    }

    fn settle_depths(&mut self) {
        for vertex in 1..self.entries.len() {
            let mut depth = 1;
            let mut at = self.entries[vertex].parent;
            while at != 0 {
                depth += 1;
                at = self.entries[at].parent;
            }
            self.entries[vertex].depth = depth;
        }
    }

    fn settle_guarantees(&mut self, resources: usize) {
        let mut deepest: Vec<Vertex> = (1..self.entries.len()).collect();
        deepest.sort_by_key(|v| std::cmp::Reverse(self.entries[*v].depth));
        let mut sums: Vec<Vec<Option<i64>>> = vec![vec![None; resources]; self.entries.len()];
        for vertex in deepest {
            let children = std::mem::take(&mut sums[vertex]);
            let models = self.models;
            self.entries[vertex].guaranteed.at_least(&children, models);
            let parent = self.entries[vertex].parent;
            for (r, amount) in self.entries[vertex].guaranteed.0.iter().enumerate() {
                if let Some(amount) = amount {
                    sums[parent][r] = Some(sums[parent][r].unwrap_or(0).saturating_add(*amount));
                }
            }
        }
    }

    /// The vertex in whose queue an account's jobs wait.
    pub fn line(&self, account: AccountIx) -> Vertex {
        self.line_of[account.at()]
    }

    /// The leaf of a job.
    pub fn leaf(&self, account: AccountIx, user: Option<UserIx>) -> Vertex {
        user.map_or_else(|| self.line(account), |user| self.user_of[user.at()])
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn parent(&self, vertex: Vertex) -> Vertex {
        self.entries[vertex].parent
    }

    pub fn depth(&self, vertex: Vertex) -> u32 {
        self.entries[vertex].depth
    }

    /// Is it an account, and not the own queue of one?
    pub fn is_account(&self, vertex: Vertex) -> bool {
        matches!(self.entries[vertex].holder, Some(Holder::Account(_)))
    }

    /// From a vertex up to the top level, the root left out.
    pub fn path(&self, from: Vertex) -> impl Iterator<Item = Vertex> + '_ {
        let mut at = from;
        std::iter::from_fn(move || {
            let here = at;
            at = self.entries[at].parent;
            (here != 0).then_some(here)
        })
    }

    /// The vertices of two leaves just below the level at which they part; `None` when they are the same leaf.
    pub fn part(&self, a: Vertex, b: Vertex) -> Option<(Vertex, Vertex)> {
        if a == b {
            return None;
        }
        let (mut a, mut b) = (a, b);
        while self.depth(a) > self.depth(b) && self.parent(a) != b {
            a = self.parent(a);
        }
        while self.depth(b) > self.depth(a) && self.parent(b) != a {
            b = self.parent(b);
        }
        while self.depth(a) == self.depth(b) && self.parent(a) != self.parent(b) {
            (a, b) = (self.parent(a), self.parent(b));
        }
        Some((a, b))
    }

    /// Is one above the other, or the same?
    pub fn contains(&self, above: Vertex, leaf: Vertex) -> bool {
        self.path(leaf).any(|vertex| vertex == above)
    }

    /// Charges work that stays.
    pub fn add(&mut self, leaf: Vertex, demands: &[Demand], charge: Charge) {
        self.charge(leaf, demands, charge, 1);
    }

    /// Undoes [`Tree::add`].
    pub fn remove(&mut self, leaf: Vertex, demands: &[Demand], charge: Charge) {
        self.charge(leaf, demands, charge, -1);
    }

    fn charge(&mut self, leaf: Vertex, demands: &[Demand], charge: Charge, sign: i64) {
        let mut at = leaf;
        while at != 0 {
            self.charge_at(at, demands, charge, sign);
            at = self.entries[at].parent;
        }
    }

    /// Charges one vertex only; for whoever visits each level by itself.
    pub fn add_at(&mut self, vertex: Vertex, demands: &[Demand], charge: Charge) {
        self.charge_at(vertex, demands, charge, 1);
    }

    /// From now on what is changed can be put back.
    pub fn begin(&mut self) {
        self.before.kept = true;
        self.before.touched.resize(self.entries.len(), false);
    }

    /// Puts everything back as it was at [`Tree::begin`].
    pub fn roll_back(&mut self) {
        self.before.kept = false;
        self.charges += 1;
        for (vertex, entry) in std::mem::take(&mut self.before.entries) {
            self.before.touched[vertex] = false;
            self.entries[vertex] = Entry { charged: self.charges, ..entry };
        }
    }

    /// A vertex is about to change.
    fn touch(&mut self, vertex: Vertex) -> &mut Entry {
        if self.before.kept && !std::mem::replace(&mut self.before.touched[vertex], true) {
            self.before.entries.push((vertex, self.entries[vertex].clone()));
        }
        &mut self.entries[vertex]
    }

    /// A vertex is about to be charged.
    fn recharge(&mut self, vertex: Vertex) -> &mut Entry {
        self.charges += 1;
        let charges = self.charges;
        let entry = self.touch(vertex);
        entry.charged = charges;
        entry
    }

    /// How often any vertex was charged so far.
    pub fn charges(&self) -> u64 {
        self.charges
    }

    /// At which charge a vertex was charged last.
    pub fn charged(&self, vertex: Vertex) -> u64 {
        self.entries[vertex].charged
    }

    fn charge_at(&mut self, vertex: Vertex, demands: &[Demand], charge: Charge, sign: i64) {
        let limited = !charge.best_effort || self.best_effort_limited;
        let models = self.models;
        let entry = self.recharge(vertex);
        let kept = charge.firm || charge.inside & (2 << entry.depth) != 0;
        let share = match charge {
            Charge { best_effort: true, .. } => &mut entry.spare,
            Charge { inside, .. } if inside & (1 << entry.depth) != 0 => &mut entry.inside,
            Charge { .. } => &mut entry.borrowed,
        };
        for (r, amount) in demands.iter().flat_map(|demand| demand.amounts(models)) {
            share[r] += sign * amount;
            if kept {
                entry.kept[r] += sign * amount;
            }
            if charge.firm {
                entry.firm[r] += sign * amount;
            }
            if limited {
                entry.used[r] += sign * amount;
            }
        }
        if charge.best_effort {
            self.entries[vertex].spare_share = self.dominant(vertex, &self.entries[vertex].spare);
        } else {
            self.entries[vertex].share = self.share_with(vertex, &[], 0);
        }
    }

    /// Takes everything that stays off a vertex; for whoever charges it anew.
    pub fn clear(&mut self, vertex: Vertex) {
        let entry = self.recharge(vertex);
        let amounts = [&mut entry.used, &mut entry.inside, &mut entry.borrowed, &mut entry.spare];
        amounts.into_iter().chain([&mut entry.kept, &mut entry.firm]).for_each(|amounts| amounts.fill(0));
        (entry.share, entry.spare_share) = (0, 0);
    }

    /// The vertex at the top level above a leaf, and all below it.
    pub fn branch(&self, leaf: Vertex) -> (Vertex, Vec<Vertex>) {
        let top = self.path(leaf).last().unwrap_or(leaf);
        let mut all = vec![top];
        let mut next = 0;
        while let Some(vertex) = all.get(next) {
            all.extend(&self.children[*vertex]);
            next += 1;
        }
        (top, all)
    }

    /// Is anything guaranteed in the branch of a leaf?
    pub fn branch_promises(&self, leaf: Vertex) -> bool {
        self.entries[leaf].branch_promises
    }

    /// Is anything guaranteed to a vertex?
    pub fn promises(&self, vertex: Vertex) -> bool {
        self.entries[vertex].promises
    }

    /// Is anything guaranteed to a person in this queue?
    pub fn promises_to_people(&self, line: Vertex) -> bool {
        self.entries[line].promises_to_people
    }

    pub fn resources(&self) -> usize {
        self.capacity.len()
    }

    pub fn models(&self) -> usize {
        self.models
    }

    /// A turn of guaranteed work waits in a line, or no longer.
    pub fn count_waiting(&mut self, line: Vertex, waits: bool) {
        let mut at = line;
        while at != 0 {
            let waiting = &mut self.waiting[at];
            *waiting = if waits { *waiting + 1 } else { waiting.saturating_sub(1) };
            at = self.entries[at].parent;
        }
    }

    /// Does anybody wait beside a vertex who would have less than this, had it so much more?
    pub fn is_envied(&self, vertex: Vertex, demands: &[Demand]) -> bool {
        let others = self.children[self.parent(vertex)].iter().filter(|other| **other != vertex);
        let after = self.share_with(vertex, demands, 1);
        others.into_iter().any(|other| self.waiting[*other] > 0 && self.share(*other) < after)
    }

    pub fn children(&self, vertex: Vertex) -> &[Vertex] {
        &self.children[vertex]
    }
}
