//! Replicas that want to be near each other: the smallest domain that holds a gang, and the fewest parts of it, whatever the placement policy.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crater_engine::{
    Account, AccountIx, Holding, Job, JobIx, KeyIx, ModelIx, Node, NodeIx, Placement, Placing, Reason,
    Request, Role, Settings, Shape, Snapshot, Topology, ValueIx, decide,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

const ZONE: KeyIx = KeyIx(3);
const RACK: KeyIx = KeyIx(1);
const ISLAND: KeyIx = KeyIx(2);
const HOST: KeyIx = KeyIx(0);
/// The coarsest first.
const LEVELS: [KeyIx; 3] = [ZONE, RACK, ISLAND];

const POLICIES: [Placing; 5] =
    [Placing::Pack, Placing::BestFit, Placing::Spread, Placing::Fragmentation, Placing::Crater];

/// `place`: zone, rack in it and island in that, each as far as the node says it.
fn node(gpus: u16, place: &[u32]) -> Node {
    let mut within = 0;
    let labels = LEVELS.iter().zip(place).map(|(key, at)| {
        within = within * 8 + at + 1;
        (*key, ValueIx(within))
    });
    Node {
        cpu: 64_000,
        memory: 1 << 40,
        gpus,
        model: (gpus > 0).then_some(ModelIx(0)),
        open: true,
        labels: labels.collect(),
        ..Node::default()
    }
}

fn role(gpu: i64, cpu: i64, replicas: u32, min: u32) -> Role {
    Role { each: Shape { cpu, memory: 1, gpu, ..Shape::default() }, replicas, min }
}

fn job(roles: Vec<Role>, key: KeyIx, required: bool) -> Job {
    let topology = Some(Topology { key, required });
    let request = Arc::new(Request { roles, topology, ..Request::default() });
    Job { account: AccountIx(0), request, ..Job::default() }
}

fn world(placement: Placing, nodes: &[Node], job: Job) -> Snapshot {
    Snapshot {
        models: 1,
        settings: Settings { placement, ..Settings::default() },
        nodes: nodes.to_vec(),
        accounts: vec![Account::default()],
        jobs: vec![job],
        ..Snapshot::default()
    }
}

fn placed(placement: Placing, nodes: &[Node], job: Job) -> Vec<Placement> {
    let grants = decide(&world(placement, nodes, job)).unwrap().grants;
    grants.into_iter().flat_map(|grant| grant.placements).collect()
}

/// On which nodes, each once.
fn on(placement: Placing, nodes: &[Node], job: Job) -> Vec<u32> {
    let nodes: BTreeSet<u32> = placed(placement, nodes, job).iter().map(|place| place.node.0).collect();
    nodes.into_iter().collect()
}

fn value(node: &Node, key: KeyIx) -> Option<ValueIx> {
    node.labels.iter().find(|(of, _)| *of == key).map(|(_, value)| *value)
}

/// The nodes by what they are at a level: in a domain, or by themselves.
fn pieces(nodes: &[usize], all: &[Node], level: usize) -> Vec<Vec<usize>> {
    let mut pieces: BTreeMap<(Option<ValueIx>, usize), Vec<usize>> = BTreeMap::new();
    for at in nodes {
        let value = LEVELS.get(level).and_then(|key| value(&all[*at], *key));
        pieces.entry((value, if value.is_some() { 0 } else { *at })).or_default().push(*at);
    }
    pieces.into_values().collect()
}

/// How many GPUs each node has free, and the shape of each replica: is there a place for all of them?
fn holds(free: &mut [i64], replicas: &[i64], from: usize) -> bool {
    let Some((each, rest)) = replicas.split_first() else { return true };
    (from..free.len()).any(|at| {
        let fits = free[at] >= *each;
        if fits {
            free[at] -= each;
        }
        let next = if rest.first() == Some(each) { at } else { 0 };
        let held = fits && holds(free, rest, next);
        if fits {
            free[at] += each;
        }
        held
    })
}

fn hold(nodes: &[usize], all: &[Node], replicas: &[i64]) -> bool {
    let mut free: Vec<i64> = nodes.iter().map(|at| i64::from(all[*at].gpus) * 1000).collect();
    free.iter().sum::<i64>() >= replicas.iter().sum() && holds(&mut free, replicas, 0)
}

