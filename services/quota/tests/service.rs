//! The laws of the quota service, through real gRPC over in-process channels.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so by failing")]

use std::time::{Duration, SystemTime};

use crater_api::quota::v1 as pb;
use crater_api::quota::v1::quota_service_client::QuotaServiceClient;
use crater_api::quota::v1::watch_quotas_response::Event;
use crater_api::scheduling::v1 as scheduling;
use crater_api::scheduling::v1::scheduling_service_server::{SchedulingService, SchedulingServiceServer};
use crater_api::status::from_status;
use crater_api::user::v1 as user;
use crater_api::user::v1::watch_identities_response::{self as identities, Event as Known};
use crater_auth::{AccessGrant, Authority, MeshKey, Signer, generate_seed};
use crater_mariadb::{again_on_mariadb, database_for};
use crater_quota::{Config, Deps, build};
use crater_service::{Bind, Channel, InProcess, Running, Server, Shutdown, Target};
use tempfile::TempDir;
use tonic::{Request, Response, Status, Streaming};

const LAB: &str = "accounts/lab/quota";

struct House {
    channel: Channel,
    scheduling: InProcess,
    authority: Authority,
    signer: Signer,
    running: Option<Running>,
    dir: TempDir,
}

impl House {
    async fn new() -> Self {
        Self::on(TempDir::new().unwrap()).await
    }

    /// The quota service with its identities already heard: root the admin; ann and, its manager, mia in lab; bob manages den.
    async fn on(dir: TempDir) -> Self {
        let authority = Authority::new(MeshKey::generate().unwrap());
        let signer = Signer::from_seed("k", &generate_seed()).unwrap();
        authority.keys().replace([("k".to_owned(), signer.public_key())]);
        let directory = authority.directory();
        directory.apply(Known::SnapshotStart(identities::SnapshotStart {}));
        for name in ["accounts/lab", "accounts/den"] {
            directory.apply(Known::Account(user::Account { name: name.into(), ..Default::default() }));
        }
        let (member, manager) = (user::MemberRole::Member, user::MemberRole::Manager);
        for (name, account, role, platform_admin) in [
            ("root", None, member, true),
            ("ann", Some("lab"), member, false),
            ("mia", Some("lab"), manager, false),
            ("bob", Some("den"), manager, false),
        ] {
            let membership = |account: &str| user::Membership {
                account: format!("accounts/{account}"),
                user: format!("users/{name}"),
                role: role.into(),
            };
            directory.apply(Known::Identity(user::Identity {
                user: Some(user::User {
                    name: format!("users/{name}"),
                    state: user::UserState::Active.into(),
                    platform_admin,
                    ..Default::default()
                }),
                epoch: 1,
                memberships: account.map(membership).into_iter().collect(),
                revoked_sessions: Vec::new(),
            }));
        }
        assert!(directory.apply(Known::Synced(identities::Synced {})));

        let (place, scheduling) = (InProcess::new("quota"), InProcess::new("scheduling"));
        let mut deps = Deps::new(authority.clone(), database_for(dir.path()).parse().unwrap());
        deps.scheduling = Some(Target::InProcess(scheduling.clone()));
        let service = build(Config::default(), deps).await.unwrap();
        let channel = Target::InProcess(place.clone()).channel().unwrap();
        let running = Some(service.spawn(Bind::InProcess(place), Shutdown::new()).await.unwrap());
        Self { channel, scheduling, authority, signer, running, dir }
    }

    async fn restart(mut self) -> Self {
        self.running.take().unwrap().stop().await.unwrap();
        Self::on(self.dir).await
    }

    fn signed<T>(&self, user: &str, body: T) -> Request<T> {
        let grant = AccessGrant { user: user.parse().unwrap(), session: "s".into(), epoch: 1 };
        let (token, _) = self.signer.access_token(&grant, SystemTime::now()).unwrap();
        let mut request = Request::new(body);
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        request
    }

