//! What happens to a world from outside: jobs come and end, nodes fail.

use std::sync::Arc;

use crater_engine::{Holding, JobIx, Names, NodeIx};

use super::fault::Fault;
use super::format::Step;
use super::world::World;

/// Milliseconds between two events, longer than any start protection.
const BETWEEN_EVENTS: i64 = 3_600_000;

impl World {
    /// Something happens. `at`: which step it is, such as `steps[2]`.
    pub(crate) fn step(&mut self, step: &Step, at: &str) -> Result<(), Fault> {
        self.wait_until(self.snapshot.now + BETWEEN_EVENTS);
        if let Some(job) = &step.submit {
            self.submit(job, &format!("{at}.submit"))?;
        }
        if let Some(name) = &step.finish {
            let job = self.known_job(name, &format!("{at}.finish"))?;
            self.close(job);
        }
        for (name, count) in step.finish_replicas.iter().flatten() {
            let at = format!("{at}.finish_replicas.{name}");
            let job = self.known_job(name, &at)?;
            let run = self.snapshot.holdings.iter().filter(|held| held.job == job).count();
            if *count as usize > run {
                return Err(Fault::new(
                    at,
                    format!("{count} is more than there are: {run} of {name} run then"),
                ));
            }
            self.finish_replicas(job, *count);
        }
        if let Some(name) = &step.fail_node {
            let node = self.known_node(name, &format!("{at}.fail_node"))?;
            self.fail_node(node);
        }
        if step.resubmit.is_some() {
            self.resubmit();
        }
        Ok(())
    }

    /// A job has ended; what it held is free.
    pub(crate) fn close_named(&mut self, name: &str) {
        if let Some(job) = self.jobs.get(name) {
            self.close(JobIx(job));
        }
    }

    fn close(&mut self, job: JobIx) {
        self.snapshot.holdings.retain(|held| held.job != job);
        self.snapshot.holds.retain(|hold| hold.job != job);
        self.snapshot.jobs[job.0 as usize].closed = true;
        self.ended.insert(job.0);
    }

    /// The last replicas end well: the job wants that many fewer, and its gang is that much smaller.
    fn finish_replicas(&mut self, job: JobIx, count: u32) {
        for _ in 0..count {
            let last = self.snapshot.holdings.iter().enumerate().filter(|(_, held)| held.job == job);
            if let Some((at, _)) = last.max_by_key(|(_, held)| held.replica) {
                self.snapshot.holdings.remove(at);
            }
        }
        self.snapshot.holds.retain(|hold| hold.job != job);
        let mut request = (*self.snapshot.jobs[job.0 as usize].request).clone();
        let role = &mut request.roles[0];
        if role.replicas <= count {
            self.close(job);
            return;
        }
        role.replicas -= count;
        role.min = role.min.saturating_sub(count).max(1);
        self.snapshot.jobs[job.0 as usize].request = Arc::new(request);
        let mut held: Vec<&mut Holding> =
            self.snapshot.holdings.iter_mut().filter(|held| held.job == job).collect();
        held.sort_by_key(|held| held.replica);
        for (replica, held) in (0u32..).zip(held) {
            held.replica = replica;
        }
    }

    fn fail_node(&mut self, node: NodeIx) {
        self.snapshot.nodes[node.0 as usize].open = false;
        let lost: Vec<JobIx> =
            self.snapshot.holdings.iter().filter(|held| held.node == node).map(|held| held.job).collect();
        self.snapshot.holdings.retain(|held| held.node != node);
        for job in lost {
            self.evicted.insert(self.job(job).to_owned());
        }
    }

    /// Those that were evicted and hold nothing go behind all others.
    fn resubmit(&mut self) {
        let waiting: Vec<String> =
            self.evicted.iter().filter(|name| self.replicas(name).is_empty()).cloned().collect();
        for name in waiting {
            if let Some(job) = self.jobs.get(&name)
                && !self.ended.contains(&job)
            {
                self.snapshot.jobs[job as usize].submitted = self.snapshot.now;
            }
        }
    }
}
