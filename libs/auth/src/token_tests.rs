//! Every way to bring a token that is not ours, and that each is refused.

use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

use super::*;
use crate::generate_seed;

const NOW: u64 = 1_800_000_000;

struct World {
    signer: Signer,
    keys: KeySet,
    mesh: MeshKey,
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn world() -> World {
    let signer = Signer::from_seed("k1", &generate_seed()).unwrap();
    let keys = KeySet::new();
    keys.replace([("k1".to_owned(), signer.public_key())]);
    World { signer, keys, mesh: MeshKey::generate().unwrap() }
}

impl World {
    fn grant() -> AccessGrant {
        AccessGrant { user: "alice".parse().unwrap(), session: "s1".to_owned(), epoch: 3 }
    }

    fn claims(&self) -> Value {
        let (_, claims) = self.signer.access_token(&Self::grant(), at(NOW)).unwrap();
        serde_json::to_value(claims).unwrap()
    }

    fn verify(&self, token: &str) -> Result<Token, Error> {
        verify(token, &self.keys, &self.mesh, at(NOW))
    }

    /// A token with our good signature over claims that were changed before signing.
    fn signed_with(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = self.claims();
        change(&mut claims);
        self.signer.sign("access", &claims).unwrap()
    }

    /// A token with our good claims, a header of the attacker's and a signature by nobody.
    fn headed(&self, header: &Value) -> String {
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(serde_json::to_vec(value).unwrap());
        format!("{}.{}.{}", encode(header), encode(&self.claims()), URL_SAFE_NO_PAD.encode([7; 64]))
    }
}

#[test]
fn a_token_that_was_believed_is_judged_again_by_its_time_and_its_key() {
    let world = world();
    let (token, claims) = world.signer.access_token(&World::grant(), at(NOW)).unwrap();
    let verify_at = |seconds| verify(&token, &world.keys, &world.mesh, at(seconds));
    assert_eq!(verify_at(NOW), Ok(Token::Access(claims.clone())));
    assert_eq!(world.keys.believed().get(&token, world.keys.generation()), Some(claims.clone()));
    assert_eq!(verify_at(NOW + 1), Ok(Token::Access(claims)));
    assert_eq!(verify_at(NOW + 3600), Err(Error::TokenExpired));
    assert_eq!(verify_at(NOW - 3600), Err(Error::TokenNotYetValid));
    let (head, signature) = token.rsplit_once('.').unwrap();
    assert_eq!(world.verify(&format!("{head}.{}", signature.to_lowercase())), Err(Error::TokenForged));
    let other = Signer::from_seed("k2", &generate_seed()).unwrap();
    world.keys.replace([("k2".to_owned(), other.public_key())]);
    assert_eq!(verify_at(NOW), Err(Error::TokenForged), "its key is retired");
}

#[test]
fn our_own_token_is_believed_and_says_who() {
    let world = world();
    let (token, claims) = world.signer.access_token(&World::grant(), at(NOW)).unwrap();
    assert_eq!(world.verify(&token), Ok(Token::Access(claims.clone())));
    assert_eq!((claims.user.as_str(), claims.session.as_str(), claims.epoch), ("alice", "s1", 3));
    assert_eq!(claims.exp - claims.iat, 600);
}

#[test]
fn a_token_lives_ten_minutes_and_the_leeway() {
    let world = world();
    let (token, _) = world.signer.access_token(&World::grant(), at(NOW)).unwrap();
    let verify_at = |seconds| verify(&token, &world.keys, &world.mesh, at(seconds));
    assert!(verify_at(NOW + 609).is_ok());
    assert_eq!(verify_at(NOW + 610), Err(Error::TokenExpired));
    assert!(verify_at(NOW - 10).is_ok());
    assert_eq!(verify_at(NOW - 11), Err(Error::TokenNotYetValid));
}

#[test]
fn a_changed_token_is_forged() {
    let world = world();
    let (token, _) = world.signer.access_token(&World::grant(), at(NOW)).unwrap();
    let parts: Vec<_> = token.split('.').collect();
    let mut claims = world.claims();
    claims["user"] = json!("bob");
    claims["sub"] = json!("users/bob");
    let changed = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&claims).unwrap());
    assert_eq!(world.verify(&format!("{}.{changed}.{}", parts[0], parts[2])), Err(Error::TokenForged));
    assert_eq!(world.verify(&format!("{}.{}.", parts[0], parts[1])), Err(Error::TokenForged));
    let mut signature = URL_SAFE_NO_PAD.decode(parts[2]).unwrap();
    signature[0] ^= 1;
    let signature = URL_SAFE_NO_PAD.encode(signature);
    assert_eq!(world.verify(&format!("{}.{}.{signature}", parts[0], parts[1])), Err(Error::TokenForged));
}

