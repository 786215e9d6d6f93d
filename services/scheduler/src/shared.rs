//! What the loops and the calls share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use crater_api::convert::to_unix_millis;
use crater_auth::Directory;
use crater_engine::Settings;
use crater_k8s::lease::Clock;
use tokio::sync::watch;

use crate::board::Board;
use crate::cache::{Cache, News};
use crate::foresight::{Decided, Foresight};
use crate::frame::{Frame, Promised};
use crate::jobs::JobEntry;
use crate::leader::Leader;
use crate::past::Past;
use crate::setbacks::Setbacks;
use crate::snapshot::{Beside, Known, frame};
use crate::told::Verdicts;
use crate::words::Words;

/// Where several locks are needed: setbacks, the cache, promises, what is known.
pub struct Shared {
    cache: Mutex<Cache>,
    setbacks: Mutex<Setbacks>,
    promises: Mutex<Promised>,
    known: Mutex<Known>,
    past: Mutex<Past>,
    settings: Settings,
    decided: watch::Sender<Option<Arc<Decided>>>,
    foresight: Mutex<Foresight>,
    /// Trials on copies of the cluster go one after the other, so that they leave most of the machine to the loop.
    pub trials: tokio::sync::Mutex<()>,
    verdicts: RwLock<Arc<Verdicts>>,
    /// Who may write.
    pub leader: Leader,
    /// The accounts' tree.
    pub directory: Directory,
    clock: Clock,
    /// Counts changes.
    changed: watch::Sender<u64>,
    boards: watch::Sender<Arc<Board>>,
    relists: watch::Sender<u64>,
}

impl Shared {
    /// Knows nothing yet.
    pub fn new(directory: Directory, clock: Clock, settings: Settings) -> Self {
        Self {
            cache: Mutex::default(),
            setbacks: Mutex::default(),
            promises: Mutex::default(),
            known: Mutex::default(),
            past: Mutex::default(),
            settings,
            decided: watch::Sender::default(),
            foresight: Mutex::default(),
            trials: tokio::sync::Mutex::default(),
            verdicts: RwLock::default(),
            leader: Leader::new(clock.clone()),
            directory,
            clock,
            changed: watch::Sender::new(1),
            boards: watch::Sender::default(),
            relists: watch::Sender::new(0),
        }
    }

    /// What is known of the cluster.
    pub fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Jobs that are left aside.
    pub fn setbacks(&self) -> MutexGuard<'_, Setbacks> {
        self.setbacks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a cycle would decide on at this moment.
    pub fn frame(&self, cycle: u64) -> Frame {
        let mut now = self.look(cycle, |cache, beside, known| {
            let news = cache.take_news();
            framed(cache, beside, known, news)
        });
        self.look_back(&mut now);
        now
    }

    /// The same for a job that is thought of, as the last one, and the names that it was read by: what is only thought of is heard of by
    /// nobody else.
    ///
    /// # Errors
    /// Those of reading the job.
    pub fn imagine<E>(
        &self,
        read: impl FnOnce(&Words) -> Result<Option<JobEntry>, E>,
    ) -> Result<(Frame, Words, Option<JobEntry>), E> {
        let (mut frame, words, thought) = self.look(0, |cache, beside, known| {
            // names that are there are heard first: the job's own come behind them
            let news = cache.take_news();
            known.update(cache, beside, news);
            let words = cache.words.copy();
            let thought = read(&words)?;
            let beside = Beside { thought: thought.as_ref().map(|thought| (thought, &words)), ..*beside };
            let frame = framed(cache, &beside, known, News::default());
            Ok((frame, words, thought))
        })?;
        self.look_back(&mut frame);
        Ok((frame, words, thought))
    }

    fn look<R>(&self, cycle: u64, with: impl FnOnce(&mut Cache, &Beside<'_>, &mut Known) -> R) -> R {
        let tree = self.directory.account_tree();
        let mut setbacks = self.setbacks();
        let mut cache = self.cache();
        setbacks.retain(|job| cache.jobs.get(job).is_some());
        let promises = self.promises.lock().unwrap_or_else(PoisonError::into_inner);
        let beside = Beside {
            tree: &tree,
            setbacks: &setbacks,
            promises: &promises,
            thought: None,
            settings: self.settings,
            now_ms: self.now_ms(),
            cycle,
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        with(&mut cache, &beside, &mut known)
    }

    /// Adds what follows from what was.
    fn look_back(&self, now: &mut Frame) {
        let half_life = self.settings.half_life_ms;
        if half_life > 0 {
            now.snapshot.lately = self.past().forward(&now.accounts, now.snapshot.now, half_life);
        }
        if self.settings.asks_for_predictions() {
            self.foresight().predict(now);
        }
    }

    /// A cycle is decided: for those who follow.
    pub fn leave(&self, decided: Arc<Decided>) {
        self.decided.send_replace(Some(decided));
    }

    /// Follows what is decided; the last cycle, once there was one.
    pub fn decided(&self) -> watch::Receiver<Option<Arc<Decided>>> {
        self.decided.subscribe()
    }

    /// What was learned.
    pub fn foresight(&self) -> MutexGuard<'_, Foresight> {
        self.foresight.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What accounts borrowed lately.
    pub fn past(&self) -> MutexGuard<'_, Past> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the last cycle promised.
    pub fn promise(&self, promises: Promised) {
        *self.promises.lock().unwrap_or_else(PoisonError::into_inner) = promises;
    }

    /// What was said in the last cycle.
    pub fn verdicts(&self) -> Arc<Verdicts> {
        self.verdicts.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says something new.
    pub fn say(&self, verdicts: Verdicts) {
        *self.verdicts.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(verdicts);
    }

    /// Milliseconds since 1970.
    pub fn now_ms(&self) -> i64 {
        to_unix_millis((self.clock)())
    }

    /// Something is new: the loop looks again.
    pub fn wake(&self) {
        self.changed.send_modify(|change| *change += 1);
    }

    /// Hears of what is new.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// The board of this moment; made anew only after a change, by the first who asks.
    pub fn board_now(&self) -> Arc<Board> {
        self.boards.send_if_modified(|board| {
            // before the cache is looked at: what comes after that is another change
            let change = *self.changed.borrow();
            let new = board.change != change;
            if new {
                *board = Arc::new(Board::new(&self.cache(), board, change));
            }
            new
        });
        self.boards.borrow().clone()
    }

    /// Hears of every new board, which are made while somebody hears.
    pub fn boards(&self) -> watch::Receiver<Arc<Board>> {
        self.boards.subscribe()
    }

    /// Whether anybody hears of new boards.
    pub fn is_watched(&self) -> bool {
        self.boards.receiver_count() > 0
    }

    /// Asks for a new list of Allocations; [`Cache::listed`] reaches the answer once it is in.
    pub fn relist(&self) -> u64 {
        self.relists.send_modify(|request| *request += 1);
        *self.relists.borrow()
    }

    /// Hears of requests for a new list.
    pub fn relists(&self) -> watch::Receiver<u64> {
        self.relists.subscribe()
    }
}

/// The frame of a moment, which is what it would be if nothing had been known before.
fn framed(cache: &Cache, beside: &Beside<'_>, known: &mut Known, news: News) -> Frame {
    let now = frame(cache, beside, known, news);
    debug_assert_eq!(
        now.in_words(),
        frame(cache, beside, &mut Known::default(), News::all()).in_words(),
        "what is known is not what there is"
    );
    now
}
