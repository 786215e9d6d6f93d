//! A job service with its cluster and its neighbours.

use std::time::{Duration, SystemTime};

use crater_api::job::v1 as pb;
use crater_api::job::v1::job_service_client::JobServiceClient;
use crater_api::quota::v1 as quota;
use crater_api::quota::v1::quota_service_server::{QuotaService, QuotaServiceServer};
use crater_api::quota::v1::watch_quotas_response::{self as limits, Event as Limit};
use crater_api::status::from_status;
use crater_api::user::v1 as user;
use crater_api::user::v1::watch_identities_response::{self as identities, Event as Known};
use crater_auth::{AccessGrant, Authority, MeshKey, Signer, generate_seed};
use crater_job::{Config, Deps, build};
use crater_k8s::AIJob;
use crater_k8s_mem::{Cluster, NodeSpec, RealClock, SharedClock};
use crater_service::{Bind, Channel, InProcess, Running, Server, Shutdown, Target};
use crater_store::Location;
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;
use tonic::{Request, Response, Status, Streaming};

pub const DEADLINE: Duration = Duration::from_secs(20);
pub const LAB: &str = "accounts/lab";

pub struct House {
    pub channel: Channel,
    pub cluster: Cluster,
    pub authority: Authority,
    pub limits: watch::Sender<Vec<quota::Quota>>,
    signer: Signer,
    running: Option<Running>,
    neighbours: Option<Running>,
    pub dir: TempDir,
    config: Config,
}

pub async fn new_cluster() -> Cluster {
    cluster_on(RealClock::shared(1.0)).await
}

pub async fn cluster_on(clock: SharedClock) -> Cluster {
    let nodes = [NodeSpec::gpu_server("a", 8, "A100"), NodeSpec::gpu_server("b", 4, "V100")];
    let cluster = Cluster::builder().clock(clock).nodes(nodes).build().await.unwrap();
    crater_k8s::build::install(&cluster.client()).await.unwrap();
    cluster
}

impl House {
    pub async fn new() -> Self {
        Self::with(Config::default()).await
    }

    pub async fn with(config: Config) -> Self {
        Self::on(TempDir::new().unwrap(), new_cluster().await, config).await
    }

    /// The identities are already heard: root the admin; ann and amy in lab; bob in den; both are below top.
    pub async fn on(dir: TempDir, cluster: Cluster, config: Config) -> Self {
        let authority = Authority::new(MeshKey::generate().unwrap());
        let signer = Signer::from_seed("k", &generate_seed()).unwrap();
        authority.keys().replace([("k".to_owned(), signer.public_key())]);
        let directory = authority.directory();
        directory.apply(Known::SnapshotStart(identities::SnapshotStart {}));
        for (name, parent) in [("top", ""), ("lab", "accounts/top"), ("den", "accounts/top")] {
            let (name, parent) = (format!("accounts/{name}"), parent.to_owned());
            directory.apply(Known::Account(user::Account { name, parent, ..Default::default() }));
        }
        tell_identity(&authority, "root", &[], true);
        tell_identity(&authority, "ann", &["lab"], false);
        tell_identity(&authority, "amy", &["lab"], false);
        tell_identity(&authority, "bob", &["den"], false);
        assert!(directory.apply(Known::Synced(identities::Synced {})));

        let (place, quota) = (InProcess::new("job"), InProcess::new("quota"));
        let limits = watch::Sender::new(Vec::new());
        let neighbours = Server::new("quota")
            .add_service(QuotaServiceServer::new(Limits(limits.clone())))
            .descriptors(crater_api::DESCRIPTOR_SET)
            .layer(authority.layer())
            .serve(Bind::InProcess(quota.clone()), Shutdown::new())
            .await
            .unwrap();
        let location: Location = crater_mariadb::database_for(dir.path()).parse().unwrap();
        let mut deps = Deps::new(authority.clone(), location, cluster.client());
        deps.quota = Some(Target::InProcess(quota));
        let service = build(config.clone(), deps).await.unwrap();
        let readiness = service.readiness().clone();
        let channel = Target::InProcess(place.clone()).channel().unwrap();
        let running = service.spawn(Bind::InProcess(place), Shutdown::new()).await.unwrap();
        tokio::time::timeout(DEADLINE, readiness.ready()).await.expect("never ready");
        let (running, neighbours) = (Some(running), Some(neighbours));
        Self { channel, cluster, authority, limits, signer, running, neighbours, dir, config }
    }

    pub async fn stop(&mut self) {
        for running in [self.running.take(), self.neighbours.take()].into_iter().flatten() {
            running.stop().await.unwrap();
        }
    }

