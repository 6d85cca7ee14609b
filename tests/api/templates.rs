//! Templates: versions, going back, what is broken, previews and tests, and whom it is up to.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::app::TestApp;
use crate::rows;
use crate::user::{User, pluck};

on_both_databases!(
    templates_are_up_to_administrators,
    a_new_version_speaks_until_another_one_does,
    versions_that_are_written_at_once_are_all_kept,
    what_does_not_work_is_shown_and_not_kept,
    a_preview_shows_every_medium_and_escapes_what_is_html,
    a_kind_may_be_made_and_is_then_known,
    a_test_is_queued_for_whoever_asks,
);

fn welcome(title: &str) -> Value {
    json!({ "parts": { "title": title, "body": "Say hello, {{ recipient.display_name }}." } })
}

async fn templates_are_up_to_administrators(app: &mut TestApp) {
    let (admin, user) = (app.administrator("boss").await, app.register("jisoo").await);
    let path = "/admin/templates/welcome/en";

    user.get("/admin/templates").await.refused(403, "forbidden");
    user.put(path, &welcome("Hi")).await.refused(403, "forbidden");
    user.post(&format!("{path}/test-send"), &json!({ "medium": "mail" }))
        .await
        .refused(403, "forbidden");
    app.get("/v1/admin/templates").await.refused(401, "unauthenticated");

    let listed = admin.get("/admin/templates?limit=5").await.json(200);
    let kinds = pluck(listed["items"].as_array().unwrap(), "kind");
    assert_eq!((kinds.len(), &kinds[0]), (5, &json!("digest")));
    let cursor = listed["next_cursor"].as_str().unwrap();
    let rest = admin.get(&format!("/admin/templates?cursor={cursor}")).await.json(200);
    let rest = pluck(rest["items"].as_array().unwrap(), "kind");
    assert!(rest.contains(&json!("welcome")) && !rest.contains(kinds.last().unwrap()), "{rest:?}");
}