    async fn get(&self, user: &str, name: &str) -> Result<pb::Quota, Status> {
        let request = self.signed(user, pb::GetQuotaRequest { name: name.into() });
        let answer = QuotaServiceClient::new(self.channel.clone()).get_quota(request).await?;
        Ok(answer.into_inner().quota.unwrap())
    }

    async fn update(&self, request: pb::UpdateQuotaRequest) -> Result<pb::Quota, Status> {
        self.update_as("root", request).await
    }

    async fn list(&self, user: &str, parent: &str, page_size: i32, token: &str) -> Result<Listed, Status> {
        let request = pb::ListQuotasRequest { parent: parent.into(), page_size, page_token: token.into() };
        let answer =
            QuotaServiceClient::new(self.channel.clone()).list_quotas(self.signed(user, request)).await?;
        let answer = answer.into_inner();
        Ok((answer.quotas, answer.next_page_token))
    }

    async fn update_as(&self, user: &str, request: pb::UpdateQuotaRequest) -> Result<pb::Quota, Status> {
        let request = self.signed(user, request);
        let answer = QuotaServiceClient::new(self.channel.clone()).update_quota(request).await?;
        Ok(answer.into_inner().quota.unwrap())
    }

    async fn watch(&self) -> Streaming<pb::WatchQuotasResponse> {
        let channel = self.authority.identity("scheduler").channel(self.channel.clone());
        let mut client = QuotaServiceClient::new(channel);
        client.watch_quotas(pb::WatchQuotasRequest {}).await.unwrap().into_inner()
    }
}

type Listed = (Vec<pb::Quota>, String);

fn row(resource: &str, guaranteed: Option<i64>, limit: Option<i64>) -> pb::ResourceQuota {
    pb::ResourceQuota { resource: resource.into(), guaranteed, limit }
}

fn to(name: &str, resources: Vec<pb::ResourceQuota>) -> pb::UpdateQuotaRequest {
    pb::UpdateQuotaRequest {
        quota: Some(pb::Quota { name: name.into(), resources, ..Default::default() }),
        ..Default::default()
    }
}

fn weighing(name: &str, weight: i32) -> pb::UpdateQuotaRequest {
    let quota = pb::Quota { name: name.into(), weight, ..Default::default() };
    masked(pb::UpdateQuotaRequest { quota: Some(quota), ..Default::default() }, &["weight"])
}

fn masked(mut request: pb::UpdateQuotaRequest, paths: &[&str]) -> pb::UpdateQuotaRequest {
    let paths = paths.iter().map(ToString::to_string).collect();
    request.update_mask = Some(prost_types::FieldMask { paths });
    request
}

fn fields(status: &Status) -> Vec<String> {
    assert_eq!(status.code(), tonic::Code::InvalidArgument, "{status:?}");
    from_status(status).violations.into_iter().map(|v| v.field).collect()
}

async fn next(stream: &mut Streaming<pb::WatchQuotasResponse>) -> Event {
    let message = tokio::time::timeout(Duration::from_secs(10), stream.message()).await;
    message.expect("no event").unwrap().expect("the stream ended").event.unwrap()
}

/// A scheduling service that knows usage and nothing else.
struct Knows;

#[tonic::async_trait]
impl SchedulingService for Knows {
    type WatchClusterStream =
        futures::stream::BoxStream<'static, Result<scheduling::WatchClusterResponse, Status>>;
    async fn batch_get_usage(
        &self,
        request: Request<scheduling::BatchGetUsageRequest>,
    ) -> Result<Response<scheduling::BatchGetUsageResponse>, Status> {
        let answer = |request: scheduling::GetUsageRequest| {
            let guaranteed = match (request.account.as_str(), request.user.as_str()) {
                ("accounts/lab", "") => 3000,
                ("accounts/lab", _) => 1000,
                _ => 0,
            };
            let usage = scheduling::Usage { resource: "gpu".into(), guaranteed, best_effort: 500 };
            scheduling::GetUsageResponse { usage: vec![usage] }
        };
        let responses = request.into_inner().requests.into_iter().map(answer).collect();
        Ok(Response::new(scheduling::BatchGetUsageResponse { responses }))
    }

