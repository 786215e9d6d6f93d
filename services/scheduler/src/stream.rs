//! The cluster as a stream: all nodes, then those that changed, each as this caller may see it now.

use std::sync::Arc;
use std::time::Duration;

use crater_auth::Caller;
use crater_domain::{Error, Result};
use futures::Stream;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tokio_stream::wrappers::ReceiverStream;

use crate::board::{Board, NodeView, Sight};
use crate::shared::Shared;

/// What comes within this time is shown together.
const GATHER: Duration = Duration::from_millis(100);
/// A sign of life this often.
const PULSE: Duration = Duration::from_secs(5);
/// How long the first list of the cluster is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a watcher hears.
pub enum Event {
    /// Forget everything: what follows is the whole, up to the counts.
    Start,
    /// A node as it is now, and what of it the watcher may see.
    Node(Arc<NodeView>, Arc<Sight>),
    /// A node that is gone.
    Deleted(String),
    /// How many jobs wait, and how many hold something.
    Counts(usize, usize),
}

/// Makes a board of every change, while somebody looks.
pub async fn keep_board(shared: Arc<Shared>) -> Result<(), String> {
    let mut changes = shared.changes();
    loop {
        if changes.changed().await.is_err() {
            return Err("nobody is left to change anything".to_owned());
        }
        tokio::time::sleep(GATHER).await;
        changes.mark_unchanged();
        if shared.is_watched() {
            shared.board_now();
        }
    }
}

/// Everything there is, then every change.
pub async fn watch(
    shared: Arc<Shared>,
    caller: Caller,
) -> Result<impl Stream<Item = Event> + Send + 'static> {
    let mut changes = shared.changes();
    let listed = async { while !shared.cache().unsynced().is_empty() && changes.changed().await.is_ok() {} };
    if tokio::time::timeout(PATIENCE, listed).await.is_err() {
        return Err(Error::unavailable("the cluster is not listed yet"));
    }
    let (events, received) = mpsc::channel(256);
    tokio::spawn(async move {
        // the watcher going away ends it wherever it waits
        let watched = events.clone();
        tokio::select! {
            () = watched.closed() => {}
            _ = follow(&shared, &caller, &events) => {}
        }
    });
    Ok(ReceiverStream::new(received))
}

async fn follow(
    shared: &Shared,
    caller: &Caller,
    to: &mpsc::Sender<Event>,
) -> Result<(), mpsc::error::SendError<Event>> {
    let mut boards = shared.boards();
    let mut identities = shared.directory.changes();
    let mut pulse = interval(PULSE);
    pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // watched from here on: the next board is made of what comes after this one
    let mut board = shared.board_now();
    boards.mark_unchanged();
    let mut sight = Arc::new(Sight::of(caller));
    to.send(Event::Start).await?;
    for node in &board.nodes {
        to.send(Event::Node(node.clone(), sight.clone())).await?;
    }
    to.send(Event::Counts(board.waiting, board.running)).await?;
    pulse.reset();
    loop {
        let pulsed = tokio::select! {
            _ = boards.changed() => false,
            _ = identities.changed() => false,
            _ = pulse.tick() => true,
        };
        let now = boards.borrow_and_update().clone();
        identities.mark_unchanged();
        // a membership that was lost meanwhile is no reason to be told anything more
        let sees = Arc::new(Sight::of(caller));
        let changed = differences(&board, &now, (&sight, &sees));
        let counts = (board.waiting, board.running) != (now.waiting, now.running);
        let news = !changed.is_empty();
        for change in changed {
            match change {
                Change::Node(node) => to.send(Event::Node(node, sees.clone())).await?,
                Change::Deleted(name) => to.send(Event::Deleted(name)).await?,
            }
        }
        if news || counts || pulsed {
            to.send(Event::Counts(now.waiting, now.running)).await?;
            pulse.reset();
        }
        (board, sight) = (now, sees);
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Change {
    Node(Arc<NodeView>),
    Deleted(String),
}

/// What somebody has to hear who saw `before`, with the sight of then and of now.
fn differences(before: &Board, now: &Board, (saw, sees): (&Sight, &Sight)) -> Vec<Change> {
    let mut out = Vec::new();
    let mut known = before.nodes.iter().peekable();
    let gone = |node: &Arc<NodeView>| Change::Deleted(node.machine.name.clone());
    for node in &now.nodes {
        while let Some(was) = known.next_if(|was| was.machine.name < node.machine.name) {
            out.push(gone(was));
        }
        let was = known.next_if(|was| was.machine.name == node.machine.name);
        let same = was.is_some_and(|was| Arc::ptr_eq(was, node));
        if !same || (saw != sees && saw.differs(sees, node)) {
            out.push(Change::Node(node.clone()));
        }
    }
    out.extend(known.map(gone));
    out
}
