//! `nodes --watch`, and `node cordon|uncordon|drain`.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use crater_api::scheduling::v1::watch_cluster_response::Event;
use crater_api::scheduling::v1::{
    CordonNodeRequest, DrainNodeRequest, Node, UncordonNodeRequest, WatchClusterRequest,
};
use crater_domain::Code;
use tonic::Status;

use super::Context;
use super::cluster::{headers, row, totals};
use crate::cli::{self, Cordon};
use crate::client::{Api, Patience, scheduling};
use crate::error::Error;
use crate::output::table::Table;
use crate::output::{Format, colours, message, print};

/// The nodes as they are, then a row for each that changes.
pub async fn watch(context: &Context) -> Result<(), Error> {
    let format = context.format;
    let mut table = Table::new(headers(format), colours());
    // what was said of each last: after a break of the connection only what differs is news
    let mut known: BTreeMap<String, Node> = BTreeMap::new();
    let mut draft: Option<BTreeMap<String, Node>> = None;
    let mut first = true;
    follow(&context.api, |event| {
        let mut text = String::new();
        match event {
            Event::SnapshotStart(_) => draft = Some(BTreeMap::new()),
            Event::Node(node) => match &mut draft {
                Some(draft) => {
                    draft.insert(node.name.clone(), node);
                }
                None => text = news(format, &mut table, &mut known, node)?,
            },
            Event::Deleted(name) => {
                known.remove(&name);
                eprintln!("node {name} is gone");
            }
            Event::Counts(counts) => {
                let Some(whole) = draft.take() else { return Ok(ControlFlow::<()>::Continue(())) };
                known.retain(|name, _| {
                    let there = whole.contains_key(name);
                    if !there {
                        eprintln!("node {name} is gone");
                    }
                    there
                });
                if std::mem::take(&mut first) && format.is_table() {
                    whole.values().for_each(|node| table.row(row(format, node)));
                    text = table.render() + &totals(counts.running_jobs, counts.waiting_jobs);
                    table.clear();
                    known = whole;
                } else {
                    for node in whole.into_values() {
                        text += &news(format, &mut table, &mut known, node)?;
                    }
                }
            }
        }
        print(&text)?;
        Ok(ControlFlow::<()>::Continue(()))
    })
    .await
}

fn news(
    format: Format,
    table: &mut Table,
    known: &mut BTreeMap<String, Node>,
    node: Node,
) -> Result<String, Error> {
    if known.get(&node.name) == Some(&node) {
        return Ok(String::new());
    }
    let text = match format {
        Format::Json | Format::Yaml => message::render_next(format, "crater.scheduling.v1.Node", &node)?,
        Format::Name => format!("{}\n", node.name),
        Format::Table | Format::Wide => {
            table.row(row(format, &node));
            let text = table.render_rows();
            table.clear();
            text
        }
    };
    known.insert(node.name.clone(), node);
    Ok(text)
}

/// Cordons, opens or drains.
pub async fn turn(context: &Context, command: cli::Node) -> Result<(), Error> {
    match command {
        cli::Node::Cordon(Cordon { node, reason, dry_run }) => {
            let request = CordonNodeRequest { node, reason, validate_only: dry_run };
            let answer = context
                .api
                .call_explained(
                    request,
                    async |channel, r| scheduling(channel).cordon_node(r).await,
                    |status| Error::refused_at(&status, place),
                )
                .await?;
            show(context, answer.node, "cordoned", dry_run)
        }
        cli::Node::Uncordon { node, dry_run } => {
            let request = UncordonNodeRequest { node, validate_only: dry_run };
            let answer = context
                .api
                .call_explained(
                    request,
                    async |channel, r| scheduling(channel).uncordon_node(r).await,
                    |status| Error::refused_at(&status, place),
                )
                .await?;
            show(context, answer.node, "uncordoned", dry_run)
        }
        cli::Node::Drain { cordon, no_wait } => drain(context, cordon, no_wait).await,
    }
}

