//! What a Pod must and must not have.

use serde_json::{Value, json};

use super::*;
use crate::AIJob;
use crate::allocation::Granted;
use crate::names;

fn job(role: Value) -> AIJob {
    let mut all = json!({"name": "worker", "replicas": 2, "minReplicas": 2, "command": ["train"],
        "resources": {"cpuMillis": 1500, "memoryBytes": 1 << 30, "gpuMillis": 2000}});
    all.as_object_mut().unwrap().extend(role.as_object().unwrap().clone());
    serde_json::from_value(json!({"apiVersion": "crater.dev/v1", "kind": "AIJob",
        "metadata": {"name": "train", "namespace": "crater-lab", "uid": "u-1"},
        "spec": {"jobUid": "j-1", "account": "lab", "creator": "ann", "serviceClass": "Guaranteed", "priority": 0,
            "roles": [all], "graceSeconds": 17, "submittedMillis": 0, "revision": 1}}))
    .unwrap()
}

fn made(job: &AIJob, gpus: &[i32], gpu_millis: i64) -> Value {
    let granted =
        Granted { role: "worker".into(), replica: 1, node: "n".into(), gpus: gpus.to_vec(), gpu_millis };
    let rendezvous = Some(Rendezvous { master: "train-worker-0".into(), port: 23_456, rank: 1, world: 2 });
    let role = &job.spec.roles[0];
    let of = PodOf { job, role, granted: &granted, allocation: "train-1", attempt: 3, rendezvous };
    serde_json::to_value(pod(&of)).unwrap()
}

fn env(pod: &Value, name: &str) -> Vec<Value> {
    let all = pod["spec"]["containers"][0]["env"].as_array().unwrap();
    all.iter().filter(|e| e["name"] == name).map(|e| e["value"].clone()).collect()
}

#[test]
fn a_pod_is_on_its_node_with_its_devices_and_belongs_to_its_job() {
    let pod = made(&job(json!({})), &[4, 5], 1000);
    assert_eq!(pod["metadata"]["name"], "train-worker-1");
    assert_eq!(pod["metadata"]["ownerReferences"][0]["uid"], "u-1");
    assert_eq!(pod["metadata"]["labels"][names::ALLOCATION], "train-1");
    assert_eq!(pod["metadata"]["labels"][names::ATTEMPT], "3");
    let devices: Value =
        serde_json::from_str(pod["metadata"]["annotations"][names::GPUS].as_str().unwrap()).unwrap();
    assert_eq!(devices, json!([{"index": 4, "milli": 1000}, {"index": 5, "milli": 1000}]));
    let spec = &pod["spec"];
    assert_eq!((&spec["nodeName"], &spec["restartPolicy"]), (&json!("n"), &json!("Never")));
    assert_eq!(spec["terminationGracePeriodSeconds"], 17);
    assert_eq!((&spec["hostname"], &spec["subdomain"]), (&json!("train-worker-1"), &json!("train")));
    let resources = &spec["containers"][0]["resources"];
    assert_eq!(resources["limits"], json!({"cpu": "1500m", "memory": "1073741824", "nvidia.com/gpu": "2"}));
    assert_eq!(resources["limits"], resources["requests"]);
    assert_eq!(spec["containers"][0]["image"], NO_IMAGE);
}

