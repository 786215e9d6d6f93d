//! Pods: one for each replica that a valid Allocation holds, and none beside.

use crate::observation::{Change, Phase, Pod, digest};
use crate::violation::{Law, cause};

use super::books::Part;
use super::{Auditor, name};

impl Auditor {
    pub(super) fn pod(&mut self, change: Change, pod: Pod, version: bool) {
        let key = pod.key.clone();
        if let Some(before) = self.pods.get(&key)
            && let Some(part) = part(before)
        {
            self.running.remove(&part);
        }
        if let Some(uid) = pod.job_uid.clone() {
            self.open.insert(uid.clone());
            if change == Change::Deleted {
                if let Some(keys) = self.pods_of.get_mut(&uid) {
                    keys.remove(&key);
                    if keys.is_empty() {
                        self.pods_of.remove(&uid);
                    }
                }
            } else {
                self.pods_of.entry(uid.clone()).or_default().insert(key.clone());
            }
            if change == Change::Added {
                self.seen.pods += 1;
                let once = digest(&(&pod.allocation, &pod.replica, pod.attempt));
                let first = self.made.entry(uid.clone()).or_default().insert(once);
                if version && self.seen_all() {
                    self.new_pod(&uid, &pod, first);
                }
            }
        }
        let before = self.pods.remove(&key);
        if change == Change::Deleted {
            return;
        }
        if let Some(before) = before.filter(|_| change == Change::Modified && self.seen_all()) {
            let risen = (before.ended && !pod.ended).then(|| "it had ended and runs again".to_owned());
            self.judge(Law::I6, cause::WRONG_STEP, &format!("Pod {}", name(&key)), risen);
        }
        if let Some(part) = part(&pod) {
            let over = self.running.add(&part);
            if self.seen_all() {
                let twice = over
                    .first()
                    .map(|(device, owners)| format!("device {device} is with {}", owners.join(" and ")));
                self.judge(Law::I3, cause::STRAY_POD, &format!("node {}", part.node), twice);
            }
        }
        self.pods.insert(key, pod);
    }

    fn new_pod(&mut self, uid: &str, pod: &Pod, first: bool) {
        let subject = format!("Pod {}", name(&pod.key));
        let replica = format!("replica {}/{}", pod.replica.0, pod.replica.1);
        let again = (!first).then(|| format!("{replica} was started before in attempt {}", pod.attempt));
        self.judge(Law::I6, cause::STRAY_POD, &subject, again);
        let without = self.without_right(uid, pod);
        self.judge(Law::I3, cause::STRAY_POD, &subject, without);
        let out_of_turn = match self.job_of(uid) {
            None => Some("its AIJob is not there".to_owned()),
            Some(job) if !matches!(job.phase, Phase::Starting | Phase::Running) => {
                Some(format!("its job is {:?}", job.phase))
            }
            Some(job) if job.attempts != pod.attempt => {
                Some(format!("it is of attempt {}, its job is at {}", pod.attempt, job.attempts))
            }
            Some(_) => None,
        };
        self.judge(Law::I6, cause::STRAY_POD, &subject, out_of_turn);
        let older = self.pods_of.get(uid).into_iter().flatten().filter_map(|key| self.pods.get(key));
        let older = older.filter(|p| p.key != pod.key && p.attempt < pod.attempt && !p.ended);
        let twice =
            older.map(|p| format!("Pod {} of attempt {} has not ended", name(&p.key), p.attempt)).next();
        self.judge(Law::I5, cause::STRAY_POD, &subject, twice);
    }

    /// Why no Allocation lets it run.
    fn without_right(&self, uid: &str, pod: &Pod) -> Option<String> {
        let given = self.allocations.get(&(pod.key.0.clone(), pod.allocation.clone()));
        let Some(given) = given.filter(|g| g.object.job_uid == uid) else {
            return Some(format!("its Allocation {} is not there", pod.allocation));
        };
        let object = &given.object;
        if object.accepted.is_none() || object.refused {
            return Some(format!("its Allocation {} is not accepted", pod.allocation));
        }
        let Some(granted) = object.held().find(|g| g.replica == pod.replica) else {
            return Some(format!("its Allocation {} does not hold its replica", pod.allocation));
        };
        let devices: Vec<i32> = pod.gpus.iter().map(|(device, _)| *device).collect();
        (granted.node != pod.node || granted.gpus != devices).then(|| {
            format!(
                "it is on {} with devices {devices:?}, granted are {} and {:?}",
                pod.node, granted.node, granted.gpus
            )
        })
    }
}

fn part(pod: &Pod) -> Option<Part> {
    (!pod.ended && !pod.gpus.is_empty()).then(|| Part {
        owner: format!("Pod {}", name(&pod.key)),
        node: pod.node.clone(),
        gpus: pod.gpus.clone(),
        cpu: pod.cpu,
        memory: pod.memory,
        // they have no numbers that could be given twice; how many are given, the Allocations tell
        named: Default::default(),
    })
}
