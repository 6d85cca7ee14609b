//! Accounts: registering, logging in and out, refreshing, passwords, sessions, profiles and leaving.

use serde_json::json;

use crate::app::{PASSWORD, TestApp, eventually};
use crate::both::Settings;

const NO_GRACE: Settings = &[("MADANG__AUTH__REFRESH_GRACE_MS", "0")];
const NEW_PASSWORD: &str = "seesaw-beside-the-persimmon-4";

on_both_databases!(
    whoever_registers_is_logged_in_and_can_log_in_again,
    a_handle_and_an_address_belong_to_one_account,
    a_weak_or_malformed_registration_is_told_why,
    logging_out_ends_the_session_and_its_tokens,
    a_second_tab_may_repeat_an_exchange_within_the_grace,
    a_new_password_ends_every_other_session,
    a_revoked_session_loses_its_live_socket,
    a_profile_can_be_read_and_changed,
    a_deleted_account_leaves_nothing_personal,
    an_account_waits_after_five_wrong_passwords,
);
on_both_databases!(with super::NO_GRACE; a_refresh_token_used_again_revokes_the_session);

async fn whoever_registers_is_logged_in_and_can_log_in_again(app: &mut TestApp) {
    let jisoo = app.register("Jisoo").await;
    let profile = jisoo.get("/users/profile").await.json(200);
    assert_eq!((&profile["id"], &profile["handle"]), (&json!(jisoo.id), &json!("Jisoo")));
    assert_eq!(profile["roles"], json!(["USER"]));

    for identifier in ["jisoo", "JISOO@example.com"] {
        let again = app.login(identifier, PASSWORD).await;
        assert_eq!(again.id, jisoo.id);
        assert_ne!(again.session, jisoo.session);
    }
    for (identifier, password) in [("jisoo", NEW_PASSWORD), ("nobody", PASSWORD)] {
        let body = json!({ "identifier": identifier, "password": password });
        let refused = app.post("/v1/auth/login", &body).await;
        refused.refused(401, "invalid_credentials");
    }
}

async fn a_handle_and_an_address_belong_to_one_account(app: &mut TestApp) {
    app.register("jisoo").await;
    for (handle, email) in [("JiSoo", "other@example.com"), ("other", "Jisoo@Example.com")] {
        let body = json!({
            "handle": handle, "email": email, "password": PASSWORD, "display_name": "x",
        });
        app.post("/v1/auth/register", &body).await.refused(409, "account_exists");
    }
}

async fn a_weak_or_malformed_registration_is_told_why(app: &mut TestApp) {
    let body = |handle: &str, email: &str, password: &str| json!({ "handle": handle, "email": email, "password": password, "display_name": "x" });
    for (body, code) in [
        (body("j", "j@example.com", PASSWORD), "invalid_handle"),
        (body("jisoo", "nowhere", PASSWORD), "invalid_email"),
        (body("jisoo", "j@example.com", "short"), "password_too_short"),
        (body("jisoo", "j@example.com", "password123"), "password_common"),
        (body("jisoo", "j@example.com", "jisoo-is-my-name"), "password_contains_identity"),
    ] {
        app.post("/v1/auth/register", &body).await.refused(422, code);
    }
}

async fn logging_out_ends_the_session_and_its_tokens(app: &mut TestApp) {
    let jisoo = app.register("jisoo").await;
    let phone = app.login("jisoo", PASSWORD).await;

    phone.post("/auth/logout", &json!({ "refresh_token": phone.refresh })).await.is(204);

    phone.get("/users/profile").await.refused(401, "unauthenticated");
    let refreshed = app.post("/v1/auth/refresh", &json!({ "refresh_token": phone.refresh })).await;
    refreshed.refused(401, "invalid_refresh_token");
    jisoo.get("/users/profile").await.is(200);
    app.post("/v1/auth/logout", &json!({})).await.refused(401, "unauthenticated");
}

async fn a_second_tab_may_repeat_an_exchange_within_the_grace(app: &mut TestApp) {
    let jisoo = app.register("jisoo").await;
    let body = json!({ "refresh_token": jisoo.refresh });

    let one = app.post("/v1/auth/refresh", &body).await.json(200);
    let other = app.post("/v1/auth/refresh", &body).await.json(200);

    assert_ne!(one["refresh_token"], other["refresh_token"]);
    for grant in [one, other] {
        assert_eq!(grant["session_id"], json!(jisoo.session));
        let token = grant["access_token"].as_str().unwrap();
        jisoo.with_token(token).get("/users/profile").await.is(200);
        let next = json!({ "refresh_token": grant["refresh_token"] });
        app.post("/v1/auth/refresh", &next).await.is(200);
    }
}

