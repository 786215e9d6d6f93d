//! What is refused, what could never run, and the sentences that people read.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use crater_engine::{
    Account, AccountIx, Amounts, Holding, Infeasible, Job, JobIx, KeyIx, ModelIx, Names, Node, NodeIx,
    Reason, Request, Resource, Role, Shape, Snapshot, SnapshotError, Topology, UserIx, ValueIx,
    check_feasible, decide, valid_gpu,
};

const GI: i64 = 1 << 30;

struct Named;

impl Names for Named {
    fn node(&self, node: NodeIx) -> &str {
        ["alpha", "beta", "gamma"][node.at()]
    }
    fn job(&self, _: JobIx) -> &str {
        "train"
    }
    fn account(&self, _: AccountIx) -> &str {
        "vision"
    }
    fn user(&self, _: UserIx) -> &str {
        "ada"
    }
    fn model(&self, model: ModelIx) -> &str {
        ["A100", "H100"][model.at()]
    }
    fn key(&self, _: KeyIx) -> &str {
        "rack"
    }
    fn value(&self, _: ValueIx) -> &str {
        "r7"
    }
}

fn nodes() -> Vec<Node> {
    let node = |gpus, rack| Node {
        cpu: 16_000,
        memory: 64 * GI,
        gpus,
        model: (gpus > 0).then_some(ModelIx(0)),
        open: true,
        labels: vec![(KeyIx(0), ValueIx(rack))],
        ..Node::default()
    };
    vec![node(4, 0), node(4, 1), node(0, 0)]
}

fn request(gpu: i64, cpu: i64, memory: i64, replicas: u32) -> Request {
    Request {
        roles: vec![Role { each: Shape { cpu, memory, gpu, ..Shape::default() }, replicas, min: replicas }],
        ..Request::default()
    }
}

#[test]
fn what_could_never_run_is_said_with_its_numbers() {
    let nodes = nodes();
    assert_eq!(check_feasible(&request(4000, 1000, GI, 2), &nodes), Ok(()));
    let cases = [
        (request(8000, 0, 0, 1), "a replica asks for 8 GPU, the largest node it may use has 4 GPU"),
        (
            request(500, 0, 128 * GI, 1),
            "a replica asks for 128Gi memory, the largest node it may use has 64Gi memory",
        ),
        (request(0, 16_500, 0, 1), "a replica asks for 16.5 cpu, the largest node it may use has 16 cpu"),
        (request(2000, 0, 0, 5), "the empty cluster has room for 4 of 5 replicas that must start together"),
        (Request { models: vec![ModelIx(1)], ..request(1000, 0, 0, 1) }, "no node has GPU model H100"),
        (
            Request { selector: vec![(KeyIx(0), ValueIx(9))], ..request(1000, 0, 0, 1) },
            "no node has label rack=r7",
        ),
        (
            Request { topology: Some(Topology { key: KeyIx(0), required: true }), ..request(1000, 0, 0, 5) },
            "even when empty, no rack has room for more than 4 of 5 replicas that must start together",
        ),
        (
            Request { topology: Some(Topology { key: KeyIx(3), required: true }), ..request(1000, 0, 0, 1) },
            "no node has a rack label",
        ),
    ];
    for (request, sentence) in cases {
        assert_eq!(check_feasible(&request, &nodes).unwrap_err().render(&Named), sentence);
    }
    assert_eq!(
        check_feasible(&request(1000, 0, 0, 1), &nodes[2..]),
        Err(Infeasible::NoSuchModel { models: Vec::new() })
    );
}

#[test]
fn a_share_of_a_gpu_is_part_of_one_or_several_whole() {
    assert!([0, 1, 500, 999, 1000, 8000].into_iter().all(valid_gpu));
    assert!([-1, 1001, 1500].iter().all(|milli| !valid_gpu(*milli)));
}

#[test]
fn reasons_name_what_a_person_can_act_on() {
    let no_room = Reason::NoRoom {
        fit: 2,
        need: 4,
        short: Resource::GpuModel(ModelIx(0)),
        missing_extended: 0,
        missing_gpu: 2000,
        candidates: 3,
        best: Some(NodeIx(1)),
        domain: Some((KeyIx(0), Some(ValueIx(0)))),
    };
    assert_eq!(
        no_room.render(0, &Named),
        "room for 2 of 4 replicas in one rack (best: r7): short of A100 GPUs on 3 nodes it may use; best fit beta"
    );
    let head = Reason::Reserved { expected_start: Some(95_000) };
    assert_eq!(
        head.render(5_000, &Named),
        "it is first in line and room is kept for it; expected to start in 90 s"
    );
}

fn one_job() -> Snapshot {
    Snapshot {
        now: 1000,
        models: 2,
        nodes: nodes(),
        accounts: vec![Account::default()],
        jobs: vec![Job {
            account: AccountIx(0),
            submitted: 0,
            queued_since: 0,
            request: Arc::new(request(1000, 1000, GI, 1)),
            ..Job::default()
        }],
        ..Snapshot::default()
    }
}

