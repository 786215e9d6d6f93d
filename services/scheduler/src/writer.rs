//! What was decided, written: one create a grant, one patch a revocation, deletes of what is spent. Every write asks the leader
//! first; what a write assumes is dropped when it certainly failed, and left to the next list when nobody knows.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use crater_engine::{Grant, Plan, Revocation, RevokeCause};
use crater_k8s::allocation::{AllocationSpec, Placement, Revoked, ranges};
use crater_k8s::{AIJob, Allocation, names};
use crater_telemetry::follow;
use futures::StreamExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::json;
use tracing::{Instrument, Span};

use crate::cache::{Cache, Key, Replica};
use crate::frame::Frame;
use crate::shared::Shared;

/// Writes under way at one time.
const AT_ONCE: usize = 32;

/// Writes in the name of one term.
pub struct Writer {
    client: Client,
    /// Numbers Allocations of this process within its epochs.
    next: AtomicU64,
}

/// What came of a write.
enum Failed {
    /// It did certainly not happen.
    Refused(String),
    /// It may have happened.
    Unknown(String),
    /// The office was lost before it.
    NotLeader,
}

impl From<kube::Error> for Failed {
    fn from(error: kube::Error) -> Self {
        match &error {
            kube::Error::Api(status) if (400..500).contains(&status.code) && status.code != 408 => {
                Self::Refused(status.message.clone())
            }
            _ => Self::Unknown(error.to_string()),
        }
    }
}

/// One write to do.
enum Write {
    Create(Key, Box<Allocation>, Span),
    Revoke(Key, Vec<Revoked>, String),
    Delete(Key, String),
}

impl Write {
    fn span(&self) -> Span {
        match self {
            Self::Create(_, _, span) => span.clone(),
            Self::Revoke(..) | Self::Delete(..) => Span::none(),
        }
    }
}

impl Writer {
    /// Over a client.
    pub fn new(client: Client) -> Self {
        Self { client, next: AtomicU64::new(0) }
    }

    /// Writes all of a plan. Answers whether all went well.
    pub async fn carry_out(&self, shared: &Shared, frame: &Frame, plan: &Plan, epoch: i64) -> bool {
        let now_ms = shared.now_ms();
        let mut writes = Vec::new();
        for revocation in &plan.revocations {
            writes.extend(revoke(shared, frame, revocation));
        }
        for (key, rest, words) in &frame.rest.taken_back {
            writes.extend(take_back(&mut shared.cache(), key, rest, words));
        }
        for grant in &plan.grants {
            let aside = shared.setbacks().now(&frame.jobs[grant.job.at()], now_ms).is_some();
            let placed = self.allocation(frame, grant, epoch, now_ms).filter(|_| !aside);
            if let Some((allocation, span)) = placed {
                shared.cache().assume(allocation.clone());
                writes.push(Write::Create((*frame.jobs[grant.job.at()]).clone(), Box::new(allocation), span));
            }
        }
        writes.extend(frame.rest.spent.iter().map(|(key, uid)| Write::Delete(key.clone(), uid.clone())));
        let results = futures::stream::iter(writes)
            .map(|write| async move {
                let span = write.span();
                let failed = self.write(shared, &write, epoch).instrument(span).await.err();
                failed.is_none_or(|failed| self.settle(shared, &write, failed))
            })
            .buffer_unordered(AT_ONCE);
        results.fold(true, |all, well| async move { all && well }).await
    }

    async fn write(&self, shared: &Shared, write: &Write, epoch: i64) -> Result<(), Failed> {
        let _leave = shared.leader.may_write(epoch).await.ok_or(Failed::NotLeader)?;
        match write {
            Write::Create(job, allocation, _) => {
                let api = self.api(&job.namespace);
                let made = api.create(&PostParams::default(), allocation).await?;
                tracing::info!(job = %job.name, allocation = %made.name_any(), epoch, "allocated");
                shared.cache().created(made);
                shared.setbacks().clear(job);
            }
            Write::Revoke(key, revoked, version) => {
                let patch = json!({"metadata": {"resourceVersion": version}, "spec": {"revoked": revoked}});
                let api = self.api(&key.namespace);
                let written = api.patch(&key.name, &PatchParams::default(), &Patch::Merge(&patch)).await?;
                tracing::info!(allocation = %key.name, epoch, "revoked");
                shared.cache().revoked(&written);
            }
            Write::Delete(key, uid) => {
                let uid = Some(uid.clone());
                let only = Preconditions { uid, resource_version: None };
                let api = self.api(&key.namespace);
                api.delete(&key.name, &DeleteParams::default().preconditions(only)).await?;
            }
        }
        Ok(())
    }

