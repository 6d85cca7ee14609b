//! Access tokens and tickets: what opens a door, and what only looks like it.

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use p256::SecretKey;
use p256::pkcs8::{EncodePrivateKey as _, LineEnding};
use serde_json::{Value, json};

use crate::app::TestApp;
use crate::socket::Socket;
use crate::user::User;

on_both_databases!(
    the_published_keys_verify_a_token,
    a_token_of_another_key_opens_nothing,
    a_token_for_another_audience_opens_nothing,
    a_ticket_opens_one_socket,
);

async fn the_published_keys_verify_a_token(app: &mut TestApp) {
    let jisoo = app.register("jisoo").await;

    let (header, claims) = verified(app, &jisoo.token).await;

    assert_eq!((header.typ.as_deref(), header.alg), (Some("at+jwt"), Algorithm::ES256));
    assert_eq!((&claims["sub"], &claims["sid"]), (&json!(jisoo.id), &json!(jisoo.session)));
    assert!(claims["jti"].is_string());
    let lifetime = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
    assert!((1..=900).contains(&lifetime), "{lifetime}");
}

async fn a_token_of_another_key_opens_nothing(app: &mut TestApp) {
    let jisoo = app.register("jisoo").await;
    let (header, claims) = verified(app, &jisoo.token).await;
    let other = SecretKey::random(&mut p256::elliptic_curve::rand_core::OsRng);
    let pem = other.to_pkcs8_pem(LineEnding::LF).unwrap();
    let key = EncodingKey::from_ec_pem(pem.as_bytes()).unwrap();

    let forged = jsonwebtoken::encode(&header, &claims, &key).unwrap();

    opens_nothing(app, &jisoo.with_token(&forged)).await;
    // Nor does one whose algorithm is a shared secret, or none at all.
    let secret = EncodingKey::from_secret(pem.as_bytes());
    let hs256 = Header { alg: Algorithm::HS256, ..header };
    let forged = jsonwebtoken::encode(&hs256, &claims, &secret).unwrap();
    opens_nothing(app, &jisoo.with_token(&forged)).await;
    let (signed, _) = jisoo.token.rsplit_once('.').unwrap();
    opens_nothing(app, &jisoo.with_token(&format!("{signed}."))).await;
}

async fn a_token_for_another_audience_opens_nothing(app: &mut TestApp) {
    let jisoo = app.register("jisoo").await;

    app.restart_with("MADANG__AUTH__AUDIENCE", "another-app").await;

    let jisoo = jisoo.at(app);
    opens_nothing(app, &jisoo).await;
    // The login itself is still good.
    let body = json!({ "refresh_token": jisoo.refresh });
    let grant = app.post("/v1/auth/refresh", &body).await.json(200);
    jisoo.with_token(grant["access_token"].as_str().unwrap()).get("/users/profile").await.is(200);
}

async fn a_ticket_opens_one_socket(app: &mut TestApp) {
    let jisoo = app.register("jisoo").await;
    let ticket = jisoo.post("/tickets", &json!({})).await.json(201);
    assert_eq!(ticket["expires_in"], 30);
    let hello = json!({ "op": "hello", "ticket": ticket["ticket"] });

    let mut first = Socket::open(app.port(), None).await;
    assert_eq!(first.ok(hello.clone()).await["user"], json!(jisoo.id));

    let mut second = Socket::open(app.port(), None).await;
    assert_eq!(second.refused(hello).await, "unauthenticated");
    // A second try on the same connection, with a token this time.
    let hello = json!({ "op": "hello", "token": jisoo.token });
    assert_eq!(second.ok(hello).await["user"], json!(jisoo.id));
}

async fn opens_nothing(app: &TestApp, user: &User) {
    let refused = user.get("/users/profile").await;
    refused.refused(401, "unauthenticated");
    assert!(refused.header("www-authenticate").unwrap().starts_with("Bearer"));
    assert_eq!(user.socket().await.refused(json!({ "op": "hello" })).await, "unauthenticated");
    let mut socket = Socket::open(app.port(), None).await;
    let hello = json!({ "op": "hello", "token": user.token });
    assert_eq!(socket.refused(hello).await, "unauthenticated");
}

/// What a stranger reads in a token, knowing only the published keys.
async fn verified(app: &TestApp, token: &str) -> (Header, Value) {
    let keys = app.get("/.well-known/jwks.json").await.json(200);
    let keys: JwkSet = serde_json::from_value(keys).unwrap();
    let header = jsonwebtoken::decode_header(token).unwrap();
    let key = keys.find(header.kid.as_ref().unwrap()).expect("the key is published");
    let mut rules = Validation::new(Algorithm::ES256);
    rules.set_audience(&["madang"]);
    rules.set_issuer(&["madang"]);
    let key = DecodingKey::from_jwk(key).unwrap();
    let claims = jsonwebtoken::decode::<Value>(token, &key, &rules).unwrap().claims;
    (header, claims)
}
