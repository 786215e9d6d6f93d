//! Requests → domain types. What is wrong is said by the path of its field, all at once.

use crater_api::user::v1 as pb;
use crater_domain::{AccountId, Error, FieldViolation, IdError, RequestId, Result, UserId};
use crater_store::Once;
use crater_store::idempotency::Request;
use crater_store::user::{Member, UserChange};
use prost::Message;

use crate::people::{AccountDraft, UserDraft};

/// The longest name to show, in characters.
const DISPLAY_NAME: usize = 120;
/// Passwords, in characters.
const PASSWORD: std::ops::RangeInclusive<usize> = 8..=256;

/// Collects what is wrong.
#[derive(Default)]
struct Violations(Vec<FieldViolation>);

impl Violations {
    fn add(&mut self, field: impl Into<String>, description: impl ToString) {
        self.0.push(FieldViolation { field: field.into(), description: description.to_string() });
    }

    fn take<T>(&mut self, field: impl Into<String>, parsed: Result<T, IdError>) -> Option<T> {
        parsed.map_err(|e| self.add(field, e)).ok()
    }

    fn display_name(&mut self, field: &str, text: &str) {
        if text.chars().count() > DISPLAY_NAME {
            self.add(field, format!("must have at most {DISPLAY_NAME} characters"));
        } else if text.chars().any(char::is_control) {
            self.add(field, "must not have control characters");
        }
    }

    fn none(self) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(Error::fields(self.0)) }
    }

    /// The value, which is there unless something is wrong.
    fn or<T>(self, value: Option<T>) -> Result<T> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => Err(Error::fields(self.0)),
        }
    }
}

/// How the mutation `method` is to be done. `body` is the request without its secrets; that it names itself or is a check only does not
/// make it another body.
pub fn once(
    principal: &UserId,
    method: &'static str,
    request_id: &str,
    validate_only: bool,
    body: &impl Message,
    now_ms: i64,
) -> Result<Once> {
    let id = RequestId::parse_optional(request_id)?;
    let request = id.map(|id| Request::new(principal.resource_name(), method, id, &body.encode_to_vec()));
    Ok(Once { request, validate_only, now_ms })
}

pub fn login(r: pb::LoginRequest) -> Result<(UserId, String)> {
    let mut wrong = Violations::default();
    let user = wrong.take("user_id", r.user_id.parse());
    if r.password.is_empty() {
        wrong.add("password", "must not be empty");
    } else if r.password.chars().count() > *PASSWORD.end() {
        wrong.add("password", format!("must have at most {} characters", PASSWORD.end()));
    }
    Ok((wrong.or(user)?, r.password))
}

pub fn create_user(r: pb::CreateUserRequest) -> Result<UserDraft> {
    let mut wrong = Violations::default();
    let id = wrong.take("user_id", r.user_id.parse());
    let user = r.user.unwrap_or_default();
    wrong.display_name("user.display_name", &user.display_name);
    if !PASSWORD.contains(&r.password.chars().count()) {
        wrong.add("password", format!("must have {} to {} characters", PASSWORD.start(), PASSWORD.end()));
    }
    let mut accounts = Vec::new();
    for (i, name) in r.accounts.iter().enumerate() {
        accounts.extend(wrong.take(format!("accounts[{i}]"), AccountId::parse_name(name)));
    }
    let id: UserId = wrong.or(id)?;
    let display_name = if user.display_name.is_empty() { id.to_string() } else { user.display_name };
    Ok(UserDraft { id, display_name, platform_admin: user.platform_admin, password: r.password, accounts })
}

/// Whose change, what changes, and the version that it must still have.
pub fn update_user(r: pb::UpdateUserRequest) -> Result<(UserId, UserChange, Option<i64>)> {
    const PATHS: &str = "must name display_name, state or platform_admin";
    let mut wrong = Violations::default();
    let user = r.user.unwrap_or_default();
    let id = wrong.take("user.name", UserId::parse_name(&user.name));
    let mut change = UserChange::default();
    let paths = r.update_mask.unwrap_or_default().paths;
    if paths.is_empty() {
        wrong.add("update_mask", PATHS);
    }
    for path in paths {
        match path.as_str() {
            "display_name" => {
                wrong.display_name("user.display_name", &user.display_name);
                change.display_name = Some(user.display_name.clone());
            }
            "state" => match user.state() {
                pb::UserState::Active => change.suspended = Some(false),
                pb::UserState::Suspended => change.suspended = Some(true),
                pb::UserState::Unspecified => wrong.add("user.state", "must be ACTIVE or SUSPENDED"),
            },
            "platform_admin" => change.platform_admin = Some(user.platform_admin),
            other => wrong.add("update_mask", format!("{PATHS}, not {other:?}")),
        }
    }
    Ok((wrong.or(id)?, change, version(&user.etag)))
}

