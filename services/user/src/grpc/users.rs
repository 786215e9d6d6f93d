//! `UserService`.

use crater_api::convert::parse_page_size;
use crater_api::page::{page_token, parse_page_token};
use crater_api::status::OrStatus;
use crater_api::user::v1 as pb;
use crater_api::user::v1::user_service_server::UserService;
use crater_store::user::{Listed, UserChange};
use tonic::{Request, Response, Status};

use super::{Grpc, account, caller, membership, state, user, user_in_full};
use crate::once::begin;
use crate::parse;

#[tonic::async_trait]
impl UserService for Grpc {
    async fn create_user(
        &self,
        request: Request<pb::CreateUserRequest>,
    ) -> Result<Response<pb::CreateUserResponse>, Status> {
        let (caller, request, how) = begin(request, self.0.now_ms())?;
        let draft = parse::create_user(request).or_status()?;
        let made = self.0.create_user(&caller, draft, how).await.or_status()?;
        Ok(Response::new(pb::CreateUserResponse { user: Some(user_in_full(&made)) }))
    }

    async fn update_user(
        &self,
        request: Request<pb::UpdateUserRequest>,
    ) -> Result<Response<pb::UpdateUserResponse>, Status> {
        let (caller, request, how) = begin(request, self.0.now_ms())?;
        let (id, change, version) = parse::update_user(request).or_status()?;
        let changed = self.0.update_user(&caller, id, change, version, how).await.or_status()?;
        Ok(Response::new(pb::UpdateUserResponse { user: Some(user_in_full(&changed)) }))
    }

    async fn get_user(
        &self,
        request: Request<pb::GetUserRequest>,
    ) -> Result<Response<pb::GetUserResponse>, Status> {
        let caller = caller(&request)?;
        let id = parse::user("name", &request.into_inner().name).or_status()?;
        let seen = self.0.get_user(&caller, id).await.or_status()?;
        let told = if seen.by_admin { user_in_full(&seen.user) } else { user(&seen.user) };
        let memberships = seen.members.iter().map(membership).collect();
        Ok(Response::new(pb::GetUserResponse { user: Some(told), memberships }))
    }

