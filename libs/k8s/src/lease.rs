//! The Lease of a leader whose writes are fenced by an epoch, a number that grows with each holder.
//!
//! Whether another's Lease has run out is judged by how long it was seen unchanged on our own clock: clocks of other machines
//! are never compared. It elects; what a holder must list before it acts, and what its epoch is worth, is its user's business.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};

use crate::names::{EPOCH, LIST_REVISION};

/// Tells the time; tests bring their own.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// The API server did not do what was asked of it.
#[derive(Debug, thiserror::Error)]
#[error("{doing}: {source}")]
pub struct Error {
    /// What was being done.
    pub doing: &'static str,
    /// What it answered.
    #[source]
    pub source: Box<kube::Error>,
}

fn doing(doing: &'static str) -> impl Fn(kube::Error) -> Error {
    move |source| Error { doing, source: Box::new(source) }
}

/// Holding the Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// Grows with each holder.
    pub epoch: i64,
    /// From then on, on the own clock, somebody else may hold it.
    pub until: SystemTime,
}

/// What came of a try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// It is ours.
    Held {
        /// Since which epoch and until when.
        term: Term,
        /// The list revision that was written beside the epoch; none: it is still to be written.
        revision: Option<String>,
    },
    /// Somebody else holds it, or was faster.
    Foreign {
        /// Who.
        holder: String,
    },
}

/// One contender for a Lease.
pub struct EpochLease {
    api: Api<Lease>,
    client: Client,
    namespace: String,
    name: String,
    holder: String,
    life: Duration,
    clock: Clock,
    /// The epoch that is ours if the Lease says that we hold it.
    epoch: Option<i64>,
    /// Another's Lease: its resourceVersion, and since when that is seen.
    seen: Option<(String, SystemTime)>,
}

impl EpochLease {
    /// `holder` must differ from that of every other living process. Where it is the same that a process before this one had,
    /// the Lease which that one held is taken at once, in a new epoch. `life` is how long a holder that says nothing stays in office.
    pub fn new(
        client: Client,
        namespace: &str,
        name: &str,
        holder: String,
        life: Duration,
        clock: Clock,
    ) -> Self {
        let api = Api::namespaced(client.clone(), namespace);
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        Self { api, client, namespace, name, holder, life, clock, epoch: None, seen: None }
    }

    /// Renews what is ours, takes what nobody holds (any more), else says who holds it.
    pub async fn attempt(&mut self) -> Result<Attempt, Error> {
        let started = (self.clock)();
        let Some(lease) = self.api.get_opt(&self.name).await.map_err(doing("reading the lease"))? else {
            return self.create(started).await;
        };
        let spec = lease.spec.clone().unwrap_or_default();
        let holder = spec.holder_identity.clone().unwrap_or_default();
        let epoch = epoch_of(&lease);
        if holder == self.holder && self.epoch == Some(epoch) {
            return self.write(self.renewed(lease, started), started, epoch).await;
        }
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        let since = match &self.seen {
            Some((seen, since)) if *seen == version => *since,
            _ => started,
        };
        self.seen = Some((version, since));
        let life = spec
            .lease_duration_seconds
            .and_then(|s| u64::try_from(s).ok())
            .map_or(self.life, Duration::from_secs);
        let silent = started.duration_since(since).unwrap_or_default() >= life;
        // under our own name and not in our epoch: who held it is no more, and may have left writes behind
        let over = holder.is_empty() || holder == self.holder || silent;
        if !over {
            return Ok(Attempt::Foreign { holder });
        }
        self.write(self.taken(lease, started, epoch + 1), started, epoch + 1).await
    }

    /// Writes the revision of the holder's first list beside its epoch.
    pub async fn write_revision(&mut self, term: &Term, revision: &str) -> Result<(), Error> {
        let mut lease = self.api.get(&self.name).await.map_err(doing("reading the lease"))?;
        if !self.is_ours(&lease, term.epoch) {
            return Err(doing("writing the list revision")(lost()));
        }
        lease
            .metadata
            .annotations
            .get_or_insert_default()
            .insert(LIST_REVISION.to_owned(), revision.to_owned());
        let written = self.api.replace(&self.name, &PostParams::default(), &lease).await;
        written.map_err(doing("writing the list revision"))?;
        Ok(())
    }

