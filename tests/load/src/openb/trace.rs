//! The recorded workload as jobs and nodes of Crater. Where the recording is absent, a seeded generator of the same mix.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, bail};
use crater_api::common::v1::Resources;
use crater_api::job::v1::{CreateJobRequest, Job, JobSpec, Role, ServiceClass};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde::Deserialize;

/// Jobs of the recording's default list.
const TASKS: usize = 8152;
/// The recording's machines: how many, millicores, MiB, GPUs, model.
const MACHINES: [(usize, u64, u64, u32, &str); 13] = [
    (310, 59_664, 349_032, 0, ""),
    (549, 96_000, 393_216, 8, "G2"),
    (387, 104_000, 524_288, 2, "T4"),
    (17, 96_000, 393_216, 4, "T4"),
    (131, 23_938, 145_329, 2, "P100"),
    (3, 8_000, 61_440, 1, "P100"),
    (19, 8_000, 32_768, 1, "V100M16"),
    (28, 32_000, 131_072, 4, "V100M16"),
    (8, 66_250, 272_384, 8, "V100M16"),
    (9, 48_000, 376_832, 4, "V100M32"),
    (21, 96_000, 786_432, 8, "V100M32"),
    (39, 128_000, 786_432, 8, "G3"),
    (2, 128_000, 1_048_576, 1, "A10"),
];
/// The mix of its tasks, in thousandths: share, millicores, MiB, GPUs, thousandths of each.
const MIX: [(u32, i64, i64, i64, i64); 8] = [
    (133, 17_645, 48_850, 0, 0),
    (86, 4_621, 22_046, 1, 269),
    (128, 8_554, 31_026, 1, 483),
    (163, 4_776, 13_340, 1, 779),
    (480, 11_077, 42_440, 1, 1000),
    (2, 16_925, 80_678, 2, 1000),
    (2, 37_760, 169_574, 4, 1000),
    (6, 80_272, 338_944, 8, 1000),
];

/// One task of the recording.
#[derive(Clone, Debug)]
pub struct Task {
    /// Its name there, which is the job's id here.
    pub id: String,
    cpu_millis: i64,
    memory_bytes: i64,
    gpu_millis: i64,
    models: Vec<String>,
    best_effort: bool,
    /// When it arrived, in seconds of the recording.
    pub arrives: i64,
    /// How long it ran, in seconds of the recording: at least 1.
    pub runs: i64,
}

#[derive(Deserialize)]
struct PodRow {
    name: String,
    cpu_milli: i64,
    memory_mib: i64,
    num_gpu: i64,
    gpu_milli: i64,
    gpu_spec: Option<String>,
    qos: String,
    creation_time: i64,
    deletion_time: i64,
    scheduled_time: Option<i64>,
}

#[derive(Deserialize)]
struct NodeRow {
    sn: String,
    cpu_milli: u64,
    memory_mib: u64,
    gpu: u32,
    model: Option<String>,
}

/// Tasks in the order of their arrival, and the machines as a file for `crater up --nodes`.
pub struct Recording {
    /// The tasks.
    pub tasks: Vec<Task>,
    /// YAML.
    pub nodes: String,
    /// How many machines that names.
    pub machines: usize,
    /// What it is, for the report.
    pub source: String,
}

impl Recording {
    /// Reads the folder of the recording; makes one up, from `seed`, if it is not there.
    pub fn read(folder: &Path, seed: u64) -> Result<Self> {
        let pods = folder.join("openb_pod_list_default.csv");
        if !pods.is_file() {
            return Ok(Self::made_up(seed));
        }
        let mut tasks = Vec::new();
        for (line, row) in csv::Reader::from_path(&pods)?.deserialize().enumerate() {
            let row: PodRow = row.with_context(|| format!("{}: row {}", pods.display(), line + 1))?;
            tasks.push(task(row));
        }
        let list = folder.join("openb_node_list_all_node.csv");
        let mut nodes = String::new();
        let mut machines = 0;
        for (line, row) in csv::Reader::from_path(&list)?.deserialize().enumerate() {
            let row: NodeRow = row.with_context(|| format!("{}: row {}", list.display(), line + 1))?;
            machine(
                &mut nodes,
                &row.sn,
                row.cpu_milli,
                row.memory_mib,
                row.gpu,
                row.model.as_deref().unwrap_or(""),
            )?;
            machines += 1;
        }
        if tasks.is_empty() || machines == 0 {
            bail!("{} holds no tasks or no nodes", folder.display());
        }
        tasks.sort_by_key(|t| t.arrives);
        Ok(Self { tasks, nodes, machines, source: "the recorded openb trace".to_owned() })
    }

