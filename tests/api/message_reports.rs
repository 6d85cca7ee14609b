//! Reports of messages, and rooms as administrators see them.

use futures_util::join;
use image::ImageFormat;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::answer::Answer;
use crate::app::TestApp;
use crate::pictures::{encoded, halves};
use crate::user::{User, pluck};

on_both_databases!(
    a_member_reports_a_message_once,
    what_cannot_be_reported_is_refused,
    a_report_is_decided_once,
    a_message_goes_with_the_reports_of_it,
    of_two_who_decide_at_once_one_does,
    rooms_are_listed_and_found_by_name,
);

async fn report(user: &User, room: &str, message: &Value, reason: &str) -> Answer {
    let path = format!("/chat/rooms/{room}/messages/{}/report", plain(message));
    user.post(&path, &json!({ "reason": reason })).await
}

/// An id or a number, as a path has it.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

async fn reports(admin: &User, query: &str) -> Vec<Value> {
    let page = admin.get(&format!("/admin/reports?{query}")).await.json(200);
    page["items"].as_array().expect("a page has items").clone()
}

async fn resolve(admin: &User, report: &Value, outcome: &str) -> Answer {
    let path = format!("/admin/reports/{}/resolve", plain(&report["id"]));
    admin.post(&path, &json!({ "outcome": outcome, "reason": "looked at it" })).await
}

async fn a_member_reports_a_message_once(app: &mut TestApp) {
    let admin = app.administrator("gwanri").await;
    let (jisoo, minho) = (app.register("jisoo").await, app.register("minho").await);
    let room = jisoo.group("마당", &[&minho]).await;
    let said = jisoo.say(&room, "k1", "buy this").await;

    let first = report(&minho, &room, &said["seq"], "spam").await.json(201);

    let again = report(&minho, &room, &said["id"], "spam, really").await.json(200);
    assert_eq!(again["reported_at"], first["reported_at"]);
    // It stays as it was told, whatever becomes of the message meanwhile.
    let path = format!("/chat/rooms/{room}/messages/{}", said["seq"]);
    jisoo.patch(&path, &json!({ "body": "nothing" })).await.is(200);
    let told = reports(&admin, "status=open").await;
    assert_eq!(told.len(), 1);
    let told = &told[0];
    assert_eq!((&told["reason"], &told["status"]), (&json!("spam"), &json!("open")));
    assert_eq!(
        (&told["message"]["body"], &told["message"]["id"]),
        (&json!("buy this"), &said["id"])
    );
    assert_eq!(told["message"]["from"]["handle"], "jisoo");
    assert_eq!(told["reporter"]["handle"], "minho");
    assert_eq!((&told["room"]["name"], &told["room"]["kind"]), (&json!("마당"), &json!("group")));
    assert_eq!((&told["resolved_at"], &told["resolved_by"]), (&Value::Null, &Value::Null));
    assert_eq!(reports(&admin, "status=dismissed").await, [Value::Null; 0]);
    assert_eq!(reports(&admin, "").await.len(), 1);
    admin.get("/admin/reports?status=lost").await.refused(422, "invalid_query");
    for user in [&jisoo, &minho] {
        user.get("/admin/reports").await.refused(403, "forbidden");
    }
    let told = "SELECT COUNT(*) FROM outbox WHERE name = 'MessageReported'";
    assert_eq!(app.count(told).await, 1);
}

