//! The time that the cluster lives in: real (at any speed) or moved by hand in tests.
//!
//! Everything that k8s-mem dates or delays asks this clock, so a test on [`ManualClock`] never sleeps.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;

/// A source of time.
pub trait Clock: Debug + Send + Sync + 'static {
    /// The instant on this clock.
    fn now(&self) -> Timestamp;
    /// Ends when this clock has reached `at`; at once if it has already.
    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()>;
}

/// A clock as the parts of the cluster share it.
pub type SharedClock = Arc<dyn Clock>;

/// Real time, running `scale` times as fast as the wall clock since it was made.
#[derive(Debug, Clone)]
pub struct RealClock {
    origin: Timestamp,
    started: Instant,
    scale: f64,
}

impl RealClock {
    /// A clock that runs `scale` times as fast as the wall; what is not a positive number counts as 1.
    pub fn new(scale: f64) -> Self {
        let scale = if scale.is_finite() && scale > 0.0 { scale } else { 1.0 };
        Self { origin: Timestamp::now(), started: Instant::now(), scale }
    }

    /// The same, ready to be shared.
    pub fn shared(scale: f64) -> SharedClock {
        Arc::new(Self::new(scale))
    }
}

impl Clock for RealClock {
    fn now(&self) -> Timestamp {
        let elapsed = self.started.elapsed().as_secs_f64() * self.scale;
        later(self.origin, Duration::try_from_secs_f64(elapsed).unwrap_or(Duration::MAX))
    }

    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()> {
        let left = at.duration_since(self.now()).as_secs_f64() / self.scale;
        // rounding up by a little spares a second wake-up just before the deadline
        let wait = Duration::try_from_secs_f64(left.max(0.0)).unwrap_or(Duration::MAX);
        tokio::time::sleep(wait.min(Duration::from_secs(86_400 * 365))).boxed()
    }
}

/// A clock that stands still until it is advanced.
#[derive(Debug, Clone)]
pub struct ManualClock {
    now: Arc<watch::Sender<Timestamp>>,
}

impl ManualClock {
    /// A clock standing at `start`.
    pub fn new(start: Timestamp) -> Self {
        Self { now: Arc::new(watch::Sender::new(start)) }
    }

    /// Moves the clock on and wakes whoever waited for an instant that has now come.
    pub fn advance(&self, by: Duration) {
        self.now.send_modify(|now| *now = later(*now, by));
    }
}

impl Default for ManualClock {
    /// Standing at 2026-01-01T00:00:00Z.
    fn default() -> Self {
        Self::new(Timestamp::from_second(1_767_225_600).unwrap_or(Timestamp::UNIX_EPOCH))
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.now.borrow()
    }

    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()> {
        let mut now = self.now.subscribe();
        async move {
            if now.wait_for(|now| *now >= at).await.is_err() {
                // nobody is left who could advance the clock
                futures::future::pending::<()>().await;
            }
        }
        .boxed()
    }
}

/// `at + by`, at the end of time at the latest.
pub(crate) fn later(at: Timestamp, by: Duration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// The instant as metav1.Time: whole seconds, RFC 3339.
pub(crate) fn stamp(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second()).unwrap_or(at).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_scaled_clock_reaches_its_hours_in_milliseconds() {
        let clock = RealClock::new(1_000_000.0);
        let (began, start) = (Instant::now(), clock.now());
        clock.sleep_until(later(start, Duration::from_secs(3600))).await;
        assert!(clock.now().duration_since(start).as_secs() >= 3600);
        assert!(began.elapsed() < Duration::from_secs(10));
        assert_eq!(RealClock::new(f64::NAN).scale, 1.0);
    }

    #[tokio::test]
    async fn a_manual_clock_wakes_those_whose_time_has_come_and_no_others() {
        let clock = ManualClock::default();
        let soon = clock.sleep_until(later(clock.now(), Duration::from_secs(1)));
        let late = clock.sleep_until(later(clock.now(), Duration::from_secs(3)));
        clock.advance(Duration::from_secs(2));
        soon.await;
        assert!(late.now_or_never().is_none());
    }
}
