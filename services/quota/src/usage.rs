//! What is in use, asked of the scheduling service.

use std::time::Duration;

use crater_api::scheduling::v1::GetUsageRequest;
use crater_api::scheduling::v1::scheduling_service_client::SchedulingServiceClient;
use crater_auth::Authenticated;
use crater_domain::{AccountId, QuotaSubject, UserId};
use crater_service::Channel;

/// Usage is a courtesy beside the limits: the answer does not wait longer for it.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is held of one resource, in the units of its limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// The resource.
    pub resource: String,
    /// Held by guaranteed jobs.
    pub guaranteed: i64,
    /// Held by best-effort jobs.
    pub best_effort: i64,
}

/// Where usage is asked.
#[derive(Clone)]
pub struct UsageOf {
    client: Option<SchedulingServiceClient<Authenticated<Channel>>>,
}

impl UsageOf {
    /// Without a channel, usage is never known.
    pub fn new(channel: Option<Authenticated<Channel>>) -> Self {
        Self { client: channel.map(SchedulingServiceClient::new) }
    }

    /// What the subject holds; none when the scheduling service does not say.
    pub async fn get(&self, subject: &QuotaSubject) -> Option<Vec<Usage>> {
        let mut client = self.client.clone()?;
        let request = GetUsageRequest {
            account: AccountId::resource_name(&subject.account),
            user: subject.user.as_ref().map(UserId::resource_name).unwrap_or_default(),
        };
        let answer = match tokio::time::timeout(PATIENCE, client.get_usage(request)).await {
            Ok(Ok(answer)) => answer.into_inner(),
            Ok(Err(status)) => {
                tracing::debug!(%subject, code = ?status.code(), why = status.message(), "usage is not known");
                return None;
            }
            Err(_) => {
                tracing::debug!(%subject, "usage is not known: no answer in time");
                return None;
            }
        };
        let usage = |u: crater_api::scheduling::v1::Usage| Usage {
            resource: u.resource,
            guaranteed: u.guaranteed,
            best_effort: u.best_effort,
        };
        Some(answer.usage.into_iter().map(usage).collect())
    }
}
