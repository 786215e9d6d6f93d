//! The scheduler as far as the command line asks it here.

use crater_api::scheduling::v1 as pb;
use crater_api::scheduling::v1::scheduling_service_server::SchedulingService;
use futures::stream::BoxStream;
use tonic::{Request, Response, Status};

use super::Fake;

/// Methods that nothing here calls.
macro_rules! absent {
    ($($name:ident: $request:ident => $response:ty),* $(,)?) => {
        #[tonic::async_trait]
        impl SchedulingService for Fake {
            type WatchClusterStream = BoxStream<'static, Result<pb::WatchClusterResponse, Status>>;

            async fn simulate(
                &self,
                request: Request<pb::SimulateRequest>,
            ) -> Result<Response<pb::SimulateResponse>, Status> {
                self.check(&request)?;
                let mut state = self.state();
                state.simulations.push(request.into_inner());
                match &state.simulated {
                    Some(answer) => Ok(Response::new(answer.clone())),
                    None => Err(Status::internal("no trial can be made")),
                }
            }

            $(async fn $name(&self, _: Request<pb::$request>) -> Result<Response<$response>, Status> {
                Err(Status::unimplemented("not here"))
            })*
        }
    };
}

absent! {
    get_cluster: GetClusterRequest => pb::GetClusterResponse,
    watch_cluster: WatchClusterRequest => Self::WatchClusterStream,
    cordon_node: CordonNodeRequest => pb::CordonNodeResponse,
    uncordon_node: UncordonNodeRequest => pb::UncordonNodeResponse,
    drain_node: DrainNodeRequest => pb::DrainNodeResponse,
    list_queue: ListQueueRequest => pb::ListQueueResponse,
    explain_job: ExplainJobRequest => pb::ExplainJobResponse,
    get_usage: GetUsageRequest => pb::GetUsageResponse,
    batch_get_usage: BatchGetUsageRequest => pb::BatchGetUsageResponse,
}
