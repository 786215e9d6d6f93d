//! Two schedulers: one leads, and is stopped for longer than its Lease lasts; then it goes on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crater_k8s::lease::epoch_of;
use crater_k8s::{Allocation, names};
use futures::StreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use kube::runtime::watcher::{self, Event};
use kube::{Api, ResourceExt};
use nix::sys::signal::Signal;

use crate::harness::{Mesh, PATIENCE, promised, until};
use crate::load::{Bed, Journal, Stream, Submitter, each_ran_once};

/// Seconds that the Lease lasts here.
const LEASE: &str = "2";
const LIFE: Duration = Duration::from_secs(2);

/// An Allocation as it was written.
struct Written {
    epoch: i64,
    version: u64,
    accepted: bool,
}

/// All Allocations that ever were.
type History = Arc<Mutex<BTreeMap<String, Written>>>;

fn record(mesh: &Mesh) -> History {
    let history = History::default();
    let (api, to) = (Api::<Allocation>::all(mesh.kubernetes.client()), history.clone());
    mesh.kubernetes.spawn(async move {
        let mut events = std::pin::pin!(watcher::watcher(api, watcher::Config::default()));
        while let Some(event) = events.next().await {
            let (Ok(Event::Apply(a)) | Ok(Event::InitApply(a))) = event else { continue };
            let version = a.resource_version().unwrap().parse().unwrap();
            let accepted = a.status.as_ref().is_some_and(|s| s.accepted.is_some());
            let mut history = to.lock().unwrap();
            let written = history.entry(a.uid().unwrap()).or_insert(Written {
                epoch: a.spec.epoch,
                version,
                accepted: false,
            });
            written.accepted |= accepted;
        }
    });
    history
}

/// The epoch of the Lease, and the revision of the list with which it began.
fn term(mesh: &Mesh) -> (i64, Option<u64>) {
    mesh.kubernetes.block_on(async {
        let api = Api::<Lease>::namespaced(mesh.kubernetes.client(), names::SYSTEM_NAMESPACE);
        let lease = api.get(names::SCHEDULER_LEASE).await.unwrap();
        let revision = lease.annotations().get(names::LIST_REVISION).map(|r| r.parse().unwrap());
        (epoch_of(&lease), revision)
    })
}

#[test]
fn a_leader_that_was_stopped_gives_nothing_and_another_takes_over_in_time() {
    let mut mesh =
        Mesh::up_with(&["--run-local", "--nodes", "1x8:A100"], &[("CRATER_SCHEDULER__LEASE_SECONDS", LEASE)]);
    mesh.second_scheduler(&[("CRATER_SCHEDULER__LEASE_SECONDS", LEASE)]);
    let pair = ["scheduler", "scheduler-2"];
    mesh.service(pair[1]).start();
    mesh.service(pair[1]).says(PATIENCE, "held by ");
    let history = record(&mesh);
    let journal = Journal(mesh.file("journal"));
    let bed = Bed::default();
    let mut terms = vec![term(&mesh)];
    let accepted = std::thread::scope(|scope| {
        let stream = Stream::start(scope, &bed, &mesh, &journal, "job");
        for round in 0..4 {
            let (leader, other) = (pair[round % 2], pair[(round + 1) % 2]);
            let done = journal.done();
            until("some jobs", PATIENCE, || (journal.done() >= done + 5).then_some(()));
            mesh.service(leader).signal(Signal::SIGSTOP);
            let stopped = Instant::now();
            mesh.service(other).ready(PATIENCE);
            let took = stopped.elapsed();
            eprintln!("{other} leads {took:?} after {leader} was stopped");
            assert!(took < promised(LIFE + Duration::from_secs(2)), "{took:?}");
            let done = journal.done();
            until("jobs under the new leader", PATIENCE, || (journal.done() >= done + 5).then_some(()));
            terms.push(until("its first list", PATIENCE, || Some(term(&mesh)).filter(|t| t.1.is_some())));
            until("three Leases' time", PATIENCE, || (stopped.elapsed() > 3 * LIFE).then_some(()));
            mesh.service(leader).signal(Signal::SIGCONT);
            mesh.service(leader).says(PATIENCE, "held by ");
        }
        stream.end().0
    });
    let jobs = Submitter::new(&mesh).all_ended(PATIENCE);
    each_ran_once(&jobs, &accepted, &journal);
    let epochs: Vec<i64> = terms.iter().map(|t| t.0).collect();
    assert_eq!(epochs, (epochs[0]..epochs[0] + 5).collect::<Vec<_>>(), "one epoch a change of leader");
    let history = history.lock().unwrap();
    assert!(history.len() >= accepted.len(), "{} of {}", history.len(), accepted.len());
    for (uid, written) in history.iter() {
        // written in an epoch after the next one's list: by a leader that did not know that it was none any more
        let next = terms.iter().find(|(epoch, _)| *epoch > written.epoch);
        let stale = next.is_some_and(|(_, revision)| written.version > revision.unwrap());
        assert!(
            !(stale && written.accepted),
            "{uid}, given in epoch {}, was accepted in the next",
            written.epoch
        );
        assert!(!stale, "{uid} was written in epoch {} after the next had begun", written.epoch);
    }
}
