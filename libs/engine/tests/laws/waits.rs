//! How long one waits, and how often somebody loses something for it.

use std::sync::Arc;

use crater_engine::{
    Account, AccountIx, Amounts, Holding, Job, JobIx, ModelIx, Node, NodeIx, Plan, Request, RevokeCause,
    Role, Settings, Shape, Snapshot, WHOLE_GPU, check_feasible, decide,
};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::audit::audit;
use crate::cases::GI;

const TICK: i64 = 60_000;

fn node(gpus: u16, model: u32) -> Node {
    Node { cpu: 64_000, memory: 256 * GI, gpus, model: Some(ModelIx(model)), open: true, ..Node::default() }
}

fn job(account: usize, now: i64, gpus: i64, replicas: u32, models: &[u32]) -> Job {
    let each = Shape { cpu: 100, memory: GI, gpu: gpus * WHOLE_GPU, ..Shape::default() };
    Job {
        account: AccountIx::of(account),
        submitted: now,
        queued_since: now,
        request: Arc::new(Request {
            roles: vec![Role { each, replicas, min: replicas }],
            models: models.iter().map(|model| ModelIx(*model)).collect(),
            ..Request::default()
        }),
        ..Job::default()
    }
}

/// A cluster that small jobs keep full for ever, each for so many ticks.
struct Stream {
    s: Snapshot,
    ends: Vec<i64>,
}

impl Stream {
    fn submit(&mut self, ticks: i64, told: bool) {
        let mut small = job(0, self.s.now, 1, 1, &[]);
        small.expected_ms = told.then_some(ticks * TICK);
        self.ends.push(ticks * TICK);
        self.s.jobs.push(small);
    }

    fn cycle(&mut self) -> Plan {
        let plan = decide(&self.s).unwrap();
        audit(&self.s, &plan);
        assert!(plan.revocations.is_empty(), "equals take nothing from each other");
        for grant in &plan.grants {
            for place in &grant.placements {
                self.s.holdings.push(Holding {
                    job: grant.job,
                    role: place.role,
                    replica: place.replica,
                    node: place.node,
                    each: self.s.jobs[grant.job.at()].request.roles[0].each,
                    gpus: place.gpus.clone(),
                    started: self.s.now,
                    going: false,
                });
            }
        }
        self.s.holds.clone_from(&plan.holds);
        self.s.now += TICK;
        self.s.cycle += 1;
        let over = |held: &Holding, ends: &[i64], now| held.started + ends[held.job.at()] <= now;
        for held in self.s.holdings.iter().filter(|held| over(held, &self.ends, self.s.now)) {
            self.s.jobs[held.job.at()].closed = true;
        }
        self.s.holdings.retain(|held| !over(held, &self.ends, self.s.now));
        plan
    }
}

/// What ran before a gang began to wait lasts so many ticks at the most.
const LONGEST: i64 = 12;

/// A gang of so many replicas, and more of one GPU each, waits in a cluster that small jobs keep full for ever, each for the next of `ticks`;
/// their owners say so if they are `told`.
fn waits_at_the_head(
    sizes: &[u16],
    ticks: &[i64],
    told: bool,
    roles: &[(i64, u32)],
) -> Result<(), TestCaseError> {
    let s = Snapshot {
        now: 1_000_000,
        models: 1,
        nodes: sizes.iter().map(|gpus| node(*gpus, 0)).collect(),
        accounts: vec![Account::default()],
        // nobody moves, so that what starts runs to its end
        settings: Settings { consolidate: false, ..Settings::default() },
        ..Snapshot::default()
    };
    let mut stream = Stream { s, ends: Vec::new() };
    let total: i64 = sizes.iter().map(|size| i64::from(*size)).sum();
    let mut next = ticks.iter().cycle();
    let mut more = |stream: &mut Stream| {
        for _ in 0..total {
            stream.submit(*next.next().unwrap(), told);
        }
    };
    more(&mut stream);
    stream.cycle();
    // submitted before all that is still to come
    let gang = JobIx::of(stream.s.jobs.len());
    stream.ends.push(i64::MAX / 4);
    let role = |(gpus, replicas): &(i64, u32)| Role {
        each: Shape { cpu: 100, memory: GI, gpu: gpus * WHOLE_GPU, ..Shape::default() },
        replicas: *replicas,
        min: *replicas,
    };
    let mut job = job(0, stream.s.now, 1, 1, &[]);
    let mut request = Request { roles: roles.iter().map(role).collect(), ..Request::default() };
    // no more than could run here at all
    while check_feasible(&request, &stream.s.nodes).is_err() {
        let mut roles = request.roles.iter_mut();
        let most = roles.by_ref().max_by_key(|role| (role.replicas, role.each.gpu)).unwrap();
        if most.replicas > 1 {
            (most.replicas, most.min) = (most.replicas - 1, most.min - 1);
        } else if most.each.gpu > WHOLE_GPU {
            most.each.gpu -= WHOLE_GPU;
        } else {
            request.roles.pop();
        }
    }
    job.request = Arc::new(request);
    stream.s.jobs.push(job);
    let mut promised = i64::MAX;
    for _ in 0..=LONGEST {
        more(&mut stream);
        let now = stream.s.now;
        let plan = stream.cycle();
        if plan.grants.iter().any(|grant| grant.job == gang) {
            prop_assert!(
                roles.len() > 1 || now <= promised,
                "it was to start at {promised}, and starts at {now}"
            );
            return Ok(());
        }
        let kept = plan.reservations.iter().find(|kept| kept.job == gang);
        let start = kept.and_then(|kept| kept.expected_start);
        prop_assert_eq!(start.is_some(), told);
        // one role: whatever was found once is found again
        let start = start.unwrap_or(i64::MAX);
        prop_assert!(roles.len() > 1 || start <= promised, "it was to start at {promised}, now at {start}");
        promised = promised.min(start);
    }
    prop_assert!(false, "it still waits, though all that ran before it is over");
    Ok(())
}

