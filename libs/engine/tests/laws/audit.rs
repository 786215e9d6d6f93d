//! What no plan may ever do, checked by counting anew, without the engine's own bookkeeping.

use std::collections::{BTreeMap, BTreeSet};

use crater_engine::{
    AccountIx, Class, ExtendedIx, Infeasible, JobIx, KeyIx, ModelIx, Names, NodeIx, Placement, Plan, Reason,
    RevokeCause, Snapshot, UserIx, ValueIx, WHOLE_GPU,
};

struct Numbers;

impl Names for Numbers {
    fn node(&self, _: NodeIx) -> &str {
        "node"
    }
    fn job(&self, _: JobIx) -> &str {
        "job"
    }
    fn account(&self, _: AccountIx) -> &str {
        "account"
    }
    fn user(&self, _: UserIx) -> &str {
        "user"
    }
    fn model(&self, _: ModelIx) -> &str {
        "model"
    }
    fn key(&self, _: KeyIx) -> &str {
        "key"
    }
    fn value(&self, _: ValueIx) -> &str {
        "value"
    }
}

/// A job's replicas: (role, replica).
type Replicas = BTreeMap<JobIx, BTreeSet<(u16, u32)>>;

pub fn audit(s: &Snapshot, plan: &Plan) {
    rooms_are_never_overfull(s, plan);
    gangs_are_whole(s, plan);
    limits_hold(s, plan);
    every_waiting_job_is_told_why(s, plan);
    replicas_never_run_twice(s, plan);
    guarantees_are_left_alone(s, plan);
}

fn rooms_are_never_overfull(s: &Snapshot, plan: &Plan) {
    let mut cpu: Vec<i64> = s.nodes.iter().map(|node| node.cpu).collect();
    let mut memory: Vec<i64> = s.nodes.iter().map(|node| node.memory).collect();
    let mut gpus: Vec<Vec<i64>> =
        s.nodes.iter().map(|node| vec![WHOLE_GPU; usize::from(node.gpus)]).collect();
    let mut named: Vec<BTreeMap<ExtendedIx, i64>> = s
        .nodes
        .iter()
        .map(|node| node.extended.iter().map(|(name, count)| (*name, i64::from(*count))).collect())
        .collect();
    for held in &s.holdings {
        for (name, count) in held.each.extended.iter() {
            *named[held.node.at()].entry(name).or_default() -= count;
        }
        cpu[held.node.at()] -= held.each.cpu;
        memory[held.node.at()] -= held.each.memory;
        held.gpus.iter().for_each(|(device, milli)| gpus[held.node.at()][usize::from(*device)] -= milli);
    }
    for grant in &plan.grants {
        let request = &s.jobs[grant.job.at()].request;
        for place in &grant.placements {
            let each = request.roles[usize::from(place.role)].each;
            let node = &s.nodes[place.node.at()];
            assert!(node.open, "{grant:?} on a closed node");
            assert!(
                request.selector.iter().all(|label| node.labels.contains(label)),
                "{grant:?} against its selector"
            );
            if each.gpu > 0 {
                let model = node.model.unwrap();
                assert!(
                    request.models.is_empty() || request.models.contains(&model),
                    "{grant:?} on a wrong model"
                );
            }
            let whole = each.gpu >= WHOLE_GPU;
            assert_eq!(place.gpus.iter().map(|(_, milli)| milli).sum::<i64>(), each.gpu, "{grant:?}");
            assert!(if whole {
                place.gpus.iter().all(|(_, m)| *m == WHOLE_GPU)
            } else {
                place.gpus.len() <= 1
            });
            cpu[place.node.at()] -= each.cpu;
            memory[place.node.at()] -= each.memory;
            place
                .gpus
                .iter()
                .for_each(|(device, milli)| gpus[place.node.at()][usize::from(*device)] -= milli);
            assert!(
                cpu[place.node.at()] >= 0 && memory[place.node.at()] >= 0,
                "{grant:?} overfills its node"
            );
            assert!(gpus[place.node.at()].iter().all(|free| *free >= 0), "{grant:?} promises a gpu twice");
            for (name, count) in each.extended.iter() {
                let free = named[place.node.at()].entry(name).or_default();
                *free -= count;
                assert!(*free >= 0, "{grant:?} takes more {name:?} than there are");
            }
        }
        if let Some(topology) = request.topology.filter(|topology| topology.required) {
            let value = |place: &Placement| {
                s.nodes[place.node.at()].labels.iter().find(|(key, _)| *key == topology.key).map(|(_, v)| *v)
            };
            let values: BTreeSet<_> = grant.placements.iter().map(value).collect();
            assert!(values.len() == 1 && !values.contains(&None), "{grant:?} spans {values:?}");
        }
    }
}