async fn what_cannot_be_reported_is_refused(app: &mut TestApp) {
    let (jisoo, minho) = (app.register("jisoo").await, app.register("minho").await);
    let stranger = app.register("sana").await;
    let room = jisoo.group("마당", &[&minho]).await;
    let said = jisoo.say(&room, "k1", "hello").await;
    let gone = jisoo.say(&room, "k2", "oops").await;
    jisoo.delete(&format!("/chat/rooms/{room}/messages/{}", gone["seq"])).await.is(200);

    report(&stranger, &room, &said["seq"], "x").await.refused(404, "room_not_found");
    report(&jisoo, &room, &said["seq"], "x").await.refused(422, "oneself");
    report(&minho, &room, &gone["seq"], "x").await.refused(409, "message_deleted");
    report(&minho, &room, &json!(99), "x").await.refused(404, "message_not_found");
    report(&minho, &room, &json!("x"), "x").await.refused(404, "message_not_found");
    for reason in ["", " ", &"a".repeat(501)] {
        report(&minho, &room, &said["seq"], reason).await.refused(422, "invalid_input");
    }
    // Nobody reads more of one person.
    for number in 0..201 {
        let said = jisoo.say(&room, &format!("r{number}"), "hello").await;
        let answer = report(&minho, &room, &said["seq"], "x").await;
        if number < 200 {
            answer.is(201);
        } else {
            answer.refused(409, "too_many_reports");
        }
    }
}

async fn a_report_is_decided_once(app: &mut TestApp) {
    let admin = app.administrator("gwanri").await;
    let (jisoo, minho) = (app.register("jisoo").await, app.register("minho").await);
    let room = jisoo.group("마당", &[&minho, &admin]).await;
    let said = jisoo.say(&room, "k1", "hello").await;
    report(&minho, &room, &said["seq"], "spam").await.is(201);
    let told = reports(&admin, "").await.remove(0);
    let path = format!("/admin/reports/{}/resolve", plain(&told["id"]));
    for (body, code) in [
        (json!({ "outcome": "burned", "reason": "x" }), "invalid_body"),
        (json!({ "outcome": "open", "reason": "x" }), "invalid_body"),
        (json!({ "outcome": "dismissed", "reason": " " }), "invalid_input"),
    ] {
        admin.post(&path, &body).await.refused(422, code);
    }
    let nothing = json!({ "id": Uuid::now_v7() });
    resolve(&admin, &nothing, "dismissed").await.refused(404, "report_not_found");
    resolve(&minho, &told, "dismissed").await.refused(403, "forbidden");

    let decided = resolve(&admin, &told, "dismissed").await.json(200);

    assert_eq!(
        (&decided["status"], &decided["resolved_by"]),
        (&json!("dismissed"), &json!(admin.id))
    );
    assert_eq!(
        (&decided["resolution"], &decided["message"]["body"]),
        (&json!("looked at it"), &Value::Null)
    );
    for outcome in ["dismissed", "message_deleted", "handled"] {
        resolve(&admin, &told, outcome).await.refused(409, "report_resolved");
    }
    assert_eq!(minho.messages(&room, "limit=1").await[0]["body"], "hello");
    // Once it is decided, it stays so; the same member does not open it again.
    report(&minho, &room, &said["seq"], "spam!").await.is(200);
    assert_eq!(reports(&admin, "status=open").await, [Value::Null; 0]);

    // Nobody decides about what they have written.
    let own = admin.say(&room, "k2", "my word").await;
    report(&minho, &room, &own["seq"], "rude").await.is(201);
    let told = reports(&admin, "status=open").await.remove(0);
    for outcome in ["dismissed", "message_deleted"] {
        resolve(&admin, &told, outcome).await.refused(403, "own_decision");
    }
    let other = app.administrator("dokki").await;
    resolve(&other, &told, "handled").await.is(200);
    let audit = admin.get("/admin/audit?area=rooms").await.json(200);
    let audit = audit["items"].as_array().unwrap();
    assert_eq!(pluck(audit, "action"), ["report_resolved", "report_resolved"]);
    assert_eq!(audit[0]["after"]["status"], "handled");
    assert_eq!(audit[1]["target"], format!("report:{}", plain(&decided["id"])));
}

