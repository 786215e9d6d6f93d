//! Parse, call, map. Generated types end here.

mod simulate;

use std::collections::BTreeMap;

use crater_api::convert::{parse_page_size, timestamp, with_devices};
use crater_api::scheduling::v1 as pb;
use crater_api::scheduling::v1::scheduling_service_server::SchedulingService;
use crater_api::scheduling::v1::watch_cluster_response::{self as watch, Event as Said};
use crater_api::status::OrStatus;
use crater_auth::Caller;
use crater_domain::{AccountId, Error, IdError, JobName, Parent, ResourceKind, UserId};
use crater_engine::forecast::Forecast;
use futures::StreamExt;
use futures::stream::BoxStream;
use tonic::{Request, Response, Status};

use crate::app::{App, Explained, Turning, Waiting};
use crate::board::{Device, NodeView, Sight};
use crate::page::page;
use crate::reasons;
use crate::stream::Event;
use crate::usage::{Held, Subject};

/// The most that are asked of at once.
const MOST_SUBJECTS: usize = 1000;
/// Letters of a reason.
const LONGEST_REASON: usize = 256;

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
        let cluster = self.0.cluster();
        let sight = Sight::of(&Caller::of(&request)?);
        Ok(Response::new(pb::GetClusterResponse {
            nodes: cluster.nodes.iter().map(|view| node(view, |job| sight.sees(job))).collect(),
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
        let request = request.into_inner();
        let name = request.name.parse().map_err(wrong("name")).or_status()?;
        let explained = self.0.explain(&caller, &name).await.or_status()?;
        let look = request.with_remedies && explained.waiting;
        let remedies = if look { self.0.remedies(&name).await.or_status()? } else { Vec::new() };
        let remedies = remedies.into_iter().map(simulate::remedy).collect();
        Ok(Response::new(pb::ExplainJobResponse { remedies, ..answer(explained) }))
    }

    async fn simulate(
        &self,
        request: Request<pb::SimulateRequest>,
    ) -> Result<Response<pb::SimulateResponse>, Status> {
        let caller = Caller::of(&request)?;
        let question = simulate::question(&caller, &request.into_inner()).or_status()?;
        let answer = self.0.simulate(&caller, question).await.or_status()?;
        Ok(Response::new(simulate::answer(answer)))
    }

    async fn get_usage(
        &self,
        request: Request<pb::GetUsageRequest>,
    ) -> Result<Response<pb::GetUsageResponse>, Status> {
        let subject = subject(&request.into_inner()).or_status()?;
        let held = self.0.usages(&[subject]).pop().unwrap_or_default();
        Ok(Response::new(usage(held)))
    }

    async fn batch_get_usage(
        &self,
        request: Request<pb::BatchGetUsageRequest>,
    ) -> Result<Response<pb::BatchGetUsageResponse>, Status> {
        let requests = request.into_inner().requests;
        if requests.len() > MOST_SUBJECTS {
            let error = Error::field("requests", format!("must be at most {MOST_SUBJECTS}"));
            return Err(error).or_status();
        }
        let subjects: Result<Vec<Subject>, Error> = requests.iter().map(subject).collect();
        let usages = self.0.usages(&subjects.or_status()?);
        let responses = usages.into_iter().map(usage).collect();
        Ok(Response::new(pb::BatchGetUsageResponse { responses }))
    }

    async fn watch_cluster(
        &self,
        request: Request<pb::WatchClusterRequest>,
    ) -> Result<Response<Self::WatchClusterStream>, Status> {
        let events = self.0.watch(Caller::of(&request)?).await.or_status()?;
        Ok(Response::new(events.map(|event| Ok(said(event))).boxed()))
    }

    async fn cordon_node(
        &self,
        request: Request<pb::CordonNodeRequest>,
    ) -> Result<Response<pb::CordonNodeResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let how = Turning::Cordon { reason: reason(&request.reason).or_status()? };
        let view = self.turn(&caller, &request.node, how, request.validate_only).await?;
        Ok(Response::new(pb::CordonNodeResponse { node: Some(node(&view, |_| true)) }))
    }

    async fn uncordon_node(
        &self,
        request: Request<pb::UncordonNodeRequest>,
    ) -> Result<Response<pb::UncordonNodeResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let view = self.turn(&caller, &request.node, Turning::Open, request.validate_only).await?;
        Ok(Response::new(pb::UncordonNodeResponse { node: Some(node(&view, |_| true)) }))
    }

    async fn drain_node(
        &self,
        request: Request<pb::DrainNodeRequest>,
    ) -> Result<Response<pb::DrainNodeResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let how = Turning::Drain { reason: reason(&request.reason).or_status()? };
        let view = self.turn(&caller, &request.node, how, request.validate_only).await?;
        let jobs = view.jobs.iter().map(ToString::to_string).collect();
        Ok(Response::new(pb::DrainNodeResponse { node: Some(node(&view, |_| true)), jobs }))
    }
}

