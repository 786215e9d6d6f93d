//! `quota`: what may be used, what is used, and changing the former.

use std::collections::{BTreeMap, BTreeSet};

use crater_api::quota::v1::{
    GetQuotaRequest, ListQuotasRequest, ListQuotasResponse, Quota as Limits, ResourceQuota,
    UpdateQuotaRequest,
};
use crater_domain::{
    ResourceKind, format_bytes, format_millis, is_device_name, parse_bytes, parse_cpu, parse_gpu,
};

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
        Some(QuotaCommand::Ls { account }) => list(context, account.as_deref()).await,
        Some(QuotaCommand::Set(set)) => change(context, set).await,
    }
}

pub async fn name(context: &Context, subject: &Subject) -> Result<String, Error> {
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

/// All quotas of an account and its users, or of all accounts.
async fn list(context: &Context, account: Option<&str>) -> Result<(), Error> {
    let parent = crate::names::parent(account)?;
    let mut found: Vec<Limits> = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListQuotasRequest { parent: parent.clone(), page_size: 1000, page_token };
        let page = context.api.call(request, async |channel, r| quotas(channel).list_quotas(r).await).await?;
        found.extend(page.quotas);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let text = match context.format {
        Format::Json | Format::Yaml => {
            let list = ListQuotasResponse { quotas: found.clone(), next_page_token: page_token };
            message::render(context.format, "crater.quota.v1.ListQuotasResponse", &list)?
        }
        Format::Name => found.iter().map(|q| format!("{}\n", q.name)).collect(),
        Format::Table | Format::Wide => list_table(&found, context.format, colours()),
    };
    print(&text)?;
    if context.format.is_table() && found.iter().any(|q| !q.usage_known) {
        eprintln!("what is used cannot be told at the moment");
    }
    Ok(())
}

/// A row for each resource with a limit or something in use (`-o wide`: for each resource).
fn list_table(all: &[Limits], format: Format, colours: bool) -> String {
    let headers = ["ACCOUNT", "USER", "WEIGHT", "RESOURCE", "USED", "GUARANTEED", "LIMIT", "BEST-EFFORT"];
    let mut table = Table::new(&headers, colours);
    for quota in all {
        let parts: Vec<&str> = quota.name.split('/').collect();
        let (account, user) = match parts[..] {
            ["accounts", account, "users", user, _] => (account, user),
            ["accounts", account, ..] => (account, ""),
            _ => (quota.name.as_str(), ""),
        };
        let weight = if quota.weight > 0 { quota.weight.to_string() } else { String::new() };
        let owner = [account.to_owned(), user.to_owned(), weight];
        let rows: Vec<Vec<String>> = rows(quota)
            .into_iter()
            .filter(|row| format == Format::Wide || row.limits.is_some() || row.used != (0, 0))
            .map(|row| row.cells(quota.usage_known))
            .collect();
        for cells in if rows.is_empty() { vec![vec![String::new(); 5]] } else { rows } {
            table.row(owner.iter().cloned().chain(cells));
        }
    }
    table.render()
}

/// One resource of a quota.
struct Row<'a> {
    resource: String,
    limits: Option<&'a ResourceQuota>,
    /// By guaranteed jobs, and by best-effort ones.
    used: (i64, i64),
}

impl Row<'_> {
    fn cells(&self, known: bool) -> Vec<String> {
        let amount = |n: i64| format_amount(&self.resource, n);
        let used = |n: i64| if known { amount(n) } else { "-".to_owned() };
        vec![
            self.resource.clone(),
            used(self.used.0),
            self.limits.and_then(|l| l.guaranteed).map_or_else(|| "-".to_owned(), amount),
            self.limits.and_then(|l| l.limit).map_or_else(|| "none".to_owned(), amount),
            used(self.used.1),
        ]
    }
}

fn rows(quota: &Limits) -> Vec<Row<'_>> {
    let mut rows: BTreeMap<&str, (Option<&ResourceQuota>, (i64, i64))> = BTreeMap::new();
    for r in &quota.resources {
        rows.entry(&r.resource).or_default().0 = Some(r);
    }
    for u in &quota.usage {
        rows.entry(&u.resource).or_default().1 = (u.guaranteed, u.best_effort);
    }
    let row = |(resource, (limits, used)): (&str, _)| Row { resource: resource.to_owned(), limits, used };
    rows.into_iter().map(row).collect()
}

