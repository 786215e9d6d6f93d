//! What a job asks for: the roles of its gang.

use crater_engine::{Extended, ExtendedIx, Role, Shape, valid_gpu};

use super::build::amount;
use super::fault::Fault;
use super::format::{Each, JobSpec};
use super::names::Interned;
use super::quantity::Unit;

/// Replicas of a role.
const MOST_REPLICAS: u32 = 1_000_000;

/// Its roles, or the one that it has. `names`: of devices.
pub(super) fn roles(spec: &JobSpec, names: &mut Interned, at: &str) -> Result<Vec<Role>, Fault> {
    if spec.roles.is_empty() {
        return Ok(vec![role(spec.replicas, spec.min_replicas, &spec.each, names, at)?]);
    }
    if spec.replicas != 1 || spec.min_replicas.is_some() || spec.each != Each::default() {
        let why = "replicas, min_replicas and each stand in the roles, or there are none";
        return Err(Fault::new(format!("{at}.roles"), why));
    }
    let mut roles = Vec::new();
    for (i, one) in spec.roles.iter().enumerate() {
        let at = format!("{at}.roles[{i}]");
        if one.name.is_empty() {
            return Err(Fault::new(format!("{at}.name"), "is empty"));
        }
        if spec.roles.iter().take(i).any(|other| other.name == one.name) {
            return Err(Fault::new(format!("{at}.name"), format!("role {} is there twice", one.name)));
        }
        roles.push(role(one.replicas, one.min_replicas, &one.each, names, &at)?);
    }
    Ok(roles)
}

fn role(replicas: u32, min: Option<u32>, each: &Each, names: &mut Interned, at: &str) -> Result<Role, Fault> {
    let gpu = amount(each.gpu.as_ref(), Unit::Gpus, 0, &format!("{at}.each.gpu"))?;
    if !valid_gpu(gpu) {
        return Err(Fault::new(format!("{at}.each.gpu"), "must be whole GPUs or a part of one"));
    }
    let named = each.extended.iter().map(|(name, count)| (ExtendedIx(names.add(name)), *count));
    let extended = Extended::new(named)
        .ok_or_else(|| Fault::new(format!("{at}.each.extended"), "may have at most four names"))?;
    let each = Shape {
        cpu: amount(each.cpu.as_ref(), Unit::Cores, 0, &format!("{at}.each.cpu"))?,
        memory: amount(each.memory.as_ref(), Unit::Bytes, 0, &format!("{at}.each.memory"))?,
        gpu,
        extended,
    };
    if !(1..=MOST_REPLICAS).contains(&replicas) {
        let why = format!("{replicas} is not from 1 to {MOST_REPLICAS}");
        return Err(Fault::new(format!("{at}.replicas"), why));
    }
    if each.memory.saturating_mul(i64::from(replicas)) > Unit::BytesOfMany.most() {
        return Err(Fault::new(format!("{at}.each.memory"), "is more than 1Ei for all replicas together"));
    }
    let min = min.unwrap_or(replicas);
    if min == 0 || min > replicas {
        let why = format!("{min} is not from 1 to the {replicas} replicas that it wants");
        return Err(Fault::new(format!("{at}.min_replicas"), why));
    }
    Ok(Role { each, replicas, min })
}
