//! The console, in a browser.

use std::time::Duration;

use crate::harness::{Mesh, PASSWORD, run, tools};

#[test]
fn a_person_signs_in_submits_sees_running_without_a_reload_and_reads_the_log() {
    let mesh = Mesh::up(&["--nodes", "1x8:A100"]);
    let shots = std::env::temp_dir().join("crater-screenshots");
    std::fs::create_dir_all(&shots).unwrap();
    let mut script = tools::browser("console.mjs");
    script
        .env("CRATER_URL", &mesh.url)
        .env("CRATER_PASSWORD", PASSWORD)
        .env("CRATER_SCREENSHOTS", &shots)
        .env("CRATER_GO", mesh.file("go"));
    let ended = run(&mut script, "", Duration::from_secs(120));
    assert_eq!(ended.code, 0, "{}\n{}", ended.out, ended.err);
    eprintln!("{}screenshots: {}", ended.out, shots.display());
    let job = mesh.api().job("from-the-console");
    assert_eq!(job.creator, "users/admin");
    assert_eq!(job.exit_code, Some(0));
}
