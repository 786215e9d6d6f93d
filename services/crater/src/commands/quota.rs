//! `quota`: what may be used, what is used, and changing the former.

use std::collections::{BTreeMap, BTreeSet};

use crater_api::quota::v1::{GetQuotaRequest, Quota as Limits, ResourceQuota, UpdateQuotaRequest};
use crater_domain::{ResourceKind, format_bytes, format_millis, parse_bytes, parse_cpu, parse_gpu};

use super::{Context, session};
use crate::cli::{Quota, QuotaCommand, QuotaSet, Subject};
use crate::client::{quotas, request_id};
use crate::error::Error;
use crate::output::table::Table;
use crate::output::{Format, colours, message, print};

/// Shows or changes.
pub async fn quota(context: &Context, args: Quota) -> Result<(), Error> {
    match args.command {
        None => get(context, args.subject).await,
        Some(QuotaCommand::Get(subject)) => get(context, subject).await,
        Some(QuotaCommand::Set(set)) => change(context, set).await,
    }
}

async fn name(context: &Context, subject: &Subject) -> Result<String, Error> {
    let account = session::account(context, subject.account.as_deref().map(|a| ("--account", a))).await?;
    Ok(match &subject.user {
        None => format!("{account}/quota"),
        Some(user) => format!("{account}/{}/quota", crate::names::user("--user", user)?),
    })
}

async fn fetch(context: &Context, name: String) -> Result<Limits, Error> {
    let request = GetQuotaRequest { name };
    let answer = context.api.call(request, async |channel, r| quotas(channel).get_quota(r).await).await?;
    answer.quota.ok_or(Error::Answer("the quota"))
}

async fn get(context: &Context, subject: Subject) -> Result<(), Error> {
    let quota = fetch(context, name(context, &subject).await?).await?;
    show(context.format, &quota)
}

fn show(format: Format, quota: &Limits) -> Result<(), Error> {
    let text = match format {
        Format::Json | Format::Yaml => message::render(format, "crater.quota.v1.Quota", quota)?,
        Format::Name => format!("{}\n", quota.name),
        Format::Table | Format::Wide => table(quota, colours()),
    };
    print(&text)?;
    if format.is_table() && !quota.usage_known {
        eprintln!("what is used cannot be told at the moment");
    }
    Ok(())
}

fn table(quota: &Limits, colours: bool) -> String {
    let mut rows: BTreeMap<String, (Option<&ResourceQuota>, (i64, i64))> = BTreeMap::new();
    for r in &quota.resources {
        rows.entry(r.resource.clone()).or_default().0 = Some(r);
    }
    for u in &quota.usage {
        rows.entry(u.resource.clone()).or_default().1 = (u.guaranteed, u.best_effort);
    }
    let mut table = Table::new(&["RESOURCE", "USED", "GUARANTEED", "LIMIT", "BEST-EFFORT"], colours);
    for (resource, (limits, (guaranteed, best_effort))) in rows {
        let amount = |n: i64| format_amount(&resource, n);
        // jobs that wait hold nothing; their number is no usage
        let known = quota.usage_known && resource != "jobs.waiting";
        let used = |n: i64| if known { amount(n) } else { "-".to_owned() };
        let cells = [
            used(guaranteed),
            limits.and_then(|l| l.guaranteed).map_or_else(|| "-".to_owned(), amount),
            limits.and_then(|l| l.limit).map_or_else(|| "none".to_owned(), amount),
            used(best_effort),
        ];
        table.row(std::iter::once(resource.clone()).chain(cells));
    }
    table.render()
}

fn format_amount(resource: &str, n: i64) -> String {
    match resource {
        "memory" => format_bytes(n),
        "jobs.waiting" => n.to_string(),
        _ => format_millis(n),
    }
}

async fn change(context: &Context, args: QuotaSet) -> Result<(), Error> {
    let guaranteed = amounts("--guaranteed", &args.guaranteed)?;
    let limit = amounts("--limit", &args.limit)?;
    if guaranteed.is_empty() && limit.is_empty() {
        return Err(Error::flag("--guaranteed, --limit", "at least one must be given"));
    }
    let name = name(context, &args.subject).await?;
    let before = fetch(context, name).await?;
    let request = UpdateQuotaRequest {
        update_mask: Some(prost_types::FieldMask { paths: mask(&guaranteed, &limit) }),
        // the etag of what was read: somebody else's change meanwhile is not undone
        quota: Some(merged(before, &guaranteed, &limit)),
        request_id: request_id(),
        validate_only: args.dry_run,
    };
    let rows: Vec<String> =
        request.quota.iter().flat_map(|q| &q.resources).map(|r| r.resource.clone()).collect();
    let answer = context
        .api
        .call_explained(
            request,
            async |channel, r| quotas(channel).update_quota(r).await,
            |status| Error::refused_at(&status, |path| place(&rows, path)),
        )
        .await?;
    let mut after = answer.quota.ok_or(Error::Answer("the quota"))?;
    if context.format.is_table() && !args.dry_run {
        // with what is used beside it
        after = fetch(context, after.name).await?;
    }
    show(context.format, &after)
}

/// `quota.resources[0].limit` is `--limit gpu`, where the first row is of GPUs.
fn place(rows: &[String], path: &str) -> Option<String> {
    let (index, field) = path.strip_prefix("quota.resources[")?.split_once("].")?;
    Some(format!("--{field} {}", rows.get(index.parse::<usize>().ok()?)?))
}

type Amounts = BTreeMap<String, Option<i64>>;

