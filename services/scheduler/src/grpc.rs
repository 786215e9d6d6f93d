//! Parse, call, map. Generated types end here.

use crater_api::convert::{parse_page_size, resources, timestamp};
use crater_api::scheduling::v1 as pb;
use crater_api::scheduling::v1::scheduling_service_server::SchedulingService;
use crater_api::status::OrStatus;
use crater_auth::Caller;
use crater_domain::{AccountId, Error, IdError, Parent, UserId};
use futures::stream::BoxStream;
use tonic::{Request, Response, Status};

use crate::app::{App, Explained, NodeView, Waiting};
use crate::page::page;
use crate::reasons;

/// The service over an [`App`].
#[derive(Clone)]
pub struct Grpc(pub App);

fn wrong(field: &'static str) -> impl Fn(IdError) -> Error {
    move |error| Error::field(field, error.to_string())
}

#[tonic::async_trait]
impl SchedulingService for Grpc {
    type WatchClusterStream = BoxStream<'static, Result<pb::WatchClusterResponse, Status>>;
    async fn get_cluster(
        &self,
        request: Request<pb::GetClusterRequest>,
    ) -> Result<Response<pb::GetClusterResponse>, Status> {
        let cluster = self.0.cluster(&Caller::of(&request)?);
        Ok(Response::new(pb::GetClusterResponse {
            nodes: cluster.nodes.into_iter().map(node).collect(),
            waiting_jobs: count(cluster.waiting),
            running_jobs: count(cluster.running),
        }))
    }

    async fn list_queue(
        &self,
        request: Request<pb::ListQueueRequest>,
    ) -> Result<Response<pb::ListQueueResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let parent = Parent::parse_name(&request.parent).map_err(wrong("parent")).or_status()?;
        let size = parse_page_size(request.page_size).or_status()?;
        let queue = self.0.queue(&caller, &parent).await.or_status()?;
        let (shown, next_page_token) = page(&request.parent, queue, size, &request.page_token).or_status()?;
        let entries = shown.into_iter().map(entry).collect();
        Ok(Response::new(pb::ListQueueResponse { entries, next_page_token }))
    }

    async fn explain_job(
        &self,
        request: Request<pb::ExplainJobRequest>,
    ) -> Result<Response<pb::ExplainJobResponse>, Status> {
        let caller = Caller::of(&request)?;
        let name = request.into_inner().name.parse().map_err(wrong("name")).or_status()?;
        let explained = self.0.explain(&caller, &name).await.or_status()?;
        Ok(Response::new(answer(explained)))
    }

    async fn get_usage(
        &self,
        request: Request<pb::GetUsageRequest>,
    ) -> Result<Response<pb::GetUsageResponse>, Status> {
        let request = request.into_inner();
        let account = AccountId::parse_name(&request.account).map_err(wrong("account")).or_status()?;
        let user = match request.user.as_str() {
            "" => None,
            name => Some(UserId::parse_name(name).map_err(wrong("user")).or_status()?),
        };
        let row = |(kind, held): (crater_domain::ResourceKind, crate::usage::Held)| pb::Usage {
            resource: kind.to_string(),
            guaranteed: held.guaranteed,
            best_effort: held.best_effort,
        };
        let usage = self.0.usage(&account, user.as_ref()).into_iter().map(row).collect();
        Ok(Response::new(pb::GetUsageResponse { usage }))
    }

    async fn watch_cluster(
        &self,
        _: Request<pb::WatchClusterRequest>,
    ) -> Result<Response<Self::WatchClusterStream>, Status> {
        Err(Status::unimplemented("WatchCluster is not there yet"))
    }

    async fn cordon_node(
        &self,
        _: Request<pb::CordonNodeRequest>,
    ) -> Result<Response<pb::CordonNodeResponse>, Status> {
        Err(Status::unimplemented("CordonNode is not there yet"))
    }

    async fn uncordon_node(
        &self,
        _: Request<pb::UncordonNodeRequest>,
    ) -> Result<Response<pb::UncordonNodeResponse>, Status> {
        Err(Status::unimplemented("UncordonNode is not there yet"))
    }

    async fn drain_node(
        &self,
        _: Request<pb::DrainNodeRequest>,
    ) -> Result<Response<pb::DrainNodeResponse>, Status> {
        Err(Status::unimplemented("DrainNode is not there yet"))
    }
}

fn count(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

fn node(view: NodeView) -> pb::Node {
    let machine = view.machine;
    let gpu = |(index, (held, jobs)): (usize, (i64, Vec<String>))| pb::Gpu {
        index: count(index),
        held_millis: i32::try_from(held).unwrap_or(i32::MAX),
        jobs,
    };
    pb::Node {
        name: machine.name,
        schedulable: machine.closed.is_none(),
        message: machine.closed.unwrap_or_default(),
        allocatable: Some(resources(machine.allocatable)),
        held: Some(resources(view.held)),
        others: Some(resources(view.others)),
        gpu_model: machine.model,
        gpus: view.gpus.into_iter().enumerate().map(gpu).collect(),
        ..pb::Node::default()
    }
}

fn blocker(of: reasons::Blocker) -> pb::Blocker {
    pb::Blocker { reason: of.reason.to_owned(), message: of.message }
}

fn entry(waiting: Waiting) -> pb::QueueEntry {
    pb::QueueEntry {
        job: waiting.name,
        position: waiting.position,
        priority: waiting.priority,
        requested: Some(resources(waiting.requested)),
        queue_time: Some(timestamp(waiting.queued_ms)),
        blocker: waiting.blocker.map(blocker),
    }
}

fn answer(of: Explained) -> pb::ExplainJobResponse {
    let placement = |p: crater_k8s::allocation::Placement| {
        let millis = i32::try_from(p.gpu_millis).unwrap_or(i32::MAX);
        let gpus = p.gpus.into_iter().map(|indexes| pb::ReplicaGpus { indexes, millis }).collect();
        pb::Placement { node: p.node, role: p.role, first_replica: p.first_replica, count: p.count, gpus }
    };
    let told = of.told;
    pb::ExplainJobResponse {
        job: of.name,
        waiting: of.waiting,
        position: told.as_ref().map_or(0, |told| told.position),
        expected_start_time: told.as_ref().and_then(|told| told.expected_start_ms).map(timestamp),
        blockers: told.into_iter().flat_map(|told| told.blockers).map(blocker).collect(),
        message: of.message,
        placements: of.placements.into_iter().map(placement).collect(),
    }
}
