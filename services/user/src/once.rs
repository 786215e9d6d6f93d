//! Mutations: each is said by a request that may name itself, so that the same one twice acts once.

use crater_api::status::OrStatus;
use crater_api::user::v1 as pb;
use crater_domain::RequestId;
use crater_store::Once;
use crater_store::idempotency;
use prost::Message;
use tonic::{Request, Status};

use crate::app::Caller;

/// A request that changes something.
pub trait Mutation: Message + Clone {
    /// The method's name.
    const METHOD: &'static str;
    /// A UUID of the client's choice, or empty.
    fn request_id(&self) -> &str;
    /// Whether nothing is to be written.
    fn validate_only(&self) -> bool;
    /// The request without its secrets, whose plain hash would be stored. That it is a check only does not make it another body.
    fn body(&self) -> Self;
}

macro_rules! mutation {
    ($method:literal, $request:ident $(, $secret:ident)?) => {
        impl Mutation for pb::$request {
            const METHOD: &'static str = $method;
            fn request_id(&self) -> &str {
                &self.request_id
            }
            fn validate_only(&self) -> bool {
                self.validate_only
            }
            fn body(&self) -> Self {
                Self { validate_only: false, $($secret: String::new(),)? ..self.clone() }
            }
        }
    };
}

mutation!("CreateUser", CreateUserRequest, password);
mutation!("UpdateUser", UpdateUserRequest);
mutation!("SuspendUser", SuspendUserRequest);
mutation!("ReinstateUser", ReinstateUserRequest);
mutation!("ResetPassword", ResetPasswordRequest, new_password);
mutation!("DeleteUser", DeleteUserRequest);
mutation!("CreateAccount", CreateAccountRequest);
mutation!("UpdateAccount", UpdateAccountRequest);
mutation!("DeleteAccount", DeleteAccountRequest);
mutation!("AddMember", AddMemberRequest);
mutation!("RemoveMember", RemoveMemberRequest);

impl Mutation for pb::ChangePasswordRequest {
    const METHOD: &'static str = "ChangePassword";
    fn request_id(&self) -> &str {
        &self.request_id
    }
    fn validate_only(&self) -> bool {
        false
    }
    fn body(&self) -> Self {
        Self { request_id: self.request_id.clone(), ..Self::default() }
    }
}

/// Who asks, what for, and how it is to be done.
pub fn begin<T: Mutation>(request: Request<T>, now_ms: i64) -> Result<(Caller, T, Once), Status> {
    let caller = Caller::of(&crater_auth::Caller::of(&request)?).or_status()?;
    let request = request.into_inner();
    let id = RequestId::parse_optional(request.request_id()).or_status()?;
    let principal = caller.user.resource_name();
    let body = request.body().encode_to_vec();
    let named = id.map(|id| idempotency::Request::new(principal, T::METHOD, id, &body));
    let how = Once { request: named, validate_only: request.validate_only(), now_ms };
    Ok((caller, request, how))
}
