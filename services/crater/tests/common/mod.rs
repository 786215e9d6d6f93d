//! A server that speaks the contract over a real socket and does what a test tells it: for what the command line makes
//! of answers, losses and refusals. The whole mesh is tested elsewhere.

#![allow(dead_code, reason = "each test file uses its part")]

mod scheduling;

use std::collections::{HashMap, HashSet, VecDeque};
use std::pin::Pin;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crater_api::convert::timestamp;
use crater_api::job::v1::job_service_server::{JobService, JobServiceServer};
use crater_api::job::v1::{self as job, Job};
use crater_api::scheduling::v1::scheduling_service_server::SchedulingServiceServer;
use crater_api::scheduling::v1::{SimulateRequest, SimulateResponse};
use crater_api::user::v1::auth_service_server::{AuthService, AuthServiceServer};
use crater_api::user::v1::{self as user, TokenPair};
use futures::stream::Stream;
use tokio::process::Command;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Identity, ServerTlsConfig};
use tonic::{Request, Response, Status};

/// The token that the server takes, unless a login or refresh made another.
pub const TOKEN: &str = "good";

/// What a scripted stream does next; after the last step it ends.
pub enum Step<T> {
    Send(T),
    Break(Status),
    Hang,
}

#[derive(Default)]
pub struct State {
    pub jobs: Vec<Job>,
    /// The job made for each request id.
    pub requests: HashMap<String, String>,
    pub creates: Vec<job::CreateJobRequest>,
    /// So many creates are done, and their answers lost.
    pub lose_answers: usize,
    pub refuse_create: Option<Status>,
    pub watches: VecDeque<Vec<Step<job::WatchJobsResponse>>>,
    pub watch_requests: Vec<job::WatchJobsRequest>,
    pub logs: VecDeque<Vec<Step<job::StreamLogsResponse>>>,
    pub log_requests: Vec<job::StreamLogsRequest>,
    pub valid_tokens: HashSet<String>,
    pub refresh_token: String,
    pub refreshes: usize,
    pub family_revoked: bool,
    pub simulations: Vec<SimulateRequest>,
    /// What is answered; without it no trial can be made.
    pub simulated: Option<SimulateResponse>,
}

#[derive(Clone)]
pub struct Fake {
    pub url: String,
    state: Arc<Mutex<State>>,
}

/// How a `crater` process ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Fake {
    pub async fn start() -> Self {
        Self::serve(None).await
    }

    /// With TLS; gives its certificate too.
    pub async fn start_with_tls() -> (Self, String) {
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        let pem = made.cert.pem();
        (Self::serve(Some(Identity::from_pem(&pem, made.signing_key.serialize_pem()))).await, pem)
    }

    async fn serve(identity: Option<Identity>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if identity.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let state = State { valid_tokens: [TOKEN.to_owned()].into(), ..Default::default() };
        let fake = Self { url, state: Arc::new(Mutex::new(state)) };
        let mut server = tonic::transport::Server::builder();
        if let Some(identity) = identity {
            server = server.tls_config(ServerTlsConfig::new().identity(identity)).unwrap();
        }
        let server = server
            .add_service(JobServiceServer::new(fake.clone()))
            .add_service(SchedulingServiceServer::new(fake.clone()))
            .add_service(AuthServiceServer::new(fake.clone()));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        fake
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `crater` with these arguments against this server, and sessions in `config`; no token.
    pub fn signed_out(&self, config: &std::path::Path, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_crater"));
        command
            .args(args)
            .env("CRATER_CONFIG_DIR", config)
            .env("CRATER_SERVER", &self.url)
            .env_remove("CRATER_TOKEN")
            .env_remove("CRATER_ACCOUNT")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// `crater` with a token, run to its end.
    pub async fn crater(&self, args: &[&str]) -> Ended {
        let config = tempfile::tempdir().unwrap();
        ended(self.signed_out(config.path(), args).env("CRATER_TOKEN", TOKEN)).await
    }

    fn check<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let token = request.metadata().get("authorization").and_then(|v| v.to_str().ok());
        let token = token.and_then(|t| t.strip_prefix("Bearer ")).unwrap_or_default();
        let known = self.state().valid_tokens.contains(token);
        if known { Ok(()) } else { Err(Status::unauthenticated("the token is not valid")) }
    }

    fn pair(&self) -> TokenPair {
        let mut state = self.state();
        let n = state.refreshes;
        state.refresh_token = format!("refresh-{n}");
        state.valid_tokens.insert(format!("access-{n}"));
        let later = timestamp(crater_api::convert::to_unix_millis(std::time::SystemTime::now()) + 600_000);
        TokenPair {
            access_token: format!("access-{n}"),
            access_expire_time: Some(later),
            refresh_token: state.refresh_token.clone(),
            refresh_expire_time: Some(later),
        }
    }
}

