//! Files that are made from the source: the schemas of the custom resources.

use std::path::Path;

use anyhow::{Context, Result, bail};

/// Writes the files; with `check`, fails naming those that would change.
pub fn run(root: &Path, check: bool) -> Result<()> {
    // for kubectl, and for the chart, which can carry only what is inside of it
    let folders = [root.join("deploy/crds"), root.join("charts/crater/files/crds")];
    let mut stale = Vec::new();
    for crd in crater_k8s::build::crds() {
        let name = crd.metadata.name.clone().context("a custom resource has a name")?;
        // by way of a JSON value: its keys are sorted, so that the text depends on the types alone
        let value = serde_json::to_value(&crd)?;
        let text = format!("# made by `cargo xtask gen`\n{}", serde_yaml_ng::to_string(&value)?);
        for folder in &folders {
            let path = folder.join(format!("{name}.yaml"));
            if std::fs::read_to_string(&path).ok().as_deref() == Some(text.as_str()) {
                continue;
            }
            if check {
                stale.push(path.display().to_string());
            } else {
                std::fs::create_dir_all(folder)?;
                std::fs::write(&path, &text).with_context(|| format!("writing {}", path.display()))?;
                println!("wrote {}", path.display());
            }
        }
    }
    if stale.is_empty() {
        Ok(())
    } else {
        bail!("run `cargo xtask gen`: it would change {}", stale.join(", "))
    }
}
