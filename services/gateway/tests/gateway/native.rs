//! Native gRPC through the gateway.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crater_api::job::v1::job_service_client::JobServiceClient;
use crater_api::job::v1::{GetJobRequest, WatchJobsRequest, WatchJobsResponse};
use crater_api::quota::v1::quota_service_client::QuotaServiceClient;
use crater_api::user::v1::identity_service_client::IdentityServiceClient;
use crater_api::user::v1::{UserState, WatchIdentitiesRequest};
use crater_service::{Bind, Shutdown, Target, Tls};
use futures::StreamExt;
use tonic::transport::Endpoint;
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt;

use crate::backend::{self, FLOOD_MESSAGE, identity};
use crate::door::{Door, open, open_with, within};

fn job(name: &str) -> GetJobRequest {
    GetJobRequest { name: name.to_owned() }
}

fn watch(parent: &str) -> WatchJobsRequest {
    WatchJobsRequest { parent: parent.to_owned(), ..Default::default() }
}

async fn live(door: &Door) -> Streaming<WatchJobsResponse> {
    let answer = door.job_client().await.watch_jobs(door.request(watch("accounts/live"))).await;
    answer.unwrap().into_inner()
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

#[tokio::test]
async fn a_call_reaches_its_service_and_its_answer_comes_back() {
    let door = open().await;
    let answer =
        within(door.job_client().await.get_job(door.request(job("accounts/lab/jobs/a")))).await.unwrap();
    assert_eq!(answer.into_inner().job.unwrap().name, "accounts/lab/jobs/a");
}

#[tokio::test]
async fn a_call_without_a_good_token_stops_at_the_door() {
    let door = open().await;
    let mut client = door.job_client().await;
    let refusal = within(client.get_job(job("a"))).await.unwrap_err();
    assert_eq!((refusal.code(), reason(&refusal)), (Code::Unauthenticated, "TOKEN_MISSING".to_owned()));
    let mut forged = tonic::Request::new(job("a"));
    let token = door.bearer();
    let (head, _) = token.rsplit_once('.').unwrap();
    forged.metadata_mut().insert("authorization", format!("{head}.{}", "A".repeat(86)).parse().unwrap());
    let refusal = within(client.get_job(forged)).await.unwrap_err();
    assert_eq!((refusal.code(), reason(&refusal)), (Code::Unauthenticated, "TOKEN_FORGED".to_owned()));
    assert!(door.jobs.headers.lock().unwrap().is_empty(), "nothing reached the service");
}

#[tokio::test]
async fn only_headers_of_the_protocol_pass() {
    let door = open().await;
    let mut request = door.request(job("a"));
    let token = request.metadata().get("authorization").unwrap().to_str().unwrap().to_owned();
    let posing =
        ["x-crater-service", "x-crater-user", "x-forwarded-user", "x-remote-user", "forwarded", "cookie"];
    for name in posing {
        request.metadata_mut().insert(name, "root".parse().unwrap());
    }
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    request.metadata_mut().insert("traceparent", parent.parse().unwrap());
    request.set_timeout(Duration::from_secs(5));
    within(door.job_client().await.get_job(request)).await.unwrap();
    let headers = door.jobs.headers.lock().unwrap().clone();
    for name in posing {
        assert!(headers.get(name).is_none(), "{name}");
    }
    assert_eq!(headers.get("authorization").unwrap(), token.as_str());
    let passed = headers.get("traceparent").unwrap().to_str().unwrap();
    assert!(passed.starts_with("00-0af7651916cd43dd8448eb211c80319c-"), "{passed}");
    assert!(headers.contains_key("grpc-timeout"));
}

#[tokio::test]
async fn a_stream_comes_message_by_message() {
    let door = open().await;
    let mut stream = live(&door).await;
    for text in ["one", "two", "three"] {
        door.jobs.live.send(text.to_owned()).unwrap();
        assert_eq!(within(stream.message()).await.unwrap().unwrap().resume_token, text);
    }
}

#[tokio::test]
async fn an_error_passes_with_its_details_before_and_after_messages() {
    let door = open().await;
    let mut client = door.job_client().await;
    let same = |status: &Status| {
        let expected = backend::crater_domain_error();
        assert_eq!((status.code(), status.message()), (expected.code(), expected.message()));
        assert_eq!(status.details(), expected.details());
    };
    same(&within(client.watch_jobs(door.request(watch("accounts/none")))).await.unwrap_err());
    let mut stream =
        within(client.watch_jobs(door.request(watch("accounts/broken")))).await.unwrap().into_inner();
    assert_eq!(within(stream.message()).await.unwrap().unwrap().resume_token, "1");
    assert_eq!(within(stream.message()).await.unwrap().unwrap().resume_token, "2");
    same(&within(stream.message()).await.unwrap_err());
}

#[tokio::test]
async fn a_caller_that_leaves_takes_the_call_along() {
    let door = open().await;
    let mut open_streams = door.jobs.open.subscribe();
    let stream = live(&door).await;
    within(open_streams.wait_for(|open| *open == 1)).await.unwrap();
    drop(stream);
    within(open_streams.wait_for(|open| *open == 0)).await.unwrap();
}

#[tokio::test]
async fn a_slow_reader_slows_the_service_down() {
    let door = open().await;
    let mut stream = within(door.job_client().await.watch_jobs(door.request(watch("accounts/flood"))))
        .await
        .unwrap()
        .into_inner();
    within(stream.message()).await.unwrap();
    // Made messages stop to grow once every buffer on the way is full.
    let settled = async {
        let mut last = 0;
        loop {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let made = door.jobs.flood.load(Ordering::SeqCst);
            if made == last {
                return made;
            }
            last = made;
        }
    };
    let made = within(settled).await;
    assert!(made * FLOOD_MESSAGE < 16 << 20, "{made} messages of 64 KiB are buffered");
    for _ in 0..made {
        within(stream.message()).await.unwrap().unwrap();
    }
    assert!(door.jobs.flood.load(Ordering::SeqCst) > made, "and it goes on when the reader does");
}

#[tokio::test]
async fn a_request_over_one_mebibyte_is_refused_with_its_reason() {
    let door = open().await;
    let mut client = door.job_client().await;
    // The message is its text and four bytes of framing.
    let fits = "x".repeat((1 << 20) - 4);
    let echoed =
        within(client.clone().max_decoding_message_size(4 << 20).get_job(door.request(job(&fits)))).await;
    assert_eq!(echoed.unwrap().into_inner().job.unwrap().name.len(), fits.len());
    for size in [1 << 20, 3 << 20, 64 << 20] {
        let refusal = within(client.get_job(door.request(job(&"x".repeat(size))))).await.unwrap_err();
        assert_eq!(refusal.code(), Code::ResourceExhausted, "{size}: {refusal:?}");
        assert_eq!(refusal.message(), "the request is larger than 1048576 bytes");
        assert_eq!(reason(&refusal), "REQUEST_TOO_LARGE");
    }
}

#[tokio::test]
async fn what_is_for_services_only_does_not_exist_at_the_door() {
    let door = open().await;
    let mut client = IdentityServiceClient::new(door.channel().await);
    let refusal = within(client.watch_identities(door.request(WatchIdentitiesRequest {}))).await.unwrap_err();
    assert_eq!(refusal.code(), Code::Unimplemented);
    let authority = crater_auth::Authority::new(door.mesh.clone());
    let channel = authority.identity("job").channel(door.channel().await);
    let refusal =
        within(IdentityServiceClient::new(channel).watch_identities(WatchIdentitiesRequest {})).await;
    assert_eq!(refusal.unwrap_err().code(), Code::Unimplemented);
}

#[tokio::test]
async fn a_suspended_users_open_stream_is_cut() {
    let door = open().await;
    let mut open_streams = door.jobs.open.subscribe();
    let mut stream = live(&door).await;
    door.jobs.live.send("before".to_owned()).unwrap();
    assert_eq!(within(stream.message()).await.unwrap().unwrap().resume_token, "before");
    door.users.identities.send_replace(vec![identity("alice", UserState::Suspended)]);
    let cut =
        tokio::time::timeout(Duration::from_secs(5), stream.message()).await.expect("within five seconds");
    let status = cut.unwrap_err();
    assert_eq!((status.code(), reason(&status)), (Code::Unauthenticated, "USER_SUSPENDED".to_owned()));
    within(open_streams.wait_for(|open| *open == 0)).await.unwrap();
    let refusal = within(door.job_client().await.get_job(door.request(job("a")))).await.unwrap_err();
    assert_eq!(reason(&refusal), "USER_SUSPENDED");
}

#[tokio::test]
async fn a_service_that_is_away_is_named_and_its_return_is_noticed() {
    let door = open().await;
    let mut client = door.job_client().await;
    let request = door.request(crater_api::quota::v1::GetQuotaRequest::default());
    let refusal = within(QuotaServiceClient::new(door.channel().await).get_quota(request)).await.unwrap_err();
    assert_eq!((refusal.code(), reason(&refusal)), (Code::Unavailable, "BACKEND_AWAY".to_owned()));
    assert!(refusal.message().contains("quota"), "{}", refusal.message());

    let mut stream = live(&door).await;
    door.job_shutdown.cancel();
    let end = within(stream.message()).await.unwrap_err();
    assert_eq!(end.code(), Code::Unavailable, "a draining service ends its streams: {end:?}");
    let next = Shutdown::new();
    let again = async {
        // The old server holds the place until it has drained.
        while door.job_place.dial().await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    within(again).await;
    assert_eq!(within(client.get_job(door.request(job("a")))).await.unwrap_err().code(), Code::Unavailable);
    door.jobs.serve(Bind::InProcess(door.job_place.clone()), &next).await;
    assert!(within(client.get_job(door.request(job("a")))).await.is_ok());
    next.cancel();
}

#[tokio::test]
async fn more_streams_than_one_connection_carries_do_not_wait_for_each_other() {
    let door = open().await;
    let mut open_streams = door.jobs.open.subscribe();
    // 128 is the bound of one connection, on both sides of the door.
    let (a, b) = (door.job_client().await, door.job_client().await);
    let mut streams = Vec::new();
    for at in 0..200 {
        let mut client = if at % 2 == 0 { a.clone() } else { b.clone() };
        streams.push(
            within(client.watch_jobs(door.request(watch("accounts/live")))).await.unwrap().into_inner(),
        );
    }
    within(open_streams.wait_for(|open| *open == 200)).await.unwrap();
    door.jobs.live.send("all".to_owned()).unwrap();
    let heard =
        futures::stream::iter(&mut streams).then(|stream| within(stream.message())).collect::<Vec<_>>().await;
    assert!(heard.into_iter().all(|message| message.unwrap().unwrap().resume_token == "all"));
}

#[tokio::test]
async fn tls_serves_the_same_calls() {
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (dir.path().join("tls.crt"), dir.path().join("tls.key"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let door = open_with(Some(Tls { certificate: certificate.clone(), key })).await;

    let target: Target = format!("https://localhost:{}", door.addr.port()).parse().unwrap();
    let mut client = JobServiceClient::new(target.channel_trusting(Some(&certificate)).unwrap());
    assert!(within(client.get_job(door.request(job("a")))).await.is_ok());
    let mut distrustful = JobServiceClient::new(target.channel().unwrap());
    let refusal = within(distrustful.get_job(door.request(job("a")))).await.unwrap_err();
    assert_eq!(refusal.code(), Code::Unavailable, "nobody vouches for this certificate: {refusal:?}");
    let plain = Endpoint::from_shared(format!("http://{}", door.addr)).unwrap().connect_lazy();
    let mut plain = JobServiceClient::new(plain);
    assert!(within(plain.get_job(door.request(job("a")))).await.is_err(), "there is no way around TLS");
}
