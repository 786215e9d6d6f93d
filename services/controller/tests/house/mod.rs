//! A cluster in memory on a clock that only the test moves, the controller, and the test in the scheduler's place.
#![allow(dead_code)] // each suite uses its own part

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crater_controller::{Config, Deps, build};
use crater_k8s::aijob::{AIJobEnv, AIJobResources, AIJobRole, Class, Phase};
use crater_k8s::allocation::{Placement, Range, Revoked};
use crater_k8s::{AIJob, AIJobSpec, AIJobStatus, Allocation, AllocationSpec, AllocationStatus, names};
use crater_k8s_mem::{Cluster, ManualClock, NodeSpec};
use crater_service::{Bind, InProcess, Shutdown};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::runtime::wait::await_condition;
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::Notify;

pub const NAMESPACE: &str = "crater-lab";
const DEADLINE: Duration = Duration::from_secs(20);
/// Longer than any test: such Pods run until they are told to end.
pub const FOREVER: &str = "10h";

pub struct House {
    pub cluster: Cluster,
    pub clock: ManualClock,
    pub client: Client,
    controller: Option<Shutdown>,
    /// Where it serves health; a server whose place is dropped stops.
    place: Option<InProcess>,
}

/// Two nodes `a` and `b` of eight GPUs, the Lease at epoch 7 with a list revision, and the controller.
pub async fn house() -> House {
    let mut house = house_without_controller().await;
    house.start().await;
    house
}

pub async fn house_without_controller() -> House {
    let clock = ManualClock::default();
    let nodes = ["a", "b"].map(|name| NodeSpec::gpu_server(name, 8, "A100"));
    let cluster = Cluster::builder().clock(Arc::new(clock.clone())).nodes(nodes).build().await.unwrap();
    let client = cluster.client();
    crater_k8s::build::install(&client).await.unwrap();
    let mut namespace = Namespace::default();
    namespace.metadata.name = Some(NAMESPACE.to_owned());
    Api::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
    let house = House { cluster, clock, client, controller: None, place: None };
    house.lease(7, Some(0)).await;
    house
}

pub fn job(name: &str, replicas: i32, min: i32) -> AIJob {
    let role = AIJobRole {
        name: "worker".into(),
        replicas,
        min_replicas: min,
        resources: AIJobResources {
            cpu_millis: 1000,
            memory_bytes: 1 << 30,
            gpu_millis: 1000,
            ..Default::default()
        },
        gpu_models: vec![],
        image: String::new(),
        command: vec!["train".into()],
        args: vec![],
        env: vec![AIJobEnv { name: "SEED".into(), value: "1".into() }],
        working_dir: String::new(),
        mounts: vec![],
    };
    let number: u128 = name.bytes().fold(1, |sum, b| sum * 31 + u128::from(b));
    let spec = AIJobSpec {
        job_uid: format!("{:08x}-0000-4000-8000-000000000000", number as u32),
        account: "lab".into(),
        creator: "ann".into(),
        service_class: Class::BestEffort,
        priority: 0,
        roles: vec![role],
        expected_seconds: Some(10),
        max_retries: 0,
        grace_seconds: 5,
        node_selector: Default::default(),
        topology: None,
        submitted_millis: 1,
        cancelled: false,
        suspended: None,
        checkpointed_millis: None,
        revision: 3,
    };
    let mut job = AIJob::new(name, spec);
    job.metadata.namespace = Some(NAMESPACE.to_owned());
    job
}

pub fn played(mut job: AIJob, duration: &str, exit_code: i32) -> AIJob {
    let notes = job.annotations_mut();
    notes.insert(names::PLAY_DURATION.into(), duration.into());
    notes.insert(names::PLAY_EXIT_CODE.into(), exit_code.to_string());
    job
}

pub fn grant(job: &AIJob, epoch: i64, placements: Vec<Placement>) -> AllocationSpec {
    AllocationSpec {
        job: job.name_any(),
        job_uid: job.spec.job_uid.clone(),
        epoch,
        granted_millis: 1,
        placements,
        revoked: vec![],
    }
}

/// `count` workers from `first` on, on a node, each with one GPU; the first GPU is `gpu`.
pub fn on(node: &str, first: i32, count: i32, gpu: i32) -> Placement {
    Placement {
        node: node.into(),
        role: "worker".into(),
        first_replica: first,
        count,
        gpus: (gpu..gpu + count).map(|g| vec![g]).collect(),
        gpu_millis: 1000,
    }
}

