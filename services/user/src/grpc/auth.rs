//! `AuthService`.

use crater_api::convert::timestamp;
use crater_api::status::OrStatus;
use crater_api::user::v1 as pb;
use crater_api::user::v1::auth_service_server::AuthService;
use crater_domain::AccountId;
use crater_store::user::SigningKey;
use tonic::{Request, Response, Status};

use super::{Grpc, caller, membership, user};
use crate::once::begin;
use crate::parse;
use crate::sessions::Tokens;

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
        let me = self.0.who_am_i(&caller(&request)?).await.or_status()?;
        Ok(Response::new(pb::WhoAmIResponse {
            user: Some(user(&me.user)),
            memberships: me.members.iter().map(membership).collect(),
            acting_account: me.acting.as_ref().map(AccountId::resource_name).unwrap_or_default(),
        }))
    }

    async fn change_password(
        &self,
        request: Request<pb::ChangePasswordRequest>,
    ) -> Result<Response<pb::ChangePasswordResponse>, Status> {
        let (caller, request, how) = begin(request, self.0.now_ms())?;
        let (current, new) = parse::change_password(request).or_status()?;
        self.0.change_password(&caller, current, new, how).await.or_status()?;
        Ok(Response::new(pb::ChangePasswordResponse {}))
    }

    async fn switch_account(
        &self,
        request: Request<pb::SwitchAccountRequest>,
    ) -> Result<Response<pb::SwitchAccountResponse>, Status> {
        let caller = caller(&request)?;
        let account = parse::account("account", &request.into_inner().account).or_status()?;
        let acting = self.0.switch_account(&caller, account).await.or_status()?;
        Ok(Response::new(pb::SwitchAccountResponse { acting_account: acting.resource_name() }))
    }

    async fn list_signing_keys(
        &self,
        _: Request<pb::ListSigningKeysRequest>,
    ) -> Result<Response<pb::ListSigningKeysResponse>, Status> {
        let all = self.0.keys.all();
        let key = |k: &SigningKey| pb::SigningKey {
            key_id: k.id.clone(),
            algorithm: "EdDSA".to_owned(),
            public_key: k.public_key.clone(),
        };
        Ok(Response::new(pb::ListSigningKeysResponse { keys: all.iter().map(key).collect() }))
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
