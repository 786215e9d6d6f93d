//! `what-if`: what would come of nodes and limits; and what would come of a job, for `submit --dry-run`.

use std::collections::BTreeMap;

use crater_api::common::v1::Resources;
use crater_api::quota::v1::{Quota, ResourceQuota};
use crater_api::scheduling::v1::{NodeGroup, SimulateRequest, SimulateResponse};
use crater_domain::{is_device_name, parse_bytes, parse_cpu, parse_gpu};

use super::why::{expected, likely, places, remedies};
use super::{Context, quota};
use crate::cli::WhatIf;
use crate::client::scheduling;
use crate::error::Error;
use crate::names::short;
use crate::output::table::plain;
use crate::output::time::now;
use crate::output::{Format, message, print};

/// The type of an answer.
pub const ANSWER: &str = "crater.scheduling.v1.SimulateResponse";

/// Asks, and prints the answer.
pub async fn what_if(context: &Context, args: WhatIf) -> Result<(), Error> {
    let nodes = args.nodes.iter().map(|text| nodes(text)).collect::<Result<Vec<_>, Error>>()?;
    let quotas = quotas(context, &args).await?;
    let request = SimulateRequest { nodes, quotas, ..Default::default() };
    let answer = context.api.call(request, async |channel, r| scheduling(channel).simulate(r).await).await?;
    let text = match context.format {
        Format::Json | Format::Yaml => message::render(context.format, ANSWER, &answer)?,
        Format::Name => answer.starting.iter().map(|job| format!("{job}\n")).collect(),
        Format::Table | Format::Wide => told(&answer, now()),
    };
    Ok(print(&text)?)
}

async fn quotas(context: &Context, args: &WhatIf) -> Result<Vec<Quota>, Error> {
    if args.limit.is_empty() && args.guaranteed.is_empty() {
        return Ok(Vec::new());
    }
    let mut rows: BTreeMap<String, ResourceQuota> = BTreeMap::new();
    for (resource, amount) in quota::amounts("--limit", &args.limit)? {
        // none: more than there ever is
        rows.entry(resource).or_default().limit = amount.or(Some(i64::MAX));
    }
    for (resource, amount) in quota::amounts("--guaranteed", &args.guaranteed)? {
        rows.entry(resource).or_default().guaranteed = amount.or(Some(0));
    }
    let rows = rows.into_iter().map(|(resource, row)| ResourceQuota { resource, ..row });
    let name = quota::name(context, &args.subject).await?;
    Ok(vec![Quota { name, resources: rows.collect(), ..Default::default() }])
}

/// Reads `2:gpu-7` or `2:gpu=8,gpu-model=H100,cpu=128,memory=1Ti`.
fn nodes(text: &str) -> Result<NodeGroup, Error> {
    let wrong = |why: String| Error::flag("--nodes", format!("{text:?} {why}"));
    let (count, what) =
        text.split_once(':').ok_or_else(|| wrong("must be COUNT:NODE, for example 2:gpu-7".into()))?;
    let count = count.parse().map_err(|_| wrong("must begin with how many, for example 2:gpu-7".into()))?;
    if !what.contains('=') {
        return Ok(NodeGroup { count, like: what.to_owned(), ..Default::default() });
    }
    let mut group = NodeGroup { count, ..Default::default() };
    let mut has = Resources::default();
    for pair in what.split(',') {
        let (key, value) =
            pair.split_once('=').ok_or_else(|| wrong(format!("has {pair:?} where KEY=VALUE must be")))?;
        match key {
            "gpu" => has.gpu_millis = parse_gpu(value).map_err(|error| wrong(format!("gpu: {error}")))?,
            "cpu" => has.cpu_millis = parse_cpu(value).map_err(|error| wrong(format!("cpu: {error}")))?,
            "memory" => {
                has.memory_bytes = parse_bytes(value).map_err(|error| wrong(format!("memory: {error}")))?
            }
            "gpu-model" => value.clone_into(&mut group.gpu_model),
            device if is_device_name(device) => {
                let count =
                    value.parse::<u32>().map_err(|_| wrong(format!("{device}: {value:?} is no count")))?;
                has.devices.insert(device.to_owned(), i64::from(count));
            }
            _ => {
                let keys = "there are gpu, gpu-model, cpu, memory and the names of devices";
                return Err(wrong(format!("has the key {key}; {keys}")));
            }
        }
    }
    group.allocatable = Some(has);
    Ok(group)
}