pub fn workers(first: i32, count: i32) -> Range {
    Range { role: "worker".into(), first, count }
}

pub fn env(pod: &Pod, name: &str) -> Option<String> {
    let container = &pod.spec.as_ref().unwrap().containers[0];
    container.env.iter().flatten().find(|e| e.name == name).and_then(|e| e.value.clone())
}

impl House {
    pub async fn start(&mut self) {
        self.start_with(self.client.clone()).await;
    }

    /// A controller that comes as far as its `last` write, and then no further: that write is `done` or not, and its answer
    /// is not heard either way. The Notify tells when it is there.
    pub async fn start_dying(&mut self, last: usize, done: bool) -> Arc<Notify> {
        let (died, writes, client) =
            (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)), self.client.clone());
        let tell = died.clone();
        let dying = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let (client, writes, tell) = (client.clone(), writes.clone(), tell.clone());
            async move {
                // preparing the cluster comes before any work: a controller that dies there has done nothing
                let prepares = matches!(
                    request.uri().path(),
                    "/api/v1/namespaces" | "/apis/scheduling.k8s.io/v1/priorityclasses"
                );
                if request.method() == http::Method::GET || prepares {
                    return client.send(request).await;
                }
                let number = writes.fetch_add(1, Ordering::SeqCst) + 1;
                if number < last {
                    return client.send(request).await;
                }
                if number == last {
                    if done {
                        client.send(request).await?;
                    }
                    tell.notify_one();
                }
                std::future::pending().await
            }
        });
        self.start_with(Client::new(dying, "default")).await;
        died
    }

    async fn start_with(&mut self, client: Client) {
        let shutdown = Shutdown::new();
        let service = build(Config { log_patience_seconds: 0, ..Config::default() }, Deps { client });
        let readiness = service.readiness().clone();
        let place = self.place.insert(InProcess::new("controller")).clone();
        service.spawn(Bind::InProcess(place), shutdown.clone()).await.unwrap();
        if tokio::time::timeout(DEADLINE, readiness.ready()).await.is_err() {
            panic!("the controller is not ready: {:?}", readiness.missing());
        }
        self.controller = Some(shutdown);
    }

    /// As good as killed: what it is doing is dropped wherever it waits.
    pub fn kill(&mut self) {
        self.controller.take().expect("it runs").cancel();
    }

    fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    pub fn jobs(&self) -> Api<AIJob> {
        self.api()
    }

    pub fn allocations(&self) -> Api<Allocation> {
        self.api()
    }

    pub fn pods(&self) -> Api<Pod> {
        self.api()
    }

    pub async fn lease(&self, epoch: i64, list_revision: Option<u64>) {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), names::SYSTEM_NAMESPACE);
        let note = |n: Option<String>| n.map_or(serde_json::Value::Null, Into::into);
        let notes = json!({names::EPOCH: epoch.to_string(), names::LIST_REVISION: note(list_revision.map(|r| r.to_string()))});
        if leases.get_opt(names::SCHEDULER_LEASE).await.unwrap().is_none() {
            let mut lease = Lease::default();
            lease.metadata.name = Some(names::SCHEDULER_LEASE.into());
            leases.create(&PostParams::default(), &lease).await.unwrap();
        }
        let patch = Patch::Merge(json!({"metadata": {"annotations": notes}}));
        leases.patch(names::SCHEDULER_LEASE, &PatchParams::default(), &patch).await.unwrap();
    }

    pub async fn submit(&self, job: &AIJob) -> AIJob {
        self.jobs().create(&PostParams::default(), job).await.unwrap()
    }

    /// One create, as the scheduler does it: owned by the AIJob.
    pub async fn give(&self, name: &str, job: &AIJob, spec: AllocationSpec) -> Allocation {
        let mut allocation = Allocation::new(name, spec);
        allocation.metadata.owner_references = job.controller_owner_ref(&()).map(|o| vec![o]);
        self.allocations().create(&PostParams::default(), &allocation).await.unwrap()
    }

    /// A job whose workers all have a GPU on node `a`.
    pub async fn submit_and_give(&self, job: &AIJob) -> AIJob {
        let job = self.submit(job).await;
        let all = vec![on("a", 0, job.spec.roles[0].replicas, 0)];
        self.give(&format!("{}-1", job.name_any()), &job, grant(&job, 7, all)).await;
        job
    }

    pub async fn revoke(&self, allocation: &str, replicas: Range) {
        let (reason, message) = ("Reclaimed".to_owned(), "its owner wants it back".to_owned());
        let revoked = vec![Revoked { replicas, reason, message }];
        let patch = Patch::Merge(json!({"spec": {"revoked": revoked}}));
        self.allocations().patch(allocation, &PatchParams::default(), &patch).await.unwrap();
    }

    pub async fn cancel(&self, job: &str) {
        let patch = Patch::Merge(json!({"spec": {"cancelled": true, "revision": 4}}));
        self.jobs().patch(job, &PatchParams::default(), &patch).await.unwrap();
    }

    async fn until<K>(&self, name: &str, what: &str, mut holds: impl FnMut(Option<&K>) -> bool) -> Option<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + Debug
            + Send
            + DeserializeOwned
            + 'static,
        K::DynamicType: Default,
    {
        let api = self.api::<K>();
        let seen = std::cell::RefCell::new(None);
        let condition = |object: Option<&K>| {
            seen.replace(object.cloned());
            holds(object)
        };
        let condition = std::sync::Mutex::new(condition);
        let waiting = async {
            let watch = kube::runtime::watcher::watch_object(api, name);
            let mut watch = std::pin::pin!(watch);
            loop {
                let object = futures::StreamExt::next(&mut watch).await.expect("a watch has no end");
                let Ok(object) = object else { continue };
                if condition.lock().unwrap()(object.as_ref()) {
                    return object;
                }
            }
        };
        match tokio::time::timeout(DEADLINE, waiting).await {
            Ok(object) => object,
            Err(_) => panic!("{name}: {what} did not come; it is {:#?}", seen.borrow()),
        }
    }

    pub async fn until_job(
        &self,
        name: &str,
        what: &str,
        holds: impl Fn(&AIJobStatus) -> bool,
    ) -> AIJobStatus {
        let held = |job: Option<&AIJob>| job.and_then(|j| j.status.as_ref()).is_some_and(&holds);
        self.until(name, what, held).await.and_then(|j| j.status).unwrap()
    }

    pub async fn until_phase(&self, name: &str, phase: Phase) -> AIJobStatus {
        self.until_job(name, &format!("{phase:?}"), |s| s.phase == Some(phase)).await
    }

    pub async fn until_allocation(
        &self,
        name: &str,
        what: &str,
        holds: impl Fn(&AllocationStatus) -> bool,
    ) -> AllocationStatus {
        let held = |a: Option<&Allocation>| a.and_then(|a| a.status.as_ref()).is_some_and(&holds);
        self.until(name, what, held).await.and_then(|a| a.status).unwrap()
    }

    pub async fn until_released(&self, name: &str, all: Range) -> AllocationStatus {
        let what = format!("release of {all:?}");
        self.until_allocation(name, &what, |s| s.released == std::slice::from_ref(&all)).await
    }

    pub async fn until_pod(
        &self,
        name: &str,
        what: &str,
        holds: impl Fn(Option<&Pod>) -> bool,
    ) -> Option<Pod> {
        self.until(name, what, holds).await
    }

    pub async fn until_pod_runs(&self, name: &str) -> Pod {
        let runs = |p: Option<&Pod>| {
            p.and_then(|p| p.status.as_ref()).and_then(|s| s.phase.as_deref()) == Some("Running")
        };
        self.until_pod(name, "running", runs).await.unwrap()
    }

    pub async fn until_job_is_gone(&self, name: &str) {
        let gone = await_condition(self.jobs(), name, |job: Option<&AIJob>| job.is_none());
        tokio::time::timeout(DEADLINE, gone).await.expect("the AIJob goes in time").unwrap();
    }

    pub async fn list_pods(&self) -> Vec<Pod> {
        self.pods().list(&ListParams::default()).await.unwrap().items
    }

    /// Everything that was written before has been looked at: a job submitted afterwards has its status.
    pub async fn settle(&self, probe: &str) {
        self.submit(&job(probe, 1, 1)).await;
        self.until_phase(probe, Phase::Queued).await;
    }

    /// Lets the time of the cluster go on, for ever.
    pub async fn go_on(&self) {
        loop {
            self.advance(1);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    pub fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}
