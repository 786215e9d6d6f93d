//! Generates the contract from proto/, without a system protoc, and refuses a method that declares no access rule.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use prost::Message as _;
use prost_reflect::{DescriptorPool, MethodDescriptor, Value};

fn main() -> Result<()> {
    // where this build is, not where the script was compiled: clones may share a target folder
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo:rerun-if-changed={}", root.display());
    let mut files = Vec::new();
    collect(&root, &mut files)?;
    files.sort();

    let mut compiler = protox::Compiler::new([&root])?;
    compiler.include_imports(true).include_source_info(true).open_files(&files)?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let rules = access_rules(&compiler.descriptor_pool())?;
    std::fs::write(out.join("access.rs"), rules)?;
    // reflection needs no comments: without them the set is a quarter of the size
    let mut served = compiler.file_descriptor_set();
    for file in &mut served.file {
        file.source_code_info = None;
    }
    std::fs::write(out.join("descriptors.bin"), served.encode_to_vec())?;
    tonic_prost_build::configure()
        .include_file("contract.rs")
        // in one order on the wire: the same request has the same bytes
        .btree_map(".crater.common.v1.Resources.devices")
        .btree_map(".crater.job.v1.JobSpec.node_selector")
        .compile_fds(compiler.file_descriptor_set())
        .context("generating the contract")?;
    Ok(())
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|e| e == "proto") {
            files.push(path);
        }
    }
    Ok(())
}

/// One line a method: its path, its rule, and which sides stream.
fn access_rules(pool: &DescriptorPool) -> Result<String> {
    let option =
        pool.get_extension_by_name("crater.common.v1.access").context("the option access is not defined")?;
    let mut out = String::from("&[\n");
    for method in pool.services().flat_map(|s| s.methods().collect::<Vec<_>>()) {
        let (permission, level) = rule(&method, &option)
            .with_context(|| format!("{}: declare option (crater.common.v1.access)", method.full_name()))?;
        writeln!(
            out,
            "    Method {{ path: \"/{}/{}\", permission: {permission:?}, level: Level::{level}, client_streaming: {}, server_streaming: {} }},",
            method.parent_service().full_name(),
            method.name(),
            method.is_client_streaming(),
            method.is_server_streaming()
        )?;
    }
    out.push_str("]\n");
    Ok(out)
}

fn rule(
    method: &MethodDescriptor,
    option: &prost_reflect::ExtensionDescriptor,
) -> Result<(String, &'static str)> {
    let options = method.options();
    if !options.has_extension(option) {
        bail!("it declares no access rule");
    }
    let value = options.get_extension(option);
    let rule = value.as_message().context("the access rule is no message")?;
    let permission = match rule.get_field_by_name("permission").as_deref() {
        Some(Value::String(text)) if !text.is_empty() => text.clone(),
        _ => bail!("its access rule names no permission"),
    };
    let level = match rule.get_field_by_name("level").as_deref() {
        Some(Value::EnumNumber(1)) => "Public",
        Some(Value::EnumNumber(2)) => "Authenticated",
        Some(Value::EnumNumber(3)) => "AccountMember",
        Some(Value::EnumNumber(4)) => "AccountManager",
        Some(Value::EnumNumber(5)) => "PlatformAdmin",
        Some(Value::EnumNumber(6)) => "Service",
        _ => bail!("its access rule has no level"),
    };
    Ok((permission, level))
}
