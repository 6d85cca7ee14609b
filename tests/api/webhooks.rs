//! Webhooks: managing endpoints, and which event is queued for which of them, once, whoever dies.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::app::{TestApp, eventually};
use crate::both::Settings;
use crate::database::Kind;
use crate::service::Service;
use crate::user::{User, pluck};

const URL: &str = "https://hooks.example.com/madang";
const NOWHERE: &str = "0193a7c2-7c3b-7000-8000-000000000001";
const INSIDE: Settings = &[("MADANG__OUTWARD__ALLOWED_NETWORKS", "127.0.0.0/8, ::1/128")];
const PAGE: usize = 200;
/// How often the kill may miss the moment between queueing and saving.
const KILLS_MAX: usize = 10;

on_both_databases!(
    an_endpoint_is_made_looked_at_changed_and_deleted,
    an_endpoint_is_asked_for_in_the_words_of_the_rules,
    there_are_so_many_endpoints_and_no_more,
    a_secret_is_shown_once_and_lies_sealed,
    a_secret_is_replaced_with_an_overlap,
    each_event_is_queued_once_for_whoever_wants_it,
    an_endpoint_that_is_disabled_is_sent_nothing,
    a_test_is_queued_and_stands_in_the_log,
    what_did_not_arrive_is_sent_again,
    a_node_that_dies_in_the_middle_queues_everything_once,
    a_lost_key_stops_the_start_until_the_secrets_are_renewed,
);
on_both_databases!(with super::INSIDE; an_address_inside_is_for_networks_that_are_allowed);

/// Makes an endpoint for these events, once everything before was carried; gives its id.
async fn endpoint(app: &TestApp, admin: &User, events: &[&str]) -> String {
    carried(app).await;
    let body = json!({ "url": URL, "events": events });
    let made = admin.post("/webhooks", &body).await.json(201);
    made["id"].as_str().unwrap().to_owned()
}

/// The first page of the log of an endpoint, the newest first.
async fn log(admin: &User, endpoint: &str) -> Vec<Value> {
    let path = format!("/webhooks/{endpoint}/deliveries?limit={PAGE}");
    admin.get(&path).await.json(200)["items"].as_array().unwrap().clone()
}

/// Waits until the relay has come to the end of the outbox.
async fn carried(app: &TestApp) {
    eventually("the relay has carried everything", async || {
        let behind = app
            .count(
                "SELECT count(*) FROM outbox WHERE (xid, id) >
                     (SELECT xid, position FROM outbox_cursors WHERE subscriber = 'webhooks')",
            )
            .await;
        (behind == 0).then_some(())
    })
    .await;
}

async fn an_endpoint_is_made_looked_at_changed_and_deleted(app: &mut TestApp) {
    let admin = app.administrator("gwanri").await;
    let (service, key) = Service::made_by(&admin, app, "deploy", &["webhooks:manage"]).await;
    let body =
        json!({ "url": URL, "events": ["friend.events", "MessageSent"], "description": "청구" });
    let made = service.post("/webhooks", &body).await.json(201);
    let one = format!("/webhooks/{}", made["id"].as_str().unwrap());

    let read = service.get(&one).await.json(200);
    assert_eq!(read["url"], URL);
    assert_eq!(read["events"], json!(["MessageSent", "friend.events"]));
    assert_eq!((&read["description"], &read["enabled"]), (&json!("청구"), &json!(true)));
    assert_eq!(read["created_by"], format!("service:{key}"));
    assert!(read["disabled_reason"].is_null() && read["old_secret_until"].is_null(), "{read}");
    for (field, value) in read.as_object().unwrap() {
        assert_eq!(&made[field], value, "{field}");
    }

    let other = endpoint(app, &admin, &["*"]).await;
    let list = admin.get("/webhooks").await.json(200);
    assert_eq!(pluck(list["items"].as_array().unwrap(), "id"), [json!(other), made["id"].clone()]);
    let first = admin.get("/webhooks?limit=1").await.json(200);
    let cursor = first["next_cursor"].as_str().unwrap();
    let rest = admin.get(&format!("/webhooks?cursor={cursor}")).await.json(200);
    assert_eq!(rest["items"], json!([read]));

    let changed =
        service.patch(&one, &json!({ "events": ["*"], "enabled": false })).await.json(200);
    assert_eq!((&changed["events"], &changed["enabled"]), (&json!(["*"]), &json!(false)));
    assert_eq!((&changed["disabled_reason"], &changed["url"]), (&json!("by_request"), &json!(URL)));
    assert_eq!(service.patch(&one, &json!({})).await.json(200), changed);
    let enabled = service.patch(&one, &json!({ "enabled": true, "description": "" })).await;
    let enabled = enabled.json(200);
    assert_eq!((&enabled["enabled"], &enabled["description"]), (&json!(true), &json!("")));
    assert!(enabled["disabled_reason"].is_null(), "{enabled}");

    service.delete(&one).await.is(204);
    service.delete(&one).await.refused(404, "webhook_not_found");
    service.get(&one).await.refused(404, "webhook_not_found");
    service.patch(&one, &json!({ "enabled": true })).await.refused(404, "webhook_not_found");
    service.patch(&one, &json!({})).await.refused(404, "webhook_not_found");
    service.get(&format!("{one}/deliveries")).await.refused(404, "webhook_not_found");
}

