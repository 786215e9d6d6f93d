//! Keeping a background loop alive.

use std::fmt::Display;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::{Condition, Readiness, Shutdown};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A run at least this long was a success before it failed: the next pause is short again.
const GOOD_RUN: Duration = Duration::from_secs(30);

/// Runs `body` in a task until it returns `Ok` or `shutdown` is cancelled, which drops it wherever it waits. When it
/// returns an error or panics it is started anew after a pause (100 ms doubling to 5 s, jittered).
///
/// `body` gets the condition called `name` of `readiness` and says `ready()` when it does its work; a failure takes that
/// back with the error as the reason. The same error in a row is logged once.
pub fn supervise<F, Fut, E>(
    name: &str,
    readiness: &Readiness,
    shutdown: &Shutdown,
    mut body: F,
) -> JoinHandle<()>
where
    F: FnMut(Condition) -> Fut + Send + 'static,
    Fut: Future<Output = Result<(), E>> + Send,
    E: Display + Send,
{
    let condition = readiness.condition(name);
    let shutdown = shutdown.clone();
    let name = name.to_owned();
    tokio::spawn(async move {
        let mut pause = FIRST_PAUSE;
        let mut logged = None;
        loop {
            let start = Instant::now();
            let run = AssertUnwindSafe(body(condition.clone())).catch_unwind();
            let error = tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                result = run => match result {
                    Ok(Ok(())) => return,
                    Ok(Err(error)) => error.to_string(),
                    Err(_) => "panicked".to_owned(),
                },
            };
            condition.not_ready(&error);
            if start.elapsed() >= GOOD_RUN {
                pause = FIRST_PAUSE;
                logged = None;
            }
            if logged.as_ref() != Some(&error) {
                tracing::warn!(task = name, error, "background loop failed, starting it again");
                logged = Some(error);
            }
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..=1.0))) => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test]
    async fn a_failing_loop_is_restarted_and_names_its_reason_meanwhile() {
        let readiness = Readiness::new("test");
        let runs = Arc::new(AtomicU32::new(0));
        let counted = runs.clone();
        let seen = readiness.clone();
        let task = supervise("loop", &readiness, &Shutdown::new(), move |condition| {
            let run = counted.fetch_add(1, Ordering::SeqCst);
            let seen = seen.clone();
            async move {
                match run {
                    0 => Err("no database"),
                    1 => {
                        assert_eq!(seen.missing()[0].why, "no database");
                        panic!("a bug")
                    }
                    _ => {
                        assert_eq!(seen.missing()[0].why, "panicked");
                        condition.ready();
                        Ok(())
                    }
                }
            }
        });
        task.await.unwrap();
        assert_eq!(runs.load(Ordering::SeqCst), 3);
        assert!(readiness.is_ready());
    }

    #[tokio::test]
    async fn shutdown_ends_a_loop_wherever_it_waits() {
        let shutdown = Shutdown::new();
        let readiness = Readiness::new("test");
        let task = supervise("loop", &readiness, &shutdown, |_| std::future::pending::<Result<(), String>>());
        shutdown.cancel();
        task.await.unwrap();
    }
}
