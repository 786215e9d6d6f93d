//! Parse, call, map. Generated types end here.

use crater_api::convert::{limits, timestamp};
use crater_api::quota::v1 as pb;
use crater_api::quota::v1::quota_service_server::QuotaService;
use crater_api::quota::v1::watch_quotas_response::{self as watch, Event as Said};
use crater_api::status::{OrStatus, to_status};
use crater_auth::Caller;
use crater_store::quota::Quota;
use futures::StreamExt;
use futures::stream::BoxStream;
use tonic::{Request, Response, Status};

use crate::app::App;
use crate::parse;
use crate::usage::Usage;
use crate::watch::Event;

/// The service over an [`App`].
#[derive(Clone)]
pub struct Grpc(pub App);

#[tonic::async_trait]
impl QuotaService for Grpc {
    type WatchQuotasStream = BoxStream<'static, Result<pb::WatchQuotasResponse, Status>>;

    async fn get_quota(
        &self,
        request: Request<pb::GetQuotaRequest>,
    ) -> Result<Response<pb::GetQuotaResponse>, Status> {
        let caller = Caller::of(&request)?;
        let subject = parse::name(&request.into_inner().name, "name").or_status()?;
        let (limits, usage) = self.0.get(&caller, subject).await.or_status()?;
        Ok(Response::new(pb::GetQuotaResponse { quota: Some(with_usage(&limits, usage)) }))
    }

    async fn update_quota(
        &self,
        request: Request<pb::UpdateQuotaRequest>,
    ) -> Result<Response<pb::UpdateQuotaResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let how = parse::once(caller.principal(), &request, self.0.now_ms()).or_status()?;
        let (subject, change, version) = parse::update(request).or_status()?;
        let updated = self.0.update(&caller, subject, change, version, how).await.or_status()?;
        Ok(Response::new(pb::UpdateQuotaResponse { quota: Some(quota(&updated)) }))
    }

    async fn watch_quotas(
        &self,
        _: Request<pb::WatchQuotasRequest>,
    ) -> Result<Response<Self::WatchQuotasStream>, Status> {
        let said = self.0.watch().map(|e| e.map(said).map_err(to_status));
        Ok(Response::new(said.boxed()))
    }

    async fn list_quotas(
        &self,
        request: Request<pb::ListQuotasRequest>,
    ) -> Result<Response<pb::ListQuotasResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let (parent, after, size) = parse::list(&request).or_status()?;
        let page = self.0.list(&caller, parent, after, size).await.or_status()?;
        let next_page_token = parse::token(&request.parent, page.next.as_ref());
        let quotas = page.quotas.into_iter().map(|(limits, usage)| with_usage(&limits, usage)).collect();
        Ok(Response::new(pb::ListQuotasResponse { quotas, next_page_token }))
    }
}

fn said(event: Event) -> pb::WatchQuotasResponse {
    let event = match event {
        Event::SnapshotStart => Said::SnapshotStart(watch::SnapshotStart {}),
        Event::Quota(q) => Said::Quota(quota(&q)),
        Event::Synced => Said::Synced(watch::Synced {}),
        Event::Heartbeat => Said::Heartbeat(watch::Heartbeat {}),
    };
    pb::WatchQuotasResponse { event: Some(event) }
}

/// The limits alone: usage is not known here.
fn quota(q: &Quota) -> pb::Quota {
    pb::Quota {
        name: q.subject.to_string(),
        resources: limits(&q.limits),
        usage: Vec::new(),
        usage_known: false,
        update_time: (q.version > 0).then(|| timestamp(q.updated_ms)),
        etag: parse::etag(q.version),
        weight: if q.subject.user.is_none() { q.weight.get() } else { 0 },
    }
}

fn with_usage(limits: &Quota, usage: Option<Vec<Usage>>) -> pb::Quota {
    let mut answer = quota(limits);
    answer.usage_known = usage.is_some();
    answer.usage = usage.unwrap_or_default().into_iter().map(used).collect();
    answer
}

fn used(u: Usage) -> pb::ResourceUsage {
    pb::ResourceUsage { resource: u.resource, guaranteed: u.guaranteed, best_effort: u.best_effort }
}
