//! `IdentityService`.

use crater_api::status::to_status;
use crater_api::user::v1 as pb;
use crater_api::user::v1::identity_service_server::IdentityService;
use crater_api::user::v1::watch_identities_response::{self as identities, Event as Identities};
use crater_api::user::v1::watch_revocations_response::{self as revocations, Event as Revocations};
use crater_store::user::{Identity, Revocation};
use futures::StreamExt;
use futures::stream::BoxStream;
use tonic::{Request, Response, Status};

use super::{Grpc, account, membership, user};
use crate::watch::{Event, Known};

#[tonic::async_trait]
impl IdentityService for Grpc {
    type WatchIdentitiesStream = BoxStream<'static, Result<pb::WatchIdentitiesResponse, Status>>;

    async fn watch_identities(
        &self,
        _: Request<pb::WatchIdentitiesRequest>,
    ) -> Result<Response<Self::WatchIdentitiesStream>, Status> {
        let said = |event| pb::WatchIdentitiesResponse { event: Some(known(event)) };
        let events = self.0.watch_identities().map(move |event| event.map(said).map_err(to_status));
        Ok(Response::new(events.boxed()))
    }

    type WatchRevocationsStream = BoxStream<'static, Result<pb::WatchRevocationsResponse, Status>>;

    async fn watch_revocations(
        &self,
        _: Request<pb::WatchRevocationsRequest>,
    ) -> Result<Response<Self::WatchRevocationsStream>, Status> {
        let said = |event| pb::WatchRevocationsResponse { event: Some(refused(event)) };
        let events = self.0.watch_revocations().map(move |event| event.map(said).map_err(to_status));
        Ok(Response::new(events.boxed()))
    }
}

/// What is said on the wire of what is known.
pub(crate) fn known(event: Event<Known>) -> Identities {
    match event {
        Event::SnapshotStart => Identities::SnapshotStart(identities::SnapshotStart {}),
        Event::Said(Known::Account(a)) => Identities::Account(account(&a)),
        Event::Said(Known::DeletedAccount(id)) => Identities::DeletedAccount(id.resource_name()),
        Event::Said(Known::Identity(i)) => Identities::Identity(identity(*i)),
        Event::Said(Known::DeletedUser(id)) => Identities::DeletedUser(id.resource_name()),
        Event::Synced => Identities::Synced(identities::Synced {}),
        Event::Heartbeat => Identities::Heartbeat(identities::Heartbeat {}),
    }
}

fn identity(i: Identity) -> pb::Identity {
    pb::Identity {
        user: Some(user(&i.user)),
        epoch: i.user.epoch,
        memberships: i.members.iter().map(membership).collect(),
        revoked_sessions: i.revoked_sessions,
    }
}

/// What is said on the wire of what is to be refused.
fn refused(event: Event<Revocation>) -> Revocations {
    match event {
        Event::SnapshotStart => Revocations::SnapshotStart(revocations::SnapshotStart {}),
        Event::Said(r) => Revocations::Revocation(pb::Revocation {
            user: r.user.resource_name(),
            all: r.all,
            epoch: r.epoch,
            sessions: r.sessions,
        }),
        Event::Synced => Revocations::Synced(revocations::Synced {}),
        Event::Heartbeat => Revocations::Heartbeat(revocations::Heartbeat {}),
    }
}
