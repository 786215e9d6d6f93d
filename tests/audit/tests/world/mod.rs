//! A world of one node that writes as Crater does, and may be made to write otherwise.
#![allow(dead_code)]

use std::collections::BTreeMap;

use crater_audit::judge::{Auditor, Settings};
use crater_audit::observation::*;
use crater_audit::violation::Violation;

const STEP_MS: i64 = 20;

/// What was written and told so far, in order.
pub struct World {
    pub revision: u64,
    pub seen: Vec<Observation>,
    /// Thousandths of each device that are free.
    pub free: BTreeMap<i32, i64>,
    random: u64,
}

/// A job on its way.
#[derive(Clone)]
pub struct Life {
    pub job: Job,
    pub row: Row,
    pub given: Option<Allocation>,
    pub pods: Vec<Pod>,
}

impl World {
    /// With a node of eight devices, and a scheduler in office.
    pub fn new(seed: u64) -> Self {
        let free = (0..8).map(|d| (d, 1000)).collect();
        let mut world = Self { revision: 0, seen: vec![Observation::NewCluster], free, random: seed | 1 };
        for kind in [Kind::Lease, Kind::Node, Kind::Job, Kind::Allocation, Kind::Pod] {
            world.seen.push(Observation::Listed { kind, revision: 0, objects: Vec::new() });
        }
        let node = Node {
            name: "n0".into(),
            cpu: 64_000,
            memory: 1 << 40,
            gpus: 8,
            devices: [("rdma/hca", 8)].into(),
            model: "A100".into(),
            ready: true,
            off: false,
        };
        world.write(Change::Added, Object::Node(node));
        let mut lease = Lease { holder: "a".into(), epoch: 1, list_revision: None };
        world.write(Change::Added, Object::Lease(lease.clone()));
        lease.list_revision = Some(world.revision);
        world.write(Change::Modified, Object::Lease(lease));
        world.read(Vec::new());
        world
    }

    fn random(&mut self, below: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        usize::try_from(self.random % below as u64).unwrap()
    }

    pub fn write(&mut self, change: Change, object: Object) {
        self.revision += 1;
        self.seen.push(Observation::Version(Version { revision: self.revision, change, object }));
    }

    pub fn job(&mut self, change: Change, life: &Life) {
        self.write(change, Object::Job(Box::new(life.job.clone())));
    }

    pub fn given(&mut self, change: Change, life: &Life) {
        self.write(change, Object::Allocation(Box::new(life.given.clone().unwrap())));
    }

    /// A snapshot of the tables, in which these rows are new.
    pub fn read(&mut self, rows: Vec<Row>) {
        self.seen.extend(rows.into_iter().map(Observation::Row));
        // it is dated when it is judged
        self.seen.push(Observation::RowsRead { began_ms: 0 });
    }

    fn row(&mut self, life: &mut Life) {
        life.row.change += 1;
        life.row.state = life.job.phase;
        life.row.ended = life.job.phase.is_final();
        life.row.attempts = life.job.attempts;
        self.read(vec![life.row.clone()]);
        let told = Told { uid: life.row.uid.clone(), state: life.row.state, revision: life.row.revision };
        self.seen.push(Observation::Told(life.row.name.clone(), Some(told)));
    }

    /// Accepted, answered, applied.
    pub fn submit(&mut self, n: usize, replicas: i32) -> Life {
        let name = format!("j{n}");
        let row = Row {
            uid: format!("uid-{n}"),
            name: format!("accounts/lab/jobs/{name}"),
            account: "lab".into(),
            creator: "ann".into(),
            revision: 1,
            dirty: true,
            reason: "Submitted".into(),
            ..Row::default()
        };
        let devices = [("rdma/hca", 1)].into();
        let role =
            Role { name: "w".into(), replicas, least: replicas, cpu: 1000, memory: 1, gpu: 1000, devices };
        let job = Job {
            key: ("crater-lab".into(), name),
            uid: format!("kube-{n}"),
            job_uid: row.uid.clone(),
            account: "lab".into(),
            creator: "ann".into(),
            guaranteed: true,
            roles: vec![role],
            revision: 1,
            ..Job::default()
        };
        let mut life = Life { job, row, given: None, pods: Vec::new() };
        self.read(vec![life.row.clone()]);
        let (name, uid) = (life.row.name.clone(), life.row.uid.clone());
        self.seen.push(Observation::Acknowledged(Acknowledged { name, uid, request_id: format!("r{n}") }));
        self.read(Vec::new());
        self.job(Change::Added, &life);
        life.row.dirty = false;
        life.row.reason = "NotEnoughGpus".into();
        self.row(&mut life);
        life
    }

    /// Given GPUs, if there are enough.
    pub fn grant(&mut self, life: &mut Life) -> bool {
        let wanted = usize::try_from(life.job.roles[0].replicas).unwrap();
        let free = self.free.iter().filter(|(_, millis)| **millis == 1000).map(|(device, _)| *device);
        let free: Vec<i32> = free.take(wanted).collect();
        if free.len() < wanted {
            return false;
        }
        let granted = (0..).zip(&free).map(|(i, device)| {
            self.free.insert(*device, 0);
            Granted { replica: ("w".to_owned(), i), node: "n0".into(), gpus: vec![*device], millis: 1000 }
        });
        life.given = Some(Allocation {
            granted: granted.collect(),
            key: ("crater-lab".into(), format!("{}-1-{}", life.job.key.1, self.revision)),
            uid: format!("given-{}", self.revision),
            job: life.job.key.1.clone(),
            job_uid: life.job.job_uid.clone(),
            epoch: 1,
            ..Allocation::default()
        });
        self.given(Change::Added, life);
        true
    }

