//! Allocations: what they give, whether they may, and what they hold.

use std::collections::{BTreeSet, HashMap};

use crate::observation::{Allocation, Change, Job, Key, Phase, Replica};
use crate::violation::{Law, cause};

use super::books::Part;
use super::fence::Standing;
use super::limits::Used;
use super::{Auditor, name};

/// An Allocation and what of it is in the books.
pub struct Given {
    /// As it is.
    pub object: Allocation,
    /// At which revision it was made; none: before the audit.
    pub created: Option<u64>,
    /// Whether it was accepted though it could not be.
    pub unfenced: bool,
    booked: HashMap<Replica, (Part, Option<Used>)>,
}

impl Given {
    /// Whether something of it is in the books.
    pub fn holds(&self) -> usize {
        self.booked.len()
    }
}

impl Auditor {
    pub(super) fn allocation(&mut self, change: Change, object: Allocation, version: bool) {
        let (key, uid) = (object.key.clone(), object.job_uid.clone());
        let subject = format!("Allocation {}", name(&key));
        self.open.insert(uid.clone());
        match change {
            Change::Added => {
                self.seen.allocations += 1;
                let created = version.then_some(self.revision);
                self.allocations_of.entry(uid).or_default().insert(key.clone());
                let given = Given { object, created, unfenced: false, booked: HashMap::new() };
                self.allocations.insert(key.clone(), given);
                self.rebook(&key);
                if version && self.seen_all() {
                    self.gang(&key, &subject);
                }
            }
            Change::Modified => {
                let Some(given) = self.allocations.get_mut(&key) else { return };
                let before = std::mem::replace(&mut given.object, object);
                let created = given.created;
                if self.seen_all() {
                    self.allocation_step(&subject, &before, &key, created);
                }
                self.rebook(&key);
            }
            Change::Deleted => {
                if self.seen_all() {
                    let alive = self.alive(&uid, &object).map(|pod| format!("it went while {pod} runs"));
                    self.judge(Law::I3, cause::EARLY_RELEASE, &subject, alive);
                }
                if let Some(given) = self.allocations.remove(&key) {
                    self.unbook(given.booked.into_values());
                }
                self.undecided.remove(&key);
                if let Some(keys) = self.allocations_of.get_mut(&uid) {
                    keys.remove(&key);
                    if keys.is_empty() {
                        self.allocations_of.remove(&uid);
                    }
                }
            }
        }
    }

    fn allocation_step(&mut self, subject: &str, before: &Allocation, key: &Key, created: Option<u64>) {
        let Some(now) = self.allocations.get(key).map(|g| g.object.clone()) else { return };
        let same =
            before.granted == now.granted && before.epoch == now.epoch && before.job_uid == now.job_uid;
        self.judge(
            Law::I1,
            cause::SECOND_WRITER,
            subject,
            (!same).then(|| "its grant was changed".to_owned()),
        );
        let grows = before.revoked.is_subset(&now.revoked) && before.released.is_subset(&now.released);
        let shrunk = (!grows).then(|| "something that was revoked or released is not any more".to_owned());
        self.judge(Law::I1, cause::SECOND_WRITER, subject, shrunk);
        let two = (before.revoked != now.revoked && before.status != now.status)
            .then(|| "one write changed the scheduler's and the controller's part".to_owned());
        self.judge(Law::I1, cause::SECOND_WRITER, subject, two);
        let changed = (before.accepted.is_some() && before.accepted != now.accepted)
            || (before.refused && !now.refused);
        let undone = (changed || (now.accepted.is_some() && now.refused))
            .then(|| "the controller took back what it had decided of it".to_owned());
        self.judge(Law::I6, cause::WRONG_STEP, subject, undone);
        if let (None, Some(under), Some(created)) = (before.accepted, now.accepted, created) {
            let could = self.fences.could(now.epoch, created, under);
            let stale = (could == Some(false)).then(|| {
                let epoch = now.epoch;
                format!("given in epoch {epoch} at revision {created}, accepted under epoch {under}, whose holder never listed it")
            });
            if stale.is_some()
                && let Some(given) = self.allocations.get_mut(key)
            {
                given.unfenced = true;
            }
            self.judge(Law::I3, cause::NO_EPOCH_CHECK, subject, stale);
        }
        let fresh: BTreeSet<Replica> = now.released.difference(&before.released).cloned().collect();
        for replica in fresh {
            let early = self.not_gone(&now, &replica);
            self.judge(Law::I3, cause::EARLY_RELEASE, subject, early);
        }
    }

