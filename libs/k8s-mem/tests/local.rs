//! Kubelets that really run commands: exit codes, logs while they are written, signals, devices, and nothing left over.
#![allow(clippy::unwrap_used, clippy::panic)] // the helpers of tests are tests too

mod common;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{command, create, gone, local_cluster, phase, pods, terminated, until};
use crater_k8s_mem::{NodeSpec, OLD_SHIMS_PATIENCE, wait_for_old_shims};
use futures::{AsyncBufReadExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::Api;
use kube::api::{DeleteParams, LogParams, PostParams};
use serde_json::json;

fn here() -> NodeSpec {
    NodeSpec::gpu_server("local", 4, "A100")
}

fn sh(name: &str, script: &str) -> Pod {
    command(name, &["sh", "-c", script])
}

/// Polls a condition on the machine, which has no watch.
async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < common::DEADLINE, "{what} did not come true");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().next().map(str::to_owned));
    state.is_some_and(|state| state != "Z")
}

#[tokio::test]
async fn the_exit_code_or_signal_of_the_command_is_the_containers() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = local_cluster(dir.path(), [here()]).await;
    let client = cluster.client();
    create(&client, &sh("good", "exit 0")).await;
    create(&client, &sh("bad", "exit 7")).await;
    create(&client, &sh("shot", "kill -9 $$$$")).await;
    create(&client, &command("absent", &["/nowhere/at-all"])).await;
    let mut lost = sh("lost", "exit 0");
    lost.spec.as_mut().unwrap().containers[0].working_dir = Some("/nowhere".into());
    create(&client, &lost).await;
    let mut bare = sh("bare", "");
    bare.spec.as_mut().unwrap().containers[0].command = None;
    create(&client, &bare).await;
    assert_eq!(
        terminated(&until(&client, "good", phase("Succeeded")).await.unwrap()).reason.unwrap(),
        "Completed"
    );
    assert_eq!(terminated(&until(&client, "bad", phase("Failed")).await.unwrap()).exit_code, 7);
    let shot = terminated(&until(&client, "shot", phase("Failed")).await.unwrap());
    assert_eq!((shot.exit_code, shot.signal), (137, Some(9)));
    let absent = terminated(&until(&client, "absent", phase("Failed")).await.unwrap());
    assert_eq!(absent.reason.as_deref(), Some("StartError"));
    assert!(absent.message.unwrap().contains("/nowhere/at-all"));
    let lost = terminated(&until(&client, "lost", phase("Failed")).await.unwrap());
    assert!(lost.message.unwrap().contains("chdir to /nowhere"));
    let bare = until(&client, "bare", phase("Failed")).await.unwrap().status.unwrap();
    assert_eq!(bare.reason.as_deref(), Some("CreateContainerError"));
    assert!(bare.message.unwrap().contains("image cannot be run here"));
    cluster.shutdown().await;
}

#[tokio::test]
async fn a_log_is_followed_line_by_line_while_the_command_runs() {
    let dir = tempfile::tempdir().unwrap();
    let gate = dir.path().join("gate");
    let cluster = local_cluster(&dir.path().join("data"), [here()]).await;
    let client = cluster.client();
    // each line is printed only when the one before was read, so prompt delivery is what lets the test end
    let script = format!(
        "for i in 1 2 3; do echo line $i; until [ -e {gate}$i ]; do sleep 0.01; done; done; echo oops >&2; printf last",
        gate = gate.display()
    );
    create(&client, &sh("a", &script)).await;
    until(&client, "a", phase("Running")).await;
    let follow = LogParams { follow: true, ..LogParams::default() };
    let mut lines = pods(&client).log_stream("a", &follow).await.unwrap().lines();
    for i in 1..=3 {
        let next = tokio::time::timeout(common::DEADLINE, lines.try_next()).await.unwrap().unwrap();
        assert_eq!(next.unwrap(), format!("line {i}"));
        std::fs::write(format!("{}{i}", gate.display()), "").unwrap();
    }
    let rest: Vec<String> =
        tokio::time::timeout(common::DEADLINE, lines.try_collect()).await.unwrap().unwrap();
    assert!(rest.contains(&"last".to_owned()) || rest.concat().contains("last"), "{rest:?}");
    assert!(rest.concat().contains("oops"));
    until(&client, "a", phase("Succeeded")).await;
    let two = LogParams { tail_lines: Some(2), timestamps: true, ..LogParams::default() };
    let tail = pods(&client).logs("a", &two).await.unwrap();
    for line in tail.lines() {
        let (time, _) = line.split_once(' ').unwrap();
        assert!(time.parse::<jiff::Timestamp>().is_ok(), "{line}");
    }
    let some = LogParams { limit_bytes: Some(6), ..LogParams::default() };
    assert_eq!(pods(&client).logs("a", &some).await.unwrap(), "line 1");
    cluster.shutdown().await;
}