    /// Takes back what was assumed. Answers whether the next cycle may come at once.
    fn settle(&self, shared: &Shared, write: &Write, failed: Failed) -> bool {
        match (write, failed) {
            // it is gone already, or the next cycle finds it again
            (Write::Delete(..), failed) => matches!(failed, Failed::Refused(_)),
            (Write::Create(job, allocation, _), Failed::Refused(why)) => {
                tracing::warn!(job = %job.name, why, "the API server refused an allocation");
                shared.cache().forget(&Key::of(&**allocation));
                shared.setbacks().add(job, why, shared.now_ms());
                false
            }
            (Write::Revoke(key, ..), Failed::Refused(why)) => {
                tracing::debug!(allocation = %key.name, why, "a revocation is decided anew");
                shared.cache().unrevoke(key);
                false
            }
            (Write::Create(_, allocation, _), Failed::NotLeader) => {
                shared.cache().forget(&Key::of(&**allocation));
                false
            }
            (Write::Revoke(key, ..), Failed::NotLeader) => {
                shared.cache().unrevoke(key);
                false
            }
            (Write::Create(..) | Write::Revoke(..), Failed::Unknown(why)) => {
                let key = match write {
                    Write::Create(_, allocation, _) => Key::of(&**allocation),
                    Write::Revoke(key, ..) | Write::Delete(key, _) => key.clone(),
                };
                tracing::warn!(allocation = %key.name, why, "a write may have happened: listing again");
                shared.cache().doubt(&key);
                shared.relist();
                false
            }
        }
    }

