//! The reasons' way into `AIJob.status.scheduling`: only what changed, a few a second. First those whose reason is another, the newest first;
//! then those in whose message something else is new, in turn.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crater_k8s::AIJob;
use crater_k8s::aijob::SchedulingStatus;
use futures::StreamExt;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::time::Instant;

use crate::cache::{Cache, Key};
use crate::jobs::JobEntry;
use crate::shared::Shared;
use crate::told::Verdicts;

/// How often it is looked, and how many are written each time: 20 a second at most.
const EVERY: Duration = Duration::from_millis(200);
const EACH: usize = 4;
/// A reason whose numbers alone changed is written no more often than this.
const SAME_REASON: Duration = Duration::from_secs(10);

/// So many messages are put into words each time, to see whether one is another than what is shown.
const READ: usize = 256;

/// One write to do.
struct Due {
    key: Key,
    wanted: Option<SchedulingStatus>,
}

/// What was looked at.
#[derive(Default)]
struct Looked {
    /// The last cycle and change in which all jobs showed the reason that they are to.
    clean: Option<(u64, u64)>,
    /// Where in the cache messages are read on.
    from: Option<Key>,
    /// When messages were written whose reason stayed the same.
    written: BTreeMap<Key, Instant>,
}

/// Runs until it is dropped.
pub async fn run(shared: Arc<Shared>, client: Client) -> Result<(), String> {
    let mut looked = Looked::default();
    loop {
        tokio::time::sleep(EVERY).await;
        let Some(term) = shared.leader.term() else { continue };
        let now = Instant::now();
        looked.written.retain(|_, at| now.duration_since(*at) < SAME_REASON);
        let due = looked.due(&shared);
        looked.written.extend(due.iter().map(|due| (due.key.clone(), now)));
        futures::stream::iter(due)
            .for_each_concurrent(EACH, |due| write(&shared, &client, due, term.epoch))
            .await;
    }
}

impl Looked {
    fn due(&mut self, shared: &Shared) -> Vec<Due> {
        let verdicts = shared.verdicts();
        if verdicts.cycle() == 0 {
            // nothing was said yet: what stands there may still be true
            return Vec::new();
        }
        let change = *shared.changes().borrow();
        let cache = shared.cache();
        let mut due = Vec::new();
        if self.clean != Some((verdicts.cycle(), change)) {
            due = other_reason(&cache, &verdicts);
            self.clean = due.is_empty().then_some((verdicts.cycle(), change));
        }
        if due.is_empty() {
            due = self.other_words(&cache, &verdicts);
        }
        due
    }

    /// Jobs that show the right reason, in other words than they are told now.
    fn other_words(&mut self, cache: &Cache, verdicts: &Verdicts) -> Vec<Due> {
        let mut due = Vec::new();
        let mut read = 0;
        let from = self.from.take();
        for (key, entry) in cache.jobs.from(from.as_ref()) {
            if due.len() == EACH || read == READ {
                self.from = Some(key.clone());
                break;
            }
            let Some(shown) = shown(entry).filter(|_| !self.written.contains_key(key)) else { continue };
            let wanted = wanted(verdicts, entry);
            read += 1;
            if wanted.as_ref() != Some(shown) {
                due.push(Due { key: key.clone(), wanted });
            }
        }
        due
    }
}

/// Jobs that show another reason than they are told, or none, or one though they wait no more: the newest first.
fn other_reason(cache: &Cache, verdicts: &Verdicts) -> Vec<Due> {
    let mut all: Vec<(i64, &Key, &JobEntry)> = Vec::new();
    let mut reasons = verdicts.reasons();
    for (key, entry) in cache.jobs.iter() {
        let told = reasons.of(key, entry).filter(|_| !entry.over());
        if shown(entry).map(|shown| shown.reason.as_str()) != told {
            all.push((entry.object.spec.submitted_millis, key, entry));
        }
    }
    all.sort_by_key(|(submitted, ..)| Reverse(*submitted));
    let due =
        |(_, key, entry): (i64, &Key, &JobEntry)| Due { key: key.clone(), wanted: wanted(verdicts, entry) };
    all.into_iter().take(EACH).map(due).collect()
}

fn shown(entry: &JobEntry) -> Option<&SchedulingStatus> {
    entry.object.status.as_ref()?.scheduling.as_ref()
}

/// What a job is to show.
fn wanted(verdicts: &Verdicts, entry: &JobEntry) -> Option<SchedulingStatus> {
    let told = verdicts.get(entry).filter(|_| !entry.over())?;
    let reason = told.blockers.first()?.reason.to_owned();
    Some(SchedulingStatus { reason, message: told.message, position: told.position })
}

async fn write(shared: &Shared, client: &Client, due: Due, epoch: i64) {
    let Some(_leave) = shared.leader.may_write(epoch).await else { return };
    let api: Api<AIJob> = Api::namespaced(client.clone(), &due.key.namespace);
    let patch = json!({"status": {"scheduling": due.wanted}});
    // a reason that did not get there is due again in the next round
    if let Err(error) = api.patch_status(&due.key.name, &PatchParams::default(), &Patch::Merge(&patch)).await
    {
        tracing::debug!(job = %due.key.name, %error, "a reason was not written");
    }
}
