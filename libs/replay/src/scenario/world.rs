//! A world in motion: the snapshot that the engine sees, with names, events, and plans carried out at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crater_engine::usage::decay_all;
use crater_engine::{
    Account, AccountIx, Amounts, Borrowed, Class, ExtendedIx, Grant, Holding, Job, JobIx, KeyIx, ModelIx,
    Names, Node, NodeIx, Plan, Preemptible, Request, Revocation, Role, Settings, Shape, Snapshot, Topology,
    Usage, ValueIx, WHOLE_GPU,
};

use super::error::Fault;
use super::format::{
    AccountSpec, ClassSpec, JobSpec, Mode, NodeSpec, Priority, Quantity, Scalar, Scenario, Step, Unit,
};
use super::names::Interned;
use super::roles::roles;

/// Milliseconds between two events, longer than any start protection.
const BETWEEN_EVENTS: i64 = 3_600_000;
/// Milliseconds between two cycles.
const BETWEEN_CYCLES: i64 = 1_000;
/// When the world begins.
pub(crate) const START: i64 = 1_000_000_000_000;
const UNLIMITED_CPU: i64 = 1_000_000_000;
const UNLIMITED_MEMORY: i64 = 1 << 52;

/// The state of one scenario.
#[derive(Clone, Debug)]
pub struct World {
    pub(crate) snapshot: Snapshot,
    pub(super) nodes: Interned,
    pub(super) jobs: Interned,
    pub(super) accounts: Interned,
    pub(super) models: Interned,
    pub(super) extended: Interned,
    pub(super) keys: Interned,
    pub(super) values: Interned,
    priorities: BTreeMap<String, i32>,
    /// Jobs that lost a replica which found no other place in the same plan.
    pub(crate) evicted: BTreeSet<String>,
    /// Jobs that were migrated.
    pub(crate) moved: BTreeSet<String>,
    /// Replicas that left their node by decision.
    pub(crate) evictions: usize,
    /// Jobs that ended.
    ended: BTreeSet<u32>,
    /// What accounts borrow since the last plan.
    borrowed: Vec<Borrowed>,
}

