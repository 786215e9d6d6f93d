//! Jobs that are only played: nothing runs, time passes.

use crater_api::job::v1::JobState;

use crate::harness::Mesh;

#[test]
fn played_jobs_take_turns_and_pass_by_their_declared_duration() {
    let mesh = Mesh::played(&["--nodes", "2x4:A100", "--time-scale", "60"]);
    let (cli, api) = (mesh.cli(), mesh.api());
    // six gangs of half the cluster each: two at a time
    let names: Vec<String> = (0..6).map(|i| format!("gang-{i}")).collect();
    for name in &names {
        let flags = ["--name", name, "--replicas", "2", "--gpu", "2", "--duration", "60s", "--image", "none"];
        cli.submit(&flags, &["train"]);
    }
    let jobs: Vec<_> = names.iter().map(|name| api.reaches(name, JobState::Succeeded)).collect();
    let millis = |t: Option<prost_types::Timestamp>| {
        t.map(|t| t.seconds * 1000 + i64::from(t.nanos) / 1_000_000).unwrap()
    };
    let mut moments = Vec::new();
    for job in &jobs {
        let (start, end) = (millis(job.start_time), millis(job.end_time));
        assert!(start < end, "{job:#?}");
        moments.extend([(start, 1), (end, -1)]);
    }
    // an end frees its GPUs before a start at the same moment takes them
    moments.sort_unstable();
    let most = moments
        .iter()
        .scan(0, |running, (_, change)| {
            *running += change;
            Some(*running)
        })
        .max();
    assert!(most <= Some(2), "more ran at once than there is room for: {moments:?}");
    assert!(cli.ok(&["nodes"]).contains("0/4"));
}
