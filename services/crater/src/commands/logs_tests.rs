use super::*;

fn line(replica: i32, seconds: i64, nanos: i32, text: &str) -> LogLine {
    LogLine { role: "worker".into(), replica, time: Some(Timestamp { seconds, nanos }), text: text.into() }
}

/// What a server with whole-second `since_time` would send of `written`.
fn sent(written: &[LogLine], request: &StreamLogsRequest) -> Vec<LogLine> {
    let after = request.since_time.map_or(i64::MIN, |t| t.seconds);
    let time = |l: &LogLine| l.time.map_or(0, |t| t.seconds);
    written.iter().filter(|l| time(l) >= after).cloned().collect()
}

#[test]
fn a_log_that_breaks_off_anywhere_is_printed_whole_and_once() {
    let written: Vec<LogLine> = vec![
        line(0, 10, 5, "a"),
        line(0, 10, 5, "b"),
        line(1, 10, 1, "x"),
        line(0, 10, 5, "c"),
        line(1, 11, 0, "y"),
        line(0, 12, 0, "d"),
        line(0, 12, 0, "d"),
        line(1, 14, 0, "z"),
        line(0, 15, 9, "e"),
    ];
    for first_break in 0..=written.len() {
        for second_break in 0..=written.len() {
            let mut cursor = Cursor::default();
            let first = StreamLogsRequest { follow: true, ..Default::default() };
            let mut printed = Vec::new();
            for cut in [first_break, second_break, usize::MAX] {
                let lines = sent(&written, &cursor.request(&first, 2));
                cursor.begin();
                printed.extend(lines.into_iter().take(cut).filter(|l| cursor.is_new(l)));
            }
            for replica in [0, 1] {
                let of = |lines: &[LogLine]| -> Vec<String> {
                    lines.iter().filter(|l| l.replica == replica).map(|l| l.text.clone()).collect()
                };
                assert_eq!(of(&printed), of(&written), "broken after {first_break} and {second_break}");
            }
        }
    }
}

#[test]
fn a_new_stream_keeps_what_was_asked_for() {
    let first = StreamLogsRequest {
        tail_lines: Some(5),
        since_time: Some(Timestamp { seconds: 100, nanos: 0 }),
        role: "worker".into(),
        ..Default::default()
    };
    let mut cursor = Cursor::default();
    assert_eq!(cursor.request(&first, 1), first);
    cursor.is_new(&line(0, 100, 7, "a"));
    let again = cursor.request(&first, 1);
    assert_eq!(again.tail_lines, None);
    assert_eq!(again.since_time, first.since_time, "never before what was asked for");
    cursor.is_new(&line(0, 200, 7, "b"));
    assert_eq!(cursor.request(&first, 1).since_time, Some(Timestamp { seconds: 199, nanos: 0 }));
}

#[test]
fn lines_are_printed_as_they_were_written() {
    let mut show = Show { prefix: false, timestamps: false, format: Format::Table };
    let lines = || [line(3, 0, 250_000_000, "  a\tb  "), line(3, 1, 0, "")].into_iter();
    assert_eq!(show.render(lines()).unwrap(), "  a\tb  \n\n");
    show.prefix = true;
    assert_eq!(show.render(lines()).unwrap(), "worker/3 |   a\tb  \nworker/3 | \n");
    show.timestamps = true;
    assert!(show.render(lines()).unwrap().starts_with("worker/3 | 1970-01-01T00:00:00.250Z   a"));
}

#[test]
fn since_is_a_time_ago_or_a_moment() {
    assert_eq!(since("10s", 60_000).unwrap(), Timestamp { seconds: 50, nanos: 0 });
    assert_eq!(since("1970-01-01T00:01:00Z", 0).unwrap(), Timestamp { seconds: 60, nanos: 0 });
    assert!(since("yesterday", 0).unwrap_err().to_string().starts_with("--since: \"yesterday\""));
}

#[test]
fn a_replica_is_named_with_its_role_where_there_are_several() {
    let role = |name: &str| crater_api::job::v1::Role { name: name.into(), ..Default::default() };
    let job = |roles| Job {
        spec: Some(crater_api::job::v1::JobSpec { roles, ..Default::default() }),
        ..Default::default()
    };
    assert_eq!(only_role(&job(vec![role("ps")])).unwrap(), "ps");
    let error = only_role(&job(vec![role("ps"), role("worker")])).unwrap_err();
    assert_eq!(error.to_string(), "--role: must be given with --replica: the job has 2 roles");
}