#[tokio::test]
async fn a_deletion_asks_first_and_kills_at_the_end_of_the_grace() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = local_cluster(dir.path(), [here()]).await;
    let client = cluster.client();
    create(&client, &sh("polite", "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.01; done"))
        .await;
    create(&client, &sh("deaf", "trap '' TERM; echo up; while :; do sleep 0.01; done")).await;
    let follow = LogParams { follow: true, ..LogParams::default() };
    let mut logs = Vec::new();
    for name in ["polite", "deaf"] {
        until(&client, name, phase("Running")).await;
        let mut lines = pods(&client).log_stream(name, &follow).await.unwrap().lines();
        assert_eq!(lines.try_next().await.unwrap().unwrap(), "up");
        logs.push(lines);
    }
    let began = Instant::now();
    pods(&client).delete("polite", &DeleteParams::default()).await.unwrap();
    until(&client, "polite", gone()).await;
    assert!(began.elapsed() < Duration::from_secs(20), "it did not wait for the end of the grace");
    let said: Vec<String> = logs.remove(0).try_collect().await.unwrap();
    // the shell may say something of its own on the other stream, before or after
    assert!(said.contains(&"bye".to_owned()), "{said:?}");
    pods(&client).delete("deaf", &DeleteParams::default().grace_period(1)).await.unwrap();
    until(&client, "deaf", gone()).await;
    assert!(began.elapsed() >= Duration::from_secs(1));
    cluster.shutdown().await;
}

