//! The delivery log, replaying dead letters, and the development outbox.

use serde_json::{Value, json};
use sqlx::postgres::PgConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use uuid::Uuid;

use crate::answer::Answer;
use crate::app::{TestApp, eventually};
use crate::user::User;

/// No release will ever have words for it.
const KIND: &str = "unheard_of";

on_both_databases!(
    what_cannot_be_composed_is_a_dead_letter_that_can_be_read_and_replayed,
    many_dead_letters_are_replayed_at_once,
    the_log_is_read_in_pages_by_what_is_asked,
    only_administrators_read_the_log,
    media_tell_how_they_are,
    the_development_outbox_shows_the_newest_letters_first,
    the_development_outbox_is_for_this_machine_only,
    in_production_there_is_no_development_outbox_and_no_sandbox,
    whoever_leaves_takes_their_letters_with_them,
);

/// Queues a letter that nobody has asked for; it goes to a confirmed address.
async fn queue(app: &TestApp, user: Option<&User>) -> String {
    let id = Uuid::now_v7();
    let user = user.map(|user| user.id.parse::<Uuid>().unwrap());
    const INSERT: &str = "INSERT INTO deliveries
         (id, medium, kind, user_id, data, status, attempts, created_at, first_due_at, due_at,
          fence, lease_until)
     VALUES ($1, 'mail', $2, $3, '{\"code\":\"secret-7\"}', 'queued', 0, $4, 0, 0, 0, 0)";
    const CONFIRM: &str = "UPDATE users SET verified_at = 1 WHERE id = $1";
    let created_at = i64::try_from(id.get_timestamp().unwrap().to_unix().0).unwrap() * 1_000;
    if app.database_url().is_empty() {
        let options = SqliteConnectOptions::new().filename(app.sqlite_file());
        let mut database: SqliteConnection = options.connect().await.unwrap();
        sqlx::query(CONFIRM).bind(user).execute(&mut database).await.unwrap();
        let insert = sqlx::query(INSERT).bind(id).bind(KIND).bind(user).bind(created_at);
        insert.execute(&mut database).await.unwrap();
        database.close().await.unwrap();
    } else {
        let mut database = PgConnection::connect(&app.database_url()).await.unwrap();
        sqlx::query(CONFIRM).bind(user).execute(&mut database).await.unwrap();
        let insert = sqlx::query(INSERT).bind(id).bind(KIND).bind(user).bind(created_at);
        insert.execute(&mut database).await.unwrap();
        database.close().await.unwrap();
    }
    id.to_string()
}

/// Waits until a letter is dead, after so many attempts altogether.
async fn dead(admin: &User, id: &str, attempts: usize) -> Value {
    eventually("the letter is dead", async || {
        let letter = admin.get(&format!("/admin/deliveries/{id}")).await.json(200);
        let log = letter["log"].as_array().unwrap();
        (letter["status"] == "dead" && log.len() == attempts).then(|| letter.clone())
    })
    .await
}

async fn what_cannot_be_composed_is_a_dead_letter_that_can_be_read_and_replayed(app: &mut TestApp) {
    let (admin, jisoo) = (app.administrator("operator").await, app.register("jisoo").await);
    let id = queue(app, Some(&jisoo)).await;

    let letter = dead(&admin, &id, 1).await;

    assert_eq!((&letter["reason"], &letter["user_id"]), (&json!("poison"), &json!(jisoo.id)));
    let attempt = &letter["log"][0];
    assert_eq!(attempt["outcome"], "poison");
    assert!(attempt["began_at"].is_string() && attempt["ended_at"].is_string());
    assert!(attempt["detail"].is_string());
    assert!(!letter.to_string().contains("secret-7"), "{letter}");

    let path = format!("/admin/deliveries/{id}/replay");
    let replayed = admin.post(&path, &json!({})).await.json(200);
    assert_eq!(replayed["id"], *id);
    dead(&admin, &id, 2).await;
    let unknown = Uuid::now_v7();
    let path = format!("/admin/deliveries/{unknown}");
    admin.get(&path).await.refused(404, "delivery_not_found");
    admin.post(&format!("{path}/replay"), &json!({})).await.refused(404, "delivery_not_found");
}

async fn many_dead_letters_are_replayed_at_once(app: &mut TestApp) {
    let admin = app.administrator("operator").await;
    let ids = [queue(app, None).await, queue(app, None).await];
    for id in &ids {
        dead(&admin, id, 1).await;
    }
    let replay = async |body: Value| {
        let answer = admin.post("/admin/deliveries/replay", &body).await.json(200);
        (answer["replayed"].as_i64().unwrap(), answer["has_more"].as_bool().unwrap())
    };

    assert_eq!(replay(json!({ "medium": "sms" })).await, (0, false));
    assert_eq!(replay(json!({ "before": "2020-01-01T00:00:00Z" })).await, (0, false));
    assert_eq!(replay(json!({ "medium": "mail", "kind": KIND })).await, (2, false));
    for id in &ids {
        dead(&admin, id, 2).await;
    }
}