    async fn get_usage(
        &self,
        _: Request<scheduling::GetUsageRequest>,
    ) -> Result<Response<scheduling::GetUsageResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn get_cluster(
        &self,
        _: Request<scheduling::GetClusterRequest>,
    ) -> Result<Response<scheduling::GetClusterResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn list_queue(
        &self,
        _: Request<scheduling::ListQueueRequest>,
    ) -> Result<Response<scheduling::ListQueueResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn explain_job(
        &self,
        _: Request<scheduling::ExplainJobRequest>,
    ) -> Result<Response<scheduling::ExplainJobResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn simulate(
        &self,
        _: Request<scheduling::SimulateRequest>,
    ) -> Result<Response<scheduling::SimulateResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn watch_cluster(
        &self,
        _: Request<scheduling::WatchClusterRequest>,
    ) -> Result<Response<Self::WatchClusterStream>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn cordon_node(
        &self,
        _: Request<scheduling::CordonNodeRequest>,
    ) -> Result<Response<scheduling::CordonNodeResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn uncordon_node(
        &self,
        _: Request<scheduling::UncordonNodeRequest>,
    ) -> Result<Response<scheduling::UncordonNodeResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn drain_node(
        &self,
        _: Request<scheduling::DrainNodeRequest>,
    ) -> Result<Response<scheduling::DrainNodeResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }
}

#[tokio::test]
async fn limits_read_back_as_written_also_after_a_restart() {
    let house = House::new().await;
    let rows = vec![row("cpu", None, Some(5000)), row("gpu/A100", Some(8000), Some(16000))];
    let written = house.update(to(LAB, rows.clone())).await.unwrap();
    assert_eq!(written.resources, rows);
    let house = house.restart().await;
    let read = house.get("ann", LAB).await.unwrap();
    assert_eq!((read.resources, read.etag, read.update_time), (rows, written.etag, written.update_time));
}

#[tokio::test]
async fn usage_stands_beside_limits_and_unknown_usage_refuses_nothing() {
    let house = House::new().await;
    house.update(to(LAB, vec![row("gpu", None, Some(8000))])).await.unwrap();
    // nobody serves scheduling yet
    let read = house.get("ann", LAB).await.unwrap();
    assert_eq!((read.resources.len(), read.usage_known, read.usage.len()), (1, false, 0));
    let shutdown = Shutdown::new();
    let scheduler = Server::new("scheduling")
        .add_service(SchedulingServiceServer::new(Knows))
        .descriptors(crater_api::DESCRIPTOR_SET)
        .layer(house.authority.layer())
        .serve(Bind::InProcess(house.scheduling.clone()), shutdown)
        .await
        .unwrap();
    let read = house.get("ann", LAB).await.unwrap();
    let usage = pb::ResourceUsage { resource: "gpu".into(), guaranteed: 3000, best_effort: 500 };
    assert_eq!((read.usage_known, read.usage), (true, vec![usage]));
    let own = house.get("ann", "accounts/lab/users/ann/quota").await.unwrap();
    assert_eq!(own.usage[0].guaranteed, 1000);
    scheduler.stop().await.unwrap();
    assert!(!house.get("ann", LAB).await.unwrap().usage_known);
}

