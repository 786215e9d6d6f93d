//! Who may write: the holder of the Lease, after it has listed the Allocations and written that list's revision beside its epoch.

use std::time::Duration;

use crater_k8s::Allocation;
use crater_k8s::lease::{self, Attempt, Clock, EpochLease, Term};
use crater_service::{Condition, Shutdown};
use kube::api::ListParams;
use kube::{Api, Client};
use tokio::sync::{RwLock, RwLockReadGuard, watch};

/// Of the Lease's life: how often it is renewed.
const RENEW: f64 = 0.3;
/// How often somebody else's is looked at, or a failed call repeated.
const RETRY: f64 = 0.1;
/// How long one call may take: one that hangs must leave time for another.
const PATIENCE: f64 = 0.4;
/// How long giving it up may take at the end.
const PARTING: Duration = Duration::from_secs(2);

/// Says whether this process may write. Clones are not needed: it is shared behind an `Arc`.
pub struct Leader {
    term: watch::Sender<Option<Term>>,
    clock: Clock,
    /// Held for reading by each write, so that the Lease is not given up under it.
    writes: RwLock<()>,
}

impl Leader {
    /// Not in office.
    pub fn new(clock: Clock) -> Self {
        Self { term: watch::Sender::new(None), clock, writes: RwLock::new(()) }
    }

    /// The term, while it lasts.
    pub fn term(&self) -> Option<Term> {
        self.term.borrow().clone().filter(|term| (self.clock)() < term.until)
    }

    /// Hears of every change of the term.
    pub fn changes(&self) -> watch::Receiver<Option<Term>> {
        self.term.subscribe()
    }

    /// Leave for one write in this epoch; none once the office is lost.
    pub async fn may_write(&self, epoch: i64) -> Option<RwLockReadGuard<'_, ()>> {
        let guard = self.writes.read().await;
        self.term().filter(|term| term.epoch == epoch).map(|_| guard)
    }

    /// Seeks and keeps the office until `stop`, then gives it up.
    pub async fn lead(&self, mut lease: EpochLease, client: Client, condition: Condition, stop: Shutdown) {
        let allocations: Api<Allocation> = Api::all(client);
        loop {
            let pause = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                pause = self.step(&mut lease, &allocations, &condition) => pause,
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = tokio::time::sleep(pause) => {}
            }
        }
        self.term.send_replace(None);
        condition.not_ready("given up: shutting down");
        let parting = async {
            // what is being written in this epoch ends first
            let _quiet = self.writes.write().await;
            lease.release().await
        };
        match tokio::time::timeout(PARTING, parting).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the lease is left to run out"),
            Err(_) => tracing::warn!("the lease is left to run out: the API server does not answer"),
        }
    }

    async fn step(
        &self,
        lease: &mut EpochLease,
        allocations: &Api<Allocation>,
        condition: &Condition,
    ) -> Duration {
        let life = lease.life();
        let retry = life.mul_f64(RETRY);
        let attempt = in_time(life, lease.attempt()).await;
        let (term, revision) = match attempt {
            Ok(Attempt::Held { term, revision }) => (term, revision),
            Ok(Attempt::Foreign { holder }) => {
                self.term.send_replace(None);
                condition.not_ready(format!("held by {holder}"));
                return retry;
            }
            Err(error) => {
                if self.term().is_none() {
                    self.term.send_replace(None);
                    condition.not_ready(error);
                }
                return retry;
            }
        };
        if revision.is_none()
            && let Err(error) = fence(lease, allocations, &term).await
        {
            self.term.send_replace(None);
            condition.not_ready(error);
            return retry;
        }
        self.term.send_replace(Some(term));
        condition.ready();
        life.mul_f64(RENEW)
    }
}

/// Allocations of former epochs that are not in this list are void from now on.
async fn fence(lease: &mut EpochLease, allocations: &Api<Allocation>, term: &Term) -> Result<(), String> {
    let list = allocations.list_metadata(&ListParams::default()).await;
    let list = list.map_err(|error| format!("listing allocations: {error}"))?;
    let revision = list.metadata.resource_version.ok_or("the list of allocations has no resourceVersion")?;
    lease.write_revision(term, &revision).await.map_err(|error| error.to_string())
}

async fn in_time<T>(
    life: Duration,
    call: impl Future<Output = Result<T, lease::Error>>,
) -> Result<T, String> {
    match tokio::time::timeout(life.mul_f64(PATIENCE), call).await {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("the API server does not answer".to_owned()),
    }
}
