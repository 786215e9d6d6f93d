//! The names of all transactions, for logs and measurements.

/// A transaction's name: a closed set, so that a label cannot grow without bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Tx {
    // user
    Bootstrap,
    CreateUser,
    UpdateUser,
    CreateAccount,
    AddMember,
    Login,
    Refresh,
    Logout,
    RotateKeys,
    ReadUser,
    ReadIdentities,
    // quota
    GetQuota,
    UpdateQuota,
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
    KeepLogs,
    ReadLogs,
    ShrinkLogs,
    ListUsage,
}

impl Tx {
    /// The name in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bootstrap => "bootstrap",
            Self::CreateUser => "create_user",
            Self::UpdateUser => "update_user",
            Self::CreateAccount => "create_account",
            Self::AddMember => "add_member",
            Self::Login => "login",
            Self::Refresh => "refresh",
            Self::Logout => "logout",
            Self::RotateKeys => "rotate_keys",
            Self::ReadUser => "read_user",
            Self::ReadIdentities => "read_identities",
            Self::GetQuota => "get_quota",
            Self::UpdateQuota => "update_quota",
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
            Self::KeepLogs => "keep_logs",
            Self::ReadLogs => "read_logs",
            Self::ShrinkLogs => "shrink_logs",
            Self::ListUsage => "list_usage",
        }
    }
}
