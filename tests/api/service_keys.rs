//! Service keys: who makes them, what they open, and when they no longer do.

use reqwest::Method;
use serde_json::json;

use crate::answer::Answer;
use crate::app::{TestApp, eventually};
use crate::both::Settings;
use crate::service::Service;

const MANAGE: &[&str] = &["webhooks:manage"];
const SEND: &[&str] = &["notifications:send"];
/// So slow that no bucket fills up again while a test runs.
const TIGHT: Settings = &[
    ("MADANG__LIMITS__ENABLED", "true"),
    ("MADANG__LIMITS__REQUESTS_PER_SECOND_SERVICE_KEY", "1"),
    ("MADANG__LIMITS__BURST_SERVICE_KEY", "5"),
    ("MADANG__LIMITS__REQUESTS_PER_SECOND_IP", "5"),
    ("MADANG__LIMITS__BURST_IP", "500"),
];

on_both_databases!(
    a_key_opens_what_its_scopes_say_and_nothing_else,
    only_administrators_make_keys_and_see_them,
    a_key_that_is_not_quite_right_opens_nothing,
    a_key_is_shown_once_and_its_use_is_noted,
    a_key_that_was_revoked_opens_nothing_any_more,
    a_key_that_has_expired_opens_nothing_any_more,
    a_key_is_asked_for_in_the_words_of_the_rules,
    a_key_can_be_made_on_the_command_line,
);
on_both_databases!(with super::TIGHT;
    a_service_that_asks_too_much_is_told_when_to_come_back,
    whoever_guesses_keys_is_stopped_like_one_who_guesses_passwords,
);

async fn a_key_opens_what_its_scopes_say_and_nothing_else(app: &mut TestApp) {
    let admin = app.administrator("gwanri").await;
    let (manager, _) = Service::made_by(&admin, app, "deploy", MANAGE).await;
    let (sender, _) = Service::made_by(&admin, app, "billing", SEND).await;
    let (both, _) = Service::made_by(&admin, app, "core", &[MANAGE[0], SEND[0]]).await;

    manager.get("/webhooks").await.is(200);
    both.get("/webhooks").await.is(200);
    sender.get("/webhooks").await.refused(403, "scope_missing");
    // What is for administrators is not for keys, and what is for people neither.
    for path in ["/admin/service-keys", "/users/profile"] {
        both.get(path).await.refused(401, "unauthenticated");
    }
    // An administrator needs no key; but whoever brings one is believed by it alone.
    admin.get("/webhooks").await.is(200);
    let with_both = admin.request(Method::GET, "/webhooks").header("x-api-key", &sender.key);
    let with_both = Answer::of(with_both.header("x-service-name", "billing")).await;
    with_both.refused(403, "scope_missing");
}

async fn only_administrators_make_keys_and_see_them(app: &mut TestApp) {
    let (admin, jisoo) = (app.administrator("gwanri").await, app.register("jisoo").await);
    let (_, id) = Service::made_by(&admin, app, "deploy", MANAGE).await;
    let body = json!({ "name": "mine", "scopes": MANAGE });
    let one = format!("/admin/service-keys/{id}");

    jisoo.post("/admin/service-keys", &body).await.refused(403, "forbidden");
    jisoo.get("/admin/service-keys").await.refused(403, "forbidden");
    jisoo.delete(&one).await.refused(403, "forbidden");
    jisoo.get("/webhooks").await.refused(403, "forbidden");
    app.get("/v1/admin/service-keys").await.refused(401, "unauthenticated");
    app.get("/v1/webhooks").await.refused(401, "unauthenticated");
}

