//! A server with its guard, over sockets and in-process: what it bounds, what it says, how it goes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so by failing")]

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crater_service::{Bind, Channel, InProcess, Limits, Readiness, Running, Server, Shutdown, Target};
use futures::Stream;
use http::Uri;
use prost::Message;
use prost_types::{FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto, ServiceDescriptorProto};
use tokio::sync::Notify;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_types::StatusExt;
use tower::{Service, ServiceExt};

const CHECK: &str = "/test.v1.Probe/Check";
const WATCH: &str = "/test.v1.Probe/Watch";

/// A service that does what the request's text says. It has the shape of the health service, under a name of its own.
#[derive(Clone, Default)]
struct Probe {
    entered: Arc<Notify>,
    go_on: Arc<Notify>,
}

#[tonic::async_trait]
impl Health for Probe {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        match request.get_ref().service.as_str() {
            "panic" => panic!("as asked"),
            "wait" => {
                self.entered.notify_one();
                self.go_on.notified().await;
            }
            "forever" => std::future::pending().await,
            _ => {}
        }
        Ok(Response::new(HealthCheckResponse { status: ServingStatus::Serving.into() }))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        use futures::StreamExt;
        let one = futures::stream::iter([Ok(HealthCheckResponse { status: ServingStatus::Serving.into() })]);
        Ok(Response::new(Box::pin(one.chain(futures::stream::pending()))))
    }
}

fn descriptors() -> &'static [u8] {
    let method = |name: &str, streams| MethodDescriptorProto {
        name: Some(name.to_owned()),
        server_streaming: Some(streams),
        ..Default::default()
    };
    let service = ServiceDescriptorProto {
        name: Some("Probe".to_owned()),
        method: vec![method("Check", false), method("Watch", true)],
        ..Default::default()
    };
    let file = FileDescriptorProto {
        name: Some("test.proto".to_owned()),
        package: Some("test.v1".to_owned()),
        service: vec![service],
        ..Default::default()
    };
    Box::leak(FileDescriptorSet { file: vec![file] }.encode_to_vec().into_boxed_slice())
}

fn server(probe: &Probe, readiness: &Readiness, limits: Limits) -> Server {
    let health = HealthServer::new(probe.clone());
    let renamed = health.map_request(|mut request: http::Request<tonic::body::Body>| {
        let path = request.uri().path().replace("/test.v1.Probe/", "/grpc.health.v1.Health/");
        *request.uri_mut() = Uri::try_from(path).unwrap();
        request
    });
    Server::new("probe")
        .readiness(readiness.clone())
        .descriptors(descriptors())
        .limits(limits)
        .add_route("test.v1.Probe", renamed)
        .health_of("test.v1.Probe", readiness.clone())
}

struct World {
    probe: Probe,
    readiness: Readiness,
    shutdown: Shutdown,
    running: Running,
    channel: Channel,
}

async fn over_tcp(limits: Limits) -> World {
    let (probe, readiness, shutdown) = (Probe::default(), Readiness::new("probe"), Shutdown::new());
    let bind = Bind::Tcp("127.0.0.1:0".parse().unwrap());
    let running = server(&probe, &readiness, limits).serve(bind, shutdown.clone()).await.unwrap();
    let target: Target = format!("http://{}", running.local_addr().unwrap()).parse().unwrap();
    World { probe, readiness, shutdown, running, channel: target.channel().unwrap() }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), future).await.expect("it takes no ten seconds")
}

fn ask(text: &str) -> Request<HealthCheckRequest> {
    Request::new(HealthCheckRequest { service: text.to_owned() })
}

async fn check(channel: &Channel, request: Request<HealthCheckRequest>) -> Result<(), Status> {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let codec = tonic_prost::ProstCodec::<_, HealthCheckResponse>::default();
    client.unary(request, Uri::from_static(CHECK).into_parts().path_and_query.unwrap(), codec).await.map(drop)
}

async fn watch(channel: &Channel, request: Request<HealthCheckRequest>) -> Streaming<HealthCheckResponse> {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<_, HealthCheckResponse>::default();
    let path = Uri::from_static(WATCH).into_parts().path_and_query.unwrap();
    let mut stream = client.server_streaming(request, path, codec).await.unwrap().into_inner();
    within(stream.message()).await.unwrap().unwrap();
    stream
}

fn brief(limits: Limits, deadline: u64) -> Limits {
    Limits { deadline: Duration::from_millis(deadline), ..limits }
}

