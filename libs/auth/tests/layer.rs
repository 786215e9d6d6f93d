//! The guard as a server has it: who gets through to which method, and what happens to streams that are open.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so by failing")]

use std::convert::Infallible;
use std::time::{Duration, SystemTime};

use crater_api::user::v1::watch_identities_response::{Event, SnapshotStart, Synced};
use crater_api::user::v1::{Identity, MemberRole, Membership, User, UserState};
use crater_auth::{
    AccessGrant, Authority, Caller, MeshKey, Role, SERVICE_TOKEN_HEADER, Signer, generate_seed,
};
use http::{Request, Response};
use http_body::Body as _;
use http_body_util::BodyExt;
use tonic::Status;
use tonic::body::Body;
use tonic_types::StatusExt;
use tower::{Layer, Service, ServiceExt, service_fn};

const PUBLIC: &str = "/crater.user.v1.AuthService/Login";
const SIGNED_IN: &str = "/crater.user.v1.AuthService/WhoAmI";
const STREAM: &str = "/crater.job.v1.JobService/WatchJobs";
const ADMIN: &str = "/crater.user.v1.UserService/CreateUser";
const SERVICE: &str = "/crater.user.v1.IdentityService/WatchIdentities";

struct World {
    authority: Authority,
    signer: Signer,
}

fn world() -> World {
    let authority = Authority::new(MeshKey::generate().unwrap());
    let signer = Signer::from_seed("k1", &generate_seed()).unwrap();
    authority.keys().replace([("k1".to_owned(), signer.public_key())]);
    World { authority, signer }
}

fn identity(user: &str, epoch: i64) -> Identity {
    Identity {
        user: Some(User {
            name: format!("users/{user}"),
            state: UserState::Active.into(),
            platform_admin: user == "root",
            ..Default::default()
        }),
        epoch,
        memberships: vec![Membership {
            account: "accounts/lab".to_owned(),
            user: format!("users/{user}"),
            role: MemberRole::Member.into(),
        }],
        revoked_sessions: Vec::new(),
    }
}

impl World {
    fn synced(self) -> Self {
        let directory = self.authority.directory();
        assert!(!directory.apply(Event::SnapshotStart(SnapshotStart {})));
        directory.apply(Event::Identity(identity("alice", 1)));
        directory.apply(Event::Identity(identity("root", 1)));
        assert!(directory.apply(Event::Synced(Synced {})));
        self
    }

    fn hear(&self, identity: Identity) {
        self.authority.directory().apply(Event::Identity(identity));
    }

    fn bearer(&self, user: &str) -> String {
        let grant = AccessGrant { user: user.parse().unwrap(), session: "s1".to_owned(), epoch: 1 };
        format!("Bearer {}", self.signer.access_token(&grant, SystemTime::now()).unwrap().0)
    }

    async fn service_bearer(&self) -> String {
        let echo = service_fn(|request: Request<()>| async move {
            Ok::<_, Infallible>(request.headers()[SERVICE_TOKEN_HEADER].to_str().unwrap().to_owned())
        });
        self.authority.identity("quota").channel(echo).oneshot(Request::new(())).await.unwrap()
    }

    /// Calls a server that answers with a stream without end.
    async fn call(&self, edge: bool, request: Request<Body>) -> Response<Body> {
        let layer = if edge { self.authority.edge_layer() } else { self.authority.layer() };
        let mut server = layer.layer(service_fn(|request: Request<Body>| async move {
            let caller = request.extensions().get::<Caller>().cloned();
            let mut response = Response::new(Body::new(endless()));
            if let Some(caller) = caller {
                response.extensions_mut().insert(caller);
            }
            assert!(request.headers().get(SERVICE_TOKEN_HEADER).is_none_or(|value| value != "forged"));
            Ok::<_, Infallible>(response)
        }));
        server.ready().await.unwrap().call(request).await.unwrap()
    }

