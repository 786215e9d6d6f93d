//! What the chart writes into the programs' configurations is read by the programs' own types, which refuse a key that they do not know.
#![allow(clippy::unwrap_used, clippy::panic)] // a test that cannot go on must say so

use std::path::{Path, PathBuf};
use std::process::Command;

use crater_service::{ServerConfig, Target, load_config};
use serde::Serialize;
use serde::de::{Deserialize, DeserializeOwned};
use serde_json::Value;

/// Each program's own words: how it listens, whom it calls, and what its configuration is called.
struct Read {
    server: ServerConfig,
    calls: Vec<(&'static str, Option<Target>)>,
    whole: Value,
}

fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../charts/crater")
}

/// The objects that helm makes of the chart with these values.
fn rendered(values: Option<&Path>) -> Vec<Value> {
    let tools = std::env::var_os("CRATER_TOOLS").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/crater-tools"),
        PathBuf::from,
    );
    let own = tools.join("bin/helm");
    let mut helm = Command::new(if own.is_file() { own } else { "helm".into() });
    helm.args(["template", "crater", "--namespace", "crater-system"]).arg(chart());
    if let Some(values) = values {
        helm.arg("--values").arg(values);
    }
    let done = helm.output().unwrap_or_else(|error| panic!("helm: {error}: run tests/setup.sh"));
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let text = String::from_utf8(done.stdout).unwrap();
    let documents = serde_yaml_ng::Deserializer::from_str(&text);
    documents.map(|d| Value::deserialize(d).unwrap()).filter(|d| !d.is_null()).collect()
}

fn read<C: Default + Serialize + DeserializeOwned>(file: &Path) -> C {
    load_config(Some(file), "CRATER_NO_SUCH_PROGRAM").unwrap_or_else(|error| panic!("{file:?}: {error}"))
}

fn read_as(program: &str, file: &Path) -> Read {
    match program {
        "gateway" => {
            let c: crater_gateway::Config = read(file);
            let whole = serde_json::to_value(&c).unwrap();
            let calls =
                vec![("user", c.user), ("quota", c.quota), ("job", c.job), ("scheduler", c.scheduling)];
            Read { server: c.server, calls, whole }
        }
        "user" => {
            let c: crater_user::Config = read(file);
            Read { whole: serde_json::to_value(&c).unwrap(), server: c.server, calls: vec![] }
        }
        "quota" => {
            let c: crater_quota::Config = read(file);
            let whole = serde_json::to_value(&c).unwrap();
            Read { whole, server: c.server, calls: vec![("user", c.user), ("scheduler", c.scheduling)] }
        }
        "job" => {
            let c: crater_job::Config = read(file);
            let whole = serde_json::to_value(&c).unwrap();
            Read { whole, server: c.server, calls: vec![("user", c.user), ("quota", c.quota)] }
        }
        "scheduler" => {
            let c: crater_scheduler::Config = read(file);
            c.lease().unwrap();
            let whole = serde_json::to_value(&c).unwrap();
            Read { whole, server: c.server, calls: vec![("user", c.user), ("quota", c.quota)] }
        }
        "controller" => {
            let c: crater_controller::Config = read(file);
            Read { whole: serde_json::to_value(&c).unwrap(), server: c.server, calls: vec![] }
        }
        other => panic!("no program is called {other}"),
    }
}

fn named<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let found = objects.iter().find(|o| o["kind"] == kind && o["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("no {kind} {name}"))
}

#[test]
fn every_program_reads_the_configuration_that_the_chart_writes() {
    let ci = chart().join("ci");
    let mut sets = vec![None];
    sets.extend(std::fs::read_dir(&ci).unwrap().map(|entry| Some(entry.unwrap().path())));
    assert!(sets.len() > 2, "{ci:?} has sets of values");
    for values in sets {
        let objects = rendered(values.as_deref());
        let folder = tempfile::tempdir().unwrap();
        let files = named(&objects, "ConfigMap", "crater-config")["data"].as_object().unwrap();
        assert_eq!(files.len(), 6, "{files:?}");
        for (name, text) in files {
            let program = name.strip_suffix(".toml").unwrap();
            let file = folder.path().join(name);
            std::fs::write(&file, text.as_str().unwrap()).unwrap();
            let read = read_as(program, &file);

            let pod =
                &named(&objects, "Deployment", &format!("crater-{program}"))["spec"]["template"]["spec"];
            let container = &pod["containers"][0];
            let port = read.server.listen.port();
            assert_eq!(container["ports"][0]["containerPort"], port, "{program}");
            assert!(
                read.server.listen.ip().is_unspecified(),
                "{program} must be reached from outside of its Pod"
            );
            for (callee, target) in read.calls {
                let Some(Target::Uri(uri)) = target else { panic!("{program} does not know {callee}") };
                let service = named(&objects, "Service", &format!("crater-{callee}"));
                assert_eq!(uri.host().unwrap(), service["metadata"]["name"], "{program}");
                assert_eq!(service["spec"]["ports"][0]["port"], uri.port_u16().unwrap(), "{program}");
            }

            // a variable of ours names a key that there is
            for variable in container["env"].as_array().unwrap() {
                let variable = variable["name"].as_str().unwrap();
                let prefix = format!("CRATER_{}__", program.to_uppercase());
                let Some(keys) = variable.strip_prefix(&prefix) else {
                    assert!(!variable.contains("__"), "{program}: {variable} is another program's");
                    continue;
                };
                let mut at = &read.whole;
                for key in keys.to_lowercase().split("__") {
                    at = at.get(key).unwrap_or_else(|| panic!("{program} has no key for {variable}"));
                }
            }
            // files that are named are mounted
            let mounts: Vec<&str> = container["volumeMounts"]
                .as_array()
                .unwrap()
                .iter()
                .map(|m| m["mountPath"].as_str().unwrap())
                .collect();
            let mounted = |file: &str| mounts.iter().any(|folder| file.starts_with(&format!("{folder}/")));
            for file in [&read.whole["mesh_key"], &read.whole["server"]["tls"]["certificate"]] {
                assert!(file.as_str().is_none_or(mounted), "{program}: {file} is not mounted: {mounts:?}");
            }
        }
    }
}

#[test]
fn a_key_that_a_program_does_not_know_is_found_by_this_test() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("user.toml");
    std::fs::write(&file, "session_days = 30\n").unwrap();
    let refused = load_config::<crater_user::Config>(Some(&file), "CRATER_NO_SUCH_PROGRAM").unwrap_err();
    assert!(refused.to_string().contains("session_days"), "{refused}");
}