#[test]
fn another_key_under_our_key_id_is_forged() {
    let world = world();
    let stranger = Signer::from_seed("k1", &generate_seed()).unwrap();
    let (token, _) = stranger.access_token(&World::grant(), at(NOW)).unwrap();
    assert_eq!(world.verify(&token), Err(Error::TokenForged));
}

#[test]
fn a_retired_key_verifies_nothing() {
    let world = world();
    let (token, _) = world.signer.access_token(&World::grant(), at(NOW)).unwrap();
    let next = Signer::from_seed("k2", &generate_seed()).unwrap();
    world.keys.replace([("k2".to_owned(), next.public_key())]);
    assert_eq!(world.verify(&token), Err(Error::TokenForged));
}

#[test]
fn without_keys_nobody_is_called_a_forger() {
    let world = world();
    let (token, _) = world.signer.access_token(&World::grant(), at(NOW)).unwrap();
    assert_eq!(verify(&token, &KeySet::new(), &world.mesh, at(NOW)), Err(Error::KeysNotHeard));
}

#[test]
fn no_other_algorithm_is_taken() {
    let world = world();
    for alg in ["none", "None", "NONE", "", "HS256", "RS256", "ES256", "eddsa", "Ed25519"] {
        let token = world.headed(&json!({"alg": alg, "typ": "access", "kid": "k1"}));
        assert_eq!(world.verify(&token), Err(Error::TokenForged), "{alg}");
        let unsigned = format!("{}.", token.rsplit_once('.').unwrap().0);
        assert_eq!(world.verify(&unsigned), Err(Error::TokenForged), "{alg} unsigned");
    }
    // The old trick: our public key as the secret of a MAC.
    let mut header = Header::new(Algorithm::HS256);
    (header.typ, header.kid) = (Some("access".to_owned()), Some("k1".to_owned()));
    let secret = EncodingKey::from_secret(&world.signer.public_key());
    let token = jsonwebtoken::encode(&header, &world.claims(), &secret).unwrap();
    assert_eq!(world.verify(&token), Err(Error::TokenForged));
}

#[test]
fn a_header_chooses_no_key_but_by_its_exact_id() {
    let world = world();
    for kid in
        ["", "k2", "K1", "k1 ", "k1\0", "../k1", "../../dev/null", "/etc/passwd", "k1' OR '1'='1", "mesh"]
    {
        let token = world.headed(&json!({"alg": "EdDSA", "typ": "access", "kid": kid}));
        assert_eq!(world.verify(&token), Err(Error::TokenForged), "{kid}");
    }
    for more in ["jwk", "jku", "x5u", "x5c", "x5t", "crit", "b64", "zip"] {
        let mut header = json!({"alg": "EdDSA", "typ": "access", "kid": "k1"});
        header[more] = json!("https://example.invalid/keys");
        assert!(matches!(world.verify(&world.headed(&header)), Err(Error::TokenMalformed(_))), "{more}");
    }
    for less in ["alg", "typ", "kid"] {
        let mut header = json!({"alg": "EdDSA", "typ": "access", "kid": "k1"});
        header.as_object_mut().unwrap().remove(less);
        assert!(matches!(world.verify(&world.headed(&header)), Err(Error::TokenMalformed(_))), "{less}");
    }
}

