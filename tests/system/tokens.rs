//! Tokens that are none of ours, or not for what they are shown for.

use std::process::Command;

use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use crater_api::job::v1::job_service_client::JobServiceClient;
use crater_api::user::v1::RefreshTokenRequest;
use crater_api::user::v1::auth_service_client::AuthServiceClient;
use serde_json::{Value, json};
use tonic::Code;

use crate::harness::{Api, Mesh, PATIENCE, run, simple_job};

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

/// What is done to a token's claims before they are signed.
type Change<'a> = &'a dyn Fn(&mut Value);

/// The key that signs the mesh's tokens: whoever can read its database has it, nobody else.
fn signing_key(mesh: &Mesh) -> Ed25519KeyPair {
    let script = "import glob, sqlite3, sys\n\
        for file in glob.glob(sys.argv[1] + '/**/*', recursive=True):\n    \
            try: print(sqlite3.connect(file).execute('select hex(seed) from signing_keys').fetchone()[0])\n    \
            except (sqlite3.Error, TypeError): pass\n";
    let folder = mesh.data().join("db");
    let hex = run(Command::new("python3").arg("-c").arg(script).arg(folder), "", PATIENCE).ok();
    let byte = |i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap();
    let seed: Vec<u8> = (0..64).step_by(2).map(byte).collect();
    Ed25519KeyPair::from_seed_unchecked(&seed).unwrap()
}

#[test]
fn a_token_is_good_until_it_expires_and_only_as_what_it_was_made() {
    let mesh = Mesh::up(&[]);
    let api = mesh.api();
    let key = signing_key(&mesh);
    let good = api.tokens.access_token.clone();
    let header = good.split('.').next().unwrap();
    let with = |change: Change<'_>| {
        let mut claims = part(&good, 1);
        change(&mut claims);
        let signed = format!("{header}.{}", encoded(&claims));
        let signature = BASE64.encode(key.sign(signed.as_bytes()));
        let mut caller = Api::signed_out(&mesh.url);
        caller.tokens.access_token = format!("{signed}.{signature}");
        caller
    };
    // the same claims, signed here, are good: what is refused below is refused for what was changed
    with(&|_| {}).create(simple_job("good")).unwrap();
    let now = part(&good, 1)["iat"].as_i64().unwrap();
    let cases: [(&str, Change<'_>); 4] = [
        ("expired", &|c| {
            c["iat"] = json!(now - 3600);
            c["exp"] = json!(now - 1800)
        }),
        ("without an end", &|c| {
            c.as_object_mut().unwrap().remove("exp");
        }),
        ("of nobody", &|c| c["sub"] = json!("nobody")),
        ("of an ended session", &|c| c["epoch"] = json!(-1)),
    ];
    for (case, change) in cases {
        let answer = with(change).create(simple_job("bad"));
        let status = answer.expect_err(case);
        assert_eq!(status.code(), Code::Unauthenticated, "{case}: {status:?}");
        if case == "expired" {
            assert!(status.message().contains("expired"), "{status:?}");
        }
    }
    assert_eq!(api.names(), ["accounts/default/jobs/good"]);
}
