//! `nodes` and `queue`.

use crater_api::common::v1::Resources;
use crater_api::scheduling::v1::{
    GetClusterRequest, GetClusterResponse, Gpu, ListQueueRequest, ListQueueResponse, Node, QueueEntry,
};
use crater_domain::{format_bytes, format_millis};

use super::Context;
use crate::cli::Queue;
use crate::client::scheduling;
use crate::error::Error;
use crate::names::{account_of, parent, short};
use crate::output::table::Table;
use crate::output::time::{age, now};
use crate::output::{Format, colours, message, print};

/// Lists the nodes.
pub async fn nodes(context: &Context) -> Result<(), Error> {
    let cluster = context
        .api
        .call(GetClusterRequest {}, async |channel, r| scheduling(channel).get_cluster(r).await)
        .await?;
    let text = match context.format {
        Format::Json | Format::Yaml => {
            message::render(context.format, "crater.scheduling.v1.GetClusterResponse", &cluster)?
        }
        Format::Name => cluster.nodes.iter().map(|n| format!("{}\n", n.name)).collect(),
        Format::Table | Format::Wide => node_table(&cluster, context.format, colours()),
    };
    Ok(print(&text)?)
}

fn node_table(cluster: &GetClusterResponse, format: Format, colours: bool) -> String {
    let mut table = Table::new(headers(format), colours);
    cluster.nodes.iter().for_each(|node| table.row(row(format, node)));
    table.render() + &totals(cluster.running_jobs, cluster.waiting_jobs)
}

/// The line below the nodes.
pub fn totals(running: i32, waiting: i32) -> String {
    format!("{} running, {waiting} waiting\n", jobs(running))
}

/// The columns of nodes.
pub fn headers(format: Format) -> &'static [&'static str] {
    if format == Format::Wide {
        &[
            "NAME", "STATUS", "MODEL", "GPUS", "USE", "CPU", "MEMORY", "DEVICES", "OTHERS", "PLACE", "JOBS",
            "MESSAGE",
        ]
    } else {
        &["NAME", "STATUS", "MODEL", "GPUS", "USE", "CPU", "MEMORY"]
    }
}

/// A node's cells.
pub fn row(format: Format, node: &Node) -> Vec<String> {
    let nothing = Resources::default();
    let [allocatable, held, others] =
        [&node.allocatable, &node.held, &node.others].map(|of| of.as_ref().unwrap_or(&nothing));
    let of = |held: String, all: String| format!("{held}/{all}");
    let used = |get: fn(&Resources) -> i64| get(held).saturating_add(get(others));
    let mut cells = vec![
        node.name.clone(),
        status(node),
        node.gpu_model.clone(),
        of(format_millis(used(|r| r.gpu_millis)), format_millis(allocatable.gpu_millis)),
        node.gpus.iter().map(gauge).collect(),
        of(format_millis(used(|r| r.cpu_millis)), format_millis(allocatable.cpu_millis)),
        of(format_bytes(used(|r| r.memory_bytes)), format_bytes(allocatable.memory_bytes)),
    ];
    if format == Format::Wide {
        let mut jobs: Vec<&str> = node.gpus.iter().flat_map(|g| &g.jobs).map(|j| short(j)).collect();
        jobs.sort_unstable();
        jobs.dedup();
        let mut places: Vec<(&str, &str)> =
            node.topology.iter().map(|(key, value)| (short(key), value.as_str())).collect();
        places.sort_unstable();
        let places: Vec<String> = places.into_iter().map(|(kind, name)| format!("{kind}={name}")).collect();
        let held = |name: &String| {
            let of = |r: &Resources| r.devices.get(name).copied().unwrap_or(0);
            of(held).saturating_add(of(others))
        };
        let devices = allocatable.devices.iter().map(|(name, all)| format!("{name}:{}/{all}", held(name)));
        cells.push(devices.collect::<Vec<_>>().join(","));
        cells.push(super::describe::amounts(Some(others), &[]));
        cells.push(places.join(","));
        cells.push(jobs.join(","));
        cells.push(node.message.clone());
    }
    cells
}

fn jobs(n: i32) -> String {
    if n == 1 { "1 job".to_owned() } else { format!("{n} jobs") }
}

fn status(node: &Node) -> String {
    match node {
        Node { draining: true, replicas: 0, .. } => "Drained".to_owned(),
        Node { draining: true, replicas, .. } => format!("Draining({replicas})"),
        Node { cordoned: true, .. } => "Cordoned".to_owned(),
        Node { schedulable: true, .. } => "Ready".to_owned(),
        _ => "NotReady".to_owned(),
    }
}

/// A character a GPU: free `.`, shared `+`, held `#`.
fn gauge(gpu: &Gpu) -> char {
    match gpu.held_millis {
        ..=0 => '.',
        1..1000 => '+',
        _ => '#',
    }
}