async fn a_refresh_token_used_again_revokes_the_session(app: &mut TestApp) {
    let jisoo = app.register("jisoo").await;
    let stolen = json!({ "refresh_token": jisoo.refresh });
    let grant = app.post("/v1/auth/refresh", &stolen).await.json(200);
    let jisoo = jisoo.with_token(grant["access_token"].as_str().unwrap());

    let refused = eventually("the token is refused", async || {
        let answer = app.post("/v1/auth/refresh", &stolen).await;
        (answer.status != 200).then_some(answer)
    });

    refused.await.refused(401, "invalid_refresh_token");
    let honest = json!({ "refresh_token": grant["refresh_token"] });
    app.post("/v1/auth/refresh", &honest).await.refused(401, "invalid_refresh_token");
    jisoo.get("/users/profile").await.refused(401, "unauthenticated");
}

async fn a_new_password_ends_every_other_session(app: &mut TestApp) {
    let jisoo = app.register("jisoo").await;
    let phone = app.login("jisoo", PASSWORD).await;
    let change =
        |current: &str, new: &str| json!({ "current_password": current, "new_password": new });

    let wrong = jisoo.post("/auth/password", &change(NEW_PASSWORD, PASSWORD)).await;
    wrong.refused(403, "wrong_password");
    jisoo.post("/auth/password", &change(PASSWORD, NEW_PASSWORD)).await.is(204);

    jisoo.get("/users/profile").await.is(200);
    phone.get("/users/profile").await.refused(401, "unauthenticated");
    app.login("jisoo", NEW_PASSWORD).await;
    let old = json!({ "identifier": "jisoo", "password": PASSWORD });
    app.post("/v1/auth/login", &old).await.refused(401, "invalid_credentials");
}

async fn a_revoked_session_loses_its_live_socket(app: &mut TestApp) {
    let jisoo = app.register("jisoo").await;
    let phone = app.login("jisoo", PASSWORD).await;
    let mut socket = phone.follow(&[]).await;
    let listed = jisoo.get("/auth/sessions").await.json(200);
    let sessions = listed["items"].as_array().unwrap();
    assert_eq!(sessions.len(), 2);
    let current: Vec<_> = sessions.iter().filter(|session| session["current"] == true).collect();
    assert_eq!((current.len(), &current[0]["id"]), (1, &json!(jisoo.session)));

    let path = format!("/auth/sessions/{}", phone.session);
    jisoo.delete(&path).await.is(204);

    assert_eq!(socket.closed_with_bye().await, Some(4202));
    jisoo.delete(&path).await.refused(404, "session_not_found");
    let minho = app.register("minho").await;
    let of_another = minho.delete(&format!("/auth/sessions/{}", jisoo.session)).await;
    of_another.refused(404, "session_not_found");
}

async fn a_profile_can_be_read_and_changed(app: &mut TestApp) {
    let (jisoo, minho) = (app.register("jisoo").await, app.register("minho").await);

    let change = json!({ "display_name": "지수", "bio": "마당에서", "avatar": "/v1/files/7" });
    let changed = jisoo.put("/users/profile", &change).await.json(200);
    assert_eq!((&changed["display_name"], &changed["bio"]), (&json!("지수"), &json!("마당에서")));
    let alias = jisoo.put("/profile/me", &json!({ "avatar": null })).await.json(200);
    assert_eq!((&alias["avatar"], &alias["display_name"]), (&json!(null), &json!("지수")));

    let seen = minho.get(&format!("/users/{}", jisoo.id)).await.json(200);
    assert_eq!((&seen["handle"], &seen["email"]), (&json!("jisoo"), &json!(null)));
    let nobody = minho.get("/users/01930000-0000-7000-8000-000000000000").await;
    nobody.refused(404, "user_not_found");
}

async fn a_deleted_account_leaves_nothing_personal(app: &mut TestApp) {
    let (jisoo, minho) = (app.register("jisoo").await, app.register("minho").await);
    let room = jisoo.direct_room(&minho).await;
    jisoo.say(&room, "k1", "hello").await;
    let delete = |password: &str| {
        jisoo
            .request(reqwest::Method::DELETE, "/users/account")
            .json(&json!({ "password": password }))
    };

    crate::answer::Answer::of(delete(NEW_PASSWORD)).await.refused(403, "wrong_password");
    crate::answer::Answer::of(delete(PASSWORD)).await.is(204);

    jisoo.get("/users/profile").await.refused(401, "unauthenticated");
    minho.get(&format!("/users/{}", jisoo.id)).await.refused(404, "user_not_found");
    assert_eq!(minho.messages(&room, "after=0").await[0]["body"], "hello");
    let login = json!({ "identifier": "jisoo", "password": PASSWORD });
    app.post("/v1/auth/login", &login).await.refused(401, "invalid_credentials");
}

async fn an_account_waits_after_five_wrong_passwords(app: &mut TestApp) {
    app.register("jisoo").await;
    let wrong = json!({ "identifier": "jisoo", "password": NEW_PASSWORD });
    for _ in 0..5 {
        app.post("/v1/auth/login", &wrong).await.refused(401, "invalid_credentials");
    }

    // Each wait is longer than the last, so on any machine one of these comes too early.
    let refused = eventually("an attempt comes too early", async || {
        let answer = app.post("/v1/auth/login", &wrong).await;
        (answer.status != 401).then_some(answer)
    });

    let refused = refused.await;
    refused.refused(429, "login_backoff");
    assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
}