    fn made_up(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let mut tasks = Vec::with_capacity(TASKS);
        let mut arrives = 0;
        for i in 0..TASKS {
            let mut roll = random.random_range(0..1000u32);
            let kind = MIX.iter().find(|m| {
                let here = roll < m.0;
                roll = roll.saturating_sub(m.0);
                here
            });
            let &(_, cpu_millis, memory_mib, gpus, each) = kind.unwrap_or(&MIX[0]);
            arrives += random.random_range(0..640);
            // log-uniform: half of the recorded tasks ran less than 485 s, one in ten more than five hours
            let runs = 10f64.powf(random.random_range(1.0..4.6)) as i64;
            tasks.push(Task {
                id: format!("made-up-{i:04}"),
                cpu_millis,
                memory_bytes: memory_mib << 20,
                gpu_millis: gpus * each,
                models: Vec::new(),
                best_effort: random.random_range(0..100) < 42,
                arrives,
                runs,
            });
        }
        let mut nodes = String::new();
        let mut machines = 0;
        for (count, cpu, memory, gpus, model) in MACHINES {
            for i in 0..count {
                let kind = if model.is_empty() { "cpu" } else { model };
                let name = format!("{}-{gpus}-{i}", kind.to_lowercase());
                // writing to a text does not fail
                let _ = machine(&mut nodes, &name, cpu, memory, gpus, model);
                machines += 1;
            }
        }
        Self { tasks, nodes, machines, source: format!("made up with seed {seed}") }
    }
}

fn machine(out: &mut String, name: &str, cpu: u64, memory_mib: u64, gpus: u32, model: &str) -> Result<()> {
    writeln!(
        out,
        "- {{name: {name}, cpu: {cpu}m, memory: {memory_mib}Mi, gpus: {gpus}, gpu_model: \"{model}\"}}"
    )?;
    Ok(())
}

fn task(row: PodRow) -> Task {
    let began = row.scheduled_time.unwrap_or(row.creation_time).max(row.creation_time);
    let models = row.gpu_spec.unwrap_or_default();
    Task {
        id: row.name,
        cpu_millis: row.cpu_milli,
        memory_bytes: row.memory_mib << 20,
        gpu_millis: row.num_gpu * row.gpu_milli.min(1000),
        models: models.split('|').filter(|m| !m.is_empty()).map(str::to_owned).collect(),
        best_effort: row.qos == "BE",
        arrives: row.creation_time,
        runs: (row.deletion_time - began).max(1),
    }
}

impl Task {
    /// The job that is submitted for it: it runs for at most `longest` seconds.
    pub fn request(&self, account: &str, longest: i64) -> CreateJobRequest {
        let class = if self.best_effort { ServiceClass::BestEffort } else { ServiceClass::Guaranteed };
        let role = Role {
            name: "worker".to_owned(),
            replicas: 1,
            resources: Some(Resources {
                cpu_millis: self.cpu_millis,
                memory_bytes: self.memory_bytes,
                gpu_millis: self.gpu_millis,
                ..Default::default()
            }),
            gpu_models: self.models.clone(),
            image: "registry.example/task:1".to_owned(),
            command: vec!["task".to_owned()],
            ..Role::default()
        };
        let duration = prost_types::Duration { seconds: self.runs.clamp(1, longest), nanos: 0 };
        let spec = JobSpec {
            service_class: class.into(),
            roles: vec![role],
            expected_duration: Some(duration),
            ..JobSpec::default()
        };
        CreateJobRequest {
            parent: format!("accounts/{account}"),
            job_id: self.id.clone(),
            job: Some(Job { spec: Some(spec), ..Job::default() }),
            request_id: uuid::Uuid::new_v4().to_string(),
            validate_only: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_made_up_mix_is_the_same_for_a_seed_and_fills_the_cluster() {
        let (one, same, other) = (Recording::made_up(1), Recording::made_up(1), Recording::made_up(2));
        let asked = |r: &Recording| r.tasks.iter().map(|t| t.gpu_millis).collect::<Vec<_>>();
        assert_eq!(asked(&one), asked(&same));
        assert_ne!(asked(&one), asked(&other));
        assert_eq!((one.tasks.len(), one.machines), (8152, 1523));
        let total: i64 = asked(&one).iter().sum::<i64>() / 1000;
        // the recording's tasks ask for 6,087 of 6,212 GPUs
        assert!((5_500..6_700).contains(&total), "{total}");
    }
}
