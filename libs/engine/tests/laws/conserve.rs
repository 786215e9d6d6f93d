//! No job waits that could run without harming another's right, whatever its shape: places are searched anew by trying all of them.

use std::collections::BTreeSet;

use crater_engine::{
    AccountIx, Backfill, Class, Job, JobIx, NodeIx, Preemptible, Request, Shape, Snapshot, ValueIx, WHOLE_GPU,
};
use proptest::prelude::*;

use crate::audit::under;
use crate::cases::{Event, RACK, case};
use crate::play;
use crate::sim::Sim;

/// So many steps at most are tried to place one job.
const STEPS: u32 = 50_000;

#[derive(Clone)]
struct Free {
    cpu: i64,
    memory: i64,
    gpus: Vec<i64>,
}

fn free(s: &Snapshot) -> Vec<Free> {
    let mut all: Vec<Free> = s
        .nodes
        .iter()
        .map(|node| Free {
            cpu: node.cpu,
            memory: node.memory,
            gpus: vec![WHOLE_GPU; usize::from(node.gpus)],
        })
        .collect();
    for held in &s.holdings {
        let node = &mut all[held.node.at()];
        node.cpu -= held.each.cpu;
        node.memory -= held.each.memory;
        held.gpus.iter().for_each(|(device, milli)| node.gpus[usize::from(*device)] -= milli);
    }
    all
}

/// Tries to place replicas one after the other, on every node and every device.
struct Puzzle<'a> {
    s: &'a Snapshot,
    request: &'a Request,
    barred: &'a BTreeSet<NodeIx>,
    rack: Option<ValueIx>,
    free: Vec<Free>,
    left: u32,
}

impl Puzzle<'_> {
    fn may_use(&self, node: usize, each: &Shape) -> bool {
        let of = &self.s.nodes[node];
        let model =
            self.request.models.is_empty() || of.model.is_some_and(|m| self.request.models.contains(&m));
        let rack = of.labels.iter().find(|(key, _)| *key == RACK).map(|(_, value)| *value);
        of.open
            && !self.barred.contains(&NodeIx::of(node))
            && (each.gpu == 0 || model)
            && self.request.selector.iter().all(|label| of.labels.contains(label))
            && self.rack.is_none_or(|wanted| rack == Some(wanted))
    }

    /// Places what is from `at` on; equal replicas go to the same node as the last one, or a later one.
    fn solve(&mut self, replicas: &[Shape], at: usize, from: usize) -> bool {
        let Some(each) = replicas.get(at).copied() else { return true };
        let from = if at > 0 && replicas[at - 1] == each { from } else { 0 };
        for node in from..self.free.len() {
            let room = &self.free[node];
            if !self.may_use(node, &each) || room.cpu < each.cpu || room.memory < each.memory {
                continue;
            }
            let whole: Vec<usize> =
                (0..room.gpus.len()).filter(|device| room.gpus[*device] == WHOLE_GPU).collect();
            let mut sets: Vec<Vec<usize>> = Vec::new();
            if each.gpu == 0 {
                sets.push(Vec::new());
            } else if each.gpu >= WHOLE_GPU {
                let need = usize::try_from(each.gpu / WHOLE_GPU).unwrap();
                if whole.len() >= need {
                    sets.push(whole[..need].to_vec());
                }
            } else {
                let mut seen = BTreeSet::new();
                let fit = (0..room.gpus.len()).filter(|device| room.gpus[*device] >= each.gpu);
                sets.extend(fit.filter(|device| seen.insert(room.gpus[*device])).map(|device| vec![device]));
            }
            for devices in sets {
                if self.left == 0 {
                    return false;
                }
                self.left -= 1;
                let before = self.free[node].clone();
                let room = &mut self.free[node];
                (room.cpu, room.memory) = (room.cpu - each.cpu, room.memory - each.memory);
                devices.iter().for_each(|device| room.gpus[*device] -= each.gpu.min(WHOLE_GPU));
                let solved = self.solve(replicas, at + 1, node);
                self.free[node] = before;
                if solved {
                    return true;
                }
            }
        }
        false
    }
}

/// Is there a place for these replicas of a request on nodes that are not barred?
fn has_place(s: &Snapshot, request: &Request, mut replicas: Vec<Shape>, barred: &BTreeSet<NodeIx>) -> bool {
    replicas.sort_by_key(|each| std::cmp::Reverse((each.gpu, each.cpu)));
    let racks: Vec<Option<ValueIx>> = match request.topology {
        Some(topology) if topology.required => (0..3).map(|rack| Some(ValueIx(rack))).collect(),
        _ => vec![None],
    };
    racks.into_iter().any(|rack| {
        let mut puzzle = Puzzle { s, request, barred, rack, free: free(s), left: STEPS };
        puzzle.solve(&replicas, 0, 0)
    })
}

