//! The rights that the chart gives are enough: every request that a program makes of Kubernetes is one that its roles allow.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use crater_api::job::v1::JobState;
use serde::Deserialize as _;
use serde_json::Value;

use crate::harness::{Mesh, PATIENCE, run, until};

const SYSTEM: &str = "crater-system";

/// What this test does not bring about: a job that waits for long, a name that is used again while its Service is still there.
const SELDOM: [(&str, &str, &str); 2] =
    [("scheduler", "patch", "aijobs/status"), ("controller", "patch", "services")];

/// What somebody asks of the API server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Asked {
    verb: String,
    group: String,
    /// With its subresource: `pods/log`.
    resource: String,
    namespace: Option<String>,
    name: Option<String>,
}

impl Asked {
    /// None for what everybody may ask: versions and kinds.
    fn read(method: &str, url: &str) -> Option<Self> {
        let after_host = url.split_once("://").map_or(url, |(_, rest)| &rest[rest.find('/').unwrap()..]);
        let (path, query) = after_host.split_once('?').unwrap_or((after_host, ""));
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let (group, rest) = match parts.as_slice() {
            ["api", _, rest @ ..] => ("", rest),
            ["apis", group, _, rest @ ..] => (*group, rest),
            _ => return None,
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some(*namespace), rest),
            rest => (None, rest),
        };
        let (resource, name, below) = match rest {
            [resource] => (*resource, None, None),
            [resource, name] => (*resource, Some(*name), None),
            [resource, name, below] => (*resource, Some(*name), Some(*below)),
            _ => return None,
        };
        let verb = match (method, name) {
            ("GET", Some(_)) => "get",
            ("GET", None) if query.split('&').any(|q| q == "watch=true" || q == "watch=1") => "watch",
            ("GET", None) => "list",
            ("POST", _) => "create",
            ("PUT", _) => "update",
            ("PATCH", _) => "patch",
            ("DELETE", Some(_)) => "delete",
            ("DELETE", None) => "deletecollection",
            other => panic!("{other:?} of {url}"),
        };
        Some(Self {
            verb: verb.to_owned(),
            group: group.to_owned(),
            resource: below.map_or_else(|| resource.to_owned(), |below| format!("{resource}/{below}")),
            namespace: namespace.map(str::to_owned),
            name: name.map(str::to_owned),
        })
    }

    fn within(&self, rule: &Value) -> bool {
        let has = |field: &str, wanted: &str| {
            rule[field].as_array().is_some_and(|all| all.iter().any(|one| one == wanted))
        };
        let named = rule["resourceNames"].is_null()
            || self.name.as_deref().is_some_and(|name| has("resourceNames", name));
        has("verbs", &self.verb) && has("apiGroups", &self.group) && has("resources", &self.resource) && named
    }
}

/// What the programs asked, by their names, as their logs tell it.
fn asked(mesh: &Mesh, program: &str) -> BTreeSet<Asked> {
    let log = mesh.service(program).log();
    let lines = log.lines().filter(|line| line.contains("\"requesting\""));
    let spans =
        lines.filter_map(|line| serde_json::from_str::<Value>(line).ok()).map(|line| line["span"].clone());
    spans.filter_map(|span| Asked::read(span["http.method"].as_str()?, span["http.url"].as_str()?)).collect()
}

fn chart() -> Vec<Value> {
    let tools = std::env::var_os("CRATER_TOOLS").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/crater-tools"),
        PathBuf::from,
    );
    let own = tools.join("bin/helm");
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/crater");
    let mut helm = Command::new(if own.is_file() { own } else { "helm".into() });
    helm.args(["template", "crater", "--namespace", SYSTEM]).arg(chart);
    let text = run(&mut helm, "", PATIENCE).ok();
    let documents = serde_yaml_ng::Deserializer::from_str(&text);
    documents.map(|d| Value::deserialize(d).unwrap()).filter(|d| !d.is_null()).collect()
}

/// The rules of a program: those of the whole cluster, and those of Crater's own namespace.
fn rules(objects: &[Value], program: &str) -> (Vec<Value>, Vec<Value>) {
    let of = |kind: &str| {
        let ours = objects.iter().filter(|o| o["kind"] == kind);
        let ours = ours.filter(|o| o["metadata"]["name"] == format!("crater-{program}"));
        ours.flat_map(|o| o["rules"].as_array().unwrap().clone()).collect()
    };
    (of("ClusterRole"), of("Role"))
}