/// Lists the jobs that wait.
pub async fn queue(context: &Context, args: Queue) -> Result<(), Error> {
    let parent = parent(args.account.as_deref())?;
    let mut entries: Vec<QueueEntry> = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListQueueRequest { parent: parent.clone(), page_size: 1000, page_token };
        let page =
            context.api.call(request, async |channel, r| scheduling(channel).list_queue(r).await).await?;
        entries.extend(page.entries);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let text = match context.format {
        Format::Json | Format::Yaml => {
            let list = ListQueueResponse { entries, next_page_token: page_token };
            message::render(context.format, "crater.scheduling.v1.ListQueueResponse", &list)?
        }
        Format::Name => entries.iter().map(|e| format!("{}\n", e.job)).collect(),
        Format::Table | Format::Wide if entries.is_empty() => {
            eprintln!("no job waits");
            String::new()
        }
        Format::Table | Format::Wide => queue_table(&entries, now(), colours()),
    };
    Ok(print(&text)?)
}

fn queue_table(entries: &[QueueEntry], now: i64, colours: bool) -> String {
    let headers = ["POSITION", "ACCOUNT", "JOB", "PRIORITY", "GPUS", "CPU", "MEMORY", "WAITING", "BLOCKER"];
    let mut table = Table::new(&headers, colours);
    let nothing = Resources::default();
    for e in entries {
        let r = e.requested.as_ref().unwrap_or(&nothing);
        table.row([
            e.position.to_string(),
            account_of(&e.job).to_owned(),
            short(&e.job).to_owned(),
            e.priority.to_string(),
            format_millis(r.gpu_millis),
            format_millis(r.cpu_millis),
            format_bytes(r.memory_bytes),
            age(e.queue_time.as_ref(), now),
            e.blocker.as_ref().map(|b| format!("{}: {}", b.reason, b.message)).unwrap_or_default(),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use crater_api::scheduling::v1::Blocker;

    use super::*;

    #[test]
    fn nodes_show_each_gpu() {
        let gpu = |held_millis| Gpu { held_millis, ..Default::default() };
        let cluster = GetClusterResponse {
            nodes: vec![
                Node {
                    name: "n1".into(),
                    schedulable: true,
                    allocatable: Some(Resources {
                        cpu_millis: 64_000,
                        memory_bytes: 64 << 30,
                        gpu_millis: 4000,
                        devices: [("rdma/hca".to_owned(), 8)].into(),
                    }),
                    held: Some(Resources {
                        cpu_millis: 1500,
                        memory_bytes: 1 << 30,
                        gpu_millis: 1500,
                        devices: [("rdma/hca".to_owned(), 2)].into(),
                    }),
                    gpu_model: "A100".into(),
                    gpus: vec![gpu(1000), gpu(500), gpu(0), gpu(0)],
                    ..Default::default()
                },
                Node { name: "cpu-1".into(), message: "cordoned".into(), ..Default::default() },
            ],
            waiting_jobs: 2,
            running_jobs: 1,
        };
        assert_eq!(
            node_table(&cluster, Format::Table, false),
            "NAME   STATUS    MODEL  GPUS   USE   CPU     MEMORY\n\
             n1     Ready     A100   1.5/4  #+..  1.5/64  1Gi/64Gi\n\
             cpu-1  NotReady  -      0/0    -     0/0     0/0\n\
             1 job running, 2 waiting\n"
        );
        let wide = node_table(&cluster, Format::Wide, false);
        assert!(wide.contains("cordoned") && wide.contains(" rdma/hca:2/8 "), "{wide}");
    }

    #[test]
    fn a_closed_node_says_how_far_its_drain_has_come() {
        let node = |cordoned, draining, replicas| Node { cordoned, draining, replicas, ..Default::default() };
        let seen = [node(true, false, 3), node(true, true, 3), node(true, true, 0), node(false, false, 0)];
        assert_eq!(seen.each_ref().map(status), ["Cordoned", "Draining(3)", "Drained", "NotReady"]);
    }

    #[test]
    fn the_queue_shows_places_and_what_is_in_the_way() {
        let entry = QueueEntry {
            job: "accounts/lab/jobs/train".into(),
            position: 1,
            priority: 5,
            requested: Some(Resources {
                cpu_millis: 2000,
                memory_bytes: 1 << 30,
                gpu_millis: 8000,
                ..Default::default()
            }),
            queue_time: Some(prost_types::Timestamp { seconds: 0, nanos: 0 }),
            blocker: Some(Blocker { reason: "AccountLimit".into(), message: "8 GPUs at most".into() }),
        };
        assert_eq!(
            queue_table(&[entry], 125_000, false),
            "POSITION  ACCOUNT  JOB    PRIORITY  GPUS  CPU  MEMORY  WAITING  BLOCKER\n\
             1         lab      train  5         8     2    1Gi     2m       AccountLimit: 8 GPUs at most\n"
        );
    }
}
