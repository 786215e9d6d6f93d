//! Clusters and queues of the shapes that schedulers are measured by.

use std::sync::Arc;

use crater_engine::{
    Account, AccountIx, Amounts, Change, Engine, Holding, Job, JobIx, ModelIx, Node, NodeIx, Plan,
    Preemptible, Request, Role, Shape, Snapshot,
};

const GI: i64 = 1 << 30;
const ACCOUNTS: u32 = 200;

/// A world without jobs: `nodes` of 8 GPUs in two models, and `accounts` that are promised `gpus` each.
fn cluster(nodes: u32, accounts: u32, gpus: Option<i64>) -> Snapshot {
    let node = |n: u32| Node {
        cpu: 128_000,
        memory: 1024 * GI,
        gpus: 8,
        model: Some(ModelIx(n % 2)),
        open: true,
        ..Node::default()
    };
    let account = |_| Account {
        guaranteed: Amounts { gpu: gpus.map(|gpus| gpus * 1000), ..Amounts::default() },
        ..Account::default()
    };
    Snapshot {
        now: 100_000_000,
        models: 2,
        nodes: (0..nodes).map(node).collect(),
        accounts: (0..accounts).map(account).collect(),
        ..Snapshot::default()
    }
}

/// Requests of these sizes (milli-GPU, replicas), each in so many sizes of cpu that there are 600 or more.
fn requests(sizes: &[(i64, u32)]) -> Vec<Arc<Request>> {
    let each = 600 / i64::try_from(sizes.len()).unwrap().min(4);
    let cpus = (0..each).map(|n| 500 + n * 3000 / each);
    let each = |cpu| sizes.iter().map(move |(gpu, replicas)| (cpu, *gpu, *replicas));
    let request = |(cpu, gpu, replicas)| {
        let each = Shape { cpu, memory: 4 * GI, gpu, ..Shape::default() };
        Arc::new(Request { roles: vec![Role { each, replicas, min: replicas }], ..Request::default() })
    };
    cpus.flat_map(each).map(request).collect()
}

/// One of these, so that sizes, accounts and priorities mix.
fn pick(requests: &[Arc<Request>], n: u32) -> &Arc<Request> {
    &requests[(n.wrapping_mul(2_654_435_761) >> 8) as usize % requests.len()]
}

fn job(account: u32, n: u32, request: &Arc<Request>) -> Job {
    Job {
        account: AccountIx(account),
        priority: i32::try_from(n / 7 % 3).unwrap(),
        submitted: i64::from(n),
        queued_since: i64::from(n),
        expected_ms: Some(3_600_000 + i64::from(n % 1000) * 60_000),
        request: request.clone(),
        ..Job::default()
    }
}

/// 5,000 empty nodes, and 50,000 jobs of one replica that all find a place.
pub fn empty() -> Snapshot {
    let mut s = cluster(5000, ACCOUNTS, None);
    let requests = requests(&[(1000, 1), (500, 1), (250, 1), (0, 1)]);
    s.jobs = (0..50_000).map(|n| job(n * 13 % ACCOUNTS, n, pick(&requests, n))).collect();
    s
}

/// `nodes` nodes on which jobs of 1 to 8 GPUs hold everything, with `waiting` more.
pub fn full(nodes: u32, waiting: u32) -> Snapshot {
    let mut s = cluster(nodes, ACCOUNTS, None);
    let running = requests(&[(1000, 1), (2000, 1), (4000, 1), (8000, 1)]);
    let mut pieces: Vec<(usize, u32, u16)> = Vec::new();
    for node in 0..nodes {
        let sizes: &[usize] = [[3].as_slice(), &[2, 2], &[2, 1, 0, 0], &[1, 1, 1, 1]][node as usize / 2 % 4];
        let mut device = 0;
        for size in sizes {
            pieces.push((*size, node, device));
            device += 1 << size;
        }
    }
    // the largest first, each to who has least of its model: nobody has less than others by more than a job
    pieces.sort_by_key(|(size, _, _)| std::cmp::Reverse(*size));
    let mut used = vec![vec![0; ACCOUNTS as usize]; 2];
    for ((size, node, device), n) in pieces.into_iter().zip(0u32..) {
        let request = &running[(n as usize % 150) * 4 + size];
        let each = request.roles[0].each;
        let used = &mut used[node as usize % 2];
        let poorest = (0..ACCOUNTS as usize).min_by_key(|account| used[*account]).unwrap();
        used[poorest] += each.gpu;
        let ix = JobIx::of(s.jobs.len());
        // and nobody outranks who runs
        s.jobs.push(Job { priority: 2, ..job(u32::try_from(poorest).unwrap(), n, request) });
        s.holdings.push(Holding {
            job: ix,
            role: 0,
            replica: 0,
            node: NodeIx(node),
            each,
            gpus: (device..device + (1 << size)).map(|device| (device, 1000)).collect(),
            started: 90_000_000 + i64::from(n) * 10,
            going: false,
        });
    }
    let requests = requests(&[(1000, 1), (2000, 1), (4000, 1), (8000, 1), (8000, 2), (1000, 4)]);
    s.jobs.extend((0..waiting).map(|n| job(n * 13 % ACCOUNTS, 1_000_000 + n, pick(&requests, n))));
    s
}

