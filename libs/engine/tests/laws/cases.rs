//! Random worlds: clusters, account trees, jobs, and what happens to them.

use std::sync::Arc;

use crater_engine::{
    Account, AccountIx, Amounts, Backfill, Class, Extended, ExtendedIx, Job, KeyIx, ModelIx, Node, Placing,
    Preemptible, Queueing, Request, Role, Settings, Shape, Snapshot, Topology, User, UserIx, ValueIx,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

pub const GI: i64 = 1 << 30;
pub const RACK: KeyIx = KeyIx(0);

/// Something that happens between two cycles.
#[derive(Clone, Debug)]
pub enum Event {
    /// The next job is submitted.
    Submit,
    /// The n-th job that runs ends.
    Finish(usize),
    /// What is going is gone.
    Release,
    /// The n-th node opens, or closes.
    Toggle(usize),
    /// The n-th replica dies.
    Die(usize),
    /// A while passes.
    Wait(i64),
}

/// A world and its story.
#[derive(Clone, Debug)]
pub struct Case {
    pub start: Snapshot,
    pub jobs: Vec<Job>,
    pub events: Vec<Event>,
}

fn node() -> impl Strategy<Value = Node> {
    let extended = option::weighted(0.3, (0u32..2, 1u32..=4));
    (0u16..=4, 0u32..2, 4i64..=16, 0u32..3, extended).prop_map(|(gpus, model, cpu, rack, extended)| Node {
        extended: extended.map(|(name, count)| (ExtendedIx(name), count)).into_iter().collect(),
        cpu: cpu * 1000,
        memory: 64 * GI,
        gpus,
        model: (gpus > 0).then_some(ModelIx(model)),
        open: true,
        labels: vec![(RACK, ValueIx(rack)), (KeyIx(1), ValueIx(9))],
        ..Node::default()
    })
}

fn amounts(most: i64) -> impl Strategy<Value = Amounts> {
    (option::of(0..=most), option::weighted(0.2, 0i64..=3)).prop_map(|(gpu, named)| Amounts {
        gpu: gpu.map(|gpu| gpu * 1000),
        extended: named.map(|count| (ExtendedIx(0), count)).into_iter().collect(),
        ..Amounts::default()
    })
}

fn limits(most: i64) -> impl Strategy<Value = Amounts> {
    (amounts(most), option::weighted(0.3, 0i64..=4)).prop_map(|(amounts, jobs)| Amounts { jobs, ..amounts })
}

fn account(index: usize) -> impl Strategy<Value = Account> {
    (option::of(0..index.max(1)), 1i64..=2, amounts(3), limits(6)).prop_map(
        move |(parent, weight, guaranteed, limit)| {
            let parent = parent.filter(|_| index > 0).map(AccountIx::of);
            Account { parent, weight, guaranteed, limit }
        },
    )
}

fn shape() -> impl Strategy<Value = Shape> {
    let gpu = prop_oneof![
        2 => Just(0), 1 => Just(250), 1 => Just(500), 4 => Just(1000), 2 => Just(2000), 1 => Just(4000)
    ];
    let extended = option::weighted(0.15, (0u32..2, 1u32..=2));
    (gpu, 0i64..=3, extended).prop_map(|(gpu, cpu, extended)| Shape {
        gpu,
        cpu: cpu * 1000 + 100,
        memory: GI,
        extended: Extended::new(extended.map(|(name, count)| (ExtendedIx(name), count))).unwrap(),
    })
}

fn role() -> impl Strategy<Value = Role> {
    (shape(), 1u32..=4, 1u32..=4).prop_map(|(each, a, b)| Role { each, replicas: a.max(b), min: a.min(b) })
}

fn request() -> impl Strategy<Value = Request> {
    let topology = option::weighted(0.2, any::<bool>());
    (vec(role(), 1..=2), option::weighted(0.3, 0u32..2), option::weighted(0.1, 0u32..3), topology).prop_map(
        |(roles, model, rack, topology)| Request {
            roles,
            models: model.map(ModelIx).into_iter().collect(),
            selector: rack.map(|rack| (RACK, ValueIx(rack))).into_iter().collect(),
            topology: topology.map(|required| Topology { key: RACK, required }),
        },
    )
}

fn job(accounts: usize) -> impl Strategy<Value = Job> {
    let class = prop_oneof![3 => Just(Class::Guaranteed), 1 => Just(Class::BestEffort)];
    let preemptible = prop_oneof![4 => Just(Preemptible::WhenBorrowing), 2 => Just(Preemptible::Always), 1 => Just(Preemptible::Never)];
    let length = || option::weighted(0.4, 1_000i64..600_000);
    // at times more than any quantum
    let served = prop_oneof![2 => Just(0), 1 => 0i64..20_000_000_000];
    let times = (length(), length(), served);
    (0..accounts, option::weighted(0.3, Just(())), class, -1i32..=1, preemptible, times, request()).prop_map(
        |(account, user, class, priority, preemptible, (expected_ms, predicted_ms, served), request)| Job {
            account: AccountIx::of(account),
            // one user an account
            user: user.map(|()| UserIx::of(account)),
            class,
            priority,
            submitted: 0,
            queued_since: 0,
            expected_ms,
            predicted_ms,
            served,
            preemptible,
            request: Arc::new(request),
            ..Job::default()
        },
    )
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => Just(Event::Submit),
        2 => (0usize..20).prop_map(Event::Finish),
        3 => Just(Event::Release),
        1 => (0usize..6).prop_map(Event::Toggle),
        1 => (0usize..20).prop_map(Event::Die),
        2 => (0i64..120_000).prop_map(Event::Wait),
    ]
}

