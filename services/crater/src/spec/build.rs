//! Flags over a file: the job that is asked for.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use crater_api::common::v1::Resources;
use crater_api::job::v1::{EnvVar, Job, JobSpec, Mount, Role, ServiceClass, Topology};
use crater_domain::{parse_bytes, parse_cpu, parse_duration, parse_gpu};

use super::Places;
use super::file::{JobFile, MountFile, RoleFile, Words};
use crate::cli::{Class, Submit};
use crate::error::Error;

/// A job that can be sent, once its account is known.
#[derive(Debug)]
pub struct Draft {
    /// The id asked for; empty: the server makes one.
    pub id: String,
    /// The account, if one was named, and where.
    pub account: Option<(&'static str, String)>,
    pub job: Job,
    /// For naming what the server finds wrong.
    pub places: Places,
}

/// Puts the flags over the file and reads every quantity.
pub fn draft(flags: &Submit, file: JobFile) -> Result<Draft, Error> {
    let shown = flags.file.as_ref().map(|p| p.display().to_string());
    let roles = roles(flags, &file)?;
    let many = roles.len() > 1;
    let role_place = |name: &str, key: &str, given: bool| match &shown {
        Some(file) if !given && many => format!("{file}: role {name}: {key}"),
        Some(file) if !given => format!("{file}: {key}"),
        _ => format!("--{key}"),
    };
    let place = |key: &str, given: bool| role_place("", key, given || !many);

    let mut built = Vec::with_capacity(roles.len());
    for role in roles {
        let name = role.name.clone().unwrap_or_else(|| "worker".to_owned());
        let at = |key: &str, given: bool| role_place(&name, key, given);
        built.push(build_role(flags, &role, at)?);
    }
    let names = built.iter().map(|r| r.name.clone()).collect();

    let (duration, given) = pick(&flags.duration, &file.duration);
    let duration = duration.map(|text| proto_duration(&place("duration", given), text)).transpose()?;
    let grace = file.grace_period.as_ref();
    let grace = grace.map(|text| proto_duration(&place("grace-period", false), text)).transpose()?;
    let class = match flags.class.or(file.class) {
        Some(Class::BestEffort) => ServiceClass::BestEffort,
        Some(Class::Guaranteed) | None => ServiceClass::Guaranteed,
    };
    let mut labels: HashMap<String, String> = file.labels.into_iter().collect();
    labels.extend(pairs("--label", &flags.label)?);
    let mut node_selector = file.node_selector;
    node_selector.extend(pairs("--node-selector", &flags.node_selector)?);
    let topology = topology(flags, file.within, file.near, &shown)?;
    let id = flags.name.clone().or(file.name);
    if id.as_deref() == Some("") {
        return Err(Error::flag(place("name", flags.name.is_some()), "must not be empty"));
    }
    let account = flags.account.clone().map(|a| ("--account", a)).or(file.account.map(|a| ("account", a)));
    let spec = JobSpec {
        service_class: class.into(),
        priority: flags.priority.or(file.priority).unwrap_or_default(),
        roles: built,
        expected_duration: duration,
        max_retries: flags.retries.or(file.retries).unwrap_or_default(),
        grace_period: grace,
        node_selector,
        topology,
    };
    Ok(Draft {
        id: id.unwrap_or_default(),
        account,
        job: Job { spec: Some(spec), labels, ..Default::default() },
        places: Places { roles: names, file: shown },
    })
}

/// How near each other replicas are: a flag goes before the file.
fn topology(
    flags: &Submit,
    within: Option<String>,
    near: Option<String>,
    file: &Option<String>,
) -> Result<Option<Topology>, Error> {
    let (within, near) = match (&flags.within, &flags.near) {
        (None, None) => (within, near),
        (within, near) => (within.clone(), near.clone()),
    };
    match (within, near) {
        (Some(_), Some(_)) => {
            let place = file.as_ref().map_or_else(|| "within".to_owned(), |file| format!("{file}: within"));
            Err(Error::flag(place, "cannot be said together with near"))
        }
        (Some(key), None) => Ok(Some(Topology { key, required: true })),
        (None, Some(key)) => Ok(Some(Topology { key, required: false })),
        (None, None) => Ok(None),
    }
}

/// The roles of the file, each with what stands beside them; one role where the file names none.
fn roles(flags: &Submit, file: &JobFile) -> Result<Vec<RoleFile>, Error> {
    let common = RoleFile {
        name: None,
        replicas: file.replicas,
        min_replicas: file.min_replicas,
        gpu: file.gpu.clone(),
        gpu_model: file.gpu_model.clone(),
        devices: file.devices.clone(),
        cpu: file.cpu.clone(),
        memory: file.memory.clone(),
        image: file.image.clone(),
        command: file.command.clone(),
        args: file.args.clone(),
        env: file.env.clone(),
        workdir: file.workdir.clone(),
        mounts: file.mounts.clone(),
    };
    let Some(roles) = &file.roles else { return Ok(vec![common]) };
    if roles.len() > 1 {
        let one_role_only = [
            ("--replicas", flags.replicas.is_some()),
            ("--min-replicas", flags.min_replicas.is_some()),
            ("--gpu", flags.gpu.is_some()),
            ("--gpu-model", !flags.gpu_model.is_empty()),
            ("--device", !flags.device.is_empty()),
            ("--cpu", flags.cpu.is_some()),
            ("--memory", flags.memory.is_some()),
            ("COMMAND", !flags.command.is_empty()),
        ];
        if let Some((flag, _)) = one_role_only.iter().find(|(_, given)| *given) {
            let why = format!("the file has {} roles: say it there", roles.len());
            return Err(Error::flag(*flag, why));
        }
    }
    let over = |role: &RoleFile| RoleFile {
        name: role.name.clone(),
        replicas: role.replicas.or(common.replicas),
        min_replicas: role.min_replicas.or(common.min_replicas),
        gpu: role.gpu.clone().or_else(|| common.gpu.clone()),
        gpu_model: role.gpu_model.clone().or_else(|| common.gpu_model.clone()),
        devices: role.devices.clone().or_else(|| common.devices.clone()),
        cpu: role.cpu.clone().or_else(|| common.cpu.clone()),
        memory: role.memory.clone().or_else(|| common.memory.clone()),
        image: role.image.clone().or_else(|| common.image.clone()),
        command: role.command.clone().or_else(|| common.command.clone()),
        // arguments belong to the command beside them
        args: role.args.clone().or_else(|| if role.command.is_none() { common.args.clone() } else { None }),
        env: common.env.iter().chain(&role.env).map(|(k, v)| (k.clone(), v.clone())).collect(),
        workdir: role.workdir.clone().or_else(|| common.workdir.clone()),
        mounts: role.mounts.clone().or_else(|| common.mounts.clone()),
    };
    Ok(roles.iter().map(over).collect())
}

fn build_role(flags: &Submit, role: &RoleFile, at: impl Fn(&str, bool) -> String) -> Result<Role, Error> {
    let quantity = |key: &str, flag: &Option<String>, file: &Option<String>, or: &str, read: Reader| {
        let (text, given) = pick(flag, file);
        read(text.unwrap_or(or)).map_err(|e| Error::flag(at(key, given), e))
    };
    // 0 would ask the server for its default, which is not what was written
    let count = |key: &str, flag: Option<i32>, file: Option<i32>| match flag.or(file) {
        Some(0) => Err(Error::flag(at(key, flag.is_some()), "must be at least 1")),
        other => Ok(other.unwrap_or_default()),
    };
    let resources = Resources {
        devices: devices(flags, role, &at)?,
        cpu_millis: quantity("cpu", &flags.cpu, &role.cpu, "1", |t| parse_cpu(t).map_err(text))?,
        memory_bytes: quantity("memory", &flags.memory, &role.memory, "1Gi", |t| {
            parse_bytes(t).map_err(text)
        })?,
        gpu_millis: quantity("gpu", &flags.gpu, &role.gpu, "0", |t| parse_gpu(t).map_err(text))?,
    };
    let words = |w: &Option<Words>| w.clone().unwrap_or_default().0;
    let (command, args) = if flags.command.is_empty() {
        (words(&role.command), words(&role.args))
    } else {
        (flags.command.clone(), Vec::new())
    };
    let models = if flags.gpu_model.is_empty() { words(&role.gpu_model) } else { flags.gpu_model.clone() };
    // in the order of the names: the same job is the same request
    let mut env = role.env.clone();
    env.extend(pairs("--env", &flags.env)?);
    Ok(Role {
        name: role.name.clone().unwrap_or_else(|| "worker".to_owned()),
        replicas: count("replicas", flags.replicas, role.replicas)?,
        min_replicas: count("min-replicas", flags.min_replicas, role.min_replicas)?,
        resources: Some(resources),
        gpu_models: models,
        image: flags.image.clone().or_else(|| role.image.clone()).unwrap_or_default(),
        command,
        args,
        env: env.into_iter().map(|(name, value)| EnvVar { name, value }).collect(),
        working_dir: flags.workdir.clone().or_else(|| role.workdir.clone()).unwrap_or_default(),
        mounts: role.mounts.iter().flatten().cloned().map(mount).collect(),
    })
}

/// Devices by name: those of the file, and over them those of the flags.
fn devices(
    flags: &Submit,
    role: &RoleFile,
    at: impl Fn(&str, bool) -> String,
) -> Result<BTreeMap<String, i64>, Error> {
    let mut devices = role.devices.clone().unwrap_or_default();
    if let Some((name, count)) = devices.iter().find(|(_, count)| **count < 1) {
        return Err(Error::flag(at("devices", false), format!("{name}: must be at least 1, not {count}")));
    }
    for (name, count) in pairs("--device", &flags.device)? {
        let count = count.parse().ok().filter(|count| *count >= 1);
        let count = count.ok_or_else(|| {
            Error::flag(
                "--device",
                format!("{name}: must be a whole number, at least 1, for example {name}=1"),
            )
        })?;
        devices.insert(name, count);
    }
    Ok(devices)
}

type Reader = fn(&str) -> Result<i64, String>;

fn text(error: impl fmt::Display) -> String {
    error.to_string()
}

/// The flag's text, or the file's; and whether it is the flag's.
fn pick<'a>(flag: &'a Option<String>, file: &'a Option<String>) -> (Option<&'a str>, bool) {
    (flag.as_deref().or(file.as_deref()), flag.is_some() || file.is_none())
}

fn mount(m: MountFile) -> Mount {
    Mount { claim: m.claim, sub_path: m.sub_path, mount_path: m.mount_path, read_only: m.read_only }
}

fn proto_duration(place: &str, text: &str) -> Result<prost_types::Duration, Error> {
    let duration = parse_duration(text).map_err(|e| Error::flag(place, e))?;
    duration.try_into().map_err(|_| Error::flag(place, format!("{text:?} is too large")))
}

/// Reads `KEY=VALUE` texts; the last of a key wins.
pub fn pairs(flag: &str, texts: &[String]) -> Result<BTreeMap<String, String>, Error> {
    let split = |text: &String| match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(Error::flag(flag, format!("{text:?} must be KEY=VALUE"))),
    };
    texts.iter().map(split).collect()
}

#[cfg(test)]
#[path = "build_tests.rs"]
mod tests;