async fn an_endpoint_is_asked_for_in_the_words_of_the_rules(app: &mut TestApp) {
    let admin = app.administrator("gwanri").await;
    let id = endpoint(app, &admin, &["*"]).await;
    let one = format!("/webhooks/{id}");
    for url in [
        "",
        "hooks.example.com",
        "ftp://hooks.example.com",
        "http://hooks.example.com",
        "https://user:hunter2@hooks.example.com",
        "https://127.0.0.1/",
        "https://10.0.0.1/",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/",
        &format!("https://hooks.example.com/{}", "a".repeat(2_048)),
    ] {
        let body = json!({ "url": url, "events": ["*"] });
        let refused = admin.post("/webhooks", &body).await.refused(422, "invalid_url");
        assert_eq!(refused["errors"][0]["pointer"], "/url", "{url}");
        admin.patch(&one, &json!({ "url": url })).await.refused(422, "invalid_url");
    }
    for events in [json!([]), json!(["messages"]), json!(["nobody.events"]), json!(vec!["A"; 51])] {
        let body = json!({ "url": URL, "events": events });
        admin.post("/webhooks", &body).await.refused(422, "invalid_events");
        admin.patch(&one, &json!({ "events": events })).await.refused(422, "invalid_events");
    }
    let body = json!({ "url": URL, "events": ["*"], "description": "가".repeat(501) });
    admin.post("/webhooks", &body).await.refused(422, "invalid_description");
    let body = json!({ "url": URL, "events": ["*"], "secret": "mine" });
    admin.post("/webhooks", &body).await.refused(422, "invalid_body");
    let rotate = format!("{one}/rotate-secret");
    let long = json!({ "overlap_s": 604_801 });
    admin.post(&rotate, &long).await.refused(422, "invalid_overlap");
    for body in [json!({}), json!({ "since": "2026-11-21T07:00:00Z", "delivery_id": NOWHERE })] {
        admin.post(&format!("{one}/replay"), &body).await.refused(422, "invalid_replay");
    }
    assert_eq!(admin.get("/webhooks").await.json(200)["items"].as_array().unwrap().len(), 1);
}

async fn there_are_so_many_endpoints_and_no_more(app: &mut TestApp) {
    let admin = app.administrator("gwanri").await;
    let body = json!({ "url": URL, "events": ["UserDeleted"] });
    let mut last = String::new();
    for _ in 0..100 {
        last = admin.post("/webhooks", &body).await.json(201)["id"].as_str().unwrap().to_owned();
    }

    admin.post("/webhooks", &body).await.refused(409, "too_many_webhooks");
    admin.delete(&format!("/webhooks/{last}")).await.is(204);
    admin.post("/webhooks", &body).await.is(201);
}

/// The random part of a secret, as it is signed with.
fn key(made: &Value) -> Vec<u8> {
    let secret = made["secret"].as_str().unwrap();
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    assert!((24..=64).contains(&key.len()), "Standard Webhooks wants 24 to 64 bytes");
    key
}

