//! Whatever is changed in a sound file, it is either run or refused with one line that names file and line; nothing panics.
#![allow(clippy::unwrap_used)]

use clap::Parser;
use crater_replay::command::{Args, run};
use crater_replay::scenario::{Format, scenario_main};

/// Of each kind.
const CASES: u64 = 600;

/// Put in place of words.
const ODD: [&str; 42] = [
    "2",
    "4",
    "5",
    "1",
    "a",
    "b",
    "n0",
    "lab",
    "",
    "~",
    "0",
    "-0",
    "-1",
    "3",
    "1.5",
    "1e3",
    "007",
    "0x10",
    ".nan",
    ".inf",
    "true",
    "\"\"",
    "''",
    "\"5\"",
    "[]",
    "{}",
    "[[x]]",
    "{a: b}",
    "99999999999999999999",
    "-9223372036854775808",
    "64GB",
    "1.5Gi",
    "0.0001",
    "&a x",
    "*a",
    "!t x",
    "---",
    "\u{feff}",
    "\t",
    "é",
    "a.b[0]",
    "#",
];

/// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % n as u64).unwrap()
    }
}

/// The text with a change or two of words, lines or bytes.
fn mutated(text: &str, seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let mut text = text.to_owned();
    for _ in 0..=random.below(4) / 3 {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let at = random.below(lines.len().max(1));
        let other = random.below(lines.len().max(1));
        match random.below(8) {
            0 if lines.len() > 1 => drop(lines.remove(at)),
            1 if !lines.is_empty() => lines.insert(at, lines[other].clone()),
            2 if !lines.is_empty() => lines.swap(at, other),
            3 if !lines.is_empty() => lines[at].insert_str(0, "  "),
            4 => lines.truncate(at + 1),
            _ if !lines.is_empty() => lines[at] = with_odd_word(&lines[at], &mut random),
            _ => {}
        }
        text = lines.join("\n") + "\n";
    }
    let mut bytes = text.into_bytes();
    if random.below(10) == 0 {
        bytes.truncate(random.below(bytes.len() + 1));
    }
    if random.below(20) == 0 && !bytes.is_empty() {
        let at = random.below(bytes.len());
        bytes[at] = u8::try_from(random.below(256)).unwrap();
    }
    bytes
}

/// A line in which one word is another.
fn with_odd_word(line: &str, random: &mut Random) -> String {
    let edge = |c: char| " ,{}[]:".contains(c);
    let words: Vec<(usize, &str)> = line
        .split(edge)
        .filter(|word| !word.is_empty())
        .map(|word| (word.as_ptr() as usize - line.as_ptr() as usize, word))
        .collect();
    if words.is_empty() {
        return line.to_owned();
    }
    let (at, word) = words[random.below(words.len())];
    format!("{}{}{}", &line[..at], ODD[random.below(ODD.len())], &line[at + word.len()..])
}

/// One line, which begins with one of these files and a number of a line.
fn is_told(err: &str, files: &[&str]) -> bool {
    let Some((file, rest)) = err.strip_suffix('\n').and_then(|err| err.split_once(':')) else { return false };
    let line = rest.split_once(": ").map(|(line, _)| line.parse::<u64>());
    files.contains(&file) && !rest.contains('\n') && matches!(line, Some(Ok(1..)))
}

const WORLD: &str = "\
name: good
law: What fits runs.
kind: invariant
nodes:
- {name: n0, cpu: 8, memory: 64Gi, gpu: 2, gpu_model: A100, labels: {rack: r0}, extended: {mig: 2}}
- name: m
  count: 2
  gpu: 1
  gpu_model: T4
accounts:
- {name: lab, guaranteed: {gpu: 2, A100: 1, cpu: 4}, limit: {gpu: 4, jobs: 9, mig: 1}, borrowed_lately: {A100: 1}}
- {name: q0, parent: lab, weight: 2}
priority_classes: {rush: 50}
settings: {order: sjf, half_life: 3600}
jobs:
- {name: a, account: q0, priority: high, each: {gpu: 1}, running_on: [n0], started: 60, estimate: 50}
- name: b
  account: q0
  class: best_effort
  replicas: 2
  min_replicas: 1
  each: {gpu: 0.5, memory: 1Gi, extended: {mig: 1}}
  gpu_model: [A100]
  node_selector: {rack: r0}
  topology: {key: rack, mode: required}
- {name: r, account: lab, roles: [{name: x, each: {cpu: 1}}, {name: y, replicas: 2, each: {gpu: 1}}]}
steps:
- {submit: {name: c, account: q0}}
- {finish_replicas: {a: 1}}
- {fail_node: m-1}
- {finish: c}
- {resubmit: evicted}
expect:
  running: {b: 2, c: 0, r: 3}
  same_value: {b: rack}
  evicted: [r]
  evictions_max: 3
max_cycles: 20
";

