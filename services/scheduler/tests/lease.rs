//! The Lease of the leader, on a cluster in memory.
#![allow(clippy::unwrap_used)] // a test that cannot go on must say so

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crater_k8s::lease::{Attempt, EpochLease};
use crater_k8s_mem::Cluster;

fn contender(cluster: &Cluster, holder: &str) -> EpochLease {
    let clock = Arc::new(SystemTime::now);
    EpochLease::new(cluster.client(), "crater-system", "test", holder.into(), Duration::from_secs(300), clock)
}

fn epoch(attempt: Attempt) -> Option<i64> {
    match attempt {
        Attempt::Held { term, .. } => Some(term.epoch),
        Attempt::Foreign { .. } => None,
    }
}

#[tokio::test]
async fn who_comes_back_under_its_name_holds_it_at_once_in_a_new_epoch() {
    let cluster = Cluster::builder().build().await.unwrap();
    let mut first = contender(&cluster, "here");
    assert_eq!(epoch(first.attempt().await.unwrap()), Some(1));
    let mut other = contender(&cluster, "there");
    assert_eq!(epoch(other.attempt().await.unwrap()), None);
    // the process is killed, and the next one in its place knows nothing but its name
    drop(first);
    let mut next = contender(&cluster, "here");
    let Attempt::Held { term, revision } = next.attempt().await.unwrap() else { unreachable!() };
    assert_eq!((term.epoch, revision), (2, None), "what the former one left must be listed anew");
    assert_eq!(epoch(next.attempt().await.unwrap()), Some(2), "renewed, not taken again");
    assert_eq!(epoch(other.attempt().await.unwrap()), None);
}
