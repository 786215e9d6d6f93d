//! A world that makes no sense ends with one line that names file, line and field, and exit code 2; the others are run all the same.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use crater_replay::scenario::{Format, scenario_main};

/// Runs files of these names and texts, all in one folder: exit code, output, and faults without the name of the folder.
fn folder(files: &[(&str, &str)]) -> (i32, String, String) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let paths = [folder.path().to_owned()];
    let code = scenario_main(&paths, Format::Text, &mut out, &mut err).unwrap();
    let left = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, files.len(), "nothing is written");
    let err = String::from_utf8(err).unwrap().replace(&format!("{}/", folder.path().display()), "");
    (code, String::from_utf8(out).unwrap(), err)
}

const GOOD: &str = "\
name: good
law: What fits runs.
kind: invariant
nodes:
- {name: n0, cpu: 8, memory: 64Gi, gpu: 2, gpu_model: A100, labels: {rack: r0}}
- name: m
  count: 2
  gpu: 1
  gpu_model: T4
accounts:
- {name: lab, guaranteed: {gpu: 2}, limit: {gpu: 4}}
- {name: q0, parent: lab}
jobs:
- {name: a, account: q0, priority: high, each: {gpu: 1}, running_on: [n0], started: 60}
- name: b
  account: q0
  replicas: 2
  each:
    gpu: 0.5
    memory: 1Gi
  gpu_model: [A100]
  topology: {key: rack, mode: required}
steps:
- {submit: {name: c, account: q0}}
- {finish_replicas: {b: 1}}
- {fail_node: m-1}
- {finish: a}
expect:
  placed: {b: [n0]}
  running: {b: 1, c: 1}
  same_value:
    b: rack
  evicted: []
";

/// What is told of the good world with this put in place of that.
fn told(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    let (code, out, err) = folder(&[("w.yaml", &GOOD.replacen(from, to, 1))]);
    assert_eq!((code, out.as_str(), err.lines().count()), (2, "", 1), "{to}: {out}{err}");
    err.trim_end().strip_prefix("error: ").unwrap().to_owned()
}

#[test]
fn the_good_world_passes() {
    assert_eq!(folder(&[("w.yaml", GOOD)]), (0, "pass good\n".into(), String::new()));
}