/// Reads `gpu=4` or `gpu=none`.
fn amounts(flag: &str, texts: &[String]) -> Result<Amounts, Error> {
    let mut out = Amounts::new();
    for text in texts {
        let wrong = |why: String| Error::flag(flag, why);
        let (resource, amount) = text
            .split_once('=')
            .ok_or_else(|| wrong(format!("{text:?} must be RESOURCE=AMOUNT, for example gpu=4")))?;
        let kind: ResourceKind = resource.parse().map_err(wrong)?;
        let read = || match kind {
            ResourceKind::Cpu => parse_cpu(amount).map_err(|e| e.to_string()),
            ResourceKind::Memory => parse_bytes(amount).map_err(|e| e.to_string()),
            ResourceKind::Gpu | ResourceKind::GpuModel(_) => parse_gpu(amount).map_err(|e| e.to_string()),
            ResourceKind::JobsWaiting | ResourceKind::JobsRunning => {
                amount.parse::<u32>().map(i64::from).map_err(|_| format!("{amount:?} is no number of jobs"))
            }
        };
        let value = if amount == "none" { None } else { Some(read().map_err(wrong)?) };
        out.insert(kind.to_string(), value);
    }
    Ok(out)
}

fn mask(guaranteed: &Amounts, limit: &Amounts) -> Vec<String> {
    let resources: BTreeSet<&String> = guaranteed.keys().chain(limit.keys()).collect();
    resources.into_iter().map(|r| format!("resources.{r}")).collect()
}

/// The rows that change, each with what is not spoken of as it was. A row without either is left out: it goes.
fn merged(before: Limits, guaranteed: &Amounts, limit: &Amounts) -> Limits {
    let mut rows: BTreeMap<String, ResourceQuota> =
        before.resources.into_iter().map(|r| (r.resource.clone(), r)).collect();
    for (amounts, is_limit) in [(guaranteed, false), (limit, true)] {
        for (resource, amount) in amounts {
            let row = rows.entry(resource.clone()).or_insert_with(|| ResourceQuota {
                resource: resource.clone(),
                guaranteed: None,
                limit: None,
            });
            *(if is_limit { &mut row.limit } else { &mut row.guaranteed }) = *amount;
        }
    }
    let touched = |r: &ResourceQuota| guaranteed.contains_key(&r.resource) || limit.contains_key(&r.resource);
    let kept = rows.into_values().filter(|r| touched(r) && (r.guaranteed.is_some() || r.limit.is_some()));
    Limits { name: before.name, resources: kept.collect(), etag: before.etag, ..Default::default() }
}

#[cfg(test)]
mod tests {
    use crater_api::quota::v1::ResourceUsage;

    use super::*;

    fn row(resource: &str, guaranteed: Option<i64>, limit: Option<i64>) -> ResourceQuota {
        ResourceQuota { resource: resource.into(), guaranteed, limit }
    }

    #[test]
    fn limits_stand_beside_what_is_used() {
        let quota = Limits {
            resources: vec![row("gpu", Some(4000), Some(8000)), row("memory", None, Some(1 << 40))],
            usage: vec![
                ResourceUsage { resource: "gpu".into(), guaranteed: 1500, best_effort: 1000 },
                ResourceUsage { resource: "cpu".into(), guaranteed: 500, best_effort: 0 },
            ],
            usage_known: true,
            ..Default::default()
        };
        assert_eq!(
            table(&quota, false),
            "RESOURCE  USED  GUARANTEED  LIMIT  BEST-EFFORT\n\
             cpu       0.5   -           none   0\n\
             gpu       1.5   4           8      1\n\
             memory    0     -           1Ti    0\n"
        );
    }

    #[test]
    fn only_what_is_spoken_of_changes() {
        let before = Limits {
            name: "accounts/lab/quota".into(),
            resources: vec![
                row("gpu", Some(4000), Some(8000)),
                row("cpu", Some(1), None),
                row("memory", None, Some(5)),
            ],
            etag: "e".into(),
            ..Default::default()
        };
        let guaranteed = amounts("--guaranteed", &["gpu=2".into(), "cpu=none".into()]).unwrap();
        let limit = amounts("--limit", &["gpu/A100=1".into()]).unwrap();
        let after = merged(before, &guaranteed, &limit);
        assert_eq!(after.resources, [row("gpu", Some(2000), Some(8000)), row("gpu/A100", None, Some(1000))]);
        assert_eq!(after.etag, "e");
        assert_eq!(mask(&guaranteed, &limit), ["resources.cpu", "resources.gpu", "resources.gpu/A100"]);
    }

    #[test]
    fn a_refused_limit_is_named_by_its_flag_and_resource() {
        let rows = ["cpu".to_owned(), "gpu".to_owned()];
        assert_eq!(place(&rows, "quota.resources[1].guaranteed").as_deref(), Some("--guaranteed gpu"));
        assert_eq!(place(&rows, "quota.resources[7].limit"), None);
        assert_eq!(place(&rows, "update_mask"), None);
    }

    #[test]
    fn a_wrong_amount_is_named_by_its_flag() {
        for (text, told) in [
            ("gpu", "--limit: \"gpu\" must be RESOURCE=AMOUNT, for example gpu=4"),
            ("gpus=1", "--limit: \"gpus\" must be cpu, memory, gpu, gpu/{model} or jobs.waiting"),
            ("gpu=-1", "--limit: \"-1\" is negative"),
            ("jobs.waiting=x", "--limit: \"x\" is no number of jobs"),
        ] {
            assert_eq!(amounts("--limit", &[text.into()]).unwrap_err().to_string(), told);
        }
    }
}