/// As kubectl does it asks nothing, and waits.
async fn drain(context: &Context, of: Cordon, no_wait: bool) -> Result<(), Error> {
    let request = DrainNodeRequest { node: of.node.clone(), reason: of.reason, validate_only: of.dry_run };
    let answer = context
        .api
        .call_explained(
            request,
            async |channel, r| scheduling(channel).drain_node(r).await,
            |status| Error::refused_at(&status, place),
        )
        .await?;
    eprintln!("{}", leaving(&of.node, &answer.jobs, of.dry_run));
    for job in &answer.jobs {
        eprintln!("  {job}");
    }
    if of.dry_run || no_wait {
        return show(context, answer.node, "draining", of.dry_run);
    }
    let mut last = None;
    let empty = follow(&context.api, |event| {
        let node = match event {
            Event::Node(node) if node.name == of.node => node,
            Event::Deleted(name) if name == of.node => return Ok(ControlFlow::Break(None)),
            _ => return Ok(ControlFlow::Continue(())),
        };
        // the answer may be older than what the stream began with
        if !node.draining && last.is_some() {
            return Ok(ControlFlow::Break(Some(node)));
        }
        if node.draining && node.replicas == 0 {
            return Ok(ControlFlow::Break(Some(node)));
        }
        if node.draining && last.replace(node.replicas) != Some(node.replicas) {
            let replicas = if node.replicas == 1 { "replica is" } else { "replicas are" };
            eprintln!("{} {replicas} still ending on {}", node.replicas, node.name);
        }
        Ok(ControlFlow::Continue(()))
    })
    .await?;
    match empty {
        Some(node) if node.draining => show(context, Some(node), "drained", false),
        Some(_) => Err(ended(format!("node {} was opened again while it was drained", of.node))),
        None => Err(ended(format!("node {} was deleted while it was drained", of.node))),
    }
}

fn ended(text: String) -> Error {
    let error = crater_domain::Error::new(Code::FailedPrecondition, "DRAIN_ENDED", text.clone());
    Error::Refused { error: Box::new(error), text }
}

fn leaving(node: &str, jobs: &[String], dry_run: bool) -> String {
    match (jobs.len(), dry_run) {
        (0, _) => format!("no job holds anything on {node}"),
        (1, false) => format!("1 job leaves {node} and is queued again:"),
        (1, true) => format!("1 job would leave {node}:"),
        (n, false) => format!("{n} jobs leave {node} and are queued again:"),
        (n, true) => format!("{n} jobs would leave {node}:"),
    }
}

fn place(path: &str) -> Option<String> {
    match path {
        "node" => Some("NODE".to_owned()),
        "reason" => Some("--reason".to_owned()),
        _ => None,
    }
}

fn show(context: &Context, node: Option<Node>, done: &str, dry_run: bool) -> Result<(), Error> {
    let node = node.ok_or(Error::Answer("the node"))?;
    let text = match context.format {
        Format::Json | Format::Yaml => message::render(context.format, "crater.scheduling.v1.Node", &node)?,
        Format::Name => format!("{}\n", node.name),
        Format::Table | Format::Wide if dry_run => format!("node {} would be {done}\n", node.name),
        Format::Table | Format::Wide => format!("node {} is {done}\n", node.name),
    };
    Ok(print(&text)?)
}

/// Gives every event to `each` until that has what it wants. Where the stream breaks off it is opened again, and begins anew.
async fn follow<T>(
    api: &Api,
    mut each: impl FnMut(Event) -> Result<ControlFlow<T>, Error>,
) -> Result<T, Error> {
    let mut patience = Patience::default();
    loop {
        let open = async |channel, r| scheduling(channel).watch_cluster(r).await;
        let (stream, token) = match api.open(WatchClusterRequest {}, patience.stale(), open).await {
            Ok(opened) => opened,
            Err(error) => {
                patience.no_token(error).await?;
                continue;
            }
        };
        let broke = match stream {
            Err(status) => status,
            Ok(mut stream) => loop {
                match stream.message().await {
                    Ok(None) => break Status::unavailable("the stream ended"),
                    Err(status) => break status,
                    Ok(Some(message)) => {
                        patience.heard();
                        let Some(event) = message.event else { continue };
                        if let ControlFlow::Break(done) = each(event)? {
                            return Ok(done);
                        }
                    }
                }
            },
        };
        patience.broke(&broke, &token, api.renewable()).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_says_how_many_jobs_leave() {
        let jobs = ["accounts/lab/jobs/a".to_owned(), "accounts/lab/jobs/b".to_owned()];
        assert_eq!(leaving("n0", &[], false), "no job holds anything on n0");
        assert_eq!(leaving("n0", &jobs[..1], true), "1 job would leave n0:");
        assert_eq!(leaving("n0", &jobs, false), "2 jobs leave n0 and are queued again:");
    }

    #[test]
    fn only_news_is_told() {
        let mut table = Table::new(headers(Format::Table), false);
        let mut known = BTreeMap::new();
        let node = Node { name: "n0".into(), schedulable: true, ..Default::default() };
        let mut tell = |node: &Node| news(Format::Table, &mut table, &mut known, node.clone()).unwrap();
        assert!(tell(&node).starts_with("n0"));
        assert_eq!(tell(&node), "");
        assert!(tell(&Node { cordoned: true, ..node }).contains("Cordoned"));
    }
}
