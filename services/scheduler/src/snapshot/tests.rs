//! The laws of the snapshot, without a cluster.

use kube::runtime::watcher::Event;

use super::Known;
use crate::cache::{Cache, Quotas};
use crate::sample::{allocation, framed, full, job};

#[test]
fn where_all_accounts_are_gone_nobodys_ordinals_are_too() {
    let mut cache = full(1, 1);
    let mut known = Known::default();
    assert_eq!(framed(&mut cache, &mut known, 1).snapshot.jobs.len(), 9);
    (0..8).for_each(|at| cache.allocation(Event::Delete(allocation(at, 0, at)), 0));
    for at in 0..9 {
        cache.job(Event::Delete(job(at, "Queued")));
    }
    cache.set_quotas(Quotas::new());
    let empty = framed(&mut cache, &mut known, 2).snapshot;
    assert!(empty.accounts.is_empty());
    crater_engine::decide(&empty).unwrap();
    // and who comes then is found
    cache.job(Event::Apply(job(10, "Queued")));
    let frame = framed(&mut cache, &mut known, 3);
    assert_eq!((frame.snapshot.jobs.len(), frame.by_name.len()), (1, 1));
    assert_eq!(crater_engine::decide(&frame.snapshot).unwrap().grants.len(), 1);
}
