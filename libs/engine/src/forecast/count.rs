//! What is before a job in a snapshot, as counts.

use crate::model::{JobIx, Node, Request, Shape, Snapshot};

use super::walk::{Courses, Load, Scene};

/// What is before one job; see [`Scene`] for the fields.
#[derive(Clone, Debug, Default)]
pub struct Count {
    /// What it wants, in milli-GPU (milli-cores for work without GPUs).
    pub wants: i64,
    /// What is free on the nodes that it may use.
    pub free: i64,
    /// Who holds something there.
    pub running: Vec<Load>,
    /// Who waits for the same nodes and goes first.
    pub waiting: Vec<Load>,
    /// Who waits for them and comes later in the order.
    pub behind: Vec<Load>,
}

impl Count {
    /// The scene, with nobody to come.
    pub fn scene(&self) -> Scene<'_> {
        Scene {
            free: self.free,
            running: &self.running,
            waiting: &self.waiting,
            behind: &self.behind,
            strict: false,
            coming: &[],
            span: 0,
            wants: self.wants,
        }
    }
}

/// Counts what is before `job`. `order`: jobs in the order in which they go, as verdicts come. `left`: for how long a job still
/// runs, given as [`Prediction::courses`](crate::predict::Prediction::courses) of what it was served so far. Nodes are taken
/// together, quotas are not looked at: that is left to experience. nodes + replicas held + jobs that wait steps.
pub fn count(
    snapshot: &Snapshot,
    order: impl IntoIterator<Item = JobIx>,
    job: JobIx,
    left: &mut dyn FnMut(JobIx) -> Courses,
) -> Count {
    let Some(own) = snapshot.jobs.get(job.at()).map(|job| &*job.request) else { return Count::default() };
    let with_gpus = own.roles.iter().any(|role| role.each.gpu > 0);
    let amount = |shape: &Shape| if with_gpus { shape.gpu } else { shape.cpu };
    let usable: Vec<bool> = snapshot.nodes.iter().map(|node| may_use(node, own, with_gpus)).collect();
    let mut count = Count { wants: least(own, amount), ..Count::default() };
    for (node, _) in snapshot.nodes.iter().zip(&usable).filter(|(_, usable)| **usable) {
        count.free += if with_gpus {
            let others: i64 = node.others_gpus.iter().map(|(_, milli)| *milli).sum();
            (i64::from(node.gpus) - node.bad_gpus.len() as i64) * crate::model::WHOLE_GPU - others
        } else {
            node.cpu - node.others_cpu
        };
    }
    let mut held: std::collections::BTreeMap<JobIx, i64> = std::collections::BTreeMap::new();
    let mut runs = vec![false; snapshot.jobs.len()];
    for piece in &snapshot.holdings {
        if let Some(runs) = runs.get_mut(piece.job.at()) {
            *runs = true;
        }
        if usable.get(piece.node.at()).copied().unwrap_or(false) {
            *held.entry(piece.job).or_default() += amount(&piece.each);
        }
    }
    for (holder, wants) in held {
        count.free -= wants;
        count.running.push(Load { wants, left: left(holder), seed: u64::from(holder.0) });
    }
    let mut first = true;
    for other in order {
        if other == job {
            first = false;
            continue;
        }
        let Some(entry) = snapshot.jobs.get(other.at()) else { continue };
        if entry.closed || runs[other.at()] || !same_nodes(own, &entry.request) {
            continue;
        }
        let wants = least(&entry.request, amount);
        if wants > 0 {
            let load = Load { wants, left: left(other), seed: u64::from(other.0) };
            if first { count.waiting.push(load) } else { count.behind.push(load) }
        }
    }
    count
}

fn least(request: &Request, amount: impl Fn(&Shape) -> i64) -> i64 {
    let of = request.roles.iter().map(|role| amount(&role.each).saturating_mul(i64::from(role.min)));
    let one = request.roles.first().map_or(0, |role| amount(&role.each));
    // where no replica must be there, the first will do
    Some(of.fold(0, i64::saturating_add)).filter(|all| *all > 0).unwrap_or(one)
}

fn may_use(node: &Node, request: &Request, with_gpus: bool) -> bool {
    let model = !with_gpus
        || node.model.is_some_and(|model| request.models.is_empty() || request.models.contains(&model));
    node.open && !node.lost && model && request.selector.iter().all(|label| node.labels.contains(label))
}

/// May both use the same nodes?
fn same_nodes(a: &Request, b: &Request) -> bool {
    a.models.is_empty() || b.models.is_empty() || a.models.iter().any(|model| b.models.contains(model))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::forecast::COURSES;
    use crate::model::{Account, Holding, Job, Millis, ModelIx, NodeIx, Role};

    #[test]
    fn what_a_job_may_use_is_counted_and_nothing_else() {
        let node = |model: u32, open: bool| Node {
            cpu: 64_000,
            gpus: 8,
            model: Some(ModelIx(model)),
            open,
            ..Node::default()
        };
        let request = |model: u32, replicas: u32| {
            let role = Role {
                each: Shape { cpu: 1000, memory: 0, gpu: 4000, ..Shape::default() },
                replicas,
                min: replicas,
            };
            Arc::new(Request { roles: vec![role], models: vec![ModelIx(model)], ..Request::default() })
        };
        let job = |model, replicas| Job { request: request(model, replicas), ..Job::default() };
        let held = Holding {
            job: JobIx(0),
            role: 0,
            replica: 0,
            node: NodeIx(0),
            each: Shape { cpu: 1000, memory: 0, gpu: 4000, ..Shape::default() },
            gpus: vec![(0, 1000), (1, 1000), (2, 1000), (3, 1000)],
            started: 0,
            going: false,
        };
        let snapshot = Snapshot {
            models: 2,
            nodes: vec![node(0, true), node(1, true), node(0, false)],
            accounts: vec![Account::default()],
            jobs: vec![job(0, 1), job(0, 2), job(1, 1), job(0, 3), job(0, 1)],
            holdings: vec![held],
            ..Snapshot::default()
        };
        let order = [JobIx(1), JobIx(2), JobIx(3), JobIx(4)];
        let mut asked: Vec<u32> = Vec::new();
        let mut left = |job: JobIx| {
            asked.push(job.0);
            [Millis::from(job.0) + 1; COURSES]
        };
        let count = count(&snapshot, order, JobIx(3), &mut left);
        assert_eq!((count.wants, count.free), (12_000, 4000));
        assert_eq!((count.running.len(), count.waiting.len(), count.behind.len()), (1, 1, 1));
        assert_eq!(
            (count.running[0].wants, count.waiting[0].wants, count.behind[0].wants),
            (4000, 8000, 4000)
        );
        assert_eq!(asked, [0, 1, 4]);
    }
}
