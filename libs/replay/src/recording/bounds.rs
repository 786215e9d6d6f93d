//! Numbers that no cluster has. A recording is read from a file, and what is in it need not be what a scheduler wrote: where a count
//! is out of all bounds no memory would be enough, and sums would overflow.

use crater_engine::Snapshot;

/// GPU models, or names of devices, of a cluster.
const MOST_NAMES: i64 = 1 << 16;
/// Replicas of a role.
const MOST_REPLICAS: i64 = 1 << 20;
/// Milli-cores, bytes or milli-GPU of a node or replica: 256 TiB.
const MOST: i64 = 1 << 48;
/// Milliseconds, either way.
const LATEST: i64 = 1 << 60;

/// Refuses what is out of bounds: (field, what is wrong).
pub(super) fn check(snapshot: &Snapshot) -> Result<(), (String, String)> {
    let within = |field: &dyn Fn() -> String, value: i64, least: i64, most: i64| match value {
        n if n > most => Err((field(), format!("{n} is more than {most}"))),
        n if n < least => Err((field(), format!("{n} is less than {least}"))),
        _ => Ok(()),
    };
    within(&|| "now".into(), snapshot.now, -LATEST, LATEST)?;
    within(&|| "models".into(), snapshot.models.into(), 0, MOST_NAMES)?;
    within(&|| "extended".into(), snapshot.extended.into(), 0, MOST_NAMES)?;
    for (i, node) in snapshot.nodes.iter().enumerate() {
        let amounts = [
            ("cpu", node.cpu),
            ("memory", node.memory),
            ("others_cpu", node.others_cpu),
            ("others_memory", node.others_memory),
        ];
        for (name, amount) in amounts {
            within(&|| format!("nodes[{i}].{name}"), amount, 0, MOST)?;
        }
        for (at, (_, milli)) in node.others_gpus.iter().enumerate() {
            within(&|| format!("nodes[{i}].others_gpus[{at}]"), *milli, 0, MOST)?;
        }
    }
    for (i, job) in snapshot.jobs.iter().enumerate() {
        for (name, time) in [("submitted", job.submitted), ("queued_since", job.queued_since)] {
            within(&|| format!("jobs[{i}].{name}"), time, -LATEST, LATEST)?;
        }
        for (r, role) in job.request.roles.iter().enumerate() {
            let at = |field: &str| format!("jobs[{i}].request.roles[{r}].{field}");
            within(&|| at("replicas"), role.replicas.into(), 0, MOST_REPLICAS)?;
            for (name, amount) in
                [("cpu", role.each.cpu), ("memory", role.each.memory), ("gpu", role.each.gpu)]
            {
                within(&|| at(&format!("each.{name}")), amount, 0, MOST)?;
            }
        }
    }
    for (i, held) in snapshot.holdings.iter().enumerate() {
        let at = |field: &str| format!("holdings[{i}].{field}");
        within(&|| at("started"), held.started, -LATEST, LATEST)?;
        for (name, amount) in [("cpu", held.each.cpu), ("memory", held.each.memory), ("gpu", held.each.gpu)] {
            within(&|| at(&format!("each.{name}")), amount, 0, MOST)?;
        }
        for (n, (_, milli)) in held.gpus.iter().enumerate() {
            within(&|| at(&format!("gpus[{n}]")), *milli, 0, MOST)?;
        }
    }
    for (i, hold) in snapshot.holds.iter().enumerate() {
        within(&|| format!("holds[{i}].since"), hold.since, -LATEST, LATEST)?;
    }
    Ok(())
}