#[test]
fn a_pod_has_no_privilege_and_nothing_of_its_node() {
    let pod = made(&job(json!({"mounts": [{"claim": "data", "mountPath": "/data"}]})), &[0], 1000);
    let spec = &pod["spec"];
    assert_eq!(spec["automountServiceAccountToken"], false);
    assert_eq!(spec["enableServiceLinks"], false);
    assert_eq!(spec["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    let context = &spec["containers"][0]["securityContext"];
    assert_eq!(context["allowPrivilegeEscalation"], false);
    assert_eq!(context["capabilities"], json!({"drop": ["ALL"]}));
    assert_eq!(context["privileged"], Value::Null);
    for field in ["hostNetwork", "hostPID", "hostIPC", "hostUsers", "serviceAccountName", "initContainers"] {
        assert_eq!(spec[field], Value::Null, "{field}");
    }
    for volume in spec["volumes"].as_array().unwrap() {
        let kinds: Vec<_> = volume.as_object().unwrap().keys().filter(|k| *k != "name").collect();
        assert_eq!(kinds, ["persistentVolumeClaim"]);
    }
    let tolerated: Vec<_> = spec["tolerations"].as_array().unwrap().iter().map(|t| &t["key"]).collect();
    assert_eq!(tolerated, ["nvidia.com/gpu"]);
}

#[test]
fn a_users_words_are_not_expanded_and_our_own_come_last() {
    let own = json!([{"name": "A", "value": "$(RANK) $$(B) $HOME $"}, {"name": "RANK", "value": "99"}]);
    let role = json!({"env": own, "command": ["sh", "-c", "echo $$ $(hostname)"], "args": ["$(RANK)"]});
    let pod = made(&job(role), &[], 0);
    assert_eq!(env(&pod, "A"), [json!("$$(RANK) $$$$(B) $$HOME $$")]);
    let container = &pod["spec"]["containers"][0];
    assert_eq!(container["command"][2], "echo $$$$ $$(hostname)");
    assert_eq!(container["args"], json!(["$$(RANK)"]));
    // of two of one name a kubelet takes the last; a user's is refused before it comes here
    assert_eq!(env(&pod, "RANK"), [json!("99"), json!("1")]);
    assert_eq!(env(&pod, "WORLD_SIZE"), [json!("2")]);
    assert_eq!(env(&pod, "MASTER_ADDR"), [json!("train-worker-0.train.crater-lab.svc")]);
    assert_eq!(env(&pod, "MASTER_PORT"), [json!("23456")]);
}

#[test]
fn a_share_of_a_gpu_is_said_by_the_annotation_and_requests_no_extended_resource() {
    let job = job(json!({"resources": {"cpuMillis": 100, "gpuMillis": 500}}));
    let pod = made(&job, &[3], 500);
    assert_eq!(pod["metadata"]["annotations"][names::GPUS], r#"[{"index":3,"milli":500}]"#);
    assert_eq!(pod["spec"]["containers"][0]["resources"]["limits"], json!({"cpu": "100m"}));
}

#[test]
fn devices_by_name_are_asked_of_the_kubelet_in_whole_and_as_limits() {
    let devices = json!({"nvidia.com/mig-1g.5gb": 2, "rdma/hca": 1});
    let pod = made(&job(json!({"resources": {"cpuMillis": 100, "devices": devices}})), &[], 0);
    let resources = &pod["spec"]["containers"][0]["resources"];
    assert_eq!(resources["limits"], json!({"cpu": "100m", "nvidia.com/mig-1g.5gb": "2", "rdma/hca": "1"}));
    assert_eq!(resources["limits"], resources["requests"]);
    // the plugin chooses which, and such nodes have the taint of GPU nodes
    assert_eq!(pod["metadata"]["annotations"][names::GPUS], "[]");
    assert_eq!(pod["spec"]["tolerations"], json!([{"key": names::GPU_RESOURCE, "operator": "Exists"}]));
}

#[test]
fn a_claim_is_one_volume_however_often_it_is_mounted_and_however_long_its_name() {
    let long = "c".repeat(63);
    let mounts = json!([
        {"claim": "data", "subPath": "in", "mountPath": "/in", "readOnly": true},
        {"claim": long, "mountPath": "/long"},
        {"claim": "data", "subPath": "out", "mountPath": "/out"},
    ]);
    let pod = made(&job(json!({ "mounts": mounts })), &[], 0);
    let volumes = pod["spec"]["volumes"].as_array().unwrap();
    assert_eq!(volumes.len(), 2);
    let claim_of = |mount: &Value| {
        let volume = volumes.iter().find(|v| v["name"] == mount["name"]).unwrap();
        assert!(volume["name"].as_str().unwrap().len() <= 63);
        volume["persistentVolumeClaim"]["claimName"].as_str().unwrap().to_owned()
    };
    let mounted = pod["spec"]["containers"][0]["volumeMounts"].as_array().unwrap();
    assert_eq!(mounted.iter().map(claim_of).collect::<Vec<_>>(), ["data", long.as_str(), "data"]);
    assert_eq!((&mounted[0]["readOnly"], &mounted[2]["readOnly"]), (&json!(true), &json!(false)));
    assert_eq!(mounted[2]["subPath"], "out");
}

#[test]
fn a_pod_that_is_only_played_takes_its_time_from_the_annotation_or_the_expectation() {
    let mut job = job(json!({}));
    let duration = |job: &AIJob| made(job, &[], 0)["metadata"]["annotations"][names::PLAY_DURATION].clone();
    assert_eq!(duration(&job), "30s");
    job.spec.expected_seconds = Some(90);
    assert_eq!(duration(&job), "90s");
    job.metadata.annotations = Some([(names::PLAY_DURATION.to_owned(), "250ms".to_owned())].into());
    assert_eq!(duration(&job), "250ms");
}

#[test]
fn the_service_of_a_gang_has_no_address_and_names_replicas_that_still_start() {
    let service = serde_json::to_value(service(&job(json!({})))).unwrap();
    assert_eq!(service["metadata"]["name"], "train");
    assert_eq!(service["metadata"]["ownerReferences"][0]["uid"], "u-1");
    assert_eq!(service["spec"]["clusterIP"], "None");
    assert_eq!(service["spec"]["publishNotReadyAddresses"], true);
    assert_eq!(service["spec"]["selector"], json!({names::JOB_UID: "j-1"}));
}