#[tokio::test]
async fn a_mask_changes_one_row_and_removes_one() {
    let house = House::new().await;
    house.update(to(LAB, vec![row("cpu", None, Some(1)), row("gpu", None, Some(2))])).await.unwrap();
    let both = vec![row("cpu", None, Some(7)), row("gpu", None, Some(7))];
    let one = house.update(masked(to(LAB, both), &["resources.cpu"])).await.unwrap();
    assert_eq!(one.resources, [row("cpu", None, Some(7)), row("gpu", None, Some(2))]);
    let removed = house.update(masked(to(LAB, vec![]), &["resources.gpu"])).await.unwrap();
    assert_eq!(removed.resources, [row("cpu", None, Some(7))]);
    let emptied = house.update(masked(to(LAB, vec![]), &["resources"])).await.unwrap();
    assert!(emptied.resources.is_empty());
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_by_its_field_and_nothing_is_written() {
    let house = House::new().await;
    let before = house.update(to(LAB, vec![row("cpu", Some(1), Some(2))])).await.unwrap();
    let refusals: Vec<(pb::UpdateQuotaRequest, &[&str])> = vec![
        (to(LAB, vec![row("cpu", Some(3), Some(2))]), &["quota.resources[0].guaranteed"]),
        (to(LAB, vec![row("cpu", Some(-1), None)]), &["quota.resources[0].guaranteed"]),
        (to(LAB, vec![row("cpu", None, Some(-1))]), &["quota.resources[0].limit"]),
        (to(LAB, vec![row("gpus", None, None)]), &["quota.resources[0].resource"]),
        (to(LAB, vec![row("cpu", None, None), row("cpu", None, None)]), &["quota.resources[1].resource"]),
        (to(LAB, vec![row("jobs.waiting", Some(1), None)]), &["quota.resources[0].guaranteed"]),
        (to(LAB, vec![row("jobs.running", Some(1), Some(2))]), &["quota.resources[0].guaranteed"]),
        (weighing(LAB, -1), &["quota.weight"]),
        (weighing(LAB, 1_000_001), &["quota.weight"]),
        (weighing("accounts/lab/users/ann/quota", 2), &["quota.weight"]),
        (to("accounts/lab", vec![]), &["quota.name"]),
        (to("accounts/nil/quota", vec![]), &["quota.name"]),
        (to("accounts/lab/users/nil/quota", vec![]), &["quota.name"]),
        (masked(to(LAB, vec![]), &["etag"]), &["update_mask"]),
        (masked(to(LAB, vec![]), &["resources.gpus"]), &["update_mask"]),
        (pb::UpdateQuotaRequest { request_id: "1".into(), ..to(LAB, vec![]) }, &["request_id"]),
    ];
    for (request, wrong) in refusals {
        let refused = house.update(request.clone()).await.unwrap_err();
        assert_eq!(fields(&refused), wrong, "{request:?}");
    }
    let after = house.get("ann", LAB).await.unwrap();
    assert_eq!((after.resources, after.etag), (before.resources, before.etag));
}

#[tokio::test]
async fn a_stale_etag_is_refused_from_the_first_write_on() {
    let house = House::new().await;
    let never = house.get("ann", LAB).await.unwrap();
    let with = |etag: &str, limit: i64| {
        let mut request = to(LAB, vec![row("cpu", None, Some(limit))]);
        request.quota.as_mut().unwrap().etag = etag.into();
        request
    };
    let first = house.update(with(&never.etag, 1)).await.unwrap();
    for stale in [never.etag.as_str(), "nonsense"] {
        assert_eq!(house.update(with(stale, 2)).await.unwrap_err().code(), tonic::Code::Aborted);
    }
    house.update(with(&first.etag, 3)).await.unwrap();
}

#[tokio::test]
async fn the_same_request_acts_once_and_a_check_writes_nothing() {
    let house = House::new().await;
    let request_id = "0190a2f4-0000-7000-8000-000000000001".to_owned();
    let named = pb::UpdateQuotaRequest { request_id, ..to(LAB, vec![row("cpu", None, Some(1))]) };
    let check = pb::UpdateQuotaRequest { validate_only: true, ..named.clone() };
    assert_eq!(house.update(check).await.unwrap().resources.len(), 1);
    assert!(house.get("ann", LAB).await.unwrap().resources.is_empty());

    let first = house.update(named.clone()).await.unwrap();
    house.update(to(LAB, vec![row("cpu", None, Some(2))])).await.unwrap();
    assert_eq!(house.update(named.clone()).await.unwrap(), first);
    assert_eq!(house.get("ann", LAB).await.unwrap().resources[0].limit, Some(2), "it acted twice");
    let other = pb::UpdateQuotaRequest { quota: to(LAB, vec![]).quota, ..named };
    assert_eq!(fields(&house.update(other).await.unwrap_err()), ["request_id"]);
}

#[tokio::test]
async fn a_strangers_quota_is_as_absent() {
    let house = House::new().await;
    house.update(to(LAB, vec![row("cpu", None, Some(1))])).await.unwrap();
    let strangers = house.get("bob", LAB).await.unwrap_err();
    let absent = house.get("bob", "accounts/nil/quota").await.unwrap_err();
    assert_eq!(strangers.code(), tonic::Code::NotFound);
    assert_eq!(strangers.message().replace("lab", "nil"), absent.message());
    let admins = house.get("root", "accounts/nil/quota").await.unwrap_err();
    assert_eq!(admins.message(), absent.message());
    let request = house.signed("ann", to(LAB, vec![]));
    let refused = QuotaServiceClient::new(house.channel.clone()).update_quota(request).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::PermissionDenied);
}

