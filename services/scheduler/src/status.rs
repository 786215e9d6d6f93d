//! The reasons' way into `AIJob.status.scheduling`: only what changed, a few a second, the newest jobs first.

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

use crate::cache::Key;
use crate::shared::Shared;

/// How often it is looked, and how many are written each time: 20 a second at most.
const EVERY: Duration = Duration::from_millis(200);
const EACH: usize = 4;
/// A reason whose numbers alone changed is written no more often than this.
const SAME_REASON: Duration = Duration::from_secs(10);

/// One write to do.
struct Due {
    key: Key,
    wanted: Option<SchedulingStatus>,
    /// Changed in kind (or gone), then newest: goes first.
    rank: (bool, Reverse<i64>),
}

/// Runs until it is dropped.
pub async fn run(shared: Arc<Shared>, client: Client) -> Result<(), String> {
    let mut written: BTreeMap<Key, Instant> = BTreeMap::new();
    loop {
        tokio::time::sleep(EVERY).await;
        let Some(term) = shared.leader.term() else { continue };
        let mut due = due(&shared, &written);
        due.sort_by_key(|due| due.rank);
        due.truncate(EACH);
        let now = Instant::now();
        written.retain(|_, at| now.duration_since(*at) < SAME_REASON);
        written.extend(due.iter().map(|due| (due.key.clone(), now)));
        futures::stream::iter(due)
            .for_each_concurrent(EACH, |due| write(&shared, &client, due, term.epoch))
            .await;
    }
}

fn due(shared: &Shared, written: &BTreeMap<Key, Instant>) -> Vec<Due> {
    let verdicts = shared.verdicts();
    if verdicts.cycle == 0 {
        // nothing was said yet: what stands there may still be true
        return Vec::new();
    }
    let cache = shared.cache();
    let mut out = Vec::new();
    for (key, entry) in cache.jobs.iter() {
        let shown = entry.object.status.as_ref().and_then(|s| s.scheduling.as_ref());
        let told = verdicts.get(entry).filter(|_| !entry.over());
        let wanted = told.and_then(|told| {
            let reason = told.blockers.first()?.reason.to_owned();
            Some(SchedulingStatus { reason, message: told.message.clone(), position: told.position })
        });
        if shown == wanted.as_ref() {
            continue;
        }
        let same = shown.is_some() && shown.map(|s| &s.reason) == wanted.as_ref().map(|s| &s.reason);
        if same && written.contains_key(key) {
            continue;
        }
        out.push(Due { key: key.clone(), wanted, rank: (same, Reverse(entry.object.spec.submitted_millis)) });
    }
    out
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
