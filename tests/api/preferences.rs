//! Preferences: what is chosen, what cannot be, the way out of mails, and rooms that are muted.

use madang::domain::preferences::Scope;
use madang::domain::unsubscribe::UnsubscribeToken;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::answer::Answer;
use crate::app::TestApp;
use crate::rows;
use crate::user::User;

const PATH: &str = "/notifications/preferences";
const KEY: [u8; 32] = [7; 32];

on_both_databases!(
    a_choice_is_kept_and_can_be_taken_back,
    a_choice_for_every_kind_is_for_those_without_their_own,
    what_cannot_be_chosen_is_refused_as_a_whole,
    one_click_ends_mails_of_one_kind,
    the_way_out_of_a_digest_ends_everything_in_it,
    a_link_that_was_not_made_here_does_nothing,
    a_link_is_looked_at_without_doing_anything,
    a_member_chooses_what_a_room_tells_them,
);

async fn a_choice_is_kept_and_can_be_taken_back(app: &mut TestApp) {
    let (jisoo, minho) = (app.register("jisoo").await, app.register("minho").await);
    let before = jisoo.get(PATH).await.json(200);
    let of = |preferences: &Value| item(preferences, "message_received", "mail");
    assert_eq!(
        (&of(&before)["choice"], &of(&before)["default"]),
        (&json!("digest"), &json!("digest"))
    );
    assert_eq!(
        (&before["digest_minutes"], &before["digest_is_default"]),
        (&json!(60), &json!(true))
    );

    let chosen = json!({
        "items": [choice("message_received", "mail", "off"), choice("mention_received", "push", "digest")],
        "digest_minutes": 15,
    });
    let after = jisoo.put(PATH, &chosen).await.json(200);

    assert_eq!((&of(&after)["choice"], &of(&after)["is_chosen"]), (&json!("off"), &json!(true)));
    assert_eq!(
        (&after["digest_minutes"], &after["digest_is_default"]),
        (&json!(15), &json!(false))
    );
    assert_eq!(jisoo.get(PATH).await.json(200), after);
    assert_eq!(jisoo.put(PATH, &json!({})).await.json(200), after, "what is left out stays");
    assert_eq!(minho.get(PATH).await.json(200), before);

    let back = json!({
        "items": [choice("message_received", "mail", None), choice("mention_received", "push", None)],
        "digest_minutes": null,
    });
    assert_eq!(jisoo.put(PATH, &back).await.json(200), before);
}

async fn a_choice_for_every_kind_is_for_those_without_their_own(app: &mut TestApp) {
    let jisoo = app.register("jisoo").await;
    let chosen = json!({ "items": [choice("*", "mail", "off"), choice("welcome", "mail", "on")] });

    let after = jisoo.put(PATH, &chosen).await.json(200);

    assert_eq!(after["every"], json!([{ "medium": "mail", "choice": "off" }]));
    assert_eq!(item(&after, "friend_request_received", "mail")["choice"], "off");
    assert_eq!(item(&after, "welcome", "mail")["choice"], "on");
    assert_eq!(item(&after, "friend_request_received", "push")["choice"], "on");
    let mandatory = item(&after, "password_changed", "mail");
    assert_eq!((&mandatory["choice"], &mandatory["is_mandatory"]), (&json!("on"), &json!(true)));
}

async fn what_cannot_be_chosen_is_refused_as_a_whole(app: &mut TestApp) {
    let jisoo = app.register("jisoo").await;
    let before = jisoo.get(PATH).await.json(200);
    for (refused, code) in [
        (choice("password_changed", "mail", "off"), "notification_mandatory"),
        (choice("verify_email", "push", "on"), "medium_not_offered"),
        (choice("message_received", "inbox", "digest"), "no_digest_in_inbox"),
        (choice("shop.sent", "mail", "on"), "unknown_kind"),
        (choice("Not A Kind", "mail", "on"), "unknown_kind"),
        (choice("welcome", "mail", "on"), "too_many_changes"),
    ] {
        let body = json!({ "items": [choice("welcome", "mail", "off"), refused] });
        let problem = jisoo.put(PATH, &body).await.refused(422, code);
        let pointer = problem["errors"][0]["pointer"].as_str().unwrap();
        assert!(pointer.starts_with("/items/1"), "{problem}");
    }
    for minutes in [4, 10_081, -1] {
        let answer = jisoo.put(PATH, &json!({ "digest_minutes": minutes })).await;
        answer.refused(422, "invalid_digest_minutes");
    }
    let unknown = json!({ "items": [{ "kind": "*", "medium": "pigeon", "choice": "on" }] });
    jisoo.put(PATH, &unknown).await.refused(422, "invalid_body");

    assert_eq!(jisoo.get(PATH).await.json(200), before);
    app.get("/v1/notifications/preferences").await.refused(401, "unauthenticated");
}

async fn one_click_ends_mails_of_one_kind(app: &mut TestApp) {
    let jisoo = app.register("jisoo").await;
    rows::put_unsubscribe_key(app, &jisoo, KEY, "en").await;
    let url = link(app, &jisoo, "friend_request_received", &KEY);
    let one_click = || app.http.post(&url).form(&[("List-Unsubscribe", "One-Click")]);

    // Again, without a body, and with what a mail program has put behind it, does as much.
    let counted = app.http.post(format!("{url}&utm_source=mail&fbclid=7"));
    for request in [one_click(), one_click(), app.http.post(&url), counted] {
        let answer = Answer::of(request).await;
        assert_eq!((answer.status, answer.text.as_str()), (204, ""));
    }

    let after = jisoo.get(PATH).await.json(200);
    assert_eq!(item(&after, "friend_request_received", "mail")["choice"], "off");
    assert_eq!(item(&after, "friend_request_received", "push")["choice"], "on");
    assert_eq!(item(&after, "welcome", "mail")["choice"], "on");
    let page = Answer::of(app.http.post(&url).header("accept", "text/html,*/*")).await;
    assert!(page.is(200).text.contains("no more mails"), "{}", page.text);
}