#[test]
fn what_the_format_has_no_place_for_is_refused_by_line_and_field() {
    for (from, to, says) in [
        ("name: good\n", "", "w.yaml:1: name: is missing"),
        ("kind: invariant\n", "", "w.yaml:1: kind: is missing"),
        ("kind: invariant", "kind: maybe", "w.yaml:3: kind: \"maybe\" is none of invariant, policy"),
        ("law: What fits runs.", "kind: policy", "w.yaml:3: kind: is there twice, first on line 2"),
        (
            "{name: lab,",
            "{name: lab, wieght: 2,",
            "w.yaml:11: accounts[0].wieght: there is no such key; there are name, parent, weight, guaranteed, limit, \
             borrowed_lately",
        ),
        ("{name: lab,", "{", "w.yaml:11: accounts[0].name: is missing"),
        (
            "{rack: r0}",
            "{rack: r0, rack: r1}",
            "w.yaml:5: nodes[0].labels.rack: is there twice, first on line 5",
        ),
        (
            "guaranteed: {gpu: 2}",
            "guaranteed: {gpu: 2, gpu: 1}",
            "w.yaml:11: accounts[0].guaranteed.gpu: is there twice, first on line 11",
        ),
        ("{b: [n0]}", "{b: [n0], b: []}", "w.yaml:29: expect.placed.b: is there twice, first on line 29"),
        (
            "    gpu: 0.5\n",
            "    gpu: 0.5\n    tpu: 1\n",
            "w.yaml:20: jobs[1].each.tpu: there is no such key; there are cpu, memory, gpu, extended",
        ),
        ("[A100]", "A100", "w.yaml:21: jobs[1].gpu_model: must be a list, such as [A100]"),
        ("key: rack, ", "", "w.yaml:22: jobs[1].topology.key: is missing"),
        (
            "mode: required",
            "mode: maybe",
            "w.yaml:22: jobs[1].topology.mode: \"maybe\" is none of required, preferred",
        ),
        ("started: 60", "started: -5", "w.yaml:14: jobs[0].started: -5 is negative"),
        ("started: 60", "submit: -5", "w.yaml:14: jobs[0].submit: -5 is negative"),
        ("gpu: 2, gpu_model", "gpu: -2, gpu_model", "w.yaml:5: nodes[0].gpu: -2 is negative"),
        ("gpu: 2, gpu_model", "gpu: 70000, gpu_model", "w.yaml:5: nodes[0].gpu: 70000 is more than 65535"),
        ("replicas: 2", "replicas: -2", "w.yaml:17: jobs[1].replicas: -2 is negative"),
        ("replicas: 2", "replicas: two", "w.yaml:17: jobs[1].replicas: \"two\" is not a whole number"),
        (
            "replicas: 2",
            "replicas: 2\n  preemptible: yes",
            "w.yaml:18: jobs[1].preemptible: \"yes\" is neither true nor false",
        ),
        ("evicted: []", "evictions_max: -1", "w.yaml:33: expect.evictions_max: -1 is negative"),
        ("{b: 1, c: 1}", "{b: -1}", "w.yaml:30: expect.running.b: -1 is negative"),
        ("{b: 1}}\n", "{b: -1}}\n", "w.yaml:25: steps[1].finish_replicas.b: -1 is negative"),
        (
            "{name: q0, parent: lab}",
            "{name: q0, weight: 0.5}",
            "w.yaml:12: accounts[1].weight: \"0.5\" is not a whole number",
        ),
        ("steps:", "---\nsteps:", "w.yaml:23: a second document begins here; there may be one"),
    ] {
        assert_eq!(told(from, to), says);
    }
    for (text, says) in [
        ("", "error: w.yaml:1: there is nothing in it\n"),
        ("- 1\n", "error: w.yaml:1: must be a map of keys and values, not a list\n"),
    ] {
        assert_eq!(folder(&[("w.yaml", text)]), (2, String::new(), says.into()));
    }
    assert!(told("labels: {rack: r0}}", "labels: {rack: r0}").starts_with("w.yaml:6: "));
}