    /// Why a replica that is released is not known to be gone.
    fn not_gone(&self, allocation: &Allocation, replica: &Replica) -> Option<String> {
        let pods = self.pods_of.get(&allocation.job_uid)?;
        let pod = pods.iter().filter_map(|key| self.pods.get(key));
        let pod =
            pod.filter(|p| p.allocation == allocation.key.1 && p.replica == *replica).find(|p| !p.ended)?;
        let off = self.nodes.get(&pod.node).is_some_and(|m| m.node.off);
        (!off).then(|| {
            format!(
                "replica {}/{} was released while Pod {} is there and has not ended",
                replica.0,
                replica.1,
                name(&pod.key)
            )
        })
    }

    /// A Pod of the Allocation that has not ended.
    fn alive(&self, uid: &str, allocation: &Allocation) -> Option<String> {
        let pods = self.pods_of.get(uid)?.iter().filter_map(|key| self.pods.get(key));
        let off = |p: &crate::observation::Pod| self.nodes.get(&p.node).is_some_and(|m| m.node.off);
        pods.filter(|p| p.allocation == allocation.key.1 && !p.ended && !off(p))
            .map(|p| format!("Pod {}", name(&p.key)))
            .next()
    }

    /// Whole or not at all: by itself, or with what the job holds and keeps.
    fn gang(&mut self, key: &Key, subject: &str) {
        let Some(given) = self.allocations.get(key) else { return };
        let object = &given.object;
        let Some(job) = self.job_of(&object.job_uid).cloned() else { return };
        if self.fences.standing(object, given.created) == Standing::Void
            || object.revoked.len() == object.granted.len()
        {
            return;
        }
        let mut replicas: BTreeSet<Replica> = object.granted.iter().map(|g| g.replica.clone()).collect();
        for other in self.allocations_of.get(&object.job_uid).into_iter().flatten() {
            let Some(other) = self.allocations.get(other).map(|g| &g.object) else { continue };
            // of a job that waits, what was given for an earlier start goes back
            let joins = job.phase != Phase::Queued || (other.revoked.is_empty() && other.released.is_empty());
            let kept = other.held().map(|g| &g.replica).filter(|r| joins && !other.revoked.contains(*r));
            replicas.extend(kept.cloned());
        }
        let short = least(&job, &replicas);
        self.judge(Law::I2, cause::PARTIAL_GRANT, subject, short);
    }

    pub(super) fn job_of(&self, uid: &str) -> Option<&Job> {
        self.jobs.get(self.by_uid.get(uid)?)
    }

