//! Small worlds with a known right answer: load, run until nothing changes, judge.

pub(crate) mod error;
pub(crate) mod format;
mod names;
mod roles;
pub(crate) mod world;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use crater_engine::{Plan, Verdict, decide};
use serde::Serialize;

pub use error::Error;
use error::Fault;
pub use format::Scenario;
use world::World;

/// What came of one scenario; serialized as it is printed by `--format json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// The scenario's name.
    pub name: String,
    /// Is everything as expected?
    pub pass: bool,
    /// Cycles run in all.
    pub cycles: u64,
    /// The nodes of each job that runs.
    pub placements: BTreeMap<String, Vec<String>>,
    /// Jobs that lost a replica.
    pub evictions: Vec<String>,
    /// Why each waiting job waits.
    pub pending: BTreeMap<String, String>,
    /// What was expected and what came.
    pub failures: Vec<String>,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `pass NAME` or `fail NAME: …`, one line a file.
    #[default]
    Text,
    /// One JSON object a file, one a line.
    Json,
}

/// The files that paths stand for: each file itself, each folder's `.yaml` and `.yml` files in order of name.
///
/// # Errors
/// A path that cannot be read, or a folder without any.
pub fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Error> {
    let mut all = Vec::new();
    for path in paths {
        if !path.is_dir() {
            all.push(path.clone());
            continue;
        }
        let read = |source| Error::Read { path: path.clone(), source };
        let mut here = Vec::new();
        for entry in std::fs::read_dir(path).map_err(read)? {
            let file = entry.map_err(read)?.path();
            if file.extension().is_some_and(|ext| ext == "yaml" || ext == "yml") {
                here.push(file);
            }
        }
        if here.is_empty() {
            return Err(Error::Empty { path: path.clone() });
        }
        here.sort();
        all.extend(here);
    }
    Ok(all)
}

/// Reads one file.
///
/// # Errors
/// When it cannot be read, or is not a scenario.
pub fn load(path: &Path) -> Result<Scenario, Error> {
    let text =
        std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    serde_yaml_ng::from_str(&text).map_err(|source| Error::Parse { path: path.to_owned(), source })
}

/// Loads and runs files and folders, in order.
///
/// # Errors
/// The first file that cannot be run; nothing is run then.
pub fn run_scenarios(paths: &[PathBuf]) -> Result<Vec<Outcome>, Error> {
    let mut loaded = Vec::new();
    for path in files(paths)? {
        let scenario = load(&path)?;
        loaded.push((path, scenario));
    }
    loaded.iter().map(|(path, scenario)| run_named(path, scenario)).collect()
}

fn run_named(path: &Path, scenario: &Scenario) -> Result<Outcome, Error> {
    run(scenario).map_err(|Fault { field, why }| Error::Invalid { path: path.to_owned(), field, why })
}