async fn a_key_that_is_not_quite_right_opens_nothing(app: &mut TestApp) {
    let admin = app.administrator("gwanri").await;
    let (service, id) = Service::made_by(&admin, app, "deploy", MANAGE).await;
    let (other, _) = Service::made_by(&admin, app, "deploy", MANAGE).await;
    let plain = id.replace('-', "");
    let secret = service.key.rsplit_once(&format!("{plain}_")).unwrap().1;
    let last = if secret.ends_with('A') { "B" } else { "A" };
    let tries = [
        String::new(),
        "md_".to_owned(),
        secret.to_owned(),
        format!("md_{id}_{secret}"),
        format!("md_{plain}_"),
        format!("md_{plain}_{secret}{last}"),
        format!("md_{plain}_{}{last}", &secret[..42]),
        format!("md_{}_{secret}", "0".repeat(32)),
        // The secret of one with the id of another.
        format!("{}{secret}", &other.key[..36]),
        service.key.to_uppercase(),
    ];
    for key in &tries {
        let answer = Service::new(app, "deploy", key).get("/webhooks").await;
        answer.refused(401, "invalid_service_key");
    }

    for name in ["", "Deploy", "billing"] {
        let answer = Service::new(app, name, &service.key).get("/webhooks").await;
        answer.refused(401, "invalid_service_key");
    }
    let nameless = app.http.get(app.url("/v1/webhooks")).header("x-api-key", &service.key);
    Answer::of(nameless).await.refused(401, "invalid_service_key");
    service.get("/webhooks").await.is(200);
}

async fn a_key_is_shown_once_and_its_use_is_noted(app: &mut TestApp) {
    let admin = app.administrator("gwanri").await;
    let (service, id) = Service::made_by(&admin, app, "deploy", MANAGE).await;
    let (_, newer) = Service::made_by(&admin, app, "billing", SEND).await;

    let list = admin.get("/admin/service-keys").await;
    let keys = list.json(200)["items"].as_array().unwrap().clone();
    let ids: Vec<&str> = keys.iter().map(|key| key["id"].as_str().unwrap()).collect();
    assert_eq!(ids, [newer.as_str(), id.as_str()]);
    assert_eq!(keys[1]["scopes"], json!(MANAGE));
    assert_eq!(keys[1]["created_by"], admin.id);
    assert!(keys.iter().all(|key| key["last_used_at"].is_null() && key["revoked_at"].is_null()));
    let secret = service.key.rsplit_once(&id.replace('-', "")).unwrap().1;
    assert!(!list.text.contains(secret) && !list.text.contains("hash"), "{}", list.text);
    let first = admin.get("/admin/service-keys?limit=1").await.json(200);
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = admin.get(&format!("/admin/service-keys?cursor={cursor}")).await.json(200);
    assert_eq!((&first["items"][0]["id"], &second["items"][0]["id"]), (&json!(newer), &json!(id)));

    service.get("/webhooks").await.is(200);
    eventually("the use is noted", async || {
        let list = admin.get("/admin/service-keys").await.json(200);
        assert!(list["items"][0]["last_used_at"].is_null(), "the other was not used");
        list["items"][1]["last_used_at"].is_string().then_some(())
    })
    .await;
    assert!(!app.log().contains(secret), "a key is in the log");
}

async fn a_key_that_was_revoked_opens_nothing_any_more(app: &mut TestApp) {
    let admin = app.administrator("gwanri").await;
    let (service, id) = Service::made_by(&admin, app, "deploy", MANAGE).await;
    let (other, _) = Service::made_by(&admin, app, "deploy", MANAGE).await;
    let one = format!("/admin/service-keys/{id}");
    service.get("/webhooks").await.is(200);

    admin.delete(&one).await.is(204);

    service.get("/webhooks").await.refused(401, "invalid_service_key");
    other.get("/webhooks").await.is(200);
    admin.delete(&one).await.is(204);
    let list = admin.get("/admin/service-keys").await.json(200);
    assert!(list["items"][1]["revoked_at"].is_string(), "{list}");
    let nobody = "/admin/service-keys/0193a7c2-7c3b-7000-8000-000000000001";
    admin.delete(nobody).await.refused(404, "service_key_not_found");
}

