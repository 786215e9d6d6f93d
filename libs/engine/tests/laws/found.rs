//! Worlds in which a law was once broken, each with its story.

use std::sync::Arc;

use crater_engine::{
    Account, AccountIx, Amounts, Job, ModelIx, Node, Preemptible, Queueing, Request, Role, Settings, Shape,
    Snapshot, User, UserIx,
};

use crate::cases::{Case, Event, GI};
use crate::sim::Sim;

fn node(cores: i64, gpus: u16, model: u32) -> Node {
    Node {
        cpu: cores * 1000,
        memory: 64 * GI,
        gpus,
        model: (gpus > 0).then_some(ModelIx(model)),
        open: true,
        ..Node::default()
    }
}

fn gpus(guaranteed: Option<i64>, limit: Option<i64>, parent: Option<u32>) -> Account {
    let amounts = |gpu: Option<i64>| Amounts { gpu: gpu.map(|gpu| gpu * 1000), ..Amounts::default() };
    Account {
        guaranteed: amounts(guaranteed),
        limit: amounts(limit),
        parent: parent.map(AccountIx),
        ..Account::default()
    }
}

/// Roles as (milli-GPU, most, least).
fn job(account: u32, roles: &[(i64, u32, u32)]) -> Job {
    let role = |(gpu, replicas, min): &(i64, u32, u32)| Role {
        each: Shape { cpu: 100, memory: GI, gpu: *gpu, ..Shape::default() },
        replicas: *replicas,
        min: *min,
    };
    let roles = roles.iter().map(role).collect();
    Job {
        account: AccountIx(account),
        request: Arc::new(Request { roles, ..Request::default() }),
        ..Job::default()
    }
}

/// Plays a story, and then so many cycles until nothing moves.
fn comes_to_rest(start: Snapshot, jobs: Vec<Job>, events: Vec<Event>) -> Sim {
    let mut sim = Sim::new(&Case { start, jobs, events: Vec::new() });
    for event in events {
        sim.happen(&event);
        sim.decide();
        sim.carry_out(false);
    }
    sim.happen(&Event::Release);
    sim.happen(&Event::Wait(1_000_000));
    for _ in 0..12 {
        sim.decide();
        if !sim.carry_out(true) {
            return sim;
        }
    }
    panic!("it does not come to rest");
}

// the surplus of a job that had to move was promised its new place beyond the limit: it could not start there, and took it back from whom it had moved for
#[test]
fn who_must_move_takes_all_of_its_job_within_its_limits() {
    use Event::*;
    let start = Snapshot {
        models: 2,
        nodes: vec![node(4, 3, 1), node(4, 0, 0), node(4, 2, 0), node(4, 4, 1)],
        accounts: vec![gpus(None, Some(5), None), Account { weight: 2, ..gpus(Some(1), None, Some(0)) }],
        settings: Settings { order: Queueing::Sjf, ..Settings::default() },
        ..Snapshot::default()
    };
    let jobs = vec![
        job(0, &[(1000, 3, 2)]),
        job(0, &[(500, 3, 3)]),
        job(0, &[(1000, 2, 2)]),
        job(1, &[(1000, 2, 2), (500, 4, 2)]),
        job(0, &[(2000, 1, 1)]),
        job(0, &[(2000, 1, 1)]),
        job(0, &[(0, 1, 1)]),
    ];
    comes_to_rest(
        start,
        jobs,
        vec![
            Submit,
            Toggle(1),
            Wait(17710),
            Submit,
            Submit,
            Wait(31542),
            Release,
            Submit,
            Submit,
            Submit,
            Wait(11561),
            Wait(11436),
            Die(12),
            Submit,
            Wait(114899),
            Release,
            Release,
            Finish(17),
        ],
    );
}

