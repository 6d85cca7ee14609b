//! Settings of users, and what becomes of a profile that is private.

use serde_json::{Value, json};

use crate::app::{PASSWORD, TestApp};
use crate::user::User;

on_both_databases!(
    nobody_has_to_choose_anything,
    what_is_chosen_stays_and_the_rest_is_as_it_was,
    what_is_no_setting_is_refused_and_changes_nothing,
    changes_at_once_do_not_undo_each_other,
    a_language_can_be_brought_along,
    a_private_profile_shows_only_a_name_and_a_picture,
);

fn defaults() -> Value {
    json!({
        "locale": "en", "time_zone": "UTC", "profile": "public", "findable": true,
        "who_may_message": "everyone", "who_may_befriend": "everyone",
        "who_sees_presence": "everyone", "quiet_hours": null,
    })
}

async fn settings(user: &User) -> Value {
    user.get("/users/settings").await.json(200)
}

async fn nobody_has_to_choose_anything(app: &mut TestApp) {
    let jisoo = app.register("jisoo").await;

    assert_eq!(settings(&jisoo).await, defaults());
    assert_eq!(jisoo.patch("/users/settings", &json!({})).await.json(200), defaults());
    app.get("/v1/users/settings").await.refused(401, "unauthenticated");
}

async fn what_is_chosen_stays_and_the_rest_is_as_it_was(app: &mut TestApp) {
    let (jisoo, minho) = (app.register("jisoo").await, app.register("minho").await);
    let first = json!({
        "locale": "KO-kr", "time_zone": "asia/seoul", "who_may_message": "friends",
        "quiet_hours": { "from": "22:00", "until": "07:30" },
    });
    let mut expected = defaults();
    expected["locale"] = json!("ko-KR");
    expected["time_zone"] = json!("Asia/Seoul");
    expected["who_may_message"] = json!("friends");
    expected["quiet_hours"] = json!({ "from": "22:00", "until": "07:30" });
    assert_eq!(jisoo.patch("/users/settings", &first).await.json(200), expected);

    let second = json!({
        "profile": "private", "findable": false, "who_may_befriend": "common",
        "who_sees_presence": "nobody",
    });
    for (name, value) in second.as_object().unwrap() {
        expected[name] = value.clone();
    }
    assert_eq!(jisoo.patch("/users/settings", &second).await.json(200), expected);
    app.restart().await;
    let (jisoo, minho) = (jisoo.at(app), minho.at(app));
    assert_eq!(settings(&jisoo).await, expected);

    expected["quiet_hours"] = Value::Null;
    let quiet_ends = jisoo.patch("/users/settings", &json!({ "quiet_hours": null })).await;
    assert_eq!(quiet_ends.json(200), expected);
    assert_eq!(settings(&minho).await, defaults());
}

async fn what_is_no_setting_is_refused_and_changes_nothing(app: &mut TestApp) {
    let jisoo = app.register("jisoo").await;
    let hours = |from: &str, until: &str| json!({ "quiet_hours": { "from": from, "until": until }, "findable": false });
    for (body, code, pointer) in [
        (json!({ "locale": "en_US", "findable": false }), "invalid_locale", "/locale"),
        (json!({ "time_zone": "Asia/Atlantis" }), "invalid_time_zone", "/time_zone"),
        (hours("22:00", "22:00"), "invalid_quiet_hours", "/quiet_hours"),
    ] {
        let problem = jisoo.patch("/users/settings", &body).await.refused(422, code);
        assert_eq!(problem["errors"][0]["pointer"], pointer);
    }
    for body in [
        hours("24:00", "07:00"),
        json!({ "quiet_hours": { "from": "22:00" } }),
        json!({ "profile": "secret" }),
        json!({ "who_may_message": "common" }),
        json!({ "findable": "no" }),
        json!({ "unsubscribe_key": "mine" }),
    ] {
        jisoo.patch("/users/settings", &body).await.refused(422, "invalid_body");
    }
    assert_eq!(settings(&jisoo).await, defaults());
}

async fn changes_at_once_do_not_undo_each_other(app: &mut TestApp) {
    let jisoo = app.register("jisoo").await;
    let changes = [
        json!({ "locale": "ko" }),
        json!({ "time_zone": "Asia/Seoul" }),
        json!({ "findable": false }),
        json!({ "who_may_message": "nobody" }),
        json!({ "quiet_hours": { "from": "23:00", "until": "06:00" } }),
    ];

    let made = changes.iter().map(|change| jisoo.patch("/users/settings", change));
    for answer in futures_util::future::join_all(made).await {
        answer.is(200);
    }

    let settings = settings(&jisoo).await;
    for change in changes {
        for (name, value) in change.as_object().unwrap() {
            assert_eq!(&settings[name], value, "{name}");
        }
    }
}

async fn a_language_can_be_brought_along(app: &mut TestApp) {
    let mut body = json!({
        "handle": "jisoo", "email": "jisoo@example.com", "password": PASSWORD,
        "display_name": "지수", "locale": "ko_KR", "time_zone": "Asia/Seoul",
    });
    app.post("/v1/auth/register", &body).await.refused(422, "invalid_locale");
    body["locale"] = json!("ko-KR");
    let grant = app.post("/v1/auth/register", &body).await.json(201);

    let settings = settings(&User::new(app, &grant)).await;

    assert_eq!(
        (&settings["locale"], &settings["time_zone"]),
        (&json!("ko-KR"), &json!("Asia/Seoul"))
    );
    assert_eq!(settings["findable"], true);
}

async fn a_private_profile_shows_only_a_name_and_a_picture(app: &mut TestApp) {
    let (jisoo, minho) = (app.register("jisoo").await, app.register("minho").await);
    let profile =
        json!({ "display_name": "지수", "bio": "그네", "avatar": "https://cdn.example.com/a.png" });
    jisoo.put("/users/profile", &profile).await.is(200);
    let path = format!("/users/{}", jisoo.id);
    let public = minho.get(&path).await.json(200);
    assert_eq!((&public["bio"], &public["profile"]), (&json!("그네"), &json!("public")));
    assert!(public["created_at"].is_string());

    jisoo.patch("/users/settings", &json!({ "profile": "private" })).await.is(200);

    let private = minho.get(&path).await.json(200);
    for (name, value) in [
        ("handle", json!("jisoo")),
        ("display_name", json!("지수")),
        ("avatar", json!("https://cdn.example.com/a.png")),
        ("profile", json!("private")),
        ("bio", Value::Null),
        ("created_at", Value::Null),
    ] {
        assert_eq!(private[name], value, "{name}");
    }
    assert!(!private.to_string().contains("그네"), "{private}");
    assert_eq!(jisoo.get(&path).await.json(200)["bio"], "그네");
}
