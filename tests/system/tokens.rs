//! Tokens that are none of ours, or not for what they are shown for.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use crater_api::job::v1::job_service_client::JobServiceClient;
use crater_api::user::v1::RefreshTokenRequest;
use crater_api::user::v1::auth_service_client::AuthServiceClient;
use serde_json::{Value, json};
use tonic::Code;

use crate::harness::{Api, Mesh, simple_job};

fn part(token: &str, i: usize) -> Value {
    serde_json::from_slice(&BASE64.decode(token.split('.').nth(i).unwrap()).unwrap()).unwrap()
}

fn encoded(value: &Value) -> String {
    BASE64.encode(value.to_string())
}

#[test]
fn no_foreign_token_creates_a_job() {
    let mesh = Mesh::up(&[]);
    let stranger = Mesh::up(&[]);
    let api = mesh.api();
    let good = api.tokens.access_token.clone();
    let [header, claims, signature] = good.split('.').collect::<Vec<_>>()[..] else {
        panic!("{good} is no JWT")
    };
    let mut other_user = part(&good, 1);
    other_user["sub"] = json!("root");
    let mut later = part(&good, 1);
    later["exp"] = json!(later["exp"].as_i64().unwrap() + 1_000_000);
    let mut expired = part(&good, 1);
    expired["exp"] = json!(1_000_000);
    let none = json!({"alg": "none", "typ": "JWT"});
    let mut symmetric = part(&good, 0);
    symmetric["alg"] = json!("HS256");
    let cases = [
        ("no token", String::new()),
        ("nonsense", "nonsense".to_owned()),
        ("two dots", "..".to_owned()),
        ("cut short", good[..good.len() - 5].to_owned()),
        ("another user", format!("{header}.{}.{signature}", encoded(&other_user))),
        ("a later end", format!("{header}.{}.{signature}", encoded(&later))),
        ("an end in the past", format!("{header}.{}.{signature}", encoded(&expired))),
        ("without a signature", format!("{}.{claims}.", encoded(&none))),
        ("a symmetric algorithm", format!("{}.{claims}.{signature}", encoded(&symmetric))),
        ("another mesh's", stranger.api().tokens.access_token),
        ("a refresh token", api.tokens.refresh_token.clone()),
        ("very long", "a".repeat(6000)),
    ];
    for (case, token) in cases {
        let mut thief = Api::signed_out(&mesh.url);
        thief.tokens.access_token = token;
        let status = thief.create(simple_job("stolen")).unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated, "{case}: {status:?}");
        assert!(!status.message().is_empty(), "{case}: {status:?}");
        let reason = crater_api::status::from_status(&status).metadata.remove("reason").unwrap_or_default();
        assert!(reason.starts_with("TOKEN_"), "{case}: {reason:?} {status:?}");
    }
    assert_eq!(api.names(), Vec::<String>::new());

    let request = RefreshTokenRequest { refresh_token: good };
    let status = api
        .call(request, |c, r| async move { AuthServiceClient::new(c).refresh_token(r).await })
        .unwrap_err();
    assert!([Code::Unauthenticated, Code::InvalidArgument].contains(&status.code()), "{status:?}");

    let mut twice = api.request(simple_job("twice"));
    twice.metadata_mut().append("authorization", "Bearer nonsense".parse().unwrap());
    let answer = api.block_on(JobServiceClient::new(api.channel()).create_job(twice));
    assert!(answer.is_err(), "two tokens in one call: {answer:?}");
    assert_eq!(api.names(), Vec::<String>::new());
}
