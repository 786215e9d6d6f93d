//! Recordings are decided again, plan by plan.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::sync::Arc;

use crater_engine::recording::{Frame, Header};
use crater_engine::{
    Account, AccountIx, Amounts, Holding, Job, ModelIx, Node, Placing, Plan, Request, Role, Settings, Shape,
    Snapshot, decide,
};
use crater_replay::recording::redo;

/// A few cycles of two accounts on three nodes, carried out at once.
fn record() -> Vec<u8> {
    record_by(Placing::default())
}

fn record_by(placement: Placing) -> Vec<u8> {
    let node =
        Node { cpu: 1000, memory: 1000, gpus: 4, model: Some(ModelIx(0)), open: true, ..Node::default() };
    let account =
        |gpu| Account { guaranteed: Amounts { gpu: Some(gpu), ..Amounts::default() }, ..Account::default() };
    let mut snapshot = Snapshot {
        models: 1,
        settings: Settings { placement, ..Settings::default() },
        nodes: vec![node; 3],
        accounts: vec![account(4000), account(8000)],
        ..Snapshot::default()
    };
    let mut text = serde_json::to_string(&Header::default()).unwrap();
    let mut before = Snapshot::default();
    for cycle in 0..12u32 {
        snapshot.cycle += 1;
        snapshot.now += 100_000;
        let each = Shape { cpu: 1, memory: 1, gpu: 1000 * i64::from(1 + cycle % 3), ..Shape::default() };
        let replicas = 1 + cycle % 2;
        snapshot.jobs.push(Job {
            account: AccountIx(cycle / 6),
            submitted: snapshot.now,
            queued_since: snapshot.now,
            request: Arc::new(Request {
                roles: vec![Role { each, replicas, min: replicas }],
                ..Request::default()
            }),
            ..Job::default()
        });
        let plan = decide(&snapshot).unwrap();
        text.push('\n');
        text += &serde_json::to_string(&Frame::between(&before, &snapshot, &plan)).unwrap();
        before.clone_from(&snapshot);
        carry_out(&mut snapshot, &plan);
    }
    text.push('\n');
    text.into_bytes()
}

fn carry_out(snapshot: &mut Snapshot, plan: &Plan) {
    for revocation in &plan.revocations {
        let gone = |held: &Holding| held.job == revocation.job;
        snapshot.holdings.retain(|held| !gone(held));
    }
    for grant in &plan.grants {
        let held: Vec<Holding> = snapshot.holdings_of(grant).collect();
        snapshot.holdings.extend(held);
    }
    snapshot.holds.clone_from(&plan.holds);
}

fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    file
}

#[test]
fn every_plan_comes_out_as_recorded_plain_and_packed() {
    let recorded = record();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&recorded).unwrap();
    for bytes in [recorded, packed.finish().unwrap()] {
        let redone = redo(file(&bytes).path(), None).unwrap();
        assert_eq!((redone.cycles, redone.different, &redone.first), (12, 0, &None));
        assert!(
            redone.grants.0 > 0 && redone.revoked.0 > 0 && redone.grants.0 == redone.grants.1,
            "{redone:?}"
        );
    }
}

