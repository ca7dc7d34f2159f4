//! Whose tokens are accepted. The keys are made by OpenSSL, as an operator would.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use entrenous::http::authentication::{Expected, KeyError, Unauthenticated, Verifier};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::support::socket::Socket;
use crate::support::{Person, Server, now, sign};

const SECRET: &[u8] = b"a secret of at least thirty-two bytes";

fn claims() -> Value {
    json!({ "sub": "alice", "exp": now() + 60 })
}

fn openssl(arguments: &[&str]) {
    let output = Command::new("openssl").args(arguments).output().expect("openssl");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A private and a public key in PEM.
fn key_pair(folder: &Path, name: &str, options: &[&str]) -> (PathBuf, PathBuf) {
    let (private, public) = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.pub")));
    let path = |path: &PathBuf| path.to_str().expect("UTF-8").to_owned();
    openssl(&[&["genpkey", "-out", &path(&private)], options].concat());
    openssl(&["pkey", "-in", &path(&private), "-pubout", "-out", &path(&public)]);
    (private, public)
}

fn signed(algorithm: Algorithm, key: &EncodingKey, kid: Option<&str>) -> String {
    let header = Header { kid: kid.map(str::to_owned), ..Header::new(algorithm) };
    jsonwebtoken::encode(&header, &claims(), key).expect("a token")
}

#[test]
fn a_public_key_of_each_kind_verifies_its_algorithm_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let rsa = key_pair(folder.path(), "rsa", &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]);
    let ec = key_pair(folder.path(), "ec", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    let ed = key_pair(folder.path(), "ed", &["-algorithm", "ED25519"]);
    let read = |path: &PathBuf| fs::read(path).expect("a key");
    let tokens = [
        signed(Algorithm::RS256, &EncodingKey::from_rsa_pem(&read(&rsa.0)).expect("a key"), None),
        signed(Algorithm::ES256, &EncodingKey::from_ec_pem(&read(&ec.0)).expect("a key"), None),
        signed(Algorithm::EdDSA, &EncodingKey::from_ed_pem(&read(&ed.0)).expect("a key"), None),
    ];
    for (own, (_, public)) in [&rsa, &ec, &ed].into_iter().enumerate() {
        let pem = read(public);
        let verifier = Verifier::public_key(&pem, &Expected::default()).expect("a public key");
        for (other, token) in tokens.iter().enumerate() {
            assert_eq!(verifier.verify(token).is_ok(), own == other, "key {own}, token {other}");
        }
        // The public key is public: a token signed with it as a secret must not pass (algorithm confusion).
        let confused = sign(&pem, &claims());
        assert_eq!(verifier.verify(&confused).expect_err("refused"), Unauthenticated::Signature);
    }
    assert!(matches!(Verifier::public_key(b"no key", &Expected::default()), Err(KeyError::UnknownPem)));
}

#[test]
fn a_jwks_verifies_by_key_id() {
    let folder = tempfile::tempdir().expect("a folder");
    let pairs: Vec<_> = ["one", "two"].iter().map(|name| key_pair(folder.path(), name, &["-algorithm", "ED25519"])).collect();
    let jwk = |kid: &str, public: &PathBuf| {
        let pem = fs::read_to_string(public).expect("a key");
        let der = base64::engine::general_purpose::STANDARD.decode(pem.lines().nth(1).expect("the key")).expect("base64");
        json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "use": "sig", "x": URL_SAFE_NO_PAD.encode(&der[der.len() - 32..]) })
    };
    let set = json!({ "keys": [jwk("one", &pairs[0].1), jwk("two", &pairs[1].1), { "kty": "oct", "k": "AAAA", "kid": "three" }] });
    let verifier = Verifier::jwks(set.to_string().as_bytes(), &Expected::default()).expect("two keys");
    let key = |n: usize| EncodingKey::from_ed_pem(&fs::read(&pairs[n].0).expect("a key")).expect("a key");
    assert!(verifier.verify(&signed(Algorithm::EdDSA, &key(0), Some("one"))).is_ok());
    assert!(verifier.verify(&signed(Algorithm::EdDSA, &key(1), Some("two"))).is_ok());
    assert!(verifier.verify(&signed(Algorithm::EdDSA, &key(1), None)).is_ok(), "without an id, each is tried");
    assert!(verifier.verify(&signed(Algorithm::EdDSA, &key(1), Some("one"))).is_err());
    assert!(verifier.verify(&signed(Algorithm::EdDSA, &key(0), Some("three"))).is_err());
    assert!(verifier.verify(&sign(b"\0\0\0", &claims())).is_err(), "a symmetric key of a public set is no key");
    assert!(matches!(Verifier::jwks(b"{\"keys\":[]}", &Expected::default()), Err(KeyError::EmptyJwks)));
    assert!(matches!(Verifier::jwks(b"nonsense", &Expected::default()), Err(KeyError::Jwks(_))));
}