pub fn create_account(r: pb::CreateAccountRequest) -> Result<AccountDraft> {
    let mut wrong = Violations::default();
    let id = wrong.take("account_id", r.account_id.parse());
    let account = r.account.unwrap_or_default();
    wrong.display_name("account.display_name", &account.display_name);
    let parent = match account.parent.as_str() {
        "" => None,
        name => wrong.take("account.parent", AccountId::parse_name(name)),
    };
    let id: AccountId = wrong.or(id)?;
    let display_name = if account.display_name.is_empty() { id.to_string() } else { account.display_name };
    Ok(AccountDraft { id, display_name, parent })
}

pub fn add_member(r: pb::AddMemberRequest) -> Result<Member> {
    let mut wrong = Violations::default();
    let membership = r.membership.unwrap_or_default();
    let account = wrong.take("membership.account", AccountId::parse_name(&membership.account));
    let user = wrong.take("membership.user", UserId::parse_name(&membership.user));
    let manager = match membership.role() {
        pb::MemberRole::Member => false,
        pb::MemberRole::Manager => true,
        pb::MemberRole::Unspecified => {
            wrong.add("membership.role", "must be MEMBER or MANAGER");
            false
        }
    };
    match (account, user) {
        (Some(account), Some(user)) => wrong.none().map(|()| Member { account, user, manager }),
        _ => Err(Error::fields(wrong.0)),
    }
}

/// A version as an etag.
pub fn etag(version: i64) -> String {
    format!("v{version}")
}

/// An etag as a version; one that was never given out is none that a row has.
fn version(etag: &str) -> Option<i64> {
    match etag {
        "" => None,
        _ => Some(etag.strip_prefix('v').and_then(|v| v.parse().ok()).unwrap_or(-1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(error: &Error) -> Vec<&str> {
        error.violations.iter().map(|v| v.field.as_str()).collect()
    }

    #[test]
    fn everything_that_is_wrong_is_named_at_once() {
        let bad = pb::CreateUserRequest {
            user_id: "Ann".into(),
            password: "short".into(),
            accounts: vec!["accounts/lab".into(), "lab".into()],
            user: Some(pb::User { display_name: "a\nb".into(), ..Default::default() }),
            ..Default::default()
        };
        let error = create_user(bad).map(|_| ()).unwrap_err();
        assert_eq!(fields(&error), ["user_id", "user.display_name", "password", "accounts[1]"]);
        let error = add_member(pb::AddMemberRequest::default()).unwrap_err();
        assert_eq!(fields(&error), ["membership.account", "membership.user", "membership.role"]);
    }

    #[test]
    fn only_what_the_mask_names_changes() {
        let user = pb::User { name: "users/ann".into(), display_name: "Ann".into(), ..Default::default() };
        let request = |paths: &[&str]| pb::UpdateUserRequest {
            user: Some(user.clone()),
            update_mask: Some(prost_types::FieldMask {
                paths: paths.iter().map(ToString::to_string).collect(),
            }),
            ..Default::default()
        };
        let (_, change, version) = update_user(request(&["platform_admin"])).unwrap();
        assert_eq!((change.display_name, change.suspended, change.platform_admin), (None, None, Some(false)));
        assert_eq!(version, None);
        assert_eq!(fields(&update_user(request(&[])).unwrap_err()), ["update_mask"]);
        assert_eq!(fields(&update_user(request(&["epoch"])).unwrap_err()), ["update_mask"]);
        assert_eq!(fields(&update_user(request(&["state"])).unwrap_err()), ["user.state"]);
    }

    #[test]
    fn an_etag_reads_back_and_a_foreign_one_is_stale() {
        assert_eq!(version(&etag(7)), Some(7));
        assert_eq!(version("\"7\""), Some(-1));
        assert_eq!(version(""), None);
    }
}
