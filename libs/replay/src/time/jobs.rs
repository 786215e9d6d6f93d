//! A cluster and a workload of one's own: YAML in, run cycle by cycle through the engine by simulated time.
//!
//! `nodes`, `accounts`, `settings` and `priority_classes` are those of a scenario (see [`crate::scenario`]); a job has besides `duration` and,
//! if its owner said so, `estimate`, both in seconds, and `submit` in seconds from the beginning. Jobs stand in order of `submit`.
//!
//! Work goes on at the speed of the replicas that a job has of those that it wants; what it has computed it keeps when it is
//! stopped. A job that starts again, or that loses or moves a replica and runs on, pays the cost of a restart.

use std::collections::BTreeMap;
use std::path::Path;

use crater_engine::{Millis, WHOLE_GPU, decide};
use serde::Deserialize;

use super::clock::{Fate, Outcome, Watch};
use super::workload::{Asked, Workload};
use crate::input::{InputError, read_text};
use crate::scenario::error::Fault;
use crate::scenario::format::{
    AccountSpec, ClassSpec, Each, JobSpec, NodeSpec, Priority, Scalar, Scenario, SettingsSpec, TopologySpec,
};
use crate::scenario::world::World;

/// Rounds of deciding at one instant before it is said that the engine does not come to rest.
const MOST_ROUNDS: usize = 50;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    nodes: Vec<NodeSpec>,
    #[serde(default)]
    accounts: Vec<AccountSpec>,
    priority_classes: Option<BTreeMap<String, i32>>,
    #[serde(default)]
    settings: SettingsSpec,
    jobs: Vec<TimedJob>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TimedJob {
    name: String,
    submit: u32,
    duration: u32,
    estimate: Option<u32>,
    account: Option<String>,
    #[serde(default)]
    class: ClassSpec,
    priority: Option<Priority>,
    #[serde(default = "one")]
    replicas: u32,
    min_replicas: Option<u32>,
    #[serde(default)]
    each: Each,
    #[serde(default)]
    gpu_model: Vec<String>,
    #[serde(default)]
    node_selector: BTreeMap<String, Scalar>,
    topology: Option<TopologySpec>,
    preemptible: Option<bool>,
}

fn one() -> u32 {
    1
}

impl TimedJob {
    fn spec(&self) -> JobSpec {
        JobSpec {
            name: self.name.clone(),
            account: self.account.clone(),
            class: self.class,
            priority: self.priority.clone(),
            replicas: self.replicas,
            min_replicas: self.min_replicas,
            each: self.each.clone(),
            gpu_model: self.gpu_model.clone(),
            node_selector: self.node_selector.clone(),
            topology: self.topology.clone(),
            preemptible: self.preemptible,
            running_on: Vec::new(),
            started: 0,
            estimate: None,
            submit: 0,
        }
    }
}

/// A cluster and its jobs, checked.
pub(super) struct Jobs {
    pub workload: Workload,
    pub gpus: u64,
    world: World,
    specs: Vec<TimedJob>,
}