#[test]
fn every_request_of_a_program_is_one_that_its_roles_in_the_chart_allow() {
    let mesh = Mesh::up_with(
        &["--run-local", "--nodes", "2x2:A100"],
        &[("CRATER_LOG", "info,kube_client=debug"), ("CRATER_LOG_FORMAT", "json")],
    );
    let (cli, api) = (mesh.cli(), mesh.api());
    // a life of a job in each of the ways that write something of their own
    assert_eq!(
        cli.run(&["submit", "--wait", "--name", "ends", "--", "sh", "-c", "echo said; exit 3"]).code,
        3
    );
    assert!(cli.ok(&["logs", "ends"]).contains("said"));
    let gang =
        ["submit", "--wait", "--name", "gang", "--replicas", "2", "--gpu", "1", "--cpu", "0.1", "--", "true"];
    assert_eq!(cli.run(&gang).code, 0);
    cli.submit(&["--name", "moved", "--gpu", "2", "--cpu", "0.1"], &["sh", "-c", "echo here; sleep 600"]);
    api.reaches("moved", JobState::Running);
    let node = api.job("moved").nodes.first().cloned().unwrap();
    cli.ok(&["node", "drain", &node, "--reason", "the fan"]);
    until("the job on another node", PATIENCE, || {
        let job = api.job("moved");
        (job.state() == JobState::Running && !job.nodes.contains(&node)).then_some(())
    });
    cli.ok(&["node", "uncordon", &node]);
    cli.ok(&["account", "create", "lab"]);
    cli.ok(&["quota", "set", "-A", "lab", "--limit", "gpu/A100=4"]);
    assert_eq!(cli.run(&["submit", "--wait", "-A", "lab", "--name", "other", "--", "true"]).code, 0);
    cli.ok(&["cancel", "moved"]);
    api.reaches("moved", JobState::Cancelled);
    for job in ["moved", "ends"] {
        cli.ok(&["delete", job]);
    }
    until("the last limits are kept", PATIENCE, || {
        let all = asked(&mesh, "scheduler");
        all.iter()
            .any(|a| a.resource == "configmaps" && ["patch", "create"].contains(&a.verb.as_str()))
            .then_some(())
    });
    until("the deleted are taken away", PATIENCE, || {
        asked(&mesh, "job").iter().any(|a| a.resource == "aijobs" && a.verb == "delete").then_some(())
    });
    for program in ["scheduler", "controller", "job"] {
        assert!(mesh.service(program).terminate().success());
    }

    let objects = chart();
    let mut refused = BTreeMap::new();
    for (program, least) in [("job", 10), ("scheduler", 12), ("controller", 10)] {
        let (everywhere, at_home) = rules(&objects, program);
        let asked = asked(&mesh, program);
        let kinds: BTreeSet<_> = asked.iter().map(|a| (&a.verb, &a.resource)).collect();
        assert!(kinds.len() >= least, "{program} asked too little to judge by: {kinds:?}");
        let allowed = |a: &Asked| {
            everywhere.iter().any(|rule| a.within(rule))
                || (a.namespace.as_deref() == Some(SYSTEM) && at_home.iter().any(|rule| a.within(rule)))
        };
        let beyond: Vec<Asked> = asked.iter().filter(|a| !allowed(a)).cloned().collect();
        // nor is there a right that nobody needs
        for rule in everywhere.iter().chain(&at_home) {
            let words = |field: &str| -> Vec<String> {
                rule[field].as_array().unwrap().iter().map(|w| w.as_str().unwrap().to_owned()).collect()
            };
            for (verb, resource) in words("verbs")
                .iter()
                .flat_map(|v| words("resources").into_iter().map(move |r| (v.clone(), r)))
            {
                let used = asked.iter().any(|a| a.resource == resource && a.verb == verb);
                let seldom = SELDOM.contains(&(program, verb.as_str(), resource.as_str()));
                assert!(
                    used || seldom,
                    "{program} was not seen to {verb} {resource}: does it need that right?"
                );
            }
        }
        if !beyond.is_empty() {
            refused.insert(program, beyond);
        }
    }
    assert!(refused.is_empty(), "the chart does not allow {refused:#?}");
    for program in ["gateway", "user", "quota"] {
        assert!(asked(&mesh, program).is_empty(), "{program} has no account in the cluster");
    }
}