#[test]
fn an_unsound_snapshot_is_refused_by_list_and_field() {
    assert!(decide(&one_job()).is_ok());
    let refused = |change: &dyn Fn(&mut Snapshot)| {
        let mut snapshot = one_job();
        change(&mut snapshot);
        decide(&snapshot).unwrap_err().to_string()
    };
    let held = Holding {
        job: JobIx(4),
        role: 0,
        replica: 0,
        node: NodeIx(0),
        each: Shape::default(),
        gpus: Vec::new(),
        started: 0,
        going: false,
    };
    assert_eq!(refused(&|s| s.jobs[0].account = AccountIx(1)), "jobs[0].account is out of range");
    assert_eq!(refused(&|s| s.holdings.push(held.clone())), "holdings[0].job is out of range");
    assert!(refused(&|s| s.accounts[0].parent = Some(AccountIx(0))).contains("cycle"));
    assert!(
        refused(&|s| s.accounts[0].limit = Amounts { gpu: Some(-1), ..Amounts::default() })
            .contains("negative")
    );
    assert!(
        refused(&|s| s.accounts[0].guaranteed = Amounts { jobs: Some(1), ..Amounts::default() })
            .contains("guaranteed.jobs")
    );
    assert!(
        refused(&|s| s.jobs[0].request = Arc::new(request(1500, 0, 0, 1))).contains("request.roles.each")
    );
    assert!(matches!(
        one_job().check().and_then(|()| Snapshot { models: 0, ..one_job() }.check()),
        Err(SnapshotError::OutOfRange { list: "nodes", field: "model", .. })
    ));
}

#[test]
fn room_that_is_going_is_waited_for_and_nobody_else_is_taken() {
    // alpha is full of what is going; the job may use alpha only
    let mut s = one_job();
    s.jobs[0].request =
        Arc::new(Request { selector: vec![(KeyIx(0), ValueIx(0))], ..request(4000, 1000, GI, 1) });
    let mut leaving = s.jobs[0].clone();
    leaving.closed = true;
    s.jobs.push(leaving);
    s.holdings.push(Holding {
        job: JobIx(1),
        role: 0,
        replica: 0,
        node: NodeIx(0),
        each: s.jobs[1].request.roles[0].each,
        gpus: (0..4).map(|device| (device, 1000)).collect(),
        started: 0,
        going: true,
    });
    let plan = decide(&s).unwrap();
    assert!(plan.grants.is_empty() && plan.revocations.is_empty());
    assert_eq!(plan.holds.len(), 1);
    assert_eq!(plan.verdicts[0].reasons, [Reason::RoomIsComing { going: 1 }]);
    // a node that does not answer gives nothing back
    let mut lost = s.clone();
    lost.nodes[0].lost = true;
    let waits = decide(&lost).unwrap();
    assert!(waits.holds.is_empty() && waits.grants.is_empty());
    // once it is gone, the promise is kept
    s.holdings.clear();
    s.holds = plan.holds;
    let kept = decide(&s).unwrap();
    assert_eq!(kept.grants.len(), 1);
    assert_eq!(kept.grants[0].placements[0].node, NodeIx(0));
    assert!(kept.holds.is_empty());
}

/// What a job of so many replicas lacks on nodes of four GPUs with so much of each device free.
fn lacks(free: &[[i64; 4]], replicas: u32, gpu: i64) -> i64 {
    let model = Some(ModelIx(0));
    let node = |free: &[i64; 4]| Node {
        cpu: 100_000,
        memory: 100 * GI,
        gpus: 4,
        model,
        open: true,
        others_gpus: (0u16..).zip(free).map(|(device, free)| (device, 1000 - free)).collect(),
        ..Node::default()
    };
    let mut s = Snapshot { nodes: free.iter().map(node).collect(), ..one_job() };
    s.jobs[0].request = Arc::new(request(gpu, 1000, GI, replicas));
    s.holdings.clear();
    let verdicts = decide(&s).unwrap().verdicts;
    let missing = verdicts.iter().map(|verdict| match verdict.reasons[0] {
        Reason::NoRoom { missing_gpu, .. } => missing_gpu,
        _ => -1,
    });
    missing.sum()
}

#[test]
fn the_gpus_that_must_come_free_are_counted_where_least_are_lacking() {
    let (free, half, taken) = ([1000; 4], [1000, 1000, 0, 0], [0; 4]);
    assert_eq!(lacks(&[half, half], 2, 4000), 4000, "two on each");
    assert_eq!(lacks(&[half, taken], 1, 4000), 2000, "where two are free already");
    assert_eq!(lacks(&[free, taken], 2, 4000), 4000);
    assert_eq!(lacks(&[half, half], 5, 1000), 1000);
    // devices that are used in part are of no use to who wants whole ones, and of some to who wants shares
    assert_eq!(lacks(&[[500; 4]], 1, 1000), 1000);
    assert_eq!(lacks(&[[300, 100, 0, 0]], 1, 500), 200);
    assert_eq!(lacks(&[[300, 100, 0, 0]], 2, 500), 600);
}