#[test]
fn what_makes_no_sense_is_refused_by_line_and_field() {
    for (from, to, says) in [
        ("name: good", "name: \"\"", "w.yaml:1: name: is empty"),
        ("{name: n0,", "{name: '',", "w.yaml:5: nodes[0].name: is empty"),
        ("{name: n0,", "{name: m-1,", "w.yaml:6: nodes[1].name: node m-1 is there twice"),
        ("count: 2", "count: 0", "w.yaml:7: nodes[1].count: must be at least 1"),
        (
            "count: 2",
            "count: 4000000000",
            "w.yaml:7: nodes[1].count: there are more than 1000000 nodes in all",
        ),
        ("gpu: 2, gpu_model", "gpu: 1025, gpu_model", "w.yaml:5: nodes[0].gpu: 1025 is more than 1024"),
        ("gpu: 1\n  gpu_model: T4", "gpu: 1", "w.yaml:6: nodes[1].gpu_model: is needed where there are gpus"),
        ("cpu: 8", "cpu: -8", "w.yaml:5: nodes[0].cpu: -8 is negative"),
        ("64Gi", "64GB", "w.yaml:5: nodes[0].memory: \"64GB\" is not an amount: say 64G or 64Gi"),
        ("64Gi", "99999999999Ti", "w.yaml:5: nodes[0].memory: 99999999999Ti is more than 4096Ti"),
        (
            "{name: q0, parent",
            "{name: lab, parent",
            "w.yaml:12: accounts[1].name: account lab is there twice",
        ),
        ("{name: q0, parent", "{name: \"\", parent", "w.yaml:12: accounts[1].name: is empty"),
        ("parent: lab", "parent: q9", "w.yaml:12: accounts[1].parent: there is no account q9"),
        (
            "{name: lab,",
            "{name: lab, parent: q0,",
            "w.yaml:11: accounts[0].parent: an account is above itself: lab below q0 below lab",
        ),
        ("parent: lab", "weight: 0", "w.yaml:12: accounts[1].weight: 0 is not from 1 to 1000000"),
        (
            "limit: {gpu: 4}",
            "limit: {gpu: 1}",
            "w.yaml:11: accounts[0].guaranteed.gpu: 2 is more than the account's limit of 1",
        ),
        (
            "guaranteed: {gpu: 2}",
            "guaranteed: {A100: 3, T4: 2}",
            "w.yaml:11: accounts[0].guaranteed: its GPU models are together more than the account's limit of 4 gpu",
        ),
        (
            "guaranteed: {gpu: 2}",
            "guaranteed: {gpus: 2}",
            "w.yaml:11: accounts[0].guaranteed.gpus: is neither cpu, memory, gpu, jobs nor a GPU model or device here",
        ),
        (
            "guaranteed: {gpu: 2}",
            "guaranteed: {jobs: 2}",
            "w.yaml:11: accounts[0].guaranteed.jobs: jobs can be limited, not guaranteed",
        ),
        (
            "limit: {gpu: 4}",
            "limit: {jobs: 1.5}",
            "w.yaml:11: accounts[0].limit.jobs: 1.5 is not a whole number",
        ),
        ("- name: b", "- name: a", "w.yaml:15: jobs[1].name: job a is there twice"),
        ("- name: b", "- name: ''", "w.yaml:15: jobs[1].name: is empty"),
        ("  account: q0\n", "", "w.yaml:15: jobs[1].account: job b is in no account; there are lab, q0"),
        (
            "  account: q0",
            "  account: nobody",
            "w.yaml:16: jobs[1].account: there is no account nobody; there are lab, q0",
        ),
        (
            "priority: high",
            "priority: 1.5",
            "w.yaml:14: jobs[0].priority: there is no priority class 1.5; there are critical, high, low, normal, and whole numbers",
        ),
        ("gpu: 0.5", "gpu: 1.5", "w.yaml:19: jobs[1].each.gpu: must be whole GPUs or a part of one"),
        (
            "gpu: 0.5",
            "gpu: 0.0001",
            "w.yaml:19: jobs[1].each.gpu: 0.0001 is less than 0.001, the smallest part of a GPU",
        ),
        (
            "gpu: 0.5",
            "gpu: .nan",
            "w.yaml:19: jobs[1].each.gpu: \".nan\" is not an amount, such as 4, 0.5 or 64Gi",
        ),
        ("gpu: 0.5", "gpu: -0.5", "w.yaml:19: jobs[1].each.gpu: -0.5 is negative"),
        (
            "memory: 1Gi",
            "memory: 99999999999999999999",
            "w.yaml:20: jobs[1].each.memory: 99999999999999999999 is more than 4096Ti",
        ),
        ("replicas: 2", "replicas: 0", "w.yaml:17: jobs[1].replicas: 0 is not from 1 to 1000000"),
        (
            "replicas: 2",
            "replicas: 4000000000",
            "w.yaml:17: jobs[1].replicas: 4000000000 is not from 1 to 1000000",
        ),
        (
            "replicas: 2",
            "replicas: 2\n  min_replicas: 3",
            "w.yaml:18: jobs[1].min_replicas: 3 is not from 1 to the 2 replicas that it wants",
        ),
        ("[n0], started", "[n9], started", "w.yaml:14: jobs[0].running_on[0]: there is no node n9"),
        (
            "[n0], started",
            "[n0, n0], started",
            "w.yaml:14: jobs[0].running_on: has more nodes than the job has replicas",
        ),
        (
            "priority: high, each: {gpu: 1}, running_on: [n0]",
            "replicas: 3, each: {gpu: 1}, running_on: [n0, n0, n0]",
            "w.yaml:14: jobs[0].running_on[2]: replica 2 does not fit on n0",
        ),
        ("expect:", "max_cycles: 0\nexpect:", "w.yaml:28: max_cycles: 0 is not from 1 to 10000"),
        (
            "expect:",
            "stable_cycles: 4000000000\nexpect:",
            "w.yaml:28: stable_cycles: 4000000000 is more than 10000",
        ),
    ] {
        assert_eq!(told(from, to), says, "{to}");
    }
}

