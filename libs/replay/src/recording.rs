//! Recordings of a scheduler's inputs, decided anew.
//!
//! A file has JSON, one value a line, plain or as gzip: a header with the version, then a frame for each cycle (see
//! [`crater_engine::recording`]).

use std::fmt::Write as _;
use std::path::Path;

use crater_engine::recording::{Frame, Header, VERSION};
use crater_engine::{Plan, Settings, Snapshot, decide};
use serde::Serialize;

use crate::input::{InputError, read_text};

/// What came of deciding a recording again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Redone {
    /// Cycles in it.
    pub cycles: u64,
    /// Cycles decided otherwise.
    pub different: u64,
    /// The first of them: (cycle, what differs).
    pub first: Option<(u64, String)>,
    /// Jobs granted something in its cycles, as recorded and as decided now.
    pub grants: (u64, u64),
    /// Replicas taken back, as recorded and as decided now.
    pub revoked: (u64, u64),
}

/// Decides every cycle of a recording again, with the recorded settings or with others, each from the recorded snapshot.
///
/// # Errors
/// A file that cannot be read, by line.
pub fn redo(path: &Path, settings: Option<&str>) -> Result<Redone, InputError> {
    if let Some(changes) = settings {
        // what is no setting is told of even where there is no cycle to try it on
        changed(Settings::default(), changes)?;
    }
    let text = read_text(path)?;
    let fault = |line: usize, what: String| InputError::in_file(path, what).at_line(line as u64);
    let mut lines = text.lines().zip(1usize..).filter(|(line, _)| !line.is_empty());
    let (first, number) = lines.next().ok_or_else(|| InputError::in_file(path, "there is no header"))?;
    let header: Header = serde_json::from_str(first)
        .map_err(|error| fault(number, format!("this is no header of a recording: {}", in_line(&error))))?;
    if header.crater_recording != VERSION {
        let what = format!("version {} is not {VERSION}, the one that is read", header.crater_recording);
        return Err(fault(number, what).in_field("crater_recording"));
    }
    let mut snapshot = Snapshot::default();
    let mut redone = Redone::default();
    for (line, number) in lines {
        let frame: Frame = serde_json::from_str(line).map_err(|error| fault(number, in_line(&error)))?;
        frame.apply(&mut snapshot).map_err(|torn| fault(number, torn.to_string()))?;
        let mut tried = snapshot.clone();
        if let Some(changes) = settings {
            tried.settings = changed(tried.settings, changes)?;
        }
        let plan = decide(&tried).map_err(|error| fault(number, error.to_string()))?;
        redone.cycles += 1;
        redone.grants.0 += frame.plan.grants.len() as u64;
        redone.grants.1 += plan.grants.len() as u64;
        redone.revoked.0 += revoked(&frame.plan);
        redone.revoked.1 += revoked(&plan);
        let (was, is) = (json(&frame.plan), json(&plan));
        if was != is {
            redone.different += 1;
            if redone.first.is_none() {
                redone.first = Some((frame.cycle, difference("plan", &was, &is)));
            }
        }
    }
    Ok(redone)
}

/// A fault in one line, of which the parser knows only the column.
fn in_line(error: &serde_json::Error) -> String {
    let (line, column) = (error.line(), error.column());
    let text = error.to_string();
    let place = format!(" at line {line} column {column}");
    text.strip_suffix(&place).map_or(text.clone(), |what| format!("{what}, at column {column}"))
}

fn json(plan: &Plan) -> serde_json::Value {
    serde_json::to_value(plan).unwrap_or_default()
}

fn revoked(plan: &Plan) -> u64 {
    plan.revocations.iter().map(|revocation| revocation.replicas.len() as u64).sum()
}

/// Settings with some of them changed: `order=sjf,consolidate=false`.
pub(crate) fn changed(settings: Settings, changes: &str) -> Result<Settings, InputError> {
    let option = |what: String| InputError::in_option("--policy", what);
    let mut value = serde_json::to_value(settings).map_err(|error| option(error.to_string()))?;
    for change in changes.split(',') {
        let Some((key, new)) = change.split_once('=') else {
            return Err(option(format!("{change:?} is not of the form SETTING=VALUE")));
        };
        let known = value.as_object().map(|all| all.keys().cloned().collect::<Vec<_>>().join(", "));
        let Some(slot) = value.get_mut(key) else {
            return Err(option(format!("{key:?} is no setting; there are {}", known.unwrap_or_default())));
        };
        // what is no number or truth is a name
        *slot = serde_json::from_str(new).unwrap_or_else(|_| new.into());
        // one at a time, so that the fault has a name
        let sound: Result<Settings, _> = serde_json::from_value(value.clone());
        sound.map_err(|error| option(format!("{key}: {error}")))?;
    }
    serde_json::from_value(value).map_err(|error| option(error.to_string()))
}

/// Where two values first differ.
fn difference(at: &str, was: &serde_json::Value, is: &serde_json::Value) -> String {
    use serde_json::Value;
    match (was, is) {
        (Value::Object(a), Value::Object(b)) => {
            let key = a.keys().chain(b.keys()).find(|key| a.get(*key) != b.get(*key));
            let Some(key) = key else { return at.to_owned() };
            let get = |map: &serde_json::Map<String, Value>| map.get(key).cloned().unwrap_or_default();
            difference(&format!("{at}.{key}"), &get(a), &get(b))
        }
        (Value::Array(a), Value::Array(b)) => {
            let same = a.iter().zip(b).take_while(|(a, b)| a == b).count();
            let get = |list: &[Value]| list.get(same).cloned().unwrap_or_default();
            difference(&format!("{at}[{same}]"), &get(a), &get(b))
        }
        _ => format!("{at}: recorded {was}, now {is}"),
    }
}

/// Decides a recording again and gives what to print, and whether every plan came out as recorded.
///
/// # Errors
/// As [`redo`].
pub fn run(path: &Path, settings: Option<&str>, as_json: bool) -> Result<(String, bool), InputError> {
    let redone = redo(path, settings)?;
    if as_json {
        let text = serde_json::to_string_pretty(&redone)
            .map_err(|error| InputError::in_option("--output", error.to_string()))?;
        return Ok((text + "\n", redone.different == 0));
    }
    let mut text = format!("{} cycles, {} decided otherwise\n", redone.cycles, redone.different);
    if let Some((cycle, what)) = &redone.first {
        let _ = writeln!(text, "the first is cycle {cycle}: {what}");
    }
    let _ = writeln!(
        text,
        "grants: {} recorded, {} now; replicas taken back: {} recorded, {} now",
        redone.grants.0, redone.grants.1, redone.revoked.0, redone.revoked.1
    );
    Ok((text, redone.different == 0))
}
