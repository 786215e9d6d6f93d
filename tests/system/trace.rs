//! One trace goes through the mesh.

use crater_api::job::v1::job_service_client::JobServiceClient;

use crate::harness::{Mesh, PATIENCE, simple_job, until};

#[test]
fn a_callers_trace_is_continued_by_the_gateway_and_by_the_service_behind_it() {
    let mesh = Mesh::up_with(
        &["--run-local"],
        &[("CRATER_LOG", "info,crater_telemetry=debug"), ("CRATER_LOG_FORMAT", "json")],
    );
    let api = mesh.api();
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let mut request = api.request(simple_job("traced"));
    let parent = format!("00-{trace}-b7ad6b7169203331-01");
    request.metadata_mut().insert("traceparent", parent.parse().unwrap());
    api.block_on(JobServiceClient::new(api.channel()).create_job(request)).unwrap();
    until("the call in the logs of both", PATIENCE, || {
        let log = mesh.log();
        let spans: Vec<String> = log
            .lines()
            .filter(|line| line.contains(trace))
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .filter_map(|line| Some(line["span"]["service"].as_str()?.to_owned()))
            .collect();
        (spans.iter().any(|s| s == "gateway") && spans.iter().any(|s| s == "job")).then_some(())
    });
}
