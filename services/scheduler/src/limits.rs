//! Limits and weights: streamed by the quota service, and kept in a ConfigMap, so that the scheduler can start without it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crater_api::convert::{limits as rows, parse_limits, parse_weight};
use crater_api::quota::v1 as pb;
use crater_api::quota::v1::quota_service_client::QuotaServiceClient;
use crater_api::quota::v1::watch_quotas_response::Event;
use crater_auth::Authenticated;
use crater_domain::{Limit, Limits, QuotaSubject, ResourceKind, Weight};
use crater_k8s::names::LIMITS_CONFIGMAP;
use crater_service::{Channel, Condition};
use kube::Client;
use serde::{Deserialize, Serialize};

use crate::cache::{Quota, Quotas};
use crate::kept;
use crate::shared::Shared;

/// The sender gives a sign of life more often; after this silence it is dialled anew.
const SILENCE: Duration = Duration::from_secs(10);
/// The pause before it is dialled anew.
const PAUSE: Duration = Duration::from_millis(500);
/// What changes within this time is kept together.
const KEEP_EVERY: Duration = Duration::from_secs(1);
/// The ConfigMap's only entry.
const ENTRY: &str = "limits.json";

/// The limits of one subject, as they are kept.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    resource: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    guaranteed: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    limit: Option<i64>,
}

/// One subject, as it is kept: its rows alone where its weight is 1.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Kept {
    Rows(Vec<Row>),
    Weighed(Weighed),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Weighed {
    weight: i32,
    rows: Vec<Row>,
}

/// Starts from what was kept, then follows the stream. The condition holds as soon as any limits are known.
pub async fn follow(
    shared: Arc<Shared>,
    client: Client,
    quota: Option<Authenticated<Channel>>,
    condition: Condition,
) -> Result<(), String> {
    let kept = read(&client).await;
    if let Ok(Some(all)) = &kept {
        learn(&shared, all.clone(), &condition);
    }
    let Some(channel) = quota else {
        // nobody to ask: there are no limits but those that were kept
        if kept.map_err(|error| error.to_string())?.is_none() {
            learn(&shared, Quotas::new(), &condition);
        }
        return std::future::pending().await;
    };
    loop {
        let Err(why) = stream(&shared, &channel, &condition).await;
        if shared.cache().quotas().is_none() {
            condition.not_ready(&why);
        }
        tracing::debug!(why, "the last limits stay in force");
        tokio::time::sleep(PAUSE).await;
    }
}

fn learn(shared: &Shared, all: Quotas, condition: &Condition) {
    shared.cache().set_quotas(all);
    condition.ready();
    shared.wake();
}

async fn stream(
    shared: &Shared,
    channel: &Authenticated<Channel>,
    condition: &Condition,
) -> Result<std::convert::Infallible, String> {
    let told = |status: tonic::Status| {
        format!("the quota service answered {:?}: {}", status.code(), status.message())
    };
    let mut client = QuotaServiceClient::new(channel.clone());
    let mut stream = client.watch_quotas(pb::WatchQuotasRequest {}).await.map_err(told)?.into_inner();
    let mut draft: Option<Quotas> = None;
    loop {
        let message = tokio::time::timeout(SILENCE, stream.message()).await;
        let message = message.map_err(|_| format!("the quota service was silent for {SILENCE:?}"))?;
        let message = message.map_err(told)?.ok_or_else(|| "the stream of limits ended".to_owned())?;
        match message.event {
            Some(Event::SnapshotStart(_)) => draft = Some(Quotas::new()),
            Some(Event::Synced(_)) => {
                if let Some(all) = draft.take() {
                    learn(shared, all, condition);
                }
            }
            Some(Event::Quota(quota)) => match parse(&quota) {
                Ok((subject, quota)) => match &mut draft {
                    Some(draft) => {
                        draft.insert(subject, quota);
                    }
                    None => {
                        shared.cache().set_quota(subject, quota);
                        shared.wake();
                    }
                },
                Err(why) => {
                    tracing::warn!(quota = quota.name, why, "the quota service sent what cannot be read")
                }
            },
            Some(Event::Heartbeat(_)) | None => {}
        }
    }
}

fn parse(quota: &pb::Quota) -> Result<(QuotaSubject, Quota), String> {
    let subject = quota.name.parse().map_err(|e: crater_domain::IdError| e.to_string())?;
    let limits = parse_limits(&quota.resources, "resources").map_err(|e| e.to_string())?;
    Ok((subject, Quota { limits, weight: parse_weight(quota.weight)? }))
}

/// Keeps what is known, whenever it changed, while this process leads.
pub async fn keep(shared: Arc<Shared>, client: Client) -> Result<(), String> {
    let mut changes = shared.changes();
    let mut kept = read(&client).await.map_err(|error| error.to_string())?;
    loop {
        tokio::time::sleep(KEEP_EVERY).await;
        let known = shared.cache().quotas().cloned();
        if let (Some(term), Some(known)) = (shared.leader.term(), known)
            && kept.as_ref() != Some(&known)
            && let Some(_leave) = shared.leader.may_write(term.epoch).await
        {
            write(&client, &known).await?;
            kept = Some(known);
        } else {
            // the error of the timeout is the case in which this process came to lead meanwhile
            let _ = tokio::time::timeout(KEEP_EVERY, changes.changed()).await;
        }
    }
}

async fn read(client: &Client) -> Result<Option<Quotas>, kube::Error> {
    let Some(text) = kept::read(client, LIMITS_CONFIGMAP, ENTRY).await? else { return Ok(None) };
    let rows: Option<BTreeMap<String, Kept>> = serde_json::from_str(&text).ok();
    if rows.is_none() {
        tracing::warn!("the kept limits cannot be read: waiting for the quota service");
    }
    Ok(rows.and_then(parse_kept))
}

/// All or nothing: a limit that is dropped would not bind.
fn parse_kept(kept: BTreeMap<String, Kept>) -> Option<Quotas> {
    let mut all = Quotas::new();
    for (subject, kept) in kept {
        let (rows, weight) = match kept {
            Kept::Rows(rows) => (rows, Weight::default()),
            Kept::Weighed(Weighed { weight, rows }) => (rows, Weight::new(weight).ok()?),
        };
        let mut limits = Limits::new();
        for row in rows {
            let kind: ResourceKind = row.resource.parse().ok()?;
            limits.insert(kind, Limit { guaranteed: row.guaranteed, limit: row.limit });
        }
        all.insert(subject.parse().ok()?, Quota { limits, weight });
    }
    Some(all)
}

async fn write(client: &Client, all: &Quotas) -> Result<(), String> {
    let row = |r: pb::ResourceQuota| Row { resource: r.resource, guaranteed: r.guaranteed, limit: r.limit };
    let keep = |(subject, quota): (&QuotaSubject, &Quota)| {
        let rows = rows(&quota.limits).into_iter().map(row).collect();
        let kept = match quota.weight.get() {
            1 => Kept::Rows(rows),
            weight => Kept::Weighed(Weighed { weight, rows }),
        };
        (subject.to_string(), kept)
    };
    let kept: BTreeMap<String, Kept> = all.iter().map(keep).collect();
    let text = serde_json::to_string(&kept).map_err(|error| error.to_string())?;
    kept::write(client, LIMITS_CONFIGMAP, ENTRY, &text).await
}