impl Grpc {
    async fn turn(
        &self,
        caller: &Caller,
        node: &str,
        how: Turning,
        check_only: bool,
    ) -> Result<NodeView, Status> {
        if !is_node_name(node) {
            let error = Error::field("node", "must be the name of a node in Kubernetes, for example gpu-7");
            return Err(error).or_status();
        }
        self.0.turn(caller, node, how, check_only).await.or_status()
    }
}

/// A DNS subdomain: anything else cannot be a node, and would be another path at the API server.
fn is_node_name(name: &str) -> bool {
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let label = |label: &str| {
        let ends = [label.bytes().next(), label.bytes().last()];
        ends.iter().all(|end| end.is_some_and(plain)) && label.bytes().all(|c| plain(c) || c == b'-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

fn reason(text: &str) -> Result<String, Error> {
    if text.chars().count() > LONGEST_REASON {
        return Err(Error::field("reason", format!("must have at most {LONGEST_REASON} characters")));
    }
    if text.chars().any(char::is_control) {
        return Err(Error::field("reason", "must be one line without control characters"));
    }
    Ok(text.trim().to_owned())
}

fn subject(request: &pb::GetUsageRequest) -> Result<Subject, Error> {
    let account = AccountId::parse_name(&request.account).map_err(wrong("account"))?;
    let user = match request.user.as_str() {
        "" => None,
        name => Some(UserId::parse_name(name).map_err(wrong("user"))?),
    };
    Ok((account, user))
}

fn usage(held: BTreeMap<ResourceKind, Held>) -> pb::GetUsageResponse {
    let row = |(kind, held): (ResourceKind, Held)| pb::Usage {
        resource: kind.to_string(),
        guaranteed: held.guaranteed,
        best_effort: held.best_effort,
    };
    pb::GetUsageResponse { usage: held.into_iter().map(row).collect() }
}

fn said(event: Event) -> pb::WatchClusterResponse {
    let event = match event {
        Event::Start => Said::SnapshotStart(watch::SnapshotStart {}),
        Event::Node(view, sight) => Said::Node(node(&view, |job| sight.sees(job))),
        Event::Deleted(name) => Said::Deleted(name),
        Event::Counts(waiting, running) => {
            Said::Counts(watch::Counts { waiting_jobs: count(waiting), running_jobs: count(running) })
        }
    };
    pb::WatchClusterResponse { event: Some(event) }
}

fn count(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

/// A node; `sees` says which jobs may be named.
fn node(view: &NodeView, sees: impl Fn(&JobName) -> bool) -> pb::Node {
    let machine = &view.machine;
    let gpu = |(index, device): (usize, &Device)| pb::Gpu {
        index: count(index),
        held_millis: i32::try_from(device.held_millis).unwrap_or(i32::MAX),
        jobs: device.jobs.iter().filter(|job| sees(job)).map(ToString::to_string).collect(),
    };
    pb::Node {
        name: machine.name.clone(),
        schedulable: machine.closed.is_none(),
        message: machine.closed.clone().unwrap_or_default(),
        allocatable: Some(with_devices(machine.allocatable, &machine.devices)),
        held: Some(with_devices(view.held, &view.held_devices)),
        others: Some(with_devices(view.others, &view.others_devices)),
        gpu_model: machine.model.clone(),
        gpus: view.gpus.iter().enumerate().map(gpu).collect(),
        cordoned: machine.cordoned.is_some(),
        draining: machine.drained.is_some(),
        replicas: count(view.replicas),
        topology: machine.topology.clone().into_iter().collect(),
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
        requested: Some(with_devices(waiting.requested, &waiting.devices)),
        queue_time: Some(timestamp(waiting.queued_ms)),
        blocker: waiting.blocker.map(blocker),
    }
}

fn forecast(of: Forecast) -> pb::Forecast {
    let (p50_time, p90_time) = (Some(timestamp(of.p50)), Some(timestamp(of.p90)));
    pb::Forecast { p50_time, p90_time, sure: of.sure }
}

fn placement(p: crater_k8s::allocation::Placement) -> pb::Placement {
    let millis = i32::try_from(p.gpu_millis).unwrap_or(i32::MAX);
    let gpus = p.gpus.into_iter().map(|indexes| pb::ReplicaGpus { indexes, millis }).collect();
    pb::Placement { node: p.node, role: p.role, first_replica: p.first_replica, count: p.count, gpus }
}

fn answer(of: Explained) -> pb::ExplainJobResponse {
    let told = of.told;
    pb::ExplainJobResponse {
        job: of.name,
        waiting: of.waiting,
        position: told.as_ref().map_or(0, |told| told.position),
        expected_start_time: told.as_ref().and_then(|told| told.expected_start_ms).map(timestamp),
        blockers: told.into_iter().flat_map(|told| told.blockers).map(blocker).collect(),
        message: of.message,
        placements: of.placements.into_iter().map(placement).collect(),
        remedies: Vec::new(),
        forecast: of.forecast.map(forecast),
    }
}