fn live_before(s: &Snapshot) -> Replicas {
    let mut live = Replicas::new();
    for held in s.holdings.iter().filter(|held| !held.going) {
        live.entry(held.job).or_default().insert((held.role, held.replica));
    }
    live
}

fn live_after(s: &Snapshot, plan: &Plan) -> Replicas {
    let mut live = live_before(s);
    for revocation in &plan.revocations {
        for replica in &revocation.replicas {
            let was = live
                .get_mut(&revocation.job)
                .is_some_and(|held| held.remove(&(replica.role, replica.replica)));
            assert!(was, "{revocation:?} takes what is not there");
        }
    }
    for grant in &plan.grants {
        for place in &grant.placements {
            let new = live.entry(grant.job).or_default().insert((place.role, place.replica));
            assert!(new, "{grant:?} gives what is there already");
        }
    }
    live.retain(|_, held| !held.is_empty());
    live
}

fn whole(s: &Snapshot, job: JobIx, live: &BTreeSet<(u16, u32)>) -> bool {
    let roles = s.jobs[job.at()].request.roles.iter().zip(0u16..);
    let mut roles =
        roles.map(|(role, ix)| live.iter().filter(|(r, _)| *r == ix).count() >= role.min as usize);
    roles.all(|enough| enough)
}

fn gangs_are_whole(s: &Snapshot, plan: &Plan) {
    let before = live_before(s);
    for (job, live) in live_after(s, plan) {
        let was_broken = before.get(&job).is_some_and(|live| !whole(s, job, live));
        // a gang whose members died may wait for its own replicas, or for room that is coming, but gets no more in part
        let no_more = before.get(&job).is_some_and(|before| live.is_subset(before));
        assert!(
            whole(s, job, &live) || (was_broken && no_more) || s.jobs[job.at()].closed,
            "{job:?} runs in part"
        );
    }
    let mut seen = BTreeSet::new();
    assert!(plan.grants.iter().all(|grant| seen.insert(grant.job)), "one grant a job");
}

pub fn under(s: &Snapshot, account: AccountIx, above: AccountIx) -> bool {
    account == above || s.accounts[account.at()].parent.is_some_and(|parent| under(s, parent, above))
}

fn limits_hold(s: &Snapshot, plan: &Plan) {
    let counted = |job: JobIx| s.jobs[job.at()].class == Class::Guaranteed;
    let gpu_of = |grant: &crater_engine::Grant| -> i64 {
        let roles = &s.jobs[grant.job.at()].request.roles;
        grant.placements.iter().map(|place| roles[usize::from(place.role)].each.gpu).sum()
    };
    let judge = |limit: Option<i64>, inside: &dyn Fn(JobIx) -> bool, whose: &dyn std::fmt::Debug| {
        let Some(limit) = limit else { return };
        let held: i64 = s
            .holdings
            .iter()
            .filter(|held| counted(held.job) && inside(held.job))
            .map(|held| held.each.gpu)
            .sum();
        let given: i64 = plan.grants.iter().filter(|g| counted(g.job) && inside(g.job)).map(gpu_of).sum();
        assert!(given == 0 || held + given <= limit, "{whose:?}: {held} + {given} is over its limit {limit}");
    };
    let by_name =
        |limits: &[(ExtendedIx, i64)], inside: &dyn Fn(JobIx) -> bool, whose: &dyn std::fmt::Debug| {
            for (name, limit) in limits {
                let mine = |job: JobIx| counted(job) && inside(job);
                let holdings = s.holdings.iter().filter(|held| mine(held.job));
                let held: i64 = holdings.map(|held| held.each.extended.of(*name)).sum();
                let grants = plan.grants.iter().filter(|grant| mine(grant.job));
                let places = grants
                    .flat_map(|grant| grant.placements.iter().map(move |place| (grant.job, place.role)));
                let each = |(job, role): (JobIx, u16)| s.jobs[job.at()].request.roles[usize::from(role)].each;
                let given: i64 = places.map(|place| each(place).extended.of(*name)).sum();
                assert!(
                    given == 0 || held + given <= *limit,
                    "{whose:?}: {held} + {given} {name:?} is over {limit}"
                );
            }
        };
    let jobs = |limit: Option<i64>, inside: &dyn Fn(JobIx) -> bool, whose: &dyn std::fmt::Debug| {
        let Some(limit) = limit else { return };
        // whatever its class, and until the last of it is gone
        let mut running: BTreeSet<JobIx> =
            s.holdings.iter().map(|held| held.job).filter(|job| inside(*job)).collect();
        let before = running.len();
        running.extend(plan.grants.iter().map(|grant| grant.job).filter(|job| inside(*job)));
        let after = i64::try_from(running.len()).unwrap();
        assert!(running.len() == before || after <= limit, "{whose:?}: {after} jobs run, {limit} may");
    };
    for (ix, account) in s.accounts.iter().enumerate() {
        let above = AccountIx::of(ix);
        jobs(account.limit.jobs, &|job| under(s, s.jobs[job.at()].account, above), &above);
        judge(account.limit.gpu, &|job| under(s, s.jobs[job.at()].account, above), &above);
        by_name(&account.limit.extended, &|job| under(s, s.jobs[job.at()].account, above), &above);
    }
    for (ix, user) in s.users.iter().enumerate() {
        let whose = UserIx::of(ix);
        jobs(user.limit.jobs, &|job| s.jobs[job.at()].user == Some(whose), &whose);
        judge(user.limit.gpu, &|job| s.jobs[job.at()].user == Some(whose), &whose);
        by_name(&user.limit.extended, &|job| s.jobs[job.at()].user == Some(whose), &whose);
    }
}

