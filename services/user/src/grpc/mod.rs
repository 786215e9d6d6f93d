//! Parse, call, map. Generated types end here.

use crater_api::convert::timestamp;
use crater_api::status::{OrStatus, to_status};
use crater_api::user::v1 as pb;
use crater_api::user::v1::auth_service_server::AuthService;
use crater_api::user::v1::identity_service_server::IdentityService;
use crater_api::user::v1::user_service_server::UserService;
use crater_api::user::v1::watch_identities_response::{self as watch, Event as Said};
use crater_store::user::{Account, Identity, Member, User};
use futures::StreamExt;
use futures::stream::BoxStream;
use tonic::{Request, Response, Status};

use crate::app::{App, Caller};
use crate::parse;
use crate::sessions::Tokens;
use crate::watch::Event;

fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    Caller::of(&crater_auth::Caller::of(request)?).or_status()
}

/// The three services over one [`App`].
#[derive(Clone)]
pub struct Grpc(pub App);

#[tonic::async_trait]
impl AuthService for Grpc {
    async fn login(&self, request: Request<pb::LoginRequest>) -> Result<Response<pb::LoginResponse>, Status> {
        let (id, password) = parse::login(request.into_inner()).or_status()?;
        let (pair, who) = self.0.login(id, password).await.or_status()?;
        Ok(Response::new(pb::LoginResponse { tokens: Some(tokens(pair)), user: Some(user(&who)) }))
    }

    async fn refresh_token(
        &self,
        request: Request<pb::RefreshTokenRequest>,
    ) -> Result<Response<pb::RefreshTokenResponse>, Status> {
        let pair = self.0.refresh(&request.into_inner().refresh_token).await.or_status()?;
        Ok(Response::new(pb::RefreshTokenResponse { tokens: Some(tokens(pair)) }))
    }

    async fn logout(
        &self,
        request: Request<pb::LogoutRequest>,
    ) -> Result<Response<pb::LogoutResponse>, Status> {
        self.0.logout(&caller(&request)?).await.or_status()?;
        Ok(Response::new(pb::LogoutResponse {}))
    }

    async fn who_am_i(
        &self,
        request: Request<pb::WhoAmIRequest>,
    ) -> Result<Response<pb::WhoAmIResponse>, Status> {
        let (who, members) = self.0.who_am_i(&caller(&request)?).await.or_status()?;
        let memberships = members.iter().map(membership).collect();
        Ok(Response::new(pb::WhoAmIResponse {
            user: Some(user(&who)),
            memberships,
            acting_account: String::new(),
        }))
    }

    async fn list_signing_keys(
        &self,
        _: Request<pb::ListSigningKeysRequest>,
    ) -> Result<Response<pb::ListSigningKeysResponse>, Status> {
        let all = self.0.keys.all();
        let key = |k: &crater_store::user::SigningKey| pb::SigningKey {
            key_id: k.id.clone(),
            algorithm: "EdDSA".to_owned(),
            public_key: k.public_key.clone(),
        };
        Ok(Response::new(pb::ListSigningKeysResponse { keys: all.iter().map(key).collect() }))
    }

    async fn change_password(
        &self,
        _: Request<pb::ChangePasswordRequest>,
    ) -> Result<Response<pb::ChangePasswordResponse>, Status> {
        Err(Status::unimplemented("ChangePassword is not there yet"))
    }

    async fn switch_account(
        &self,
        _: Request<pb::SwitchAccountRequest>,
    ) -> Result<Response<pb::SwitchAccountResponse>, Status> {
        Err(Status::unimplemented("SwitchAccount is not there yet"))
    }
}