async fn the_way_out_of_a_digest_ends_everything_in_it(app: &mut TestApp) {
    let jisoo = app.register("jisoo").await;
    rows::put_unsubscribe_key(app, &jisoo, KEY, "en").await;

    Answer::of(app.http.post(link(app, &jisoo, "digest", &KEY))).await.is(204);

    let after = jisoo.get(PATH).await.json(200);
    for kind in ["message_received", "mention_received"] {
        assert_eq!(item(&after, kind, "mail")["choice"], "off", "{kind}");
    }
    assert_eq!(item(&after, "welcome", "mail")["choice"], "on");
}

async fn a_link_that_was_not_made_here_does_nothing(app: &mut TestApp) {
    let (jisoo, minho) = (app.register("jisoo").await, app.register("minho").await);
    rows::put_unsubscribe_key(app, &jisoo, KEY, "en").await;
    let before = jisoo.get(PATH).await.json(200);

    for url in [
        link(app, &jisoo, "welcome", &[8; 32]),
        // A user for whom no link was ever made.
        link(app, &minho, "welcome", &KEY),
        link(app, &minho, "welcome", &[0; 32]),
        // What cannot be switched off.
        link(app, &jisoo, "password_changed", &KEY),
        app.url("/v1/notifications/unsubscribe?token=nonsense"),
        format!("{}A", link(app, &jisoo, "welcome", &KEY)),
    ] {
        Answer::of(app.http.post(&url)).await.refused(422, "invalid_token");
    }
    app.get("/v1/notifications/unsubscribe").await.is(422);
    assert_eq!(jisoo.get(PATH).await.json(200), before);

    // Nor does one of an account that is gone.
    let body = json!({ "password": crate::app::PASSWORD });
    Answer::of(jisoo.request(Method::DELETE, "/users/account").json(&body)).await.is(204);
    let url = link(app, &jisoo, "welcome", &KEY);
    Answer::of(app.http.post(&url)).await.refused(422, "invalid_token");
}

async fn a_link_is_looked_at_without_doing_anything(app: &mut TestApp) {
    let jisoo = app.register("jisoo").await;
    rows::put_unsubscribe_key(app, &jisoo, KEY, "ko-KR").await;
    let before = jisoo.get(PATH).await.json(200);

    let page = Answer::of(app.http.get(link(app, &jisoo, "welcome", &KEY))).await;

    assert_eq!(page.is(200).header("content-type"), Some("text/html; charset=utf-8"));
    assert!(
        page.text.contains("<form method=\"post\"") && page.text.contains("그만 받기"),
        "{}",
        page.text
    );
    let policy = page.header("content-security-policy").unwrap();
    assert!(
        policy.contains("form-action 'self'") && policy.contains("default-src 'none'"),
        "{policy}"
    );
    let forged = Answer::of(app.http.get(link(app, &jisoo, "welcome", &[8; 32]))).await;
    forged.refused(422, "invalid_token");
    assert_eq!(jisoo.get(PATH).await.json(200), before);
}

async fn a_member_chooses_what_a_room_tells_them(app: &mut TestApp) {
    let (owner, member, guest) =
        (app.register("owner").await, app.register("member").await, app.register("guest").await);
    let room = owner.group("Yard", &[&member]).await;
    let path = format!("/chat/rooms/{room}");
    let chosen_by = async |user: &User| user.get(&path).await.json(200)["notifications"].clone();
    let all = json!({ "level": "all", "muted_until": null });
    assert_eq!(chosen_by(&member).await, all);

    let quiet = json!({ "level": "mentions", "muted_until": "2099-01-01T00:00:00.000Z" });
    let notifications = format!("{path}/notifications");
    assert_eq!(member.put(&notifications, &quiet).await.json(200), quiet);

    assert_eq!(chosen_by(&member).await, quiet);
    assert_eq!(member.get("/chat/rooms").await.json(200)["items"][0]["notifications"], quiet);
    assert_eq!(chosen_by(&owner).await, all, "it is theirs alone");
    // Who is muted by a moderator may not send; who has muted the room may.
    member.say(&room, "k1", "hello").await;
    assert_eq!(member.put(&notifications, &json!({ "level": "all" })).await.json(200), all);
    assert_eq!(chosen_by(&member).await, all);
    guest.put(&notifications, &quiet).await.refused(404, "room_not_found");
    member.put(&notifications, &json!({ "level": "some" })).await.refused(422, "invalid_body");
}

fn choice(kind: &str, medium: &str, choice: impl Into<Option<&'static str>>) -> Value {
    json!({ "kind": kind, "medium": medium, "choice": choice.into() })
}

fn item(preferences: &Value, kind: &str, medium: &str) -> Value {
    let mut items = preferences["items"].as_array().unwrap().iter();
    let item = items.find(|item| item["kind"] == kind && item["medium"] == medium);
    item.unwrap_or_else(|| panic!("{kind} by {medium}: {preferences}")).clone()
}

fn link(app: &TestApp, user: &User, kind: &str, key: &[u8; 32]) -> String {
    let user = Uuid::parse_str(&user.id).unwrap().into();
    let token = UnsubscribeToken::new(user, Scope::parse(kind).unwrap(), key);
    app.url(&format!("/v1/notifications/unsubscribe?token={}", token.to_text()))
}