async fn the_log_is_read_in_pages_by_what_is_asked(app: &mut TestApp) {
    let (admin, jisoo) = (app.administrator("operator").await, app.register("jisoo").await);
    let mut ids = Vec::new();
    for user in [Some(&jisoo), None, Some(&jisoo)] {
        let id = queue(app, user).await;
        dead(&admin, &id, 1).await;
        ids.insert(0, id);
    }
    let list = async |query: &str| {
        admin.get(&format!("/admin/deliveries?kind={KIND}&{query}")).await.json(200)
    };
    let listed = |page: &Value| -> Vec<String> {
        let items = page["items"].as_array().unwrap().iter();
        items.map(|item| item["id"].as_str().unwrap().to_owned()).collect()
    };

    let first = list("limit=2").await;
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = list(&format!("limit=2&cursor={cursor}")).await;
    assert_eq!([listed(&first), listed(&second)].concat(), ids);
    assert_eq!(second["next_cursor"], Value::Null);
    let hers = list(&format!("user_id={}&status=dead&medium=mail", jisoo.id)).await;
    assert_eq!(listed(&hers), [ids[0].clone(), ids[2].clone()]);
    assert_eq!(listed(&list("status=delivered").await), Vec::<String>::new());
    for query in ["status=lost", "medium=pigeon", "cursor=x", "limit=0", "page=2"] {
        let answer = admin.get(&format!("/admin/deliveries?{query}")).await;
        assert_eq!(answer.status, 422, "{query}: {}", answer.text);
    }
}

async fn only_administrators_read_the_log(app: &mut TestApp) {
    let jisoo = app.register("jisoo").await;
    let id = Uuid::now_v7();
    for path in ["/admin/deliveries", "/admin/media", &format!("/admin/deliveries/{id}")] {
        jisoo.get(path).await.refused(403, "forbidden");
        app.get(&format!("/v1{path}")).await.refused(401, "unauthenticated");
    }
    for path in ["/admin/deliveries/replay", &format!("/admin/deliveries/{id}/replay")] {
        jisoo.post(path, &json!({})).await.refused(403, "forbidden");
    }
}

async fn media_tell_how_they_are(app: &mut TestApp) {
    let admin = app.administrator("operator").await;
    let id = queue(app, None).await;
    dead(&admin, &id, 1).await;

    let media = admin.get("/admin/media").await.json(200);

    let media = media["items"].as_array().unwrap();
    assert_eq!(media.len(), 4);
    let mail = media.iter().find(|it| it["medium"] == "mail").unwrap();
    assert_eq!((&mail["dead"], &mail["routes_down"]), (&json!(1), &json!([])));
    assert!(mail["provider"].is_string());
    let metrics = app.get("/metrics").await;
    assert!(metrics.text.contains("madang_deliveries_total{medium=\"mail\",outcome=\"dead\"}"));
}

async fn outbox(app: &TestApp, query: &str) -> Vec<Value> {
    let shown = app.get(&format!("/v1/dev/outbox?{query}")).await.json(200);
    shown["items"].as_array().unwrap().clone()
}

async fn the_development_outbox_shows_the_newest_letters_first(app: &mut TestApp) {
    for name in ["jisoo", "minho"] {
        app.register(name).await;
        app.mailed_code("verify_email", &format!("{name}@example.com")).await;
    }

    let mut mails = outbox(app, "medium=mail").await;
    mails.retain(|mail| mail["kind"] == "verify_email");

    let to: Vec<&str> = mails.iter().map(|mail| mail["to"].as_str().unwrap()).collect();
    assert_eq!(to, ["minho@example.com", "jisoo@example.com"]);
    for field in ["id", "medium", "kind", "subject", "text", "at"] {
        assert!(mails[0][field].is_string(), "{field}: {}", mails[0]);
    }
    assert_eq!(outbox(app, "limit=1").await.len(), 1);
    assert_eq!(outbox(app, "medium=sms").await, Vec::<Value>::new());
    app.get("/v1/dev/outbox?medium=pigeon").await.refused(422, "invalid_query");
}

async fn the_development_outbox_is_for_this_machine_only(app: &mut TestApp) {
    let asked = async |app: &TestApp, name: &str, value: &str| {
        Answer::of(app.http.get(app.url("/v1/dev/outbox")).header(name, value)).await
    };
    asked(app, "x-test", "1").await.is(200);
    asked(app, "x-forwarded-for", "203.0.113.7").await.refused(404, "not_found");
    asked(app, "host", "evil.example").await.refused(404, "not_found");

    // A proxy on this machine may say nothing of whom it speaks for.
    app.restart_with("MADANG__HTTP__DEV_OUTBOX", "false").await;
    asked(app, "x-test", "1").await.refused(404, "not_found");
}

async fn in_production_there_is_no_development_outbox_and_no_sandbox(app: &mut TestApp) {
    let admin = app.administrator("operator").await;
    // With the keys that it made for itself, and as much memory for hashes as production asks for.
    app.restart_with("MADANG__AUTH__HASH_MEMORY_KIB", "19456").await;
    app.restart_with("MADANG__MODE", "production").await;
    let admin = admin.at(app);
    app.get("/v1/dev/outbox").await.refused(404, "not_found");

    let id = queue(app, None).await;
    eventually("nothing is sent", async || {
        let letter = admin.get(&format!("/admin/deliveries/{id}")).await.json(200);
        (letter["status"] == "suppressed" && letter["reason"] == "no_provider").then_some(())
    })
    .await;
}

async fn whoever_leaves_takes_their_letters_with_them(app: &mut TestApp) {
    let (admin, jisoo) = (app.administrator("operator").await, app.register("jisoo").await);
    let id = queue(app, Some(&jisoo)).await;
    dead(&admin, &id, 1).await;

    let body = json!({ "password": crate::app::PASSWORD });
    Answer::of(jisoo.request(reqwest::Method::DELETE, "/users/account").json(&body)).await.is(204);

    admin.get(&format!("/admin/deliveries/{id}")).await.refused(404, "delivery_not_found");
}
