//! The output of several replicas in the order of time, with a bounded part of each in memory.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use crater_domain::Result;
use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use tokio::sync::mpsc;

use crate::log_store::LogStore;
use crate::logs::{Piece, log_line};
use crate::replica_log::{Line, Reader, Said};

/// Text of a piece that is sent.
const PIECE: usize = 64 << 10;
/// What a reader may be ahead of the merge, in what it says at a time.
const AHEAD: usize = 1;

/// Says what there is now of all of them. With `lenient`, what a kubelet does not give is left for later.
pub async fn merge(
    store: &LogStore,
    api: &Api<Pod>,
    readers: &mut [Reader],
    lenient: bool,
    to: &mpsc::Sender<Result<Piece>>,
) -> Result<()> {
    let who: Vec<(String, i32)> =
        readers.iter().map(|r| (r.replica.role.clone(), r.replica.replica)).collect();
    let (mouths, ears): (Vec<_>, Vec<_>) = readers.iter().map(|_| mpsc::channel(AHEAD)).unzip();
    let reading = readers.iter_mut().zip(mouths).map(|(reader, mouth)| {
        async move {
            // the mouth closes with the end of this
            let done = reader.snapshot(store, api, &mouth).await;
            drop(mouth);
            match done {
                Err(error) if lenient => {
                    tracing::debug!(?error, "reading a replica's output");
                    Ok(())
                }
                done => done,
            }
        }
    });
    let (read, told) = futures::join!(join_all(reading), tell(&who, ears, to));
    told?;
    read.into_iter().collect()
}

async fn tell(
    who: &[(String, i32)],
    ears: Vec<mpsc::Receiver<(usize, Said)>>,
    to: &mpsc::Sender<Result<Piece>>,
) -> Result<()> {
    let mut out = Out { to, piece: Piece::default(), bytes: 0 };
    let mut heads: Vec<Head> = ears.into_iter().map(|ear| Head { ear, lines: VecDeque::new() }).collect();
    let mut next = BinaryHeap::new();
    for (n, head) in heads.iter_mut().enumerate() {
        next.extend(head.next(&mut out).await?.map(|ns| Reverse((ns, n))));
    }
    while let Some(Reverse((_, n))) = next.pop() {
        let (Some(head), Some((role, replica))) = (heads.get_mut(n), who.get(n)) else { continue };
        if let Some(line) = head.lines.pop_front() {
            out.line(log_line(role, *replica, line.ns, line.text)).await?;
        }
        next.extend(head.next(&mut out).await?.map(|ns| Reverse((ns, n))));
    }
    out.flush().await
}

struct Head {
    ear: mpsc::Receiver<(usize, Said)>,
    lines: VecDeque<Line>,
}

impl Head {
    /// When the next line was written; none at the end.
    async fn next(&mut self, out: &mut Out<'_>) -> Result<Option<i64>> {
        while self.lines.is_empty() {
            match self.ear.recv().await {
                Some((_, Said::Lines(lines))) => self.lines = lines.into(),
                Some((_, Said::Gap(gap))) => out.gap(gap).await?,
                None => return Ok(None),
            }
        }
        Ok(self.lines.front().map(|line| line.ns))
    }
}

struct Out<'a> {
    to: &'a mpsc::Sender<Result<Piece>>,
    piece: Piece,
    bytes: usize,
}

impl Out<'_> {
    async fn line(&mut self, line: crater_api::job::v1::LogLine) -> Result<()> {
        self.bytes += line.text.len() + 32;
        self.piece.lines.push(line);
        if self.bytes >= PIECE { self.flush().await } else { Ok(()) }
    }

    async fn gap(&mut self, gap: String) -> Result<()> {
        self.flush().await?;
        self.send(Piece { lines: Vec::new(), gap }).await
    }

    async fn flush(&mut self) -> Result<()> {
        self.bytes = 0;
        if self.piece.lines.is_empty() {
            return Ok(());
        }
        let piece = std::mem::take(&mut self.piece);
        self.send(piece).await
    }

    async fn send(&self, piece: Piece) -> Result<()> {
        // whoever listened is gone: the task that this runs in ends with that
        let _ = self.to.send(Ok(piece)).await;
        Ok(())
    }
}