async fn a_key_that_has_expired_opens_nothing_any_more(app: &mut TestApp) {
    let admin = app.administrator("gwanri").await;
    let body = json!({ "name": "deploy", "scopes": MANAGE, "expires_in_days": 1 });
    let made = admin.post("/admin/service-keys", &body).await.json(201);
    let time = |field: &str| made[field].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert_eq!(time("expires_at").duration_since(time("created_at")).as_hours(), 24);
    let service = Service::new(app, "deploy", made["key"].as_str().unwrap());
    service.get("/webhooks").await.is(200);

    // A day goes by.
    app.alter("UPDATE service_keys SET expires_at = created_at + 1").await;

    eventually("the key is believed no longer", async || {
        let answer = service.get("/webhooks").await;
        (answer.status != 200).then(|| answer.refused(401, "invalid_service_key"))
    })
    .await;
}

async fn a_key_is_asked_for_in_the_words_of_the_rules(app: &mut TestApp) {
    let admin = app.administrator("gwanri").await;
    for (body, code) in [
        (json!({ "name": "Deploy", "scopes": MANAGE }), "invalid_name"),
        (json!({ "name": "deploy", "scopes": [] }), "invalid_scopes"),
        (json!({ "name": "deploy", "scopes": ["everything"] }), "invalid_body"),
        (json!({ "name": "deploy", "scopes": MANAGE, "expires_in_days": 0 }), "invalid_lifetime"),
        (json!({ "name": "deploy", "scopes": MANAGE, "expires_in_days": 731 }), "invalid_lifetime"),
        (json!({ "name": "deploy", "scopes": MANAGE, "hash": "" }), "invalid_body"),
    ] {
        admin.post("/admin/service-keys", &body).await.refused(422, code);
    }
    assert_eq!(admin.get("/admin/service-keys").await.json(200)["items"], json!([]));
}

async fn a_key_can_be_made_on_the_command_line(app: &mut TestApp) {
    let arguments =
        ["service-key", "create", "--name", "deploy", "--scope", MANAGE[0], "--scope", SEND[0]];
    let output = app.run(&arguments, &[]);
    assert!(output.status.success(), "{output:?}");

    // The key stands alone, so that a script can take it.
    let text = String::from_utf8(output.stdout).unwrap();
    let key = text.strip_suffix('\n').unwrap();
    let service = Service::new(app, "deploy", key);
    service.get("/webhooks").await.is(200);
    let admin = app.administrator("gwanri").await;
    let list = admin.get("/admin/service-keys").await.json(200);
    assert_eq!(list["items"][0]["name"], "deploy");
    assert!(list["items"][0]["created_by"].is_null());

    let wrong = ["service-key", "create", "--name", "deploy", "--scope", "everything"];
    let refused = app.run(&wrong, &[]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.stdout.is_empty(), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("no such scope"), "{refused:?}");
}

async fn a_service_that_asks_too_much_is_told_when_to_come_back(app: &mut TestApp) {
    let admin = app.administrator("gwanri").await;
    let (noisy, _) = Service::made_by(&admin, app, "noisy", MANAGE).await;
    let (quiet, _) = Service::made_by(&admin, app, "quiet", MANAGE).await;
    let mut answer = noisy.get("/webhooks").await;
    let policy = answer.header("ratelimit-policy").unwrap();
    assert!(policy.contains("\"service_key\";q=5"), "{policy}");

    for _ in 0..100 {
        if answer.status != 200 {
            break;
        }
        answer = noisy.get("/webhooks").await;
    }

    answer.refused(429, "rate_limited");
    assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    assert!(answer.header("ratelimit").unwrap().contains("\"service_key\";r=0"));
    quiet.get("/webhooks").await.is(200);
}

async fn whoever_guesses_keys_is_stopped_like_one_who_guesses_passwords(app: &mut TestApp) {
    let admin = app.administrator("gwanri").await;
    let (service, id) = Service::made_by(&admin, app, "deploy", MANAGE).await;
    let wrong = format!("md_{}_{}", id.replace('-', ""), "A".repeat(43));
    let guesser = Service::new(app, "deploy", &wrong);

    let mut guesses = 0;
    let answer = loop {
        let answer = guesser.get("/webhooks").await;
        if answer.status != 401 {
            break answer;
        }
        guesses += 1;
        assert!(guesses < 400, "nobody stops them");
    };

    answer.refused(429, "rate_limited");
    // The address may still ask for other things, and the right key opens.
    service.get("/webhooks").await.is(200);
}
