//! A user service of its own, over an in-process channel, and what tests say to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use crater_api::status::from_status;
use crater_api::user::v1 as pb;
use crater_api::user::v1::auth_service_client::AuthServiceClient;
use crater_api::user::v1::identity_service_client::IdentityServiceClient;
use crater_api::user::v1::user_service_client::UserServiceClient;
use crater_api::user::v1::watch_identities_response::Event;
use crater_auth::{Authority, MeshKey};
use crater_mariadb::database_for;
use crater_service::{Bind, Channel, InProcess, Running, Shutdown, Target};
use crater_user::{Config, Deps, build};
use tempfile::TempDir;
use tonic::{Request, Status, Streaming};

pub const PASSWORD: &str = "correct horse";

pub struct House {
    pub channel: Channel,
    pub authority: Authority,
    pub ahead: Arc<AtomicU64>,
    running: Option<Running>,
    dir: TempDir,
}

pub type Auth = AuthServiceClient<Channel>;
pub type Users = UserServiceClient<Channel>;

impl House {
    pub async fn new() -> Self {
        Self::on(TempDir::new().unwrap()).await
    }

    async fn on(dir: TempDir) -> Self {
        let authority = Authority::new(MeshKey::generate().unwrap());
        let mut deps = Deps::new(authority.clone(), database_for(dir.path()).parse().unwrap());
        let ahead = Arc::new(AtomicU64::new(0));
        let seconds = ahead.clone();
        deps.clock =
            Arc::new(move || SystemTime::now() + Duration::from_secs(seconds.load(Ordering::SeqCst)));
        let service = build(Config::default(), deps).await.unwrap();
        service.app().bootstrap_admin(PASSWORD.into()).await.unwrap();
        let place = InProcess::new("user");
        let channel = Target::InProcess(place.clone()).channel().unwrap();
        let readiness = service.readiness().clone();
        let running = service.spawn(Bind::InProcess(place), Shutdown::new()).await.unwrap();
        tokio::time::timeout(Duration::from_secs(10), readiness.ready()).await.unwrap();
        Self { channel, authority, ahead, running: Some(running), dir }
    }

    pub async fn restart(mut self) -> Self {
        self.running.take().unwrap().stop().await.unwrap();
        Self::on(self.dir).await
    }

    pub fn auth(&self) -> Auth {
        Auth::new(self.channel.clone())
    }

    pub fn users(&self) -> Users {
        Users::new(self.channel.clone())
    }

    pub async fn login(&self, user: &str) -> pb::TokenPair {
        self.try_login(user, PASSWORD).await.unwrap()
    }

    pub async fn try_login(&self, user: &str, password: &str) -> Result<pb::TokenPair, Status> {
        let request = pb::LoginRequest { user_id: user.into(), password: password.into() };
        Ok(self.auth().login(request).await?.into_inner().tokens.unwrap())
    }

    pub async fn refresh(&self, token: &str) -> Result<pb::TokenPair, Status> {
        let request = pb::RefreshTokenRequest { refresh_token: token.into() };
        Ok(self.auth().refresh_token(request).await?.into_inner().tokens.unwrap())
    }

    pub async fn who_am_i(&self, tokens: &pb::TokenPair) -> Result<pb::WhoAmIResponse, Status> {
        Ok(self.auth().who_am_i(signed(tokens, pb::WhoAmIRequest {})).await?.into_inner())
    }

    /// Makes a user in no account.
    pub async fn user(&self, admin: &pb::TokenPair, id: &str, platform_admin: bool) -> pb::User {
        let request = pb::CreateUserRequest {
            user_id: id.into(),
            user: Some(pb::User { platform_admin, ..Default::default() }),
            password: PASSWORD.into(),
            ..Default::default()
        };
        self.users().create_user(signed(admin, request)).await.unwrap().into_inner().user.unwrap()
    }

    /// Makes an account, below `parent` unless that is empty.
    pub async fn account(&self, admin: &pb::TokenPair, id: &str, parent: &str) -> pb::Account {
        let request = new_account(id, parent);
        self.users().create_account(signed(admin, request)).await.unwrap().into_inner().account.unwrap()
    }

    /// Puts a user into an account.
    pub async fn join(&self, admin: &pb::TokenPair, account: &str, user: &str, role: pb::MemberRole) {
        self.users().add_member(signed(admin, place(account, user, role))).await.unwrap();
    }