#[test]
fn claims_are_checked_where_configured() {
    let expected = Expected { issuer: Some("https://id.exemple.fr".to_owned()), audience: Some("chat".to_owned()), leeway: 0 };
    let verifier = Verifier::secret(SECRET, &expected).expect("a secret");
    let good = json!({ "sub": "alice", "iss": "https://id.exemple.fr", "aud": ["chat", "other"], "exp": now() + 60, "nbf": now() - 1 });
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        verifier.verify(&sign(SECRET, &claims)).err()
    };
    assert_eq!(verifier.verify(&sign(SECRET, &good)).err(), None);
    assert_eq!(with("exp", json!(now() - 2)), Some(Unauthenticated::Expired));
    assert_eq!(with("exp", json!(now())), Some(Unauthenticated::Expired));
    let critical = Header { crit: Some(vec!["exp".to_owned()]), ..Header::new(Algorithm::HS256) };
    let token = jsonwebtoken::encode(&critical, &good, &EncodingKey::from_secret(SECRET)).expect("a token");
    assert_eq!(verifier.verify(&token).err(), Some(Unauthenticated::Malformed));
    assert_eq!(with("nbf", json!(now() + 60)), Some(Unauthenticated::Immature));
    assert_eq!(with("iss", json!("https://elsewhere.example")), Some(Unauthenticated::Issuer));
    assert_eq!(with("iss", Value::Null), Some(Unauthenticated::Issuer));
    assert_eq!(with("aud", json!("other")), Some(Unauthenticated::Audience));
    assert_eq!(with("aud", Value::Null), Some(Unauthenticated::Audience));
    assert_eq!(with("sub", json!("not an id")), Some(Unauthenticated::Subject));
    assert_eq!(with("sub", json!(7)), Some(Unauthenticated::Malformed));
    assert!(matches!(Verifier::secret(b"short", &expected), Err(KeyError::ShortSecret)));
}

#[tokio::test]
async fn the_service_verifies_with_the_key_and_the_claims_it_is_given() {
    let folder = tempfile::tempdir().expect("a folder");
    let (private, public) = key_pair(folder.path(), "ed", &["-algorithm", "ED25519"]);
    let key = EncodingKey::from_ed_pem(&fs::read(&private).expect("a key")).expect("a key");
    let jwks = folder.path().join("jwks.json");
    let pem = fs::read_to_string(&public).expect("a key");
    let der = base64::engine::general_purpose::STANDARD.decode(pem.lines().nth(1).expect("the key")).expect("base64");
    let set = json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(&der[der.len() - 32..]) }] });
    fs::write(&jwks, set.to_string()).expect("written");
    let secret = folder.path().join("secret");
    fs::write(&secret, [SECRET, b"\n"].concat()).expect("written");
    let token = |claims: &Value| jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), claims, &key).expect("a token");
    let path = |path: &PathBuf| path.to_str().expect("UTF-8").to_owned();
    for (arguments, good) in [
        (["--token-public-key", &path(&public)], token(&claims())),
        (["--token-jwks", &path(&jwks)], token(&claims())),
        (["--token-secret-file", &path(&secret)], sign(SECRET, &claims())),
    ] {
        let server = Server::start_with(&arguments);
        let status = async |token: String| Person::new("alice", token, &server.url).request("{ me { id } }", json!({})).await.status;
        assert_eq!(status(good).await, 200, "{arguments:?}");
        assert_eq!(status(sign(b"another secret of thirty-two bytes", &claims())).await, 401, "{arguments:?}");
    }
    let server = Server::start_with(&["--token-public-key", &path(&public), "--token-issuer", "here", "--token-audience", "chat", "--token-leeway", "60"]);
    for (iss, aud, exp, status) in
        [("here", "chat", 60, 200), ("there", "chat", 60, 401), ("here", "mail", 60, 401), ("here", "chat", -20, 200), ("here", "chat", -90, 401)]
    {
        let claims = json!({ "sub": "alice", "iss": iss, "aud": aud, "exp": now() + exp });
        let alice = Person::new("alice", token(&claims), &server.url);
        assert_eq!(alice.request("{ me { id } }", json!({})).await.status, status, "{claims}");
        if exp < 0 && status == 200 {
            Socket::inbox(&server, &alice).await;
        }
    }
}

