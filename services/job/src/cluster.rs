//! The loops that work on the cluster, begun anew together whenever one of them meets trouble: which cluster it is, the outbox, the watch, and
//! the clearing away.

use std::time::Duration;

use crater_domain::Error;
use crater_k8s::AIJob;
use crater_store::{Tx, job};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, Preconditions};
use kube::runtime::watcher;
use kube::{Api, ResourceExt};

use crate::app::App;
use crate::config::Config;
use crate::{apply, observe};

/// A call of the Kubernetes API that takes longer counts as failed.
const PATIENCE: Duration = Duration::from_secs(15);
/// The longest between two rounds of clearing away.
const SWEEP_EVERY: Duration = Duration::from_secs(30);
/// AIJobs that are cleared away in one round.
const SWEPT_AT_ONCE: usize = 200;
/// How long an ended job's AIJob stays beyond its time for the output of its Pods to be kept, in milliseconds.
const OUTPUT_WITHIN_MS: i64 = 60_000;
/// Deletions that are remembered at most.
const TOMBSTONES: usize = 10_000;

/// Why the loops begin anew.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The API server refused, or did not answer sensibly.
    #[error("{doing}: {source}")]
    Kube {
        /// What was being done.
        doing: &'static str,
        /// Its answer.
        source: kube::Error,
    },
    /// The API server did not answer in time.
    #[error("{doing}: the Kubernetes API did not answer in time")]
    Late {
        /// What was being done.
        doing: &'static str,
    },
    /// The watch broke.
    #[error("watching AIJobs: {0}")]
    Watch(#[from] watcher::Error),
    /// The tables.
    #[error("using the database: {0:?}")]
    Store(#[from] Error),
    /// It has no uid.
    #[error("the namespace kube-system has no uid")]
    NoUid,
}

/// A call of the Kubernetes API, not waited for for ever.
pub async fn in_time<T>(
    doing: &'static str,
    call: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, Trouble> {
    match tokio::time::timeout(PATIENCE, call).await {
        Ok(done) => done.map_err(|source| Trouble::Kube { doing, source }),
        Err(_) => Err(Trouble::Late { doing }),
    }
}

/// Runs until something fails; calls `reached` once the cluster is known.
pub async fn run(app: App, config: Config, reached: impl FnOnce()) -> Result<(), Trouble> {
    // first of all: what is in the tables may be of another cluster
    let namespaces = Api::<Namespace>::all(app.client.clone());
    let system = in_time("reading the cluster's uid", namespaces.get("kube-system")).await?;
    let uid = system.uid().ok_or(Trouble::NoUid)?;
    let now_ms = app.now_ms();
    let restarted = app
        .db
        .transaction::<_, Error, _>(Tx::ObserveJob, move |c| Ok(job::adopt_cluster(c, &uid, now_ms)?))
        .await?;
    if restarted > 0 {
        tracing::info!(jobs = restarted, "the cluster is a new one: jobs that had not ended start over");
        app.tell_dirty();
    }
    reached();
    tokio::try_join!(apply::run(&app), observe::run(&app), sweep(&app, &config))?;
    Ok(())
}

/// Takes the AIJobs of jobs that ended long ago out of the cluster (their Pods go with them), and forgets old deletions.
async fn sweep(app: &App, config: &Config) -> Result<(), Trouble> {
    let ttl_ms = i64::try_from(config.ended_ttl().as_millis()).unwrap_or(i64::MAX);
    let kept_ms = i64::try_from(config.deleted_ttl().as_millis()).unwrap_or(i64::MAX);
    let pause =
        (config.ended_ttl().min(config.deleted_ttl()) / 4).clamp(Duration::from_millis(200), SWEEP_EVERY);
    loop {
        let before = app.now_ms().saturating_sub(ttl_ms);
        let old = app
            .db
            .read::<_, Error, _>(Tx::PruneJobs, move |c| Ok(job::to_sweep(c, before, SWEPT_AT_ONCE)?))
            .await?;
        let more = old.len() == SWEPT_AT_ONCE && old.iter().any(|job| app.waiting.none(job.uid));
        for job in old {
            // its Pods go with it: not before what they wrote is kept, if that can be had
            let long = before.saturating_sub(OUTPUT_WITHIN_MS);
            if !app.waiting.none(job.uid) && job.ended_ms.is_some_and(|at| at > long) {
                continue;
            }
            let api = Api::<AIJob>::namespaced(app.client.clone(), &job.name.account.namespace());
            let only = Preconditions { uid: job.kube_uid, resource_version: None };
            let params = DeleteParams::background().preconditions(only);
            match in_time("deleting an ended AIJob", api.delete(job.name.job.as_str(), &params)).await {
                Ok(_) => {}
                // gone already, or another one of that name
                Err(Trouble::Kube { source: kube::Error::Api(status), .. })
                    if status.is_not_found() || status.is_conflict() => {}
                Err(trouble) => return Err(trouble),
            }
            let uid = job.uid;
            app.db.transaction::<_, Error, _>(Tx::PruneJobs, move |c| Ok(job::swept(c, uid)?)).await?;
        }
        let before = app.now_ms().saturating_sub(kept_ms);
        let prune = app
            .db
            .transaction::<_, Error, _>(Tx::PruneJobs, move |c| Ok(job::prune(c, before, TOMBSTONES)?))
            .await?;
        if prune > 0 {
            app.tell();
        }
        if !more {
            tokio::time::sleep(pause).await;
        }
    }
}
