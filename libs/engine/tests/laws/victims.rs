//! Who loses what so that one job starts, beside the best of all sets that there are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crater_engine::{
    Account, AccountIx, Amounts, Class, Holding, Job, JobIx, ModelIx, Node, NodeIx, Plan, Preemptible,
    Request, Role, Settings, Shape, Snapshot, WHOLE_GPU, decide,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::audit::audit;
use crate::cases::GI;

const NOW: i64 = 100_000_000;
/// Who asks, and is promised everything.
const OWNER: AccountIx = AccountIx(0);
const MOST: usize = 12;

/// One job that runs, before it is known where.
#[derive(Clone, Debug)]
struct Running {
    account: u32,
    best_effort: bool,
    priority: i32,
    gpus: i64,
    cores: i64,
    replicas: u32,
    min: u32,
    ran: i64,
    checkpoint: Option<i64>,
    node: usize,
}

/// What runs: for the owner or a guest, in gangs of which some are elastic.
fn running() -> impl Strategy<Value = Running> {
    let kind = (0u32..2, any::<bool>(), -1i32..=0);
    let size = (1i64..=4, 1i64..=4, 1u32..=3, 1u32..=3);
    let past = (0i64..90_000_000, option::weighted(0.4, 0i64..90_000_000));
    (kind, size, past, 0usize..4).prop_map(|(kind, (gpus, cores, a, b), (ran, checkpoint), node)| {
        let (account, best_effort, priority) = kind;
        let (replicas, min) = (a.max(b), a.min(b));
        Running { account, best_effort, priority, gpus, cores, replicas, min, ran, checkpoint, node }
    })
}

fn request(gpus: i64, cores: i64, replicas: u32, min: u32) -> Arc<Request> {
    let each = Shape { cpu: cores * 1000, memory: GI, gpu: gpus * WHOLE_GPU, ..Shape::default() };
    Arc::new(Request { roles: vec![Role { each, replicas, min }], ..Request::default() })
}

/// What can be taken only together: replicas of a job.
#[derive(Clone, Debug)]
struct Piece {
    job: JobIx,
    gang: bool,
    replicas: Vec<u32>,
}

/// A world in which one gang with a right to everything waits, and the pieces of what runs.
fn world(nodes: &[(u16, i64)], jobs: &[Running], gang: (i64, i64, u32)) -> (Snapshot, Vec<Piece>) {
    let node = |(gpus, cores): &(u16, i64)| Node {
        cpu: cores * 1000,
        memory: 256 * GI,
        gpus: *gpus,
        model: Some(ModelIx(0)),
        open: true,
        ..Node::default()
    };
    let promised = Amounts { gpu: Some(64 * WHOLE_GPU), ..Amounts::default() };
    let guest =
        || Account { guaranteed: Amounts { gpu: Some(0), ..Amounts::default() }, ..Account::default() };
    let mut s = Snapshot {
        now: NOW,
        models: 1,
        nodes: nodes.iter().map(node).collect(),
        accounts: vec![Account { guaranteed: promised, ..Account::default() }, guest(), guest()],
        settings: Settings { protection_ms: 0, consolidate: false, ..Settings::default() },
        ..Snapshot::default()
    };
    let mut pieces: Vec<Piece> = Vec::new();
    let mut free: Vec<(BTreeSet<u16>, i64)> =
        nodes.iter().map(|(gpus, cores)| ((0..*gpus).collect(), *cores)).collect();
    for one in jobs {
        let before = free.clone();
        let ix = JobIx::of(s.jobs.len());
        let mut held = Vec::new();
        let request = request(one.gpus, one.cores, one.replicas, one.min);
        for replica in 0..one.replicas {
            let at = (0..nodes.len()).map(|n| (n + one.node + replica as usize) % nodes.len());
            let mut fits = at.filter(|n| {
                free[*n].0.len() >= usize::try_from(one.gpus).unwrap() && free[*n].1 >= one.cores
            });
            let Some(at) = fits.next() else { break };
            free[at].1 -= one.cores;
            let gpus = (0..one.gpus).map(|_| (free[at].0.pop_first().unwrap(), WHOLE_GPU)).collect();
            held.push(Holding {
                job: ix,
                role: 0,
                replica,
                node: NodeIx::of(at),
                each: request.roles[0].each,
                gpus,
                started: NOW - one.ran,
                going: false,
            });
        }
        let whole = held.len() >= one.min as usize;
        if !whole || pieces.len() + 1 + held.len() - one.min as usize > MOST {
            free = before;
            continue;
        }
        pieces.push(Piece { job: ix, gang: true, replicas: (0..one.min).collect() });
        let above = one.min..u32::try_from(held.len()).unwrap();
        pieces.extend(above.map(|replica| Piece { job: ix, gang: false, replicas: vec![replica] }));
        s.holdings.extend(held);
        s.jobs.push(Job {
            account: AccountIx(one.account),
            class: if one.best_effort { Class::BestEffort } else { Class::Guaranteed },
            priority: one.priority,
            submitted: NOW - one.ran,
            queued_since: NOW - one.ran,
            checkpointed: one.checkpoint.map(|ago| NOW - ago),
            preemptible: Preemptible::Always,
            request,
            ..Job::default()
        });
        // it wants no more than it has, so that nobody else has a turn
        let job = s.jobs.last_mut().unwrap();
        // who outranks another would only take its place next
        job.priority = if one.account == 0 && !one.best_effort { one.priority } else { 0 };
        let role = Role {
            replicas: u32::try_from(s.holdings.iter().filter(|h| h.job == ix).count()).unwrap(),
            ..job.request.roles[0].clone()
        };
        job.request = Arc::new(Request { roles: vec![role], ..Request::default() });
    }
    s.jobs.push(Job {
        account: OWNER,
        submitted: NOW,
        queued_since: NOW,
        preemptible: Preemptible::Always,
        request: request(gang.0, gang.1, gang.2, gang.2),
        ..Job::default()
    });
    (s, pieces)
}

