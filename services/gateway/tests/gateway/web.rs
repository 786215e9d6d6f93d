//! gRPC-Web through the gateway, by hand: what a browser sends and reads.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use crater_api::job::v1::{GetJobRequest, GetJobResponse, WatchJobsRequest, WatchJobsResponse};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use prost::Message;

use crate::door::{Door, ORIGIN, open, within};

const GET: &str = "/crater.job.v1.JobService/GetJob";
const WATCH: &str = "/crater.job.v1.JobService/WatchJobs";

fn framed(message: &impl Message) -> Bytes {
    let mut body = BytesMut::new();
    body.put_u8(0);
    body.put_u32(u32::try_from(message.encoded_len()).unwrap());
    message.encode(&mut body).unwrap();
    body.freeze()
}

fn post(door: &Door, path: &str, content_type: &str, body: Bytes) -> Request<Bytes> {
    let builder = Request::post(path).header("content-type", content_type).header("x-grpc-web", "1");
    builder.header("accept", content_type).header("authorization", door.bearer()).body(body).unwrap()
}

/// The messages and the text of the trailers.
fn unframed(mut body: &[u8]) -> (Vec<Vec<u8>>, String) {
    let (mut messages, mut trailers) = (Vec::new(), String::new());
    while !body.is_empty() {
        let length = usize::try_from(u32::from_be_bytes(body[1..5].try_into().unwrap())).unwrap();
        let content = &body[5..5 + length];
        match body[0] {
            0 => messages.push(content.to_vec()),
            0x80 => trailers.push_str(std::str::from_utf8(content).unwrap()),
            flags => panic!("flags {flags}"),
        }
        body = &body[5 + length..];
    }
    (messages, trailers.replace(": ", ":"))
}

/// Base64 that was written piece by piece, each padded.
fn from_base64(text: &[u8]) -> Vec<u8> {
    text.chunks(4).flat_map(|quad| STANDARD.decode(quad).unwrap()).collect()
}

fn get() -> GetJobRequest {
    GetJobRequest { name: "accounts/lab/jobs/a".to_owned() }
}

fn watch(parent: &str) -> WatchJobsRequest {
    WatchJobsRequest { parent: parent.to_owned(), ..Default::default() }
}

#[tokio::test]
async fn a_binary_call_is_answered_in_kind() {
    let door = open().await;
    let response = door.http(post(&door, GET, "application/grpc-web+proto", framed(&get()))).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "application/grpc-web+proto");
    let (messages, trailers) = unframed(response.body());
    let answer = GetJobResponse::decode(&*messages[0]).unwrap();
    assert_eq!(answer.job.unwrap().name, get().name);
    assert!(trailers.contains("grpc-status:0"), "{trailers}");
}

#[tokio::test]
async fn a_text_call_is_answered_in_kind() {
    let door = open().await;
    let body = STANDARD.encode(framed(&get()));
    let response = door.http(post(&door, GET, "application/grpc-web-text", body.into())).await;
    assert_eq!(response.headers()["content-type"], "application/grpc-web-text+proto");
    let (messages, trailers) = unframed(&from_base64(response.body()));
    assert_eq!(GetJobResponse::decode(&*messages[0]).unwrap().job.unwrap().name, get().name);
    assert!(trailers.contains("grpc-status:0"), "{trailers}");
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_the_callers_fault() {
    let door = open().await;
    for (content_type, body) in [
        ("application/grpc-web-text", Bytes::from_static(b"!!!! no base64")),
        ("application/grpc-web+proto", Bytes::from_static(&[0, 0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff])),
    ] {
        let response = door.http(post(&door, GET, content_type, body)).await;
        let status = response.headers().get("grpc-status").expect("a refusal").to_str().unwrap();
        assert_eq!(status, "3", "{content_type}: {response:?}");
        assert_ne!(response.headers()["grpc-message"].to_str().unwrap(), "", "{response:?}");
    }
}

#[tokio::test]
async fn a_stream_comes_message_by_message_and_its_error_in_the_last_frame() {
    let door = open().await;
    let response =
        door.http(post(&door, WATCH, "application/grpc-web+proto", framed(&watch("accounts/broken")))).await;
    let (messages, trailers) = unframed(response.body());
    let tokens: Vec<_> =
        messages.iter().map(|message| WatchJobsResponse::decode(&**message).unwrap().resume_token).collect();
    assert_eq!(tokens, ["1", "2"]);
    assert!(trailers.contains("grpc-status:3"), "{trailers}");
    assert!(trailers.contains("grpc-status-details-bin:"), "{trailers}");

    let mut open = door.jobs.open.subscribe();
    let response = door
        .http_open(post(&door, WATCH, "application/grpc-web+proto", framed(&watch("accounts/live"))))
        .await;
    let mut body = response.into_body();
    for text in ["one", "two"] {
        door.jobs.live.send(text.to_owned()).unwrap();
        let frame = within(body.frame()).await.unwrap().unwrap().into_data().unwrap();
        let (messages, _) = unframed(&frame);
        assert_eq!(WatchJobsResponse::decode(&*messages[0]).unwrap().resume_token, text);
    }
    // A closed tab ends the stream behind the door.
    drop(body);
    within(open.wait_for(|open| *open == 0)).await.unwrap();
}

#[tokio::test]
async fn a_refusal_says_why_where_a_browser_finds_it() {
    let door = open().await;
    let mut request = post(&door, GET, "application/grpc-web+proto", framed(&get()));
    request.headers_mut().remove("authorization");
    request.headers_mut().insert("origin", ORIGIN.parse().unwrap());
    let response = door.http(request).await;
    let status = response.headers().get("grpc-status").map(|value| value.to_str().unwrap().to_owned());
    let (_, trailers) = unframed(response.body());
    assert!(status.as_deref() == Some("16") || trailers.contains("grpc-status:16"), "{response:?}");
    let exposed = response.headers()["access-control-expose-headers"].to_str().unwrap();
    for header in ["grpc-status", "grpc-message", "grpc-status-details-bin"] {
        assert!(exposed.contains(header), "{exposed}");
    }
}

#[tokio::test]
async fn a_request_over_one_mebibyte_is_refused() {
    let door = open().await;
    let big = framed(&GetJobRequest { name: "x".repeat(2 << 20) });
    let response = door.http(post(&door, GET, "application/grpc-web+proto", big)).await;
    let (_, trailers) = unframed(response.body());
    let status = response.headers().get("grpc-status").map(|value| value.to_str().unwrap().to_owned());
    assert!(status.as_deref() == Some("8") || trailers.contains("grpc-status:8"), "{response:?}");
}

async fn preflight(door: &Door, origin: &str) -> http::Response<Bytes> {
    let request = Request::options(GET)
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header(
            "access-control-request-headers",
            "authorization,content-type,x-grpc-web,grpc-timeout,x-user-agent",
        );
    door.http(request.body(Bytes::new()).unwrap()).await
}

#[tokio::test]
async fn only_listed_origins_may_call() {
    let door = open().await;
    let allowed = preflight(&door, ORIGIN).await;
    assert_eq!(allowed.headers()["access-control-allow-origin"], ORIGIN);
    let headers = allowed.headers()["access-control-allow-headers"].to_str().unwrap();
    for header in
        ["authorization", "content-type", "x-grpc-web", "grpc-timeout", "x-user-agent", "traceparent"]
    {
        assert!(headers.contains(header), "{headers}");
    }
    for origin in ["http://localhost:5174", "https://localhost:5173", "http://evil.example", "null"] {
        let denied = preflight(&door, origin).await;
        assert!(!denied.headers().contains_key("access-control-allow-origin"), "{origin}");
    }
}
