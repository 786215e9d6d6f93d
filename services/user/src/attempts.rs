//! How often a password may be guessed: a bucket of tries a user, which refills slowly.
//!
//! In memory and per process: a restart or a second replica gives a few more guesses, and no guess writes to the database.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crater_domain::UserId;

/// Tries in a full bucket.
const TRIES: i64 = 20;
/// One try comes back after this long, in milliseconds.
const REFILL_MS: i64 = 6_000;
/// Users remembered; beyond it, those whose buckets are full again are forgotten first.
const REMEMBERED: usize = 10_000;

/// The buckets.
#[derive(Default)]
pub struct Attempts {
    /// When the bucket is full again, by user: so much earlier as there are tries left.
    full_at_ms: Mutex<HashMap<UserId, i64>>,
}

impl Attempts {
    /// Takes a try, or says how long to wait for one.
    pub fn take(&self, user: &UserId, now_ms: i64) -> Result<(), Duration> {
        let mut buckets = self.full_at_ms.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= REMEMBERED && !buckets.contains_key(user) {
            buckets.retain(|_, full_at| *full_at > now_ms);
            if buckets.len() >= REMEMBERED
                && let Some(soonest) =
                    buckets.iter().min_by_key(|(_, full_at)| **full_at).map(|(user, _)| user.clone())
            {
                buckets.remove(&soonest);
            }
        }
        let full_at = buckets.entry(user.clone()).or_insert(now_ms);
        let after = (*full_at).max(now_ms) + REFILL_MS;
        let wait_ms = after - now_ms - TRIES * REFILL_MS;
        if wait_ms > 0 {
            return Err(Duration::from_millis(wait_ms.unsigned_abs()));
        }
        *full_at = after;
        Ok(())
    }

    /// The password was right: the bucket is full again.
    pub fn forgive(&self, user: &UserId) {
        self.full_at_ms.lock().unwrap_or_else(PoisonError::into_inner).remove(user);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ann() -> UserId {
        "ann".parse().unwrap()
    }

    #[test]
    fn guesses_run_out_and_come_back_one_by_one() {
        let attempts = Attempts::default();
        for _ in 0..TRIES {
            attempts.take(&ann(), 0).unwrap();
        }
        assert_eq!(attempts.take(&ann(), 0), Err(Duration::from_millis(REFILL_MS.unsigned_abs())));
        assert_eq!(attempts.take(&ann(), REFILL_MS - 1), Err(Duration::from_millis(1)));
        attempts.take(&ann(), REFILL_MS).unwrap();
        assert!(attempts.take(&ann(), REFILL_MS).is_err());
        attempts.take(&"bob".parse().unwrap(), 0).unwrap();
    }

    #[test]
    fn a_right_password_forgives() {
        let attempts = Attempts::default();
        for _ in 0..3 * TRIES {
            attempts.take(&ann(), 0).unwrap();
            attempts.forgive(&ann());
        }
    }

    #[test]
    fn memory_is_bounded_and_the_worst_guessed_is_remembered() {
        let attempts = Attempts::default();
        for _ in 0..TRIES {
            attempts.take(&ann(), 0).unwrap();
        }
        for n in 0..REMEMBERED + 50 {
            attempts.take(&format!("u{n}").parse().unwrap(), 0).unwrap();
        }
        assert!(attempts.full_at_ms.lock().unwrap().len() <= REMEMBERED);
        assert!(attempts.take(&ann(), 0).is_err());
    }
}
