//! A cluster, a quota service that says what the test wants, and a scheduler between them; the controller is the test itself.

mod calls;
mod says;
mod wanted;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use crater_api::quota::v1 as quota;
use crater_api::quota::v1::quota_service_server::QuotaServiceServer;
use crater_api::user::v1 as user;
use crater_api::user::v1::watch_identities_response::{self as identities, Event as Known};
use crater_auth::{Authority, MeshKey, Signer, generate_seed};
use crater_k8s::aijob::SchedulingStatus;
use crater_k8s::lease::epoch_of;
use crater_k8s::{AIJob, Allocation, names};
use crater_k8s_mem::{Cluster, NodeSpec};
use crater_scheduler::{Config, Deps, build};
use crater_service::{Bind, Channel, InProcess, Readiness, Running, Server, Shutdown, Target};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;

#[allow(unused_imports, reason = "each suite uses its own part")]
pub use calls::Heard;
use says::{Limits, Says};
pub use wanted::{Job, job};

const DEADLINE: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(20);

/// The real clock, and what the test moved it.
#[derive(Clone, Default)]
pub struct TestClock(Arc<AtomicI64>);

impl TestClock {
    pub fn advance(&self, millis: i64) {
        self.0.fetch_add(millis, Ordering::SeqCst);
    }

    fn shared(&self) -> crater_scheduler::Clock {
        let moved = self.0.clone();
        Arc::new(move || {
            let moved = u64::try_from(moved.load(Ordering::SeqCst)).unwrap();
            SystemTime::now() + Duration::from_millis(moved)
        })
    }
}

/// Another scheduler on the same cluster.
pub struct Rival {
    pub clock: TestClock,
    readiness: Readiness,
    running: Running,
    shutdown: Shutdown,
    /// Where it listens: it stops with the last to hold this.
    _place: InProcess,
}

impl Rival {
    pub async fn missing(&self, condition: &str) -> String {
        until("it says what it lacks", || async {
            let missing = self.readiness.missing().into_iter().find(|m| m.condition == condition)?;
            (missing.why != "not yet").then_some(missing.why)
        })
        .await
    }

    /// Lets time pass for it alone until it leads.
    pub async fn takes_over(&self) {
        let deadline = Instant::now() + DEADLINE;
        while !self.readiness.is_ready() {
            assert!(Instant::now() < deadline, "not taken over: {:?}", self.readiness.missing());
            self.clock.advance(11_000);
            let _ = tokio::time::timeout(Duration::from_millis(1500), self.readiness.ready()).await;
        }
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        self.running.stopped().await.unwrap();
    }
}

pub struct House {
    pub cluster: Cluster,
    pub clock: TestClock,
    authority: Authority,
    signer: Signer,
    limits: watch::Sender<Limits>,
    quota: InProcess,
    quota_stop: Shutdown,
    frozen: Arc<AtomicBool>,
    channel: Channel,
    scheduler: Option<Rival>,
    config: Config,
}

pub fn node(name: &str, gpus: u32) -> NodeSpec {
    NodeSpec::gpu_server(name, gpus, "A100")
}

pub fn row(resource: &str, guaranteed: Option<i64>, limit: Option<i64>) -> quota::ResourceQuota {
    quota::ResourceQuota { resource: resource.into(), guaranteed, limit }
}

async fn until<T, F: Future<Output = Option<T>>>(what: &str, look: impl Fn() -> F) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(Instant::now() < deadline, "never came: {what}");
        tokio::time::sleep(LOOK).await;
    }
}

impl House {
    /// Accounts lab (ann) and den (bob), both below top; root is the admin.
    pub async fn new(nodes: impl IntoIterator<Item = NodeSpec>) -> Self {
        Self::with(Config::default(), nodes).await
    }