#[tonic::async_trait]
impl UserService for Grpc {
    async fn create_user(
        &self,
        request: Request<pb::CreateUserRequest>,
    ) -> Result<Response<pb::CreateUserResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let body = pb::CreateUserRequest { password: String::new(), validate_only: false, ..request.clone() };
        let how = parse::once(
            &caller.user,
            "CreateUser",
            &request.request_id,
            request.validate_only,
            &body,
            self.0.now_ms(),
        );
        let how = how.or_status()?;
        let draft = parse::create_user(request).or_status()?;
        let made = self.0.create_user(&caller, draft, how).await.or_status()?;
        Ok(Response::new(pb::CreateUserResponse { user: Some(user(&made)) }))
    }

    async fn update_user(
        &self,
        request: Request<pb::UpdateUserRequest>,
    ) -> Result<Response<pb::UpdateUserResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let body = pb::UpdateUserRequest { validate_only: false, ..request.clone() };
        let how = parse::once(
            &caller.user,
            "UpdateUser",
            &request.request_id,
            request.validate_only,
            &body,
            self.0.now_ms(),
        );
        let how = how.or_status()?;
        let (id, change, version) = parse::update_user(request).or_status()?;
        let changed = self.0.update_user(&caller, id, change, version, how).await.or_status()?;
        Ok(Response::new(pb::UpdateUserResponse { user: Some(user(&changed)) }))
    }

    async fn create_account(
        &self,
        request: Request<pb::CreateAccountRequest>,
    ) -> Result<Response<pb::CreateAccountResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let body = pb::CreateAccountRequest { validate_only: false, ..request.clone() };
        let how = parse::once(
            &caller.user,
            "CreateAccount",
            &request.request_id,
            request.validate_only,
            &body,
            self.0.now_ms(),
        );
        let how = how.or_status()?;
        let draft = parse::create_account(request).or_status()?;
        let made = self.0.create_account(&caller, draft, how).await.or_status()?;
        Ok(Response::new(pb::CreateAccountResponse { account: Some(account(&made)) }))
    }

    async fn add_member(
        &self,
        request: Request<pb::AddMemberRequest>,
    ) -> Result<Response<pb::AddMemberResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let body = pb::AddMemberRequest { validate_only: false, ..request.clone() };
        let how = parse::once(
            &caller.user,
            "AddMember",
            &request.request_id,
            request.validate_only,
            &body,
            self.0.now_ms(),
        );
        let how = how.or_status()?;
        let member = parse::add_member(request).or_status()?;
        let added = self.0.add_member(&caller, member, how).await.or_status()?;
        Ok(Response::new(pb::AddMemberResponse { membership: Some(membership(&added)) }))
    }

    async fn get_user(
        &self,
        _: Request<pb::GetUserRequest>,
    ) -> Result<Response<pb::GetUserResponse>, Status> {
        Err(Status::unimplemented("GetUser is not there yet"))
    }

    async fn list_users(
        &self,
        _: Request<pb::ListUsersRequest>,
    ) -> Result<Response<pb::ListUsersResponse>, Status> {
        Err(Status::unimplemented("ListUsers is not there yet"))
    }

    async fn suspend_user(
        &self,
        _: Request<pb::SuspendUserRequest>,
    ) -> Result<Response<pb::SuspendUserResponse>, Status> {
        Err(Status::unimplemented("SuspendUser is not there yet"))
    }

    async fn reinstate_user(
        &self,
        _: Request<pb::ReinstateUserRequest>,
    ) -> Result<Response<pb::ReinstateUserResponse>, Status> {
        Err(Status::unimplemented("ReinstateUser is not there yet"))
    }

    async fn reset_password(
        &self,
        _: Request<pb::ResetPasswordRequest>,
    ) -> Result<Response<pb::ResetPasswordResponse>, Status> {
        Err(Status::unimplemented("ResetPassword is not there yet"))
    }

    async fn delete_user(
        &self,
        _: Request<pb::DeleteUserRequest>,
    ) -> Result<Response<pb::DeleteUserResponse>, Status> {
        Err(Status::unimplemented("DeleteUser is not there yet"))
    }

    async fn get_account(
        &self,
        _: Request<pb::GetAccountRequest>,
    ) -> Result<Response<pb::GetAccountResponse>, Status> {
        Err(Status::unimplemented("GetAccount is not there yet"))
    }

    async fn list_accounts(
        &self,
        _: Request<pb::ListAccountsRequest>,
    ) -> Result<Response<pb::ListAccountsResponse>, Status> {
        Err(Status::unimplemented("ListAccounts is not there yet"))
    }

    async fn update_account(
        &self,
        _: Request<pb::UpdateAccountRequest>,
    ) -> Result<Response<pb::UpdateAccountResponse>, Status> {
        Err(Status::unimplemented("UpdateAccount is not there yet"))
    }

    async fn delete_account(
        &self,
        _: Request<pb::DeleteAccountRequest>,
    ) -> Result<Response<pb::DeleteAccountResponse>, Status> {
        Err(Status::unimplemented("DeleteAccount is not there yet"))
    }

    async fn list_members(
        &self,
        _: Request<pb::ListMembersRequest>,
    ) -> Result<Response<pb::ListMembersResponse>, Status> {
        Err(Status::unimplemented("ListMembers is not there yet"))
    }

    async fn remove_member(
        &self,
        _: Request<pb::RemoveMemberRequest>,
    ) -> Result<Response<pb::RemoveMemberResponse>, Status> {
        Err(Status::unimplemented("RemoveMember is not there yet"))
    }
}