    pub async fn get_user(&self, by: &pb::TokenPair, id: &str) -> Result<pb::GetUserResponse, Status> {
        let request = pb::GetUserRequest { name: format!("users/{id}") };
        Ok(self.users().get_user(signed(by, request)).await?.into_inner())
    }

    pub async fn get_account(&self, by: &pb::TokenPair, id: &str) -> Result<pb::Account, Status> {
        let request = pb::GetAccountRequest { name: format!("accounts/{id}") };
        Ok(self.users().get_account(signed(by, request)).await?.into_inner().account.unwrap())
    }

    /// The ids of all members of an account.
    pub async fn members(&self, by: &pb::TokenPair, id: &str) -> Result<Vec<String>, Status> {
        let request = pb::ListMembersRequest { parent: format!("accounts/{id}"), ..Default::default() };
        let members = self.users().list_members(signed(by, request)).await?.into_inner().members;
        Ok(members.into_iter().map(|m| m.membership.unwrap().user.replace("users/", "")).collect())
    }

    pub async fn watch_revocations(&self) -> Streaming<pb::WatchRevocationsResponse> {
        let channel = self.authority.identity("logs").channel(self.channel.clone());
        let mut client = IdentityServiceClient::new(channel);
        client.watch_revocations(pb::WatchRevocationsRequest {}).await.unwrap().into_inner()
    }

    pub async fn watch(&self) -> Streaming<pb::WatchIdentitiesResponse> {
        let channel = self.authority.identity("job").channel(self.channel.clone());
        let mut client = IdentityServiceClient::new(channel);
        client.watch_identities(pb::WatchIdentitiesRequest {}).await.unwrap().into_inner()
    }
}

pub fn signed<T>(tokens: &pb::TokenPair, body: T) -> Request<T> {
    let mut request = Request::new(body);
    let value = format!("Bearer {}", tokens.access_token).parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    request
}

pub fn new_user(id: &str) -> pb::CreateUserRequest {
    pb::CreateUserRequest {
        user_id: id.into(),
        password: PASSWORD.into(),
        accounts: vec!["accounts/default".into()],
        ..Default::default()
    }
}

pub fn new_account(id: &str, parent: &str) -> pb::CreateAccountRequest {
    let parent = if parent.is_empty() { String::new() } else { format!("accounts/{parent}") };
    pb::CreateAccountRequest {
        account_id: id.into(),
        account: Some(pb::Account { parent, ..Default::default() }),
        ..Default::default()
    }
}

pub fn place(account: &str, user: &str, role: pb::MemberRole) -> pb::AddMemberRequest {
    let membership = pb::Membership {
        account: format!("accounts/{account}"),
        user: format!("users/{user}"),
        role: role.into(),
    };
    pb::AddMemberRequest { membership: Some(membership), ..Default::default() }
}

pub fn mask(paths: &[&str]) -> Option<prost_types::FieldMask> {
    Some(prost_types::FieldMask { paths: paths.iter().map(ToString::to_string).collect() })
}

/// A new name for a request.
pub fn request_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

pub fn suspend(user: &str, state: pb::UserState) -> pb::UpdateUserRequest {
    pb::UpdateUserRequest {
        user: Some(pb::User { name: user.into(), state: state.into(), ..Default::default() }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["state".into()] }),
        ..Default::default()
    }
}

pub fn reason(status: &Status) -> String {
    from_status(status).metadata.get("reason").cloned().unwrap_or_default()
}

pub fn fields(status: &Status) -> Vec<String> {
    from_status(status).violations.into_iter().map(|v| v.field).collect()
}

pub async fn next(stream: &mut Streaming<pb::WatchIdentitiesResponse>) -> Event {
    let message = tokio::time::timeout(Duration::from_secs(10), stream.message()).await;
    message.expect("no event").unwrap().expect("the stream ended").event.unwrap()
}

/// The next event that is no heartbeat.
pub async fn news(stream: &mut Streaming<pb::WatchIdentitiesResponse>) -> Event {
    loop {
        match next(stream).await {
            Event::Heartbeat(_) => {}
            event => return event,
        }
    }
}

/// Asks until it is so; the limit is the five seconds in which a suspension must be heard.
pub async fn eventually(so: impl AsyncFn() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
    while !so().await {
        assert!(tokio::time::Instant::now() < deadline, "not within five seconds");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