    /// How long a holder that says nothing stays in office.
    pub fn life(&self) -> Duration {
        self.life
    }

    /// Gives it up, so that the next holder need not wait.
    pub async fn release(&mut self) -> Result<(), Error> {
        let Some(epoch) = self.epoch.take() else { return Ok(()) };
        let lease = self.api.get_opt(&self.name).await.map_err(doing("reading the lease"))?;
        let Some(mut lease) = lease.filter(|lease| self.is_ours(lease, epoch)) else { return Ok(()) };
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = None;
            spec.renew_time = Some(micro((self.clock)()));
        }
        let written = self.api.replace(&self.name, &PostParams::default(), &lease).await;
        written.map_err(doing("giving up the lease"))?;
        Ok(())
    }

    fn is_ours(&self, lease: &Lease, epoch: i64) -> bool {
        let holder = lease.spec.as_ref().and_then(|s| s.holder_identity.as_deref());
        holder == Some(self.holder.as_str()) && epoch_of(lease) == epoch
    }

    fn renewed(&self, mut lease: Lease, now: SystemTime) -> Lease {
        lease.spec.get_or_insert_default().renew_time = Some(micro(now));
        lease
    }

    fn taken(&self, mut lease: Lease, now: SystemTime, epoch: i64) -> Lease {
        let transitions = lease.spec.as_ref().and_then(|s| s.lease_transitions).unwrap_or(0);
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(self.holder.clone()),
            lease_duration_seconds: Some(i32::try_from(self.life.as_secs()).unwrap_or(i32::MAX)),
            acquire_time: Some(micro(now)),
            renew_time: Some(micro(now)),
            lease_transitions: Some(transitions.saturating_add(1)),
            ..LeaseSpec::default()
        });
        let annotations = lease.metadata.annotations.get_or_insert_default();
        annotations.insert(EPOCH.to_owned(), epoch.to_string());
        annotations.remove(LIST_REVISION);
        lease
    }

    async fn create(&mut self, now: SystemTime) -> Result<Attempt, Error> {
        ensure_namespace(&self.client, &self.namespace).await?;
        let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
        let lease = self.taken(Lease { metadata, spec: None }, now, 1);
        // known before it is asked for: the answer may be lost
        self.epoch = Some(1);
        match self.api.create(&PostParams::default(), &lease).await {
            Ok(lease) => Ok(self.held(&lease, now, 1)),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(self.beaten()),
            Err(error) => Err(doing("creating the lease")(error)),
        }
    }

    async fn write(&mut self, lease: Lease, now: SystemTime, epoch: i64) -> Result<Attempt, Error> {
        self.epoch = Some(epoch);
        match self.api.replace(&self.name, &PostParams::default(), &lease).await {
            Ok(lease) => Ok(self.held(&lease, now, epoch)),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(self.beaten()),
            Err(error) => Err(doing("writing the lease")(error)),
        }
    }

    fn held(&mut self, lease: &Lease, now: SystemTime, epoch: i64) -> Attempt {
        self.seen = None;
        let revision = lease.metadata.annotations.as_ref().and_then(|a| a.get(LIST_REVISION)).cloned();
        Attempt::Held { term: Term { epoch, until: now + self.life }, revision }
    }

    fn beaten(&self) -> Attempt {
        Attempt::Foreign { holder: "somebody who was faster".to_owned() }
    }
}

fn lost() -> kube::Error {
    let status = kube::core::Status::failure("the lease is held by another", "Conflict").with_code(409);
    kube::Error::Api(status.boxed())
}

/// The epoch that a Lease carries; 0 where it has none.
pub fn epoch_of(lease: &Lease) -> i64 {
    let annotations = lease.metadata.annotations.as_ref();
    annotations.and_then(|a| a.get(EPOCH)).and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn micro(time: SystemTime) -> MicroTime {
    MicroTime(Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH))
}

/// Creates a namespace unless it is there.
pub async fn ensure_namespace(client: &Client, name: &str) -> Result<(), Error> {
    let api: Api<Namespace> = Api::all(client.clone());
    if api.get_opt(name).await.map_err(doing("reading the namespace"))?.is_some() {
        return Ok(());
    }
    let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
    match api.create(&PostParams::default(), &Namespace { metadata, ..Namespace::default() }).await {
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        other => other.map(drop).map_err(doing("creating the namespace")),
    }
}