#[test]
fn a_changed_world_is_run_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("w.yaml");
    let mut codes = [0u64; 3];
    for seed in 0..CASES {
        std::fs::write(&file, mutated(WORLD, seed)).unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = scenario_main(std::slice::from_ref(&file), Format::Json, &mut out, &mut err).unwrap();
        let (out, err) = (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap());
        let err = err.replace(&format!("error: {}/", folder.path().display()), "");
        codes[usize::try_from(code).unwrap()] += 1;
        match code {
            2 => assert!(out.is_empty() && is_told(&err, &["w.yaml"]), "seed {seed}: {out}{err}"),
            _ => assert!(err.is_empty() && out.lines().count() == 1, "seed {seed}: {out}{err}"),
        }
    }
    assert!(codes[2] > CASES / 4 && codes[0] + codes[1] > CASES / 20, "{codes:?}");
}

#[derive(Debug, Parser)]
struct Program {
    #[command(flatten)]
    args: Args,
}

/// Replays files, each case with one of them changed, and looks at what is told.
fn replayed(files: &[(&str, &str)], args: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let names: Vec<&str> = files.iter().map(|(name, _)| *name).collect();
    let word = |word: &str| {
        if names.contains(&word) { path(word).display().to_string() } else { word.to_owned() }
    };
    let line: Vec<String> = format!("replay {args}").split(' ').map(word).collect();
    let mut codes = [0u64; 3];
    for seed in 0..CASES {
        let changed = usize::try_from(seed).unwrap() % files.len();
        for (i, (name, text)) in files.iter().enumerate() {
            let bytes = if i == changed { mutated(text, seed) } else { text.as_bytes().to_vec() };
            std::fs::write(path(name), bytes).unwrap();
        }
        let args = Program::parse_from(&line).args;
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = run(&args, &mut out, &mut err).unwrap();
        let err = String::from_utf8(err).unwrap().replace(&format!("{}/", folder.path().display()), "");
        codes[usize::from(code)] += 1;
        match code {
            2 => assert!(out.is_empty() && is_told(&err, &names), "seed {seed}: {err}"),
            _ => assert!(!out.is_empty() && err.is_empty(), "seed {seed}: {err}"),
        }
    }
    assert!(codes[2] > CASES / 4 && codes[0] > CASES / 20, "{codes:?}");
}

#[test]
fn changed_yaml_of_jobs_is_run_or_refused() {
    let from_nodes = WORLD.split_once("nodes:").unwrap().1.split_once("jobs:\n").unwrap().0;
    let jobs = "\
- {name: a-1, submit: 0, duration: 100, estimate: 90, account: q0, user: ann, priority: rush, each: {gpu: 1}}
- name: b-1
  submit: 5
  duration: 50
  account: lab
  class: best_effort
  replicas: 2
  min_replicas: 1
  each: {gpu: 0.5, memory: 1Gi}
  gpu_model: [A100, T4]
  topology: {key: rack, mode: preferred}
  preemptible: true
- {name: c-1, submit: 6, duration: 20, account: lab, roles: [{name: x, each: {cpu: 1}}, {name: y, each: {gpu: 1}}]}
";
    replayed(&[("j.yaml", &format!("nodes:{from_nodes}jobs:\n{jobs}"))], "--format jobs --workload j.yaml");
}

#[test]
fn changed_tables_of_jobs_are_run_or_refused() {
    let nodes = "name,count,gpu,gpu_model,cpu,labels\nb,2,8,A100,64,rack=r1\na,,4,T4,32,rack=r2;zone=z\n";
    let jobs = "\
name,submit,duration,estimate,account,user,class,priority,replicas,min_replicas,gpu,cpu,gpu_model,topology,preemptible
wide-1,0,1000,1200,vision,ann,,high,2,,8,16,A100,required:rack,
half-2,10,300,,vision,ann,best_effort,,1,,0.5,,,,
next-3,20,500,600,language,bob,guaranteed,5,2,1,8,,A100|T4,,true
";
    replayed(&[("j.csv", jobs), ("n.csv", nodes)], "--format jobs --workload j.csv --nodes n.csv");
}

#[test]
fn changed_recorded_tables_are_run_or_refused() {
    let nodes = "sn,cpu_milli,memory_mib,gpu,model\nb,8000,1000,2,T4\na,4000,1000,1,P100\n";
    let tasks = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec\nx,1000,10,1,500,\ny,1000,10,1,1000,T4|P100\nz,1000,10,0,0,\n";
    let order = "seed,kind,values\n7,pods,0 1 2 0\n7,nodes,1 0\n";
    let files = [("n.csv", nodes), ("t.csv", tasks), ("o.csv", order)];
    replayed(&files, "--format openb --nodes n.csv --workload t.csv --order o.csv --seed 7");
    let helios = "\
job_id,user,tenant,submit_time,num_chips,duration_s,class
1,ann,v,1000,2,30,train
2,bob,v,2000,8,40.5,train
3,bob,w,3000,1,9,debug
";
    replayed(
        &[("h.csv", helios)],
        "--format helios --workload h.csv --nodes 2 --gpus-per-node 8 --policy fifo",
    );
}
