//! What is wrong with a scenario as a whole: names that nothing has, events that cannot happen, numbers out of bounds.

use std::collections::BTreeSet;

use super::fault::Fault;
use super::format::{Expect, Scenario, Step};
use super::world::World;

/// Cycles that a scenario may ask for at a time.
const MOST_CYCLES: u32 = 10_000;

/// Checks everything that is known before anything runs. `world`: as it begins.
pub(super) fn check(scenario: &Scenario, world: &World) -> Result<(), Fault> {
    if scenario.name.is_empty() {
        return Err(Fault::new("name", "is empty"));
    }
    if !(1..=MOST_CYCLES).contains(&scenario.max_cycles) {
        let why = format!("{} is not from 1 to {MOST_CYCLES}", scenario.max_cycles);
        return Err(Fault::new("max_cycles", why));
    }
    if scenario.stable_cycles > MOST_CYCLES {
        let why = format!("{} is more than {MOST_CYCLES}", scenario.stable_cycles);
        return Err(Fault::new("stable_cycles", why));
    }
    let mut events =
        Events { world, later: BTreeSet::new(), ended: BTreeSet::new(), failed: BTreeSet::new() };
    for (i, step) in scenario.steps.iter().enumerate() {
        events.check(step, &format!("steps[{i}]"))?;
    }
    expected(&scenario.expect, &events)
}

/// What has happened after some of the steps.
struct Events<'a> {
    world: &'a World,
    /// Jobs that were submitted in them.
    later: BTreeSet<&'a str>,
    ended: BTreeSet<&'a str>,
    failed: BTreeSet<&'a str>,
}

impl<'a> Events<'a> {
    fn check(&mut self, step: &'a Step, at: &str) -> Result<(), Fault> {
        let Step { submit, finish, finish_replicas, fail_node, resubmit } = step;
        let given = [
            submit.is_some(),
            finish.is_some(),
            finish_replicas.is_some(),
            fail_node.is_some(),
            resubmit.is_some(),
        ];
        let given = given.into_iter().filter(|given| *given).count();
        if given != 1 {
            let why = format!(
                "has {given} events: it needs one of submit, finish, finish_replicas, fail_node and resubmit"
            );
            return Err(Fault::new(at, why));
        }
        if let Some(job) = submit {
            if self.world.jobs.get(&job.name).is_some() || !self.later.insert(&job.name) {
                return Err(Fault::new(
                    format!("{at}.submit.name"),
                    format!("job {} is there twice", job.name),
                ));
            }
            if job.submit != 0 {
                let why = "is for jobs that are there in the beginning; this one comes with its step";
                return Err(Fault::new(format!("{at}.submit.submit"), why));
            }
        }
        if let Some(name) = finish {
            self.still_there(name, &format!("{at}.finish"))?;
            self.ended.insert(name);
        }
        for (name, count) in finish_replicas.iter().flatten() {
            let at = format!("{at}.finish_replicas.{name}");
            self.still_there(name, &at)?;
            if *count == 0 {
                return Err(Fault::new(at, "must be at least 1"));
            }
        }
        if let Some(name) = fail_node {
            let at = format!("{at}.fail_node");
            self.world.known_node(name, &at)?;
            if !self.failed.insert(name) {
                return Err(Fault::new(at, format!("node {name} has failed before")));
            }
        }
        match resubmit.as_deref() {
            None | Some("evicted") => Ok(()),
            Some(other) => {
                Err(Fault::new(format!("{at}.resubmit"), format!("{other} is not known; only evicted is")))
            }
        }
    }

    fn still_there(&self, name: &str, at: &str) -> Result<(), Fault> {
        self.known(name, at)?;
        if self.ended.contains(name) {
            return Err(Fault::new(at, format!("job {name} has finished before")));
        }
        Ok(())
    }

    /// A job of the beginning, or of a step so far.
    fn known(&self, name: &str, at: &str) -> Result<(), Fault> {
        if self.later.contains(name) { Ok(()) } else { self.world.known_job(name, at).map(|_| ()) }
    }
}

/// What is expected of something that is nowhere is a slip of the pen.
fn expected(expect: &Expect, events: &Events<'_>) -> Result<(), Fault> {
    let by_job = [
        ("placed", expect.placed.keys().collect::<Vec<_>>()),
        ("running", expect.running.keys().collect()),
        ("pending", expect.pending.keys().collect()),
        ("starts", expect.starts.keys().collect()),
        ("same_value", expect.same_value.keys().collect()),
    ];
    for (field, names) in by_job {
        for name in names {
            events.known(name, &format!("expect.{field}.{name}"))?;
        }
    }
    for (field, names) in [("evicted", &expect.evicted), ("moved", &expect.moved)] {
        for (i, name) in names.iter().flatten().enumerate() {
            events.known(name, &format!("expect.{field}[{i}]"))?;
        }
    }
    for (job, nodes) in &expect.placed {
        for (i, node) in nodes.iter().enumerate() {
            events.world.known_node(node, &format!("expect.placed.{job}[{i}]"))?;
        }
    }
    for (job, key) in &expect.same_value {
        if !events.world.has_label(key) {
            return Err(Fault::new(
                format!("expect.same_value.{job}"),
                format!("no node has the label {key}"),
            ));
        }
    }
    Ok(())
}
