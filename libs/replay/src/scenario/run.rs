//! A world is played: cycles until nothing changes, an event, cycles again, to the end.

use crater_engine::{Plan, Verdict, decide};

use super::Outcome;
use super::build::{Asked, Start};
use super::check::check;
use super::fault::Fault;
use super::format::{JobSpec, Scenario};
use super::judge::judge;
use super::world::World;

/// A world under way.
pub(super) struct Run {
    pub world: World,
    /// The plan of the last cycle.
    pub last: Plan,
    cycles: u64,
    failures: Vec<String>,
}

/// Runs one world to its end and judges it.
pub(super) fn run(scenario: &Scenario) -> Result<Outcome, Fault> {
    let world = begin(scenario)?;
    check(scenario, &world)?;
    let mut run = Run { world, last: Plan::default(), cycles: 0, failures: Vec::new() };
    run.settle(scenario.max_cycles, "the beginning")?;
    for (i, step) in scenario.steps.iter().enumerate() {
        let at = format!("steps[{i}]");
        run.world.step(step, &at)?;
        run.settle(scenario.max_cycles, &at)?;
    }
    for _ in 0..scenario.stable_cycles {
        if run.cycle()? {
            run.failures.push("nothing moves any more: something moved after it had settled".into());
            break;
        }
    }
    let judged = judge(&run, &scenario.expect);
    run.failures.extend(judged);
    let world = &run.world;
    let placements = world
        .job_names()
        .map(|job| (job.to_owned(), world.replicas(job)))
        .filter(|(_, nodes)| !nodes.is_empty())
        .collect();
    let pending = run.last.verdicts.iter().map(|v| (run.name_of(v), run.reason(v))).collect();
    Ok(Outcome {
        name: scenario.name.clone(),
        pass: run.failures.is_empty(),
        cycles: run.cycles,
        placements,
        evictions: world.evicted.iter().cloned().collect(),
        pending,
        failures: run.failures,
    })
}

/// The world with its first jobs, in the order of their submission.
fn begin(scenario: &Scenario) -> Result<World, Fault> {
    let later = scenario.steps.iter().filter_map(|step| step.submit.as_ref());
    let mut world = World::new(&Start {
        nodes: &scenario.nodes,
        accounts: &scenario.accounts,
        settings: scenario.settings,
        priority_classes: &scenario.priority_classes,
        asked: &Asked::of(scenario.jobs.iter().chain(later)),
    })?;
    let mut order: Vec<(usize, &JobSpec)> = scenario.jobs.iter().enumerate().collect();
    order.sort_by_key(|(_, job)| job.submit);
    for (i, job) in order {
        world.submit(job, &format!("jobs[{i}]"))?;
    }
    Ok(world)
}

impl Run {
    /// One cycle; says whether anything moved.
    fn cycle(&mut self) -> Result<bool, Fault> {
        self.world.next_cycle();
        self.cycles += 1;
        self.last = decide(&self.world.snapshot).map_err(|error| Fault::new("", error.to_string()))?;
        for verdict in &self.last.verdicts {
            if self.reason(verdict).is_empty() {
                self.failures
                    .push(format!("every waiting job has a reason: {} has none", self.name_of(verdict)));
            }
        }
        Ok(self.world.carry_out(&self.last))
    }

    fn settle(&mut self, max_cycles: u32, at: &str) -> Result<(), Fault> {
        for _ in 0..max_cycles {
            if !self.cycle()? {
                let broken = self.world.broken_laws();
                self.failures.extend(broken.iter().map(|broken| format!("a law after {at}: {broken}")));
                return Ok(());
            }
        }
        self.failures.push(format!("it settles after {at} in {max_cycles} cycles: it does not"));
        Ok(())
    }

    pub(super) fn name_of(&self, verdict: &Verdict) -> String {
        crater_engine::Names::job(&self.world, verdict.job).to_owned()
    }

    /// Why a job waits, in words; it is empty where the engine gave no reason.
    pub(super) fn reason(&self, verdict: &Verdict) -> String {
        let now = self.world.snapshot.now;
        let reasons = verdict.reasons.iter().map(|reason| reason.render(now, &self.world));
        reasons.collect::<Vec<String>>().join("; ")
    }
}
