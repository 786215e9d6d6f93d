//! A collector of traces that is away is nobody's trouble.

use std::net::TcpListener;
use std::time::Duration;

use crater_api::job::v1::JobState;

use crate::harness::{Mesh, simple_job};

#[test]
fn a_collector_that_is_away_hinders_no_job_and_no_end() {
    // the port is taken and nobody listens: whoever connects waits or is refused
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", nobody.local_addr().unwrap());
    let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("OTEL_BSP_SCHEDULE_DELAY", "50")];
    let mut mesh = Mesh::up_with(&["--run-local"], &environment);
    let api = mesh.api();
    api.create(simple_job("untold")).unwrap();
    api.reaches("untold", JobState::Succeeded);
    let (status, took) = mesh.terminate();
    assert!(status.success(), "{status}");
    assert!(took < Duration::from_secs(10), "{took:?}");
}
