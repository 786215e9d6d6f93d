//! The machines of the embedded cluster: `2x8:A100`, a file, this machine, or the demo's.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use crater_domain::{is_device_name, parse_bytes, parse_cpu};
use crater_k8s_mem::{NodeSpec, this_machine};
use serde::Deserialize;

/// The most nodes that one flag may ask for: a slip of the finger is refused, a large trace is not.
const MOST: usize = 20_000;

/// A node in a file. Units as people write them: `cpu: 64`, `memory: 512Gi`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    name: String,
    cpu: Scalar,
    memory: Scalar,
    #[serde(default)]
    gpus: u32,
    #[serde(default)]
    gpu_model: String,
    #[serde(default)]
    devices: BTreeMap<String, u32>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

/// YAML reads `64` as a number and `500m` as a text; both are quantities.
#[derive(Deserialize)]
#[serde(untagged)]
enum Scalar {
    Number(serde_yaml_ng::Number),
    Text(String),
}

impl std::fmt::Display for Scalar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(n) => n.fmt(f),
            Self::Text(t) => f.write_str(t),
        }
    }
}

/// The nodes that `--nodes` asks for; without it this machine (`run_local`) or the demo's.
///
/// # Errors
/// A text that is neither a shape nor a file, or a file that is wrong: names the flag, the file and the field.
pub fn parse(nodes: Option<&str>, run_local: bool) -> Result<Vec<NodeSpec>> {
    let Some(text) = nodes else {
        return Ok(if run_local { vec![this_machine()] } else { demo() });
    };
    if let Some(shapes) = text.split(',').map(shape).collect::<Option<Vec<_>>>() {
        return from_shapes(&shapes);
    }
    if Path::new(text).exists() {
        return from_file(Path::new(text)).with_context(|| format!("--nodes {text}"));
    }
    bail!(
        "--nodes {text}: must be COUNTxGPUS:MODEL (for example 2x8:A100, or 4x0 for nodes without GPUs) or a file that is there"
    )
}

fn demo() -> Vec<NodeSpec> {
    let gpu = |name: &str, gpus, model: &str| NodeSpec::gpu_server(name, gpus, model);
    vec![gpu("a100-0", 8, "A100"), gpu("a100-1", 8, "A100"), gpu("v100-0", 4, "V100"), gpu("cpu-0", 0, "")]
}

struct Shape {
    count: usize,
    gpus: u32,
    model: String,
}

/// `2x8:A100`, `4x0`.
fn shape(text: &str) -> Option<Shape> {
    let (count, rest) = text.split_once('x')?;
    let (gpus, model) = rest.split_once(':').unwrap_or((rest, ""));
    let shape = Shape { count: count.parse().ok()?, gpus: gpus.parse().ok()?, model: model.to_owned() };
    (shape.gpus == 0 || !shape.model.is_empty()).then_some(shape)
}

fn from_shapes(shapes: &[Shape]) -> Result<Vec<NodeSpec>> {
    let mut nodes = Vec::new();
    for shape in shapes {
        let stem = if shape.gpus == 0 { "cpu".to_owned() } else { stem(&shape.model) };
        if shape.count == 0 || shape.count > MOST || shape.gpus > 1024 {
            bail!("--nodes: must ask for 1 to {MOST} nodes of at most 1,024 GPUs");
        }
        let first = nodes.len();
        for i in 0..shape.count {
            let name =
                if shapes.len() == 1 { format!("{stem}-{i}") } else { format!("{stem}-{}", first + i) };
            nodes.push(NodeSpec::gpu_server(name, shape.gpus, shape.model.clone()));
        }
    }
    Ok(nodes)
}

/// `A100-SXM4-80GB` as a node's name may hold it.
fn stem(model: &str) -> String {
    let fits = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let text: String = model.chars().map(fits).take(40).collect();
    let text = text.trim_matches('-');
    if text.is_empty() { "node".to_owned() } else { text.to_owned() }
}

fn from_file(path: &Path) -> Result<Vec<NodeSpec>> {
    let text = std::fs::read_to_string(path)?;
    let rows: Vec<Row> = serde_yaml_ng::from_str(&text)?;
    if rows.is_empty() {
        bail!("names no nodes");
    }
    let node = |(i, row): (usize, Row)| -> Result<NodeSpec> {
        let at = |field: &str| format!("node {i} ({}): {field}", row.name);
        if let Some(name) = row.devices.keys().find(|name| !is_device_name(name)) {
            let why =
                "must be the name of an extended resource, for example nvidia.com/mig-1g.5gb or rdma/hca";
            bail!("{} {why}", at(&format!("devices: {name:?}")));
        }
        Ok(NodeSpec {
            cpu_millis: parse_cpu(&row.cpu.to_string()).with_context(|| at("cpu"))?.unsigned_abs(),
            memory_bytes: parse_bytes(&row.memory.to_string()).with_context(|| at("memory"))?.unsigned_abs(),
            name: row.name.clone(),
            gpus: row.gpus,
            gpu_model: row.gpu_model.clone(),
            devices: row.devices.clone(),
            labels: row.labels.clone(),
        })
    };
    rows.into_iter().enumerate().map(node).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_makes_that_many_nodes() {
        let nodes = parse(Some("2x8:A100,1x0"), true).unwrap();
        let names: Vec<_> = nodes.iter().map(|n| (n.name.as_str(), n.gpus)).collect();
        assert_eq!(names, [("a100-0", 8), ("a100-1", 8), ("cpu-2", 0)]);
    }

    #[test]
    fn nonsense_names_the_flag() {
        for text in ["8", "x", "2x8", "-1x8:A100", "0x8:A100", "99999999x8:A100", "no/such/file"] {
            let error = parse(Some(text), false).unwrap_err().to_string();
            assert!(error.contains("--nodes"), "{text}: {error}");
        }
    }

    #[test]
    fn a_file_says_which_field_of_which_node_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nodes.yaml");
        std::fs::write(&path, "- {name: n0, cpu: 64, memory: 512Gi, gpus: 8, gpu_model: H100}\n").unwrap();
        assert_eq!(parse(path.to_str(), false).unwrap()[0].cpu_millis, 64_000);
        std::fs::write(&path, "- {name: n0, cpu: 64, memory: lots}\n").unwrap();
        let error = format!("{:#}", parse(path.to_str(), false).unwrap_err());
        assert!(error.contains("node 0 (n0): memory"), "{error}");
        std::fs::write(&path, "- {name: n0, cpu: 64, memory: 1Gi, gpu: 8}\n").unwrap();
        assert!(format!("{:#}", parse(path.to_str(), false).unwrap_err()).contains("gpu"));
        let with = |devices: &str| {
            std::fs::write(&path, format!("- {{name: n0, cpu: 4, memory: 1Gi, devices: {devices}}}\n"))
                .unwrap();
            parse(path.to_str(), false)
        };
        assert_eq!(with("{rdma/hca: 8}").unwrap()[0].devices["rdma/hca"], 8);
        let error = format!("{:#}", with("{nvidia.com/gpu: 8}").unwrap_err());
        assert!(error.contains("node 0 (n0): devices: \"nvidia.com/gpu\" must be"), "{error}");
    }
}
