//! Parse, call, map. Generated types end here.

use crater_api::convert::parse_page_size;
use crater_api::job::v1 as pb;
use crater_api::job::v1::job_service_server::JobService;
use crater_api::job::v1::watch_jobs_response::{self as said, Event as Said};
use crater_api::page::{page_token, parse_page_token};
use crater_api::status::{OrStatus, to_status};
use crater_auth::Caller;
use crater_domain::Error;
use futures::StreamExt;
use futures::stream::BoxStream;
use prost::Message;
use tonic::{Request, Response, Status};

use crate::app::App;
use crate::watch::{Event, Heard};
use crate::{parse, query, show};

/// The service over an [`App`].
#[derive(Clone)]
pub struct Grpc(pub App);

#[tonic::async_trait]
impl JobService for Grpc {
    type WatchJobsStream = BoxStream<'static, Result<pb::WatchJobsResponse, Status>>;
    type StreamLogsStream = BoxStream<'static, Result<pb::StreamLogsResponse, Status>>;

    async fn create_job(
        &self,
        request: Request<pb::CreateJobRequest>,
    ) -> Result<Response<pb::CreateJobResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let (id, check) = (request.request_id.clone(), request.validate_only);
        let body = parse::create_body(&request);
        let how =
            parse::once(caller.principal(), "CreateJob", &id, check, self.0.now_ms(), &body).or_status()?;
        let draft = parse::draft(request).or_status()?;
        let job = self.0.create(&caller, draft, how).await.or_status()?;
        Ok(Response::new(pb::CreateJobResponse { job: Some(show::job(&job)) }))
    }

    async fn get_job(
        &self,
        request: Request<pb::GetJobRequest>,
    ) -> Result<Response<pb::GetJobResponse>, Status> {
        let caller = Caller::of(&request)?;
        let (parent, id) = parse::name_anywhere(&request.into_inner().name).or_status()?;
        let job = self.0.get(&caller, parent, id).await.or_status()?;
        Ok(Response::new(pb::GetJobResponse { job: Some(show::job(&job)) }))
    }

    async fn list_jobs(
        &self,
        request: Request<pb::ListJobsRequest>,
    ) -> Result<Response<pb::ListJobsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let parent = parse::parent(&request.parent).or_status()?;
        let size = parse_page_size(request.page_size).or_status()?;
        let filter = query::list_filter(&request).or_status()?;
        let (order, ordered) = query::order(&request.order_by).or_status()?;
        let words = filter.words();
        let asked = ["ListJobs", &request.parent, &words, &ordered];
        let after = parse_page_token(&request.page_token, &asked)
            .and_then(|key| query::parse_key(key, order))
            .or_status()?;
        let (jobs, last) = self.0.list(&caller, &parent, (filter, order), after, size).await.or_status()?;
        let next = last.map(|key| page_token(&asked, &query::key(&key)));
        Ok(Response::new(pb::ListJobsResponse {
            jobs: jobs.iter().map(show::job).collect(),
            next_page_token: next.unwrap_or_default(),
        }))
    }

    async fn watch_jobs(
        &self,
        request: Request<pb::WatchJobsRequest>,
    ) -> Result<Response<Self::WatchJobsStream>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let parent = parse::parent(&request.parent).or_status()?;
        let job = match request.job.as_str() {
            "" => None,
            name => Some(parse::name(name, "job").or_status()?),
        };
        let filter = query::filter(request.filter.as_ref()).or_status()?;
        let events = self.0.watch(&caller, parent, job, filter, &request.resume_token).await.or_status()?;
        Ok(Response::new(events.map(|e| e.map(heard).map_err(to_status)).boxed()))
    }

    async fn cancel_job(
        &self,
        request: Request<pb::CancelJobRequest>,
    ) -> Result<Response<pb::CancelJobResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let name = parse::name(&request.name, "name").or_status()?;
        let body = pb::CancelJobRequest { validate_only: false, ..request.clone() }.encode_to_vec();
        let (id, check) = (&request.request_id, request.validate_only);
        let how =
            parse::once(caller.principal(), "CancelJob", id, check, self.0.now_ms(), &body).or_status()?;
        let job = self.0.cancel(&caller, name, request.etag, how).await.or_status()?;
        Ok(Response::new(pb::CancelJobResponse { job: Some(show::job(&job)) }))
    }

    async fn delete_job(
        &self,
        request: Request<pb::DeleteJobRequest>,
    ) -> Result<Response<pb::DeleteJobResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let name = parse::name(&request.name, "name").or_status()?;
        let body = pb::DeleteJobRequest { validate_only: false, ..request.clone() }.encode_to_vec();
        let (id, check) = (&request.request_id, request.validate_only);
        let how =
            parse::once(caller.principal(), "DeleteJob", id, check, self.0.now_ms(), &body).or_status()?;
        self.0.delete(&caller, name, request.etag, how).await.or_status()?;
        Ok(Response::new(pb::DeleteJobResponse {}))
    }

    async fn stream_logs(
        &self,
        request: Request<pb::StreamLogsRequest>,
    ) -> Result<Response<Self::StreamLogsStream>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let name = parse::name(&request.name, "name").or_status()?;
        let wanted = parse::logs(&request).or_status()?;
        let lines = self.0.logs(&caller, name, wanted).await.or_status()?;
        let said = lines.map(|piece| {
            piece.map(|p| pb::StreamLogsResponse { lines: p.lines, gap: p.gap }).map_err(to_status)
        });
        Ok(Response::new(said.boxed()))
    }

    async fn list_events(
        &self,
        request: Request<pb::ListEventsRequest>,
    ) -> Result<Response<pb::ListEventsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let name = parse::name(&request.parent, "parent").or_status()?;
        let size = parse_page_size(request.page_size).or_status()?;
        let query = ["ListEvents", request.parent.as_str()];
        let after = match parse_page_token(&request.page_token, &query).or_status()? {
            None => 0,
            Some(key) => key
                .parse()
                .map_err(|_| Error::field("page_token", "is no token of ours: begin without one"))
                .or_status()?,
        };
        let mut events = self.0.events(&caller, name, after, size).await.or_status()?;
        let more = events.len() > size;
        events.truncate(size);
        let next = events.last().filter(|_| more).map(|e| page_token(&query, &e.sequence.to_string()));
        Ok(Response::new(pb::ListEventsResponse {
            events: events.iter().map(show::event).collect(),
            next_page_token: next.unwrap_or_default(),
        }))
    }

    async fn update_job(
        &self,
        request: Request<pb::UpdateJobRequest>,
    ) -> Result<Response<pb::UpdateJobResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let wanted = request.job.clone().unwrap_or_default();
        let name = parse::name(&wanted.name, "job.name").or_status()?;
        let change = query::change(&request).or_status()?;
        let body = parse::update_body(&request);
        let (id, check) = (&request.request_id, request.validate_only);
        let how =
            parse::once(caller.principal(), "UpdateJob", id, check, self.0.now_ms(), &body).or_status()?;
        let job = self.0.update(&caller, name, wanted.etag, change, how).await.or_status()?;
        Ok(Response::new(pb::UpdateJobResponse { job: Some(show::job(&job)) }))
    }

    async fn suspend_job(
        &self,
        request: Request<pb::SuspendJobRequest>,
    ) -> Result<Response<pb::SuspendJobResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let name = parse::name(&request.name, "name").or_status()?;
        let body = pb::SuspendJobRequest { validate_only: false, ..request.clone() }.encode_to_vec();
        let (id, check) = (&request.request_id, request.validate_only);
        let how =
            parse::once(caller.principal(), "SuspendJob", id, check, self.0.now_ms(), &body).or_status()?;
        let job = self.0.suspend(&caller, name, request.etag, how).await.or_status()?;
        Ok(Response::new(pb::SuspendJobResponse { job: Some(show::job(&job)) }))
    }

    async fn report_checkpoint(
        &self,
        request: Request<pb::ReportCheckpointRequest>,
    ) -> Result<Response<pb::ReportCheckpointResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let name = parse::name(&request.name, "name").or_status()?;
        let at = parse::moment(request.time.as_ref(), "time").or_status()?;
        let body = pb::ReportCheckpointRequest { validate_only: false, ..request.clone() }.encode_to_vec();
        let (id, check) = (&request.request_id, request.validate_only);
        let how = parse::once(caller.principal(), "ReportCheckpoint", id, check, self.0.now_ms(), &body)
            .or_status()?;
        let job = self.0.report_checkpoint(&caller, name, at, how).await.or_status()?;
        Ok(Response::new(pb::ReportCheckpointResponse { job: Some(show::job(&job)) }))
    }

    async fn resume_job(
        &self,
        request: Request<pb::ResumeJobRequest>,
    ) -> Result<Response<pb::ResumeJobResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let name = parse::name(&request.name, "name").or_status()?;
        let body = pb::ResumeJobRequest { validate_only: false, ..request.clone() }.encode_to_vec();
        let (id, check) = (&request.request_id, request.validate_only);
        let how =
            parse::once(caller.principal(), "ResumeJob", id, check, self.0.now_ms(), &body).or_status()?;
        let job = self.0.resume(&caller, name, request.etag, how).await.or_status()?;
        Ok(Response::new(pb::ResumeJobResponse { job: Some(show::job(&job)) }))
    }

    async fn list_job_usage(
        &self,
        request: Request<pb::ListJobUsageRequest>,
    ) -> Result<Response<pb::ListJobUsageResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let name = parse::name(&request.parent, "parent").or_status()?;
        let size = parse_page_size(request.page_size).or_status()?;
        let query = ["ListJobUsage", request.parent.as_str()];
        let after = match parse_page_token(&request.page_token, &query).or_status()? {
            None => 0,
            Some(key) => key
                .parse()
                .map_err(|_| Error::field("page_token", "is no token of ours: begin without one"))
                .or_status()?,
        };
        let mut usage = self.0.usage(&caller, name, after, size).await.or_status()?;
        let more = usage.spans.len() > size;
        usage.spans.truncate(size);
        let next = usage.spans.last().filter(|_| more).map(|s| page_token(&query, &s.number.to_string()));
        Ok(Response::new(pb::ListJobUsageResponse {
            spans: usage.spans.iter().map(show::span).collect(),
            next_page_token: next.unwrap_or_default(),
            total_gpu_milli_seconds: usage.gpu_milli_seconds,
        }))
    }
}

fn heard(Heard { event, resume_token }: Heard) -> pb::WatchJobsResponse {
    let event = match event {
        Event::Changed(change) => Said::Changed(change.shown().clone()),
        Event::Deleted(name) => Said::Deleted(name.to_string()),
        Event::Bookmark => Said::Bookmark(said::Bookmark {}),
        Event::Resync(reason) => Said::Resync(said::Resync { reason: reason.to_owned() }),
    };
    pb::WatchJobsResponse { event: Some(event), resume_token }
}