impl World {
    /// Builds the world as it is before the first cycle.
    pub(crate) fn new(scenario: &Scenario) -> Result<Self, Fault> {
        let mut world = Self {
            snapshot: Snapshot {
                now: START,
                settings: Settings {
                    backfill: scenario.settings.backfill,
                    order: scenario.settings.order,
                    placement: scenario.settings.placement,
                    half_life_ms: i64::from(scenario.settings.half_life) * 1000,
                    ..Settings::default()
                },
                ..Snapshot::default()
            },
            nodes: Interned::default(),
            jobs: Interned::default(),
            accounts: Interned::default(),
            models: Interned::default(),
            extended: Interned::default(),
            keys: Interned::default(),
            values: Interned::default(),
            priorities: scenario.priority_classes.clone(),
            evicted: BTreeSet::new(),
            moved: BTreeSet::new(),
            evictions: 0,
            ended: BTreeSet::new(),
            borrowed: Vec::new(),
        };
        // in order of name, so that ties break by name
        let mut specs: Vec<(String, usize, &NodeSpec)> = Vec::new();
        for (i, spec) in scenario.nodes.iter().enumerate() {
            match spec.count {
                Some(count) => specs.extend((0..count).map(|n| (format!("{}-{n}", spec.name), i, spec))),
                None => specs.push((spec.name.clone(), i, spec)),
            }
        }
        specs.sort_by(|a, b| a.0.cmp(&b.0));
        for (name, i, spec) in specs {
            world.add_node(&name, i, spec)?;
        }
        let requested =
            scenario.jobs.iter().chain(scenario.steps.iter().filter_map(|step| step.submit.as_ref()));
        for model in requested.flat_map(|job| &job.gpu_model) {
            world.models.add(model);
        }
        let requested =
            scenario.jobs.iter().chain(scenario.steps.iter().filter_map(|step| step.submit.as_ref()));
        let each = |job: &'_ JobSpec| {
            let of_roles = job.roles.iter().map(|role| &role.each);
            of_roles.chain([&job.each]).flat_map(|each| each.extended.keys().cloned()).collect::<Vec<_>>()
        };
        for name in requested.flat_map(each) {
            world.extended.add(&name);
        }
        world.add_accounts(&scenario.accounts)?;
        let mut order: Vec<(usize, &JobSpec)> = scenario.jobs.iter().enumerate().collect();
        order.sort_by_key(|(_, job)| job.submit);
        for (i, job) in order {
            world.submit(job, &format!("jobs[{i}]"))?;
        }
        world.count_names();
        Ok(world)
    }

    fn label(&mut self, key: &str, value: &Scalar) -> (KeyIx, ValueIx) {
        (KeyIx(self.keys.add(key)), ValueIx(self.values.add(&value.text())))
    }

    fn add_node(&mut self, name: &str, index: usize, spec: &NodeSpec) -> Result<(), Fault> {
        let at = format!("nodes[{index}]");
        if self.nodes.get(name).is_some() {
            return Err(Fault::new(format!("{at}.name"), format!("node {name} is there twice")));
        }
        let model = match (&spec.gpu_model, spec.gpu) {
            (_, 0) => None,
            (Some(model), _) => Some(ModelIx(self.models.add(model))),
            (None, _) => return Err(Fault::new(format!("{at}.gpu_model"), "is needed where there are gpus")),
        };
        let labels = spec.labels.iter().map(|(key, value)| self.label(key, value)).collect();
        self.nodes.add(name);
        self.snapshot.nodes.push(Node {
            cpu: amount(spec.cpu.as_ref(), Unit::Thousandths, UNLIMITED_CPU, &format!("{at}.cpu"))?,
            memory: amount(spec.memory.as_ref(), Unit::Bytes, UNLIMITED_MEMORY, &format!("{at}.memory"))?,
            gpus: spec.gpu,
            model,
            extended: spec
                .extended
                .iter()
                .map(|(name, n)| (ExtendedIx(self.extended.add(name)), *n))
                .collect(),
            open: true,
            labels,
            ..Node::default()
        });
        Ok(())
    }

    fn add_accounts(&mut self, specs: &[AccountSpec]) -> Result<(), Fault> {
        for (i, spec) in specs.iter().enumerate() {
            if self.accounts.get(&spec.name).is_some() {
                return Err(Fault::new(
                    format!("accounts[{i}].name"),
                    format!("{} is there twice", spec.name),
                ));
            }
            self.accounts.add(&spec.name);
        }
        for (i, spec) in specs.iter().enumerate() {
            let at = format!("accounts[{i}]");
            let parent = match &spec.parent {
                None => None,
                Some(name) => Some(AccountIx(self.accounts.get(name).ok_or_else(|| {
                    Fault::new(format!("{at}.parent"), format!("there is no account {name}"))
                })?)),
            };
            let guaranteed = self.amounts(&spec.guaranteed, &format!("{at}.guaranteed"))?;
            let limit = self.amounts(&spec.limit, &format!("{at}.limit"))?;
            if spec.weight < 1 {
                return Err(Fault::new(format!("{at}.weight"), "must be at least 1"));
            }
            self.snapshot.accounts.push(Account { parent, weight: spec.weight, guaranteed, limit });
            let all = self.usage(&spec.borrowed_lately, &format!("{at}.borrowed_lately"))?;
            self.snapshot.lately.push(Borrowed { all, ..Borrowed::default() });
        }
        if self.accounts.get("default").is_none() {
            self.accounts.add("default");
            self.snapshot.accounts.push(Account::default());
        }
        Ok(())
    }

    fn amounts(&self, by_name: &BTreeMap<String, Quantity>, at: &str) -> Result<Amounts, Fault> {
        let mut amounts = Amounts::default();
        for (name, quantity) in by_name {
            let field = format!("{at}.{name}");
            let unit = match name.as_str() {
                "memory" => Unit::Bytes,
                "jobs" => Unit::Pieces,
                _ => Unit::Thousandths,
            };
            let value = amount(Some(quantity), unit, 0, &field)?;
            match name.as_str() {
                "cpu" => amounts.cpu = Some(value),
                "memory" => amounts.memory = Some(value),
                "gpu" => amounts.gpu = Some(value),
                "jobs" => amounts.jobs = Some(value),
                other => match (self.models.get(other), self.extended.get(other)) {
                    (Some(ix), _) => amounts.gpu_models.push((ModelIx(ix), value)),
                    // counted in whole devices
                    (None, Some(ix)) if value % 1000 == 0 => {
                        amounts.extended.push((ExtendedIx(ix), value / 1000));
                    }
                    (None, Some(_)) => return Err(Fault::new(field, "must be a whole number")),
                    (None, None) => {
                        return Err(Fault::new(
                            field,
                            "is neither cpu, memory, gpu, jobs nor a GPU model or device here",
                        ));
                    }
                },
            }
        }
        Ok(amounts)
    }

    fn usage(&self, by_name: &BTreeMap<String, Quantity>, at: &str) -> Result<Usage, Fault> {
        let mut usage = Usage::default();
        for (name, quantity) in by_name {
            let field = format!("{at}.{name}");
            let unit = if name == "memory" { Unit::Bytes } else { Unit::Thousandths };
            let value = amount(Some(quantity), unit, 0, &field)?;
            let nano = value.saturating_mul(1_000_000);
            let model = match (name.as_str(), self.models.names.as_slice()) {
                ("gpu", [_]) => Some(0),
                (model, _) => self.models.get(model),
            };
            match (name.as_str(), model) {
                ("cpu", _) => usage.cpu = nano,
                ("memory", _) => usage.memory = value,
                (_, Some(model)) => usage.add_gpu(ModelIx(model), nano),
                (_, None) => return Err(Fault::new(field, "is neither cpu, memory nor a GPU model here")),
            }
        }
        Ok(usage)
    }

    /// Time passes until an instant; what accounts borrow all along is remembered.
    pub(crate) fn wait_until(&mut self, now: i64) {
        let s = &mut self.snapshot;
        if s.settings.half_life_ms > 0 {
            decay_all(&mut s.lately, &self.borrowed, now - s.now, s.settings.half_life_ms);
        }
        s.now = now;
    }

    pub(crate) fn submit(&mut self, spec: &JobSpec, at: &str) -> Result<(), Fault> {
        let fault = |field: &str, why: String| Err(Fault::new(format!("{at}.{field}"), why));
        if self.jobs.get(&spec.name).is_some() {
            return fault("name", format!("job {} is there twice", spec.name));
        }
        let account = spec.account.as_deref().unwrap_or("default");
        let Some(account) = self.accounts.get(account) else {
            return fault("account", format!("there is no account {account}"));
        };
        let priority = match &spec.priority {
            None => self.priorities.get("normal").copied().unwrap_or(0),
            Some(Priority::Value(value)) => *value,
            Some(Priority::Class(name)) => match self.priorities.get(name) {
                Some(value) => *value,
                None => return fault("priority", format!("there is no priority class {name}")),
            },
        };
        let roles = roles(spec, &mut self.extended, at)?;
        let each = roles[0].each;
        let models = spec.gpu_model.iter().map(|model| ModelIx(self.models.add(model))).collect();
        let selector = spec.node_selector.iter().map(|(key, value)| self.label(key, value)).collect();
        let topology = spec.topology.as_ref().map(|topology| Topology {
            key: KeyIx(self.keys.add(&topology.key)),
            required: topology.mode == Mode::Required,
        });
        let replicas = roles[0].replicas;
        let request = Request { roles, models, selector, topology };
        let submitted = self.snapshot.now + spec.submit * 1000;
        let job = JobIx(self.jobs.add(&spec.name));
        self.snapshot.jobs.push(Job {
            account: AccountIx(account),
            class: match spec.class {
                ClassSpec::Guaranteed => Class::Guaranteed,
                ClassSpec::BestEffort => Class::BestEffort,
            },
            priority,
            expected_ms: spec.estimate.map(|seconds| i64::from(seconds) * 1000),
            submitted,
            queued_since: submitted,
            preemptible: match spec.preemptible {
                None => Preemptible::WhenBorrowing,
                Some(true) => Preemptible::Always,
                Some(false) => Preemptible::Never,
            },
            request: Arc::new(request),
            ..Job::default()
        });
        if !spec.roles.is_empty() && !spec.running_on.is_empty() {
            return fault("running_on", "is for jobs with one role".into());
        }
        if spec.running_on.len() > replicas as usize {
            return fault("running_on", "has more nodes than the job has replicas".into());
        }
        for (replica, node) in (0u32..).zip(&spec.running_on) {
            let Some(node) = self.nodes.get(node) else {
                return fault("running_on", format!("there is no node {node}"));
            };
            let node = NodeIx(node);
            let Some(gpus) = self.devices(node, &each) else {
                return fault("running_on", format!("replica {replica} does not fit on {}", self.node(node)));
            };
            let started = self.snapshot.now - spec.started * 1000;
            self.snapshot.holdings.push(Holding {
                job,
                role: 0,
                replica,
                node,
                each,
                gpus,
                started,
                going: false,
            });
        }
        Ok(())
    }

    /// Devices for a replica that runs when the world begins.
    fn devices(&self, node: NodeIx, each: &Shape) -> Option<Vec<(u16, i64)>> {
        let on = &self.snapshot.nodes[node.0 as usize];
        let (mut cpu, mut memory) = (on.cpu, on.memory);
        let mut free = vec![WHOLE_GPU; usize::from(on.gpus)];
        let mut extended: BTreeMap<ExtendedIx, i64> =
            on.extended.iter().map(|(name, count)| (*name, i64::from(*count))).collect();
        for held in self.snapshot.holdings.iter().filter(|held| held.node == node) {
            cpu -= held.each.cpu;
            memory -= held.each.memory;
            for (device, milli) in &held.gpus {
                free[usize::from(*device)] -= milli;
            }
            for (name, count) in held.each.extended.iter() {
                *extended.entry(name).or_default() -= count;
            }
        }
        let short = |(name, count)| extended.get(&name).is_none_or(|free| *free < count);
        if cpu < each.cpu || memory < each.memory || each.extended.iter().any(short) {
            return None;
        }
        let numbered = free.into_iter().zip(0u16..);
        if each.gpu == 0 {
            Some(Vec::new())
        } else if each.gpu < WHOLE_GPU {
            let (_, device) = numbered.filter(|(free, _)| *free >= each.gpu).min()?;
            Some(vec![(device, each.gpu)])
        } else {
            let count = usize::try_from(each.gpu / WHOLE_GPU).ok()?;
            let whole =
                numbered.filter(|(free, _)| *free == WHOLE_GPU).map(|(_, device)| (device, WHOLE_GPU));
            let devices: Vec<_> = whole.take(count).collect();
            (devices.len() == count).then_some(devices)
        }
    }

    /// Time passes between two cycles.
    pub(crate) fn next_cycle(&mut self) {
        self.snapshot.cycle += 1;
        self.wait_until(self.snapshot.now + BETWEEN_CYCLES);
    }

    /// Something happens.
    pub(crate) fn step(&mut self, step: &Step, at: &str) -> Result<(), Fault> {
        self.wait_until(self.snapshot.now + BETWEEN_EVENTS);
        let given = [
            step.submit.is_some(),
            step.finish.is_some(),
            step.finish_replicas.is_some(),
            step.fail_node.is_some(),
            step.resubmit.is_some(),
        ];
        if given.into_iter().filter(|given| *given).count() != 1 {
            return Err(Fault::new(at, "needs exactly one event"));
        }
        if let Some(job) = &step.submit {
            self.submit(job, &format!("{at}.submit"))?;
            self.count_names();
        }
        if let Some(name) = &step.finish {
            let job = self.known_job(name, &format!("{at}.finish"))?;
            self.close(job);
        }
        for (name, count) in step.finish_replicas.iter().flatten() {
            let job = self.known_job(name, &format!("{at}.finish_replicas"))?;
            self.finish_replicas(job, *count);
        }
        if let Some(name) = &step.fail_node {
            let node = self.nodes.get(name);
            let node = node
                .ok_or_else(|| Fault::new(format!("{at}.fail_node"), format!("there is no node {name}")))?;
            self.fail_node(NodeIx(node));
        }
        match step.resubmit.as_deref() {
            None => {}
            Some("evicted") => self.resubmit(),
            Some(other) => {
                return Err(Fault::new(
                    format!("{at}.resubmit"),
                    format!("{other} is not known; only evicted is"),
                ));
            }
        }
        Ok(())
    }

    pub(crate) fn known_job(&self, name: &str, at: &str) -> Result<JobIx, Fault> {
        self.jobs.get(name).map(JobIx).ok_or_else(|| Fault::new(at, format!("there is no job {name}")))
    }

    /// Numbers the GPU models, and devices by name, as another world does that has seen all jobs.
    pub(crate) fn know_models(&mut self, other: &Self) {
        self.models = other.models.clone();
        self.extended = other.extended.clone();
        self.count_names();
    }

    fn count_names(&mut self) {
        let count = |names: &Interned| u32::try_from(names.names.len()).unwrap_or(u32::MAX);
        (self.snapshot.models, self.snapshot.extended) = (count(&self.models), count(&self.extended));
    }

    /// A job has ended; what it held is free.
    pub(crate) fn close_named(&mut self, name: &str) {
        if let Some(job) = self.jobs.get(name) {
            self.close(JobIx(job));
        }
    }

    fn close(&mut self, job: JobIx) {
        self.snapshot.holdings.retain(|held| held.job != job);
        self.snapshot.holds.retain(|hold| hold.job != job);
        self.snapshot.jobs[job.0 as usize].closed = true;
        self.ended.insert(job.0);
    }

    /// The last replicas end well: the job wants that many fewer, and its gang is that much smaller.
    fn finish_replicas(&mut self, job: JobIx, count: u32) {
        for _ in 0..count {
            let last = self.snapshot.holdings.iter().enumerate().filter(|(_, held)| held.job == job);
            if let Some((at, _)) = last.max_by_key(|(_, held)| held.replica) {
                self.snapshot.holdings.remove(at);
            }
        }
        self.snapshot.holds.retain(|hold| hold.job != job);
        let mut request = (*self.snapshot.jobs[job.0 as usize].request).clone();
        let role = &mut request.roles[0];
        if role.replicas <= count {
            self.close(job);
            return;
        }
        role.replicas -= count;
        role.min = role.min.saturating_sub(count).max(1);
        self.snapshot.jobs[job.0 as usize].request = Arc::new(request);
        let mut held: Vec<&mut Holding> =
            self.snapshot.holdings.iter_mut().filter(|held| held.job == job).collect();
        held.sort_by_key(|held| held.replica);
        for (replica, held) in (0u32..).zip(held) {
            held.replica = replica;
        }
    }

    fn fail_node(&mut self, node: NodeIx) {
        self.snapshot.nodes[node.0 as usize].open = false;
        let lost: Vec<JobIx> =
            self.snapshot.holdings.iter().filter(|held| held.node == node).map(|held| held.job).collect();
        self.snapshot.holdings.retain(|held| held.node != node);
        for job in lost {
            self.evicted.insert(self.job(job).to_owned());
        }
    }

    fn resubmit(&mut self) {
        let waiting: Vec<String> =
            self.evicted.iter().filter(|name| self.replicas(name).is_empty()).cloned().collect();
        for name in waiting {
            if let Some(job) = self.jobs.get(&name)
                && !self.ended.contains(&job)
            {
                self.snapshot.jobs[job as usize].submitted = self.snapshot.now;
            }
        }
    }

    /// Carries a plan out at once; says whether anything changed.
    pub(crate) fn carry_out(&mut self, plan: &Plan) -> bool {
        for revocation in &plan.revocations {
            self.revoke(revocation);
        }
        for grant in &plan.grants {
            self.grant(grant);
        }
        let holds_changed = self.snapshot.holds != plan.holds;
        self.snapshot.holds.clone_from(&plan.holds);
        self.snapshot.reservations.clone_from(&plan.reservations);
        self.borrowed.clone_from(&plan.borrowed);
        !plan.revocations.is_empty() || !plan.grants.is_empty() || holds_changed
    }

    fn revoke(&mut self, revocation: &Revocation) {
        let name = self.job(revocation.job).to_owned();
        for replica in &revocation.replicas {
            self.evictions += 1;
            match replica.moves_to {
                Some(_) => self.moved.insert(name.clone()),
                None => self.evicted.insert(name.clone()),
            };
            let same = |held: &Holding| {
                held.job == revocation.job && held.role == replica.role && held.replica == replica.replica
            };
            self.snapshot.holdings.retain(|held| !same(held));
        }
        self.snapshot.jobs[revocation.job.0 as usize].queued_since = self.snapshot.now;
    }

    fn grant(&mut self, grant: &Grant) {
        let held: Vec<Holding> = self.snapshot.holdings_of(grant).collect();
        self.snapshot.holdings.extend(held);
    }

    /// The names of the nodes of a job's replicas, sorted.
    pub(crate) fn replicas(&self, job: &str) -> Vec<String> {
        let job = self.jobs.get(job);
        let held = self.snapshot.holdings.iter().filter(|held| Some(held.job.0) == job);
        let mut nodes: Vec<String> = held.map(|held| self.node(held.node).to_owned()).collect();
        nodes.sort();
        nodes
    }

    /// The value of a label on a node.
    pub(crate) fn label_of(&self, node: &str, key: &str) -> Option<&str> {
        let (node, key) = (self.nodes.get(node)?, KeyIx(self.keys.get(key)?));
        let labels = &self.snapshot.nodes[node as usize].labels;
        labels.iter().find(|(k, _)| *k == key).map(|(_, value)| self.values.name(value.0))
    }

    pub(crate) fn job_names(&self) -> impl Iterator<Item = &str> {
        self.jobs.names.iter().map(String::as_str)
    }

    /// What no plan may ever do: a node overfull, a gang in part.
    pub(crate) fn broken_laws(&self) -> Vec<String> {
        let mut broken = Vec::new();
        for (ix, node) in self.snapshot.nodes.iter().enumerate() {
            let here: Vec<&Holding> =
                self.snapshot.holdings.iter().filter(|h| h.node.0 as usize == ix).collect();
            let cpu: i64 = here.iter().map(|held| held.each.cpu).sum();
            let memory: i64 = here.iter().map(|held| held.each.memory).sum();
            let mut gpus = vec![0i64; usize::from(node.gpus)];
            for (device, milli) in here.iter().flat_map(|held| &held.gpus) {
                gpus[usize::from(*device)] += milli;
            }
            let over = |(name, count): &(ExtendedIx, u32)| {
                here.iter().map(|held| held.each.extended.of(*name)).sum::<i64>() > i64::from(*count)
            };
            if cpu > node.cpu
                || memory > node.memory
                || gpus.iter().any(|milli| *milli > WHOLE_GPU)
                || node.extended.iter().any(over)
            {
                broken.push(format!("node {} holds more than it has", self.nodes.names[ix]));
            }
        }
        for (ix, job) in self.snapshot.jobs.iter().enumerate() {
            let held = self.snapshot.holdings.iter().filter(|held| held.job.0 as usize == ix);
            let held: Vec<u16> = held.map(|held| held.role).collect();
            let short =
                |(role, of): (u16, &Role)| held.iter().filter(|of| **of == role).count() < of.min as usize;
            if !held.is_empty() && (0..).zip(&job.request.roles).any(short) {
                broken.push(format!("job {} runs below its minimum", self.jobs.names[ix]));
            }
        }
        broken
    }
}

pub(super) fn amount(
    quantity: Option<&Quantity>,
    unit: Unit,
    absent: i64,
    field: &str,
) -> Result<i64, Fault> {
    match quantity {
        None => Ok(absent),
        Some(quantity) => {
            quantity.amount(unit).ok_or_else(|| Fault::new(field, "is not an amount of zero or more"))
        }
    }
}