/// Reads and checks a file.
pub(super) fn load(path: &Path, restart: Millis) -> Result<Jobs, InputError> {
    let text = read_text(path)?;
    let file: File = serde_yaml_ng::from_str(&text).map_err(|error| {
        let line = error.location().map_or(1, |at| at.line());
        InputError::in_file(path, error.to_string()).at_line(line as u64)
    })?;
    let named = |fault: Fault, name: &str| {
        InputError::in_file(path, fault.why).at_line(line_of(&text, name)).in_field(fault.field)
    };
    let mut scenario: Scenario =
        serde_yaml_ng::from_str("{name: '', law: '', kind: policy, nodes: [], expect: {}}")
            .map_err(|error| InputError::in_file(path, error.to_string()))?;
    scenario.nodes = file.nodes;
    scenario.accounts = file.accounts;
    scenario.settings = file.settings;
    scenario.priority_classes = file.priority_classes.unwrap_or(scenario.priority_classes);
    let mut world = World::new(&scenario).map_err(|fault| {
        let name = scenario_name(&scenario, &fault.field);
        named(fault, &name)
    })?;
    let gpus = world.snapshot.nodes.iter().map(|node| u64::from(node.gpus)).sum();
    let mut workload = Workload::default();
    let mut last = 0;
    // all of them once, so that what is wrong is said before anything runs
    let mut trial = world.clone();
    for (i, job) in file.jobs.iter().enumerate() {
        let at = format!("jobs[{i}]");
        let fault = |field: &str, why: &str| named(Fault::new(format!("{at}.{field}"), why), &job.name);
        trial.submit(&job.spec(), &at).map_err(|fault| named(fault, &job.name))?;
        if job.submit < last {
            return Err(fault("submit", "is before the job above: times go back"));
        }
        if job.duration == 0 {
            return Err(fault("duration", "must be at least 1 second"));
        }
        last = job.submit;
        let asked = trial.snapshot.jobs.last().map_or(0, |job| {
            job.request.roles.iter().map(|role| role.each.gpu * i64::from(role.replicas)).sum::<i64>()
        });
        let whole = u32::try_from((asked + WHOLE_GPU - 1) / WHOLE_GPU).unwrap_or(u32::MAX);
        workload.push(
            Asked {
                name: job.name.clone(),
                submitted: Millis::from(job.submit) * 1000,
                gpus: whole,
                estimate: job.estimate.map(|estimate| Millis::from(estimate) * 1000),
                restart,
                ..Asked::default()
            },
            Millis::from(job.duration) * 1000,
        );
    }
    world.know_models(&trial);
    Ok(Jobs { workload, gpus, world, specs: file.jobs })
}

/// The name of the node or account that a fault such as `nodes[3].cpu` is about.
fn scenario_name(scenario: &Scenario, field: &str) -> String {
    let index = field.split(['[', ']']).nth(1).and_then(|index| index.parse::<usize>().ok()).unwrap_or(0);
    let node = scenario.nodes.get(index).map(|node| node.name.clone());
    let account = scenario.accounts.get(index).map(|account| account.name.clone());
    if field.starts_with("nodes") { node } else { account }.unwrap_or_default()
}

/// The last line that gives something this name: the one at fault, if there are two.
fn line_of(text: &str, name: &str) -> u64 {
    let names = |line: &str| {
        line.split("name:").skip(1).any(|rest| {
            let rest = rest.trim_start().trim_start_matches(['"', '\'']);
            rest.strip_prefix(name)
                .is_some_and(|end| !end.starts_with(|c: char| c.is_alphanumeric() || c == '-'))
        })
    };
    text.lines().zip(1u64..).filter(|(line, _)| names(line)).map(|(_, number)| number).last().unwrap_or(1)
}

/// A job under way.
#[derive(Clone, Debug, Default)]
struct Course {
    /// Replica-milliseconds of work that are left.
    left: i128,
    pause: Millis,
    /// (replica, node) of what it holds.
    held: Vec<(u32, u32)>,
    marked: Millis,
    gpu_each: i64,
}

impl Course {
    fn advance(&mut self, fate: &mut Fate, now: Millis) {
        let passed = now - self.marked;
        self.marked = now;
        if self.held.is_empty() {
            return;
        }
        let paused = passed.min(self.pause);
        self.pause -= paused;
        fate.lost += paused;
        self.left -= i128::from(passed - paused) * self.held.len() as i128;
    }

    /// When it ends if all stays as it is.
    fn end(&self) -> Option<Millis> {
        let speed = self.held.len() as i128;
        if speed == 0 {
            return None;
        }
        let runs = (self.left.max(0) + speed - 1) / speed;
        Some(self.marked + self.pause + i64::try_from(runs).ok()?)
    }
}