    /// The service starts anew on the same tables and the same cluster.
    pub async fn restart(self) -> Self {
        let cluster = self.cluster.clone();
        self.restart_on(cluster).await
    }

    pub async fn restart_on(mut self, cluster: Cluster) -> Self {
        self.stop().await;
        Self::on(self.dir, cluster, self.config).await
    }

    pub fn client(&self) -> JobServiceClient<Channel> {
        JobServiceClient::new(self.channel.clone()).max_decoding_message_size(8 << 20)
    }

    pub fn signed<T>(&self, user: &str, body: T) -> Request<T> {
        let grant = AccessGrant { user: user.parse().unwrap(), session: "s".into(), epoch: 1 };
        let (token, _) = self.signer.access_token(&grant, SystemTime::now()).unwrap();
        let mut request = Request::new(body);
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        request
    }

    pub async fn try_create(&self, user: &str, request: pb::CreateJobRequest) -> Result<pb::Job, Status> {
        let answer = self.client().create_job(self.signed(user, request)).await?;
        Ok(answer.into_inner().job.unwrap())
    }

    pub async fn create(&self, id: &str) -> pb::Job {
        self.try_create("ann", job(id)).await.unwrap()
    }

    pub async fn try_get(&self, user: &str, name: &str) -> Result<pb::Job, Status> {
        let request = self.signed(user, pb::GetJobRequest { name: name.into() });
        Ok(self.client().get_job(request).await?.into_inner().job.unwrap())
    }

    pub async fn get(&self, id: &str) -> pb::Job {
        self.try_get("ann", &name(id)).await.unwrap()
    }

    pub async fn cancel(&self, id: &str) -> pb::Job {
        let request = pb::CancelJobRequest { name: name(id), ..Default::default() };
        self.client().cancel_job(self.signed("ann", request)).await.unwrap().into_inner().job.unwrap()
    }

    pub async fn try_delete(&self, id: &str) -> Result<(), Status> {
        let request = pb::DeleteJobRequest { name: name(id), ..Default::default() };
        self.client().delete_job(self.signed("ann", request)).await.map(drop)
    }

    pub async fn list(
        &self,
        user: &str,
        request: pb::ListJobsRequest,
    ) -> Result<pb::ListJobsResponse, Status> {
        Ok(self.client().list_jobs(self.signed(user, request)).await?.into_inner())
    }

    pub async fn events(&self, id: &str) -> Vec<String> {
        let request = pb::ListEventsRequest { parent: name(id), ..Default::default() };
        let answer = self.client().list_events(self.signed("ann", request)).await.unwrap().into_inner();
        answer.events.into_iter().map(|e| e.reason).collect()
    }

    pub async fn watch(&self, user: &str, request: pb::WatchJobsRequest) -> Result<Watching, Status> {
        Ok(Watching(self.client().watch_jobs(self.signed(user, request)).await?.into_inner()))
    }

    pub fn aijobs(&self, account: &str) -> Api<AIJob> {
        Api::namespaced(self.cluster.client(), &format!("crater-{account}"))
    }

    /// The AIJob of a job in lab, once it is there.
    pub async fn applied(&self, id: &str) -> AIJob {
        until("an AIJob", async || self.aijobs("lab").get_opt(id).await.ok().flatten()).await
    }

    /// Says of a job in lab what the controller or the scheduler would.
    pub async fn report(&self, id: &str, status: Value) {
        self.applied(id).await;
        let (params, patch) = (PatchParams::default(), Patch::Merge(json!({"status": status})));
        self.aijobs("lab").patch_status(id, &params, &patch).await.unwrap();
    }

    pub async fn in_state(&self, id: &str, state: pb::JobState) -> pb::Job {
        until("a state", async || Some(self.get(id).await).filter(|j| j.state() == state)).await
    }

    /// A job in lab that has ended well.
    pub async fn ended(&self, id: &str) -> pb::Job {
        self.create(id).await;
        self.report(id, json!({"phase": "Succeeded", "exitCode": 0})).await;
        self.in_state(id, pb::JobState::Succeeded).await
    }

    /// Limits that the service has heard, seen by what it refuses: `probe` must be refused under them.
    pub async fn limit(&self, name: &str, resource: &str, limit: i64, probe: pb::CreateJobRequest) {
        let resources =
            vec![quota::ResourceQuota { resource: resource.into(), guaranteed: None, limit: Some(limit) }];
        self.limits.send_modify(|all| {
            all.push(quota::Quota { name: name.into(), resources, ..Default::default() });
        });
        let probe = pb::CreateJobRequest { validate_only: true, ..probe };
        until("the limit to be heard", async || self.try_create("ann", probe.clone()).await.err()).await;
    }
}