    async fn try_call(
        &self,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Response<Body>, (tonic::Code, String)> {
        refused(self.call(false, request(path, headers)).await)
    }
}

fn endless() -> impl http_body::Body<Data = bytes::Bytes, Error = Status> + Send + 'static {
    http_body_util::StreamBody::new(futures::stream::pending())
}

fn request(path: &str, headers: &[(&'static str, &str)]) -> Request<Body> {
    let mut builder = Request::builder().uri(path);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(Body::empty()).unwrap()
}

/// A refusal in the headers as its code and reason.
fn refused(response: Response<Body>) -> Result<Response<Body>, (tonic::Code, String)> {
    match Status::from_header_map(response.headers()) {
        None => Ok(response),
        Some(status) => {
            let reason = status.get_details_error_info().map(|info| info.reason).unwrap_or_default();
            Err((status.code(), reason))
        }
    }
}

/// How a response stream ends.
async fn end(response: Response<Body>) -> (tonic::Code, String) {
    let collected = tokio::time::timeout(Duration::from_secs(5), response.into_body().collect());
    let trailers =
        collected.await.expect("the stream ends within five seconds").unwrap().trailers().cloned().unwrap();
    let status = Status::from_header_map(&trailers).unwrap();
    (status.code(), status.get_details_error_info().unwrap().reason)
}

fn unauthenticated<T>(reason: &str) -> Result<T, (tonic::Code, String)> {
    Err((tonic::Code::Unauthenticated, reason.to_owned()))
}

#[tokio::test]
async fn each_level_lets_through_only_its_own() {
    let world = world().synced();
    let (alice, root, service) = (world.bearer("alice"), world.bearer("root"), world.service_bearer().await);
    let denied = |reason: &str| Some((tonic::Code::PermissionDenied, reason.to_owned()));
    let missing = Some((tonic::Code::Unauthenticated, "TOKEN_MISSING".to_owned()));
    for (path, nobody, by_alice, by_root, by_service) in [
        (PUBLIC, None, None, None, None),
        (SIGNED_IN, missing.clone(), None, None, None),
        (ADMIN, missing.clone(), denied("NOT_PLATFORM_ADMIN"), None, None),
        (SERVICE, missing.clone(), denied("SERVICES_ONLY"), denied("SERVICES_ONLY"), None),
    ] {
        assert_eq!(world.try_call(path, &[]).await.err(), nobody, "{path} by nobody");
        assert_eq!(
            world.try_call(path, &[("authorization", &alice)]).await.err(),
            by_alice,
            "{path} by alice"
        );
        assert_eq!(world.try_call(path, &[("authorization", &root)]).await.err(), by_root, "{path} by root");
        let headers = [(SERVICE_TOKEN_HEADER, service.as_str())];
        assert_eq!(world.try_call(path, &headers).await.err(), by_service, "{path} by a service");
    }
}

#[tokio::test]
async fn a_service_that_acts_for_a_user_is_the_user_except_where_only_services_go() {
    let world = world().synced();
    let (alice, service) = (world.bearer("alice"), world.service_bearer().await);
    let both = [("authorization", alice.as_str()), (SERVICE_TOKEN_HEADER, service.as_str())];
    let response = world.try_call(SIGNED_IN, &both).await.unwrap();
    assert_eq!(response.extensions().get::<Caller>().unwrap().user().unwrap().as_str(), "alice");
    assert!(world.try_call(SERVICE, &both).await.is_ok());
    assert_eq!(world.try_call(ADMIN, &both).await.unwrap_err().1, "NOT_PLATFORM_ADMIN");
    let posing = [(SERVICE_TOKEN_HEADER, alice.as_str())];
    assert_eq!(world.try_call(SERVICE, &posing).await.unwrap_err().1, "TOKEN_WRONG_KIND");
}

#[tokio::test]
async fn at_the_edge_services_are_nobody_and_their_methods_do_not_exist() {
    let world = world().synced();
    let service = world.service_bearer().await;
    for headers in
        [vec![("authorization", service.as_str())], vec![(SERVICE_TOKEN_HEADER, service.as_str())], vec![]]
    {
        let (code, _) = refused(world.call(true, request(SERVICE, &headers)).await).unwrap_err();
        assert_eq!(code, tonic::Code::Unimplemented);
    }
    let header = [(SERVICE_TOKEN_HEADER, service.as_str())];
    let refusal = refused(world.call(true, request(SIGNED_IN, &header)).await).unwrap_err();
    assert_eq!(refusal.1, "TOKEN_MISSING");
    let header = [("authorization", service.as_str())];
    assert_eq!(
        refused(world.call(true, request(SIGNED_IN, &header)).await).unwrap_err().1,
        "TOKEN_WRONG_KIND"
    );
    // A public method gets through, without the header that poses as a service.
    assert!(refused(world.call(true, request(PUBLIC, &[(SERVICE_TOKEN_HEADER, "forged")])).await).is_ok());
}

#[tokio::test]
async fn nobody_is_believed_before_identities_were_heard() {
    let world = world();
    let alice = world.bearer("alice");
    let refusal = world.try_call(SIGNED_IN, &[("authorization", &alice)]).await.unwrap_err();
    assert_eq!(refusal, (tonic::Code::Unavailable, "IDENTITIES_NOT_HEARD".to_owned()));
    // Half a snapshot is not a view.
    world.authority.directory().apply(Event::SnapshotStart(SnapshotStart {}));
    world.hear(identity("alice", 1));
    let refusal = world.try_call(SIGNED_IN, &[("authorization", &alice)]).await.unwrap_err();
    assert_eq!(refusal.1, "IDENTITIES_NOT_HEARD");
}

#[tokio::test]
async fn suspended_revoked_and_unknown_users_are_refused() {
    let world = world().synced();
    let alice = world.bearer("alice");
    let headers = [("authorization", alice.as_str())];
    assert!(world.try_call(SIGNED_IN, &headers).await.is_ok());

    world.hear(identity("alice", 2));
    assert_eq!(world.try_call(SIGNED_IN, &headers).await.map(drop), unauthenticated("SESSION_REVOKED"));
    let mut revoked = identity("alice", 1);
    revoked.revoked_sessions.push("s1".to_owned());
    world.hear(revoked);
    assert_eq!(world.try_call(SIGNED_IN, &headers).await.map(drop), unauthenticated("SESSION_REVOKED"));
    for state in [UserState::Suspended, UserState::Unspecified] {
        let mut suspended = identity("alice", 1);
        suspended.user.as_mut().unwrap().state = state.into();
        world.hear(suspended);
        assert_eq!(world.try_call(SIGNED_IN, &headers).await.map(drop), unauthenticated("USER_SUSPENDED"));
    }
    let bob = world.bearer("bob");
    let refusal = world.try_call(SIGNED_IN, &[("authorization", &bob)]).await.map(drop);
    assert_eq!(refusal, unauthenticated("USER_UNKNOWN"));
}

#[tokio::test]
async fn a_user_whose_news_is_on_its_way_is_waited_for() {
    let world = world().synced();
    let bob = world.bearer("bob");
    let headers = [("authorization", bob.as_str())];
    let (answer, ()) = tokio::join!(world.try_call(SIGNED_IN, &headers), async {
        tokio::task::yield_now().await;
        world.hear(identity("bob", 1));
    });
    assert!(answer.is_ok());
}

#[tokio::test]
async fn a_new_snapshot_forgets_who_is_not_in_it() {
    let world = world().synced();
    let alice = world.bearer("alice");
    let directory = world.authority.directory();
    directory.apply(Event::SnapshotStart(SnapshotStart {}));
    directory.apply(Event::Identity(identity("root", 1)));
    assert!(
        world.try_call(SIGNED_IN, &[("authorization", &alice)]).await.is_ok(),
        "the old view holds until the end"
    );
    directory.apply(Event::Synced(Synced {}));
    let refusal = world.try_call(SIGNED_IN, &[("authorization", &alice)]).await.map(drop);
    assert_eq!(refusal, unauthenticated("USER_UNKNOWN"));
}

#[tokio::test]
async fn an_open_stream_ends_when_its_user_is_suspended() {
    let world = world().synced();
    let alice = world.bearer("alice");
    let response = world.try_call(STREAM, &[("authorization", &alice)]).await.unwrap();
    assert!(!response.body().is_end_stream());
    world.hear(identity("root", 7));
    let mut suspended = identity("alice", 1);
    suspended.user.as_mut().unwrap().state = UserState::Suspended.into();
    world.hear(suspended);
    assert_eq!(end(response).await, (tonic::Code::Unauthenticated, "USER_SUSPENDED".to_owned()));
}

#[tokio::test]
async fn an_open_stream_ends_when_its_user_is_deleted() {
    let world = world().synced();
    let alice = world.bearer("alice");
    let response = world.try_call(STREAM, &[("authorization", &alice)]).await.unwrap();
    world.authority.directory().apply(Event::DeletedUser("users/root".to_owned()));
    assert!(!response.body().is_end_stream());
    world.authority.directory().apply(Event::DeletedUser("users/alice".to_owned()));
    assert_eq!(end(response).await, (tonic::Code::Unauthenticated, "USER_UNKNOWN".to_owned()));
}

#[tokio::test]
async fn an_open_stream_ends_when_its_session_is_revoked() {
    let world = world().synced();
    let alice = world.bearer("alice");
    let response = world.try_call(STREAM, &[("authorization", &alice)]).await.unwrap();
    world.hear(identity("alice", 2));
    assert_eq!(end(response).await, (tonic::Code::Unauthenticated, "SESSION_REVOKED".to_owned()));
}

#[tokio::test]
async fn a_header_that_is_no_single_bearer_token_is_malformed() {
    let world = world().synced();
    let alice = world.bearer("alice");
    for header in ["", "Bearer", "Bearer ", "Basic YTpi", alice.trim_start_matches("Bearer ")] {
        let refusal = world.try_call(SIGNED_IN, &[("authorization", header)]).await.map(drop);
        assert_eq!(refusal, unauthenticated("TOKEN_MALFORMED"), "{header}");
    }
    let twice = [("authorization", alice.as_str()), ("authorization", alice.as_str())];
    assert_eq!(world.try_call(SIGNED_IN, &twice).await.map(drop), unauthenticated("TOKEN_MALFORMED"));
    let lower = alice.replace("Bearer", "bearer");
    assert!(world.try_call(SIGNED_IN, &[("authorization", &lower)]).await.is_ok());
}

#[tokio::test]
async fn another_accounts_object_and_an_absent_one_answer_alike() {
    let world = world().synced();
    let alice = world.bearer("alice");
    let response = world.try_call(SIGNED_IN, &[("authorization", &alice)]).await.unwrap();
    let caller = response.extensions().get::<Caller>().unwrap().clone();
    let account = |name: &str| name.parse().unwrap();

    assert!(caller.require(&account("lab"), Role::Member).is_ok());
    let refusal = caller.require(&account("lab"), Role::Manager).unwrap_err();
    assert_eq!(refusal.code, crater_domain::Code::PermissionDenied);
    let refusal =
        caller.require_object("job", "accounts/other/jobs/a", &account("other"), Role::Member).unwrap_err();
    let absent = crater_domain::Error::not_found("job", "accounts/other/jobs/a");
    assert_eq!(
        (refusal.code, refusal.reason, refusal.to_string()),
        (absent.code, absent.reason, absent.to_string())
    );
    assert_eq!(caller.accounts(), [account("lab")]);

    // A membership that was taken away counts at once.
    let mut left = identity("alice", 1);
    left.memberships.clear();
    world.hear(left);
    assert_eq!(
        caller.require(&account("lab"), Role::Member).unwrap_err().code,
        crater_domain::Code::NotFound
    );
}
