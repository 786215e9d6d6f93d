//! Crater's API, as a platform admin sees it: the stream of all jobs, and the answers to the judge's questions.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use crater_api::job::v1::job_service_client::JobServiceClient;
use crater_api::job::v1::watch_jobs_response::Event;
use crater_api::job::v1::{Job, JobState, ListEventsRequest, WatchJobsRequest};
use crater_api::scheduling::v1::ExplainJobRequest;
use crater_api::scheduling::v1::scheduling_service_client::SchedulingServiceClient;
use crater_api::user::v1::LoginRequest;
use crater_api::user::v1::auth_service_client::AuthServiceClient;
use futures::StreamExt;
use tokio::sync::mpsc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};

use super::{Input, Sink};
use crate::judge::Question;
use crate::observation::{JobEvent, Observation, Phase, Source, Told};

/// Before it is tried again.
const PAUSE: Duration = Duration::from_millis(300);
/// A token lasts for ten minutes; a stream is begun anew at its place before that.
const SESSION: Duration = Duration::from_secs(480);
/// How long a call may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Questions that are asked at one time.
const AT_ONCE: usize = 4;

/// Whom to ask, and as whom.
#[derive(Clone, Debug)]
pub struct Access {
    /// `http://HOST:PORT`.
    pub server: String,
    /// A platform admin.
    pub user: String,
    /// The password.
    pub password: String,
}

/// A session.
#[derive(Clone)]
struct Session {
    channel: Channel,
    token: String,
}

impl Session {
    async fn open(access: &Access) -> Result<Self> {
        let channel = Endpoint::from_shared(access.server.clone())?.connect().await.context("connecting")?;
        let request = LoginRequest { user_id: access.user.clone(), password: access.password.clone() };
        let answer = AuthServiceClient::new(channel.clone()).login(request).await.context("signing in")?;
        let token = answer.into_inner().tokens.context("signing in gave no tokens")?.access_token;
        Ok(Self { channel, token })
    }

    fn request<T>(&self, message: T, patience: Option<Duration>) -> Result<Request<T>> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", format!("Bearer {}", self.token).parse()?);
        if let Some(patience) = patience {
            request.set_timeout(patience);
        }
        Ok(request)
    }
}

/// Follows the jobs and answers questions, for ever.
pub async fn follow(access: Access, mut questions: mpsc::Receiver<Question>, sink: Sink) {
    let mut place = String::new();
    loop {
        if let Err(error) = run(&access, &mut place, &mut questions, &sink).await {
            sink.saw(Observation::Link(Source::Api, false)).await;
            sink.send(Input::Trouble(format!("the API: {error:#}"))).await;
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn run(
    access: &Access,
    place: &mut String,
    questions: &mut mpsc::Receiver<Question>,
    sink: &Sink,
) -> Result<()> {
    let session = Session::open(access).await?;
    tokio::select! {
        told = stream(&session, place, sink) => told,
        answered = answer(&session, questions, sink) => answered,
        () = tokio::time::sleep(SESSION) => Ok(()),
    }
}

async fn stream(session: &Session, place: &mut String, sink: &Sink) -> Result<()> {
    let request = WatchJobsRequest {
        parent: "accounts/-".into(),
        resume_token: place.clone(),
        ..WatchJobsRequest::default()
    };
    let mut client = JobServiceClient::new(session.channel.clone());
    let mut stream = client.watch_jobs(session.request(request, None)?).await?.into_inner();
    sink.saw(Observation::Link(Source::Api, true)).await;
    while let Some(message) = stream.message().await? {
        match message.event {
            Some(Event::Changed(job)) => {
                let told = told(&job);
                sink.saw(Observation::Told(job.name, Some(told))).await;
            }
            Some(Event::Deleted(name)) => sink.saw(Observation::Told(name, None)).await,
            Some(Event::Bookmark(_) | Event::Resync(_)) | None => {}
        }
        if !message.resume_token.is_empty() {
            *place = message.resume_token;
        }
    }
    bail!("the stream of jobs ended")
}

fn told(job: &Job) -> Told {
    Told { uid: job.uid.clone(), state: phase(job.state()), revision: job.revision }
}

fn phase(state: JobState) -> Phase {
    match state {
        JobState::Unspecified | JobState::Queued => Phase::Queued,
        JobState::Starting => Phase::Starting,
        JobState::Running => Phase::Running,
        JobState::Succeeded => Phase::Succeeded,
        JobState::Failed => Phase::Failed,
        JobState::Cancelled => Phase::Cancelled,
    }
}

async fn answer(session: &Session, questions: &mut mpsc::Receiver<Question>, sink: &Sink) -> Result<()> {
    let asked = futures::stream::poll_fn(|context| questions.poll_recv(context));
    let mut answers = asked.map(|question| one(session, question, sink)).buffer_unordered(AT_ONCE);
    while let Some(answered) = answers.next().await {
        answered?;
    }
    bail!("nobody asks any more")
}

async fn one(session: &Session, question: Question, sink: &Sink) -> Result<()> {
    match question {
        Question::Events(name) => events(session, name, sink).await,
        Question::Explain(name) => {
            let mut client = SchedulingServiceClient::new(session.channel.clone());
            let request = session
                .request(ExplainJobRequest { name: name.clone(), ..Default::default() }, Some(PATIENCE))?;
            match client.explain_job(request).await {
                Ok(answer) => {
                    let answer = answer.into_inner();
                    let reason = answer.blockers.first().map(|b| b.reason.clone());
                    let reason =
                        reason.unwrap_or(if answer.waiting { String::new() } else { "Going".into() });
                    sink.saw(Observation::Explained(name, reason)).await;
                    Ok(())
                }
                // it has ended meanwhile, or the scheduler begins
                Err(status) if matches!(status.code(), Code::NotFound | Code::Unavailable) => Ok(()),
                Err(status) => Err(status.into()),
            }
        }
    }
}

async fn events(session: &Session, name: String, sink: &Sink) -> Result<()> {
    let mut client = JobServiceClient::new(session.channel.clone());
    let (mut all, mut next) = (Vec::new(), String::new());
    loop {
        let request = ListEventsRequest { parent: name.clone(), page_size: 1000, page_token: next };
        let page = match client.list_events(session.request(request, Some(PATIENCE))?).await {
            Ok(page) => page.into_inner(),
            // it was deleted meanwhile
            Err(status) if status.code() == Code::NotFound => return Ok(()),
            Err(status) => return Err(status.into()),
        };
        all.extend(page.events.into_iter().map(|e| JobEvent {
            sequence: e.sequence,
            time_ms: e.time.map_or(0, |t| t.seconds * 1000 + i64::from(t.nanos) / 1_000_000),
            reason: e.reason,
        }));
        next = page.next_page_token;
        if next.is_empty() {
            break;
        }
    }
    sink.saw(Observation::Events(name, all)).await;
    Ok(())
}
