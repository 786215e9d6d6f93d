//! The limits as the quota service last streamed them. They outlive the stream: what was heard last stays in force. Before anything was heard,
//! nothing is refused: the scheduler says what binds.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crater_api::convert::parse_limits;
use crater_api::quota::v1::quota_service_client::QuotaServiceClient;
use crater_api::quota::v1::watch_quotas_response::Event;
use crater_api::quota::v1::{Quota, WatchQuotasRequest};
use crater_auth::Authenticated;
use crater_domain::{
    AccountId, Code, Error, FieldViolation, JobSpec, Limits, QuotaSubject, ResourceKind, Result, Role,
    ServiceClass, UserId, format_bytes, format_millis,
};
use crater_service::{Channel, Condition};
use tonic::Status;

/// The sender gives a sign of life more often; after this silence it is dialled anew.
const SILENCE: Duration = Duration::from_secs(10);

type All = HashMap<QuotaSubject, Limits>;

/// The limits as last heard. Clones share them.
#[derive(Clone, Default)]
pub struct LimitsHeard {
    now: Arc<RwLock<All>>,
}

impl LimitsHeard {
    /// The limit of an account, or of a user in it, on a resource; none where there is none or nothing was heard.
    pub fn limit(&self, account: &AccountId, user: Option<&UserId>, kind: &ResourceKind) -> Option<i64> {
        let subject = QuotaSubject { account: account.clone(), user: user.cloned() };
        let now = self.now.read().unwrap_or_else(PoisonError::into_inner);
        now.get(&subject)?.get(kind)?.limit
    }

    fn replace(&self, all: All) {
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = all;
    }

    fn put(&self, subject: QuotaSubject, limits: Limits) {
        self.now.write().unwrap_or_else(PoisonError::into_inner).insert(subject, limits);
    }
}

/// Follows the quota service's stream.
pub async fn follow(
    channel: Authenticated<Channel>,
    limits: LimitsHeard,
    heard: Condition,
) -> Result<(), String> {
    let told =
        |status: Status| format!("the quota service answered {:?}: {}", status.code(), status.message());
    let mut client = QuotaServiceClient::new(channel);
    let mut stream = client.watch_quotas(WatchQuotasRequest {}).await.map_err(told)?.into_inner();
    let mut draft: Option<All> = None;
    loop {
        let message = tokio::time::timeout(SILENCE, stream.message()).await;
        let message = message.map_err(|_| format!("the quota service was silent for {SILENCE:?}"))?;
        let message = message.map_err(told)?.ok_or_else(|| "the stream of limits ended".to_owned())?;
        match message.event {
            Some(Event::SnapshotStart(_)) => draft = Some(All::new()),
            Some(Event::Quota(quota)) => match (read(&quota), &mut draft) {
                (Some((subject, rows)), Some(draft)) => {
                    draft.insert(subject, rows);
                }
                (Some((subject, rows)), None) => limits.put(subject, rows),
                (None, _) => {
                    tracing::warn!(name = quota.name, "the quota service sent a quota that cannot be read")
                }
            },
            Some(Event::Synced(_)) => {
                if let Some(whole) = draft.take() {
                    limits.replace(whole);
                }
                heard.ready();
            }
            Some(Event::Heartbeat(_)) | None => {}
        }
    }
}

fn read(quota: &Quota) -> Option<(QuotaSubject, Limits)> {
    Some((quota.name.parse().ok()?, parse_limits(&quota.resources, "quota.resources").ok()?))
}

/// Refuses a gang that no limit will ever let start: the account's, that of one above it, or the user's. Best-effort jobs are not held to
/// limits.
pub fn gang_within(
    limits: &LimitsHeard,
    lineage: &[AccountId],
    creator: &UserId,
    spec: &JobSpec,
) -> Result<()> {
    if spec.class == ServiceClass::BestEffort {
        return Ok(());
    }
    let mut kinds = vec![ResourceKind::Gpu, ResourceKind::Cpu, ResourceKind::Memory];
    for model in spec.roles.iter().filter_map(only_model) {
        kinds.push(ResourceKind::GpuModel(model.to_owned()));
    }
    kinds.dedup();
    let devices: BTreeSet<&String> = spec.roles.iter().flat_map(|role| role.devices.0.keys()).collect();
    kinds.extend(devices.into_iter().map(|name| ResourceKind::Device(name.clone())));
    let own = lineage.first().map(|account| (account, Some(creator)));
    let subjects = own.into_iter().chain(lineage.iter().map(|account| (account, None)));
    let mut refused: Option<Error> = None;
    for (account, user) in subjects {
        for kind in &kinds {
            let Some(limit) = limits.limit(account, user, kind) else { continue };
            let each: Vec<i64> = spec.roles.iter().map(|r| asks(r, kind)).collect();
            let gang = each.iter().fold(0i64, |sum, ask| sum.saturating_add(*ask));
            if gang <= limit {
                continue;
            }
            let subject = QuotaSubject { account: account.clone(), user: user.cloned() };
            let text = format!(
                "the job needs {} of {kind} to start, above the limit of {} ({subject})",
                amount(kind, gang),
                amount(kind, limit)
            );
            let most = each.iter().enumerate().max_by_key(|(_, ask)| **ask).map_or(0, |(i, _)| i);
            let error = refused.get_or_insert_with(|| {
                Error::new(Code::FailedPrecondition, "GANG_ABOVE_LIMIT", text.clone())
            });
            error.quota.push(crater_domain::QuotaViolation {
                subject: subject.to_string(),
                description: text.clone(),
            });
            error.violations.push(FieldViolation {
                field: format!("job.spec.roles[{most}].replicas"),
                description: text,
            });
        }
    }
    refused.map_or(Ok(()), Err)
}

/// The one model that a role can run on, if it names just one.
fn only_model(role: &Role) -> Option<&str> {
    match role.gpu_models.as_slice() {
        [model] => Some(model),
        _ => None,
    }
}

/// What the gang's part of a role asks for of a resource.
fn asks(role: &Role, kind: &ResourceKind) -> i64 {
    let each = match kind {
        ResourceKind::Cpu => role.resources.cpu_millis,
        ResourceKind::Memory => role.resources.memory_bytes,
        ResourceKind::Gpu => role.resources.gpu_millis,
        ResourceKind::GpuModel(model) if only_model(role) == Some(model) => role.resources.gpu_millis,
        ResourceKind::Device(name) => role.devices.of(name),
        ResourceKind::GpuModel(_) | ResourceKind::JobsWaiting | ResourceKind::JobsRunning => 0,
    };
    each.saturating_mul(i64::from(role.min_replicas))
}

fn amount(kind: &ResourceKind, value: i64) -> String {
    match kind {
        ResourceKind::Memory => format_bytes(value),
        ResourceKind::Device(_) | ResourceKind::JobsWaiting | ResourceKind::JobsRunning => value.to_string(),
        ResourceKind::Cpu | ResourceKind::Gpu | ResourceKind::GpuModel(_) => format_millis(value),
    }
}
