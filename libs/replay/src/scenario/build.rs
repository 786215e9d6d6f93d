//! A world as it is before the first cycle: its nodes, and the names that everything has.

use std::collections::{BTreeMap, BTreeSet};

use crater_engine::{ExtendedIx, KeyIx, ModelIx, Node, Settings, Snapshot, ValueIx};

use super::accounts::add_accounts;
use super::fault::Fault;
use super::format::{AccountSpec, Each, JobSpec, NodeSpec, SettingsSpec};
use super::names::Interned;
use super::quantity::{Quantity, Unit};
use super::world::{START, World};

/// Nodes of a world, those that are counted included.
const MOST_NODES: u64 = 1_000_000;
/// Bytes of all nodes that say how many they have, and of all those that do not: their sum is far from overflow.
const MOST_MEMORY: i64 = 1 << 61;
/// Devices of a node.
const MOST_DEVICES: u16 = 1024;

/// What a world begins with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start<'a> {
    pub nodes: &'a [NodeSpec],
    /// None: everything is in `default`.
    pub accounts: &'a [AccountSpec],
    pub settings: SettingsSpec,
    /// Beside the usual ones.
    pub priority_classes: &'a BTreeMap<String, i32>,
    pub asked: &'a Asked,
}

/// The GPU models and devices by name that jobs will ask for: they may be none of those that nodes have, and limits may speak of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    models: Interned,
    devices: Interned,
}

impl Asked {
    pub fn add<'a>(&mut self, models: &[String], each: impl IntoIterator<Item = &'a Each>) {
        for model in models {
            self.models.add(model);
        }
        for name in each.into_iter().flat_map(|each| each.extended.keys()) {
            self.devices.add(name);
        }
    }

    pub fn of<'a>(jobs: impl IntoIterator<Item = &'a JobSpec>) -> Self {
        let mut asked = Self::default();
        for job in jobs {
            asked.add(&job.gpu_model, job.roles.iter().map(|role| &role.each).chain([&job.each]));
        }
        asked
    }
}

impl World {
    /// Builds a world in which nothing was submitted yet.
    pub(crate) fn new(start: &Start<'_>) -> Result<Self, Fault> {
        let priorities = [("low", -10), ("normal", 0), ("high", 10), ("critical", 100)];
        let usual = priorities.map(|(name, value)| (name.to_owned(), value));
        let own = start.priority_classes.iter().map(|(name, value)| (name.clone(), *value));
        let mut world = Self {
            snapshot: Snapshot {
                now: START,
                settings: Settings {
                    backfill: start.settings.backfill,
                    order: start.settings.order,
                    placement: start.settings.placement,
                    half_life_ms: i64::from(start.settings.half_life) * 1000,
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
            priorities: usual.into_iter().chain(own).collect(),
            evicted: BTreeSet::new(),
            moved: BTreeSet::new(),
            evictions: 0,
            ended: BTreeSet::new(),
            borrowed: Vec::new(),
        };
        world.add_nodes(start.nodes)?;
        for model in &start.asked.models.names {
            world.models.add(model);
        }
        for name in &start.asked.devices.names {
            world.extended.add(name);
        }
        add_accounts(&mut world, start.accounts)?;
        world.count_names();
        Ok(world)
    }

    /// In order of name, so that ties break by name.
    fn add_nodes(&mut self, specs: &[NodeSpec]) -> Result<(), Fault> {
        let mut named: Vec<(String, usize, &NodeSpec)> = Vec::new();
        let (mut count, mut unlimited, mut memory) = (0, 0, 0i64);
        for (i, spec) in specs.iter().enumerate() {
            let fault = |field: &str, why: String| Err(Fault::new(format!("nodes[{i}].{field}"), why));
            if spec.name.is_empty() {
                return fault("name", "is empty".into());
            }
            if spec.count == Some(0) {
                return fault("count", "must be at least 1".into());
            }
            if spec.gpu > MOST_DEVICES {
                return fault("gpu", format!("{} is more than {MOST_DEVICES}", spec.gpu));
            }
            count += u64::from(spec.count.unwrap_or(1));
            if count > MOST_NODES {
                let field = if spec.count.is_some() { "count" } else { "name" };
                return fault(field, format!("there are more than {MOST_NODES} nodes in all"));
            }
            let many = i64::from(spec.count.unwrap_or(1));
            if spec.memory.is_none() {
                unlimited += many;
            }
            let each = amount(spec.memory.as_ref(), Unit::Bytes, 0, &format!("nodes[{i}].memory"))?;
            memory = memory.saturating_add(each.saturating_mul(many));
            if memory > MOST_MEMORY {
                return fault("memory", "there are more than 2Ei in all".into());
            }
            match spec.count {
                Some(count) => named.extend((0..count).map(|n| (format!("{}-{n}", spec.name), i, spec))),
                None => named.push((spec.name.clone(), i, spec)),
            }
        }
        named.sort_by(|a, b| a.0.cmp(&b.0));
        let unlimited = Unit::Bytes.most().min(MOST_MEMORY / unlimited.max(1));
        for (name, i, spec) in named {
            self.add_node(&name, &format!("nodes[{i}]"), spec, unlimited)?;
        }
        Ok(())
    }

    /// `unlimited`: bytes of a node that says nothing of them.
    fn add_node(&mut self, name: &str, at: &str, spec: &NodeSpec, unlimited: i64) -> Result<(), Fault> {
        if self.nodes.get(name).is_some() {
            return Err(Fault::new(format!("{at}.name"), format!("node {name} is there twice")));
        }
        let model = match (&spec.gpu_model, spec.gpu) {
            (_, 0) => None,
            (Some(model), _) if !model.is_empty() => Some(ModelIx(self.models.add(model))),
            _ => return Err(Fault::new(format!("{at}.gpu_model"), "is needed where there are gpus")),
        };
        let labels = spec.labels.iter().map(|(key, value)| self.label(key, value)).collect();
        let devices = spec.extended.iter().map(|(name, n)| (ExtendedIx(self.extended.add(name)), *n));
        let extended = devices.collect();
        self.nodes.add(name);
        self.snapshot.nodes.push(Node {
            cpu: amount(spec.cpu.as_ref(), Unit::Cores, Unit::Cores.most(), &format!("{at}.cpu"))?,
            memory: amount(spec.memory.as_ref(), Unit::Bytes, unlimited, &format!("{at}.memory"))?,
            gpus: spec.gpu,
            model,
            extended,
            open: true,
            labels,
            ..Node::default()
        });
        Ok(())
    }

    pub(super) fn label(&mut self, key: &str, value: &str) -> (KeyIx, ValueIx) {
        (KeyIx(self.keys.add(key)), ValueIx(self.values.add(value)))
    }

    pub(super) fn count_names(&mut self) {
        let count = |names: &Interned| u32::try_from(names.names.len()).unwrap_or(u32::MAX);
        (self.snapshot.models, self.snapshot.extended) = (count(&self.models), count(&self.extended));
    }
}

/// An amount in the engine's integers; `absent` if nothing was written.
pub(super) fn amount(
    quantity: Option<&Quantity>,
    unit: Unit,
    absent: i64,
    field: &str,
) -> Result<i64, Fault> {
    match quantity {
        None => Ok(absent),
        Some(quantity) => quantity.amount(unit).map_err(|why| Fault::new(field, why)),
    }
}
