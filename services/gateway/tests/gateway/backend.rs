//! Small services to put behind the gateway: they answer over real gRPC and let a test see what reached them.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crater_api::job::v1::job_service_server::{JobService, JobServiceServer};
use crater_api::job::v1::*;
use crater_api::user::v1::auth_service_server::{AuthService, AuthServiceServer};
use crater_api::user::v1::identity_service_server::{IdentityService, IdentityServiceServer};
use crater_api::user::v1::watch_identities_response::{Event, SnapshotStart, Synced};
use crater_api::user::v1::*;
use crater_auth::{Authority, Caller, MeshKey, Signer, generate_seed};
use crater_service::{Bind, InProcess, Running, Server, Shutdown};
use futures::{Stream, StreamExt};
use tokio::sync::{broadcast, watch};
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

type Streamed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The user service: one key, and the users that a test says.
#[derive(Clone)]
pub struct Users {
    pub signer: Arc<Signer>,
    pub identities: Arc<watch::Sender<Vec<Identity>>>,
}

impl Users {
    pub fn new() -> Self {
        let signer = Signer::from_seed("k1", &generate_seed()).unwrap();
        let identities = watch::Sender::new(vec![identity("alice", UserState::Active)]);
        Self { signer: Arc::new(signer), identities: Arc::new(identities) }
    }

    pub async fn serve(&self, mesh: &MeshKey, place: &InProcess, shutdown: &Shutdown) -> Running {
        let authority = Authority::new(mesh.clone());
        Server::new("user")
            .descriptors(crater_api::DESCRIPTOR_SET)
            .add_service(AuthServiceServer::new(self.clone()))
            .add_service(IdentityServiceServer::new(self.clone()))
            .layer(authority.layer())
            .serve(Bind::InProcess(place.clone()), shutdown.clone())
            .await
            .unwrap()
    }
}

pub fn identity(user: &str, state: UserState) -> Identity {
    let name = format!("users/{user}");
    Identity {
        user: Some(User { name, state: state.into(), ..Default::default() }),
        epoch: 1,
        ..Default::default()
    }
}

#[tonic::async_trait]
impl IdentityService for Users {
    type WatchRevocationsStream = Streamed<WatchRevocationsResponse>;
    type WatchIdentitiesStream = Streamed<WatchIdentitiesResponse>;

    async fn watch_identities(
        &self,
        request: Request<WatchIdentitiesRequest>,
    ) -> Result<Response<Self::WatchIdentitiesStream>, Status> {
        Caller::of(&request)?;
        let changes = self.identities.subscribe();
        let snapshots = futures::stream::unfold((changes, true), |(mut changes, first)| async move {
            if !first {
                changes.changed().await.ok()?;
            }
            let users = changes.borrow_and_update().clone();
            let mut events = vec![Event::SnapshotStart(SnapshotStart {})];
            events.extend(users.into_iter().map(Event::Identity));
            events.push(Event::Synced(Synced {}));
            Some((futures::stream::iter(events), (changes, false)))
        });
        let events = snapshots.flatten().map(|event| Ok(WatchIdentitiesResponse { event: Some(event) }));
        Ok(Response::new(Box::pin(events)))
    }

    async fn watch_revocations(
        &self,
        _: Request<WatchRevocationsRequest>,
    ) -> Result<Response<Self::WatchRevocationsStream>, Status> {
        Err(Status::unimplemented("not in this test"))
    }
}

#[tonic::async_trait]
impl AuthService for Users {
    async fn login(&self, request: Request<LoginRequest>) -> Result<Response<LoginResponse>, Status> {
        Err(Status::unauthenticated(format!("no user {}", request.get_ref().user_id)))
    }
    async fn refresh_token(
        &self,
        _: Request<RefreshTokenRequest>,
    ) -> Result<Response<RefreshTokenResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }
    async fn logout(&self, _: Request<LogoutRequest>) -> Result<Response<LogoutResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }
    async fn who_am_i(&self, _: Request<WhoAmIRequest>) -> Result<Response<WhoAmIResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }
    async fn list_signing_keys(
        &self,
        _: Request<ListSigningKeysRequest>,
    ) -> Result<Response<ListSigningKeysResponse>, Status> {
        let key = SigningKey {
            key_id: self.signer.key_id().to_owned(),
            algorithm: "EdDSA".to_owned(),
            public_key: self.signer.public_key().to_vec(),
        };
        Ok(Response::new(ListSigningKeysResponse { keys: vec![key] }))
    }

    async fn change_password(
        &self,
        _: Request<ChangePasswordRequest>,
    ) -> Result<Response<ChangePasswordResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn switch_account(
        &self,
        _: Request<SwitchAccountRequest>,
    ) -> Result<Response<SwitchAccountResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }
}

