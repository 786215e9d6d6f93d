//! Jobs and nodes as tables. Which columns there are is told in `docs/scheduling.md`.

use std::collections::BTreeMap;
use std::path::Path;

use super::file::{Read, Source, TimedJob, accounts_of};
use crate::input::{InputError, Row, Table};
use crate::scenario::format::{ClassSpec, Each, Mode, NodeSpec, Priority, SettingsSpec, TopologySpec};
use crate::scenario::quantity::Quantity;

/// More seconds than any replay has.
const MOST: i64 = u32::MAX as i64;

/// Reads the jobs. Every account that they name is one, beside the others and without guarantee or limit.
pub(super) fn jobs(path: &Path) -> Result<Read, InputError> {
    let columns = [
        "estimate",
        "account",
        "user",
        "class",
        "priority",
        "replicas",
        "min_replicas",
        "cpu",
        "memory",
        "gpu",
        "gpu_model",
        "node_selector",
        "topology",
        "preemptible",
    ];
    let table = Table::read(path, &["name", "submit", "duration"], &columns)?;
    let in_accounts = table.has("account");
    let mut jobs = Vec::new();
    let mut lines = Vec::new();
    for row in table.rows() {
        let text = |column: &str| Some(row.text(column)).filter(|text| !text.is_empty());
        // whether it is an amount is checked with the job or node
        let quantity = |column: &str| text(column).map(|text| Quantity(text.to_owned()));
        let class = match text("class") {
            None | Some("guaranteed") => ClassSpec::Guaranteed,
            Some("best_effort") => ClassSpec::BestEffort,
            Some(other) => {
                return Err(row.fault("class", format!("{other:?} is neither guaranteed nor best_effort")));
            }
        };
        let priority = text("priority").map(Priority::of);
        let preemptible = match text("preemptible") {
            None => None,
            Some("true") => Some(true),
            Some("false") => Some(false),
            Some(other) => {
                return Err(row.fault("preemptible", format!("{other:?} is neither true nor false")));
            }
        };
        if in_accounts && text("account").is_none() {
            return Err(row.fault("account", "the job is in no account"));
        }
        jobs.push(TimedJob {
            name: row.name("name")?.to_owned(),
            submit: seconds(row, "submit")?,
            duration: seconds(row, "duration")?,
            estimate: text("estimate").map(|_| seconds(row, "estimate")).transpose()?,
            account: text("account").map(str::to_owned),
            user: text("user").map(str::to_owned),
            class,
            priority,
            replicas: text("replicas").map_or(Ok(1), |_| seconds(row, "replicas"))?,
            min_replicas: text("min_replicas").map(|_| seconds(row, "min_replicas")).transpose()?,
            each: Each {
                cpu: quantity("cpu"),
                memory: quantity("memory"),
                gpu: quantity("gpu"),
                ..Each::default()
            },
            roles: Vec::new(),
            gpu_model: text("gpu_model")
                .map_or_else(Vec::new, |models| models.split('|').map(str::to_owned).collect()),
            node_selector: labels(row, "node_selector")?,
            topology: text("topology").map(|text| topology(row, text)).transpose()?,
            preemptible,
        });
        lines.push(row.line());
    }
    let source = Source::Table { file: path.to_owned(), lines };
    Ok(Read {
        nodes: None,
        accounts: accounts_of(&jobs),
        priority_classes: BTreeMap::new(),
        settings: SettingsSpec::default(),
        jobs,
        source,
    })
}

/// Reads the nodes, and where each stands.
pub(super) fn nodes(path: &Path) -> Result<(Vec<NodeSpec>, Source), InputError> {
    let table = Table::read(path, &["name", "gpu"], &["count", "gpu_model", "cpu", "memory", "labels"])?;
    let mut nodes = Vec::new();
    let mut lines = Vec::new();
    for row in table.rows() {
        let text = |column: &str| Some(row.text(column)).filter(|text| !text.is_empty());
        // whether it is an amount is checked with the job or node
        let quantity = |column: &str| text(column).map(|text| Quantity(text.to_owned()));
        let count = text("count").map(|_| seconds(row, "count")).transpose()?;
        nodes.push(NodeSpec {
            name: row.name("name")?.to_owned(),
            count,
            cpu: quantity("cpu"),
            memory: quantity("memory"),
            gpu: u16::try_from(row.number("gpu", 1024)?)
                .map_err(|error| row.fault("gpu", error.to_string()))?,
            gpu_model: text("gpu_model").map(str::to_owned),
            extended: BTreeMap::new(),
            labels: labels(row, "labels")?,
        });
        lines.push(row.line());
    }
    if nodes.is_empty() {
        return Err(InputError::in_file(path, "there is no node in it"));
    }
    Ok((nodes, Source::Table { file: path.to_owned(), lines }))
}

/// A whole number of 32 bits.
fn seconds(row: Row<'_>, column: &str) -> Result<u32, InputError> {
    let number = row.number(column, MOST)?;
    u32::try_from(number).map_err(|error| row.fault(column, error.to_string()))
}

/// `key=value;key=value`.
fn labels(row: Row<'_>, column: &str) -> Result<BTreeMap<String, String>, InputError> {
    let mut labels = BTreeMap::new();
    for label in row.text(column).split(';').filter(|label| !label.is_empty()) {
        let Some((key, value)) = label.split_once('=') else {
            return Err(row.fault(column, format!("{label:?} is not of the form key=value")));
        };
        if labels.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(row.fault(column, format!("{key} is there twice")));
        }
    }
    Ok(labels)
}

/// `required:key` or `preferred:key`.
fn topology(row: Row<'_>, text: &str) -> Result<TopologySpec, InputError> {
    match text.split_once(':') {
        Some(("required", key)) => Ok(TopologySpec { key: key.to_owned(), mode: Mode::Required }),
        Some(("preferred", key)) => Ok(TopologySpec { key: key.to_owned(), mode: Mode::Preferred }),
        _ => Err(row.fault("topology", format!("{text:?} is neither required:LABEL nor preferred:LABEL"))),
    }
}