async fn a_new_version_speaks_until_another_one_does(app: &mut TestApp) {
    let admin = app.administrator("boss").await;
    let path = "/admin/templates/welcome/ko";
    let activate = format!("{path}/activate");

    let built_in = preview(&admin, "ko", &json!({})).await;
    let first = admin.put(path, &welcome("첫 번째")).await.json(201);
    assert_eq!((&first["version"], &first["is_active"]), (&json!(1), &json!(true)));
    assert_eq!(first["created_by"], json!(admin.id));
    // The same words again are no new version.
    assert_eq!(admin.put(path, &welcome("첫 번째")).await.json(200)["version"], 1);
    assert_eq!(admin.put(path, &welcome("두 번째")).await.json(201)["version"], 2);
    assert_eq!(preview(&admin, "ko", &json!({})).await["title"], "두 번째");

    let back = admin.post(&activate, &json!({ "version": 1 })).await.json(200);
    assert_eq!((&back["active_version"], &back["last_version"]), (&json!(1), &json!(2)));
    assert_eq!(preview(&admin, "ko", &json!({})).await["title"], "첫 번째");
    let details = admin.get("/admin/templates/welcome").await.json(200);
    let mut versions: Vec<(i64, bool)> = details["versions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it["version"].as_i64().unwrap(), it["is_active"].as_bool().unwrap()))
        .collect();
    versions.sort_unstable();
    assert_eq!(versions, [(1, true), (2, false)]);
    assert_eq!(pluck(details["builtin"].as_array().unwrap(), "locale"), ["en", "ko"]);
    assert!(details["versions"][0].get("parts").is_none(), "words are read one by one");
    let read = admin.get(&format!("{path}/versions/1")).await.json(200);
    assert_eq!(read, first);
    for wrong in ["3", "0", "-1"] {
        let answer = admin.get(&format!("{path}/versions/{wrong}")).await;
        answer.refused(404, "template_not_found");
    }

    // A third one goes on from the second.
    assert_eq!(admin.put(path, &welcome("세 번째")).await.json(201)["version"], 3);
    assert_eq!(
        admin.post(&activate, &json!({ "version": 0 })).await.json(200)["active_version"],
        0
    );
    assert_eq!(preview(&admin, "ko", &json!({})).await, built_in);
    for version in [4, -1] {
        let answer = admin.post(&activate, &json!({ "version": version })).await;
        answer.refused(404, "template_not_found");
    }
    // English was never touched.
    assert_eq!(preview(&admin, "en", &json!({})).await["title"], "Welcome to madang");
}

async fn versions_that_are_written_at_once_are_all_kept(app: &mut TestApp) {
    let admin = app.administrator("boss").await;
    let path = "/admin/templates/welcome/en";
    let bodies: Vec<Value> = (0..12).map(|n| welcome(&format!("Hello {n}"))).collect();

    let written = bodies.iter().map(|body| Answer::of(admin.request(Method::PUT, path).json(body)));
    let answers = join_all(written).await;

    let mut versions: Vec<i64> =
        answers.iter().map(|answer| answer.json(201)["version"].as_i64().unwrap()).collect();
    versions.sort_unstable();
    assert_eq!(versions, (1..=12).collect::<Vec<_>>());
    let details = admin.get("/admin/templates/welcome").await.json(200);
    let active: Vec<&Value> = details["versions"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|version| version["is_active"] == true)
        .collect();
    assert_eq!((active.len(), &active[0]["version"]), (1, &json!(12)));
}

async fn what_does_not_work_is_shown_and_not_kept(app: &mut TestApp) {
    let admin = app.administrator("boss").await;
    let path = "/admin/templates/welcome/en";
    let with = |part: &str, source: &str| {
        let mut body = welcome("Hello");
        body["parts"][part] = json!(source);
        body
    };

    let broken = with("mail_text", "One.\nTwo {{ recipient.handle\n");
    let problem = admin.put(path, &broken).await.refused(422, "template_broken");
    assert_eq!(problem["errors"][0]["pointer"], "/parts/mail_text");
    assert!(problem["detail"].as_str().unwrap().starts_with("mail_text, line "), "{problem}");
    for (part, source, code) in [
        ("title", "{{ nobody.name }}", "template_not_rendered"),
        ("body", "{{ data.number }}", "template_not_rendered"),
        ("body", "{% include \"/etc/passwd\" %}", "template_broken"),
        ("mail_html", "{% autoescape false %}{% endautoescape %}", "template_broken"),
        ("title", " {# nothing #} ", "template_empty"),
        ("sms", &"a".repeat(8_001), "template_too_long"),
        ("body", "{{ \"b\" * 100000000 }}", "template_broken"),
        ("body", &"a".repeat(7_000), "template_output_too_long"),
    ] {
        let problem = admin.put(path, &with(part, source)).await.refused(422, code);
        assert_eq!(problem["errors"][0]["pointer"], format!("/parts/{part}"));
    }
    // A room without a name, as a direct one is, is part of every trial.
    let named = json!({ "parts": { "title": "{{ room.name }}", "body": "Hello." } });
    let answer = admin.put("/admin/templates/message_received/en", &named).await;
    answer.refused(422, "template_not_rendered");
    admin.put("/admin/templates/No Kind/en", &welcome("Hi")).await.refused(422, "invalid_kind");
    admin
        .put("/admin/templates/welcome/english", &welcome("Hi"))
        .await
        .refused(422, "invalid_locale");
    admin.get("/admin/templates/nothing").await.refused(404, "template_not_found");

    let details = admin.get("/admin/templates/welcome").await.json(200);
    assert_eq!(details["versions"], json!([]));
}

async fn a_preview_shows_every_medium_and_escapes_what_is_html(app: &mut TestApp) {
    let admin = app.administrator("boss").await;
    let data = json!({ "name": "<script>alert(1)</script>" });
    let parts = json!({
        "title": "{{ data.name }}\nhere", "body": "{{ data.name }}",
        "mail_html": "<b>{{ data.name }}</b>",
    });

    let shown = preview(&admin, "en", &json!({ "parts": parts, "data": data })).await;

    assert_eq!(shown["title"], "<script>alert(1)</script> here");
    assert_eq!(shown["body"], "<script>alert(1)</script>");
    assert!(shown["sms"].as_str().unwrap().contains("<script>"));
    let html = shown["mail_html"].as_str().unwrap();
    assert!(html.contains("<b>&lt;script&gt;alert(1)") && !html.contains("<script"), "{html}");
    assert!(html.contains("unsubscribe"), "{html}");
    let details = admin.get("/admin/templates/welcome").await.json(200);
    assert_eq!(details["versions"], json!([]), "a preview keeps nothing");
    let large = json!({ "data": { "a": "a".repeat(20_000) } });
    admin
        .post("/admin/templates/welcome/en/preview", &large)
        .await
        .refused(422, "sample_too_large");
}

async fn a_kind_may_be_made_and_is_then_known(app: &mut TestApp) {
    let (admin, user) = (app.administrator("boss").await, app.register("jisoo").await);
    let path = "/admin/templates/shop.order_sent/ko";
    let choice =
        json!({ "items": [{ "kind": "shop.order_sent", "medium": "mail", "choice": "on" }] });
    user.put("/notifications/preferences", &choice).await.refused(422, "unknown_kind");

    let parts = json!({ "title": "{{ data.number }}번 주문이 떠났어요", "body": "{{ data.day }}에 도착해요." });
    let made = json!({ "parts": parts, "data": { "number": 7, "day": "금요일" } });
    let version = admin.put(path, &made).await.json(201);
    assert_eq!(version["data"]["day"], "금요일");

    let shown = admin.post(&format!("{path}/preview"), &json!({})).await.json(200);
    assert_eq!(shown["title"], "7번 주문이 떠났어요");
    let chosen = user.put("/notifications/preferences", &choice).await.json(200);
    let items = chosen["items"].as_array().unwrap();
    let item = items.iter().find(|it| it["kind"] == "shop.order_sent" && it["medium"] == "mail");
    assert_eq!(item.unwrap()["choice"], "on");
    let listed = admin.get("/admin/templates").await.json(200);
    let kinds = pluck(listed["items"].as_array().unwrap(), "kind");
    assert!(kinds.is_sorted_by_key(|kind| kind.as_str().unwrap().to_owned()), "{kinds:?}");
    let place = kinds.iter().position(|kind| kind == "shop.order_sent").unwrap();
    assert_eq!(listed["items"][place]["is_builtin"], false);
    assert_eq!(pluck(listed["items"][place]["locales"].as_array().unwrap(), "locale"), ["ko"]);
}

async fn a_test_is_queued_for_whoever_asks(app: &mut TestApp) {
    let admin = app.administrator("boss").await;
    let path = "/admin/templates/welcome/ko/test-send";

    let sent = admin.post(path, &json!({ "medium": "mail" })).await.json(202);

    let letters = rows::letters(app, &admin).await;
    let [letter] = letters.as_slice() else { panic!("{letters:?}") };
    assert_eq!(sent["delivery_ids"], json!([letter.id]));
    assert_eq!((letter.medium.as_str(), letter.kind.as_str()), ("mail", "welcome"));
    let template = json!({ "kind": "welcome", "locale": "ko", "version": 0 });
    assert_eq!(letter.data["template"], template);
    admin.post(path, &json!({ "medium": "inbox" })).await.refused(422, "medium_not_tested");
    admin.post(path, &json!({ "medium": "push" })).await.refused(409, "no_device");
    let nothing =
        admin.post("/admin/templates/welcome/fr/test-send", &json!({ "medium": "mail" })).await;
    nothing.refused(404, "template_not_found");
}

async fn preview(admin: &User, locale: &str, body: &Value) -> Value {
    admin.post(&format!("/admin/templates/welcome/{locale}/preview"), body).await.json(200)
}
