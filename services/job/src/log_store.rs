//! The store of kept output: pieces from many readers into the tables, several in one transaction, and back out line by line.
//!
//! Blocks are in the service's own database. Another place for them is another body of [`LogStore::keep`] and
//! [`LogStore::next`].

use std::sync::Arc;
use std::time::Duration;

use crater_domain::{Error, Result};
use crater_store::job::{self, LogBlock, LogKept, LogPiece, LogPlace, LogStream};
use crater_store::{Db, Tx};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::config::LogConfig;

/// How long a piece waits for others to share its transaction with: one commit is one write to the disk.
const LINGER: Duration = Duration::from_millis(60);
/// Pieces of one transaction, and text in them.
const TOGETHER: usize = 128;
const TEXT_TOGETHER: i64 = 2 << 20;
/// Text after which the whole store's size is looked at again.
const LOOK_AFTER: i64 = 64 << 20;

struct Order {
    piece: LogPiece,
    done: oneshot::Sender<Result<LogKept>>,
}

/// The store. Clones share it.
#[derive(Clone)]
pub struct LogStore {
    db: Db,
    orders: mpsc::Sender<Order>,
    limits: LogConfig,
}

/// Where reading goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// After so many lines of this block.
    Block(i64, i64),
    /// After this place.
    Place(LogPlace),
}

/// A look at what is stored.
#[derive(Debug)]
pub struct Look {
    /// What is known of the log.
    pub stream: LogStream,
    /// The next block, if there is one.
    pub block: Option<LogBlock>,
    /// Lines of it that come before the place.
    pub skip: i64,
}

impl LogStore {
    /// Opens it; the writer lives as long as one of the clones.
    pub fn new(db: Db, limits: LogConfig) -> Self {
        let (orders, received) = mpsc::channel(TOGETHER);
        tokio::spawn(write(db.clone(), received, limits.clone()));
        Self { db, orders, limits }
    }

    /// Whether anything is kept.
    pub fn keeps(&self) -> bool {
        self.limits.total_bytes > 0
    }

    /// The limits.
    pub fn limits(&self) -> &LogConfig {
        &self.limits
    }

    /// Keeps a piece, durably.
    pub async fn keep(&self, piece: LogPiece) -> Result<LogKept> {
        let (done, kept) = oneshot::channel();
        let gone = || Error::unavailable("the log store is closed");
        self.orders.send(Order { piece, done }).await.map_err(|_| gone())?;
        kept.await.map_err(|_| gone())?
    }

    /// What is stored of a Pod's log from there on; none where nothing is known of it.
    pub async fn next(&self, pod: &str, from: From) -> Result<Option<Look>> {
        let pod = pod.to_owned();
        self.db
            .read::<_, Error, _>(Tx::ReadLogs, move |c| {
                let Some(stream) = job::log_stream(c, &pod)? else { return Ok(None) };
                let (first, skip) = match from {
                    From::Block(sequence, lines) => (Some(sequence), lines),
                    From::Place(place) if place.ns == 0 => (Some(0), 0),
                    From::Place(place) => (job::log_block_at(c, &pod, place.ns)?, 0),
                };
                let block = match first {
                    Some(first) => job::log_blocks(c, &pod, first, 1)?.pop(),
                    None => None,
                };
                // what stood before in it was dropped: another one took its place
                let skip = if block.as_ref().map(|b| b.sequence) == first { skip } else { 0 };
                Ok(Some(Look { stream, block, skip }))
            })
            .await
    }

    /// The block with which the last lines begin, and how many lines of it come before them.
    pub async fn tail(&self, pod: &str, lines: i64) -> Result<(i64, i64)> {
        let pod = pod.to_owned();
        self.db.read::<_, Error, _>(Tx::ReadLogs, move |c| Ok(job::log_tail(c, &pod, lines)?)).await
    }

    /// The first block with a line written at `ns` or later.
    pub async fn first_after(&self, pod: &str, ns: i64) -> Result<Option<i64>> {
        let pod = pod.to_owned();
        self.db.read::<_, Error, _>(Tx::ReadLogs, move |c| Ok(job::log_block_at(c, &pod, ns)?)).await
    }
}

async fn write(db: Db, mut orders: mpsc::Receiver<Order>, limits: LogConfig) {
    let mut since_look = LOOK_AFTER;
    while let Some(first) = orders.recv().await {
        let until = Instant::now() + LINGER;
        let mut text = size(&first.piece);
        let mut batch = vec![first];
        while text < TEXT_TOGETHER && batch.len() < TOGETHER {
            match timeout_at(until, orders.recv()).await {
                Ok(Some(order)) => {
                    text += size(&order.piece);
                    batch.push(order);
                }
                Ok(None) | Err(_) => break,
            }
        }
        let (pieces, dones): (Vec<_>, Vec<_>) = batch.into_iter().map(|o| (o.piece, o.done)).unzip();
        let (pieces, limit) = (Arc::new(pieces), limits.replica_bytes);
        let kept = db
            .transaction::<_, Error, _>(Tx::KeepLogs, move |c| {
                pieces.iter().map(|piece| Ok(job::keep_log(c, piece, limit)?)).collect::<Result<Vec<_>>>()
            })
            .await;
        match kept {
            Ok(kept) => {
                for (done, kept) in dones.into_iter().zip(kept) {
                    // whoever asked may be gone
                    let _ = done.send(Ok(kept));
                }
            }
            Err(error) => {
                let said = error.to_string();
                for done in dones {
                    let _ = done.send(Err(Error::unavailable("keeping output").caused_by(said.clone())));
                }
            }
        }
        since_look += text;
        if since_look >= LOOK_AFTER {
            since_look = 0;
            if let Err(error) = shrink(&db, &limits).await {
                tracing::warn!(?error, "making room in the log store");
            }
        }
    }
}

fn size(piece: &LogPiece) -> i64 {
    piece.blocks.iter().map(|b| b.text_bytes).sum()
}

/// Takes the output of deleted jobs away, and what is too much.
///
/// # Errors
/// The tables'.
pub async fn shrink(db: &Db, limits: &LogConfig) -> Result<()> {
    while db.transaction::<_, Error, _>(Tx::ShrinkLogs, |c| Ok(job::clear_logs(c)?)).await? {}
    let limit = limits.total_bytes;
    while db.transaction::<_, Error, _>(Tx::ShrinkLogs, move |c| Ok(job::shrink_logs(c, limit)?)).await? {}
    Ok(())
}
