//! Who may import whom. The table in ARCHITECTURE.md is the law; the manifests are held against it.
//!
//! A row `| crate | may import |` names, for one crate of the workspace, every crate of ours and every outside crate
//! with input or output that it may depend on (dev-dependencies are free). A crate without a row is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Outside crates that only the crates that name them may import.
const GUARDED: [&str; 10] = [
    "diesel",
    "diesel-async",
    "mysql_async",
    "kube",
    "k8s-openapi",
    "tonic",
    "tokio",
    "hyper",
    "tower-http",
    "jsonwebtoken",
];

/// Fails with every import that the table does not allow, and every row that is of no crate.
pub fn run(root: &Path) -> Result<()> {
    let text = std::fs::read_to_string(root.join("ARCHITECTURE.md")).context("reading ARCHITECTURE.md")?;
    let table = table(&text)?;
    let imports = imports(root)?;
    let mut wrong = Vec::new();
    for (name, found) in &imports {
        match table.get(name) {
            None => wrong.push(format!("{name} has no row in ARCHITECTURE.md")),
            Some(allowed) => wrong.extend(
                found
                    .difference(allowed)
                    .map(|import| format!("{name} imports {import}: ARCHITECTURE.md does not allow it")),
            ),
        }
    }
    for (name, allowed) in &table {
        match imports.get(name) {
            None => wrong.push(format!("ARCHITECTURE.md has a row for {name}: there is no such crate")),
            Some(found) => wrong.extend(
                allowed
                    .difference(found)
                    .map(|import| format!("ARCHITECTURE.md lets {name} import {import}: it does not")),
            ),
        }
    }
    if wrong.is_empty() { Ok(()) } else { bail!("{}", wrong.join("\n")) }
}

/// The rows below the heading `## Who imports whom`.
fn table(text: &str) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let section = text
        .split("## Who imports whom")
        .nth(1)
        .context("ARCHITECTURE.md: no section \"Who imports whom\"")?;
    let section = section.split("\n## ").next().unwrap_or(section);
    let mut rows = BTreeMap::new();
    for line in section.lines().filter(|l| l.starts_with("| `")) {
        let mut cells = line.trim_matches('|').split('|').map(str::trim);
        let (Some(name), Some(imports)) = (cells.next(), cells.next()) else {
            bail!("ARCHITECTURE.md: a row needs two cells: {line}");
        };
        let imports =
            imports.split(',').map(|i| i.trim().trim_matches('`').to_owned()).filter(|i| !i.is_empty());
        rows.insert(name.trim_matches('`').to_owned(), imports.collect());
    }
    Ok(rows)
}

fn imports(root: &Path) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let output = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()))
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .current_dir(root)
        .output()
        .context("running cargo metadata")?;
    let metadata: Value =
        serde_json::from_slice(&output.stdout).context("reading what cargo metadata says")?;
    let packages = metadata["packages"].as_array().context("cargo metadata names no packages")?;
    let ours: BTreeSet<&str> = packages.iter().filter_map(|p| p["name"].as_str()).collect();
    let mut all = BTreeMap::new();
    for package in packages {
        let name = package["name"].as_str().context("a package has a name")?;
        let dependencies = package["dependencies"].as_array().context("a package has dependencies")?;
        let found = dependencies
            .iter()
            .filter(|d| d["kind"].is_null())
            .filter_map(|d| d["name"].as_str())
            .filter(|d| ours.contains(d) || GUARDED.contains(d))
            .map(str::to_owned)
            .collect();
        all.insert(name.to_owned(), found);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_from_their_section_only() {
        let text = "| `x` | `y` |\n## Who imports whom\n\n| crate | may import |\n|---|---|\n| `a` | `b`, `tokio` |\n| `b` | |\n\n## Next\n| `c` | `d` |\n";
        let rows = table(text).unwrap();
        assert_eq!(rows.len(), 2);
        assert_eq!(rows["a"], BTreeSet::from(["b".to_owned(), "tokio".to_owned()]));
        assert!(rows["b"].is_empty());
    }
}