fn settings() -> impl Strategy<Value = Settings> {
    let order =
        prop_oneof![Just(Queueing::Priority), Just(Queueing::Fifo), Just(Queueing::Sjf), Just(Queueing::Las)];
    let placement = prop_oneof![
        2 => Just(Placing::Pack), 1 => Just(Placing::BestFit), 1 => Just(Placing::Spread),
        1 => Just(Placing::Fragmentation), 1 => Just(Placing::Crater)
    ];
    let backfill =
        prop_oneof![2 => Just(Backfill::Easy), 2 => Just(Backfill::Conservative), 1 => Just(Backfill::None)];
    let half_life = prop_oneof![2 => Just(0), 1 => Just(60_000), 1 => Just(3_600_000)];
    let settings = (any::<bool>(), order, placement, backfill, half_life);
    settings.prop_map(|(protect, order, placement, backfill, half_life_ms)| Settings {
        protection_ms: if protect { 60_000 } else { 0 },
        order,
        placement,
        backfill,
        half_life_ms,
        ..Settings::default()
    })
}

fn accounts(count: usize) -> impl Strategy<Value = Vec<Account>> {
    (0..count).map(account).collect::<Vec<_>>()
}

/// A world of up to 6 nodes, 4 accounts with a user each, and some 20 jobs.
pub fn case() -> impl Strategy<Value = Case> {
    (1usize..=4)
        .prop_flat_map(|n| {
            let users = vec((amounts(2), limits(4)), n);
            (vec(node(), 1..=6), accounts(n), users, vec(job(n), 1..=20), vec(event(), 5..=50), settings())
        })
        .prop_map(|(nodes, accounts, users, jobs, events, settings)| {
            let users = users.into_iter().enumerate().map(|(account, (guaranteed, limit))| User {
                account: AccountIx::of(account),
                guaranteed,
                limit,
            });
            let start = Snapshot {
                models: 2,
                extended: 2,
                nodes,
                accounts,
                users: users.collect(),
                settings,
                ..Snapshot::default()
            };
            Case { start, jobs, events }
        })
}