    /// The same under other settings.
    pub async fn with(config: Config, nodes: impl IntoIterator<Item = NodeSpec>) -> Self {
        let cluster = Cluster::builder().nodes(nodes).build().await.unwrap();
        crater_k8s::build::install(&cluster.client()).await.unwrap();
        for name in ["crater-lab", "crater-den"] {
            let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
            Api::all(cluster.client()).create(&PostParams::default(), &namespace).await.unwrap();
        }
        let authority = Authority::new(MeshKey::generate().unwrap());
        let signer = Signer::from_seed("k", &generate_seed()).unwrap();
        authority.keys().replace([("k".to_owned(), signer.public_key())]);
        identify(&authority);
        let quota = InProcess::new("quota");
        let (limits, heard) = watch::channel(Limits::new());
        let quota_stop = Shutdown::new();
        Server::new("quota")
            .add_service(QuotaServiceServer::new(Says(heard)))
            .descriptors(crater_api::DESCRIPTOR_SET)
            .layer(authority.layer())
            .serve(Bind::InProcess(quota.clone()), quota_stop.clone())
            .await
            .unwrap();
        let place = InProcess::new("scheduling");
        let channel = Target::InProcess(place.clone()).channel().unwrap();
        let mut house = Self {
            cluster,
            clock: TestClock::default(),
            authority,
            signer,
            limits,
            quota,
            quota_stop,
            frozen: Arc::default(),
            channel,
            scheduler: None,
            config,
        };
        house.begin(place).await;
        house
    }

    async fn begin(&mut self, place: InProcess) {
        let client = freezable(self.cluster.client(), self.frozen.clone());
        let scheduler = self.scheduler(client, self.clock.clone(), place.clone()).await;
        self.channel = Target::InProcess(place).channel().unwrap();
        let ready = tokio::time::timeout(DEADLINE, scheduler.readiness.ready()).await;
        assert!(ready.is_ok(), "not ready: {:?}", scheduler.readiness.missing());
        self.scheduler = Some(scheduler);
    }

    async fn scheduler(&self, client: Client, clock: TestClock, place: InProcess) -> Rival {
        let mut deps = Deps::new(self.authority.clone(), client);
        deps.clock = clock.shared();
        deps.quota = Some(Target::InProcess(self.quota.clone()));
        let service = build(self.config.clone(), deps).unwrap();
        let (readiness, shutdown) = (service.readiness().clone(), Shutdown::new());
        let running = service.spawn(Bind::InProcess(place.clone()), shutdown.clone()).await.unwrap();
        Rival { clock, readiness, running, shutdown, _place: place }
    }

    pub async fn restart(&mut self) {
        self.scheduler.take().unwrap().stop().await;
        self.begin(InProcess::new("scheduling")).await;
    }

    pub async fn rival(&self) -> Rival {
        self.scheduler(self.cluster.client(), TestClock::default(), InProcess::new("rival")).await
    }

    /// Nothing of the first scheduler reaches the cluster any more, or it does again.
    pub fn freeze(&self, frozen: bool) {
        self.frozen.store(frozen, Ordering::SeqCst);
    }

    pub fn limit(&self, name: &str, rows: Vec<quota::ResourceQuota>) {
        self.quota(name, rows, 0);
    }

    pub fn quota(&self, name: &str, resources: Vec<quota::ResourceQuota>, weight: i32) {
        let quota = quota::Quota { name: name.to_owned(), resources, weight, ..Default::default() };
        self.limits.send_modify(|limits| {
            limits.insert(name.to_owned(), quota);
        });
    }

    pub fn quota_away(&self) {
        self.quota_stop.cancel();
    }

    /// The ConfigMap with the limits says this.
    pub async fn kept(&self, text: &str) {
        let api: Api<ConfigMap> = Api::namespaced(self.cluster.client(), names::SYSTEM_NAMESPACE);
        until("the limits are kept", || async {
            let map = api.get_opt(names::LIMITS_CONFIGMAP).await.unwrap()?;
            map.data?.values().any(|kept| kept.contains(text)).then_some(())
        })
        .await;
    }

