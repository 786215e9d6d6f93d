//! All checks in turn. Each prints its name; the first that fails ends the run.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Runs formats, layers, generated files, lints and, if asked, tests.
pub fn run(root: &Path, tests: bool) -> Result<()> {
    step("formats", || cargo(root, &["fmt", "--all", "--check"]))?;
    step("layers", || crate::layers::run(root))?;
    step("generated files", || crate::generate::run(root, true))?;
    step("contract", || buf(root))?;
    step("lints", || {
        cargo(root, &["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"])
    })?;
    if tests {
        step("tests", || cargo(root, &["test", "--workspace", "--quiet"]))?;
    }
    Ok(())
}

fn step(name: &str, run: impl FnOnce() -> Result<()>) -> Result<()> {
    println!("== {name}");
    run().with_context(|| format!("checking {name}"))
}

fn cargo(root: &Path, args: &[&str]) -> Result<()> {
    command(root, &std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()), args)
}

/// `buf lint` and its formatter, if buf is at hand: the console's packages bring it.
fn buf(root: &Path) -> Result<()> {
    let own = root.join("services/gateway/console/node_modules/.bin/buf");
    let program = if own.exists() { own.display().to_string() } else { "buf".to_owned() };
    if Command::new(&program).arg("--version").output().is_err() {
        println!("   buf is not at hand (npm ci in services/gateway/console brings it): not checked");
        return Ok(());
    }
    command(root, &program, &["lint"])?;
    command(root, &program, &["format", "--diff", "--exit-code", "proto"])
}

fn command(root: &Path, program: &str, args: &[&str]) -> Result<()> {
    let status = Command::new(program)
        .args(args)
        .current_dir(root)
        .status()
        .with_context(|| format!("running {program}"))?;
    if !status.success() {
        bail!("{program} {} found something ({status})", args.join(" "));
    }
    Ok(())
}
