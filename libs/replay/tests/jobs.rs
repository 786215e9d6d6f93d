//! A cluster and jobs of one's own: YAML and tables, roles, policies, forecasts, and what is refused.
#![allow(clippy::unwrap_used)]

use std::io::Write;

use crater_replay::command::{Args, Output, run};

#[derive(Debug, clap::Parser)]
struct Program {
    #[command(flatten)]
    args: Args,
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

/// Runs `crater replay --format jobs` on files of these texts; their names in the arguments stand for them.
fn command(files: &[(&str, &[u8])], args: &str) -> (u8, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let in_folder = |word: &str| folder.path().join(word).to_str().unwrap().to_owned();
    for (name, content) in files {
        std::fs::write(folder.path().join(name), content).unwrap();
    }
    let word = |word: &str| {
        if files.iter().any(|(name, _)| *name == word) { in_folder(word) } else { word.to_owned() }
    };
    let line = ["replay", "--format", "jobs"].into_iter().chain(args.split(' ')).map(word);
    let Program { args, output } = clap::Parser::parse_from(line);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = run(&Args { output, ..args }, &mut out, &mut err).unwrap();
    let err = String::from_utf8(err).unwrap().replace(&in_folder(""), "");
    (code, String::from_utf8(out).unwrap(), err)
}

/// The report, without how long it took.
fn report(files: &[(&str, &[u8])], args: &str) -> serde_json::Value {
    let (code, out, err) = command(files, &format!("{args} -o json"));
    assert_eq!((code, err.as_str()), (0, ""));
    let mut report: serde_json::Value = serde_json::from_str(&out).unwrap();
    let one = |report: &mut serde_json::Value| report.as_object_mut().unwrap().remove("seconds");
    match &mut report {
        serde_json::Value::Array(all) => all.iter_mut().for_each(|report| assert!(one(report).is_some())),
        report => assert!(one(report).is_some()),
    }
    report
}

const NODES: &str = "name,count,gpu,gpu_model,cpu,labels\nb,2,8,A100,64,rack=r1\na,,4,T4,32,rack=r2;zone=z\n";
const JOBS: &str = "\
name,submit,duration,estimate,account,user,class,priority,replicas,min_replicas,gpu,cpu,gpu_model,topology,preemptible
wide-1,0,1000,1200,vision,ann,,high,2,,8,16,A100,required:rack,
half-2,10,300,,vision,ann,best_effort,,1,,0.5,,,,
next-3,20,500,600,language,bob,guaranteed,5,2,1,8,,A100|T4,,true
last-4,30,500,600,language,bob,,,1,,8,,,,
";
const AS_YAML: &str = "
nodes:
- {name: b, count: 2, gpu: 8, gpu_model: A100, cpu: 64, labels: {rack: r1}}
- {name: a, gpu: 4, gpu_model: T4, cpu: 32, labels: {rack: r2, zone: z}}
accounts:
- {name: language}
- {name: vision}
jobs:
- name: wide-1
  submit: 0
  duration: 1000
  estimate: 1200
  account: vision
  user: ann
  priority: high
  replicas: 2
  each: {gpu: 8, cpu: 16}
  gpu_model: [A100]
  topology: {key: rack, mode: required}
- {name: half-2, submit: 10, duration: 300, account: vision, user: ann, class: best_effort, each: {gpu: 0.5}}
- {name: next-3, submit: 20, duration: 500, estimate: 600, account: language, user: bob, priority: 5, replicas: 2,
   min_replicas: 1, each: {gpu: 8}, gpu_model: [A100, T4], preemptible: true}
- {name: last-4, submit: 30, duration: 500, estimate: 600, account: language, user: bob, each: {gpu: 8}}
";

#[test]
fn a_table_says_what_yaml_says() {
    let by_table =
        report(&[("j.csv", JOBS.as_bytes()), ("n.csv", NODES.as_bytes())], "--workload j.csv --nodes n.csv");
    let by_yaml = report(&[("j.yaml", AS_YAML.as_bytes())], "--workload j.yaml");
    assert_eq!(by_table, by_yaml);
    assert_eq!(
        (&by_table["jobs"], &by_table["gpus"], &by_table["unfinished"]),
        (&4.into(), &20.into(), &0.into())
    );
    // the two that wait were told
    assert_eq!(by_table["forecasts"]["told"], 2, "{by_table}");
    assert!(by_table["forecasts"]["median_p90_s"].as_f64().unwrap() > 0.0);
}

#[test]
fn nodes_may_be_counted_and_their_order_is_nothing_to_the_result() {
    let few = JOBS.replace("A100|T4", "").replace("A100", "").replace("required:rack", "");
    let counted = report(&[("j.csv", few.as_bytes())], "--workload j.csv --nodes 2 --gpus-per-node 8");
    assert_eq!((&counted["gpus"], &counted["unfinished"]), (&16.into(), &0.into()));
    let mut lines: Vec<&str> = NODES.lines().collect();
    lines[1..].reverse();
    let other = lines.join("\n");
    let of = |nodes: &str| {
        report(&[("j.csv", JOBS.as_bytes()), ("n.csv", nodes.as_bytes())], "--workload j.csv --nodes n.csv")
    };
    assert_eq!(of(NODES), of(&other));
}

#[test]
fn a_job_of_several_roles_starts_as_one_gang() {
    let text = "
nodes:
- {name: n, count: 2, gpu: 8, gpu_model: A100, cpu: 64}
jobs:
- name: served
  submit: 0
  duration: 100
  roles:
  - {name: head, each: {cpu: 8}}
  - {name: work, replicas: 3, min_replicas: 2, each: {gpu: 4, cpu: 4}}
- {name: alone, submit: 1, duration: 50, each: {gpu: 8}}
- name: large
  submit: 2
  duration: 10
  roles:
  - {name: head, each: {cpu: 64}}
  - {name: work, replicas: 2, each: {gpu: 8, cpu: 8}}
";
    let all = |text: &str| report(&[("j.yaml", text.as_bytes())], "--workload j.yaml --restart-cost 0");
    // beside the other role no node has 64 cores left: the gang never starts, nor does a part of it
    let never = all(text);
    assert_eq!((&never["unfinished"], &never["forecasts"]["told"]), (&1.into(), &1.into()), "{never}");
    let fits = all(&text.replace("cpu: 64}}\n  - {name: work", "cpu: 8}}\n  - {name: work"));
    assert_eq!((&fits["unfinished"], &fits["forecasts"]["told"]), (&0.into(), &2.into()), "{fits}");
    for (from, to, line, field) in [
        ("name: work, replicas: 3", "name: head, replicas: 3", 10, "jobs[0].roles[1].name"),
        ("min_replicas: 2,", "min_replicas: 4,", 10, "jobs[0].roles[1].min_replicas"),
        ("  duration: 100", "  duration: 100\n  replicas: 2", 9, "jobs[0].roles"),
        ("{gpu: 4, cpu: 4}", "{gpu: 4.5}", 10, "jobs[0].roles[1].each.gpu"),
    ] {
        let (code, out, err) =
            command(&[("j.yaml", text.replacen(from, to, 1).as_bytes())], "--workload j.yaml");
        assert_eq!((code, out.as_str()), (2, ""), "{to}: {err}");
        assert!(err.starts_with(&format!("j.yaml:{line}: {field}: ")), "{to}: {err}");
        assert_eq!(err.lines().count(), 1);
    }
}

#[test]
fn policies_are_compared_by_their_settings() {
    let files: &[(&str, &[u8])] = &[("j.csv", JOBS.as_bytes()), ("n.csv", NODES.as_bytes())];
    let args = "--workload j.csv --nodes n.csv --compare crater,order=sjf+placement=spread,order=las";
    let all = report(files, args);
    let names: Vec<&str> = all.as_array().unwrap().iter().filter_map(|one| one["policy"].as_str()).collect();
    assert_eq!(names, ["crater", "order=sjf+placement=spread", "order=las"]);
    let (code, out, _) = command(files, args);
    assert!(code == 0 && out.contains("order=las") && out.contains("forecasts"), "{out}");
    // who is expected to be short goes first
    let queue = "name,submit,duration,estimate,gpu\nnow,0,100,100,8\nlong,1,900,900,8\nshort,2,10,10,8\n";
    let mean = |policy: &str| {
        let args = format!("--workload j.csv --nodes 1 --policy {policy}");
        report(&[("j.csv", queue.as_bytes())], &args)["mean_jct_s"].as_f64().unwrap()
    };
    assert!(mean("order=sjf") < mean("order=fifo"), "{} {}", mean("order=sjf"), mean("order=fifo"));
    for (policy, says) in [("fast", "neither"), ("speed=9", "no setting"), ("order=fast", "order: ")] {
        let (code, _, err) = command(files, &format!("--workload j.csv --nodes n.csv --policy {policy}"));
        assert!(code == 2 && err.starts_with("--policy: ") && err.contains(says), "{policy}: {err}");
    }
}

#[test]
fn bad_tables_are_refused_by_file_line_and_field() {
    let good = |jobs: &str, nodes: &str| {
        command(&[("j.csv", jobs.as_bytes()), ("n.csv", nodes.as_bytes())], "--workload j.csv --nodes n.csv")
    };
    assert_eq!(good(JOBS, NODES).0, 0);
    for (from, to, says) in [
        ("name,submit", "name,colour,submit", "j.csv:1: colour: unknown column"),
        ("half-2,10", "half-2,-10", "j.csv:3: submit: -10 is negative"),
        ("next-3,20", "next-3,5", "j.csv:4: submit: is before the job above: times go back"),
        ("last-4", "wide-1", "j.csv:5: name: job wide-1 is there twice"),
        ("30,500", "30,0", "j.csv:5: duration: must be at least 1 second"),
        ("30,500,600", "30,500,0", "j.csv:5: estimate: must be at least 1 second"),
        ("language,bob,,,1", ",bob,,,1", "j.csv:5: account: the job is in no account"),
        ("0.5", "1.5", "j.csv:3: gpu: must be whole GPUs or a part of one"),
        ("0.5", "-0.5", "j.csv:3: gpu: -0.5 is negative"),
        ("2,1,8", "2,3,8", "j.csv:4: min_replicas: 3 is not from 1 to the 2 replicas that it wants"),
        ("best_effort", "best", "j.csv:3: class: \"best\" is neither guaranteed nor best_effort"),
        (
            "high",
            "highest",
            "j.csv:2: priority: there is no priority class highest; there are critical, high, low, normal, and whole numbers",
        ),
        (
            "required:rack",
            "rack",
            "j.csv:2: topology: \"rack\" is neither required:LABEL nor preferred:LABEL",
        ),
        (",true", ",yes", "j.csv:4: preemptible: \"yes\" is neither true nor false"),
    ] {
        let (code, out, err) = good(&JOBS.replacen(from, to, 1), NODES);
        assert_eq!((code, out.as_str(), err.trim_end()), (2, "", says), "{to}");
    }
    for (from, to, says) in [
        ("a,,4", "b-1,,4", "n.csv:3: name: node b-1 is there twice"),
        ("2,8,A100", "2,8,", "n.csv:2: gpu_model: is needed where there are gpus"),
        ("2,8,A100", "2,-8,A100", "n.csv:2: gpu: -8 is negative"),
        ("rack=r2", "rack", "n.csv:3: labels: \"rack\" is not of the form key=value"),
        ("rack=r2;zone", "rack=r2;rack", "n.csv:3: labels: rack is there twice"),
    ] {
        let (code, out, err) = good(JOBS, &NODES.replacen(from, to, 1));
        assert_eq!((code, out.as_str(), err.trim_end()), (2, "", says), "{to}");
    }
    let files: &[(&str, &[u8])] =
        &[("j.csv", JOBS.as_bytes()), ("j.yaml", AS_YAML.as_bytes()), ("n.csv", NODES.as_bytes())];
    for (args, says) in [
        ("--workload j.csv", "--nodes: needed"),
        ("--workload j.yaml --nodes n.csv", "--nodes: the nodes stand in the workload"),
        ("--workload j.csv --nodes 0", "--nodes: \"0\" is not a number of nodes"),
        ("--workload j.csv --nodes n.csv --gpus-per-node 8", "--gpus-per-node: stands in the table of nodes"),
        ("--workload j.yaml --gpus-per-node 8", "--gpus-per-node: needs --nodes N"),
        ("--workload no.csv --nodes 1", "no.csv: reading: "),
    ] {
        let (code, out, err) = command(files, args);
        assert!(
            (code, out.as_str()) == (2, "") && err.contains(says) && err.lines().count() == 1,
            "{args}: {err}"
        );
    }
}

#[test]
fn bad_yaml_is_refused_by_file_line_and_field() {
    let run = |text: &str| command(&[("j.yaml", text.as_bytes())], "--workload j.yaml");
    assert_eq!(run(AS_YAML).0, 0);
    for (from, to, says) in [
        (
            "jobs:",
            "job:",
            "j.yaml:8: job: there is no such key; there are nodes, accounts, priority_classes, settings, jobs",
        ),
        ("name: b, count: 2", "name: b, count: 0", "j.yaml:3: nodes[0].count: must be at least 1"),
        (
            "name: b, count: 2",
            "name: b, count: 4000000000",
            "j.yaml:3: nodes[0].count: there are more than 1000000 nodes in all",
        ),
        ("cpu: 32", "cpu: 32GB", "j.yaml:4: nodes[1].cpu: \"32GB\" is not an amount: say 32G or 32Gi"),
        (
            "- {name: vision}",
            "- {name: vision, guaranteed: {gpu: 2}, limit: {gpu: 1}}",
            "j.yaml:7: accounts[1].guaranteed.gpu: 2 is more than the account's limit of 1",
        ),
        (
            "- {name: vision}",
            "- {name: vision, parent: vision}",
            "j.yaml:7: accounts[1].parent: an account is above itself: vision below vision",
        ),
        ("  submit: 0\n", "", "j.yaml:9: jobs[0].submit: is missing"),
        ("  submit: 0\n", "  submit: -1\n", "j.yaml:10: jobs[0].submit: -1 is negative"),
        ("  duration: 1000", "  duration: 0", "j.yaml:11: jobs[0].duration: must be at least 1 second"),
        (
            "  duration: 1000",
            "  duration: 1000\n  duration: 900",
            "j.yaml:12: jobs[0].duration: is there twice, first on line 11",
        ),
        (
            "  estimate: 1200",
            "  estimate: soon",
            "j.yaml:12: jobs[0].estimate: \"soon\" is not a whole number",
        ),
        (
            "  account: vision\n",
            "",
            "j.yaml:9: jobs[0].account: job wide-1 is in no account; there are language, vision",
        ),
        (
            "priority: high",
            "priority: highest",
            "j.yaml:15: jobs[0].priority: there is no priority class highest; there are critical, high, low, normal, and whole numbers",
        ),
        (
            "{gpu: 8, cpu: 16}",
            "{gpu: 8, tpu: 16}",
            "j.yaml:17: jobs[0].each.tpu: there is no such key; there are cpu, memory, gpu, extended",
        ),
        ("name: half-2", "name: wide-1", "j.yaml:20: jobs[1].name: job wide-1 is there twice"),
        ("submit: 20", "submit: 5", "j.yaml:21: jobs[2].submit: is before the job above: times go back"),
        (
            "gpu: 0.5",
            "gpu: 0.0001",
            "j.yaml:20: jobs[1].each.gpu: 0.0001 is less than 0.001, the smallest part of a GPU",
        ),
        (
            "min_replicas: 1",
            "min_replicas: 3",
            "j.yaml:22: jobs[2].min_replicas: 3 is not from 1 to the 2 replicas that it wants",
        ),
    ] {
        let text = AS_YAML.replacen(from, to, 1);
        assert_ne!(text, AS_YAML, "{from}");
        let (code, out, err) = run(&text);
        assert_eq!((code, out.as_str(), err.trim_end()), (2, "", says), "{to}");
    }
    assert_eq!(run("nodes: []\njobs: []\n").2, "j.yaml:1: nodes: there is no node\n");
    assert_eq!(run("nodes: [{name: n}]\njobs: []\n").2, "j.yaml:2: jobs: there is no job\n");
    assert_eq!(run("\n").2, "j.yaml:1: there is nothing in it\n");
    // what Kubernetes writes, and classes of one's own beside the usual ones
    let own = AS_YAML
        .replace("accounts:", "priority_classes: {rush: 50}\naccounts:")
        .replace("priority: 5", "priority: rush");
    for text in [own, AS_YAML.replace("cpu: 16}", "cpu: 15500m, memory: 1.5Gi}")] {
        let (code, _, err) = run(&text);
        assert_eq!((code, err.as_str()), (0, ""));
    }
}

#[test]
fn a_gzip_stream_that_is_cut_off_is_refused() {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    packer.write_all(JOBS.as_bytes()).unwrap();
    let packed = packer.finish().unwrap();
    let run = |packed: &[u8]| {
        command(&[("j.csv.gz", packed), ("n.csv", NODES.as_bytes())], "--workload j.csv.gz --nodes n.csv")
    };
    assert_eq!(run(&packed).0, 0);
    let (code, out, err) = run(&packed[..packed.len() - 40]);
    assert_eq!((code, out.as_str(), err.trim_end()), (2, "", "j.csv.gz:5: the gzip stream is cut off here"));
}