/// The fewest pieces at a level that hold so many equal replicas.
fn fewest(nodes: &[usize], all: &[Node], level: usize, (each, count): (i64, i64)) -> usize {
    let capacity = |piece: &Vec<usize>| piece.iter().map(|at| i64::from(all[*at].gpus) * 1000 / each).sum();
    let mut capacities: Vec<i64> = pieces(nodes, all, level).iter().map(capacity).collect();
    capacities.sort_unstable_by(|a, b| b.cmp(a));
    let mut left = count;
    let taken = capacities.into_iter().take_while(|capacity| {
        let more = left > 0;
        left -= capacity;
        more
    });
    taken.count()
}

/// Checks where a gang went against every way in which it could have gone.
fn check(placement: Placing, all: &[Node], roles: &[(i64, u32)], named: usize, required: bool) {
    let gang: Vec<Role> = roles.iter().map(|(gpu, count)| role(*gpu, 1, *count, *count)).collect();
    let mut replicas: Vec<i64> =
        roles.iter().flat_map(|(gpu, count)| std::iter::repeat_n(*gpu, *count as usize)).collect();
    replicas.sort_unstable_by(|a, b| b.cmp(a));
    let places = placed(placement, all, job(gang, LEVELS[named], required));
    let used: BTreeSet<usize> = places.iter().map(|place| place.node.at()).collect();
    let used: Vec<usize> = used.into_iter().collect();
    let everywhere: Vec<usize> = (0..all.len()).collect();
    let domains = |level: usize| {
        let there: Vec<usize> =
            everywhere.iter().copied().filter(|at| value(&all[*at], LEVELS[level]).is_some()).collect();
        pieces(&there, all, level)
    };
    let holding = |level: usize| {
        let holding = domains(level).into_iter().filter(|nodes| hold(nodes, all, &replicas));
        holding.collect::<Vec<_>>()
    };
    // the finest level that has a domain which holds it
    let smallest = (0..LEVELS.len()).rev().find(|level| !holding(*level).is_empty());
    let reach = smallest.filter(|level| !required || *level >= named);
    assert_eq!(!places.is_empty(), reach.is_some() || (!required && hold(&everywhere, all, &replicas)));
    // replicas are spread over nodes where that is asked for, though one holds all of them
    let alone = everywhere.iter().any(|at| hold(&[*at], all, &replicas));
    // nothing lies within what no node has
    let unknown = domains(named).is_empty();
    if places.is_empty() || unknown || (alone && placement == Placing::Spread) {
        return;
    }
    assert_eq!(places.len(), replicas.len());
    for (level, key) in
        LEVELS.iter().enumerate().filter(|(level, _)| reach.is_some_and(|reach| *level <= reach))
    {
        let values: BTreeSet<Option<ValueIx>> = used.iter().map(|at| value(&all[*at], *key)).collect();
        // one node is as near as it gets, whether or not it is labelled further
        let near = used.len() == 1 && level != named;
        assert!(near || (values.len() == 1 && !values.contains(&None)), "{values:?} at {level}: {places:?}");
    }
    if let [(each, count)] = *roles {
        let finer = reach.map_or(0, |level| level + 1);
        // nodes are not few where replicas are spread over them
        let nodes =
            used.iter().any(|at| LEVELS.get(finer).is_none_or(|key| value(&all[*at], *key).is_none()));
        if nodes && placement == Placing::Spread {
            return;
        }
        let inside = reach.map_or(vec![everywhere.clone()], holding);
        let fewest = inside.iter().map(|nodes| fewest(nodes, all, finer, (each, i64::from(count)))).min();
        assert_eq!(Some(pieces(&used, all, finer).len()), fewest, "at {finer}: {places:?} {named} {roles:?}");
    }
}

/// The same worlds in every run; where `PROPTEST_CASES` says how many, others each time.
#[allow(clippy::disallowed_methods)]
fn config() -> ProptestConfig {
    match std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()) {
        Some(cases) => ProptestConfig { cases, ..ProptestConfig::default() },
        None => ProptestConfig { cases: 1000, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() },
    }
}