/// What the command `crater scenario` does: prints results to `out`, what is wrong with a file to `err`. Returns the exit code:
/// 0 when all pass, 1 when one does not, 2 when one cannot be run.
///
/// # Errors
/// When the output cannot be written.
pub fn scenario_main(
    paths: &[PathBuf],
    format: Format,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> std::io::Result<i32> {
    let outcomes = match run_scenarios(paths) {
        Ok(outcomes) => outcomes,
        Err(error) => {
            writeln!(err, "error: {error}")?;
            return Ok(2);
        }
    };
    for outcome in &outcomes {
        match format {
            Format::Json => writeln!(out, "{}", serde_json::to_string(outcome)?)?,
            Format::Text if outcome.pass => writeln!(out, "pass {}", outcome.name)?,
            Format::Text => writeln!(out, "fail {}: {}", outcome.name, outcome.failures.join("; "))?,
        }
    }
    Ok(i32::from(outcomes.iter().any(|outcome| !outcome.pass)))
}

/// Runs one world to its end and judges it.
fn run(scenario: &Scenario) -> Result<Outcome, Fault> {
    let mut run =
        Run { world: World::new(scenario)?, last: Plan::default(), cycles: 0, failures: Vec::new() };
    check_names(scenario, &run.world)?;
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
    run.judge(scenario);
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

/// A job that is expected but never submitted is a slip of the pen.
fn check_names(scenario: &Scenario, world: &World) -> Result<(), Fault> {
    let later: Vec<&str> =
        scenario.steps.iter().filter_map(|step| step.submit.as_ref()).map(|job| job.name.as_str()).collect();
    let expect = &scenario.expect;
    let lists = [
        ("placed", expect.placed.keys().collect::<Vec<_>>()),
        ("running", expect.running.keys().collect()),
        ("pending", expect.pending.keys().collect()),
        ("starts", expect.starts.keys().collect()),
        ("same_value", expect.same_value.keys().collect()),
        ("evicted", expect.evicted.iter().flatten().collect()),
        ("moved", expect.moved.iter().flatten().collect()),
    ];
    for (field, names) in lists {
        for name in names {
            if !later.contains(&name.as_str()) {
                world.known_job(name, &format!("expect.{field}"))?;
            }
        }
    }
    Ok(())
}

struct Run {
    world: World,
    last: Plan,
    cycles: u64,
    failures: Vec<String>,
}

impl Run {
    /// One cycle; says whether anything moved.
    fn cycle(&mut self) -> Result<bool, Fault> {
        self.world.next_cycle();
        self.cycles += 1;
        self.last =
            decide(&self.world.snapshot).map_err(|error| Fault::new("snapshot", error.to_string()))?;
        for verdict in &self.last.verdicts {
            if self.reason(verdict).is_empty() {
                self.failures
                    .push(format!("every waiting job has a reason: {} has none", self.name_of(verdict)));
            }
        }
        let last = std::mem::take(&mut self.last);
        let moved = self.world.carry_out(&last);
        self.last = last;
        Ok(moved)
    }

    fn settle(&mut self, max_cycles: u32, at: &str) -> Result<(), Fault> {
        for _ in 0..max_cycles {
            if !self.cycle()? {
                for broken in self.world.broken_laws() {
                    self.failures.push(format!("a law after {at}: {broken}"));
                }
                return Ok(());
            }
        }
        self.failures.push(format!("it settles after {at} in {max_cycles} cycles: it does not"));
        Ok(())
    }

    fn name_of(&self, verdict: &Verdict) -> String {
        crater_engine::Names::job(&self.world, verdict.job).to_owned()
    }

    fn reason(&self, verdict: &Verdict) -> String {
        let now = self.world.snapshot.now;
        let reasons = verdict.reasons.iter().map(|reason| reason.render(now, &self.world));
        reasons.collect::<Vec<String>>().join("; ")
    }

    fn judge(&mut self, scenario: &Scenario) {
        let expect = &scenario.expect;
        let world = &self.world;
        let mut failures = Vec::new();
        for (job, nodes) in &expect.placed {
            let mut wanted = nodes.clone();
            wanted.sort();
            let have = world.replicas(job);
            if have != wanted {
                failures.push(format!("{job} on [{}], came [{}]", wanted.join(", "), have.join(", ")));
            }
        }
        for (job, wanted) in &expect.running {
            let have = world.replicas(job).len();
            if have != *wanted {
                failures.push(format!("{wanted} replicas of {job}, came {have}"));
            }
        }
        for (job, text) in &expect.pending {
            let verdict = self.last.verdicts.iter().find(|verdict| self.name_of(verdict) == *job);
            match verdict.map(|verdict| self.reason(verdict)) {
                None => failures.push(format!("{job} waits, came [{}]", world.replicas(job).join(", "))),
                Some(reason) if reason.is_empty() || !reason.contains(text.as_str()) => {
                    failures.push(format!("{job} waits because of \"{text}\", came \"{reason}\""));
                }
                Some(_) => {}
            }
        }
        for (job, wanted) in &expect.starts {
            let verdict = self.last.verdicts.iter().find(|verdict| self.name_of(verdict) == *job);
            let start = verdict.and_then(|verdict| verdict.expected_start);
            let have = start.map(|start| (start - world::START) / 1000);
            if have != Some(*wanted) {
                let have = have.map_or("nothing".into(), |have| format!("{have} s"));
                failures.push(format!("{job} is told that it starts after {wanted} s, came {have}"));
            }
        }
        let sets = [("evicted", &expect.evicted, &world.evicted), ("moved", &expect.moved, &world.moved)];
        for (what, wanted, have) in sets {
            let Some(wanted) = wanted else { continue };
            let wanted: std::collections::BTreeSet<String> = wanted.iter().cloned().collect();
            if wanted != *have {
                let list = |set: &std::collections::BTreeSet<String>| {
                    set.iter().cloned().collect::<Vec<_>>().join(", ")
                };
                failures.push(format!("{what} [{}], came [{}]", list(&wanted), list(have)));
            }
        }
        if let Some(most) = expect.evictions_max
            && world.evictions > most
        {
            failures.push(format!("at most {most} replicas evicted, came {}", world.evictions));
        }
        for (job, key) in &expect.same_value {
            let nodes = world.replicas(job);
            let mut values: Vec<Option<&str>> = nodes.iter().map(|node| world.label_of(node, key)).collect();
            values.dedup();
            if values.len() != 1 || values.contains(&None) {
                failures.push(format!("{job} within one {key}, came [{}]", nodes.join(", ")));
            }
        }
        self.failures.extend(failures);
    }
}