async fn a_secret_is_shown_once_and_lies_sealed(app: &mut TestApp) {
    let admin = app.administrator("gwanri").await;
    let body = json!({ "url": URL, "events": ["*"] });
    let made = admin.post("/webhooks", &body).await.json(201);
    let one = format!("/webhooks/{}", made["id"].as_str().unwrap());
    let secret = made["secret"].as_str().unwrap();

    for path in [one.as_str(), "/webhooks", &format!("{one}/deliveries")] {
        let text = admin.get(path).await.text;
        assert!(!text.contains(secret) && !text.contains("\"secret\""), "{text}");
    }
    let stored = app.bytes("SELECT secret FROM webhook_endpoints").await;
    assert!(stored.len() > key(&made).len());
    let tail = &secret.as_bytes()[secret.len() - 8..];
    assert!(!stored.windows(tail.len()).any(|window| window == tail), "it lies open");
    assert!(!app.log().contains(secret));
}

async fn a_secret_is_replaced_with_an_overlap(app: &mut TestApp) {
    let admin = app.administrator("gwanri").await;
    let body = json!({ "url": URL, "events": ["*"] });
    let made = admin.post("/webhooks", &body).await.json(201);
    let one = format!("/webhooks/{}", made["id"].as_str().unwrap());
    let rotate = format!("{one}/rotate-secret");

    let bare = admin.request(reqwest::Method::POST, &rotate);
    let fresh = crate::answer::Answer::of(bare).await.json(200);
    assert_ne!(key(&fresh), key(&made));
    let until: jiff::Timestamp = fresh["old_secret_until"].as_str().unwrap().parse().unwrap();
    let read = admin.get(&one).await.json(200);
    assert_eq!(read["old_secret_until"], fresh["old_secret_until"]);
    let rotated: jiff::Timestamp = read["updated_at"].as_str().unwrap().parse().unwrap();
    assert_eq!(until.duration_since(rotated).as_hours(), 24);

    let at_once = admin.post(&rotate, &json!({ "overlap_s": 0 })).await.json(200);
    assert_ne!(key(&at_once), key(&fresh));
    assert!(at_once["old_secret_until"].is_null());
    assert_eq!(
        app.count("SELECT count(*) FROM webhook_endpoints WHERE old_secret IS NULL").await,
        1
    );
    let nobody = format!("/webhooks/{NOWHERE}/rotate-secret");
    admin.post(&nobody, &json!({})).await.refused(404, "webhook_not_found");
}