prop_compose! {
    /// A node in some zone, rack and island, or in less of them.
    fn some_node()(gpus in 0u16..=4, place in vec(0u32..2, 0..=3), host in any::<bool>(), full in 0u8..4) -> (Node, bool) {
        let place = if full > 0 { vec![place.first().copied().unwrap_or(0), place.get(1).copied().unwrap_or(1), place.get(2).copied().unwrap_or(0)] } else { place };
        (node(gpus, &place), host)
    }
}

fn cluster(most: usize) -> impl Strategy<Value = Vec<Node>> {
    let named = |(at, (mut node, host)): (usize, (Node, bool))| {
        if host {
            node.labels.push((HOST, ValueIx(1000 + u32::try_from(at).unwrap())));
        }
        node
    };
    vec(some_node(), 1..=most).prop_map(move |nodes| nodes.into_iter().enumerate().map(named).collect())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_gang_goes_to_the_smallest_domain_that_holds_it_and_to_the_fewest_parts(
        nodes in cluster(24), gpu in 1i64..=3, count in 2u32..=12, named in 0usize..3, required in any::<bool>(), policy in 0usize..5
    ) {
        check(POLICIES[policy], &nodes, &[(gpu * 1000, count)], named, required);
    }

    #[test]
    fn a_gang_of_several_roles_shares_what_holds_all_of_it(
        nodes in cluster(10), a in (1i64..=3, 1u32..=3), b in (1i64..=3, 1u32..=3), named in 0usize..3, required in any::<bool>(), policy in 0usize..5
    ) {
        check(POLICIES[policy], &nodes, &[(a.0 * 1000, a.1), (b.0 * 1000, b.1)], named, required);
    }
}

proptest! {
    #![proptest_config(config())]

    /// Labels that contradict each other change no promise: who must share a value does, and who would like to starts wherever there is room.
    #[test]
    fn whatever_labels_say_a_gang_starts_if_and_only_if_it_may(
        rows in vec((0u16..=3, vec(option::weighted(0.7, 0u32..3), 4)), 1..9),
        roles in vec((1i64..=2, 1u32..=3), 1..3), key in 0u32..4, required in any::<bool>(), policy in 0usize..5
    ) {
        let label = |(key, value): (u32, &Option<u32>)| Some((KeyIx(key), ValueIx((*value)?)));
        let labels = |row: &Vec<Option<u32>>| (0..).zip(row).filter_map(label).collect();
        let nodes: Vec<Node> = rows.iter().map(|(gpus, row)| Node { labels: labels(row), ..node(*gpus, &[]) }).collect();
        let gang = roles.iter().map(|(gpu, count)| role(gpu * 1000, 1, *count, *count)).collect();
        let mut replicas: Vec<i64> =
            roles.iter().flat_map(|(gpu, count)| std::iter::repeat_n(gpu * 1000, *count as usize)).collect();
        replicas.sort_unstable_by(|a, b| b.cmp(a));
        if replicas.len() < 2 {
            // no gang
            return Ok(());
        }
        let places = placed(POLICIES[policy], &nodes, job(gang, KeyIx(key), required));
        let values: Vec<Option<ValueIx>> = nodes.iter().map(|node| value(node, KeyIx(key))).collect();
        let fits = |belongs: &dyn Fn(usize) -> bool| {
            let here: Vec<usize> = (0..nodes.len()).filter(|at| belongs(*at)).collect();
            hold(&here, &nodes, &replicas)
        };
        let may = if required {
            (0..3).any(|value| fits(&|at| values[at] == Some(ValueIx(value))))
        } else {
            fits(&|_| true)
        };
        prop_assert_eq!(places.len(), if may { replicas.len() } else { 0 });
        let used: BTreeSet<Option<ValueIx>> = places.iter().map(|place| values[place.node.at()]).collect();
        prop_assert!(!required || !may || (used.len() == 1 && !used.contains(&None)), "{:?}", places);
    }
}

