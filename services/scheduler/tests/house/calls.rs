//! What people and services ask of the scheduler.

use std::collections::BTreeMap;
use std::time::SystemTime;

use crater_api::scheduling::v1 as pb;
use crater_api::scheduling::v1::scheduling_service_client::SchedulingServiceClient;
pub use crater_api::scheduling::v1::watch_cluster_response::{Counts, Event as Heard};
use crater_api::user::v1 as user;
use crater_api::user::v1::watch_identities_response::{self as identities, Event as Known};
use crater_auth::AccessGrant;
use crater_service::Channel;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use tonic::{Request, Status, Streaming};

use super::{DEADLINE, House, until};

impl House {
    fn signed<T>(&self, user: &str, body: T) -> Request<T> {
        self.authority.directory().apply(Known::Heartbeat(identities::Heartbeat {}));
        let grant = AccessGrant { user: user.parse().unwrap(), session: "s".into(), epoch: 1 };
        let (token, _) = self.signer.access_token(&grant, SystemTime::now()).unwrap();
        let mut request = Request::new(body);
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        request
    }

    fn client(&self) -> SchedulingServiceClient<Channel> {
        SchedulingServiceClient::new(self.channel.clone())
    }

    pub async fn explain(&self, user: &str, name: &str) -> Result<pb::ExplainJobResponse, Status> {
        let request = pb::ExplainJobRequest { name: name.into(), with_remedies: false };
        Ok(self.client().explain_job(self.signed(user, request)).await?.into_inner())
    }

    /// What would start a job.
    pub async fn remedies(&self, user: &str, name: &str) -> Vec<pb::Remedy> {
        let request = pb::ExplainJobRequest { name: name.into(), with_remedies: true };
        self.client().explain_job(self.signed(user, request)).await.unwrap().into_inner().remedies
    }

    pub async fn simulate(
        &self,
        user: &str,
        request: pb::SimulateRequest,
    ) -> Result<pb::SimulateResponse, Status> {
        Ok(self.client().simulate(self.signed(user, request)).await?.into_inner())
    }

    pub async fn cluster_of(&self, user: &str) -> pb::GetClusterResponse {
        let request = self.signed(user, pb::GetClusterRequest {});
        self.client().get_cluster(request).await.unwrap().into_inner()
    }

    pub async fn queue(
        &self,
        user: &str,
        parent: &str,
        page_size: i32,
        token: &str,
    ) -> Result<(Vec<String>, String), Status> {
        let request = pb::ListQueueRequest { parent: parent.into(), page_size, page_token: token.into() };
        let answer = self.client().list_queue(self.signed(user, request)).await?.into_inner();
        Ok((answer.entries.into_iter().map(|e| e.job).collect(), answer.next_page_token))
    }

    pub async fn cordon(
        &self,
        user: &str,
        node: &str,
        reason: &str,
        check: bool,
    ) -> Result<pb::Node, Status> {
        let request =
            pb::CordonNodeRequest { node: node.into(), reason: reason.into(), validate_only: check };
        let answer = self.client().cordon_node(self.signed(user, request)).await?;
        Ok(answer.into_inner().node.unwrap())
    }

    pub async fn uncordon(&self, user: &str, node: &str) -> Result<pb::Node, Status> {
        let request = pb::UncordonNodeRequest { node: node.into(), validate_only: false };
        let answer = self.client().uncordon_node(self.signed(user, request)).await?;
        Ok(answer.into_inner().node.unwrap())
    }

    pub async fn drain(&self, user: &str, node: &str, check: bool) -> Result<pb::DrainNodeResponse, Status> {
        let request =
            pb::DrainNodeRequest { node: node.into(), reason: "the fan".into(), validate_only: check };
        Ok(self.client().drain_node(self.signed(user, request)).await?.into_inner())
    }

    /// The Node as it stands in Kubernetes.
    pub fn nodes(&self) -> Api<Node> {
        Api::all(self.cluster.client())
    }

