//! What is not a call of the contract: the console, unknown paths, health, reflection.

use bytes::Bytes;
use http::{Request, StatusCode};
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::door::{Door, open, within};

async fn get(door: &Door, path: &str) -> http::Response<Bytes> {
    door.http(Request::get(path).body(Bytes::new()).unwrap()).await
}

#[tokio::test]
async fn the_console_is_at_the_root() {
    let door = open().await;
    let page = get(&door, "/").await;
    assert_eq!(page.status(), StatusCode::OK);
    assert!(page.headers()["content-type"].to_str().unwrap().starts_with("text/html"));
    assert!(page.headers()["content-security-policy"].to_str().unwrap().contains("script-src 'self'"));
    assert_eq!(get(&door, "/jobs/lab/a").await.body(), page.body());
    assert_eq!(get(&door, "/nothing.js").await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn unknown_calls_are_unimplemented_and_unknown_pages_not_found() {
    let door = open().await;
    for path in ["/crater.job.v1.JobService/Nothing", "/crater.nothing.v1.Nothing/Nothing"] {
        for content_type in ["application/grpc", "application/grpc-web+proto"] {
            let request =
                Request::post(path).header("content-type", content_type).body(Bytes::new()).unwrap();
            // Native gRPC needs HTTP/2; over HTTP/1.1 only gRPC-Web is a call of a known service.
            if content_type == "application/grpc" && path.contains("JobService") {
                continue;
            }
            let response = door.http(request).await;
            let text = String::from_utf8_lossy(response.body()).replace(": ", ":");
            let status =
                response.headers().get("grpc-status").map(|value| value.to_str().unwrap().to_owned());
            assert!(
                status.as_deref() == Some("12") || text.contains("grpc-status:12"),
                "{path}: {response:?}"
            );
        }
    }
    assert_eq!(get(&door, "/crater.nothing.v1.Nothing/Nothing").await.status(), StatusCode::NOT_FOUND);
    assert_ne!(get(&door, "/crater.job.v1.JobService/GetJob").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn health_is_told_for_the_door_and_for_each_service_behind_it() {
    let door = open().await;
    let mut client = HealthClient::new(door.channel().await);
    let mut check = async |service: &str| {
        let request = HealthCheckRequest { service: service.to_owned() };
        client.check(request).await.map(|answer| answer.into_inner().status())
    };
    assert_eq!(check("").await.unwrap(), ServingStatus::Serving);
    let serving = async {
        while check("crater.job.v1.JobService").await.unwrap() != ServingStatus::Serving {
            tokio::task::yield_now().await;
        }
    };
    within(serving).await;
    assert_eq!(check("crater.quota.v1.QuotaService").await.unwrap(), ServingStatus::NotServing);
    assert_eq!(check("no.such.Service").await.unwrap_err().code(), Code::NotFound);

    door.job_shutdown.cancel();
    let gone = async {
        while check("crater.job.v1.JobService").await.unwrap() == ServingStatus::Serving {
            tokio::task::yield_now().await;
        }
    };
    within(gone).await;
    assert_eq!(check("").await.unwrap(), ServingStatus::Serving, "the door stays open for the others");
    assert_eq!(get(&door, "/livez").await.status(), StatusCode::OK);
    assert_eq!(get(&door, "/readyz").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn reflection_knows_the_whole_contract_in_both_versions() {
    let door = open().await;
    {
        use tonic_reflection::pb::v1::ServerReflectionRequest;
        use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
        use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
        use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
        let mut client = ServerReflectionClient::new(door.channel().await);
        let request = ServerReflectionRequest {
            message_request: Some(MessageRequest::ListServices(String::new())),
            ..Default::default()
        };
        let answer = client.server_reflection_info(futures::stream::iter([request])).await.unwrap();
        let message = within(answer.into_inner().message()).await.unwrap().unwrap();
        let Some(MessageResponse::ListServicesResponse(list)) = message.message_response else {
            panic!("{message:?}")
        };
        let names: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
        for name in ["crater.job.v1.JobService", "crater.quota.v1.QuotaService", "grpc.health.v1.Health"] {
            assert!(names.contains(&name), "{names:?}");
        }
    }
    {
        use tonic_reflection::pb::v1alpha::ServerReflectionRequest;
        use tonic_reflection::pb::v1alpha::server_reflection_client::ServerReflectionClient;
        use tonic_reflection::pb::v1alpha::server_reflection_request::MessageRequest;
        use tonic_reflection::pb::v1alpha::server_reflection_response::MessageResponse;
        let mut client = ServerReflectionClient::new(door.channel().await);
        let symbol = "crater.job.v1.JobService".to_owned();
        let request = ServerReflectionRequest {
            message_request: Some(MessageRequest::FileContainingSymbol(symbol)),
            ..Default::default()
        };
        let answer = client.server_reflection_info(futures::stream::iter([request])).await.unwrap();
        let message = within(answer.into_inner().message()).await.unwrap().unwrap();
        assert!(
            matches!(message.message_response, Some(MessageResponse::FileDescriptorResponse(_))),
            "{message:?}"
        );
    }
}