/// The answer for people.
pub fn told(answer: &SimulateResponse, now: i64) -> String {
    let mut text = String::new();
    if let Some(of) = &answer.job {
        text.push_str(&format!("{}\n", plain(&of.message)));
        // one blocker is in the sentence
        for blocker in of.blockers.iter().filter(|_| of.blockers.len() > 1) {
            text.push_str(&format!("  - {} ({})\n", plain(&blocker.message), plain(&blocker.reason)));
        }
        text.push_str(&expected(of.expected_start_time.as_ref(), now));
        text.push_str(&likely(of.forecast.as_ref(), now));
        text.push_str(&places(&of.placements));
        text.push_str(&remedies(&of.remedies));
    }
    let both = [
        ("would start", answer.starting_jobs, &answer.starting),
        ("would be preempted", answer.preempted_jobs, &answer.preempted),
    ];
    for (what, count, named) in both {
        if count == 0 && answer.job.is_none() {
            text.push_str(&format!("no {}job {what}\n", if what == "would start" { "waiting " } else { "" }));
        }
        if count > 0 {
            let jobs = if count == 1 { "1 job".to_owned() } else { format!("{count} jobs") };
            text.push_str(&format!("{jobs} {what}{}\n", list(count, named)));
        }
    }
    text
}

/// Those that may be named, and how many others there are.
fn list(count: i32, named: &[String]) -> String {
    let names: Vec<&str> = named.iter().map(|job| short(job)).collect();
    let others = usize::try_from(count).unwrap_or(0).saturating_sub(names.len());
    match (names.is_empty(), others) {
        (true, _) => " (of other accounts)".to_owned(),
        (false, 0) => format!(": {}", names.join(", ")),
        (false, others) => format!(": {} and {others} of other accounts", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use crater_api::scheduling::v1::simulate_response::Outcome;
    use crater_api::scheduling::v1::{Placement, Remedy};

    use super::*;

    #[test]
    fn nodes_are_read_and_what_is_wrong_is_quoted() {
        let like = nodes("2:gpu-7").unwrap();
        assert_eq!((like.count, &*like.like), (2, "gpu-7"));
        let made = nodes("1:gpu=8,gpu-model=H100,cpu=96,memory=1Ti").unwrap();
        let has =
            Resources { cpu_millis: 96_000, memory_bytes: 1 << 40, gpu_millis: 8000, ..Default::default() };
        assert_eq!((made.allocatable, &*made.gpu_model), (Some(has), "H100"));
        let hca = nodes("1:cpu=8,rdma/hca=4").unwrap().allocatable.unwrap().devices;
        assert_eq!(hca, [("rdma/hca".to_owned(), 4)].into());
        for (text, why) in [
            ("gpu-7", "must be COUNT:NODE"),
            ("x:gpu-7", "must begin with how many"),
            ("1:gpu=8,disk=3", "has the key disk"),
            ("1:cpu=8,rdma/hca=x", "rdma/hca: \"x\" is no count"),
            ("1:gpu=-1", "gpu: "),
            ("1:gpu=8,cpu", "where KEY=VALUE must be"),
        ] {
            let said = nodes(text).unwrap_err().to_string();
            assert!(said.contains("--nodes") && said.contains(why), "{text}: {said}");
        }
    }

    #[test]
    fn an_answer_reads_from_the_job_to_what_it_costs_others() {
        let outcome = Outcome {
            message: "It would start once 2 jobs that are preempted for it have gone.".into(),
            placements: vec![Placement {
                node: "n1".into(),
                role: "worker".into(),
                count: 1,
                ..Default::default()
            }],
            remedies: vec![Remedy { message: "with priority 1".into(), ..Default::default() }],
            ..Default::default()
        };
        let answer = SimulateResponse {
            job: Some(outcome),
            preempted_jobs: 2,
            preempted: vec!["accounts/lab/jobs/a".into()],
            ..Default::default()
        };
        assert_eq!(
            told(&answer, 0),
            "It would start once 2 jobs that are preempted for it have gone.\n  worker/0 on n1\nit would start now\n  \
             - with priority 1\n2 jobs would be preempted: a and 1 of other accounts\n"
        );
        let nothing = SimulateResponse::default();
        assert_eq!(told(&nothing, 0), "no waiting job would start\nno job would be preempted\n");
        let theirs = SimulateResponse { starting_jobs: 1, ..nothing };
        assert_eq!(told(&theirs, 0), "1 job would start (of other accounts)\nno job would be preempted\n");
    }
}
