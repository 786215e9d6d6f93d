//! What is in use, asked of the scheduling service.

use std::time::Duration;

use crater_api::scheduling::v1::scheduling_service_client::SchedulingServiceClient;
use crater_api::scheduling::v1::{BatchGetUsageRequest, GetUsageRequest, GetUsageResponse};
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

    /// What each of the subjects (1,000 at most) holds, in one call; none when the scheduling service does not say.
    pub async fn get(&self, subjects: &[QuotaSubject]) -> Option<Vec<Vec<Usage>>> {
        let mut client = self.client.clone()?;
        if subjects.is_empty() {
            return Some(Vec::new());
        }
        let requests = subjects.iter().map(|subject| GetUsageRequest {
            account: AccountId::resource_name(&subject.account),
            user: subject.user.as_ref().map(UserId::resource_name).unwrap_or_default(),
        });
        let request = BatchGetUsageRequest { requests: requests.collect() };
        let answer = match tokio::time::timeout(PATIENCE, client.batch_get_usage(request)).await {
            Ok(Ok(answer)) => answer.into_inner(),
            Ok(Err(status)) => {
                tracing::debug!(code = ?status.code(), why = status.message(), "usage is not known");
                return None;
            }
            Err(_) => {
                tracing::debug!("usage is not known: no answer in time");
                return None;
            }
        };
        let each: Vec<Vec<Usage>> = answer.responses.into_iter().map(read).collect();
        (each.len() == subjects.len()).then_some(each)
    }
}

fn read(answer: GetUsageResponse) -> Vec<Usage> {
    let usage = |u: crater_api::scheduling::v1::Usage| Usage {
        resource: u.resource,
        guaranteed: u.guaranteed,
        best_effort: u.best_effort,
    };
    answer.usage.into_iter().map(usage).collect()
}
