//! What a watcher sees of the run.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use crater_api::job::v1::job_service_client::JobServiceClient;
use crater_api::job::v1::watch_jobs_response::Event;
use crater_api::job::v1::{JobState, WatchJobsRequest};

use crate::session::Session;

/// The waiting jobs are counted this often.
const SAMPLE: Duration = Duration::from_millis(250);

/// The jobs as last heard, and how many waited when.
#[derive(Default)]
pub struct Followed {
    jobs: Mutex<HashMap<String, JobState>>,
    backwards: Mutex<Vec<String>>,
    samples: Mutex<Vec<usize>>,
}

fn lock<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn is_final(state: JobState) -> bool {
    matches!(state, JobState::Succeeded | JobState::Failed | JobState::Cancelled)
}

impl Followed {
    /// How many have ended.
    pub fn ended(&self) -> usize {
        lock(&self.jobs).values().filter(|s| is_final(**s)).count()
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        lock(&self.jobs).values().filter(|s| **s == JobState::Queued).count()
    }

    /// How many waited, every quarter of a second.
    pub fn samples(&self) -> Vec<usize> {
        lock(&self.samples).clone()
    }

    /// Jobs that were seen to leave a final state.
    pub fn backwards(&self) -> Vec<String> {
        lock(&self.backwards).clone()
    }

    fn heard(&self, name: String, state: JobState) {
        let was = lock(&self.jobs).insert(name.clone(), state);
        if was.is_some_and(|was| is_final(was) && was != state) {
            lock(&self.backwards).push(name);
        }
    }
}

/// Follows every job, over the ends of streams, until it is aborted.
pub async fn follow(admin: Session, followed: std::sync::Arc<Followed>) -> Result<()> {
    let mut resume_token = String::new();
    loop {
        let request = WatchJobsRequest {
            parent: "accounts/-".to_owned(),
            resume_token: resume_token.clone(),
            ..WatchJobsRequest::default()
        };
        // whatever was wrong, it is tried again
        let _ = admin.renew(false).await;
        let opened = JobServiceClient::new(admin.channel()).watch_jobs(admin.stream(request)).await;
        if let Ok(stream) = opened {
            let mut stream = stream.into_inner();
            while let Ok(Some(message)) = stream.message().await {
                match message.event {
                    Some(Event::Changed(job)) => {
                        let state = job.state();
                        followed.heard(job.name, state);
                    }
                    Some(Event::Resync(_)) => resume_token.clear(),
                    Some(Event::Deleted(_) | Event::Bookmark(_)) | None => {}
                }
                if !message.resume_token.is_empty() {
                    resume_token = message.resume_token;
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        let _ = admin.renew(true).await;
    }
}

/// Counts the waiting jobs now and then, until it is aborted.
pub async fn sample(followed: std::sync::Arc<Followed>) {
    let mut next = Instant::now();
    loop {
        next += SAMPLE;
        tokio::time::sleep_until(next.into()).await;
        let waiting = followed.waiting();
        lock(&followed.samples).push(waiting);
    }
}
