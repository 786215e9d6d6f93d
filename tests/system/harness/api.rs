//! The RPCs of one user, called one after the other.

use std::future::Future;
use std::time::Duration;

use crater_api::common::v1::Resources;
use crater_api::job::v1::job_service_client::JobServiceClient;
use crater_api::job::v1::{CreateJobRequest, GetJobRequest, Job, JobSpec, JobState, ListJobsRequest, Role};
use crater_api::scheduling::v1::scheduling_service_client::SchedulingServiceClient;
use crater_api::scheduling::v1::{ExplainJobRequest, ExplainJobResponse};
use crater_api::user::v1::auth_service_client::AuthServiceClient;
use crater_api::user::v1::{LoginRequest, TokenPair};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

use super::{PATIENCE, until};

/// A user's channel and tokens.
pub struct Api {
    runtime: tokio::runtime::Runtime,
    channel: Channel,
    /// The tokens of the session.
    pub tokens: TokenPair,
}

impl Api {
    /// Signs in.
    pub fn sign_in(url: &str, user: &str, password: &str) -> Self {
        let mut api = Self::signed_out(url);
        let request = LoginRequest { user_id: user.into(), password: password.into() };
        let answer =
            api.call(request, |c, r| async move { AuthServiceClient::new(c).login(r).await }).unwrap();
        api.tokens = answer.tokens.unwrap();
        api
    }

    /// Somebody who has not signed in.
    pub fn signed_out(url: &str) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let channel = {
            let _inside = runtime.enter();
            Endpoint::from_shared(url.to_owned()).unwrap().connect_lazy()
        };
        Self { runtime, channel, tokens: TokenPair::default() }
    }

    /// Makes a call with the session's access token.
    pub fn call<M, R, F: Future<Output = Result<Response<R>, Status>>>(
        &self,
        message: M,
        call: impl FnOnce(Channel, Request<M>) -> F,
    ) -> Result<R, Status> {
        let request = self.request(message);
        // a channel that has just been made may see the server's last connection end
        self.block_on(call(self.channel.clone(), request)).map(Response::into_inner)
    }

    /// A request with the session's access token and a deadline.
    pub fn request<M>(&self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        request.set_timeout(Duration::from_secs(30));
        if !self.tokens.access_token.is_empty() {
            let header = format!("Bearer {}", self.tokens.access_token);
            request.metadata_mut().insert("authorization", header.parse().unwrap());
        }
        request
    }

    /// The connection.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Waits for a future.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Submits a job.
    pub fn create(&self, request: CreateJobRequest) -> Result<Job, Status> {
        let answer = self.call(request, |c, r| async move { JobServiceClient::new(c).create_job(r).await });
        answer.map(|a| a.job.unwrap())
    }

    /// A job of account `default`.
    pub fn job(&self, id: &str) -> Job {
        let request = GetJobRequest { name: format!("accounts/default/jobs/{id}") };
        let answer = self.call(request, |c, r| async move { JobServiceClient::new(c).get_job(r).await });
        answer.unwrap_or_else(|status| panic!("getting job {id}: {status:?}")).job.unwrap()
    }

    /// A page of jobs of all accounts.
    pub fn list(&self, request: ListJobsRequest) -> Result<(Vec<Job>, String), Status> {
        let answer = self.call(request, |c, r| async move { JobServiceClient::new(c).list_jobs(r).await });
        answer.map(|a| (a.jobs, a.next_page_token))
    }

    /// The names of all jobs.
    pub fn names(&self) -> Vec<String> {
        let request = ListJobsRequest { parent: "accounts/-".into(), page_size: 1000, ..Default::default() };
        self.list(request).unwrap().0.into_iter().map(|job| job.name).collect()
    }

    /// Why a job waits, or what it holds.
    pub fn explain(&self, id: &str) -> ExplainJobResponse {
        let request = ExplainJobRequest { name: format!("accounts/default/jobs/{id}"), ..Default::default() };
        let call =
            self.call(request, |c, r| async move { SchedulingServiceClient::new(c).explain_job(r).await });
        call.unwrap_or_else(|status| panic!("explaining job {id}: {status:?}"))
    }

    /// Waits until a job is in the state.
    pub fn reaches(&self, id: &str, state: JobState) -> Job {
        let mut last = String::new();
        until(&format!("job {id} in {state:?}"), PATIENCE, || {
            let job = self.job(id);
            let now = format!("{:?}: {} {}", job.state(), job.reason, job.message);
            if now != last {
                eprintln!("job {id} {now}");
                last = now;
            }
            let ended = [JobState::Succeeded, JobState::Failed, JobState::Cancelled].contains(&job.state());
            assert!(!ended || job.state() == state, "job {id} should be in {state:?}: {job:#?}");
            (job.state() == state).then_some(job)
        })
    }
}

/// A job of one replica with little of everything, which ends at once.
pub fn simple_job(id: &str) -> CreateJobRequest {
    let role = Role {
        name: "worker".into(),
        replicas: 1,
        resources: Some(Resources {
            cpu_millis: 100,
            memory_bytes: 64 << 20,
            gpu_millis: 0,
            ..Default::default()
        }),
        command: vec!["true".into()],
        ..Default::default()
    };
    CreateJobRequest {
        parent: "accounts/default".into(),
        job_id: id.into(),
        job: Some(Job {
            spec: Some(JobSpec { roles: vec![role], ..Default::default() }),
            ..Default::default()
        }),
        ..Default::default()
    }
}