    async fn list_users(
        &self,
        request: Request<pb::ListUsersRequest>,
    ) -> Result<Response<pb::ListUsersResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let size = parse_page_size(request.page_size).or_status()?;
        let filter = parse::user_filter(&request).or_status()?;
        let state = request.state.to_string();
        let query = ["ListUsers", &state, &request.query];
        let after = parse_page_token(&request.page_token, &query).or_status()?.unwrap_or_default();
        let mut users = self.0.list_users(&caller, filter, after, size + 1).await.or_status()?;
        let next_page_token = cut(&mut users, size, &query, |u| u.id.as_str());
        let users = users.iter().map(user_in_full).collect();
        Ok(Response::new(pb::ListUsersResponse { users, next_page_token }))
    }

    async fn suspend_user(
        &self,
        request: Request<pb::SuspendUserRequest>,
    ) -> Result<Response<pb::SuspendUserResponse>, Status> {
        let (caller, request, how) = begin(request, self.0.now_ms())?;
        let id = parse::user("name", &request.name).or_status()?;
        let change = UserChange { suspended: Some(true), ..UserChange::default() };
        let version = parse::version(&request.etag);
        let changed = self.0.update_user(&caller, id, change, version, how).await.or_status()?;
        Ok(Response::new(pb::SuspendUserResponse { user: Some(user_in_full(&changed)) }))
    }

    async fn reinstate_user(
        &self,
        request: Request<pb::ReinstateUserRequest>,
    ) -> Result<Response<pb::ReinstateUserResponse>, Status> {
        let (caller, request, how) = begin(request, self.0.now_ms())?;
        let id = parse::user("name", &request.name).or_status()?;
        let change = UserChange { suspended: Some(false), ..UserChange::default() };
        let version = parse::version(&request.etag);
        let changed = self.0.update_user(&caller, id, change, version, how).await.or_status()?;
        Ok(Response::new(pb::ReinstateUserResponse { user: Some(user_in_full(&changed)) }))
    }

    async fn reset_password(
        &self,
        request: Request<pb::ResetPasswordRequest>,
    ) -> Result<Response<pb::ResetPasswordResponse>, Status> {
        let (caller, request, how) = begin(request, self.0.now_ms())?;
        let (id, password) = parse::reset_password(request).or_status()?;
        self.0.reset_password(&caller, id, password, how).await.or_status()?;
        Ok(Response::new(pb::ResetPasswordResponse {}))
    }

    async fn delete_user(
        &self,
        request: Request<pb::DeleteUserRequest>,
    ) -> Result<Response<pb::DeleteUserResponse>, Status> {
        let (caller, request, how) = begin(request, self.0.now_ms())?;
        let id = parse::user("name", &request.name).or_status()?;
        self.0.delete_user(&caller, id, parse::version(&request.etag), how).await.or_status()?;
        Ok(Response::new(pb::DeleteUserResponse {}))
    }

    async fn create_account(
        &self,
        request: Request<pb::CreateAccountRequest>,
    ) -> Result<Response<pb::CreateAccountResponse>, Status> {
        let (caller, request, how) = begin(request, self.0.now_ms())?;
        let draft = parse::create_account(request).or_status()?;
        let made = self.0.create_account(&caller, draft, how).await.or_status()?;
        Ok(Response::new(pb::CreateAccountResponse { account: Some(account(&made)) }))
    }

    async fn get_account(
        &self,
        request: Request<pb::GetAccountRequest>,
    ) -> Result<Response<pb::GetAccountResponse>, Status> {
        let caller = caller(&request)?;
        let id = parse::account("name", &request.into_inner().name).or_status()?;
        let found = self.0.get_account(&caller, id).await.or_status()?;
        Ok(Response::new(pb::GetAccountResponse { account: Some(account(&found)) }))
    }

    async fn list_accounts(
        &self,
        request: Request<pb::ListAccountsRequest>,
    ) -> Result<Response<pb::ListAccountsResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let size = parse_page_size(request.page_size).or_status()?;
        let parent = match request.parent.as_str() {
            "" => None,
            name => Some(parse::account("parent", name).or_status()?),
        };
        let query = ["ListAccounts", &request.parent];
        let after = parse_page_token(&request.page_token, &query).or_status()?.unwrap_or_default();
        let mut accounts = self.0.list_accounts(&caller, parent, after, size + 1).await.or_status()?;
        let next_page_token = cut(&mut accounts, size, &query, |a| a.id.as_str());
        let accounts = accounts.iter().map(account).collect();
        Ok(Response::new(pb::ListAccountsResponse { accounts, next_page_token }))
    }

    async fn update_account(
        &self,
        request: Request<pb::UpdateAccountRequest>,
    ) -> Result<Response<pb::UpdateAccountResponse>, Status> {
        let (caller, request, how) = begin(request, self.0.now_ms())?;
        let (id, change, version) = parse::update_account(request).or_status()?;
        let changed = self.0.update_account(&caller, id, change, version, how).await.or_status()?;
        Ok(Response::new(pb::UpdateAccountResponse { account: Some(account(&changed)) }))
    }

    async fn delete_account(
        &self,
        request: Request<pb::DeleteAccountRequest>,
    ) -> Result<Response<pb::DeleteAccountResponse>, Status> {
        let (caller, request, how) = begin(request, self.0.now_ms())?;
        let id = parse::account("name", &request.name).or_status()?;
        let version = parse::version(&request.etag);
        self.0.delete_account(&caller, id, version, request.force, how).await.or_status()?;
        Ok(Response::new(pb::DeleteAccountResponse {}))
    }

    async fn list_members(
        &self,
        request: Request<pb::ListMembersRequest>,
    ) -> Result<Response<pb::ListMembersResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let size = parse_page_size(request.page_size).or_status()?;
        let id = parse::account("parent", &request.parent).or_status()?;
        let query = ["ListMembers", &request.parent];
        let after = parse_page_token(&request.page_token, &query).or_status()?.unwrap_or_default();
        let mut members = self.0.list_members(&caller, id, after, size + 1).await.or_status()?;
        let next_page_token = cut(&mut members, size, &query, |m| m.member.user.as_str());
        let members = members.into_iter().map(member).collect();
        Ok(Response::new(pb::ListMembersResponse { members, next_page_token }))
    }

    async fn remove_member(
        &self,
        request: Request<pb::RemoveMemberRequest>,
    ) -> Result<Response<pb::RemoveMemberResponse>, Status> {
        let (caller, request, how) = begin(request, self.0.now_ms())?;
        let (account, user) = parse::remove_member(&request).or_status()?;
        self.0.remove_member(&caller, account, user, how).await.or_status()?;
        Ok(Response::new(pb::RemoveMemberResponse {}))
    }

    async fn add_member(
        &self,
        request: Request<pb::AddMemberRequest>,
    ) -> Result<Response<pb::AddMemberResponse>, Status> {
        let (caller, request, how) = begin(request, self.0.now_ms())?;
        let member = parse::add_member(request).or_status()?;
        let added = self.0.add_member(&caller, member, how).await.or_status()?;
        Ok(Response::new(pb::AddMemberResponse { membership: Some(membership(&added)) }))
    }
}

fn member(m: Listed) -> pb::Member {
    pb::Member {
        membership: Some(membership(&m.member)),
        display_name: m.display_name,
        state: state(m.suspended).into(),
    }
}

/// Cuts the rows, one more than asked for if there is more, to a page; the token of the next one.
fn cut<T>(rows: &mut Vec<T>, size: usize, query: &[&str], key: impl Fn(&T) -> &str) -> String {
    let more = rows.len() > size;
    rows.truncate(size);
    rows.last().filter(|_| more).map(|last| page_token(query, key(last))).unwrap_or_default()
}