    fn api(&self, namespace: &str) -> Api<Allocation> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// The object, and the span of its job's trace in which it is written.
    fn allocation(
        &self,
        frame: &Frame,
        grant: &Grant,
        epoch: i64,
        now_ms: i64,
    ) -> Option<(Allocation, Span)> {
        let entry = frame.entries.get(grant.job.at())?.as_ref()?;
        let wanted = entry.wanted.as_ref().ok()?;
        let job = &*entry.object;
        let key = frame.jobs.get(grant.job.at())?;
        let name = format!("{}-{epoch}-{}", key.name, self.next.fetch_add(1, Ordering::Relaxed));
        let labels = [
            (names::JOB_UID, job.spec.job_uid.clone()),
            (names::JOB, key.name.clone()),
            (names::ACCOUNT, wanted.account.to_string()),
        ];
        let (span, trace) = match job.annotations().get(names::TRACEPARENT) {
            Some(kept) => {
                let span =
                    tracing::info_span!("place", service = "scheduler", job = %key.name, allocation = %name);
                let trace = follow(&span, kept);
                (span, trace)
            }
            None => (Span::none(), None),
        };
        let metadata = ObjectMeta {
            name: Some(name),
            annotations: trace.map(|trace| [(names::TRACEPARENT.to_owned(), trace)].into()),
            namespace: Some(key.namespace.clone()),
            labels: Some(labels.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
            owner_references: Some(vec![owner(job)?]),
            ..ObjectMeta::default()
        };
        // by this a grant is told from what the job held before it last went back to the queue
        let queued = job.status.as_ref().and_then(|s| s.queued_millis);
        let granted_millis = queued.map_or(now_ms, |at| now_ms.max(at.saturating_add(1)));
        let spec = AllocationSpec {
            job: key.name.clone(),
            job_uid: job.spec.job_uid.clone(),
            epoch,
            granted_millis,
            placements: placements(frame, grant),
            revoked: Vec::new(),
        };
        Some((Allocation { metadata, spec, status: None }, span))
    }
}

fn owner(job: &AIJob) -> Option<OwnerReference> {
    Some(OwnerReference { controller: Some(true), ..job.owner_ref(&())? })
}

/// Consecutive replicas of a role on one node, with equal shares, become one run.
fn placements(frame: &Frame, grant: &Grant) -> Vec<Placement> {
    let roles =
        frame.entries[grant.job.at()].as_ref().and_then(|e| e.wanted.as_ref().ok()).map(|w| &w.spec.roles);
    let mut sorted: Vec<&crater_engine::Placement> = grant.placements.iter().collect();
    sorted.sort_by_key(|p| (p.role, p.replica));
    let mut out: Vec<Placement> = Vec::new();
    for place in sorted {
        let Some(role) = roles.and_then(|roles| roles.get(usize::from(place.role))) else { continue };
        let node = &frame.nodes[place.node.at()];
        let replica = i32::try_from(place.replica).unwrap_or(i32::MAX);
        let gpus: Vec<i32> = place.gpus.iter().map(|(device, _)| i32::from(*device)).collect();
        let gpu_millis = place.gpus.first().map_or(0, |(_, millis)| *millis);
        match out.last_mut() {
            Some(run)
                if run.role == role.name.as_str()
                    && run.node == *node
                    && run.gpu_millis == gpu_millis
                    && run.first_replica + run.count == replica =>
            {
                run.count += 1;
                if !gpus.is_empty() {
                    run.gpus.push(gpus);
                }
            }
            _ => out.push(Placement {
                node: node.clone(),
                role: role.name.to_string(),
                first_replica: replica,
                count: 1,
                gpus: if gpus.is_empty() { Vec::new() } else { vec![gpus] },
                gpu_millis,
            }),
        }
    }
    out
}

/// The patches that take replicas back, one an Allocation, assumed already.
fn revoke(shared: &Shared, frame: &Frame, revocation: &Revocation) -> Vec<Write> {
    let Some(entry) = frame.entries.get(revocation.job.at()).and_then(Option::as_ref) else {
        return Vec::new();
    };
    let Ok(wanted) = &entry.wanted else { return Vec::new() };
    let victims: BTreeSet<Replica> = revocation
        .replicas
        .iter()
        .filter_map(|r| {
            let role = wanted.spec.roles.get(usize::from(r.role))?;
            Some((role.name.to_string(), i32::try_from(r.replica).ok()?))
        })
        .collect();
    let key = &frame.jobs[revocation.job.at()];
    let mut cache = shared.cache();
    let mut taken: Vec<(Key, BTreeSet<Replica>)> = Vec::new();
    for (name, given) in cache.given_of(key) {
        let held = given.held.iter().map(|g| (g.role.clone(), g.replica));
        let back: BTreeSet<Replica> =
            held.filter(|r| victims.contains(r) && !cache.is_revoked(name, given, r)).collect();
        if !back.is_empty() {
            taken.push((name.clone(), back));
        }
    }
    let words = words(frame, revocation);
    taken.iter().filter_map(|(name, back)| take_back(&mut cache, name, back, &words)).collect()
}

/// The patch that takes these replicas of one Allocation back, assumed already.
fn take_back(
    cache: &mut Cache,
    name: &Key,
    back: &BTreeSet<Replica>,
    words: &(&str, String),
) -> Option<Write> {
    let given = cache.given_one(name)?;
    // not answered yet: there is nothing to patch, the next cycle finds it
    let version = given.object.metadata.resource_version.clone()?;
    let mut revoked = given.object.spec.revoked.clone();
    revoked.extend(ranges(back).into_iter().map(|replicas| Revoked {
        replicas,
        reason: words.0.to_owned(),
        message: words.1.clone(),
    }));
    cache.assume_revoked(name, back.clone());
    Some(Write::Revoke(name.clone(), revoked, version))
}

fn words(frame: &Frame, revocation: &Revocation) -> (&'static str, String) {
    let own = frame.snapshot.jobs[revocation.job.at()].account;
    let whom = match revocation.beneficiary {
        Some(job) if frame.snapshot.jobs[job.at()].account == own => {
            format!("job {}", frame.jobs[job.at()].name)
        }
        Some(_) => "a job of another account".to_owned(),
        None => "others".to_owned(),
    };
    match revocation.cause {
        RevokeCause::BestEffortYields => (
            "BestEffortYields",
            format!("it runs as best effort, and {whom}, which is guaranteed, needs the room"),
        ),
        RevokeCause::Reclaimed => {
            ("Reclaimed", format!("it runs over its account's guarantee, and {whom} is owed the room"))
        }
        RevokeCause::FairShare => {
            ("FairShare", format!("it runs over its account's guarantee, and the account of {whom} has less"))
        }
        RevokeCause::Priority => ("Priority", format!("{whom} has a higher priority and needs the room")),
        RevokeCause::Consolidated => ("Consolidated", format!("it is moved, so that {whom} finds a place")),
        RevokeCause::BrokenGang => {
            ("BrokenGang", "its gang fell below the minimum and cannot be completed".to_owned())
        }
    }
}