    pub fn accept(&mut self, life: &mut Life, epoch: i64) {
        let given = life.given.as_mut().unwrap();
        (given.accepted, given.status) = (Some(epoch), given.status + 1);
        self.given(Change::Modified, life);
    }

    pub fn start(&mut self, life: &mut Life) {
        life.job.phase = Phase::Starting;
        life.job.attempts += 1;
        life.job.controlled += 1;
        self.job(Change::Modified, life);
        let given = life.given.clone().unwrap();
        for granted in &given.granted {
            let pod = Pod {
                key: ("crater-lab".into(), format!("{}-w-{}", life.job.key.1, granted.replica.1)),
                uid: format!("pod-{}", self.revision),
                job_uid: Some(life.job.job_uid.clone()),
                replica: granted.replica.clone(),
                allocation: given.key.1.clone(),
                attempt: life.job.attempts,
                node: granted.node.clone(),
                gpus: granted.gpus.iter().map(|d| (*d, granted.millis)).collect(),
                ..Pod::default()
            };
            self.write(Change::Added, Object::Pod(Box::new(pod.clone())));
            life.pods.push(pod);
        }
        self.row(life);
        self.phase(life, Phase::Running);
    }

    pub fn phase(&mut self, life: &mut Life, phase: Phase) {
        life.job.phase = phase;
        life.job.controlled += 1;
        self.job(Change::Modified, life);
        self.row(life);
    }

    pub fn end_pods(&mut self, life: &mut Life) {
        for pod in &mut life.pods {
            pod.ended = true;
            self.write(Change::Modified, Object::Pod(Box::new(pod.clone())));
        }
    }

    pub fn release(&mut self, life: &mut Life) {
        let given = life.given.as_mut().unwrap();
        given.released = given.granted.iter().map(|g| g.replica.clone()).collect();
        given.status += 1;
        for device in given.granted.iter().flat_map(|g| &g.gpus) {
            self.free.insert(*device, 1000);
        }
        self.given(Change::Modified, life);
    }

    pub fn delete_pods(&mut self, life: &mut Life) {
        for pod in std::mem::take(&mut life.pods) {
            self.write(Change::Deleted, Object::Pod(Box::new(pod)));
        }
    }

    /// To its end, and cleared away.
    pub fn finish(&mut self, life: &mut Life) {
        self.end_pods(life);
        self.phase(life, Phase::Succeeded);
        self.release(life);
        self.clear(life);
        let reasons = ["Submitted", "Allocated", "Running", "Succeeded"];
        let events = (1..).zip(reasons).map(|(n, r)| JobEvent { sequence: n, time_ms: n, reason: r.into() });
        self.seen.push(Observation::Events(life.row.name.clone(), events.collect()));
    }

    /// Its Allocation goes.
    pub fn clear(&mut self, life: &mut Life) {
        self.given(Change::Deleted, life);
        life.given = None;
    }

    /// Back into the queue.
    pub fn preempt(&mut self, life: &mut Life) {
        let given = life.given.as_mut().unwrap();
        given.revoked = given.granted.iter().map(|g| g.replica.clone()).collect();
        self.given(Change::Modified, life);
        life.job.preemptions += 1;
        self.phase(life, Phase::Queued);
        self.delete_pods(life);
        self.release(life);
        self.clear(life);
    }

    /// Some jobs on all their ways; those that have not ended are given back.
    pub fn live(&mut self, steps: u64) -> Vec<Life> {
        let mut alive: Vec<Life> = Vec::new();
        for n in 0..usize::try_from(steps).unwrap() {
            let choice = self.random(4);
            if choice < 2 || alive.is_empty() {
                let replicas = 1 + i32::try_from(self.random(3)).unwrap();
                alive.push(self.submit(n, replicas));
                continue;
            }
            let at = self.random(alive.len());
            let mut life = alive.swap_remove(at);
            match (choice, life.job.phase) {
                // what is granted is accepted and started; what is not goes on waiting
                (2, Phase::Queued) if self.grant(&mut life) => {
                    self.accept(&mut life, 1);
                    self.start(&mut life);
                }
                (3, Phase::Running) if self.random(3) == 0 => self.preempt(&mut life),
                (3, Phase::Running) => {
                    self.finish(&mut life);
                    continue;
                }
                _ => {}
            }
            alive.push(life);
        }
        alive
    }

    /// A job that runs, beside whatever else there is.
    pub fn running(&mut self, replicas: i32) -> Life {
        let mut life = self.submit(1000, replicas);
        assert!(self.grant(&mut life));
        self.accept(&mut life, 1);
        self.start(&mut life);
        life
    }

    /// What the judge finds, after a long quiet time.
    pub fn judged(self) -> Vec<Violation> {
        let mut judge = Auditor::new(Settings { settle_ms: 1000, orphan_ms: 3000, lag_ms: 1000 });
        let (mut now, mut found) = (0, Vec::new());
        for observation in self.seen {
            now += STEP_MS;
            let observation = match observation {
                Observation::RowsRead { .. } => Observation::RowsRead { began_ms: now },
                other => other,
            };
            found.extend(judge.observe(now, observation));
        }
        for _ in 0..40 {
            now += 250;
            found.extend(judge.observe(now, Observation::Tick));
        }
        found
    }
}
