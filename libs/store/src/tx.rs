//! The names of all transactions, for logs and measurements.

/// A transaction's name: a closed set, so that a label cannot grow without bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Tx {
    // user
    Bootstrap,
    CreateUser,
    UpdateUser,
    DeleteUser,
    ResetPassword,
    CreateAccount,
    UpdateAccount,
    DeleteAccount,
    AddMember,
    RemoveMember,
    Login,
    Refresh,
    Logout,
    ChangePassword,
    SwitchAccount,
    RotateKeys,
    ReadUser,
    ListUsers,
    ReadAccount,
    ListAccounts,
    ListMembers,
    ReadIdentities,
    ReadRevocations,
    // quota
    GetQuota,
    UpdateQuota,
    ListQuotas,
    ReadQuotas,
    // job
    CreateJob,
    CancelJob,
    DeleteJob,
    ReadJob,
    ListJobs,
    ListEvents,
    ClaimOutbox,
    SettleOutbox,
    ObserveJob,
    PruneJobs,
}

impl Tx {
    /// The name in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bootstrap => "bootstrap",
            Self::CreateUser => "create_user",
            Self::UpdateUser => "update_user",
            Self::DeleteUser => "delete_user",
            Self::ResetPassword => "reset_password",
            Self::CreateAccount => "create_account",
            Self::UpdateAccount => "update_account",
            Self::DeleteAccount => "delete_account",
            Self::AddMember => "add_member",
            Self::RemoveMember => "remove_member",
            Self::Login => "login",
            Self::Refresh => "refresh",
            Self::Logout => "logout",
            Self::ChangePassword => "change_password",
            Self::SwitchAccount => "switch_account",
            Self::RotateKeys => "rotate_keys",
            Self::ReadUser => "read_user",
            Self::ListUsers => "list_users",
            Self::ReadAccount => "read_account",
            Self::ListAccounts => "list_accounts",
            Self::ListMembers => "list_members",
            Self::ReadIdentities => "read_identities",
            Self::ReadRevocations => "read_revocations",
            Self::GetQuota => "get_quota",
            Self::UpdateQuota => "update_quota",
            Self::ListQuotas => "list_quotas",
            Self::ReadQuotas => "read_quotas",
            Self::CreateJob => "create_job",
            Self::CancelJob => "cancel_job",
            Self::DeleteJob => "delete_job",
            Self::ReadJob => "read_job",
            Self::ListJobs => "list_jobs",
            Self::ListEvents => "list_events",
            Self::ClaimOutbox => "claim_outbox",
            Self::SettleOutbox => "settle_outbox",
            Self::ObserveJob => "observe_job",
            Self::PruneJobs => "prune_jobs",
        }
    }
}
