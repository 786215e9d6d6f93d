//! The tables of `crater up` on a server.

use crater_api::job::v1::JobState;
use crater_mariadb::MariaDb;

use crate::harness::Mesh;

#[test]
fn one_process_keeps_its_tables_on_a_server_and_they_outlive_its_kill() {
    let url = MariaDb::shared().fresh_url();
    let mut mesh = Mesh::up_with(&["--nodes", "1x4:A100", "--run-local"], &[("CRATER_DATABASE_URL", &url)]);
    mesh.cli().submit(&["--name", "first", "--gpu", "1"], &["true"]);
    mesh.api().reaches("first", JobState::Succeeded);
    assert!(!mesh.data().join("db").exists(), "no table is in the folder");
    mesh.kill();
    mesh.start();
    let (cli, api) = (mesh.cli(), mesh.api());
    assert_eq!(api.job("first").state(), JobState::Succeeded);
    cli.submit(&["--name", "second"], &["true"]);
    api.reaches("second", JobState::Succeeded);
}
