//! A quota service whose limits are what the test says.

use std::collections::BTreeMap;
use std::time::Duration;

use crater_api::quota::v1 as quota;
use crater_api::quota::v1::quota_service_server::QuotaService;
use crater_api::quota::v1::watch_quotas_response as said;
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::watch;
use tonic::{Request, Response, Status};

pub type Limits = BTreeMap<String, quota::Quota>;

/// A quota service whose every change is a new snapshot.
pub struct Says(pub watch::Receiver<Limits>);

#[tonic::async_trait]
impl QuotaService for Says {
    type WatchQuotasStream = BoxStream<'static, Result<quota::WatchQuotasResponse, Status>>;

    async fn watch_quotas(
        &self,
        _: Request<quota::WatchQuotasRequest>,
    ) -> Result<Response<Self::WatchQuotasStream>, Status> {
        let snapshots = tokio_stream::wrappers::WatchStream::new(self.0.clone());
        let events = snapshots.flat_map(|limits| {
            let mut events = vec![said::Event::SnapshotStart(said::SnapshotStart {})];
            events.extend(limits.into_values().map(said::Event::Quota));
            events.push(said::Event::Synced(said::Synced {}));
            futures::stream::iter(events)
        });
        let events = events.map(|event| Ok(quota::WatchQuotasResponse { event: Some(event) }));
        let pulse =
            tokio_stream::wrappers::IntervalStream::new(tokio::time::interval(Duration::from_secs(2)));
        let pulse = pulse.map(|_| {
            Ok(quota::WatchQuotasResponse { event: Some(said::Event::Heartbeat(said::Heartbeat {})) })
        });
        Ok(Response::new(futures::stream::select(events, pulse).boxed()))
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