    /// Brings the books to what the Allocation holds now.
    pub(super) fn rebook(&mut self, key: &Key) {
        let Some(mut given) = self.allocations.remove(key) else { return };
        let object = &given.object;
        if object.accepted.is_none() && !object.refused {
            self.undecided.insert(key.clone());
        } else {
            self.undecided.remove(key);
        }
        let counts = self.fences.standing(object, given.created) == Standing::Counts;
        let held: HashMap<&Replica, _> = object.held().filter(|_| counts).map(|g| (&g.replica, g)).collect();
        let gone: Vec<Replica> = given.booked.keys().filter(|r| !held.contains_key(r)).cloned().collect();
        let new: Vec<_> =
            held.into_values().filter(|g| !given.booked.contains_key(&g.replica)).cloned().collect();
        let job = self.job_of(&object.job_uid).cloned();
        let (label, unfenced) = (format!("Allocation {}", name(key)), given.unfenced);
        let gone: Vec<_> = gone.iter().filter_map(|r| given.booked.remove(r)).collect();
        self.unbook(gone.into_iter());
        let (mut nodes, mut subjects) = (BTreeSet::new(), BTreeSet::new());
        for granted in new {
            let role = job.as_ref().and_then(|j| j.roles.iter().find(|r| r.name == granted.replica.0));
            let part = Part {
                owner: format!("{label} {}/{}", granted.replica.0, granted.replica.1),
                node: granted.node.clone(),
                gpus: granted.gpus.iter().map(|device| (*device, granted.millis)).collect(),
                cpu: role.map_or(0, |r| r.cpu),
                memory: role.map_or(0, |r| r.memory),
                named: role.map(|r| r.devices.clone()).unwrap_or_default(),
            };
            let over = self.books.add(&part);
            let unfenced = unfenced || self.unfenced_among(&over);
            let double = if unfenced { cause::NO_EPOCH_CHECK } else { cause::DOUBLE_GRANT };
            let device = format!("node {}", part.node);
            let twice = over
                .first()
                .map(|(device, owners)| format!("device {device} is given to {}", owners.join(" and ")));
            self.judge(Law::I3, double, &device, twice);
            nodes.insert(part.node.clone());
            let used = job.as_ref().map(|job| {
                let gpu: i64 = part.gpus.iter().map(|(_, millis)| millis).sum();
                let model = self.nodes.get(&part.node).map(|m| m.node.model.clone()).filter(|_| gpu > 0);
                Used::new(job, &part, gpu, model)
            });
            if let Some(used) = &used {
                self.limits.use_more(used);
                subjects.insert((used.account.clone(), used.creator.clone()));
            }
            given.booked.insert(granted.replica.clone(), (part, used));
        }
        self.allocations.insert(key.clone(), given);
        if !self.seen_all() {
            return;
        }
        for node in nodes {
            let over = self.above_allocatable(&node);
            self.judge(Law::I3, cause::DOUBLE_GRANT, &format!("node {node}"), over);
        }
        for (account, creator) in subjects {
            for (subject, above) in self.limits.above(self.now, self.settings.lag_ms, &account, &creator) {
                self.judge(
                    Law::Limits,
                    cause::LIMIT_IGNORED,
                    &subject,
                    above.map(|why| format!("{label}: {why}")),
                );
            }
        }
    }

    fn unfenced_among(&self, over: &[(i32, Vec<String>)]) -> bool {
        let owners = over.iter().flat_map(|(_, owners)| owners);
        let mut unfenced = self.allocations.values().filter(|g| g.unfenced).map(|g| name(&g.object.key));
        let owners: Vec<&String> = owners.collect();
        !owners.is_empty() && unfenced.any(|n| owners.iter().any(|o| o.contains(&n)))
    }

    fn unbook(&mut self, parts: impl Iterator<Item = (Part, Option<Used>)>) {
        for (part, used) in parts {
            self.books.remove(&part);
            if let Some(used) = used {
                self.limits.use_less(&used);
            }
        }
    }

    fn above_allocatable(&self, node: &str) -> Option<String> {
        let sum = self.books.sum(node);
        let Some(machine) = self.nodes.get(node) else {
            return Some("something is given on a node that is not there".to_owned());
        };
        if self.now - machine.shrunk_ms < self.settings.lag_ms {
            return None;
        }
        let has = &machine.node;
        let over = |what: &str, given: i64, has: i64| {
            (given > has).then(|| format!("{given} of {has} {what} are given"))
        };
        over("millicores", sum.cpu, has.cpu)
            .or_else(|| over("bytes of memory", sum.memory, has.memory))
            .or_else(|| over("thousandths of GPUs", sum.gpu, has.gpus * 1000))
            .or_else(|| {
                self.books.named(node).find_map(|(name, given)| over(name, given, has.devices.of(name)))
            })
    }
}

/// Which role falls short of its minimum, in words.
fn least(job: &Job, replicas: &BTreeSet<Replica>) -> Option<String> {
    job.roles.iter().find_map(|role| {
        let given = replicas.iter().filter(|(name, _)| *name == role.name).count();
        let wanted = usize::try_from(role.least.max(1)).unwrap_or(1);
        (given < wanted).then(|| {
            format!("{given} replicas of role {} are given, {wanted} must start together", role.name)
        })
    })
}