async fn a_message_goes_with_the_reports_of_it(app: &mut TestApp) {
    let admin = app.administrator("gwanri").await;
    let (jisoo, minho) = (app.register("jisoo").await, app.register("minho").await);
    let sana = app.register("sana").await;
    // The administrator is no member, and does not become one.
    let room = jisoo.group("마당", &[&minho, &sana]).await;
    let picture = jisoo.request(Method::POST, &format!("/chat/rooms/{room}/images"));
    let picture = picture.body(encoded(&halves(30, 20), ImageFormat::Png));
    let picture = Answer::of(picture).await.json(201);
    let body = json!({ "key": "k1", "body": "look", "attachments": [picture] });
    let said = jisoo.post(&format!("/chat/rooms/{room}/messages"), &body).await.json(201);
    report(&minho, &room, &said["seq"], "spam").await.is(201);
    report(&sana, &room, &said["seq"], "ugly").await.is(201);
    let mut socket = minho.follow(&[&room]).await;
    let told = reports(&admin, "status=open").await;

    let decided = resolve(&admin, &told[0], "message_deleted").await.json(200);

    assert_eq!(decided["status"], "message_deleted");
    assert_eq!(decided["message"]["is_deleted"], true);
    let heard = socket.next_named("message_deleted").await;
    assert_eq!((&heard["data"]["seq"], &heard["from"]), (&said["seq"], &json!(jisoo.id)));
    let left = &minho.messages(&room, "limit=1").await[0];
    assert_eq!((&left["body"], &left["attachments"]), (&json!(""), &json!([])));
    app.get(picture["url"].as_str().unwrap()).await.refused(404, "not_found");
    assert_eq!(reports(&admin, "status=open").await, [Value::Null; 0]);
    assert_eq!(reports(&admin, "status=message_deleted").await.len(), 2);
    resolve(&admin, &told[1], "dismissed").await.refused(409, "report_resolved");
    let audit = admin.get("/admin/audit?area=rooms").await.json(200);
    assert_eq!(audit["items"].as_array().unwrap().len(), 1);
    assert_eq!(audit["items"][0]["after"]["reports"], 2);
    let members = admin.get(&format!("/admin/rooms/{room}")).await.json(200);
    assert_eq!(members["member_count"], 3);

    // What one showed that its sender has deleted meanwhile stays until it is decided.
    let picture = jisoo.request(Method::POST, &format!("/chat/rooms/{room}/images"));
    let picture = picture.body(encoded(&halves(30, 20), ImageFormat::Png));
    let picture = Answer::of(picture).await.json(201);
    let body = json!({ "key": "k3", "body": "", "attachments": [picture] });
    let said = jisoo.post(&format!("/chat/rooms/{room}/messages"), &body).await.json(201);
    report(&minho, &room, &said["seq"], "spam").await.is(201);
    jisoo.delete(&format!("/chat/rooms/{room}/messages/{}", said["seq"])).await.is(200);
    let told = reports(&admin, "status=open").await.remove(0);
    assert_eq!(told["message"]["attachments"][0]["url"], picture["url"]);
    app.get(picture["url"].as_str().unwrap()).await.is(200);
    let decided = resolve(&admin, &told, "handled").await.json(200);
    assert_eq!(decided["message"]["attachments"], json!([]));
    let dropped = "SELECT COUNT(*) FROM message_images WHERE state = 'dropped'";
    assert_eq!(app.count(dropped).await, 1);

    // One that its sender has deleted meanwhile is decided all the same.
    let said = jisoo.say(&room, "k2", "again").await;
    report(&minho, &room, &said["seq"], "spam").await.is(201);
    jisoo.delete(&format!("/chat/rooms/{room}/messages/{}", said["seq"])).await.is(200);
    let told = reports(&admin, "status=open").await.remove(0);
    assert_eq!(told["message"]["is_deleted"], true);
    let head = minho.head(&room).await;
    resolve(&admin, &told, "message_deleted").await.is(200);
    assert_eq!(minho.head(&room).await, head, "there was nothing left to delete");
}

