//! How a service's program begins and how it leaves.

use std::fmt::Display;
use std::process::ExitCode;
use std::time::Duration;

use crate::Error;

/// How a program leaves whose configuration cannot be used: `EX_CONFIG` of `sysexits.h`. Starting it again does not help.
pub const BAD_CONFIG: u8 = 78;

/// The pause before a start is tried again.
const AGAIN: Duration = Duration::from_millis(500);

/// Ends a program, once its last spans are sent: 0, [`BAD_CONFIG`] for a configuration that cannot be used, 1 for anything else. The reason is one line on
/// standard error.
pub fn leave(program: &str, result: anyhow::Result<()>) -> ExitCode {
    crater_telemetry::flush();
    let Err(error) = result else { return ExitCode::SUCCESS };
    let text = format!("{error:#}");
    eprintln!("{program}: {}", text.split_whitespace().collect::<Vec<_>>().join(" "));
    let of_config = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<Error>().is_some_and(Error::is_configuration)
    };
    if error.chain().any(of_config) { ExitCode::from(BAD_CONFIG) } else { ExitCode::FAILURE }
}

/// Names the key whose value cannot be used.
///
/// # Errors
/// [`Error::Setting`] with what was said against the value.
pub fn setting<T, E: Display>(key: &'static str, value: Result<T, E>) -> Result<T, Error> {
    value.map_err(|why| Error::Setting { key, why: why.to_string() })
}

/// The value of a key that has no default.
///
/// # Errors
/// [`Error::Setting`] where it is not set.
pub fn required<T>(key: &'static str, what: &str, value: Option<T>) -> Result<T, Error> {
    value.ok_or_else(|| Error::Setting { key, why: format!("must be set: {what}") })
}

/// Starts what needs another part of the system, which may be away when a whole house starts at once: `start` is tried again
/// as long as its error is one that `passes` by itself. The same error in a row is logged once.
///
/// # Errors
/// The first error that does not pass.
pub async fn patiently<T, E: Display>(
    what: &str,
    passes: impl Fn(&E) -> bool,
    mut start: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T, E> {
    let mut logged = None;
    loop {
        let error = match start().await {
            Err(error) if passes(&error) => error.to_string(),
            result => return result,
        };
        if logged.as_ref() != Some(&error) {
            tracing::warn!(what, error, "cannot start yet, trying again");
            logged = Some(error);
        }
        tokio::time::sleep(AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn only_a_bad_configuration_leaves_with_its_code() {
        let bad = setting("database", Err::<(), _>("no such scheme"));
        assert_eq!(bad.as_ref().unwrap_err().to_string(), "database: no such scheme");
        let code = |result: anyhow::Result<()>| format!("{:?}", leave("test", result));
        let of = |code: u8| format!("{:?}", ExitCode::from(code));
        assert_eq!(code(Ok(())), of(0));
        assert_eq!(code(bad.context("starting")), of(BAD_CONFIG));
        assert_eq!(code(required("user", "where is it?", None::<()>).map_err(Into::into)), of(BAD_CONFIG));
        assert_eq!(code(Err(anyhow::anyhow!("the disk is full"))), of(1));
        let taken = std::io::Error::from(std::io::ErrorKind::AddrInUse);
        let taken = Error::Listen { addr: ([127, 0, 0, 1], 1).into(), source: taken };
        assert_eq!(code(Err(taken.into())), of(1), "another start may find the port free");
    }

    #[tokio::test]
    async fn a_start_waits_for_what_is_away_and_for_nothing_else() {
        let mut tries = 0;
        let result = patiently(
            "test",
            |e: &String| e == "away",
            async || {
                tries += 1;
                if tries < 3 { Err("away".to_owned()) } else { Err("refused".to_owned()) }
            },
        );
        assert_eq!(result.await, Err::<(), _>("refused".to_owned()));
        assert_eq!(tries, 3);
    }
}
