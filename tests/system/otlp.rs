//! Traces reach a collector.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use crater_api::job::v1::JobState;
use crater_api::job::v1::job_service_client::JobServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use tonic::{Request, Response, Status};

use crate::harness::{Mesh, PATIENCE, run, simple_job, tools, until};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

/// What a collector got: the spans, and the `service.name` of who sent each.
#[derive(Clone, Default)]
struct Received(Arc<Mutex<Vec<(String, Span)>>>);

#[tonic::async_trait]
impl TraceService for Received {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut all = self.0.lock().unwrap();
        for of in request.into_inner().resource_spans {
            let attributes = of.resource.map(|resource| resource.attributes).unwrap_or_default();
            let sender = text(&attributes, "service.name").unwrap_or_default();
            let spans = of.scope_spans.into_iter().flat_map(|scope| scope.spans);
            all.extend(spans.map(|span| (sender.clone(), span)));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

type Attributes = [opentelemetry_proto::tonic::common::v1::KeyValue];

fn text(attributes: &Attributes, key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        _ => None,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Received {
    /// Listens; the address is what the mesh is told.
    fn listen(&self, runtime: &tokio::runtime::Runtime) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let service = TraceServiceServer::new(self.clone());
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let incoming = tonic::transport::server::TcpIncoming::from(listener);
            tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming).await
        });
        format!("http://{address}")
    }

    /// The spans of a trace by their ids: the part of Crater, the span's name, its parent.
    fn of(&self, trace: &str) -> BTreeMap<String, (String, String, String)> {
        let all = self.0.lock().unwrap();
        let ours = all.iter().filter(|(_, span)| hex(&span.trace_id) == trace);
        ours.map(|(_, span)| {
            let part = text(&span.attributes, "service").unwrap_or_default();
            (hex(&span.span_id), (part, span.name.clone(), hex(&span.parent_span_id)))
        })
        .collect()
    }
}

#[test]
fn one_trace_leads_from_the_call_to_the_pod() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let received = Received::default();
    let endpoint = received.listen(&runtime);
    let mesh = Mesh::up_with(
        &["--run-local"],
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint), ("OTEL_BSP_SCHEDULE_DELAY", "50")],
    );
    let api = mesh.api();
    let mut request = api.request(simple_job("traced"));
    let parent = format!("00-{TRACE}-{CALLER}-01");
    request.metadata_mut().insert("traceparent", parent.parse().unwrap());
    api.block_on(JobServiceClient::new(api.channel()).create_job(request)).unwrap();
    api.reaches("traced", JobState::Succeeded);

    // from the last to the first, each by the parent that it names
    const CREATE: &str = "/crater.job.v1.JobService/CreateJob";
    let wanted = [
        ("controller", "start"),
        ("scheduler", "place"),
        ("job", "apply"),
        ("job", CREATE),
        ("gateway", CREATE),
    ];
    let last = until("the spans at the collector", PATIENCE, || {
        let spans = received.of(TRACE);
        let last = spans.iter().find(|(_, (part, ..))| part == "controller")?.0.clone();
        let mut next = last.clone();
        for (part, name) in wanted {
            let (of, called, parent) = spans.get(&next)?;
            assert_eq!((of.as_str(), called.as_str()), (part, name), "{spans:?}");
            next.clone_from(parent);
        }
        assert_eq!(next, CALLER, "{spans:?}");
        Some(last)
    });
    // a process says what it is called: all of the mesh in one, or a program each
    for (sender, span) in received.0.lock().unwrap().iter() {
        let part = text(&span.attributes, "service").unwrap_or_default();
        assert!(sender == "crater" || *sender == format!("crater-{part}"), "{sender} sent {span:?}");
    }

    // the Pod says which span made it
    let pods =
        ["get", "pods", "-A", "-o", "jsonpath={.items[*].metadata.annotations.crater\\.dev/traceparent}"];
    let said = run(&mut tools::kubectl(&mesh.kubeconfig, &pods), "", PATIENCE).ok();
    assert_eq!(said.trim(), format!("00-{TRACE}-{last}-01"));
    runtime.shutdown_background();
}