/// 500 nodes held by 4,000 jobs of one GPU that borrow, and 4,000 more with a right to all.
pub fn reclaim() -> Snapshot {
    let mut s = cluster(500, ACCOUNTS, None);
    for account in &mut s.accounts[100..] {
        account.guaranteed.gpu = Some(40_000);
    }
    let requests = requests(&[(1000, 1)]);
    for n in 0..8000u32 {
        let request = pick(&requests, n);
        let ix = JobIx::of(s.jobs.len());
        s.jobs.push(job(n % 100 + if n < 4000 { 0 } else { 100 }, n, request));
        if n < 4000 {
            s.holdings.push(Holding {
                job: ix,
                role: 0,
                replica: 0,
                node: NodeIx(n / 8),
                each: request.roles[0].each,
                gpus: vec![(u16::try_from(n % 8).unwrap(), 1000)],
                started: 90_000_000 + i64::from(n * 37 % 4000),
                going: false,
            });
        }
    }
    s
}

/// 1,000 full nodes, ten accounts, 320,000 jobs waiting.
pub fn armada() -> Snapshot {
    let mut s = full(1000, 0);
    s.accounts.truncate(10);
    s.jobs.iter_mut().for_each(|job| job.account.0 %= 10);
    let requests = requests(&[(1000, 1), (2000, 1), (4000, 1), (8000, 1)]);
    s.jobs.extend((0..320_000).map(|n| job(n % 10, 1_000_000 + n, pick(&requests, n))));
    s
}

/// 10,000 nodes of which 900 are free, and one gang of 1,000.
pub fn gang() -> Snapshot {
    let mut s = full(10_000, 0);
    s.holdings.retain(|held| held.node.0 >= 900);
    let held: std::collections::BTreeSet<JobIx> = s.holdings.iter().map(|held| held.job).collect();
    for (ix, job) in s.jobs.iter_mut().enumerate() {
        job.closed = !held.contains(&JobIx::of(ix));
        job.preemptible = Preemptible::Never;
    }
    s
}

/// The gang of [`gang`].
pub fn thousand() -> Job {
    let each = Shape { cpu: 64_000, memory: 512 * GI, gpu: 8000, ..Shape::default() };
    let request = Request { roles: vec![Role { each, replicas: 1000, min: 1000 }], ..Request::default() };
    job(0, 2_000_000, &Arc::new(request))
}

/// What carrying a plan out changes: what is taken back is gone at once.
pub fn carry_out(s: &Snapshot, plan: &Plan) -> Vec<Change> {
    let mut changes = vec![Change::Holds(plan.holds.clone())];
    for revocation in &plan.revocations {
        let gone = |r: &crater_engine::RevokedReplica| (r.role, r.replica);
        for (role, replica) in revocation.replicas.iter().map(gone) {
            changes.push(Change::Released { job: revocation.job, role, replica });
        }
    }
    for grant in &plan.grants {
        for place in &grant.placements {
            changes.push(Change::Held(Holding {
                job: grant.job,
                role: place.role,
                replica: place.replica,
                node: place.node,
                each: s.jobs[grant.job.at()].request.roles[usize::from(place.role)].each,
                gpus: place.gpus.clone(),
                started: s.now,
                going: false,
            }));
        }
    }
    changes
}

/// Cycles until nothing moves, and no more than so many.
pub fn rest(engine: &mut Engine) {
    for _ in 0..100 {
        let plan = engine.decide();
        if plan.grants.is_empty() && plan.revocations.is_empty() && plan.holds.is_empty() {
            return;
        }
        let s = engine.snapshot();
        let mut changes = carry_out(&s, &plan);
        changes.push(Change::Time { now: s.now + 100_000, cycle: s.cycle + 1 });
        engine.apply(changes).unwrap();
    }
    panic!("it does not come to rest");
}

/// An engine for a world in which nothing moves any more.
pub fn at_rest(s: Snapshot) -> Engine {
    let mut engine = Engine::new(s).unwrap();
    rest(&mut engine);
    engine
}

/// A job that runs ends.
pub fn end(s: &Snapshot, job: JobIx) -> Vec<Change> {
    let held = s.holdings.iter().filter(|held| held.job == job);
    let mut changes: Vec<Change> =
        held.map(|held| Change::Released { job, role: held.role, replica: held.replica }).collect();
    changes.push(Change::Gone(job));
    changes
}