#[test]
fn events_that_cannot_happen_are_refused_by_line_and_field() {
    let one_of = "it needs one of submit, finish, finish_replicas, fail_node and resubmit";
    let (none, two) = (
        format!("w.yaml:27: steps[3]: has 0 events: {one_of}"),
        format!("w.yaml:27: steps[3]: has 2 events: {one_of}"),
    );
    for (from, to, says) in [
        ("{finish: a}", "{}", none.as_str()),
        ("{finish: a}", "{finish: a, fail_node: n0}", &two),
        ("{finish: a}", "{finish: zz}", "w.yaml:27: steps[3].finish: there is no job zz"),
        ("{finish: a}", "{finish: a}\n- finish: a", "w.yaml:28: steps[4].finish: job a has finished before"),
        (
            "{finish: a}",
            "{finish: a}\n- {finish_replicas: {a: 1}}",
            "w.yaml:28: steps[4].finish_replicas.a: job a has finished before",
        ),
        (
            "{fail_node: m-1}",
            "{finish: d}\n- {submit: {name: d, account: q0}}",
            "w.yaml:26: steps[2].finish: there is no job d",
        ),
        ("{name: c, account", "{name: a, account", "w.yaml:24: steps[0].submit.name: job a is there twice"),
        (
            "{name: c, account",
            "{name: c, submit: 5, account",
            "w.yaml:24: steps[0].submit.submit: is for jobs that are there in the beginning; this one comes with its step",
        ),
        (
            "{name: c, account: q0}",
            "{name: c}",
            "w.yaml:24: steps[0].submit.account: job c is in no account; there are lab, q0",
        ),
        (
            "{b: 1}}\n",
            "{b: 3}}\n",
            "w.yaml:25: steps[1].finish_replicas.b: 3 is more than there are: 2 of b run then",
        ),
        ("{b: 1}}\n", "{b: 0}}\n", "w.yaml:25: steps[1].finish_replicas.b: must be at least 1"),
        ("{b: 1}}\n", "{zz: 1}}\n", "w.yaml:25: steps[1].finish_replicas.zz: there is no job zz"),
        ("{fail_node: m-1}", "{fail_node: m}", "w.yaml:26: steps[2].fail_node: there is no node m"),
        (
            "{fail_node: m-1}",
            "{fail_node: m-1}\n- {fail_node: m-1}",
            "w.yaml:27: steps[3].fail_node: node m-1 has failed before",
        ),
        ("{finish: a}", "{resubmit: a}", "w.yaml:27: steps[3].resubmit: a is not known; only evicted is"),
    ] {
        assert_eq!(told(from, to), says, "{to}");
    }
}

#[test]
fn what_is_expected_of_nothing_is_refused_by_line_and_field() {
    for (from, to, says) in [
        ("placed: {b: [n0]}", "placed: {zz: [n0]}", "w.yaml:29: expect.placed.zz: there is no job zz"),
        ("placed: {b: [n0]}", "placed: {b: [n0, n9]}", "w.yaml:29: expect.placed.b[1]: there is no node n9"),
        ("placed: {b: [n0]}", "pending: {zz: ''}", "w.yaml:29: expect.pending.zz: there is no job zz"),
        ("placed: {b: [n0]}", "starts: {zz: 1}", "w.yaml:29: expect.starts.zz: there is no job zz"),
        ("{b: 1, c: 1}", "{zz: 1}", "w.yaml:30: expect.running.zz: there is no job zz"),
        ("b: rack", "b: row", "w.yaml:32: expect.same_value.b: no node has the label row"),
        ("b: rack", "zz: rack", "w.yaml:32: expect.same_value.zz: there is no job zz"),
        ("evicted: []", "evicted: [a, zz]", "w.yaml:33: expect.evicted[1]: there is no job zz"),
        ("evicted: []", "moved: [zz]", "w.yaml:33: expect.moved[0]: there is no job zz"),
    ] {
        assert_eq!(told(from, to), says, "{to}");
    }
}

