//! Following jobs: the stream of changes, opened again where it broke off.

use std::ops::ControlFlow;

use crater_api::job::v1::watch_jobs_response::Event;
use crater_api::job::v1::{JobFilter, WatchJobsRequest, WatchJobsResponse};
use tonic::{Code, Status};

use crate::client::{Api, Patience, jobs};
use crate::error::Error;

/// Gives every event to `each` until that has what it wants. Breaks of the connection and restarts of the server are
/// bridged by the resume token; where that is too old, all jobs come anew after [`Event::Resync`].
///
/// # Errors
/// A refusal that trying again cannot heal, and what `each` refuses.
pub async fn follow<T>(
    api: &Api,
    parent: &str,
    job: &str,
    each: impl FnMut(Event) -> Result<ControlFlow<T>, Error>,
) -> Result<T, Error> {
    follow_filtered(api, parent, job, None, each).await
}

/// As [`follow`], of jobs that match only.
///
/// # Errors
/// As [`follow`].
pub async fn follow_filtered<T>(
    api: &Api,
    parent: &str,
    job: &str,
    filter: Option<JobFilter>,
    mut each: impl FnMut(Event) -> Result<ControlFlow<T>, Error>,
) -> Result<T, Error> {
    let mut patience = Patience::default();
    let mut resume = String::new();
    loop {
        let request = WatchJobsRequest {
            parent: parent.to_owned(),
            job: job.to_owned(),
            resume_token: resume.clone(),
            filter: filter.clone(),
        };
        let opened =
            api.open(request, patience.stale(), async |channel, r| jobs(channel).watch_jobs(r).await).await;
        let (stream, token) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                patience.no_token(error).await?;
                continue;
            }
        };
        let broke = match stream {
            Err(status) => status,
            Ok(mut stream) => loop {
                match stream.message().await {
                    Ok(None) => break Status::unavailable("the stream ended"),
                    Err(status) => break status,
                    Ok(Some(WatchJobsResponse { event, resume_token })) => {
                        patience.heard();
                        if !resume_token.is_empty() {
                            resume = resume_token;
                        }
                        let Some(event) = event else { continue };
                        if let ControlFlow::Break(done) = each(event)? {
                            return Ok(done);
                        }
                    }
                }
            },
        };
        if !resume.is_empty() && matches!(broke.code(), Code::InvalidArgument | Code::OutOfRange) {
            // a server that does not know the place any more: begin anew
            resume.clear();
            if let ControlFlow::Break(done) = each(Event::Resync(Default::default()))? {
                return Ok(done);
            }
            continue;
        }
        patience.broke(&broke, &token, api.renewable()).await?;
    }
}