/// Runs the process to its end.
pub async fn ended(command: &mut Command) -> Ended {
    let output = command.output().await.unwrap();
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The job in this state.
pub fn job_in(state: job::JobState, exit_code: Option<i32>) -> Job {
    Job {
        name: "accounts/lab/jobs/train".into(),
        state: state.into(),
        exit_code,
        spec: Some(job::JobSpec {
            roles: vec![job::Role { name: "worker".into(), replicas: 1, ..Default::default() }],
            ..Default::default()
        }),
        ..Default::default()
    }
}

pub fn changed(job: Job, resume_token: &str) -> Step<job::WatchJobsResponse> {
    let event = Some(job::watch_jobs_response::Event::Changed(job));
    Step::Send(job::WatchJobsResponse { event, resume_token: resume_token.into() })
}

pub fn lines(at: &[(i64, &str)]) -> Step<job::StreamLogsResponse> {
    let line = |(seconds, text): &(i64, &str)| job::LogLine {
        role: "worker".into(),
        replica: 0,
        time: Some(timestamp(seconds * 1000)),
        text: (*text).to_owned(),
    };
    Step::Send(job::StreamLogsResponse { lines: at.iter().map(line).collect(), gap: String::new() })
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn play<T: Send + 'static>(steps: Vec<Step<T>>) -> Response<Answers<T>> {
    let steps = VecDeque::from(steps);
    Response::new(Box::pin(futures::stream::unfold(steps, async |mut steps| match steps.pop_front()? {
        Step::Send(item) => Some((Ok(item), steps)),
        Step::Break(status) => Some((Err(status), VecDeque::new())),
        Step::Hang => std::future::pending().await,
    })))
}

#[tonic::async_trait]
impl JobService for Fake {
    async fn create_job(
        &self,
        request: Request<job::CreateJobRequest>,
    ) -> Result<Response<job::CreateJobResponse>, Status> {
        self.check(&request)?;
        let request = request.into_inner();
        let mut state = self.state();
        state.creates.push(request.clone());
        if let Some(status) = &state.refuse_create {
            return Err(status.clone());
        }
        let name = state.requests.get(&request.request_id).cloned().unwrap_or_else(|| {
            let id = if request.job_id.is_empty() { "made-up" } else { &request.job_id };
            format!("{}/jobs/{id}", request.parent)
        });
        let job = Job { name: name.clone(), ..request.job.unwrap_or_default() };
        if !request.validate_only && state.requests.insert(request.request_id, name).is_none() {
            state.jobs.push(job.clone());
        }
        if state.lose_answers > 0 {
            state.lose_answers -= 1;
            return Err(Status::unavailable("the answer got lost"));
        }
        Ok(Response::new(job::CreateJobResponse { job: Some(job) }))
    }

    async fn get_job(
        &self,
        request: Request<job::GetJobRequest>,
    ) -> Result<Response<job::GetJobResponse>, Status> {
        self.check(&request)?;
        let name = request.into_inner().name.replace("accounts/-/", "accounts/lab/");
        let found = self.state().jobs.iter().find(|j| j.name == name).cloned();
        let absent = || crater_domain::Error::not_found("job", &name);
        let job = found.ok_or_else(|| crater_api::status::to_status(absent()))?;
        Ok(Response::new(job::GetJobResponse { job: Some(job) }))
    }

    async fn list_jobs(
        &self,
        request: Request<job::ListJobsRequest>,
    ) -> Result<Response<job::ListJobsResponse>, Status> {
        self.check(&request)?;
        let request = request.into_inner();
        let from: usize = request.page_token.parse().unwrap_or(0);
        let state = self.state();
        // pages of two, whatever is asked for
        let to = (from + 2.min(request.page_size as usize)).min(state.jobs.len());
        let next_page_token = if to < state.jobs.len() { to.to_string() } else { String::new() };
        Ok(Response::new(job::ListJobsResponse { jobs: state.jobs[from..to].to_vec(), next_page_token }))
    }

    type WatchJobsStream = Answers<job::WatchJobsResponse>;

    async fn watch_jobs(
        &self,
        request: Request<job::WatchJobsRequest>,
    ) -> Result<Response<Self::WatchJobsStream>, Status> {
        self.check(&request)?;
        let mut state = self.state();
        state.watch_requests.push(request.into_inner());
        Ok(play(state.watches.pop_front().unwrap_or_else(|| vec![Step::Hang])))
    }

    async fn cancel_job(
        &self,
        request: Request<job::CancelJobRequest>,
    ) -> Result<Response<job::CancelJobResponse>, Status> {
        self.check(&request)?;
        let name = request.into_inner().name;
        let mut state = self.state();
        let found = state.jobs.iter_mut().find(|j| j.name == name);
        let absent = || crater_domain::Error::not_found("job", &name);
        let job = found.ok_or_else(|| crater_api::status::to_status(absent()))?;
        job.cancelling = true;
        Ok(Response::new(job::CancelJobResponse { job: Some(job.clone()) }))
    }

    async fn delete_job(
        &self,
        _: Request<job::DeleteJobRequest>,
    ) -> Result<Response<job::DeleteJobResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    type StreamLogsStream = Answers<job::StreamLogsResponse>;

    async fn stream_logs(
        &self,
        request: Request<job::StreamLogsRequest>,
    ) -> Result<Response<Self::StreamLogsStream>, Status> {
        self.check(&request)?;
        let mut state = self.state();
        state.log_requests.push(request.into_inner());
        Ok(play(state.logs.pop_front().unwrap_or_default()))
    }

    async fn list_events(
        &self,
        request: Request<job::ListEventsRequest>,
    ) -> Result<Response<job::ListEventsResponse>, Status> {
        self.check(&request)?;
        Ok(Response::new(job::ListEventsResponse::default()))
    }

    async fn update_job(
        &self,
        _: Request<job::UpdateJobRequest>,
    ) -> Result<Response<job::UpdateJobResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn report_checkpoint(
        &self,
        _: Request<job::ReportCheckpointRequest>,
    ) -> Result<Response<job::ReportCheckpointResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn suspend_job(
        &self,
        _: Request<job::SuspendJobRequest>,
    ) -> Result<Response<job::SuspendJobResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn resume_job(
        &self,
        _: Request<job::ResumeJobRequest>,
    ) -> Result<Response<job::ResumeJobResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn list_job_usage(
        &self,
        _: Request<job::ListJobUsageRequest>,
    ) -> Result<Response<job::ListJobUsageResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }
}

