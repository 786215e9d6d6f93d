//! The server as `kubectl` sees it, over the loopback port. Without `kubectl` on the path these say so and pass.
#![allow(clippy::unwrap_used, clippy::panic)] // the helpers of tests are tests too

mod common;

use std::io::Write;
use std::net::SocketAddr;
use std::process::{Output, Stdio};

use common::{create, local_cluster, phase, pod, until};
use crater_k8s_mem::{Cluster, NodeSpec, kubeconfig};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

struct Served {
    cluster: Cluster,
    config: tempfile::NamedTempFile,
    home: tempfile::TempDir,
    stop: CancellationToken,
}

async fn serve(cluster: Cluster) -> Served {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let mut config = tempfile::NamedTempFile::new().unwrap();
    config.write_all(kubeconfig(address).as_bytes()).unwrap();
    let stop = CancellationToken::new();
    let (served, token) = (cluster.clone(), stop.clone());
    tokio::spawn(async move { served.serve(listener, token).await });
    Served { cluster, config, home: tempfile::tempdir().unwrap(), stop }
}

impl Served {
    fn kubectl(&self, args: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command.args(args).env("KUBECONFIG", self.config.path()).env("HOME", self.home.path());
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    async fn run(&self, args: &[&str]) -> String {
        let out = tokio::time::timeout(common::DEADLINE * 2, self.kubectl(args).output()).await;
        let Output { status, stdout, stderr } =
            out.unwrap_or_else(|_| panic!("kubectl {args:?} hangs")).unwrap();
        let said = String::from_utf8_lossy(&stdout).into_owned();
        assert!(status.success(), "kubectl {args:?}: {said}{}", String::from_utf8_lossy(&stderr));
        said
    }
}

fn has_kubectl() -> bool {
    let found = std::process::Command::new("kubectl").args(["version", "--client"]).output().is_ok();
    if !found {
        println!("skipped: there is no kubectl on the path");
    }
    found
}

const TRAINS: &str = r"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: trains.test.dev}
spec:
  group: test.dev
  scope: Namespaced
  names: {plural: trains, singular: train, kind: Train, shortNames: [tr]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    additionalPrinterColumns:
    - {name: GPUs, type: integer, jsonPath: .spec.gpus}
    - {name: Age, type: date, jsonPath: .metadata.creationTimestamp}
    schema:
      openAPIV3Schema:
        type: object
        properties: {spec: {type: object, properties: {gpus: {type: integer}}}}
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_lists_describes_creates_watches_and_deletes() {
    if !has_kubectl() {
        return;
    }
    let (cluster, _) = common::cluster([NodeSpec::gpu_server("gpu-1", 8, "A100")]).await;
    let served = serve(cluster).await;
    let client = served.cluster.client();
    create(&client, &pod("first", "gpu-1", "")).await;
    until(&client, "first", phase("Running")).await;

    let nodes = served.run(&["get", "nodes", "-o", "wide"]).await;
    assert!(nodes.contains("gpu-1") && nodes.contains("Ready") && nodes.contains("A100"), "{nodes}");
    let pods = served.run(&["get", "pods", "-o", "wide"]).await;
    assert!(pods.contains("1/1") && pods.contains("Running") && pods.contains("gpu-1"), "{pods}");
    let json = served.run(&["get", "pod", "first", "-o", "jsonpath={.status.phase}"]).await;
    assert_eq!(json, "Running");
    let described = served.run(&["describe", "pod", "first"]).await;
    assert!(described.contains("Node:") && described.contains("gpu-1"), "{described}");
    assert!(served.run(&["describe", "node", "gpu-1"]).await.contains("nvidia.com/gpu"));
    assert!(served.run(&["api-resources"]).await.contains("pods"));

    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    served.run(&["create", "-f", &file("crd.yaml", TRAINS)]).await;
    served.run(&["wait", "--for=condition=Established", "crd/trains.test.dev", "--timeout=10s"]).await;
    let train = "apiVersion: test.dev/v1\nkind: Train\nmetadata: {name: t1}\nspec: {gpus: 4}\n";
    let train = file("train.yaml", train);
    served.run(&["create", "-f", &train]).await;
    let trains = served.run(&["get", "tr"]).await;
    assert!(trains.contains("GPUS") && trains.contains('4') && trains.contains("t1"), "{trains}");
    served.run(&["apply", "-f", &train]).await;
    served.run(&["apply", "--server-side", "--force-conflicts", "-f", &train]).await;
    let odd = "apiVersion: test.dev/v1\nkind: Train\nmetadata: {name: t2}\nspec: {gpus: 4, colour: red}\n";
    let refused = served.kubectl(&["create", "-f", &file("odd.yaml", odd)]).output().await.unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("spec.colour"), "{said}");
    served.run(&["label", "train", "t1", "a=b"]).await;
    assert!(served.run(&["get", "trains,pods,nodes"]).await.contains("train.test.dev/t1"));

    let mut watch = served.kubectl(&["get", "pods", "-w"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut next = async |want: &str| loop {
        let line = tokio::time::timeout(common::DEADLINE, lines.next_line()).await;
        let line = line.unwrap_or_else(|_| panic!("the watch shows no {want}")).unwrap().unwrap();
        if line.contains(want) {
            return;
        }
    };
    next("first").await;
    create(&client, &pod("second", "gpu-1", "")).await;
    next("second").await;
    served.run(&["delete", "pod", "second", "--timeout=20s"]).await;
    next("Terminating").await;
    watch.kill().await.unwrap();
    assert!(!served.run(&["get", "pods"]).await.contains("second"));
    served.run(&["delete", "train", "t1"]).await;
    served.stop.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_follows_the_log_of_a_running_process() {
    if !has_kubectl() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let served = serve(local_cluster(dir.path(), [NodeSpec::gpu_server("local", 0, "")]).await).await;
    let client = served.cluster.client();
    let gate = dir.path().join("gate");
    let script = format!("echo one; until [ -e {} ]; do sleep 0.01; done; echo two", gate.display());
    create(&client, &common::command("a", &["sh", "-c", &script])).await;
    until(&client, "a", phase("Running")).await;
    let mut logs = served.kubectl(&["logs", "-f", "a"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(logs.stdout.take().unwrap()).lines();
    let mut next = async || tokio::time::timeout(common::DEADLINE, lines.next_line()).await.unwrap().unwrap();
    assert_eq!(next().await.as_deref(), Some("one"));
    std::fs::write(&gate, "").unwrap();
    assert_eq!(next().await.as_deref(), Some("two"));
    assert_eq!(next().await, None);
    assert!(logs.wait().await.unwrap().success());
    assert_eq!(served.run(&["logs", "a", "--tail=1"]).await, "two\n");
    served.cluster.shutdown().await;
}