fn every_waiting_job_is_told_why(s: &Snapshot, plan: &Plan) {
    let live = live_after(s, plan);
    let mut told = BTreeSet::new();
    for (verdict, position) in plan.verdicts.iter().zip(1u32..) {
        assert!(told.insert(verdict.job), "{verdict:?} twice");
        assert_eq!(verdict.position, position);
        assert!(!live.contains_key(&verdict.job), "{verdict:?} of a job that runs");
        assert!(!verdict.reasons.is_empty());
        for reason in &verdict.reasons {
            assert!(!reason.render(s.now, &Numbers).is_empty());
            if let Reason::NoRoom { fit, need, .. }
            | Reason::Infeasible(Infeasible::GangTooLarge { fit, need, .. }) = reason
            {
                assert!(fit < need, "{verdict:?} waits though all of it fits");
            }
        }
    }
    for (ix, job) in s.jobs.iter().enumerate() {
        let ix = JobIx::of(ix);
        let revoked = plan.revocations.iter().any(|revocation| revocation.job == ix);
        assert!(
            job.closed || revoked || live.contains_key(&ix) || told.contains(&ix),
            "{ix:?} waits without a reason"
        );
    }
}

fn replicas_never_run_twice(s: &Snapshot, plan: &Plan) {
    for grant in &plan.grants {
        let job = &s.jobs[grant.job.at()];
        assert!(!job.closed);
        let held: Vec<_> = s.holdings.iter().filter(|held| held.job == grant.job).collect();
        let starts = held.iter().all(|held| held.going);
        for place in &grant.placements {
            assert!(place.replica < job.request.roles[usize::from(place.role)].replicas);
            let same = held.iter().find(|held| (held.role, held.replica) == (place.role, place.replica));
            assert!(same.is_none(), "{grant:?} while {same:?} may still run");
        }
        assert!(!starts || held.is_empty(), "{grant:?} starts before its former replicas are gone");
    }
}

/// An account whose guaranteed work is all within its own guarantee loses nothing to another account.
fn guarantees_are_left_alone(s: &Snapshot, plan: &Plan) {
    let mut used = vec![0i64; s.accounts.len()];
    for held in s.holdings.iter().filter(|held| !held.going) {
        let job = &s.jobs[held.job.at()];
        if job.class == Class::Guaranteed {
            for (ix, used) in used.iter_mut().enumerate() {
                if under(s, job.account, AccountIx::of(ix)) {
                    *used += held.each.gpu;
                }
            }
        }
    }
    for revocation in &plan.revocations {
        let foreign = matches!(revocation.cause, RevokeCause::Reclaimed | RevokeCause::FairShare);
        let job = &s.jobs[revocation.job.at()];
        let beneficiary = revocation.beneficiary.map(|b| s.jobs[b.at()].account);
        // a guarantee covers nobody who asks for a device that it does not name
        let gpus = job.request.roles.iter().all(|role| role.each.gpu > 0 && role.each.extended.is_empty());
        let promised = s.accounts[job.account.at()].guaranteed.gpu.unwrap_or(0);
        // a child's promise binds what its parent runs in its own queue
        let child = beneficiary.is_some_and(|b| under(s, b, job.account));
        if foreign && gpus && !child {
            assert!(used[job.account.at()] > promised, "{revocation:?} of an account within its guarantee");
        }
    }
}
