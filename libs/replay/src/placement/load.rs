//! The recorded cluster and task lists, in the columns of Alibaba's "openb" tables, read strictly.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crater_engine::WHOLE_GPU;
use crater_engine::score::{Ask, Models};

use crate::input::{InputError, Row, Table};

/// More than any machine has, so that no sum overflows: 2⁴⁰.
const MOST: i64 = 1 << 40;
/// Devices of one node or task.
const MOST_DEVICES: i64 = 4096;

/// One node of the cluster, empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name, once in the cluster.
    pub name: String,
    /// Milli-cores.
    pub cpu: i64,
    /// MiB.
    pub memory: i64,
    /// How many devices.
    pub devices: usize,
    /// Ordinal of their model.
    pub model: u32,
}

/// One task of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Its name, once in the list.
    pub name: String,
    /// What it wants; memory in MiB.
    pub ask: Ask,
    /// The models as they were written, `A|B`.
    pub spec: String,
}

/// A cluster and the tasks that may arrive at it.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// In order of name.
    pub nodes: Vec<Node>,
    /// In the order of the list.
    pub tasks: Vec<Task>,
}

impl World {
    /// Reads both tables.
    ///
    /// Nodes: `sn, cpu_milli, memory_mib, gpu, model`. Tasks: `name, cpu_milli, memory_mib, num_gpu, gpu_milli` (of each device) and
    /// perhaps `gpu_spec` (models joined by `|`); `qos, pod_phase, creation_time, deletion_time, scheduled_time` are allowed and not read.
    pub fn read(nodes: &Path, tasks: &Path) -> Result<Self, InputError> {
        let mut models = Interner::default();
        let nodes = read_nodes(nodes, &mut models)?;
        let tasks = read_tasks(tasks, &mut models)?;
        Ok(Self { nodes, tasks })
    }

    /// Milli-GPU of the whole cluster.
    pub fn capacity(&self) -> i64 {
        self.nodes.iter().map(|node| WHOLE_GPU * i64::try_from(node.devices).unwrap_or(0)).sum()
    }

    /// The distinct shapes of the list without memory, and how many tasks have each; among equally frequent ones the larger first,
    /// by CPU, milli-GPU, devices and models as written.
    pub fn shapes(&self) -> Vec<(Ask, u32)> {
        let mut counted: BTreeMap<(i64, i64, u32, &str), (Ask, u32)> = BTreeMap::new();
        for Task { ask, spec, .. } in &self.tasks {
            let entry = counted.entry((ask.cpu, ask.milli, ask.devices, spec));
            entry.or_insert((Ask { memory: 0, ..*ask }, 0)).1 += 1;
        }
        let mut shapes: Vec<(Ask, u32)> = counted.into_values().rev().collect();
        shapes.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        shapes
    }
}

/// Ordinals of GPU models, in the order in which they are met.
#[derive(Debug, Default)]
struct Interner(BTreeMap<String, u32>);

impl Interner {
    fn ordinal(&mut self, row: Row<'_>, column: &str, name: &str) -> Result<u32, InputError> {
        let next = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        let ordinal = *self.0.entry(name.to_owned()).or_insert(next);
        if ordinal >= Models::MOST {
            return Err(row.fault(column, format!("more than {} GPU models", Models::MOST)));
        }
        Ok(ordinal)
    }
}

fn once<'a>(
    seen: &mut BTreeSet<&'a str>,
    row: Row<'a>,
    column: &str,
    what: &str,
) -> Result<String, InputError> {
    let name = row.name(column)?;
    if seen.insert(name) {
        Ok(name.to_owned())
    } else {
        Err(row.fault(column, format!("{what} {name} is there twice")))
    }
}

fn read_nodes(file: &Path, models: &mut Interner) -> Result<Vec<Node>, InputError> {
    let table = Table::read(file, &["sn", "cpu_milli", "memory_mib", "gpu", "model"], &[])?;
    let mut seen = BTreeSet::new();
    let mut nodes = Vec::with_capacity(table.rows().len());
    for row in table.rows() {
        let devices = usize::try_from(row.number("gpu", MOST_DEVICES)?).unwrap_or(0);
        let model = if devices > 0 { row.name("model")? } else { row.text("model") };
        nodes.push(Node {
            name: once(&mut seen, row, "sn", "node")?,
            cpu: row.number("cpu_milli", MOST)?,
            memory: row.number("memory_mib", MOST)?,
            devices,
            model: models.ordinal(row, "model", model)?,
        });
    }
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    if nodes.iter().all(|node| node.devices == 0) {
        return Err(InputError::in_file(file, "no GPU on any node").at_line(1).in_field("gpu"));
    }
    Ok(nodes)
}

fn read_tasks(file: &Path, models: &mut Interner) -> Result<Vec<Task>, InputError> {
    let table = Table::read(
        file,
        &["name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli"],
        &["gpu_spec", "qos", "pod_phase", "creation_time", "deletion_time", "scheduled_time"],
    )?;
    let mut seen = BTreeSet::new();
    let mut tasks = Vec::with_capacity(table.rows().len());
    for row in table.rows() {
        let name = once(&mut seen, row, "name", "task")?;
        let devices = u32::try_from(row.number("num_gpu", MOST_DEVICES)?).unwrap_or(0);
        let milli = row.number("gpu_milli", MOST)?.min(WHOLE_GPU);
        let (milli, spec) = if devices == 0 { (0, "") } else { (milli, row.text("gpu_spec")) };
        if devices > 0 && milli == 0 {
            return Err(row.fault("gpu_milli", format!("0 of each of {devices} devices")));
        }
        if devices > 1 && milli < WHOLE_GPU {
            return Err(row.fault(
                "gpu_milli",
                format!("{milli} of each of {devices} devices: a part is of one device"),
            ));
        }
        let mut allowed = Models::default();
        for model in spec.split('|').map(str::trim).filter(|model| !model.is_empty()) {
            allowed = allowed.with(models.ordinal(row, "gpu_spec", model)?);
        }
        let (cpu, memory) = (row.number("cpu_milli", MOST)?, row.number("memory_mib", MOST)?);
        tasks.push(Task {
            name,
            ask: Ask { cpu, memory, devices, milli, models: allowed },
            spec: spec.to_owned(),
        });
    }
    if tasks.is_empty() {
        return Err(InputError::in_file(file, "no tasks").at_line(1));
    }
    Ok(tasks)
}