    fn jobs(&self, account: &str) -> Api<AIJob> {
        Api::namespaced(self.cluster.client(), &format!("crater-{account}"))
    }

    pub async fn submit(&self, job: &Job) {
        let api = self.jobs(&job.account);
        let made = AIJob::new(&job.name, job.spec());
        api.create(&PostParams::default(), &made).await.unwrap();
    }

    /// As the job service.
    pub async fn suspend(&self, job: &str, on: bool) {
        let suspended = on.then(|| json!({"by": "users/ann", "sinceMillis": 1000}));
        let patch = json!({"spec": {"suspended": suspended}});
        self.jobs("lab").patch(job, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    }

    pub async fn allocations(&self) -> Vec<Allocation> {
        let api: Api<Allocation> = Api::all(self.cluster.client());
        api.list(&ListParams::default()).await.unwrap().items
    }

    pub async fn until(&self, what: &str, so: impl Fn(&[Allocation]) -> bool) {
        let so = &so;
        until(what, || async move { so(&self.allocations().await).then_some(()) }).await;
    }

    /// The reason as the AIJob shows it; an empty code is any.
    pub async fn reason_in(&self, account: &str, name: &str, code: &str) -> SchedulingStatus {
        let api = self.jobs(account);
        until(&format!("{name} waits for {code}"), || async {
            let told = api.get(name).await.unwrap().status?.scheduling?;
            (code.is_empty() || told.reason == code).then_some(told)
        })
        .await
    }

    pub async fn reason(&self, name: &str, code: &str) -> SchedulingStatus {
        self.reason_in("lab", name, code).await
    }

    /// How many jobs show a reason.
    pub async fn told(&self) -> usize {
        let all = self.jobs("lab").list(&ListParams::default()).await.unwrap();
        all.iter().filter(|j| j.status.as_ref().is_some_and(|s| s.scheduling.is_some())).count()
    }

    pub async fn no_reason(&self, name: &str) {
        let api = self.jobs("lab");
        until("the reason is cleared", || async {
            let status = api.get(name).await.unwrap().status;
            status.and_then(|s| s.scheduling).is_none().then_some(())
        })
        .await;
    }

    pub async fn lease(&self) -> (i64, Option<String>) {
        let api: Api<Lease> = Api::namespaced(self.cluster.client(), names::SYSTEM_NAMESPACE);
        let lease = api.get(names::SCHEDULER_LEASE).await.unwrap();
        (epoch_of(&lease), lease.annotations().get(names::LIST_REVISION).cloned())
    }

    async fn say(&self, job: &str, status: serde_json::Value) {
        self.say_in("lab", job, status).await;
    }

    async fn say_in(&self, account: &str, job: &str, status: serde_json::Value) {
        let patch = json!({"status": status});
        self.jobs(account).patch_status(job, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    }

    async fn patch_allocations(&self, job: &str, status: serde_json::Value) {
        self.patch_allocations_in("lab", job, status).await;
    }

    async fn patch_allocations_in(&self, account: &str, job: &str, status: serde_json::Value) {
        let api: Api<Allocation> = Api::namespaced(self.cluster.client(), &format!("crater-{account}"));
        for allocation in self.allocations().await.into_iter().filter(|a| a.spec.job == job) {
            let patch = json!({"status": status});
            let name = allocation.name_any();
            api.patch_status(&name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
        }
    }

    /// As the controller: it was taken and runs.
    pub async fn accept(&self, job: &str) {
        self.patch_allocations(job, json!({"accepted": 1})).await;
        self.say(job, json!({"phase": "Running", "attempts": 1})).await;
    }

    /// As the controller: these replicas are gone.
    pub async fn release(&self, job: &str, replicas: Range<i32>) {
        let released = json!([{"role": "worker", "first": replicas.start, "count": replicas.len()}]);
        self.patch_allocations(job, json!({"released": released})).await;
    }

    /// As the controller: it is over, and all of it is gone.
    pub async fn finish(&self, job: &str) {
        self.finish_in("lab", job).await;
    }

    pub async fn finish_in(&self, account: &str, job: &str) {
        self.say_in(account, job, json!({"phase": "Succeeded"})).await;
        let released = json!([{"role": "worker", "first": 0, "count": 100}]);
        self.patch_allocations_in(account, job, json!({"released": released})).await;
    }

    /// As the controller: it was served so much before (thousandths of a GPU times milliseconds).
    pub async fn served(&self, job: &str, amount: i64) {
        self.say(job, json!({"servedBefore": amount})).await;
    }

    /// As the controller: it ran so long, ended well, and all of it is gone.
    pub async fn ran(&self, job: &str, seconds: i64) {
        let end = i64::try_from(SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
        let status = json!({"phase": "Succeeded", "startMillis": end - seconds * 1000, "endMillis": end});
        self.say(job, status).await;
        self.release(job, 0..100).await;
    }

    /// As the controller: it has just saved its work.
    pub async fn saved(&self, job: &str) {
        let now = (self.clock.shared())().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
        self.say(job, json!({"checkpointedMillis": u64::try_from(now).unwrap()})).await;
    }

    /// As the controller: it waits again.
    pub async fn queue_again(&self, job: &str) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
        self.say(job, json!({"phase": "Queued", "queuedMillis": u64::try_from(now).unwrap()})).await;
    }

    /// As the controller: it waits again, and all of it is gone.
    pub async fn back_to_queue(&self, job: &str) {
        self.queue_again(job).await;
        self.release(job, 0..100).await;
    }

    /// As the controller: the kubelet would not have replica 0.
    pub async fn reject(&self, job: &str) {
        let node = self
            .allocations()
            .await
            .into_iter()
            .find(|a| a.spec.job == job)
            .unwrap()
            .granted()
            .remove(0)
            .node;
        let rejected =
            json!([{"role": "worker", "replica": 0, "node": node, "message": "UnexpectedAdmissionError"}]);
        let released = json!([{"role": "worker", "first": 0, "count": 1}]);
        self.patch_allocations(job, json!({"accepted": 1, "released": released, "rejected": rejected})).await;
    }
}

fn identify(authority: &Authority) {
    let directory = authority.directory();
    directory.apply(Known::SnapshotStart(identities::SnapshotStart {}));
    for (name, parent) in
        [("accounts/top", ""), ("accounts/lab", "accounts/top"), ("accounts/den", "accounts/top")]
    {
        let account = user::Account { name: name.into(), parent: parent.into(), ..Default::default() };
        directory.apply(Known::Account(account));
    }
    for (name, account, platform_admin) in
        [("root", None, true), ("ann", Some("lab"), false), ("bob", Some("den"), false)]
    {
        let membership = |account: &str| user::Membership {
            account: format!("accounts/{account}"),
            user: format!("users/{name}"),
            role: user::MemberRole::Member.into(),
        };
        directory.apply(Known::Identity(user::Identity {
            user: Some(user::User {
                name: format!("users/{name}"),
                state: user::UserState::Active.into(),
                platform_admin,
                ..Default::default()
            }),
            epoch: 1,
            memberships: account.map(membership).into_iter().collect(),
            revoked_sessions: Vec::new(),
        }));
    }
    assert!(directory.apply(Known::Synced(identities::Synced {})));
}

/// A client none of whose requests arrives while it is frozen.
fn freezable(client: Client, frozen: Arc<AtomicBool>) -> Client {
    let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
        let (client, frozen) = (client.clone(), frozen.clone());
        async move {
            if frozen.load(Ordering::SeqCst) {
                return Err(tower::BoxError::from("frozen"));
            }
            client.send(request).await.map_err(tower::BoxError::from)
        }
    });
    Client::new(service, "default")
}