#[tonic::async_trait]
impl IdentityService for Grpc {
    type WatchRevocationsStream = BoxStream<'static, Result<pb::WatchRevocationsResponse, Status>>;
    type WatchIdentitiesStream = BoxStream<'static, Result<pb::WatchIdentitiesResponse, Status>>;

    async fn watch_identities(
        &self,
        _: Request<pb::WatchIdentitiesRequest>,
    ) -> Result<Response<Self::WatchIdentitiesStream>, Status> {
        let events = self.0.watch_identities();
        let said = events
            .map(|e| e.map(|e| pb::WatchIdentitiesResponse { event: Some(said(e)) }).map_err(to_status));
        Ok(Response::new(said.boxed()))
    }

    async fn watch_revocations(
        &self,
        _: Request<pb::WatchRevocationsRequest>,
    ) -> Result<Response<Self::WatchRevocationsStream>, Status> {
        Err(Status::unimplemented("WatchRevocations is not there yet"))
    }
}

/// What is said on the wire.
pub(crate) fn said(event: Event) -> Said {
    match event {
        Event::SnapshotStart => Said::SnapshotStart(watch::SnapshotStart {}),
        Event::Account(a) => Said::Account(account(&a)),
        Event::Identity(i) => Said::Identity(identity(*i)),
        Event::Synced => Said::Synced(watch::Synced {}),
        Event::Heartbeat => Said::Heartbeat(watch::Heartbeat {}),
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

fn tokens(t: Tokens) -> pb::TokenPair {
    pb::TokenPair {
        access_token: t.access,
        access_expire_time: Some(timestamp(t.access_expires_ms)),
        refresh_token: t.refresh,
        refresh_expire_time: Some(timestamp(t.refresh_expires_ms)),
    }
}

fn user(u: &User) -> pb::User {
    let state = if u.suspended { pb::UserState::Suspended } else { pb::UserState::Active };
    pb::User {
        name: u.id.resource_name(),
        display_name: u.display_name.clone(),
        state: state.into(),
        platform_admin: u.platform_admin,
        create_time: Some(timestamp(u.created_ms)),
        etag: parse::etag(u.version),
        last_login_time: None,
    }
}

fn account(a: &Account) -> pb::Account {
    pb::Account {
        name: a.id.resource_name(),
        display_name: a.display_name.clone(),
        parent: a.parent.as_ref().map(crater_domain::AccountId::resource_name).unwrap_or_default(),
        namespace: a.id.namespace(),
        create_time: Some(timestamp(a.created_ms)),
        etag: parse::etag(a.version),
    }
}

fn membership(m: &Member) -> pb::Membership {
    let role = if m.manager { pb::MemberRole::Manager } else { pb::MemberRole::Member };
    pb::Membership { account: m.account.resource_name(), user: m.user.resource_name(), role: role.into() }
}