/// The job service. What it does depends on the name or parent that a call asks for.
#[derive(Clone)]
pub struct Jobs {
    /// The headers of the last call.
    pub headers: Arc<Mutex<MetadataMap>>,
    /// Messages for streams that watch `accounts/live`.
    pub live: broadcast::Sender<String>,
    /// Messages made so far for streams that watch `accounts/flood`.
    pub flood: Arc<AtomicUsize>,
    /// Streams that are open.
    pub open: Arc<watch::Sender<usize>>,
}

/// Bytes of one message of the flood.
pub const FLOOD_MESSAGE: usize = 64 << 10;

impl Jobs {
    pub fn new() -> Self {
        Self {
            headers: Arc::default(),
            live: broadcast::Sender::new(64),
            flood: Arc::default(),
            open: Arc::new(watch::Sender::new(0)),
        }
    }

    pub async fn serve(&self, bind: Bind, shutdown: &Shutdown) -> Running {
        Server::new("job")
            .descriptors(crater_api::DESCRIPTOR_SET)
            .add_service(JobServiceServer::new(self.clone()))
            .serve(bind, shutdown.clone())
            .await
            .unwrap()
    }

    fn seen<T>(&self, request: &Request<T>) {
        *self.headers.lock().unwrap() = request.metadata().clone();
    }
}

struct Open(Arc<watch::Sender<usize>>);

impl Open {
    fn new(count: &Arc<watch::Sender<usize>>) -> Self {
        count.send_modify(|open| *open += 1);
        Self(count.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}

pub fn message(token: impl Into<String>) -> WatchJobsResponse {
    WatchJobsResponse { resume_token: token.into(), ..Default::default() }
}

#[tonic::async_trait]
impl JobService for Jobs {
    type WatchJobsStream = Streamed<WatchJobsResponse>;
    type StreamLogsStream = Streamed<StreamLogsResponse>;

    async fn get_job(&self, request: Request<GetJobRequest>) -> Result<Response<GetJobResponse>, Status> {
        self.seen(&request);
        let name = request.into_inner().name;
        Ok(Response::new(GetJobResponse { job: Some(Job { name, ..Default::default() }) }))
    }

    async fn watch_jobs(
        &self,
        request: Request<WatchJobsRequest>,
    ) -> Result<Response<Self::WatchJobsStream>, Status> {
        self.seen(&request);
        let open = Open::new(&self.open);
        let stream: Self::WatchJobsStream = match request.get_ref().parent.as_str() {
            "accounts/live" => {
                let messages = (self.live.subscribe(), open);
                Box::pin(futures::stream::unfold(messages, |(mut live, open)| async move {
                    let text = live.recv().await.ok()?;
                    Some((Ok(message(text)), (live, open)))
                }))
            }
            "accounts/flood" => {
                let count = self.flood.clone();
                Box::pin(futures::stream::repeat_with(move || {
                    let _ = &open;
                    count.fetch_add(1, Ordering::SeqCst);
                    Ok(message("x".repeat(FLOOD_MESSAGE)))
                }))
            }
            "accounts/broken" => {
                let refusal = crater_domain_error();
                Box::pin(futures::stream::iter([Ok(message("1")), Ok(message("2")), Err(refusal)]))
            }
            _ => return Err(crater_domain_error()),
        };
        Ok(Response::new(stream))
    }

    async fn create_job(&self, _: Request<CreateJobRequest>) -> Result<Response<CreateJobResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }
    async fn list_jobs(&self, _: Request<ListJobsRequest>) -> Result<Response<ListJobsResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }
    async fn cancel_job(&self, _: Request<CancelJobRequest>) -> Result<Response<CancelJobResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }
    async fn delete_job(&self, _: Request<DeleteJobRequest>) -> Result<Response<DeleteJobResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }
    async fn stream_logs(
        &self,
        _: Request<StreamLogsRequest>,
    ) -> Result<Response<Self::StreamLogsStream>, Status> {
        Err(Status::unimplemented("not in this test"))
    }
    async fn list_events(
        &self,
        _: Request<ListEventsRequest>,
    ) -> Result<Response<ListEventsResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn update_job(&self, _: Request<UpdateJobRequest>) -> Result<Response<UpdateJobResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn report_checkpoint(
        &self,
        _: Request<ReportCheckpointRequest>,
    ) -> Result<Response<ReportCheckpointResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn suspend_job(
        &self,
        _: Request<SuspendJobRequest>,
    ) -> Result<Response<SuspendJobResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn resume_job(&self, _: Request<ResumeJobRequest>) -> Result<Response<ResumeJobResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn list_job_usage(
        &self,
        _: Request<ListJobUsageRequest>,
    ) -> Result<Response<ListJobUsageResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }
}

/// A refusal with details, which must survive the way.
pub fn crater_domain_error() -> Status {
    use tonic_types::{ErrorDetails, StatusExt};
    let details = ErrorDetails::with_bad_request_violation("parent", "is no account — 没有");
    Status::with_error_details(tonic::Code::InvalidArgument, "parent: is no account — 没有", details)
}
