//! The watches that feed the cache: list, then watch, and list again whenever the history no longer reaches back (410).

use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;

use crater_k8s::{AIJob, Allocation, names};
use crater_service::Condition;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;

use crate::shared::Shared;

/// Follows all kinds until one of the watches ends, which none does.
pub async fn follow(shared: Arc<Shared>, client: Client, condition: Condition) -> Result<(), String> {
    let everything = watcher::Config::default();
    let strangers = watcher::Config::default().labels(&format!("!{}", names::JOB_UID));
    let (shared, condition) = (&*shared, &condition);
    tokio::try_join!(
        kind(shared, condition, Api::<AIJob>::all(client.clone()), everything.clone(), |event| {
            shared.cache().job(event)
        }),
        kind(shared, condition, Api::<Node>::all(client.clone()), everything, |event| {
            shared.cache().node(event);
            true
        }),
        kind(shared, condition, Api::<Pod>::all(client.clone()), strangers, |event| {
            shared.cache().pod(event);
            true
        }),
        allocations(shared, condition, Api::all(client.clone())),
    )?;
    Ok(())
}

async fn kind<K>(
    shared: &Shared,
    condition: &Condition,
    api: Api<K>,
    config: watcher::Config,
    apply: impl Fn(Event<K>) -> bool,
) -> Result<(), String>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut events = pin!(watch(api, config).default_backoff());
    loop {
        match events.next().await {
            Some(Ok(event)) => heard(shared, condition, &apply, event),
            Some(Err(error)) => trouble(condition, shared, &error),
            None => return Err("a watch ended".to_owned()),
        }
    }
}

/// As the others, but listed anew on request: a list that begins after the request is what a new leader decides on.
async fn allocations(shared: &Shared, condition: &Condition, api: Api<Allocation>) -> Result<(), String> {
    let mut relists = shared.relists();
    loop {
        let request = *relists.borrow_and_update();
        let mut events = pin!(watch(api.clone(), watcher::Config::default()).default_backoff());
        let apply = |event: Event<Allocation>| {
            let done = matches!(event, Event::InitDone);
            let now_ms = shared.now_ms();
            let mut cache = shared.cache();
            cache.allocation(event, now_ms);
            if done {
                cache.set_listed(request);
            }
            true
        };
        loop {
            tokio::select! {
                biased;
                changed = relists.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return Err("nobody is left to ask for lists".to_owned()),
                },
                event = events.try_next() => match event {
                    Ok(Some(event)) => heard(shared, condition, &apply, event),
                    Ok(None) => return Err("the watch of allocations ended".to_owned()),
                    Err(error) => trouble(condition, shared, &error),
                },
            }
        }
    }
}

fn heard<K>(shared: &Shared, condition: &Condition, apply: &impl Fn(Event<K>) -> bool, event: Event<K>) {
    let in_list = matches!(event, Event::Init | Event::InitApply(_));
    let matters = apply(event);
    if in_list {
        return;
    }
    let missing = shared.cache().unsynced();
    if missing.is_empty() {
        condition.ready();
    } else {
        condition.not_ready(format!("not listed yet: {}", missing.join(", ")));
    }
    if matters {
        shared.wake();
    }
}

/// What was listed once stays in use; until then the trouble is what is missing.
fn trouble(condition: &Condition, shared: &Shared, error: &watcher::Error) {
    tracing::debug!(%error, "a watch begins again");
    if !shared.cache().unsynced().is_empty() {
        condition.not_ready(error.to_string());
    }
}
