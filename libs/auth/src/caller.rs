//! Who calls, as a handler sees them.

use crater_domain::{AccountId, Error, UserId};
use http::HeaderValue;
use tonic::Status;

use crate::Directory;

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    User { user: UserId, session: String, platform_admin: bool },
    Service { name: String },
}

/// What a user may do in an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    Member,
    Manager,
}

/// Who calls and what they may do; the auth layer puts it into each request that needs a sign-in.
#[derive(Clone)]
pub struct Caller {
    pub(crate) principal: Principal,
    pub(crate) directory: Directory,
    /// The user's own `authorization`, to be forwarded.
    pub(crate) authorization: Option<HeaderValue>,
}

impl Caller {
    /// The caller of a request that passed the auth layer.
    pub fn of<T>(request: &tonic::Request<T>) -> Result<Self, Status> {
        let caller = request.extensions().get::<Self>().cloned();
        // Only a method without a sign-in, or a server without the layer, gets here without a caller.
        caller.ok_or_else(|| crater_api::status::to_status(crate::Error::TokenMissing.into()))
    }

    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// The user, unless a service calls for itself.
    pub fn user(&self) -> Option<&UserId> {
        match &self.principal {
            Principal::User { user, .. } => Some(user),
            Principal::Service { .. } => None,
        }
    }

    /// The user, where a service cannot stand in for one.
    pub fn require_user(&self) -> Result<&UserId, Error> {
        self.user().ok_or_else(|| {
            crate::Error::TokenWrongKind { found: "service".to_owned(), wanted: "access" }.into()
        })
    }

    /// The session of the user's token.
    pub fn session(&self) -> Option<&str> {
        match &self.principal {
            Principal::User { session, .. } => Some(session),
            Principal::Service { .. } => None,
        }
    }

    /// A platform admin, or a service.
    pub fn is_platform_admin(&self) -> bool {
        match &self.principal {
            Principal::User { platform_admin, .. } => *platform_admin,
            Principal::Service { .. } => true,
        }
    }

    /// As [`Caller::is_platform_admin`], by what is known at this moment: a stream may outlive the office.
    pub fn is_platform_admin_still(&self) -> bool {
        match &self.principal {
            Principal::User { user, platform_admin, .. } => {
                *platform_admin && self.directory.is_platform_admin(user)
            }
            Principal::Service { .. } => true,
        }
    }

    /// Whether the caller has at least `role` in the account. Platform admins and services have every role.
    pub fn may(&self, account: &AccountId, role: Role) -> bool {
        match &self.principal {
            _ if self.is_platform_admin() => true,
            Principal::User { user, .. } => {
                self.directory.role(user, account).is_some_and(|held| held >= role)
            }
            Principal::Service { .. } => true,
        }
    }

    /// Refuses a caller without the role. To somebody who is no member the account is as absent; a member who is no
    /// manager is told so.
    pub fn require(&self, account: &AccountId, role: Role) -> Result<(), Error> {
        self.require_object("account", account.resource_name(), account, role)
    }

    /// As [`Caller::require`] for an object inside the account: to somebody who is no member, `kind` `name` is not
    /// there, in the words that an absent one gets.
    pub fn require_object(
        &self,
        kind: &str,
        name: impl std::fmt::Display,
        account: &AccountId,
        role: Role,
    ) -> Result<(), Error> {
        if self.may(account, role) {
            return Ok(());
        }
        if self.may(account, Role::Member) {
            let message = format!("only a manager of {} may do this", account.resource_name());
            return Err(Error::new(crater_domain::Code::PermissionDenied, "NOT_ACCOUNT_MANAGER", message));
        }
        Err(Error::not_found(kind, name))
    }

    /// Whether there is such an account at all: platform admins and services have every role in accounts that are not there, too.
    /// Waits a little for one that may be newer than what was heard.
    pub async fn account_exists(&self, account: &AccountId) -> bool {
        self.directory.has_account(account).await
    }

    /// Whether there is such a user. Waits as [`Caller::account_exists`] does.
    pub async fn user_exists(&self, user: &UserId) -> bool {
        self.directory.has_user(user).await
    }

    /// The accounts that the user is in, by id. A platform admin who is in none may still see all: ask
    /// [`Caller::is_platform_admin`].
    pub fn accounts(&self) -> Vec<AccountId> {
        self.user().map(|user| self.directory.accounts(user)).unwrap_or_default()
    }

    /// Makes a request to another service in the user's own name.
    pub fn forward<T>(&self, request: &mut tonic::Request<T>) {
        let authorization = self.authorization.as_ref().and_then(|value| value.to_str().ok()?.parse().ok());
        if let Some(authorization) = authorization {
            request.metadata_mut().insert("authorization", authorization);
        }
    }
}

impl std::fmt::Debug for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The token stays out of logs.
        f.debug_tuple("Caller").field(&self.principal).finish()
    }
}