#[tokio::test]
async fn wrong_and_missing_tokens_are_401_and_append_nothing() {
    let server = Server::start();
    let secret = server.secret();
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let none = format!("{}.{}.", part(json!({ "alg": "none", "typ": "JWT" })), part(claims()));
    let good = sign(&secret, &claims());
    let other_body =
        format!("{}.{}.{}", good.split('.').next().expect("a header"), part(json!({ "sub": "admin" })), good.rsplit('.').next().expect("a signature"));
    let wrong = [
        String::new(),
        "x".to_owned(),
        "a.b.c".to_owned(),
        none,
        other_body,
        sign(SECRET, &claims()),
        sign(&secret, &json!({ "sub": "alice", "exp": now() - 2 })),
        sign(&secret, &json!({ "sub": "alice", "nbf": now() + 60, "exp": now() + 90 })),
        sign(&secret, &json!({ "sub": "", "exp": now() + 60 })),
        sign(&secret, &json!({ "sub": "x".repeat(129), "exp": now() + 60 })),
        sign(&secret, &json!({ "exp": now() + 60 })),
    ];
    let post = || reqwest::Client::new().post(format!("{}/graphql", server.url)).json(&json!({ "query": "{ me { id } }" }));
    let mut requests: Vec<_> = wrong.iter().map(|token| post().header("authorization", format!("Bearer {token}"))).collect();
    requests.push(post());
    requests.push(post().header("authorization", "Basic YWxpY2U6eA=="));
    let count = requests.len();
    for request in requests {
        let reply = crate::support::Reply::of(request.send().await.expect("an answer")).await;
        assert_eq!((reply.status, reply.code()), (401, "UNAUTHENTICATED"));
        assert_eq!(reply.headers["www-authenticate"], "Bearer");
        assert!(reply.body.get("data").is_none());
    }
    assert_eq!(server.events(), 0);
    assert_eq!(server.log().lines().filter(|line| line.contains("refused")).count(), count, "one line each");
    assert!(wrong.iter().filter(|token| token.len() > 3).all(|token| !server.log().contains(token.as_str())), "and no token in it");
}

#[tokio::test]
async fn roles_are_strings_or_lists() {
    let server = Server::start();
    let design = "mutation { configureChatSection(input: { listTemplate: 2 }) { chatSection { title } } }";
    for (claims, allowed) in [
        (json!({ "role": "admin" }), true),
        (json!({ "roles": "admin" }), true),
        (json!({ "roles": ["auditor", "admin"] }), true),
        (json!({ "roles": ["auditor"] }), false),
        (json!({ "roles": ["administrator"], "role": 7 }), false),
        (json!({}), false),
    ] {
        let reply = server.person_with("somebody", &claims).request(design, json!({})).await;
        assert_eq!(reply.code() != "FORBIDDEN", allowed, "{claims}");
    }
}

#[test]
fn a_token_that_was_accepted_ends_all_the_same() {
    let verifier = Verifier::secret(SECRET, &Expected::default()).expect("a secret");
    let ends = now() + 3;
    let token = sign(SECRET, &json!({ "sub": "alice", "exp": ends }));
    assert!(verifier.verify(&token).is_ok());
    let refused = loop {
        let before = now();
        match verifier.verify(&token) {
            Ok(_) => assert!(before <= ends, "it ended a while ago"),
            Err(refused) => break refused,
        }
        std::thread::yield_now();
    };
    assert_eq!(refused, Unauthenticated::Expired);
    assert!(now() >= ends, "and not before");
}
