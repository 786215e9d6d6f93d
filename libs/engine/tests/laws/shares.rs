//! Who ends up with how much, where nothing is lost to fragments: jobs of one GPU, accounts side by side.

use std::collections::BTreeSet;
use std::sync::Arc;

use crater_engine::{
    Account, AccountIx, Amounts, Class, Job, ModelIx, Node, Request, Role, Settings, Shape, Snapshot,
    WHOLE_GPU,
};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::cases::{Case, Event, GI};
use crate::sim::Sim;

pub fn job(account: usize, class: Class, priority: i32) -> Job {
    let each = Shape { cpu: 100, memory: GI, gpu: WHOLE_GPU, ..Shape::default() };
    Job {
        account: AccountIx::of(account),
        class,
        priority,
        submitted: 0,
        queued_since: 0,
        request: Arc::new(Request { roles: vec![Role { each, replicas: 1, min: 1 }], ..Request::default() }),
        ..Job::default()
    }
}

fn guaranteed(gpus: i64) -> Account {
    let guaranteed = Amounts { gpu: Some(gpus * WHOLE_GPU), ..Amounts::default() };
    Account { guaranteed, ..Account::default() }
}

/// Nodes of the given sizes, and every job submitted in a cycle of its own.
pub fn play(sizes: &[u16], accounts: Vec<Account>, jobs: Vec<Job>) -> Sim {
    let node = |gpus: &u16| Node {
        cpu: 64_000,
        memory: 256 * GI,
        gpus: *gpus,
        model: Some(ModelIx(0)),
        open: true,
        ..Node::default()
    };
    let start = Snapshot {
        models: 1,
        nodes: sizes.iter().map(node).collect(),
        accounts,
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

pub fn running(sim: &Sim, account: usize) -> usize {
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
        let accounts = guarantees.iter().map(|gpus| guaranteed(*gpus)).collect();
        let sim = play(&sizes, accounts, jobs.collect());
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
        let sim = play(&sizes, vec![guaranteed(0); 3], jobs.collect());
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

    #[test]
    fn the_order_in_which_nodes_are_listed_changes_nobodys_luck(
        (sizes, other) in vec(1u16..=4, 1..=4).prop_flat_map(|sizes| (Just(sizes.clone()), Just(sizes).prop_shuffle())),
        promised in vec(0i64..=3, 3),
        jobs in vec((0usize..3, -1i32..=1), 1..=24),
    ) {
        let accounts = || promised.iter().map(|gpus| guaranteed(*gpus)).collect::<Vec<_>>();
        let jobs = || jobs.iter().map(|(account, priority)| job(*account, Class::Guaranteed, *priority)).collect();
        let who = |sim: &Sim| sim.snapshot.holdings.iter().map(|held| held.job).collect::<BTreeSet<_>>();
        let (one, two) = (play(&sizes, accounts(), jobs()), play(&other, accounts(), jobs()));
        prop_assert_eq!(who(&one), who(&two));
    }

    #[test]
    fn what_is_borrowed_is_shared_by_weight(
        sizes in vec(1u16..=4, 1..=4),
        weights in vec(prop_oneof![1i64..=4, Just(250_000), Just(1_000_000)], 3),
        order in Just((0..48usize).map(|n| n % 3).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        // everybody wants more than there is
        let accounts = weights.iter().map(|weight| Account { weight: *weight, ..Account::default() }).collect();
        let jobs = order.into_iter().map(|account| job(account, Class::Guaranteed, 0)).collect();
        let sim = play(&sizes, accounts, jobs);
        let has: Vec<i64> = (0..3).map(|account| i64::try_from(running(&sim, account)).unwrap()).collect();
        let total: i64 = sizes.iter().map(|gpus| i64::from(*gpus)).sum();
        prop_assert_eq!(has.iter().sum::<i64>(), total, "nothing idles while somebody wants it");
        for poor in 0..3 {
            for rich in 0..3 {
                // one GPU less there and one more here would only turn the inequality around
                let fair = poor == rich || (has[rich] - 1) * weights[poor] < (has[poor] + 1) * weights[rich];
                prop_assert!(fair, "{has:?} by {weights:?}");
            }
        }
    }

    #[test]
    fn jobs_run_up_to_their_limits_and_no_further(
        sizes in vec(1u16..=4, 1..=3),
        most in vec(proptest::option::of(0i64..=4), 3),
        jobs in vec((0usize..3, 0u8..3), 1..=20),
    ) {
        // two accounts below the first
        let account = |(ix, jobs): (usize, &Option<i64>)| Account {
            parent: (ix > 0).then_some(AccountIx(0)),
            limit: Amounts { jobs: *jobs, ..Amounts::default() },
            ..Account::default()
        };
        let accounts = most.iter().enumerate().map(account).collect();
        let class = |n: u8| if n == 0 { Class::BestEffort } else { Class::Guaranteed };
        let jobs: Vec<Job> = jobs.into_iter().map(|(account, n)| job(account, class(n), 0)).collect();
        let wants = |account: usize| jobs.iter().filter(|job| job.account.at() == account).count();
        let wants = [wants(0), wants(1), wants(2)];
        let sim = play(&sizes, accounts, jobs);
        let all = |account: usize| {
            sim.snapshot.holdings.iter().filter(|held| sim.snapshot.jobs[held.job.at()].account.at() == account).count()
        };
        let has = [all(0), all(1), all(2)];
        let cap = |account: usize| most[account].map_or(usize::MAX, |most| usize::try_from(most).unwrap());
        let gpus: usize = sizes.iter().map(|gpus| usize::from(*gpus)).sum();
        let reachable = wants[0] + wants[1].min(cap(1)) + wants[2].min(cap(2));
        prop_assert_eq!(has.iter().sum::<usize>(), reachable.min(cap(0)).min(gpus), "{:?} of {:?}", has, wants);
        prop_assert!(has[1] <= cap(1) && has[2] <= cap(2));
    }
}