#[test]
fn an_account_may_have_as_many_above_it_as_the_engine_allows() {
    let world = |count: usize| {
        let below = (1..count).map(|n| format!("- {{name: q{n}, parent: q{}}}\n", n - 1));
        let accounts: String = std::iter::once("- {name: q0}\n".to_owned()).chain(below).collect();
        format!(
            "name: deep\nlaw: x\nkind: policy\nnodes: [{{name: n}}]\naccounts:\n{accounts}jobs: [{{name: j, account: q{}}}]\n\
             expect: {{running: {{j: 1}}}}\n",
            count - 1
        )
    };
    assert_eq!(folder(&[("w.yaml", &world(57))]), (0, "pass deep\n".into(), String::new()));
    let says = "error: w.yaml:63: accounts[57].parent: account q57 has more than 56 accounts above it\n";
    assert_eq!(folder(&[("w.yaml", &world(58))]), (2, String::new(), says.into()));
}

#[test]
fn a_bad_file_hides_no_other() {
    let fails = GOOD.replace("name: good", "name: wrong").replace("c: 1}", "c: 0}");
    let bad = GOOD.replace("kind: invariant", "kind: x");
    let (code, out, err) =
        folder(&[("a.yaml", &bad), ("b.yaml", GOOD), ("c.yaml", &bad), ("d.yaml", &fails)]);
    assert_eq!((code, out.as_str()), (2, "pass good\nfail wrong: 0 replicas of c, came 1\n"));
    assert_eq!(
        err,
        "error: a.yaml:3: kind: \"x\" is none of invariant, policy\n\
         error: c.yaml:3: kind: \"x\" is none of invariant, policy\n"
    );
    let (code, out, err) = folder(&[("a.yaml", GOOD), ("b.yaml", &fails)]);
    assert_eq!((code, out.lines().count(), err.as_str()), (1, 2, ""));
    // nor does a folder that is not there
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/a-gang-on-one-node.yaml");
    let paths = ["/nowhere/at/all".into(), own];
    let code = scenario_main(&paths, Format::Text, &mut out, &mut err).unwrap();
    assert_eq!((code, String::from_utf8(out).unwrap().lines().count()), (2, 1));
    assert!(String::from_utf8(err).unwrap().starts_with("error: /nowhere/at/all: reading: "));
}

#[test]
fn what_kubernetes_and_people_write_is_read() {
    for (from, to) in [
        ("64Gi", "\"2.5Gi\""),
        ("cpu: 8", "cpu: \"0.5\""),
        ("cpu: 8", "cpu: 1500m"),
        ("{rack: r0}", "{rack: 1.5}"),
        ("{rack: r0}", "{rack: true}"),
        // one's own classes stand beside the usual ones, and may change them
        ("jobs:", "priority_classes: {rush: 50, low: -5}\njobs:"),
    ] {
        assert!(GOOD.contains(from), "{from}");
        let (code, out, err) = folder(&[("w.yaml", &GOOD.replacen(from, to, 1))]);
        assert_eq!((code, out.as_str(), err.as_str()), (0, "pass good\n", ""), "{to}");
    }
    // without accounts every job is in the one that there is
    let alone = "name: alone\nlaw: x\nkind: policy\nnodes: [{name: n}]\njobs: [{name: j}, {name: k, account: default}]\n\
                 expect: {running: {j: 1, k: 1}}\n";
    assert_eq!(folder(&[("w.yaml", alone)]).0, 0);
    let rush = GOOD
        .replace("jobs:", "priority_classes: {rush: 50, high: 60}\njobs:")
        .replace("account: q0\n", "account: q0\n  priority: rush\n");
    assert_eq!(folder(&[("w.yaml", &rush)]), (0, "pass good\n".into(), String::new()));
}
