//! Who ends up with how much, where nothing is lost to fragments: jobs of one GPU, accounts side by side.

use std::sync::Arc;

use crater_engine::{
    Account, AccountIx, Amounts, Class, Job, ModelIx, Node, Preemptible, Request, Role, Settings, Shape,
    Snapshot, WHOLE_GPU,
};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::cases::{Case, Event, GI};
use crate::sim::Sim;

fn job(account: usize, class: Class, priority: i32) -> Job {
    let each = Shape { cpu: 100, memory: GI, gpu: WHOLE_GPU };
    Job {
        account: AccountIx::of(account),
        user: None,
        class,
        priority,
        submitted: 0,
        queued_since: 0,
        expected_ms: None,
        preemptible: Preemptible::WhenBorrowing,
        closed: false,
        request: Arc::new(Request { roles: vec![Role { each, replicas: 1, min: 1 }], ..Request::default() }),
    }
}

/// Nodes of the given sizes, accounts with the given guarantees (in GPUs), and every job submitted in a cycle of its own.
fn play(sizes: &[u16], guarantees: &[i64], jobs: Vec<Job>) -> Sim {
    let node = |gpus: &u16| Node {
        cpu: 64_000,
        memory: 256 * GI,
        gpus: *gpus,
        model: Some(ModelIx(0)),
        open: true,
        ..Node::default()
    };
    let account = |gpus: &i64| Account {
        guaranteed: Amounts { gpu: Some(gpus * WHOLE_GPU), ..Amounts::default() },
        ..Account::default()
    };
    let start = Snapshot {
        models: 1,
        nodes: sizes.iter().map(node).collect(),
        accounts: guarantees.iter().map(account).collect(),
        settings: Settings { protection_ms: 0, ..Settings::default() },
        ..Snapshot::default()
    };
    let count = jobs.len();
    let mut sim = Sim::new(&Case { start, jobs, events: Vec::new() });
    for _ in 0..count {
        sim.happen(&Event::Submit);
        assert!(sim.settle(40), "it does not come to rest");
    }
    sim
}

fn running(sim: &Sim, account: usize) -> usize {
    let of = |job: &Job| job.account.at() == account && job.class == Class::Guaranteed;
    sim.snapshot.holdings.iter().filter(|held| of(&sim.snapshot.jobs[held.job.at()])).count()
}

fn demand(sim: &Sim, account: usize) -> usize {
    sim.snapshot
        .jobs
        .iter()
        .filter(|job| job.account.at() == account && job.class == Class::Guaranteed)
        .count()
}

proptest! {
    #![proptest_config(crate::config())]

    #[test]
    fn every_account_reaches_its_guarantee(
        sizes in vec(1u16..=4, 1..=3),
        parts in vec(0i64..=3, 2..=4),
        jobs in vec((0usize..4, 0u8..4, -1i32..=1), 1..=30),
    ) {
        // guarantees that fit the cluster
        let mut left: i64 = sizes.iter().map(|gpus| i64::from(*gpus)).sum();
        let mut guarantees = Vec::new();
        for part in &parts {
            guarantees.push(left.min(*part));
            left -= left.min(*part);
        }
        let class = |n: u8| if n == 0 { Class::BestEffort } else { Class::Guaranteed };
        let jobs = jobs.into_iter().map(|(account, n, priority)| job(account % parts.len(), class(n), priority));
        let sim = play(&sizes, &guarantees, jobs.collect());
        for (account, guaranteed) in guarantees.iter().enumerate() {
            let due = usize::try_from(*guaranteed).unwrap().min(demand(&sim, account));
            let has = running(&sim, account);
            prop_assert!(has >= due, "account {account} has {has} of {due} that are due to it");
        }
    }

    #[test]
    fn what_is_borrowed_is_shared_within_one_job_of_the_ideal(
        sizes in vec(1u16..=4, 1..=3),
        jobs in vec(0usize..3, 1..=30),
    ) {
        let total: usize = sizes.iter().map(|gpus| usize::from(*gpus)).sum();
        let jobs = jobs.into_iter().map(|account| job(account, Class::Guaranteed, 0));
        let sim = play(&sizes, &[0, 0, 0], jobs.collect());
        let has: Vec<usize> = (0..3).map(|account| running(&sim, account)).collect();
        let wants: Vec<usize> = (0..3).map(|account| demand(&sim, account)).collect();
        prop_assert_eq!(has.iter().sum::<usize>(), total.min(wants.iter().sum()), "nothing idles while somebody wants it");
        for poor in 0..3 {
            for rich in 0..3 {
                let fair = has[poor] == wants[poor] || has[rich] <= has[poor] + 1;
                prop_assert!(fair, "{has:?} of {wants:?}");
            }
        }
    }
}