pub fn tell_identity(authority: &Authority, name: &str, accounts: &[&str], platform_admin: bool) {
    let membership = |account: &&str| user::Membership {
        account: format!("accounts/{account}"),
        user: format!("users/{name}"),
        role: user::MemberRole::Member.into(),
    };
    authority.directory().apply(Known::Identity(user::Identity {
        user: Some(user::User {
            name: format!("users/{name}"),
            state: user::UserState::Active.into(),
            platform_admin,
            ..Default::default()
        }),
        epoch: 1,
        memberships: accounts.iter().map(membership).collect(),
        revoked_sessions: Vec::new(),
    }));
}

/// Asks again until there is something.
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(found) = ask().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    match tokio::time::timeout(DEADLINE, asking).await {
        Ok(found) => found,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

pub fn name(id: &str) -> String {
    format!("{LAB}/jobs/{id}")
}

/// A small sound job in lab.
pub fn job(id: &str) -> pb::CreateJobRequest {
    let resources = crater_api::common::v1::Resources {
        cpu_millis: 100,
        memory_bytes: 1 << 20,
        gpu_millis: 1000,
        ..Default::default()
    };
    let role =
        pb::Role { command: vec!["/bin/train.sh".into()], resources: Some(resources), ..Default::default() };
    let spec = pb::JobSpec { roles: vec![role], ..Default::default() };
    pb::CreateJobRequest {
        parent: LAB.into(),
        job_id: id.into(),
        job: Some(pb::Job { spec: Some(spec), ..Default::default() }),
        ..Default::default()
    }
}

pub fn edit(mut request: pb::CreateJobRequest, edit: impl FnOnce(&mut pb::Role)) -> pb::CreateJobRequest {
    edit(&mut request.job.as_mut().unwrap().spec.as_mut().unwrap().roles[0]);
    request
}

pub fn fields(status: &Status) -> Vec<String> {
    from_status(status).violations.into_iter().map(|v| v.field).collect()
}

/// An open stream of jobs.
pub struct Watching(pub Streaming<pb::WatchJobsResponse>);

impl Watching {
    pub async fn next(&mut self) -> Result<(pb::watch_jobs_response::Event, String), Status> {
        let message = tokio::time::timeout(DEADLINE, self.0.message()).await.expect("no event in time");
        let message = message?.expect("the stream ended");
        Ok((message.event.unwrap(), message.resume_token))
    }

    /// Skips bookmarks.
    pub async fn news(&mut self) -> (pb::watch_jobs_response::Event, String) {
        loop {
            match self.next().await.unwrap() {
                (pb::watch_jobs_response::Event::Bookmark(_), _) => {}
                other => return other,
            }
        }
    }

    /// The snapshot, and the token of its bookmark.
    pub async fn snapshot(&mut self) -> (Vec<pb::Job>, String) {
        let mut jobs = Vec::new();
        loop {
            match self.next().await.unwrap() {
                (pb::watch_jobs_response::Event::Changed(job), _) => jobs.push(job),
                (pb::watch_jobs_response::Event::Bookmark(_), token) => return (jobs, token),
                other => panic!("not part of a snapshot: {other:?}"),
            }
        }
    }
}

/// A quota service that streams what it is told and nothing else.
struct Limits(watch::Sender<Vec<quota::Quota>>);

#[tonic::async_trait]
impl QuotaService for Limits {
    type WatchQuotasStream = BoxStream<'static, Result<quota::WatchQuotasResponse, Status>>;

    async fn watch_quotas(
        &self,
        _: Request<quota::WatchQuotasRequest>,
    ) -> Result<Response<Self::WatchQuotasStream>, Status> {
        let whole = |all: Vec<quota::Quota>| {
            let mut events = vec![Limit::SnapshotStart(limits::SnapshotStart {})];
            events.extend(all.into_iter().map(Limit::Quota));
            events.push(Limit::Synced(limits::Synced {}));
            stream::iter(events.into_iter().map(|e| Ok(quota::WatchQuotasResponse { event: Some(e) })))
        };
        Ok(Response::new(WatchStream::new(self.0.subscribe()).flat_map(whole).boxed()))
    }

    async fn get_quota(
        &self,
        _: Request<quota::GetQuotaRequest>,
    ) -> Result<Response<quota::GetQuotaResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn update_quota(
        &self,
        _: Request<quota::UpdateQuotaRequest>,
    ) -> Result<Response<quota::UpdateQuotaResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn list_quotas(
        &self,
        _: Request<quota::ListQuotasRequest>,
    ) -> Result<Response<quota::ListQuotasResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }
}
