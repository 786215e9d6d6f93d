//! Turns in turn, and the medians of what they came to.

use std::process::{Command, Stdio};

use anyhow::Result;
use tonic::transport::{Channel, Endpoint};

use super::load::{Turn, closed};
use crate::process::Process;

/// The bare server, in a process of its own.
pub struct Echo {
    _process: Process,
    channels: Vec<Channel>,
}

impl Echo {
    /// Starts it; as many connections as the mesh is called over.
    pub fn start(connections: usize) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        let mut process =
            Process::start("echo", command.arg("echo").stdout(Stdio::piped()), "/dev/null".as_ref())?;
        let address = process.read_until(|line| Some(line.to_owned()))?;
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?.tcp_nodelay(true);
        Ok(Self { _process: process, channels: (0..connections).map(|_| endpoint.connect_lazy()).collect() })
    }

    /// A turn of it.
    pub async fn turn(&self, clients: usize, seconds: f64) -> Result<Turn> {
        let (channels, next) = (self.channels.clone(), std::sync::atomic::AtomicUsize::new(0));
        closed(clients, seconds, move || {
            let at = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % channels.len();
            crate::echo::say(channels[at].clone())
        })
        .await
    }
}

/// The turns of one side.
#[derive(Default)]
pub struct Side {
    per_second: Vec<f64>,
    p50_ms: Vec<f64>,
    p99_ms: Vec<f64>,
    failed: u64,
}

impl Side {
    /// Takes one in.
    pub fn add(&mut self, turn: &Turn) {
        self.per_second.push(turn.per_second);
        self.p50_ms.push(turn.latency.value_at_quantile(0.5) as f64 / 1e3);
        self.p99_ms.push(turn.latency.value_at_quantile(0.99) as f64 / 1e3);
        self.failed += turn.failed;
    }

    /// A row: medians, the least and the most in brackets.
    pub fn row(&self, name: &str) -> String {
        let failed = if self.failed == 0 { String::new() } else { format!(" ({} failed)", self.failed) };
        format!(
            "| {name}{failed} | {} | {} | {} |",
            spread(&self.per_second, 0),
            spread(&self.p50_ms, 2),
            spread(&self.p99_ms, 2)
        )
    }

    /// The median of this side's throughput over that of the other, round by round.
    pub fn ratio(&self, other: &Self) -> String {
        let ratios: Vec<f64> = self.per_second.iter().zip(&other.per_second).map(|(a, b)| a / b).collect();
        spread(&ratios, 3)
    }

    /// The median of how much longer this side's median call took, in ms, round by round.
    pub fn longer(&self, other: &Self) -> String {
        let more: Vec<f64> = self.p50_ms.iter().zip(&other.p50_ms).map(|(a, b)| a - b).collect();
        spread(&more, 3)
    }
}

/// The head of a table of rows.
pub const HEAD: &str = "| | calls/s | p50, ms | p99, ms |\n|---|---|---|---|";

/// `median (least–most)`.
pub fn spread(values: &[f64], digits: usize) -> String {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    match sorted.as_slice() {
        [] => "–".to_owned(),
        all => {
            format!("{:.digits$} ({:.digits$}–{:.digits$})", all[all.len() / 2], all[0], all[all.len() - 1])
        }
    }
}