    /// The stream of the cluster, its snapshot heard already: its nodes by name.
    pub async fn watch(&self, user: &str) -> (Watch, BTreeMap<String, pb::Node>) {
        let request = self.signed(user, pb::WatchClusterRequest {});
        let mut watch = Watch(self.client().watch_cluster(request).await.unwrap().into_inner());
        assert!(matches!(watch.next().await, Heard::SnapshotStart(_)));
        let mut nodes = BTreeMap::new();
        loop {
            match watch.next().await {
                Heard::Node(node) => assert!(nodes.insert(node.name.clone(), node).is_none()),
                Heard::Counts(_) => return (watch, nodes),
                other => panic!("in a snapshot: {other:?}"),
            }
        }
    }

    /// Membership as the user service streams it.
    pub fn member(&self, name: &str, accounts: &[&str]) {
        let memberships = accounts.iter().map(|account| user::Membership {
            account: format!("accounts/{account}"),
            user: format!("users/{name}"),
            role: user::MemberRole::Member.into(),
        });
        let state = user::UserState::Active.into();
        self.authority.directory().apply(Known::Identity(user::Identity {
            user: Some(user::User { name: format!("users/{name}"), state, ..Default::default() }),
            epoch: 1,
            memberships: memberships.collect(),
            revoked_sessions: Vec::new(),
        }));
    }

    pub async fn usages(&self, subjects: &[(&str, &str)]) -> Vec<BTreeMap<String, (i64, i64)>> {
        let channel = self.authority.identity("quota").channel(self.channel.clone());
        let asked = subjects
            .iter()
            .map(|(account, user)| pb::GetUsageRequest { account: (*account).into(), user: (*user).into() });
        let request = pb::BatchGetUsageRequest { requests: asked.collect() };
        let answer = SchedulingServiceClient::new(channel).batch_get_usage(request).await.unwrap();
        let row = |u: pb::Usage| (u.resource, (u.guaranteed, u.best_effort));
        answer.into_inner().responses.into_iter().map(|r| r.usage.into_iter().map(row).collect()).collect()
    }

    /// A job of lab is allocated (true), or told why it waits.
    pub async fn until_or_told(&self, user: &str, job: &str) -> bool {
        until(&format!("{job} is allocated, or told why not"), || async {
            if self.allocations().await.iter().any(|a| a.spec.job == job) {
                return Some(true);
            }
            let told = self.explain(user, &format!("accounts/lab/jobs/{job}")).await.ok()?;
            (!told.blockers.is_empty()).then_some(false)
        })
        .await
    }

    /// The job waits, and a cycle has looked at it.
    pub async fn explained(&self, user: &str, name: &str) {
        until(&format!("{name} is told why it waits"), || async {
            let told = self.explain(user, name).await.ok()?;
            (!told.blockers.is_empty()).then_some(())
        })
        .await;
    }

    pub async fn usage(&self, account: &str, user: &str) -> BTreeMap<String, (i64, i64)> {
        let channel = self.authority.identity("quota").channel(self.channel.clone());
        let request = pb::GetUsageRequest { account: account.into(), user: user.into() };
        let answer = SchedulingServiceClient::new(channel).get_usage(request).await.unwrap().into_inner();
        answer.usage.into_iter().map(|u| (u.resource, (u.guaranteed, u.best_effort))).collect()
    }
}

/// A stream of the cluster.
pub struct Watch(Streaming<pb::WatchClusterResponse>);

impl Watch {
    pub async fn next(&mut self) -> Heard {
        let message = tokio::time::timeout(DEADLINE, self.0.message()).await;
        message.expect("nothing is heard").unwrap().expect("the stream ended").event.unwrap()
    }

    /// What is said up to a node that is so; every change ends with the counts.
    pub async fn until(&mut self, what: &str, so: impl Fn(&pb::Node) -> bool) -> (Vec<pb::Node>, Counts) {
        let mut seen: Vec<pb::Node> = Vec::new();
        loop {
            match self.next().await {
                Heard::Node(node) => seen.push(node),
                Heard::Counts(counts) if seen.iter().any(&so) => return (seen, counts),
                Heard::Counts(_) => {}
                other => panic!("instead of {what}: {other:?}"),
            }
        }
    }
}
