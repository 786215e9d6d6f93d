//! What people run on the source itself: `cargo xtask verify`, and its parts. It is no part of what is shipped.

mod generate;
mod layers;
mod verify;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Checks and generators for Crater's source")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write the generated files: deploy/crds and the chart's copy
    Gen {
        /// Change nothing; fail if a file would change
        #[arg(long)]
        check: bool,
    },
    /// Check who imports whom against the table in ARCHITECTURE.md
    Layers,
    /// Formats, lints, layers, generated files; with --tests, all Rust tests too
    Verify {
        /// Run all Rust tests as well
        #[arg(long)]
        tests: bool,
    },
}

fn main() -> Result<()> {
    let root = root()?;
    match Args::parse().command {
        Command::Gen { check } => generate::run(&root, check),
        Command::Layers => layers::run(&root),
        Command::Verify { tests } => verify::run(&root, tests),
    }
}

/// The clone that we stand in, not the one that this was compiled in: clones may share a target folder.
fn root() -> Result<PathBuf> {
    let here = std::env::current_dir()?;
    let root = here.ancestors().find(|folder| folder.join("buf.yaml").is_file());
    Ok(root.context("run this inside the project's folder")?.to_path_buf())
}
