//! What was expected of a world, held beside what came.

use std::collections::BTreeSet;

use super::format::Expect;
use super::run::Run;
use super::world::START;

/// What did not come as expected, in words.
pub(super) fn judge(run: &Run, expect: &Expect) -> Vec<String> {
    let mut failures = places(run, expect);
    failures.extend(waits(run, expect));
    failures.extend(losses(run, expect));
    failures
}

fn places(run: &Run, expect: &Expect) -> Vec<String> {
    let world = &run.world;
    let mut failures = Vec::new();
    for (job, nodes) in &expect.placed {
        let mut wanted = nodes.clone();
        wanted.sort();
        let have = world.replicas(job);
        if have != wanted {
            failures.push(format!("{job} on [{}], came [{}]", wanted.join(", "), have.join(", ")));
        }
    }
    for (job, wanted) in &expect.running {
        let have = world.replicas(job).len();
        if have != *wanted as usize {
            failures.push(format!("{wanted} replicas of {job}, came {have}"));
        }
    }
    for (job, key) in &expect.same_value {
        let nodes = world.replicas(job);
        let values: BTreeSet<Option<&str>> = nodes.iter().map(|node| world.label_of(node, key)).collect();
        if values.len() != 1 || values.contains(&None) {
            failures.push(format!("{job} within one {key}, came [{}]", nodes.join(", ")));
        }
    }
    failures
}

fn waits(run: &Run, expect: &Expect) -> Vec<String> {
    let mut failures = Vec::new();
    let verdict = |job: &str| run.last.verdicts.iter().find(|verdict| run.name_of(verdict) == job);
    for (job, text) in &expect.pending {
        match verdict(job).map(|verdict| run.reason(verdict)) {
            None => failures.push(format!("{job} waits, came [{}]", run.world.replicas(job).join(", "))),
            Some(reason) if reason.is_empty() || !reason.contains(text.as_str()) => {
                failures.push(format!("{job} waits because of \"{text}\", came \"{reason}\""));
            }
            Some(_) => {}
        }
    }
    for (job, wanted) in &expect.starts {
        let start = verdict(job).and_then(|verdict| verdict.expected_start);
        let have = start.map(|start| (start - START) / 1000);
        if have != Some(*wanted) {
            let have = have.map_or("nothing".into(), |have| format!("{have} s"));
            failures.push(format!("{job} is told that it starts after {wanted} s, came {have}"));
        }
    }
    failures
}

fn losses(run: &Run, expect: &Expect) -> Vec<String> {
    let world = &run.world;
    let mut failures = Vec::new();
    let sets = [("evicted", &expect.evicted, &world.evicted), ("moved", &expect.moved, &world.moved)];
    for (what, wanted, have) in sets {
        let Some(wanted) = wanted else { continue };
        let wanted: BTreeSet<String> = wanted.iter().cloned().collect();
        if wanted != *have {
            let list = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>().join(", ");
            failures.push(format!("{what} [{}], came [{}]", list(&wanted), list(have)));
        }
    }
    if let Some(most) = expect.evictions_max
        && world.evictions > most
    {
        failures.push(format!("at most {most} replicas leave their node, came {}", world.evictions));
    }
    failures
}