#[test]
fn a_plan_that_was_tampered_with_is_found_by_cycle_and_place() {
    let text = String::from_utf8(record()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let changed = lines[3].replacen("\"grants\":[{\"job\":2", "\"grants\":[{\"job\":1", 1);
    assert_ne!(changed, lines[3]);
    let text = text.replace(lines[3], &changed);
    let redone = redo(file(text.as_bytes()).path(), None).unwrap();
    let (cycle, what) = redone.first.unwrap();
    assert_eq!((redone.different, cycle), (1, 3));
    assert!(what.contains("plan.grants[0].job: recorded 1, now 2"), "{what}");
}

#[test]
fn other_settings_are_tried_on_the_same_inputs() {
    let recorded = file(&record());
    let redone = redo(recorded.path(), Some("protection_ms=100000000")).unwrap();
    assert_eq!(redone.cycles, 12);
    for (change, says) in [
        (
            "colour=red",
            "\"colour\" is no setting; there are backfill, best_effort_limited, consolidate, half_life_ms, order",
        ),
        ("order=sjf,consolidate=red", "consolidate: invalid type"),
        ("order=longest", "order: unknown variant `longest`, expected one of `fifo`, `priority`"),
    ] {
        let error = redo(recorded.path(), Some(change)).unwrap_err().to_string();
        assert!(error.contains(says) && error.lines().count() == 1, "{error}");
    }
}

#[test]
fn policies_are_tried_and_recordings_from_before_them_are_read() {
    let text = String::from_utf8(record_by(Placing::Pack)).unwrap();
    for policy in ["order=sjf,placement=crater", "order=las,placement=fragmentation", "placement=best-fit"] {
        assert_eq!(redo(file(text.as_bytes()).path(), Some(policy)).unwrap().cycles, 12);
    }
    let spread = redo(file(text.as_bytes()).path(), Some("placement=spread")).unwrap();
    assert!(spread.different > 0, "{spread:?}");
    let mut old = text;
    for new in
        [",\"order\":\"priority\"", ",\"placement\":\"pack\"", ",\"predicted_ms\":null", ",\"served\":0"]
    {
        assert!(old.contains(new), "{new}");
        old = old.replace(new, "");
    }
    assert_eq!(redo(file(old.as_bytes()).path(), None).unwrap().different, 0);
}

#[test]
fn what_is_no_recording_is_refused_by_line() {
    let text = String::from_utf8(record()).unwrap();
    let without = |n: usize| {
        let kept: Vec<&str> =
            text.lines().enumerate().filter(|(i, _)| *i != n).map(|(_, line)| line).collect();
        kept.join("\n")
    };
    let cases = [
        (String::new(), "header".to_owned()),
        (text.replacen("1}", "2}", 1), ":1: crater_recording: version 2".to_owned()),
        (without(0), ":1: this is no header".to_owned()),
        (without(1), ":2: jobs keeps entries".to_owned()),
        (text[..text.len() - 20].to_owned(), ":13: EOF".to_owned()),
    ];
    for (text, says) in cases {
        let error = redo(file(text.as_bytes()).path(), None).unwrap_err().to_string();
        assert!(error.contains(&says) && error.lines().count() == 1, "{says}: {error}");
    }
}

#[test]
fn numbers_out_of_all_bounds_are_refused_by_line_and_field() {
    let text = String::from_utf8(record()).unwrap();
    let most = i64::MAX.to_string();
    for (from, to, says) in [
        ("\"models\":1", "\"models\":4294967295", "2: models: 4294967295 is more than 65536".to_owned()),
        (
            "\"nodes\":[{\"new\":[{\"cpu\":1000",
            &most,
            format!("2: nodes[0].cpu: {most} is more than 281474976710656"),
        ),
        (
            "\"replicas\":1",
            "\"replicas\":4000000000",
            "2: jobs[0].request.roles[0].replicas: 4000000000 is more than 1048576".to_owned(),
        ),
        ("\"cpu\":1000", "\"cpu\":-1", "2: nodes[0].cpu: -1 is less than 0".to_owned()),
    ] {
        assert!(text.contains(from), "{from}");
        // what is a bare number takes the place of the last one
        let to = if to.starts_with('"') { to.to_owned() } else { from.replace("1000", to) };
        let file = file(text.replacen(from, &to, 1).as_bytes());
        let error = redo(file.path(), None).unwrap_err().to_string();
        assert_eq!(error, format!("{}:{says}", file.path().display()));
    }
    // nor does any other number do harm
    let digits = |at: usize| text.as_bytes().get(at).is_some_and(u8::is_ascii_digit);
    let begins =
        (1..text.len()).filter(|at| digits(*at) && !digits(*at - 1) && text.as_bytes()[*at - 1] != b'_');
    for at in begins.step_by(9) {
        let end = (at..).find(|at| !digits(*at)).unwrap();
        for number in ["-1", "0", "65535", "4294967295", "9223372036854775807", "-9223372036854775808"] {
            let changed = format!("{}{number}{}", &text[..at], &text[end..]);
            if let Err(error) = redo(file(changed.as_bytes()).path(), None) {
                assert!(error.line.is_some() && error.to_string().lines().count() == 1, "{error}");
            }
        }
    }
}
