//! The loop: when something is new, and now and then without that, look at everything, decide, say why, write.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crater_engine::{Engine, Plan, Snapshot};
use tokio::time::Instant;

use crate::cache::Cache;
use crate::foresight::Decided;
use crate::frame::Promised;
use crate::past::Past;
use crate::record::Recorder;
use crate::shared::Shared;
use crate::told::Verdicts;
use crate::writer::Writer;

/// What comes within this time is decided on together.
const GATHER: Duration = Duration::from_millis(10);
/// Back-offs pass and clocks move without any event.
const TICK: Duration = Duration::from_secs(1);
/// The pause after a cycle whose writes did not all go well; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The loop's own memory. Losing it loses no law.
struct Memory {
    cycle: u64,
    /// The epoch, and the request for the list with which it began.
    term: Option<(i64, u64)>,
    engine: Option<Engine>,
}

/// Runs until it is dropped.
pub async fn run(
    shared: Arc<Shared>,
    writer: Arc<Writer>,
    recorder: Arc<Mutex<Option<Recorder>>>,
) -> Result<(), String> {
    let mut changes = shared.changes();
    let mut accounts = shared.directory.changes();
    let mut terms = shared.leader.changes();
    let mut memory = Memory { cycle: 0, term: None, engine: None };
    let mut pause = FIRST_PAUSE;
    let mut next = Instant::now();
    loop {
        tokio::select! {
            _ = changes.changed() => {}
            _ = accounts.changed() => {}
            _ = terms.changed() => {}
            () = tokio::time::sleep_until(next) => {}
        }
        tokio::time::sleep(GATHER).await;
        changes.mark_unchanged();
        accounts.mark_unchanged();
        terms.mark_unchanged();
        let well = once(&shared, &writer, &recorder, &mut memory).await?;
        if well {
            pause = FIRST_PAUSE;
        } else {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            shared.wake();
        }
        next = Instant::now() + TICK;
    }
}

/// One cycle. Answers whether all writes went well.
async fn once(
    shared: &Arc<Shared>,
    writer: &Writer,
    recorder: &Arc<Mutex<Option<Recorder>>>,
    memory: &mut Memory,
) -> Result<bool, String> {
    let Some(term) = shared.leader.term() else {
        shared.promise(Promised::default());
        return Ok(true);
    };
    let listed = match memory.term {
        Some((epoch, request)) if epoch == term.epoch => request,
        _ => {
            let request = shared.relist();
            memory.term = Some((term.epoch, request));
            shared.promise(Promised::default());
            request
        }
    };
    if !known(&shared.cache(), listed) {
        return Ok(true);
    }
    memory.cycle += 1;
    let frame = shared.frame(memory.cycle);
    let (mut engine, recorder) = (memory.engine.take(), recorder.clone());
    let decided = tokio::task::spawn_blocking(move || {
        let plan = decide(&mut engine, &frame.snapshot)?;
        record(&recorder, &frame.snapshot, &plan);
        let decided = Arc::new(Decided { frame, plan });
        let verdicts = Verdicts::new(decided.clone());
        Ok::<_, String>((engine, decided, verdicts))
    });
    let (engine, decided, verdicts) = decided.await.map_err(|error| format!("deciding: {error}"))??;
    memory.engine = engine;
    let Decided { frame, plan } = &*decided;
    shared.promise(frame.keep(plan));
    if !plan.borrowed.is_empty() {
        let snapshot = &frame.snapshot;
        *shared.past() = Past::follow(&frame.accounts, snapshot.now, &snapshot.lately, &plan.borrowed);
    }
    shared.say(verdicts);
    let well = writer.carry_out(shared, frame, plan, term.epoch).await;
    shared.leave(decided);
    Ok(well)
}

/// Decides as [`crater_engine::decide`] does; an engine that knows the last snapshot looks only at what is new.
pub fn decide(engine: &mut Option<Engine>, snapshot: &Snapshot) -> Result<Plan, String> {
    let followed = match engine.as_mut() {
        Some(engine) => engine.follow(snapshot),
        None => Engine::new(snapshot.clone()).map(|new| *engine = Some(new)),
    };
    if let (Ok(()), Some(engine)) = (followed, engine.as_mut()) {
        let mut plan = engine.decide();
        plan.verdicts = engine.verdicts();
        return Ok(plan);
    }
    // what is held twice for some reason is not to hold everybody up
    *engine = None;
    crater_engine::decide(snapshot).map_err(|error| format!("deciding on a snapshot: {error}"))
}

/// Adds to the recording, if there is one. Scheduling does not depend on it: what cannot be written ends it.
fn record(recorder: &Mutex<Option<Recorder>>, snapshot: &Snapshot, plan: &Plan) {
    let mut recorder = recorder.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(Err(error)) = recorder.as_mut().map(|recorder| recorder.cycle(snapshot, plan)) else { return };
    tracing::error!(%error, "the recording ends here: it cannot be written");
    *recorder = None;
}

/// Is enough known to decide on?
fn known(cache: &Cache, listed: u64) -> bool {
    cache.unsynced().is_empty() && cache.listed() >= listed && cache.quotas().is_some()
}