#[tokio::test]
async fn a_container_sees_its_devices_its_fields_and_its_peers_on_loopback() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = local_cluster(dir.path(), [here()]).await;
    let client = cluster.client();
    let services: Api<Service> = Api::namespaced(client.clone(), "default");
    let service = json!({"metadata": {"name": "gang"}, "spec": {"clusterIP": "None"}});
    services.create(&PostParams::default(), &serde_json::from_value(service).unwrap()).await.unwrap();
    let output = async |pod: Pod| {
        create(&client, &pod).await;
        let name = pod.metadata.name.clone().unwrap();
        until(&client, &name, phase("Succeeded")).await;
        pods(&client).logs(&name, &LogParams::default()).await.unwrap()
    };
    let mut none = sh("none", "echo [$CUDA_VISIBLE_DEVICES] $MASTER_ADDR $OTHER $NODE $(pwd)");
    none.spec.as_mut().unwrap().containers[0].env = serde_json::from_value(json!([
        {"name": "MASTER_ADDR", "value": "gang-0.gang.default.svc"},
        {"name": "OTHER", "value": "x.elsewhere.default.svc"},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
    ]))
    .unwrap();
    let said = output(none).await;
    assert!(said.starts_with("[] 127.0.0.1 x.elsewhere.default.svc local /"), "{said}");
    let chosen = |name: &str, choice: &str, whole: u32| {
        let mut pod = sh(name, "echo $CUDA_VISIBLE_DEVICES");
        pod.metadata.annotations = Some([("crater.dev/gpus".to_owned(), choice.to_owned())].into());
        if whole > 0 {
            let limits = json!({"limits": {"nvidia.com/gpu": whole.to_string()}});
            pod.spec.as_mut().unwrap().containers[0].resources = serde_json::from_value(limits).unwrap();
        }
        pod
    };
    let two = r#"[{"index": 1, "milli": 1000}, {"index": 3, "milli": 1000}]"#;
    assert_eq!(output(chosen("two", two, 2)).await, "1,3\n");
    assert_eq!(output(chosen("half", r#"[{"index": 2, "milli": 500}]"#, 0)).await, "2\n");
    let mut args = sh("args", "");
    let container = &mut args.spec.as_mut().unwrap().containers[0];
    container.command = Some(vec!["echo".into()]);
    container.args = Some(vec!["$(WHO)".into(), "$$(WHO)".into(), "$(NOBODY)".into()]);
    container.env = serde_json::from_value(json!([{"name": "WHO", "value": "me"}])).unwrap();
    assert_eq!(output(args).await, "me $(WHO) $(NOBODY)\n");
    cluster.shutdown().await;
}

#[tokio::test]
async fn nothing_a_container_started_outlives_it() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = local_cluster(dir.path(), [here()]).await;
    let client = cluster.client();
    // one in the group, one in a session of its own whose parent is gone
    create(&client, &sh("a", "sleep 600 & echo $!; setsid sh -c 'sleep 600 & echo $!'; exit 0")).await;
    until(&client, "a", phase("Succeeded")).await;
    let log = pods(&client).logs("a", &LogParams::default()).await.unwrap();
    let pids: Vec<&str> = log.lines().collect();
    assert_eq!(pids.len(), 2, "{log}");
    for pid in pids {
        assert!(!alive(pid), "{pid} is left over");
    }
    create(&client, &sh("b", "sleep 600 & echo $!; wait")).await;
    let follow = LogParams { follow: true, ..LogParams::default() };
    until(&client, "b", phase("Running")).await;
    let mut lines = pods(&client).log_stream("b", &follow).await.unwrap().lines();
    let pid = lines.try_next().await.unwrap().unwrap();
    assert!(alive(&pid));
    cluster.shutdown().await;
    assert!(!alive(&pid), "the shutdown left {pid}");
    wait_for_old_shims(dir.path(), Duration::ZERO).await.unwrap();
}

#[tokio::test]
async fn a_killed_shim_takes_its_command_along() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = local_cluster(dir.path(), [here()]).await;
    let client = cluster.client();
    create(&client, &sh("a", "sleep 600 & echo $PPID $! $$$$; wait")).await;
    until(&client, "a", phase("Running")).await;
    let follow = LogParams { follow: true, ..LogParams::default() };
    let mut lines = pods(&client).log_stream("a", &follow).await.unwrap().lines();
    let said = lines.try_next().await.unwrap().unwrap();
    let pids: Vec<&str> = said.split(' ').collect();
    assert!(Command::new("kill").args(["-9", pids[0]]).status().unwrap().success());
    let failed = until(&client, "a", phase("Failed")).await.unwrap();
    assert_eq!(terminated(&failed).exit_code, 137);
    eventually("all are gone", || pids.iter().all(|pid| !alive(pid))).await;
    assert_eq!(lines.try_next().await.unwrap(), None, "the log ends");
    cluster.shutdown().await;
}

/// Killed with the test, should that fail.
struct Parent(std::process::Child);

impl Drop for Parent {
    fn drop(&mut self) {
        let _ = self.0.kill();
    }
}

/// The parent of the next test: this test binary run again as a process that can be killed.
#[tokio::test]
async fn parent_that_waits_to_be_killed() {
    let Ok(dir) = std::env::var("CRATER_TEST_PARENT_DIR") else { return };
    let cluster = local_cluster(Path::new(&dir), [here()]).await;
    let script = format!(
        "sleep 600 & echo $! >{dir}/pids; setsid sleep 600 & echo $! >>{dir}/pids; echo $$$$ >>{dir}/pids; mv {dir}/pids {dir}/up; wait"
    );
    create(&cluster.client(), &sh("a", &script)).await;
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn when_the_parent_is_killed_everything_goes_and_the_next_start_waits_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut parent = Parent(
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "parent_that_waits_to_be_killed", "--nocapture"])
            .env("CRATER_TEST_PARENT_DIR", dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let up = dir.path().join("up");
    eventually("the pod is up", || up.exists()).await;
    let pids = std::fs::read_to_string(&up).unwrap();
    assert_eq!(pids.lines().filter(|pid| alive(pid)).count(), 3);
    let held = wait_for_old_shims(dir.path(), Duration::ZERO).await;
    assert!(held.unwrap_err().to_string().contains("earlier run"));
    parent.0.kill().unwrap();
    parent.0.wait().unwrap();
    wait_for_old_shims(dir.path(), OLD_SHIMS_PATIENCE).await.unwrap();
    let left: Vec<&str> = pids.lines().filter(|pid| alive(pid)).collect();
    assert!(left.is_empty(), "{left:?} outlived the parent");
    // a start on the same directory finds it free and clean
    let cluster = local_cluster(dir.path(), [here()]).await;
    assert!(!dir.path().join("pods").exists());
    cluster.shutdown().await;
}