fn table(quota: &Limits, colours: bool) -> String {
    let mut table = Table::new(&["RESOURCE", "USED", "GUARANTEED", "LIMIT", "BEST-EFFORT"], colours);
    rows(quota).iter().for_each(|row| table.row(row.cells(quota.usage_known)));
    let weight = if quota.weight > 1 { format!("weight {}\n", quota.weight) } else { String::new() };
    table.render() + &weight
}

fn format_amount(resource: &str, n: i64) -> String {
    match resource {
        "memory" => format_bytes(n),
        "jobs.waiting" | "jobs.running" => n.to_string(),
        device if is_device_name(device) => n.to_string(),
        _ => format_millis(n),
    }
}

async fn change(context: &Context, args: QuotaSet) -> Result<(), Error> {
    let guaranteed = amounts("--guaranteed", &args.guaranteed)?;
    let limit = amounts("--limit", &args.limit)?;
    if guaranteed.is_empty() && limit.is_empty() && args.weight.is_none() {
        return Err(Error::flag("--guaranteed, --limit, --weight", "at least one must be given"));
    }
    if args.weight.is_some() && args.subject.user.is_some() {
        return Err(Error::flag("--weight", "a user has none: it is an account's"));
    }
    let name = name(context, &args.subject).await?;
    let before = fetch(context, name).await?;
    let request = UpdateQuotaRequest {
        update_mask: Some(prost_types::FieldMask { paths: mask(&guaranteed, &limit, args.weight) }),
        // the etag of what was read: somebody else's change meanwhile is not undone
        quota: Some(Limits {
            weight: args.weight.unwrap_or_default(),
            ..merged(before, &guaranteed, &limit)
        }),
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
pub fn amounts(flag: &str, texts: &[String]) -> Result<Amounts, Error> {
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
            ResourceKind::Device(_) => amount
                .parse::<u32>()
                .map(i64::from)
                .map_err(|_| format!("{amount:?} is no number of devices")),
            ResourceKind::JobsWaiting | ResourceKind::JobsRunning => {
                amount.parse::<u32>().map(i64::from).map_err(|_| format!("{amount:?} is no number of jobs"))
            }
        };
        let value = if amount == "none" { None } else { Some(read().map_err(wrong)?) };
        out.insert(kind.to_string(), value);
    }
    Ok(out)
}

fn mask(guaranteed: &Amounts, limit: &Amounts, weight: Option<i32>) -> Vec<String> {
    let resources: BTreeSet<&String> = guaranteed.keys().chain(limit.keys()).collect();
    let resources = resources.into_iter().map(|r| format!("resources.{r}"));
    resources.chain(weight.map(|_| "weight".to_owned())).collect()
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
    fn quotas_stand_below_each_other_with_what_matters_of_each() {
        let usage = vec![
            ResourceUsage { resource: "cpu".into(), guaranteed: 0, best_effort: 0 },
            ResourceUsage { resource: "jobs.running".into(), guaranteed: 2, best_effort: 1 },
        ];
        let lab = Limits {
            name: "accounts/lab/quota".into(),
            resources: vec![row("gpu", Some(4000), None)],
            usage,
            usage_known: true,
            weight: 3,
            ..Default::default()
        };
        let ann = Limits {
            name: "accounts/lab/users/ann/quota".into(),
            resources: vec![row("jobs.running", None, Some(5))],
            ..Default::default()
        };
        let den =
            Limits { name: "accounts/den/quota".into(), usage_known: true, weight: 1, ..Default::default() };
        assert_eq!(
            list_table(&[den, lab, ann], Format::Table, false),
            "ACCOUNT  USER  WEIGHT  RESOURCE      USED  GUARANTEED  LIMIT  BEST-EFFORT\n\
             den      -     1       -             -     -           -      -\n\
             lab      -     3       gpu           0     4           none   0\n\
             lab      -     3       jobs.running  2     -           none   1\n\
             lab      ann   -       jobs.running  -     -           5      -\n"
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
        let resources = ["resources.cpu", "resources.gpu", "resources.gpu/A100"];
        assert_eq!(mask(&guaranteed, &limit, None), resources);
        assert_eq!(mask(&Amounts::new(), &Amounts::new(), Some(3)), ["weight"]);
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
            (
                "gpus=1",
                "--limit: \"gpus\" must be cpu, memory, gpu, gpu/{model}, the name of a device, jobs.waiting or jobs.running",
            ),
            ("gpu=-1", "--limit: \"-1\" is negative"),
            ("rdma/hca=0.5", "--limit: \"0.5\" is no number of devices"),
            ("jobs.waiting=x", "--limit: \"x\" is no number of jobs"),
        ] {
            assert_eq!(amounts("--limit", &[text.into()]).unwrap_err().to_string(), told);
        }
    }
}
