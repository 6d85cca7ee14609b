//! What comes by mail: confirming an address, and a new password for somebody who forgot theirs.

use serde_json::json;

use crate::app::{PASSWORD, TestApp};

const NEW_PASSWORD: &str = "seesaw-beside-the-persimmon-4";

on_both_databases!(
    an_address_is_confirmed_with_the_code_that_was_mailed,
    a_forgotten_password_is_replaced_through_the_mail,
);

async fn an_address_is_confirmed_with_the_code_that_was_mailed(app: &mut TestApp) {
    let jisoo = app.register("jisoo").await;
    let code = app.mailed_code("verify_email", "jisoo@example.com").await;
    assert_eq!(jisoo.get("/users/profile").await.json(200)["verified"], false);

    let body = json!({ "token": code });
    app.post("/v1/users/verify-email", &body).await.is(204);

    assert_eq!(jisoo.get("/users/profile").await.json(200)["verified"], true);
    let unknown = json!({ "token": "A".repeat(43) });
    app.post("/v1/auth/verify-email", &unknown).await.refused(422, "invalid_token");
}

async fn a_forgotten_password_is_replaced_through_the_mail(app: &mut TestApp) {
    let jisoo = app.register("jisoo").await;
    // The answer does not tell who has an account.
    for email in ["nobody@example.com", "jisoo@example.com"] {
        app.post("/v1/auth/reset-password", &json!({ "email": email })).await.is(202);
    }
    let code = app.mailed_code("reset_password", "jisoo@example.com").await;

    let body = json!({ "token": code, "new_password": NEW_PASSWORD });
    app.post("/v1/auth/reset-password/confirm", &body).await.is(204);

    app.post("/v1/auth/reset-password/confirm", &body).await.refused(422, "invalid_token");
    jisoo.get("/users/profile").await.refused(401, "unauthenticated");
    app.login("jisoo", NEW_PASSWORD).await;
    let old = json!({ "identifier": "jisoo", "password": PASSWORD });
    app.post("/v1/auth/login", &old).await.refused(401, "invalid_credentials");
}
