//! Bad input ends with one line that names file, line and field, exit code 2, and nothing written.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Parser;
use crater_replay::command::{Args, Output, run};

const NODES: &str = "sn,cpu_milli,memory_mib,gpu,model\nb,8000,1000,2,T4\na,4000,1000,1,P100\n";
const TASKS: &str = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec\n\
                     x,1000,10,1,500,\ny,1000,10,1,1000,T4|P100\nz,1000,10,0,0,\n";
const ORDER: &str = "seed,kind,values\n7,pods,0 1 2 0\n7,nodes,1 0\n";

#[derive(Debug, Parser)]
struct Program {
    #[command(flatten)]
    args: Args,
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// The arguments as a program reads them that has the flag of the output.
fn parse<I: IntoIterator<Item: Into<std::ffi::OsString> + Clone>>(line: I) -> Args {
    let Program { args, output } = Program::try_parse_from(line).unwrap();
    Args { output, ..args }
}

struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        let files = Self { folder: tempfile::tempdir().unwrap() };
        for (name, text) in [("nodes.csv", NODES), ("tasks.csv", TASKS), ("order.csv", ORDER)] {
            files.write(name, text.as_bytes());
        }
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    /// Exit code, output and faults, the latter without the folder's name.
    fn run(&self, order: &str, more: &[&str]) -> (u8, String, String) {
        let file = |name: &str| self.path(name).display().to_string();
        let mut line = vec!["replay".to_owned(), "--format".to_owned(), "openb".to_owned()];
        for (option, name) in [("--nodes", "nodes.csv"), ("--workload", "tasks.csv"), ("--order", order)] {
            line.extend([option.to_owned(), file(name)]);
        }
        line.extend(more.iter().map(|word| (*word).to_owned()));
        let args = parse(line);
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = run(&args, &mut out, &mut err).unwrap();
        let folder = format!("{}/", self.folder.path().display());
        (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap().replace(&folder, ""))
    }

    fn refused(&self, order: &str, more: &[&str]) -> String {
        let plot = self.path("plot.svg").display().to_string();
        let (code, out, err) = self.run(order, &[more, &["--plot", &plot]].concat());
        assert_eq!((code, out.as_str()), (2, ""), "{err}");
        assert!(!Path::new(&plot).exists(), "{err}");
        assert_eq!(err.matches('\n').count(), 1, "{err}");
        err.trim_end().to_owned()
    }
}