#[test]
fn a_gang_starts_when_both_its_replicas_have_room_on_one_node() {
    // a start was promised for when the first had room there; then the node was left for another, and that for the first again
    let ticks = [8, 1, 7, 11, 1, 7, 5, 3, 4, 11, 12, 11, 12];
    waits_at_the_head(&[4, 2], &ticks, true, &[(2, 2)]).unwrap();
}

proptest! {
    #![proptest_config(crate::config())]

    #[test]
    fn a_gang_at_the_head_of_its_line_waits_no_longer_than_the_longest_job_before_it(
        sizes in vec(1u16..=4, 1..=4),
        ticks in vec(1i64..=LONGEST, 1..=16),
        told in any::<bool>(),
        roles in vec((1i64..=4, 1u32..=4), 1..=2),
    ) {
        waits_at_the_head(&sizes, &ticks, told, &roles)?;
    }

    #[test]
    fn nobody_is_drained_of_a_model_of_which_others_have_more(
        // what two accounts hold of two models, and for which of them the poorer asks
        rich in (0u16..=6, 0u16..=6),
        poor in (0u16..=6, 0u16..=6),
        asked in 0u32..2,
        wants in 1usize..=6,
    ) {
        let has = [rich, poor];
        let by_model = |model: usize| has.map(|(first, second)| if model == 0 { first } else { second });
        let sizes: Vec<u16> = (0..2).map(|model| by_model(model).iter().sum()).collect();
        prop_assume!(sizes.iter().all(|size| *size > 0));
        let mut s = Snapshot {
            now: 100_000_000,
            models: 2,
            nodes: vec![node(sizes[0], 0), node(sizes[1], 1)],
            accounts: vec![Account::default(), Account::default()],
            settings: Settings { protection_ms: 0, ..Settings::default() },
            ..Snapshot::default()
        };
        for model in 0..2u16 {
            let mut device = 0;
            for (account, count) in by_model(usize::from(model)).into_iter().enumerate() {
                for _ in 0..count {
                    let ix = JobIx::of(s.jobs.len());
                    s.jobs.push(job(account, 1_000_000, 1, 1, &[u32::from(model)]));
                    let each = s.jobs[ix.at()].request.roles[0].each;
                    s.holdings.push(Holding {
                        job: ix, role: 0, replica: 0, node: NodeIx(u32::from(model)), each,
                        gpus: vec![(device, WHOLE_GPU)], started: 1_000_000, going: false,
                    });
                    device += 1;
                }
            }
        }
        for account in [0, 1] {
            for _ in 0..wants {
                s.jobs.push(job(account, 100_000_000, 1, 1, &[asked]));
            }
        }
        let held = |s: &Snapshot, account: usize| {
            s.holdings.iter().filter(|h| h.node.0 == asked && s.jobs[h.job.at()].account.at() == account).count()
        };
        let before = [held(&s, 0), held(&s, 1)];
        let plan = decide(&s).unwrap();
        audit(&s, &plan);
        let mut lost = [0usize; 2];
        for revocation in &plan.revocations {
            prop_assert_eq!(revocation.cause, RevokeCause::FairShare);
            lost[s.jobs[revocation.job.at()].account.at()] += 1;
        }
        for (loser, other) in [(0, 1), (1, 0)] {
            let after = before[loser] - lost[loser];
            prop_assert!(
                lost[loser] == 0 || after + 1 >= before[other] + lost[loser],
                "{before:?} of the model that both ask for, {lost:?} lost"
            );
            // who has no less of either, and more of this by two jobs, gives
            let no_less = has[loser].0 >= has[other].0 && has[loser].1 >= has[other].1;
            if no_less && before[loser] > before[other] + 1 {
                prop_assert!(lost[loser] > 0, "{before:?} of the model, {has:?} of both, and nothing is shared");
            }
        }
    }

    #[test]
    fn nobody_takes_twice_for_one_event(
        sizes in vec(1u16..=4, 1..=3),
        promised in vec(0i64..=3, 3),
        jobs in vec((0usize..3, 1i64..=2, 1u32..=2), 1..=24),
    ) {
        let account = |gpus: &i64| Account {
            guaranteed: Amounts { gpu: Some(gpus * WHOLE_GPU), ..Amounts::default() },
            ..Account::default()
        };
        let start = Snapshot {
            models: 1,
            nodes: sizes.iter().map(|gpus| node(*gpus, 0)).collect(),
            accounts: promised.iter().map(account).collect(),
            settings: Settings { protection_ms: 0, consolidate: false, ..Settings::default() },
            ..Snapshot::default()
        };
        let jobs: Vec<Job> = jobs.into_iter().map(|(account, gpus, n)| job(account, 0, gpus, n, &[])).collect();
        let count = jobs.len();
        let mut sim = crate::sim::Sim::new(&crate::cases::Case { start, jobs, events: Vec::new() });
        for _ in 0..count {
            sim.happen(&crate::cases::Event::Submit);
            let mut took = std::collections::BTreeSet::new();
            // who was revoked goes only after a while
            for round in 0..12 {
                sim.decide();
                audit(&sim.snapshot, &sim.plan);
                let takers: std::collections::BTreeSet<_> =
                    sim.plan.revocations.iter().filter_map(|r| r.beneficiary).collect();
                for taker in takers {
                    prop_assert!(took.insert(taker), "{taker:?} takes again: {:?}", sim.plan.revocations);
                }
                sim.carry_out(false);
                if round % 3 == 2 {
                    sim.snapshot.holdings.retain(|held| !held.going);
                }
            }
        }
    }
}