#[tonic::async_trait]
impl AuthService for Fake {
    async fn login(
        &self,
        request: Request<user::LoginRequest>,
    ) -> Result<Response<user::LoginResponse>, Status> {
        let request = request.into_inner();
        if (request.user_id.as_str(), request.password.as_str()) != ("ann", "pass word") {
            return Err(Status::unauthenticated("user or password is wrong"));
        }
        Ok(Response::new(user::LoginResponse { tokens: Some(self.pair()), user: None }))
    }

    /// Trades a refresh token once; the second use of one revokes the session.
    async fn refresh_token(
        &self,
        request: Request<user::RefreshTokenRequest>,
    ) -> Result<Response<user::RefreshTokenResponse>, Status> {
        {
            let mut state = self.state();
            if state.family_revoked || request.into_inner().refresh_token != state.refresh_token {
                state.family_revoked = true;
                return Err(Status::unauthenticated("the session is revoked"));
            }
            state.refreshes += 1;
            state.valid_tokens.clear();
        }
        Ok(Response::new(user::RefreshTokenResponse { tokens: Some(self.pair()) }))
    }

    async fn logout(
        &self,
        request: Request<user::LogoutRequest>,
    ) -> Result<Response<user::LogoutResponse>, Status> {
        self.check(&request)?;
        self.state().valid_tokens.clear();
        Ok(Response::new(user::LogoutResponse {}))
    }

    async fn who_am_i(
        &self,
        request: Request<user::WhoAmIRequest>,
    ) -> Result<Response<user::WhoAmIResponse>, Status> {
        self.check(&request)?;
        let member = |account: &str| user::Membership { account: account.into(), ..Default::default() };
        Ok(Response::new(user::WhoAmIResponse {
            user: Some(user::User { name: "users/ann".into(), ..Default::default() }),
            memberships: vec![member("accounts/lab"), member("accounts/zoo")],
            acting_account: "accounts/lab".into(),
        }))
    }

    async fn list_signing_keys(
        &self,
        _: Request<user::ListSigningKeysRequest>,
    ) -> Result<Response<user::ListSigningKeysResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn change_password(
        &self,
        _: Request<user::ChangePasswordRequest>,
    ) -> Result<Response<user::ChangePasswordResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn switch_account(
        &self,
        _: Request<user::SwitchAccountRequest>,
    ) -> Result<Response<user::SwitchAccountResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }
}