async fn each_event_is_queued_once_for_whoever_wants_it(app: &mut TestApp) {
    let admin = app.administrator("gwanri").await;
    let all = endpoint(app, &admin, &["*"]).await;
    let by_name = endpoint(app, &admin, &["MessageSent", "UserRegistered"]).await;
    let by_topic = endpoint(app, &admin, &["chat.events"]).await;
    let none = endpoint(app, &admin, &["NeverHeardOf"]).await;

    let (jisoo, minho) = (app.register("jisoo").await, app.register("minho").await);
    let room = jisoo.group("마당", &[&minho]).await;
    for n in 0..3 {
        jisoo.say(&room, &n.to_string(), "hunter2").await;
    }
    carried(app).await;

    let names = async |id: &str| {
        let mut names: BTreeMap<String, usize> = BTreeMap::new();
        for delivery in log(&admin, id).await {
            *names.entry(delivery["event"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        names
    };
    let expected = |names: &[(&str, usize)]| {
        names.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    };
    let wanted: BTreeMap<_, _> = expected(&[("MessageSent", 3), ("UserRegistered", 2)]);
    assert_eq!(names(&by_name).await, wanted);
    assert_eq!(names(&by_topic).await, expected(&[("ChatRoomCreated", 1)]));
    assert_eq!(names(&none).await, BTreeMap::new());
    let of_all = names(&all).await;
    for (name, count) in
        [("MessageSent", 3), ("UserRegistered", 2), ("ChatRoomCreated", 1), ("SessionOpened", 2)]
    {
        assert!(of_all[name] >= count, "{name}: {of_all:?}");
    }
    assert_eq!(complaints(app, &admin, &all).await, [""; 0]);
    let open = "SELECT count(*) FROM deliveries
                WHERE medium = 'webhook' AND data LIKE '%hunter2%'";
    assert_eq!(app.count(open).await, 0, "what people say does not leave");
}

/// What is wrong with the log of an endpoint for everything, given the outbox since it was made.
async fn complaints(app: &TestApp, admin: &User, endpoint: &str) -> Vec<String> {
    let wanted = app
        .texts(
            "SELECT lower(hex(event_id)) FROM outbox
             WHERE (xid, id) > (SELECT xid, id FROM outbox WHERE name = 'WebhookCreated'
                                ORDER BY xid, id LIMIT 1)",
            "SELECT replace(event_id::text, '-', '') FROM outbox
             WHERE (xid, id) > (SELECT xid, id FROM outbox WHERE name = 'WebhookCreated'
                                ORDER BY xid, id LIMIT 1)",
        )
        .await;
    let mut queued: BTreeMap<String, usize> = BTreeMap::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/webhooks/{endpoint}/deliveries?limit={PAGE}{cursor}");
        let page = admin.get(&path).await.json(200);
        for delivery in page["items"].as_array().unwrap() {
            let event = delivery["event_id"].as_str().unwrap().replace('-', "");
            *queued.entry(event).or_default() += 1;
        }
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert!(!wanted.is_empty());
    let missing = wanted.iter().filter(|event| !queued.contains_key(*event));
    let missing = missing.map(|event| format!("{event} is missing"));
    let twice = queued.iter().filter(|(_, count)| **count > 1);
    let twice = twice.map(|(event, count)| format!("{event} is there {count} times"));
    missing.chain(twice).collect()
}

async fn an_endpoint_that_is_disabled_is_sent_nothing(app: &mut TestApp) {
    let admin = app.administrator("gwanri").await;
    let id = endpoint(app, &admin, &["UserRegistered"]).await;
    let one = format!("/webhooks/{id}");
    app.register("first").await;
    carried(app).await;
    admin.patch(&one, &json!({ "enabled": false })).await.is(200);
    app.register("second").await;
    carried(app).await;
    admin.post(&format!("{one}/test"), &json!({})).await.refused(409, "webhook_disabled");
    let since = json!({ "since": "2026-01-01T00:00:00Z" });
    admin.post(&format!("{one}/replay"), &since).await.refused(409, "webhook_disabled");
    admin.patch(&one, &json!({ "enabled": true })).await.is(200);
    app.register("third").await;
    carried(app).await;

    let log = log(&admin, &id).await;
    assert_eq!(pluck(&log, "event"), ["UserRegistered", "WebhookDisabled", "UserRegistered"]);
    assert_eq!((&log[1]["reason"], &log[1]["event_id"]), (&json!("by_request"), &Value::Null));
}

async fn a_test_is_queued_and_stands_in_the_log(app: &mut TestApp) {
    let admin = app.administrator("gwanri").await;
    let id = endpoint(app, &admin, &["NeverHeardOf"]).await;

    let queued = admin.post(&format!("/webhooks/{id}/test"), &json!({})).await.json(202);

    let log = log(&admin, &id).await;
    assert_eq!(pluck(&log, "id"), [queued["delivery_id"].clone()]);
    assert_eq!(log[0]["event"], "WebhookTest");
    assert!(log[0]["event_id"].is_string() && log[0]["created_at"].is_string(), "{}", log[0]);
    let nobody = format!("/webhooks/{NOWHERE}/test");
    admin.post(&nobody, &json!({})).await.refused(404, "webhook_not_found");
}

async fn what_did_not_arrive_is_sent_again(app: &mut TestApp) {
    let admin = app.administrator("gwanri").await;
    let id = endpoint(app, &admin, &["UserRegistered"]).await;
    let other = endpoint(app, &admin, &["UserRegistered"]).await;
    for name in ["jisoo", "minho", "hana"] {
        app.register(name).await;
    }
    carried(app).await;
    let before = log(&admin, &id).await;
    let replay = format!("/webhooks/{id}/replay");
    // Two were given up, one has arrived.
    app.alter(
        "UPDATE deliveries SET status = 'dead', finished_at = created_at, attempts = 9
         WHERE medium = 'webhook'",
    )
    .await;
    let arrived = before[2]["id"].as_str().unwrap();
    app.alter_with(
        "UPDATE deliveries SET status = 'delivered' WHERE id = $1",
        &arrived.parse().unwrap(),
    )
    .await;

    let since = json!({ "since": "2026-01-01T00:00:00Z" });
    let replayed = admin.post(&replay, &since).await.json(202);
    assert_eq!(replayed, json!({ "queued": 2, "has_more": false }));
    let after = log(&admin, &id).await;
    assert_eq!(pluck(&after, "id"), pluck(&before, "id"), "the same deliveries");
    assert_eq!(pluck(&after, "event_id"), pluck(&before, "event_id"));
    assert_eq!(after[2]["status"], "delivered");
    assert!(after[..2].iter().all(|delivery| delivery["status"] != "dead"), "{after:?}");
    let others = log(&admin, &other).await;
    assert!(others.iter().all(|delivery| delivery["status"] == "dead"), "{others:?}");

    let later = json!({ "since": "2126-01-01T00:00:00Z" });
    assert_eq!(admin.post(&replay, &later).await.json(202)["queued"], 0);
    // What has arrived is sent again only by its own name.
    let body = json!({ "delivery_id": arrived });
    assert_eq!(admin.post(&replay, &body).await.json(202)["queued"], 1);
    for wrong in [NOWHERE, others[0]["id"].as_str().unwrap()] {
        let body = json!({ "delivery_id": wrong });
        admin.post(&replay, &body).await.refused(404, "delivery_not_found");
    }
}

async fn a_node_that_dies_in_the_middle_queues_everything_once(app: &mut TestApp) {
    let mut admin = app.administrator("gwanri").await;
    let id = endpoint(app, &admin, &["*"]).await;
    let (jisoo, minho) = (app.register("jisoo").await, app.register("minho").await);
    let room = jisoo.group("마당", &[&minho]).await;
    let repeated = "SELECT count(*) FROM deliveries d, outbox_cursors c
                    WHERE c.subscriber = 'webhooks' AND d.medium = 'webhook'
                      AND d.created_at > c.updated_at";
    for attempt in 0..KILLS_MAX {
        let mut socket = jisoo.at(app).follow(&[&room]).await;
        let mut said = 0;
        eventually("something is queued that the cursor does not know of", async || {
            said += 1;
            socket.send(&room, &format!("{attempt}-{said}"), "hello").await;
            (app.count(repeated).await > 0).then_some(())
        })
        .await;
        app.kill();
        let is_repeated = app.count(repeated).await > 0;
        app.restart().await;
        admin = admin.at(app);
        carried(app).await;
        assert_eq!(complaints(app, &admin, &id).await, [""; 0]);
        if is_repeated {
            return;
        }
    }
    panic!("no kill fell between queueing and saving");
}

async fn a_lost_key_stops_the_start_until_the_secrets_are_renewed(app: &mut TestApp) {
    const SEAL: &str = "MADANG_SECRET_WEBHOOK_SEAL";
    let other = "another-key-of-forty-three-random-characters";
    let admin = app.administrator("gwanri").await;
    endpoint(app, &admin, &["*"]).await;
    endpoint(app, &admin, &["UserDeleted"]).await;
    if app.kind() == Kind::Postgres {
        // Another node with a key of its own.
        let said = app.start_another_with(SEAL, other).await;
        assert!(said.contains("renew-secrets"), "{said}");
    }
    app.kill();
    let before = app.bytes("SELECT secret FROM webhook_endpoints ORDER BY id LIMIT 1").await;

    let renewed = app.run(&["webhooks", "renew-secrets"], &[(SEAL, other)]);

    assert!(renewed.status.success(), "{renewed:?}");
    let text = String::from_utf8(renewed.stdout).unwrap();
    assert_eq!(text.lines().filter(|line| line.starts_with("whsec_")).count(), 2, "{text}");
    let after = app.bytes("SELECT secret FROM webhook_endpoints ORDER BY id LIMIT 1").await;
    assert_ne!(before, after);
    app.restart_with(SEAL, other).await;
    endpoint(app, &admin.at(app), &["*"]).await;
}

async fn an_address_inside_is_for_networks_that_are_allowed(app: &mut TestApp) {
    let admin = app.administrator("gwanri").await;
    for url in ["http://127.0.0.1:9/hook", "https://127.0.0.1/", "http://[::1]:9/"] {
        admin.post("/webhooks", &json!({ "url": url, "events": ["*"] })).await.is(201);
    }
    for url in ["http://10.0.0.1/", "https://192.168.0.1/"] {
        let body = json!({ "url": url, "events": ["*"] });
        admin.post("/webhooks", &body).await.refused(422, "invalid_url");
    }
}