#[test]
fn a_small_world_is_replayed() {
    let files = Files::new();
    let (code, out, err) = files.run("order.csv", &["--seed", "7", "--output", "json"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let outcome: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(outcome["policy"], "crater");
    assert_eq!(
        (outcome["seed"].as_u64(), outcome["placed"].as_u64(), outcome["dropped"].as_u64()),
        (Some(7), Some(4), Some(0))
    );
    for curve in ["allocated_percent", "fragmented_percent"] {
        assert_eq!(outcome[curve].as_array().unwrap().len(), 131);
    }
    // two halves of one GPU and a whole one, of three: 2000 of 3000 at 67 % arrived, and so on from there
    assert_eq!(outcome["allocated_percent"][67], 66.67);
    assert_eq!(outcome["allocated_percent"][130], 66.67);
    assert!(outcome["seconds"].as_f64().unwrap() >= 0.0);
}

#[test]
fn policies_are_compared_side_by_side_and_drawn() {
    let files = Files::new();
    let plot = files.path("plot.svg");
    let more = ["--all-seeds", "--compare", "fgd,crater", "--plot", plot.to_str().unwrap()];
    let (code, out, _) = files.run("order.csv", &more);
    assert_eq!(code, 0);
    let policies: Vec<&str> =
        out.lines().skip(1).take(2).filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(policies, ["fgd", "crater"], "{out}");
    let svg = std::fs::read_to_string(plot).unwrap();
    assert!(svg.starts_with("<svg") && svg.contains(">crater<") && svg.contains("percent of capacity"));
    let left: Vec<_> = std::fs::read_dir(files.folder.path()).unwrap().collect();
    assert_eq!(left.len(), 4, "nothing but the inputs and the picture");
}

#[test]
fn faults_in_the_nodes_are_named() {
    let header = "sn,cpu_milli,memory_mib,gpu,model\n";
    for (text, fault) in [
        ("sn,cpu_milli,memory_mib,gpu\na,1,1,1\n".to_owned(), "nodes.csv:1: model: missing column"),
        (
            "sn,cpu_milli,memory_mib,gpu,model,rack\na,1,1,1,T4,r\n".to_owned(),
            "nodes.csv:1: rack: unknown column",
        ),
        (format!("{header}a,1,1,1,T4\nb,1,1,1,T4\na,1,1,1,T4\n"), "nodes.csv:4: sn: node a is there twice"),
        (format!("{header}a,-1,1,1,T4\n"), "nodes.csv:2: cpu_milli: -1 is negative"),
        (format!("{header}a,1,1.5,1,T4\n"), "nodes.csv:2: memory_mib: \"1.5\" is not a whole number"),
        (format!("{header}a,1,1,,T4\n"), "nodes.csv:2: gpu: empty"),
        (format!("{header}a,1,1,1,\n"), "nodes.csv:2: model: empty"),
        (format!("{header}a,1,1,9999999,T4\n"), "nodes.csv:2: gpu: 9999999 is more than 4096"),
        (format!("{header}a,1,1,0,\n"), "nodes.csv:1: gpu: no GPU on any node"),
        (format!("{header}a,1,1\n"), "nodes.csv:2: 3 fields, the header has 5"),
    ] {
        let files = Files::new();
        files.write("nodes.csv", text.as_bytes());
        assert_eq!(files.refused("order.csv", &["--seed", "7"]), fault);
    }
}

#[test]
fn faults_in_the_tasks_are_named() {
    let header = "name,cpu_milli,memory_mib,num_gpu,gpu_milli\n";
    for (text, fault) in [
        (format!("{header}x,1,1,1,500\nx,1,1,1,500\n"), "tasks.csv:3: name: task x is there twice"),
        (
            format!("{header}x,1,1,2,500\n"),
            "tasks.csv:2: gpu_milli: 500 of each of 2 devices: a part is of one device",
        ),
        (format!("{header}x,1,1,1,0\n"), "tasks.csv:2: gpu_milli: 0 of each of 1 devices"),
        (format!("{header}x,1,1,-1,0\n"), "tasks.csv:2: num_gpu: -1 is negative"),
        (format!("{header},1,1,1,500\n"), "tasks.csv:2: name: empty"),
        (header.to_owned(), "tasks.csv:1: no tasks"),
        (
            format!("{header}\"a\nb\",1,1,1,500\nx,1,1,1,x\n"),
            "tasks.csv:4: gpu_milli: \"x\" is not a whole number",
        ),
    ] {
        let files = Files::new();
        files.write("tasks.csv", text.as_bytes());
        assert_eq!(files.refused("order.csv", &["--seed", "7"]), fault);
    }
}

#[test]
fn faults_in_the_order_are_named() {
    let header = "seed,kind,values\n";
    for (text, fault) in [
        (
            format!("{header}7,pods,0 1 3\n7,nodes,1 0\n"),
            "order.csv:2: values: 3, but there are 3 tasks in the list",
        ),
        (format!("{header}7,pods,0 -1\n7,nodes,1 0\n"), "order.csv:2: values: \"-1\" is not an index"),
        (
            format!("{header}7,pods,0 1\n7,nodes,1 1\n"),
            "order.csv:3: values: not a permutation: 1 different ranks for 2 nodes",
        ),
        (format!("{header}7,pods,0 1\n"), "order.csv:2: kind: seed 7 has no row \"nodes\""),
        (format!("{header}7,jobs,0 1\n"), "order.csv:2: kind: \"jobs\" is neither \"pods\" nor \"nodes\""),
        (
            format!("{header}7,pods,0\n7,pods,1\n7,nodes,1 0\n"),
            "order.csv:3: seed: the same kind twice for seed 7",
        ),
        (format!("{header}8,pods,0\n8,nodes,1 0\n"), "order.csv:1: seed: no order for seed 7"),
    ] {
        let files = Files::new();
        files.write("order.csv", text.as_bytes());
        assert_eq!(files.refused("order.csv", &["--seed", "7"]), fault);
    }
}

#[test]
fn a_gzip_stream_that_is_cut_off_is_refused() {
    let files = Files::new();
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    packer.write_all(ORDER.as_bytes()).unwrap();
    let packed = packer.finish().unwrap();
    files.write("order.csv.gz", &packed);
    assert_eq!(files.run("order.csv.gz", &["--seed", "7"]).0, 0);
    // without its last 20 bytes the stream ends within the third line
    files.write("order.csv.gz", &packed[..packed.len() - 12]);
    assert_eq!(
        files.refused("order.csv.gz", &["--seed", "7"]),
        "order.csv.gz:3: the gzip stream is cut off here"
    );
    files.write("order.csv.gz", &packed[..packed.len() - 3]);
    assert_eq!(
        files.refused("order.csv.gz", &["--seed", "7"]),
        "order.csv.gz:4: the gzip stream is cut off here"
    );
}

#[test]
fn faults_in_the_options_are_named() {
    let files = Files::new();
    let known = "random, dot-product, gpu-clustering, gpu-packing, best-fit, fgd, crater, crater-migrating";
    let fault = files.refused("order.csv", &["--policy", "magic"]);
    assert_eq!(fault, format!("--policy: \"magic\" is none of {known}"));
    let fault = files.refused("order.csv", &["--policy", "fgd", "--migrate", "3"]);
    assert_eq!(fault, "--migrate: only crater-migrating moves tasks");
    let fault = files.refused("no.csv", &["--seed", "7"]);
    assert!(fault.starts_with("no.csv: reading: "), "{fault}");
}

#[test]
fn an_order_is_drawn_where_none_is_given() {
    let files = Files::new();
    let file = |name: &str| files.path(name).display().to_string();
    let print = |seed: &str| {
        let (nodes, tasks) = (file("nodes.csv"), file("tasks.csv"));
        let line = ["replay", "--format", "openb", "--nodes", &nodes, "--workload", &tasks, "--seed", seed];
        let args = parse(line.iter().chain(&["--output", "json"]));
        let (mut out, mut err) = (Vec::new(), Vec::new());
        assert_eq!(run(&args, &mut out, &mut err).unwrap(), 0);
        let outcome: serde_json::Value = serde_json::from_slice(&out).unwrap();
        (outcome["allocated_percent"].clone(), outcome["placed"].clone())
    };
    assert_eq!(print("1"), print("1"));
    assert!(["2", "3", "4", "5"].iter().any(|seed| print(seed) != print("1")));
}