#[test]
fn a_gang_goes_up_one_level_after_the_other() {
    // two racks of two nodes in each of two zones, and a node that is nowhere
    let mut nodes: Vec<Node> =
        [[0, 0], [0, 0], [0, 1], [0, 1], [1, 0], [1, 0], [1, 1], [1, 1]].map(|at| node(2, &at)).into();
    nodes.push(node(8, &[]));
    let gang = |count| job(vec![role(1000, 1, count, count)], RACK, false);
    for policy in POLICIES {
        assert_eq!(on(policy, &nodes, gang(4)), [0, 1], "{policy:?}");
        let zone = on(policy, &nodes, gang(6));
        assert!(zone.iter().all(|node| *node < 4), "{policy:?}: {zone:?}");
        assert_eq!(on(policy, &nodes, gang(7)), [0, 1, 2, 3], "{policy:?}");
        // one zone, and a node more
        assert_eq!(on(policy, &nodes, gang(9)).len(), 5, "{policy:?}");
        assert_eq!(on(policy, &nodes, gang(24)).len(), 9);
        assert!(on(policy, &nodes, gang(25)).is_empty());
        let bound = |count| job(vec![role(1000, 1, count, count)], RACK, true);
        assert!(on(policy, &nodes, bound(5)).is_empty());
        assert_eq!(on(policy, &nodes, bound(4)), [0, 1]);
    }
}

#[test]
fn a_gang_that_must_share_a_zone_takes_the_fewest_racks_of_it() {
    // what is freest by itself is in different racks
    let nodes = [
        node(3, &[0, 0]),
        node(3, &[0, 1]),
        node(2, &[0, 2]),
        node(2, &[0, 2]),
        node(8, &[1, 0]),
        node(1, &[0, 3]),
    ];
    let gang = |count| job(vec![role(1000, 1, count, count)], ZONE, true);
    for policy in POLICIES {
        assert_eq!(on(policy, &nodes[..4], gang(4)), [2, 3], "{policy:?}");
        // a whole rack, and the tightest that holds the rest
        assert_eq!(on(policy, &nodes, gang(5)), [4], "{policy:?}");
        let without = [&nodes[..4], &nodes[5..]].concat();
        assert_eq!(on(policy, &without, gang(5)), [2, 3, 4], "{policy:?}");
    }
}

#[test]
fn roles_of_a_gang_go_where_the_others_are() {
    // three racks of one zone: no rack holds four trainers
    let nodes = [node(3, &[0, 0]), node(3, &[0, 1]), node(1, &[0, 2]), node(0, &[0, 2]), node(0, &[0, 1])];
    let roles = vec![role(1000, 1000, 4, 4), role(0, 1000, 2, 2)];
    for policy in POLICIES {
        let places = placed(policy, &nodes, job(roles.clone(), RACK, false));
        assert_eq!(places.len(), 6, "{policy:?}");
        let racks: BTreeSet<_> = places.iter().map(|place| value(&nodes[place.node.at()], RACK)).collect();
        assert_eq!(racks.len(), 2, "{policy:?}: {places:?}");
    }
}

#[test]
fn a_job_grows_where_it_is_and_elsewhere_only_if_it_may() {
    // what is tighter is elsewhere
    let nodes = [node(4, &[0, 0]), node(2, &[0, 1]), node(2, &[0, 1]), node(1, &[1, 0])];
    let grown = |required| {
        let mut world = world(Placing::default(), &nodes, job(vec![role(1000, 1, 5, 2)], RACK, required));
        let hold = |replica, device| Holding {
            job: JobIx(0),
            role: 0,
            replica,
            node: NodeIx(1),
            each: role(1000, 1, 1, 1).each,
            gpus: vec![(device, 1000)],
            started: 0,
            going: false,
        };
        world.holdings = vec![hold(0, 0), hold(1, 1)];
        let plan = decide(&world).unwrap();
        let places = plan.grants.iter().flat_map(|grant| &grant.placements);
        places.map(|place| place.node.0).collect::<Vec<_>>()
    };
    assert_eq!(grown(true), [2, 2], "the fifth has no place in its rack");
    assert_eq!(grown(false), [2, 2, 3]);
}

#[test]
fn who_must_share_a_rack_and_finds_none_is_told_which_comes_nearest() {
    let nodes = [node(2, &[0, 0]), node(3, &[0, 1]), node(1, &[1, 0]), node(3, &[1, 1])];
    let plan =
        decide(&world(Placing::default(), &nodes, job(vec![role(1000, 1, 4, 4)], RACK, true))).unwrap();
    let Reason::Infeasible(reason) = &plan.verdicts[0].reasons[0] else { panic!("{:?}", plan.verdicts) };
    let told = format!("{reason:?}");
    assert!(told.contains("fit: 3, need: 4"), "{told}");
}