#[tokio::test]
async fn a_watcher_hears_the_whole_then_changes_then_heartbeats() {
    let house = House::new().await;
    house.update(to(LAB, vec![row("cpu", None, Some(1))])).await.unwrap();
    let mut stream = house.watch().await;
    assert!(matches!(next(&mut stream).await, Event::SnapshotStart(_)));
    assert!(matches!(next(&mut stream).await, Event::Quota(q) if q.name == LAB));
    assert!(matches!(next(&mut stream).await, Event::Synced(_)));
    let own = "accounts/lab/users/ann/quota";
    house.update(to(own, vec![row("gpu", None, Some(1000))])).await.unwrap();
    let heard = loop {
        match next(&mut stream).await {
            Event::Heartbeat(_) => {}
            other => break other,
        }
    };
    assert!(
        matches!(heard, Event::Quota(q) if q.name == own && q.resources == [row("gpu", None, Some(1000))])
    );
    assert!(matches!(next(&mut stream).await, Event::Heartbeat(_)));
    let request = house.signed("root", pb::WatchQuotasRequest {});
    let refused = QuotaServiceClient::new(house.channel.clone()).watch_quotas(request).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::PermissionDenied);
}

#[tokio::test]
async fn a_weight_is_part_of_the_quota_and_changes_by_itself() {
    let house = House::new().await;
    assert_eq!(house.get("ann", LAB).await.unwrap().weight, 1, "before it was ever written");
    let rows = vec![row("jobs.running", None, Some(3))];
    let before = house.update(to(LAB, rows.clone())).await.unwrap();
    let mut stream = house.watch().await;
    let weighed = house.update(weighing(LAB, 1_000_000)).await.unwrap();
    assert_eq!((weighed.weight, &weighed.resources), (1_000_000, &rows), "the rows are as they were");
    assert_ne!(weighed.etag, before.etag);
    let told = loop {
        match next(&mut stream).await {
            Event::Quota(quota) if quota.weight != 1 => break quota,
            _ => {}
        }
    };
    assert_eq!((told.weight, told.name.as_str()), (1_000_000, LAB));
    // rows alone leave the weight; a weight beside them without a mask goes with them; 0 is 1
    assert_eq!(house.update(to(LAB, vec![])).await.unwrap().weight, 1_000_000);
    let both = pb::UpdateQuotaRequest { update_mask: None, ..weighing(LAB, 5) };
    assert_eq!(house.update(both).await.unwrap().weight, 5);
    let house = house.restart().await;
    assert_eq!(house.get("ann", LAB).await.unwrap().weight, 5);
    assert_eq!(house.update(weighing(LAB, 0)).await.unwrap().weight, 1);
    assert_eq!(house.get("ann", "accounts/lab/users/ann/quota").await.unwrap().weight, 0, "users have none");
}

