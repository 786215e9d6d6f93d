//! `usage`: what a job held, for how long, and how many GPU hours that makes.

use crater_api::convert::unix_millis;
use crater_api::job::v1::{ListJobUsageRequest, ListJobUsageResponse, UsageSpan};
use crater_domain::{format_bytes, format_millis};

use super::Context;
use crate::cli::OneJob;
use crate::client::jobs;
use crate::error::Error;
use crate::names::JobRef;
use crate::output::table::Table;
use crate::output::{Format, colours, message, print, time};

const PAGE: i32 = 1000;

/// Shows the spans, and their sum.
pub async fn usage(context: &Context, args: OneJob) -> Result<(), Error> {
    let parent = JobRef::parse(&args.job)?.resolve(&context.api).await?;
    let mut all = ListJobUsageResponse::default();
    loop {
        let page_token = std::mem::take(&mut all.next_page_token);
        let request = ListJobUsageRequest { parent: parent.clone(), page_size: PAGE, page_token };
        let page =
            context.api.call(request, async |channel, r| jobs(channel).list_job_usage(r).await).await?;
        all.spans.extend(page.spans);
        all.total_gpu_milli_seconds = page.total_gpu_milli_seconds;
        all.next_page_token = page.next_page_token;
        if all.next_page_token.is_empty() {
            break;
        }
    }
    let text = match context.format {
        Format::Json | Format::Yaml => {
            message::render(context.format, "crater.job.v1.ListJobUsageResponse", &all)?
        }
        Format::Name => all.spans.iter().map(|s| format!("{}\n", s.attempt)).collect(),
        Format::Table | Format::Wide => {
            let headers = ["START", "FROM", "FOR", "REPLICAS", "GPUS", "CPU", "MEMORY", "NODES", "OUTCOME"];
            let mut table = Table::new(&headers, colours());
            all.spans.iter().for_each(|span| table.row(row(span, time::now())));
            table.render() + &format!("GPU hours: {}\n", gpu_hours(all.total_gpu_milli_seconds))
        }
    };
    Ok(print(&text)?)
}

fn row(span: &UsageSpan, now: i64) -> Vec<String> {
    let held = span.resources.clone().unwrap_or_default();
    let millis = |t: Option<&prost_types::Timestamp>| t.and_then(unix_millis);
    let from = millis(span.start_time.as_ref()).unwrap_or(now);
    let until = millis(span.end_time.as_ref()).unwrap_or(now);
    let outcome = if span.end_time.is_none() { "(goes on)" } else { span.outcome.as_str() };
    vec![
        span.attempt.to_string(),
        time::moment(span.start_time.as_ref()),
        time::span((until - from).max(0)),
        span.replicas.to_string(),
        format_millis(held.gpu_millis),
        format_millis(held.cpu_millis),
        format_bytes(held.memory_bytes),
        span.nodes.join(","),
        outcome.to_owned(),
    ]
}

/// Thousandths of a GPU times seconds, as hours with three digits.
fn gpu_hours(gpu_milli_seconds: i64) -> String {
    let thousandths = gpu_milli_seconds / 3600;
    format!("{}.{:03}", thousandths / 1000, thousandths % 1000)
}

#[cfg(test)]
mod tests {
    use super::gpu_hours;

    #[test]
    fn hours_are_counted_of_whole_gpus() {
        assert_eq!(gpu_hours(8 * 1000 * 5400), "12.000");
        assert_eq!(gpu_hours(500 * 36), "0.005");
    }
}