/// Runs the file's jobs through the engine.
pub(super) fn run(mut jobs: Jobs, watch: Watch<'_>) -> Result<(Workload, Outcome), InputError> {
    let begin = jobs.world.snapshot.now;
    let all = jobs.specs.len();
    let mut fates = vec![Fate::default(); all];
    let mut courses: Vec<Course> = Vec::new();
    let mut held = Vec::new();
    let (mut wake, mut done) = (None::<Millis>, 0);
    loop {
        let arrives = jobs.specs.get(courses.len()).map(|job| Millis::from(job.submit) * 1000);
        let ends = courses
            .iter()
            .zip(&fates)
            .filter(|(_, fate)| fate.end.is_none())
            .filter_map(|(c, _)| c.end())
            .min();
        let Some(now) = [arrives, ends, wake].into_iter().flatten().min() else { break };
        for (course, fate) in courses.iter_mut().zip(&mut fates) {
            course.advance(fate, now);
        }
        for (job, course) in courses.iter_mut().enumerate() {
            if fates[job].end.is_none() && course.end() == Some(now) {
                fates[job].end = Some(now);
                held.push((now, -course.gpu_each * course.held.len() as i64 / WHOLE_GPU));
                course.held.clear();
                jobs.world.close_named(&jobs.specs[job].name);
                done += 1;
            }
        }
        jobs.world.wait_until(begin + now);
        while let Some(job) =
            jobs.specs.get(courses.len()).filter(|job| Millis::from(job.submit) * 1000 <= now)
        {
            let fault = |fault: Fault| InputError::in_option(fault.field, fault.why);
            jobs.world.submit(&job.spec(), &job.name).map_err(fault)?;
            let entry = jobs.world.snapshot.jobs.last_mut();
            let mut course = Course { marked: now, ..Course::default() };
            if let Some(entry) = entry {
                entry.expected_ms = job.estimate.map(|estimate| Millis::from(estimate) * 1000);
                course.gpu_each = entry.request.roles.iter().map(|role| role.each.gpu).sum();
            }
            course.left = i128::from(job.duration) * 1000 * i128::from(job.replicas);
            courses.push(course);
        }
        for _ in 0..MOST_ROUNDS {
            jobs.world.snapshot.cycle += 1;
            let plan = decide(&jobs.world.snapshot)
                .map_err(|error| InputError::in_option("engine", error.to_string()))?;
            let moved = jobs.world.carry_out(&plan);
            if !moved {
                break;
            }
        }
        let mut now_held: Vec<Vec<(u32, u32)>> = vec![Vec::new(); courses.len()];
        for piece in &jobs.world.snapshot.holdings {
            if let Some(of) = now_held.get_mut(piece.job.at()) {
                of.push((piece.replica, piece.node.0));
            }
        }
        for (job, mut after) in now_held.into_iter().enumerate() {
            after.sort_unstable();
            let (course, fate) = (&mut courses[job], &mut fates[job]);
            if after == course.held || fate.end.is_some() {
                continue;
            }
            let lost = course.held.iter().any(|place| !after.contains(place));
            if after.is_empty() {
                fate.stopped += 1;
            } else if lost || (course.held.is_empty() && fate.first.is_some()) {
                course.pause = jobs.workload.asked[job].restart;
                fate.moved += u32::from(lost);
            }
            if !after.is_empty() {
                fate.first.get_or_insert(now);
            }
            let change = after.len() as i64 - course.held.len() as i64;
            held.push((now, change * course.gpu_each / WHOLE_GPU));
            course.held = after;
        }
        // start protection ends without any event
        let protection = jobs.world.snapshot.settings.protection_ms;
        let waits =
            courses.iter().zip(&fates).any(|(course, fate)| fate.end.is_none() && course.held.is_empty());
        let safe = jobs.world.snapshot.holdings.iter().map(|piece| piece.started - begin + protection);
        wake = if waits { safe.filter(|at| *at > now).min() } else { None };
        watch(done, all);
    }
    Ok((jobs.workload, Outcome { fates, held, told: Vec::new() }))
}