/// How heavy it is to take a job's work, the lightest first; `None`: it may not be taken.
fn class(s: &Snapshot, job: JobIx) -> Option<u8> {
    let of = &s.jobs[job.at()];
    match (of.class, of.account == OWNER) {
        (Class::BestEffort, _) => Some(0),
        (_, false) => Some(1),
        (_, true) if of.priority < 0 => Some(2),
        _ => None,
    }
}

/// GPU time since a replica started, or since its job last wrote a checkpoint.
fn lost(s: &Snapshot, held: &Holding) -> i128 {
    let since = s.jobs[held.job.at()].checkpointed.map_or(held.started, |at| at.max(held.started));
    i128::from(s.now - since) * i128::from(held.each.gpu)
}

type Replica = (JobIx, u32);

/// The heaviest loss, gangs after what is above them, and the work.
type Toll = ((u8, bool), i128);

fn toll(s: &Snapshot, gone: &BTreeSet<Replica>) -> Toll {
    let held = s.holdings.iter().filter(|held| gone.contains(&(held.job, held.replica)));
    let toll = |held: &Holding| {
        let gang = gone
            .iter()
            .any(|(job, replica)| *job == held.job && *replica < s.jobs[job.at()].request.roles[0].min);
        ((class(s, held.job).unwrap(), gang), lost(s, held))
    };
    held.map(toll).fold(((0, false), 0), |all, one| (all.0.max(one.0), all.1 + one.1))
}

/// Is there room for the gang once these are gone?
fn suffices(s: &Snapshot, gone: &BTreeSet<Replica>) -> bool {
    let role = &s.jobs.last().unwrap().request.roles[0];
    let mut free: Vec<(i64, i64)> =
        s.nodes.iter().map(|node| (i64::from(node.gpus) * WHOLE_GPU, node.cpu)).collect();
    for held in s.holdings.iter().filter(|held| !gone.contains(&(held.job, held.replica))) {
        free[held.node.at()].0 -= held.each.gpu;
        free[held.node.at()].1 -= held.each.cpu;
    }
    let fit = free.iter().map(|(gpu, cpu)| (gpu / role.each.gpu).min(cpu / role.each.cpu));
    fit.sum::<i64>() >= i64::from(role.replicas)
}

/// The least that any set of pieces costs: whole gangs, and what is above them.
fn optimum(s: &Snapshot, pieces: &[Piece]) -> Option<Toll> {
    let mut best = None;
    let mut whole: BTreeMap<JobIx, u32> = BTreeMap::new();
    for (bit, piece) in pieces.iter().enumerate() {
        *whole.entry(piece.job).or_default() |= 1 << bit;
    }
    for set in 0u32..1 << pieces.len() {
        let chosen = || pieces.iter().enumerate().filter(|(bit, _)| set & (1 << bit) != 0);
        let allowed = chosen().all(|(_, piece)| {
            class(s, piece.job).is_some() && (!piece.gang || set & whole[&piece.job] == whole[&piece.job])
        });
        if !allowed {
            continue;
        }
        let gone: BTreeSet<Replica> =
            chosen().flat_map(|(_, p)| p.replicas.iter().map(|replica| (p.job, *replica))).collect();
        let cost = toll(s, &gone);
        if best.is_none_or(|best| cost < best) && suffices(s, &gone) {
            best = Some(cost);
        }
    }
    best
}

fn gone(plan: &Plan) -> BTreeSet<Replica> {
    let replicas = plan.revocations.iter().map(|r| (r.job, &r.replicas));
    replicas.flat_map(|(job, all)| all.iter().map(move |one| (job, one.replica))).collect()
}

#[allow(clippy::disallowed_methods)]
fn thousands() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(2000);
    ProptestConfig { cases, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(thousands())]

    #[test]
    fn victims_lose_at_most_a_fifth_more_work_than_the_best_of_all_sets(
        nodes in vec((1u16..=4, 4i64..=12), 1..=5),
        jobs in vec(running(), 1..=12),
        gang in (1i64..=4, 1i64..=4, 1u32..=4),
    ) {
        let (s, pieces) = world(&nodes, &jobs, gang);
        let plan = decide(&s).unwrap();
        audit(&s, &plan);
        let beneficiary = JobIx::of(s.jobs.len() - 1);
        let gone = gone(&plan);
        let starts = plan.grants.iter().any(|grant| grant.job == beneficiary)
            || plan.holds.iter().any(|hold| hold.job == beneficiary);
        let Some((worst, least)) = optimum(&s, &pieces) else {
            prop_assert!(!starts && gone.is_empty(), "{:?} though no set suffices", plan.revocations);
            return Ok(());
        };
        prop_assert!(starts, "it waits, though {:?} suffices", (worst, least));
        let has = toll(&s, &gone);
        prop_assert!(has.0 == worst && has.1 * 5 <= least * 6, "{:?} is lost, {:?} would do", has, (worst, least));
        for spared in pieces.iter().filter(|piece| gone.contains(&(piece.job, piece.replicas[0]))) {
            // a gang cannot stay without itself, and what is above it goes along
            let with_gang = !spared.gang
                && pieces.iter().any(|p| p.gang && p.job == spared.job && gone.contains(&(p.job, p.replicas[0])));
            let mut fewer = gone.clone();
            spared.replicas.iter().for_each(|replica| { fewer.remove(&(spared.job, *replica)); });
            prop_assert!(with_gang || !suffices(&s, &fewer), "{:?} could be spared", spared);
        }
    }
}