async fn of_two_who_decide_at_once_one_does(app: &mut TestApp) {
    let (one, two) = (app.administrator("gwanri").await, app.administrator("dokki").await);
    let (jisoo, minho) = (app.register("jisoo").await, app.register("minho").await);
    let room = jisoo.group("마당", &[&minho]).await;
    for number in 0..4 {
        let said = jisoo.say(&room, &format!("k{number}"), "hello").await;
        report(&minho, &room, &said["seq"], "spam").await.is(201);
        let told = reports(&one, "status=open").await.remove(0);

        let (first, second) =
            join!(resolve(&one, &told, "message_deleted"), resolve(&two, &told, "dismissed"));

        let mut statuses = [first.status, second.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409], "{} {}", first.text, second.text);
        let stands = minho.messages(&room, "limit=1").await[0]["deleted_at"].is_null();
        assert_eq!(stands, second.status == 200, "nothing was done by who was too late");
    }
    let audit = one.get("/admin/audit?area=rooms").await.json(200);
    assert_eq!(audit["items"].as_array().unwrap().len(), 4);
}

async fn rooms_are_listed_and_found_by_name(app: &mut TestApp) {
    let admin = app.administrator("gwanri").await;
    let (jisoo, minho) = (app.register("jisoo").await, app.register("minho").await);
    let garden = jisoo.group("Garden", &[&minho]).await;
    let town = jisoo.public_channel("garden town").await;
    jisoo.group("마당", &[]).await;
    let direct = jisoo.direct_room(&minho).await;
    let said = minho.say(&garden, "k1", "hello").await;
    minho.say(&garden, "k2", "hello again").await;
    report(&jisoo, &garden, &said["seq"], "spam").await.is(201);
    let found = async |query: &str| {
        let page = admin.get(&format!("/admin/rooms?{query}")).await.json(200);
        page["items"].as_array().unwrap().clone()
    };

    let all = found("").await;

    assert_eq!(all.len(), 4);
    assert_eq!((&all[0]["id"], &all[0]["kind"]), (&json!(direct), &json!("direct")));
    assert_eq!((&all[0]["name"], &all[0]["member_count"]), (&Value::Null, &json!(2)));
    assert_eq!(pluck(&found("q=GAR").await, "id"), [json!(garden), json!(town)]);
    assert_eq!(pluck(&found("q=garden%20t").await, "id"), [json!(town)]);
    assert_eq!(pluck(&found("q=마").await, "name"), ["마당"]);
    assert_eq!(found("q=own").await, [Value::Null; 0]);
    for query in ["limit=1", "limit=1&q=garden"] {
        let mut ids = Vec::new();
        let mut next = String::new();
        loop {
            let page = admin.get(&format!("/admin/rooms?{query}{next}")).await.json(200);
            ids.extend(pluck(page["items"].as_array().unwrap(), "id"));
            let Some(cursor) = page["next_cursor"].as_str() else { break };
            next = format!("&cursor={cursor}");
        }
        let whole = found(query.split_once('&').map_or("", |it| it.1)).await;
        assert_eq!(ids, pluck(&whole, "id"));
    }
    admin.get("/admin/rooms?q=%20").await.refused(422, "invalid_input");

    let details = admin.get(&format!("/admin/rooms/{garden}?limit=1")).await.json(200);
    assert_eq!((&details["name"], &details["created_by"]), (&json!("Garden"), &json!(jisoo.id)));
    assert_eq!((&details["message_count"], &details["open_reports"]), (&json!(2), &json!(1)));
    let members = &details["members"];
    assert_eq!(members["items"][0]["role"], "owner");
    assert!(members["items"][0].get("read_seq").is_none());
    let cursor = members["next_cursor"].as_str().unwrap();
    let rest = admin.get(&format!("/admin/rooms/{garden}?limit=1&cursor={cursor}")).await.json(200);
    assert_eq!(rest["members"]["items"][0]["handle"], "minho");
    let nothing = format!("/admin/rooms/{}", Uuid::now_v7());
    admin.get(&nothing).await.refused(404, "room_not_found");
    for path in ["/admin/rooms", &format!("/admin/rooms/{garden}")] {
        jisoo.get(path).await.refused(403, "forbidden");
    }
}