// a replica above a gang was inside a person's guarantee, of which the gang was not: it took by that what it then lost by priority, with its gang
#[test]
fn what_is_above_a_gang_is_owed_only_where_its_gang_is() {
    let start = Snapshot {
        models: 2,
        nodes: vec![node(11, 3, 1), node(5, 3, 1)],
        accounts: vec![gpus(None, None, None)],
        users: vec![User {
            account: AccountIx(0),
            guaranteed: Amounts { gpu: Some(1000), ..Amounts::default() },
            limit: Amounts::default(),
        }],
        settings: Settings { protection_ms: 0, ..Settings::default() },
        ..Snapshot::default()
    };
    let job = |priority: i32, user: Option<UserIx>, roles: &[(i64, i64, u32, u32)]| {
        let role = |(cpu, gpu, replicas, min): &(i64, i64, u32, u32)| Role {
            each: Shape { cpu: *cpu, memory: GI, gpu: *gpu, ..Shape::default() },
            replicas: *replicas,
            min: *min,
        };
        let roles = roles.iter().map(role).collect();
        Job { priority, user, request: Arc::new(Request { roles, ..Request::default() }), ..Job::default() }
    };
    let jobs = vec![
        job(-1, Some(UserIx(0)), &[(2100, 250, 2, 1), (3100, 1000, 1, 1)]),
        job(0, None, &[(3100, 250, 2, 2), (1100, 250, 2, 2)]),
    ];
    comes_to_rest(start, jobs, vec![Event::Submit, Event::Submit]);
}

// what is promised to an account could be used up above it by who may never be preempted; its own work was then taken from outside
#[test]
fn what_is_promised_below_is_not_used_up_for_good() {
    let start = Snapshot {
        models: 1,
        nodes: vec![node(8, 4, 0)],
        accounts: vec![gpus(None, None, None), gpus(Some(2), None, Some(0)), gpus(Some(2), None, None)],
        settings: Settings { protection_ms: 0, ..Settings::default() },
        ..Snapshot::default()
    };
    let jobs = vec![
        Job { preemptible: Preemptible::Never, ..job(0, &[(2000, 1, 1)]) },
        job(1, &[(2000, 1, 1)]),
        job(2, &[(2000, 1, 1)]),
    ];
    let sim = comes_to_rest(start, jobs, vec![Event::Submit, Event::Submit, Event::Submit]);
    let held: Vec<usize> = sim.snapshot.holdings.iter().map(|held| held.job.at()).collect();
    assert_eq!(held, [1, 2]);
}

// a gang was taken for a share, and what was above it went along uncounted: who was left with less took it back
#[test]
fn what_falls_with_a_gang_counts_where_shares_are_evened_out() {
    let closed = Node { open: false, ..node(4, 0, 0) };
    let start = Snapshot {
        models: 1,
        nodes: vec![node(5, 2, 0), closed.clone(), closed.clone(), closed],
        accounts: vec![gpus(None, None, None), Account { weight: 2, ..gpus(None, None, None) }],
        settings: Settings { protection_ms: 0, ..Settings::default() },
        ..Snapshot::default()
    };
    let job = |account: u32, roles: &[(i64, i64, u32, u32)]| {
        let role = |(cpu, gpu, replicas, min): &(i64, i64, u32, u32)| Role {
            each: Shape { cpu: *cpu, memory: GI, gpu: *gpu, ..Shape::default() },
            replicas: *replicas,
            min: *min,
        };
        let roles = roles.iter().map(role).collect();
        let request = Arc::new(Request { roles, ..Request::default() });
        Job { account: AccountIx(account), request, ..Job::default() }
    };
    let jobs = vec![job(1, &[(1100, 0, 4, 4), (100, 500, 3, 1)]), job(0, &[(1100, 500, 2, 1)])];
    comes_to_rest(start, jobs, vec![Event::Submit, Event::Submit]);
}

// where the first role found no room to grow, the claim of the next one was taken for the same one, made in vain
#[test]
fn each_role_grows_by_its_own_right() {
    let start = Snapshot {
        models: 1,
        nodes: vec![node(8, 8, 0), node(8, 2, 0)],
        accounts: vec![gpus(None, None, None), gpus(Some(10), None, None)],
        settings: Settings { protection_ms: 0, ..Settings::default() },
        ..Snapshot::default()
    };
    let jobs = vec![job(0, &[(1000, 1, 1)]), job(1, &[(8000, 2, 1), (1000, 2, 1)])];
    let sim = comes_to_rest(start, jobs, vec![Event::Submit, Event::Submit]);
    let mut held: Vec<(usize, u16, u32)> =
        sim.snapshot.holdings.iter().map(|held| (held.job.at(), held.role, held.replica)).collect();
    held.sort_unstable();
    assert_eq!(held, [(1, 0, 0), (1, 1, 0), (1, 1, 1)]);
}
