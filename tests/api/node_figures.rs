//! What administrators see of a node: its place among the others, its figures and its settings.

use serde_json::{Value, json};

use crate::app::{TestApp, eventually};
use crate::both::Settings;
use crate::user::User;

const MORE: Settings =
    &[("MADANG__CHAT__PINS_MAX", "7"), ("MADANG__PAYMENTS__FAKE__PUBLIC_URL", "http://a:b@pay")];

on_both_databases!(a_node_tells_who_it_is_and_since_when, figures_are_numbers_that_grow);
on_both_databases!(with super::MORE; settings_are_told_with_where_they_are_from);

async fn a_node_tells_who_it_is_and_since_when(app: &mut TestApp) {
    let admin = app.administrator("gwanri").await;

    let nodes = admin.get("/admin/nodes").await.json(200);

    let items = nodes["items"].as_array().unwrap();
    let this: Vec<&Value> = items.iter().filter(|node| node["is_this"] == true).collect();
    assert_eq!(this.len(), 1);
    assert_eq!((&this[0]["name"], &this[0]["state"]), (&json!("madang"), &json!("serving")));
    assert_eq!(this[0]["version"], env!("CARGO_PKG_VERSION"));
    assert!(this[0]["started_at"].is_string());
    // On SQLite nobody else can serve.
    let has_lease = app.kind() == crate::database::Kind::Postgres;
    assert_eq!(this[0]["lease_until"].is_string(), has_lease);
    app.restart().await;
    let admin = admin.at(app);
    let nodes = admin.get("/admin/nodes").await.json(200);
    let first = &nodes["items"][0];
    assert_eq!(first["is_this"], true, "{nodes}");
    assert_ne!(first["id"], this[0]["id"]);
}

async fn figures(admin: &User) -> Value {
    admin.get("/admin/node/figures").await.json(200)
}

async fn figures_are_numbers_that_grow(app: &mut TestApp) {
    let admin = app.administrator("gwanri").await;
    let (jisoo, minho) = (app.register("jisoo").await, app.register("minho").await);
    let room = jisoo.group("마당", &[&minho]).await;
    let mut socket = minho.follow(&[&room]).await;
    let before = figures(&admin).await;
    assert_eq!((&before["connections"], &before["subscriptions"]), (&json!(1), &json!(1)));

    for number in 0..3 {
        jisoo.say(&room, &format!("k{number}"), "hello").await;
        socket.next_named("message_sent").await;
    }

    let after = figures(&admin).await;
    let grown = |name: &str| after[name].as_u64().unwrap() - before[name].as_u64().unwrap();
    assert_eq!((grown("messages_total"), grown("deliveries_total")), (3, 3));
    assert_eq!(grown("room_events_total"), 3);
    assert!(grown("http_requests_total") >= 4, "{after}");
    let rooms = after["actors"].as_array().unwrap().iter().find(|it| it["kind"] == "room");
    assert_eq!(rooms.unwrap()["live"], 1);
    assert!(after["outbox"].as_array().unwrap().iter().any(|it| it["lag_seconds"].is_number()));
    let media: Vec<&Value> =
        after["queues"].as_array().unwrap().iter().map(|it| &it["medium"]).collect();
    assert_eq!(media, ["mail", "push", "sms", "webhook"]);
    drop(socket);
    eventually("it has gone", async || {
        let after = figures(&admin).await;
        (after["connections"] == 0 && after["subscriptions"] == 0).then_some(())
    })
    .await;
    for path in ["/admin/node/figures", "/admin/nodes", "/admin/settings"] {
        jisoo.get(path).await.refused(403, "forbidden");
    }
}

async fn settings_are_told_with_where_they_are_from(app: &mut TestApp) {
    let admin = app.administrator("gwanri").await;

    let told = admin.get("/admin/settings").await.json(200);

    let items = told["items"].as_array().unwrap();
    let setting = |name: &str| items.iter().find(|it| it["name"] == name).expect(name).clone();
    let pins = setting("chat.pins_max");
    assert_eq!((&pins["value"], &pins["origin"]), (&json!(7), &json!("environment")));
    let chars = setting("chat.body_chars_max");
    assert_eq!((&chars["value"], &chars["origin"]), (&json!(4_000), &json!("default")));
    assert_eq!(setting("payments.fake.public_url")["value"], "http://***@pay");
    let database = setting("database.url");
    let is_set = app.kind() == crate::database::Kind::Postgres;
    assert_eq!((&database["value"], &database["is_set"]), (&Value::Null, &json!(is_set)));
    assert!(!told.to_string().contains("a:b@"));
    let secrets = told["secrets"].as_array().unwrap();
    let is_set =
        |name: &str| secrets.iter().find(|it| it["name"] == name).unwrap()["is_set"].clone();
    assert_eq!((is_set("jwt_key"), is_set("stripe_secret_key")), (json!(true), json!(false)));
}