#[tokio::test]
async fn managers_change_the_quotas_of_their_users_and_admins_those_of_accounts() {
    let house = House::new().await;
    let own = "accounts/lab/users/ann/quota";
    let rows = || vec![row("jobs.running", None, Some(1))];
    let written = house.update_as("mia", to(own, rows())).await.unwrap();
    assert_eq!(written.resources, rows());
    house.update(to(own, rows())).await.unwrap();
    for (user, name) in [("mia", LAB), ("ann", LAB), ("ann", own)] {
        let refused = house.update_as(user, to(name, rows())).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::PermissionDenied, "{user} {name}");
    }
    // another account's is as one that is not there, to its manager, too
    for name in [LAB, own] {
        let foreign = house.update_as("bob", to(name, rows())).await.unwrap_err();
        let absent = house.update_as("bob", to(&name.replace("lab", "nil"), rows())).await.unwrap_err();
        assert_eq!(foreign.code(), tonic::Code::NotFound);
        assert_eq!(foreign.message().replace("lab", "nil"), absent.message());
    }
}

#[tokio::test]
async fn quotas_are_listed_by_pages_with_usage_to_those_who_may_see_them() {
    let house = House::new().await;
    for name in
        [LAB, "accounts/lab/users/mia/quota", "accounts/lab/users/ann/quota", "accounts/den/users/bob/quota"]
    {
        house.update(to(name, vec![row("cpu", None, Some(1))])).await.unwrap();
    }
    let shutdown = Shutdown::new();
    let scheduler = Server::new("scheduling")
        .add_service(SchedulingServiceServer::new(Knows))
        .descriptors(crater_api::DESCRIPTOR_SET)
        .layer(house.authority.layer())
        .serve(Bind::InProcess(house.scheduling.clone()), shutdown)
        .await
        .unwrap();
    let lab = ["accounts/lab/quota", "accounts/lab/users/ann/quota", "accounts/lab/users/mia/quota"];
    let den = ["accounts/den/quota", "accounts/den/users/bob/quota"];
    let everything: Vec<&str> = den.into_iter().chain(lab).collect();
    for (user, parent, expected) in [
        ("ann", "accounts/lab", lab.to_vec()),
        ("ann", "accounts/-", lab.to_vec()),
        ("bob", "accounts/-", den.to_vec()),
        ("root", "accounts/-", everything),
        ("root", "accounts/den", den.to_vec()),
    ] {
        for size in [1, 2, 100] {
            let (mut seen, mut token) = (Vec::new(), String::new());
            loop {
                let (page, next) = house.list(user, parent, size, &token).await.unwrap();
                assert!(page.len() <= usize::try_from(size).unwrap() && page.iter().all(|q| q.usage_known));
                seen.extend(page);
                token = next;
                if token.is_empty() {
                    break;
                }
            }
            let names: Vec<&str> = seen.iter().map(|quota| quota.name.as_str()).collect();
            assert_eq!(names, expected, "{user} {parent} {size}");
            for quota in &seen {
                let read = house.get(user, &quota.name).await.unwrap();
                assert_eq!(*quota, read, "as it reads by itself, its own usage included");
            }
        }
    }
    let (_, token) = house.list("ann", "accounts/lab", 1, "").await.unwrap();
    assert_eq!(fields(&house.list("ann", "accounts/-", 1, &token).await.unwrap_err()), ["page_token"]);
    assert_eq!(fields(&house.list("ann", "lab", 1, "").await.unwrap_err()), ["parent"]);
    assert_eq!(fields(&house.list("ann", "accounts/lab", 1001, "").await.unwrap_err()), ["page_size"]);
    let foreign = house.list("bob", "accounts/lab", 0, "").await.unwrap_err();
    let absent = house.list("bob", "accounts/nil", 0, "").await.unwrap_err();
    assert_eq!(foreign.code(), tonic::Code::NotFound);
    assert_eq!(foreign.message().replace("lab", "nil"), absent.message());
    scheduler.stop().await.unwrap();
    let (page, _) = house.list("ann", "accounts/lab", 0, "").await.unwrap();
    assert!(page.len() == 3 && page.iter().all(|quota| !quota.usage_known));
}

#[test]
fn the_same_laws_hold_on_mariadb() {
    again_on_mariadb(&[]);
}