#[test]
fn every_claim_is_required_and_has_its_type() {
    let world = world();
    for claim in ["iss", "aud", "sub", "exp", "nbf", "iat", "jti", "token_use", "user", "session", "epoch"] {
        let without = world.signed_with(|claims| {
            claims.as_object_mut().unwrap().remove(claim);
        });
        assert!(matches!(world.verify(&without), Err(Error::TokenMalformed(_))), "without {claim}");
        let null = world.signed_with(|claims| claims[claim] = Value::Null);
        assert!(matches!(world.verify(&null), Err(Error::TokenMalformed(_))), "{claim} is null");
    }
    for claim in ["exp", "nbf", "iat", "epoch"] {
        for wrong in [json!("99999999999"), json!("1"), json!(1.5), json!([1]), json!(true), json!(1e300)] {
            let token = world.signed_with(|claims| claims[claim] = wrong.clone());
            assert!(matches!(world.verify(&token), Err(Error::TokenMalformed(_))), "{claim} is {wrong}");
        }
    }
}

#[test]
fn times_at_the_ends_of_the_range_do_not_wrap() {
    let world = world();
    let far = world.signed_with(|claims| claims["exp"] = json!(i64::MAX));
    assert!(world.verify(&far).is_ok());
    let never = world.signed_with(|claims| claims["nbf"] = json!(i64::MAX));
    assert_eq!(world.verify(&never), Err(Error::TokenNotYetValid));
    let past = world.signed_with(|claims| claims["exp"] = json!(i64::MIN));
    assert_eq!(world.verify(&past), Err(Error::TokenExpired));
}

#[test]
fn a_token_for_somebody_else_is_refused() {
    let world = world();
    let iss = world.signed_with(|claims| claims["iss"] = json!("elsewhere"));
    assert_eq!(world.verify(&iss), Err(Error::TokenNotForUs("issuer")));
    let aud = world.signed_with(|claims| claims["aud"] = json!("elsewhere"));
    assert_eq!(world.verify(&aud), Err(Error::TokenNotForUs("audience")));
    let sub = world.signed_with(|claims| claims["sub"] = json!("users/root"));
    assert!(matches!(world.verify(&sub), Err(Error::TokenMalformed(_))));
}

#[test]
fn one_kind_of_token_does_not_pass_for_another() {
    let world = world();
    let service = world.mesh.signer().service_token("job", at(NOW), Duration::from_secs(60)).unwrap();
    assert_eq!(world.verify(&service), Ok(Token::Service("job".to_owned())));

    let wrong_kind = |result| matches!(result, Err(Error::TokenWrongKind { .. }));
    let refresh = world.signed_with(|claims| claims["token_use"] = json!("refresh"));
    assert!(wrong_kind(world.verify(&refresh)));
    assert!(wrong_kind(world.verify(&world.headed(&json!({"alg": "EdDSA", "typ": "JWT", "kid": "k1"})))));
    // The user service's key makes no service, and the mesh key no user.
    let posing = world.signer.service_token("job", at(NOW), Duration::from_secs(60)).unwrap();
    assert_eq!(world.verify(&posing), Err(Error::TokenForged));
    let (posing, _) = world.mesh.signer().access_token(&World::grant(), at(NOW)).unwrap();
    assert_eq!(world.verify(&posing), Err(Error::TokenForged));
    // Nor does the mesh key of another mesh.
    let other =
        MeshKey::generate().unwrap().signer().service_token("job", at(NOW), Duration::from_secs(60)).unwrap();
    assert_eq!(world.verify(&other), Err(Error::TokenForged));
}

#[test]
fn what_is_no_token_is_malformed() {
    let world = world();
    let nested = URL_SAFE_NO_PAD.encode("[".repeat(3000));
    for text in ["", "a", "a.b", "a.b.c", "....", "a.b.c.d", &format!("{nested}.e30.x"), &"x".repeat(100_000)]
    {
        assert!(matches!(world.verify(text), Err(Error::TokenMalformed(_))), "{:.20}", text);
    }
}