#[tokio::test]
async fn a_call_ends_by_the_servers_deadline_or_the_callers_shorter_one() {
    let world = over_tcp(brief(Limits::default(), 100)).await;
    let refusal = within(check(&world.channel, ask("forever"))).await.unwrap_err();
    assert_eq!(
        (refusal.code(), refusal.message()),
        (Code::DeadlineExceeded, "the call did not end within 100ms")
    );

    let world = over_tcp(Limits::default()).await;
    let mut request = ask("forever");
    request.set_timeout(Duration::from_millis(100));
    let refusal = within(check(&world.channel, request)).await.unwrap_err();
    // Who notices first, the caller's channel or the server, is a matter of luck.
    assert!(matches!(refusal.code(), Code::DeadlineExceeded | Code::Cancelled), "{refusal:?}");
}

#[tokio::test]
async fn a_stream_has_no_deadline_but_the_callers_own() {
    let world = over_tcp(brief(Limits::default(), 50)).await;
    let mut stream = watch(&world.channel, ask("")).await;
    let silence = tokio::time::timeout(Duration::from_millis(300), stream.message()).await;
    assert!(silence.is_err(), "the stream is still open: {silence:?}");

    let mut request = ask("");
    request.metadata_mut().insert("grpc-timeout", "100m".parse().unwrap());
    let mut stream = watch(&world.channel, request).await;
    assert_eq!(within(stream.message()).await.unwrap_err().code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn a_panic_is_an_answer_and_the_server_goes_on() {
    let world = over_tcp(Limits::default()).await;
    let refusal = within(check(&world.channel, ask("panic"))).await.unwrap_err();
    assert_eq!(refusal.code(), Code::Internal);
    assert!(!refusal.message().contains("as asked"), "{refusal:?}");
    within(check(&world.channel, ask("ok"))).await.unwrap();
}

#[tokio::test]
async fn calls_and_streams_beyond_the_limit_are_shed() {
    let world = over_tcp(Limits { calls: 1, streams: 1, ..Limits::default() }).await;
    let held = tokio::spawn({
        let channel = world.channel.clone();
        async move { check(&channel, ask("wait")).await }
    });
    within(world.probe.entered.notified()).await;
    let refusal = within(check(&world.channel, ask("ok"))).await.unwrap_err();
    assert_eq!(refusal.code(), Code::Unavailable);
    assert_eq!(refusal.get_details_error_info().unwrap().reason, "OVERLOADED");
    assert!(refusal.get_details_retry_info().is_some());
    world.probe.go_on.notify_one();
    within(held).await.unwrap().unwrap();
    within(check(&world.channel, ask("ok"))).await.unwrap();

    // Streams are counted by themselves, for as long as they are open.
    let stream = watch(&world.channel, ask("")).await;
    within(check(&world.channel, ask("ok"))).await.unwrap();
    let mut client = tonic::client::Grpc::new(world.channel.clone());
    let mut second = async || {
        client.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<_, HealthCheckResponse>::default();
        let path = Uri::from_static(WATCH).into_parts().path_and_query.unwrap();
        client.server_streaming(ask(""), path, codec).await.map(drop)
    };
    assert_eq!(within(second()).await.unwrap_err().code(), Code::Unavailable);
    drop(stream);
    within(async {
        while second().await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_request_too_large_or_unreadable_is_the_callers_fault() {
    let world = over_tcp(Limits::default()).await;
    let refusal = within(check(&world.channel, ask(&"x".repeat(1 << 20)))).await.unwrap_err();
    assert_eq!(
        (refusal.code(), refusal.message()),
        (Code::ResourceExhausted, "the request is larger than 1048576 bytes")
    );

    // Ten thousand groups, each opening the next: tag 2, wire type 3.
    let nested = [0x13; 10_000];
    let mut body = vec![0];
    body.extend(u32::try_from(nested.len()).unwrap().to_be_bytes());
    body.extend(nested);
    let mut channel = world.channel.clone();
    let request =
        http::Request::post(CHECK).header("content-type", "application/grpc").header("te", "trailers");
    let body = tonic::body::Body::new(http_body_util::Full::new(bytes::Bytes::from(body)));
    let call = channel.ready().await.unwrap().call(request.body(body).unwrap());
    let response = within(call).await.unwrap();
    let status = Status::from_header_map(response.headers()).expect("a refusal");
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert_eq!(status.get_details_error_info().unwrap().reason, "REQUEST_MALFORMED");
}

#[tokio::test]
async fn a_draining_server_finishes_calls_ends_streams_and_takes_no_more() {
    let World { probe, readiness, shutdown, running, channel } = over_tcp(Limits::default()).await;
    let addr = running.local_addr().unwrap();
    let mut stream = watch(&channel, ask("")).await;
    let call = tokio::spawn({
        let channel = channel.clone();
        async move { check(&channel, ask("wait")).await }
    });
    within(probe.entered.notified()).await;
    assert!(readiness.is_ready());

    shutdown.cancel();
    let end = within(stream.message()).await.unwrap_err();
    assert_eq!((end.code(), end.message()), (Code::Unavailable, "the probe service is shutting down"));
    let refused = async {
        while tokio::net::TcpStream::connect(addr).await.is_ok() {
            tokio::task::yield_now().await
        }
    };
    within(refused).await;
    assert_eq!(readiness.missing()[0].to_string(), "listening: draining");
    assert!(!call.is_finished());
    probe.go_on.notify_one();
    within(call).await.unwrap().unwrap();
    within(running.stopped()).await.unwrap();
}

#[tokio::test]
async fn a_call_that_does_not_end_is_broken_off_by_the_drain_deadline() {
    let limits = Limits { drain: Duration::from_millis(100), ..Limits::default() };
    let World { probe, shutdown, running, channel, .. } = over_tcp(limits).await;
    let call = tokio::spawn(async move { check(&channel, ask("wait")).await });
    within(probe.entered.notified()).await;
    shutdown.cancel();
    within(running.stopped()).await.unwrap();
    assert!(within(call).await.unwrap().is_err());
}

#[tokio::test]
async fn a_channel_in_process_outlives_its_server() {
    let place = InProcess::new("probe");
    let channel = Target::InProcess(place.clone()).channel().unwrap();
    assert_eq!(within(check(&channel, ask("ok"))).await.unwrap_err().code(), Code::Unavailable);
    for _ in 0..3 {
        let shutdown = Shutdown::new();
        let server = || server(&Probe::default(), &Readiness::new("probe"), Limits::default());
        let running = server().serve(Bind::InProcess(place.clone()), shutdown.clone()).await.unwrap();
        assert!(
            server().serve(Bind::InProcess(place.clone()), shutdown.clone()).await.is_err(),
            "one at a time"
        );
        within(async {
            while check(&channel, ask("ok")).await.is_err() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        within(running.stop()).await.unwrap();
        assert_eq!(within(check(&channel, ask("ok"))).await.unwrap_err().code(), Code::Unavailable);
    }
}

async fn http_get(world: &World, path: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(world.running.local_addr().unwrap()).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: probe\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    within(stream.read_to_string(&mut text)).await.unwrap();
    text
}

#[tokio::test]
async fn readiness_is_told_over_grpc_and_named_over_http() {
    let world = over_tcp(Limits::default()).await;
    let mut client = HealthClient::new(world.channel.clone());
    let database = world.readiness.condition("database");
    let mut watched = client.watch(ask("test.v1.Probe")).await.unwrap().into_inner();
    let mut next = async || within(watched.message()).await.unwrap().unwrap().status();
    assert_eq!(next().await, ServingStatus::NotServing);
    database.not_ready("migrating");
    let missing = http_get(&world, "/readyz").await;
    assert!(missing.starts_with("HTTP/1.1 503") && missing.ends_with("database: migrating\n"), "{missing}");
    assert!(http_get(&world, "/livez").await.starts_with("HTTP/1.1 200"));
    for service in ["", "test.v1.Probe"] {
        let answer = client.check(ask(service)).await.unwrap();
        assert_eq!(answer.into_inner().status(), ServingStatus::NotServing);
    }
    database.ready();
    assert_eq!(next().await, ServingStatus::Serving);
    assert!(http_get(&world, "/readyz").await.starts_with("HTTP/1.1 200"));
    assert_eq!(client.check(ask("no.such.Service")).await.unwrap_err().code(), Code::NotFound);
    assert!(http_get(&world, "/nothing").await.starts_with("HTTP/1.1 404"));
}

#[tokio::test]
async fn a_taken_address_is_an_error_that_names_it() {
    let world = over_tcp(Limits::default()).await;
    let addr = world.running.local_addr().unwrap();
    let again = server(&Probe::default(), &Readiness::new("probe"), Limits::default());
    let error = again.serve(Bind::Tcp(addr), Shutdown::new()).await.unwrap_err().to_string();
    assert!(error.contains(&addr.to_string()), "{error}");
}

#[tokio::test]
async fn headers_beyond_sixteen_kibibytes_are_refused() {
    let world = over_tcp(Limits::default()).await;
    let with_header = |size: usize| {
        let mut request = ask("ok");
        request.metadata_mut().insert("x-long", "x".repeat(size).parse().unwrap());
        request
    };
    within(check(&world.channel, with_header(12 << 10))).await.unwrap();
    within(check(&world.channel, with_header(20 << 10))).await.unwrap_err();
    within(check(&world.channel, ask("ok"))).await.unwrap();
}