/// Would a limit keep a job that asks for so much more?
fn limited(s: &Snapshot, ix: JobIx, gpu: i64, enters: bool) -> bool {
    let job = &s.jobs[ix.at()];
    let over = |inside: &dyn Fn(&Job) -> bool, gpus: Option<i64>, jobs: Option<i64>| {
        let held = || s.holdings.iter().filter(|held| inside(&s.jobs[held.job.at()]));
        let counted = held().filter(|held| s.jobs[held.job.at()].class == Class::Guaranteed);
        let used: i64 = counted.map(|held| held.each.gpu).sum();
        let running = held().map(|held| held.job).collect::<BTreeSet<_>>().len();
        let full = enters && jobs.is_some_and(|most| i64::try_from(running).unwrap() >= most);
        full || (job.class == Class::Guaranteed && gpu > 0 && gpus.is_some_and(|most| used + gpu > most))
    };
    let accounts =
        s.accounts.iter().enumerate().filter(|(above, _)| under(s, job.account, AccountIx::of(*above)));
    let mut accounts = accounts.map(|(above, account)| {
        over(&|other| under(s, other.account, AccountIx::of(above)), account.limit.gpu, account.limit.jobs)
    });
    let user = job.user.map(|user| (user, &s.users[user.at()].limit));
    accounts.any(|over| over)
        || user.is_some_and(|(user, limit)| over(&|other| other.user == Some(user), limit.gpu, limit.jobs))
}

/// Replicas that a job holds, by role.
fn held(s: &Snapshot, job: JobIx, role: usize) -> u32 {
    let of = s.holdings.iter().filter(|held| held.job == job && usize::from(held.role) == role);
    u32::try_from(of.count()).unwrap()
}

/// Who waits, or could grow, though there is room for it that is kept for nobody.
fn idles(sim: &Sim) -> Vec<String> {
    let s = &sim.snapshot;
    let mut found = Vec::new();
    for (ix, job) in s.jobs.iter().enumerate().filter(|(_, job)| !job.closed) {
        let ix = JobIx::of(ix);
        let roles = &job.request.roles;
        let kept = sim.plan.reservations.iter().filter(|kept| kept.job != ix);
        let barred: BTreeSet<NodeIx> = kept.flat_map(|kept| kept.nodes.iter().copied()).collect();
        let runs = s.holdings.iter().any(|held| held.job == ix);
        // devices by name are not counted here
        if roles.iter().any(|role| !role.each.extended.is_empty()) {
            continue;
        }
        // it starts only inside a guarantee
        if job.preemptible == Preemptible::Never && job.class == Class::Guaranteed {
            continue;
        }
        if !runs {
            let gang: Vec<Shape> =
                roles.iter().flat_map(|role| std::iter::repeat_n(role.each, role.min as usize)).collect();
            let gpu = gang.iter().map(|each| each.gpu).sum();
            if !limited(s, ix, gpu, true) && has_place(s, &job.request, gang, &barred) {
                found.push(format!("{ix:?} waits"));
            }
            continue;
        }
        // what is bound to a rack grows in that rack alone
        if job.request.topology.is_some_and(|topology| topology.required) {
            continue;
        }
        for (at, role) in roles.iter().enumerate() {
            let more = held(s, ix, at) < role.replicas && !limited(s, ix, role.each.gpu, false);
            if more && has_place(s, &job.request, vec![role.each], &barred) {
                found.push(format!("{ix:?} could grow in role {at}"));
            }
        }
    }
    found
}

proptest! {
    #![proptest_config(crate::config())]

    #[test]
    fn no_job_waits_that_could_run(case in case()) {
        // where more is kept than what the first of a line waits for, others wait by intention
        let mut case = case;
        case.start.settings.backfill = Backfill::Easy;
        let mut sim = play(&case, |_| {});
        sim.happen(&Event::Release);
        prop_assume!(sim.settle(60));
        prop_assume!(sim.snapshot.holds.is_empty());
        let idles = idles(&sim);
        prop_assert!(idles.is_empty(), "{:?}\n{:?}\n{:?}", idles, sim.plan.reservations, sim.plan.verdicts);
    }
}
