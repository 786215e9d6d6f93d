//! Requests → domain types. What is wrong is said by the path of its field, all at once.

use crater_api::user::v1 as pb;
use crater_domain::{AccountId, Error, FieldViolation, IdError, Result, UserId};
use crater_store::user::{AccountChange, Member, UserChange, UserFilter};

use crate::accounts::AccountDraft;
use crate::people::UserDraft;

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

    fn new_password(&mut self, field: &str, text: &str) {
        if !PASSWORD.contains(&text.chars().count()) {
            self.add(field, format!("must have {} to {} characters", PASSWORD.start(), PASSWORD.end()));
        }
    }

    fn password(&mut self, field: &str, text: &str) {
        if text.is_empty() {
            self.add(field, "must not be empty");
        } else if text.chars().count() > *PASSWORD.end() {
            self.add(field, format!("must have at most {} characters", PASSWORD.end()));
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

/// Reads "users/{user}" in `field`.
pub fn user(field: &str, name: &str) -> Result<UserId> {
    UserId::parse_name(name).map_err(|e| Error::field(field, e.to_string()))
}

/// Reads "accounts/{account}" in `field`.
pub fn account(field: &str, name: &str) -> Result<AccountId> {
    AccountId::parse_name(name).map_err(|e| Error::field(field, e.to_string()))
}

pub fn login(r: pb::LoginRequest) -> Result<(UserId, String)> {
    let mut wrong = Violations::default();
    let user = wrong.take("user_id", r.user_id.parse());
    wrong.password("password", &r.password);
    Ok((wrong.or(user)?, r.password))
}

/// The password as it is, and as it is to be.
pub fn change_password(r: pb::ChangePasswordRequest) -> Result<(String, String)> {
    let mut wrong = Violations::default();
    wrong.password("current_password", &r.current_password);
    wrong.new_password("new_password", &r.new_password);
    if r.new_password == r.current_password {
        wrong.add("new_password", "must be another one than the present password");
    }
    wrong.none()?;
    Ok((r.current_password, r.new_password))
}

/// Whose password, and what it is to be.
pub fn reset_password(r: pb::ResetPasswordRequest) -> Result<(UserId, String)> {
    let mut wrong = Violations::default();
    let id = wrong.take("name", UserId::parse_name(&r.name));
    wrong.new_password("new_password", &r.new_password);
    Ok((wrong.or(id)?, r.new_password))
}

pub fn user_filter(r: &pb::ListUsersRequest) -> Result<UserFilter> {
    let mut wrong = Violations::default();
    if r.query.chars().count() > DISPLAY_NAME {
        wrong.add("query", format!("must have at most {DISPLAY_NAME} characters"));
    }
    let suspended = match pb::UserState::try_from(r.state) {
        Ok(pb::UserState::Unspecified) => None,
        Ok(pb::UserState::Active) => Some(false),
        Ok(pb::UserState::Suspended) => Some(true),
        Err(_) => {
            wrong.add("state", "must be ACTIVE or SUSPENDED, or not set");
            None
        }
    };
    wrong.none()?;
    Ok(UserFilter { suspended, query: r.query.clone() })
}

pub fn create_user(r: pb::CreateUserRequest) -> Result<UserDraft> {
    let mut wrong = Violations::default();
    let id = wrong.take("user_id", r.user_id.parse());
    let user = r.user.unwrap_or_default();
    wrong.display_name("user.display_name", &user.display_name);
    wrong.new_password("password", &r.password);
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

/// Which account, what changes, and the version that it must still have.
pub fn update_account(r: pb::UpdateAccountRequest) -> Result<(AccountId, AccountChange, Option<i64>)> {
    const PATHS: &str = "must name display_name or parent";
    let mut wrong = Violations::default();
    let account = r.account.unwrap_or_default();
    let id = wrong.take("account.name", AccountId::parse_name(&account.name));
    let mut change = AccountChange::default();
    let paths = r.update_mask.unwrap_or_default().paths;
    if paths.is_empty() {
        wrong.add("update_mask", PATHS);
    }
    for path in paths {
        match (path.as_str(), account.parent.as_str()) {
            ("display_name", _) => {
                wrong.display_name("account.display_name", &account.display_name);
                change.display_name = Some(account.display_name.clone());
            }
            ("parent", "") => change.parent = Some(None),
            ("parent", name) => {
                change.parent = wrong.take("account.parent", AccountId::parse_name(name)).map(Some);
            }
            (other, _) => wrong.add("update_mask", format!("{PATHS}, not {other:?}")),
        }
    }
    Ok((wrong.or(id)?, change, version(&account.etag)))
}

/// Out of which account, and who.
pub fn remove_member(r: &pb::RemoveMemberRequest) -> Result<(AccountId, UserId)> {
    let mut wrong = Violations::default();
    let account = wrong.take("account", AccountId::parse_name(&r.account));
    let user = wrong.take("user", UserId::parse_name(&r.user));
    wrong.or(account.zip(user))
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
pub fn version(etag: &str) -> Option<i64> {
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
