//! Playing a Pod: how long it says it runs, and what its log says meanwhile.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::report::Life;
use crate::api::Api;
use crate::api::object::{self, annotation, list, text};
use crate::clock::later;
use crate::logs::Log;

const DURATION: &str = "play.crater.dev/duration";
const EXIT_CODE: &str = "play.crater.dev/exit-code";
const STOP_AFTER: &str = "play.crater.dev/stop-after";

/// What a Pod's annotations declare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Absent: until it is deleted.
    pub duration: Option<Duration>,
    pub exit_code: i32,
    /// How long it takes to stop once asked to, for instance to save its work.
    stop_after: Duration,
}

impl Plan {
    /// Reads the annotations; the error names the one that makes no sense.
    pub fn of(pod: &Value) -> Result<Self, String> {
        let exit_code = match annotation(pod, EXIT_CODE) {
            Some(text) => {
                let code = text.parse::<u8>();
                code.map_err(|_| format!("annotation {EXIT_CODE}: {text:?} is not a number from 0 to 255"))?
            }
            None => 0,
        };
        Ok(Self {
            duration: duration(pod, DURATION)?,
            exit_code: i32::from(exit_code),
            stop_after: duration(pod, STOP_AFTER)?.unwrap_or_default(),
        })
    }

    /// When a Pod stops that was asked to now and will be killed at `until`.
    pub fn stops_at(&self, now: Timestamp, until: Timestamp) -> Timestamp {
        later(now, self.stop_after).min(until.max(now))
    }
}

fn duration(pod: &Value, name: &str) -> Result<Option<Duration>, String> {
    let Some(text) = annotation(pod, name) else { return Ok(None) };
    let parsed = text.parse::<SignedDuration>().ok().and_then(|d| Duration::try_from(d).ok());
    parsed
        .map(Some)
        .ok_or_else(|| format!("annotation {name}: {text:?} is not a duration such as 5s or 250ms"))
}

pub(crate) fn begin_logs(api: &Arc<Api>, pod: &Value, plan: &Plan, at: Timestamp) {
    for container in list(pod, &["spec", "containers"]) {
        let log = Log::in_memory();
        let until = plan.duration.map_or_else(|| "until deleted".to_owned(), |d| format!("for {d:?}"));
        log.write_line(at, &format!("playing {until} on {}", object::node_name(pod)));
        api.logs.add(object::uid(pod), text(container, &["name"]), log);
    }
}

pub(crate) fn end_logs(api: &Arc<Api>, pod: &Value, life: &Life) {
    let Life::Ended { at, outcomes, .. } = life else { return };
    for (container, outcome) in list(pod, &["spec", "containers"]).iter().zip(outcomes) {
        if let Some(log) = api.logs.get(object::uid(pod), text(container, &["name"])) {
            log.write_line(*at, &format!("ended with exit code {}", outcome.exit_code));
            log.end();
        }
    }
}
