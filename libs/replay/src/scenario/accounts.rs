//! The account tree of a world.

use std::collections::BTreeMap;

use crater_engine::{Account, AccountIx, Amounts, Borrowed, ExtendedIx, ModelIx, Usage};

use super::fault::Fault;
use super::format::AccountSpec;
use super::quantity::{Quantity, Unit};
use super::world::World;

/// Accounts above one another, as many as the engine allows.
const MOST_ABOVE: usize = 56;
const MOST_WEIGHT: u32 = 1_000_000;
/// What an account may have borrowed, in thousandths: in the billionths that the engine counts, sums of it are far from overflow.
const MOST_BORROWED: i64 = 1_000_000_000;

/// Adds the accounts, or `default` if there are none.
pub(super) fn add_accounts(world: &mut World, specs: &[AccountSpec]) -> Result<(), Fault> {
    for (i, spec) in specs.iter().enumerate() {
        let name = |why| Err(Fault::new(format!("accounts[{i}].name"), why));
        if spec.name.is_empty() {
            return name("is empty".to_owned());
        }
        if world.accounts.get(&spec.name).is_some() {
            return name(format!("account {} is there twice", spec.name));
        }
        world.accounts.add(&spec.name);
    }
    for (i, spec) in specs.iter().enumerate() {
        let at = format!("accounts[{i}]");
        let parent =
            match &spec.parent {
                None => None,
                Some(name) => Some(AccountIx(world.accounts.get(name).ok_or_else(|| {
                    Fault::new(format!("{at}.parent"), format!("there is no account {name}"))
                })?)),
            };
        if !(1..=MOST_WEIGHT).contains(&spec.weight) {
            let why = format!("{} is not from 1 to {MOST_WEIGHT}", spec.weight);
            return Err(Fault::new(format!("{at}.weight"), why));
        }
        let account = Account {
            parent,
            weight: i64::from(spec.weight),
            guaranteed: amounts(world, &spec.guaranteed, &format!("{at}.guaranteed"))?,
            limit: amounts(world, &spec.limit, &format!("{at}.limit"))?,
        };
        check_promise(world, spec, &account, &format!("{at}.guaranteed"))?;
        world.snapshot.accounts.push(account);
        let all = usage(world, &spec.borrowed_lately, &format!("{at}.borrowed_lately"))?;
        world.snapshot.lately.push(Borrowed { all, ..Borrowed::default() });
    }
    if specs.is_empty() {
        world.accounts.add("default");
        world.snapshot.accounts.push(Account::default());
    }
    check_tree(world)
}

fn amounts(world: &World, by_name: &BTreeMap<String, Quantity>, at: &str) -> Result<Amounts, Fault> {
    let mut amounts = Amounts::default();
    for (name, quantity) in by_name {
        let fault = |why: String| Fault::new(format!("{at}.{name}"), why);
        let value = quantity.amount(unit(world, name)).map_err(fault)?;
        match (name.as_str(), world.models.get(name), world.extended.get(name)) {
            ("cpu", _, _) => amounts.cpu = Some(value),
            ("memory", _, _) => amounts.memory = Some(value),
            ("gpu", _, _) => amounts.gpu = Some(value),
            ("jobs", _, _) if at.ends_with("guaranteed") => {
                return Err(fault("jobs can be limited, not guaranteed".into()));
            }
            ("jobs", _, _) => amounts.jobs = Some(value),
            (_, Some(model), _) => amounts.gpu_models.push((ModelIx(model), value)),
            (_, None, Some(device)) => amounts.extended.push((ExtendedIx(device), value)),
            (_, None, None) => {
                let why = "is neither cpu, memory, gpu, jobs nor a GPU model or device here";
                return Err(fault(why.into()));
            }
        }
    }
    Ok(amounts)
}

fn unit(world: &World, name: &str) -> Unit {
    match name {
        "cpu" => Unit::CoresOfMany,
        "memory" => Unit::BytesOfMany,
        "gpu" => Unit::GpusOfMany,
        "jobs" => Unit::Pieces,
        model if world.models.get(model).is_some() => Unit::GpusOfMany,
        _ => Unit::Pieces,
    }
}

/// Nobody is promised more than he may have.
fn check_promise(world: &World, spec: &AccountSpec, account: &Account, at: &str) -> Result<(), Fault> {
    for (name, promised) in &spec.guaranteed {
        let Some(limit) = spec.limit.get(name) else { continue };
        let unit = unit(world, name);
        if promised.amount(unit) > limit.amount(unit) {
            let why = format!("{} is more than the account's limit of {}", promised.0, limit.0);
            return Err(Fault::new(format!("{at}.{name}"), why));
        }
    }
    let models: i64 = account.guaranteed.gpu_models.iter().map(|(_, milli)| milli).sum();
    match (account.limit.gpu, spec.limit.get("gpu")) {
        (Some(most), Some(limit)) if models > most => {
            let why = format!("its GPU models are together more than the account's limit of {} gpu", limit.0);
            Err(Fault::new(at, why))
        }
        _ => Ok(()),
    }
}

fn usage(world: &World, by_name: &BTreeMap<String, Quantity>, at: &str) -> Result<Usage, Fault> {
    let mut usage = Usage::default();
    for (name, quantity) in by_name {
        let fault = |why: String| Fault::new(format!("{at}.{name}"), why);
        let value = quantity.amount(unit(world, name)).map_err(fault)?;
        if name != "memory" && value > MOST_BORROWED {
            return Err(fault(format!("{} is more than {}", quantity.0, MOST_BORROWED / 1000)));
        }
        let nano = value.saturating_mul(1_000_000);
        let model = match (name.as_str(), world.models.names.as_slice()) {
            ("gpu", [_]) => Some(0),
            (model, _) => world.models.get(model),
        };
        match (name.as_str(), model) {
            ("cpu", _) => usage.cpu = nano,
            ("memory", _) => usage.memory = value,
            (_, Some(model)) => usage.add_gpu(ModelIx(model), nano),
            (_, None) => return Err(fault("is neither cpu, memory nor a GPU model here".into())),
        }
    }
    Ok(usage)
}

/// Every account has a top, and not too far away.
fn check_tree(world: &World) -> Result<(), Fault> {
    let accounts = &world.snapshot.accounts;
    for (i, account) in accounts.iter().enumerate() {
        let mut way = vec![i];
        let mut above = account.parent;
        while let Some(parent) = above {
            let back = way.contains(&parent.at());
            way.push(parent.at());
            let fault = |why: String| Err(Fault::new(format!("accounts[{i}].parent"), why));
            if back {
                let names: Vec<&str> = way.iter().map(|ix| world.accounts.names[*ix].as_str()).collect();
                return fault(format!("an account is above itself: {}", names.join(" below ")));
            }
            if way.len() > MOST_ABOVE + 1 {
                let name = &world.accounts.names[i];
                return fault(format!("account {name} has more than {MOST_ABOVE} accounts above it"));
            }
            above = accounts[parent.at()].parent;
        }
    }
    Ok(())
}
