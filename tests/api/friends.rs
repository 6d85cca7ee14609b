//! Friends: asking and answering, limits, lists, follows, and what is told to whom.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::app::TestApp;
use crate::both::Settings;
use crate::user::{User, pluck};

const NEW_ACCOUNTS: Settings = &[
    ("MADANG__FRIENDS__NEW_ACCOUNT_REQUESTS_PER_DAY", "3"),
    ("MADANG__FRIENDS__REQUESTS_OPEN_MAX", "2"),
];
const FEW: Settings = &[
    ("MADANG__FRIENDS__FRIENDS_MAX", "2"),
    ("MADANG__FRIENDS__BLOCKS_MAX", "1"),
    ("MADANG__FRIENDS__FOLLOWING_MAX", "1"),
];
const NO_COOLDOWN: Settings = &[("MADANG__FRIENDS__REJECT_COOLDOWN_HOURS", "0")];

on_both_databases!(
    a_request_that_is_accepted_makes_friends_and_both_are_told,
    requests_that_cross_are_one_friendship_however_often_they_are_sent,
    a_request_that_is_declined_is_over_and_cannot_be_repeated_at_once,
    what_is_repeated_changes_nothing,
    friends_are_listed_in_pages_with_their_presence,
    friends_in_common_are_found,
    people_follow_each_other_and_are_counted,
    a_private_profile_shows_its_followers_to_friends_only,
    who_leaves_for_good_is_nobodys_friend,
);
on_both_databases!(with super::NEW_ACCOUNTS; a_new_account_asks_few_people);
on_both_databases!(with super::FEW; there_are_only_so_many_friends_blocks_and_follows);
on_both_databases!(with super::NO_COOLDOWN; without_a_cooldown_a_request_is_repeated_at_once);

async fn a_request_that_is_accepted_makes_friends_and_both_are_told(app: &mut TestApp) {
    let [jisoo, minho, _] = trio(app).await;
    let asked = jisoo.post("/friends/request", &whom(&minho)).await.json(201);
    assert_eq!(asked, json!({ "user_id": minho.id, "state": "outgoing" }));
    let incoming = minho.get("/friends/requests").await.json(200);
    assert_eq!(incoming["items"][0]["user"]["handle"], "jisoo");
    assert!(incoming["items"][0]["at"].is_string());
    let outgoing = jisoo.get("/friends/requests?direction=outgoing").await.json(200);
    assert_eq!(outgoing["items"][0]["user"]["id"], json!(minho.id));
    assert_eq!(jisoo.get("/friends/requests").await.json(200)["items"], json!([]));
    jisoo.get("/friends/requests?direction=sideways").await.is(422);
    assert_eq!(friends_of(&jisoo).await, NOBODY);

    let accepted = minho.post("/friends/accept", &whom(&jisoo)).await.json(200);
    assert_eq!(accepted, json!({ "user_id": jisoo.id, "state": "friends" }));
    assert_eq!(friends_of(&jisoo).await, [json!(minho.id)]);
    assert_eq!(friends_of(&minho).await, [json!(jisoo.id)]);
    assert_eq!(minho.get("/friends/requests").await.json(200)["items"], json!([]));

    let parted = jisoo.delete(&format!("/friends/{}", minho.id)).await.json(200);
    assert_eq!(parted["state"], "none");
    assert_eq!(friends_of(&minho).await, NOBODY);

    assert_eq!(states_told(&jisoo, &minho, 3).await, ["outgoing", "friends", "none"]);
    assert_eq!(states_told(&minho, &jisoo, 3).await, ["incoming", "friends", "none"]);
}

async fn requests_that_cross_are_one_friendship_however_often_they_are_sent(app: &mut TestApp) {
    for round in 0..8 {
        let one = app.register(&format!("one{round}")).await;
        let other = app.register(&format!("other{round}")).await;

        let asked = (0..8).map(|n| {
            let (from, to) = if n % 2 == 0 { (&one, &other) } else { (&other, &one) };
            Answer::of(from.request(Method::POST, "/friends/request").json(&whom(to)))
        });
        let answers = join_all(asked).await;

        // Whoever was first has asked, and the first of the other's made them friends.
        let new = answers.iter().filter(|answer| answer.status == 201).count();
        assert_eq!(new, 1);
        assert!(answers.iter().all(|answer| [200, 201].contains(&answer.status)));
        assert_eq!(friends_of(&one).await, [json!(other.id)]);
        for (user, peer) in [(&one, &other), (&other, &one)] {
            let told = states_told(user, peer, 2).await;
            assert!(["outgoing", "incoming"].contains(&told[0].as_str()), "{told:?}");
            assert_eq!(told[1], "friends");
            // Nothing else was told: the next is that they part.
            let requests = user.get("/friends/requests").await.json(200);
            assert_eq!(requests["items"], json!([]));
        }
        one.delete(&format!("/friends/{}", other.id)).await.is(200);
        assert_eq!(states_told(&one, &other, 3).await[2], "none");
        assert_eq!(states_told(&other, &one, 3).await[2], "none");
    }
}

async fn a_request_that_is_declined_is_over_and_cannot_be_repeated_at_once(app: &mut TestApp) {
    let [jisoo, minho, yuna] = trio(app).await;
    jisoo.post("/friends/request", &whom(&minho)).await.is(201);
    let declined = minho.post("/friends/reject", &whom(&jisoo)).await.json(200);
    assert_eq!(declined["state"], "none");

    assert_eq!(states_told(&jisoo, &minho, 2).await, ["outgoing", "none"]);
    // It looks as if it had been taken back, or as if minho let nobody near.
    let again = jisoo.post("/friends/request", &whom(&minho)).await;
    again.refused(403, "cannot_befriend");
    assert_eq!(jisoo.post("/friends/cancel", &whom(&minho)).await.json(200)["state"], "none");
    minho.post("/friends/accept", &whom(&jisoo)).await.refused(404, "friend_request_not_found");
    // The other way it is as free as ever.
    minho.post("/friends/request", &whom(&jisoo)).await.is(201);
    assert_eq!(jisoo.post("/friends/request", &whom(&minho)).await.json(200)["state"], "friends");

    yuna.post("/friends/request", &whom(&minho)).await.is(201);
    assert_eq!(yuna.post("/friends/cancel", &whom(&minho)).await.json(200)["state"], "none");
    minho.post("/friends/accept", &whom(&yuna)).await.refused(404, "friend_request_not_found");
    yuna.post("/friends/request", &whom(&minho)).await.is(201);
}

async fn without_a_cooldown_a_request_is_repeated_at_once(app: &mut TestApp) {
    let [jisoo, minho, _] = trio(app).await;
    jisoo.post("/friends/request", &whom(&minho)).await.is(201);
    minho.post("/friends/reject", &whom(&jisoo)).await.is(200);
    jisoo.post("/friends/request", &whom(&minho)).await.is(201);
}

async fn what_is_repeated_changes_nothing(app: &mut TestApp) {
    let [jisoo, minho, _] = trio(app).await;
    let steps = [
        (&jisoo, "request", &minho, "outgoing"),
        (&minho, "accept", &jisoo, "friends"),
        (&jisoo, "request", &minho, "friends"),
        (&minho, "block", &jisoo, "blocked"),
    ];
    for (actor, call, other, state) in steps {
        actor.post(&format!("/friends/{call}"), &whom(other)).await;
        let repeated = actor.post(&format!("/friends/{call}"), &whom(other)).await.json(200);
        assert_eq!(repeated["state"], state);
    }
    for _ in 0..2 {
        let path = format!("/friends/unblock/{}", jisoo.id);
        assert_eq!(minho.delete(&path).await.json(200)["state"], "none");
        assert_eq!(
            minho.delete(&format!("/friends/{}", jisoo.id)).await.json(200)["state"],
            "none"
        );
    }
    assert_eq!(states_told(&minho, &jisoo, 4).await, ["incoming", "friends", "blocked", "none"]);
    assert_eq!(states_told(&jisoo, &minho, 3).await, ["outgoing", "friends", "none"]);

    for call in ["request", "accept", "reject", "cancel", "block"] {
        let path = format!("/friends/{call}");
        jisoo.post(&path, &whom(&jisoo)).await.refused(422, "oneself");
        let nobody = json!({ "user_id": "01930000-0000-7000-8000-000000000000" });
        jisoo.post(&path, &nobody).await.refused(404, "user_not_found");
        jisoo.post(&path, &json!({})).await.refused(422, "invalid_body");
    }
}

async fn a_new_account_asks_few_people(app: &mut TestApp) {
    let jisoo = app.register("jisoo").await;
    let mut others = Vec::new();
    for n in 0..4 {
        others.push(app.register(&format!("other{n}")).await);
    }
    jisoo.post("/friends/request", &whom(&others[0])).await.is(201);
    jisoo.post("/friends/request", &whom(&others[1])).await.is(201);
    let open = jisoo.post("/friends/request", &whom(&others[2])).await;
    open.refused(409, "too_many_open_requests");
    others[0].post("/friends/accept", &whom(&jisoo)).await.is(200);
    jisoo.post("/friends/request", &whom(&others[2])).await.is(201);
    jisoo.post("/friends/cancel", &whom(&others[2])).await.is(200);

    let refused = jisoo.post("/friends/request", &whom(&others[3])).await;
    refused.refused(429, "too_many_friend_requests");
    assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() > 3_600);
    // To be asked, and to say yes, has no such limit.
    others[3].post("/friends/request", &whom(&jisoo)).await.is(201);
    jisoo.post("/friends/accept", &whom(&others[3])).await.is(200);
}

async fn there_are_only_so_many_friends_blocks_and_follows(app: &mut TestApp) {
    let [jisoo, minho, yuna] = trio(app).await;
    let late = app.register("late").await;
    late.post("/friends/request", &whom(&jisoo)).await.is(201);
    jisoo.befriend(&minho).await;
    jisoo.befriend(&yuna).await;
    let full = (409, "too_many_friends");
    jisoo.post("/friends/accept", &whom(&late)).await.refused(full.0, full.1);
    let more = app.register("more").await;
    jisoo.post("/friends/request", &whom(&more)).await.refused(full.0, full.1);
    more.post("/friends/request", &whom(&jisoo)).await.is(201);
    jisoo.delete(&format!("/friends/{}", minho.id)).await.is(200);
    jisoo.post("/friends/accept", &whom(&late)).await.is(200);

    jisoo.post("/friends/block", &whom(&minho)).await.is(200);
    jisoo.post("/friends/block", &whom(&yuna)).await.refused(409, "too_many_blocks");
    let follow = |other: &User| format!("/users/{}/follow", other.id);
    jisoo.post(&follow(&yuna), &json!({})).await.is(201);
    jisoo.post(&follow(&late), &json!({})).await.refused(409, "too_many_followed");
    jisoo.delete(&follow(&yuna)).await.is(200);
    jisoo.post(&follow(&late), &json!({})).await.is(201);
}

async fn friends_are_listed_in_pages_with_their_presence(app: &mut TestApp) {
    let jisoo = app.register("jisoo").await;
    let mut expected = Vec::new();
    let mut blocked = Vec::new();
    for n in 0..5 {
        let friend = app.register(&format!("friend{n}")).await;
        friend.befriend(&jisoo).await;
        expected.insert(0, json!(friend.id));
        let enemy = app.register(&format!("enemy{n}")).await;
        jisoo.post("/friends/block", &whom(&enemy)).await.is(200);
        blocked.insert(0, json!(enemy.id));
    }

    let seen = ids_in_pages(&jisoo, "/friends", 2).await;
    // Those of the same millisecond stand in the order of their ids, which is that of their accounts.
    assert_eq!(seen, expected);
    assert_eq!(ids_in_pages(&jisoo, "/friends/blocked", 2).await, blocked);
    let first = jisoo.get("/friends?limit=1").await.json(200)["items"][0].clone();
    assert_eq!(
        first["presence"],
        json!({ "user_id": expected[0], "status": "offline", "last_seen_at": null })
    );
    assert_eq!(first["user"]["handle"], "friend4");
    assert!(first["since"].is_string());
    jisoo.get("/friends?cursor=nonsense").await.is(422);
}

async fn friends_in_common_are_found(app: &mut TestApp) {
    let [jisoo, minho, _] = trio(app).await;
    let mut common = Vec::new();
    for n in 0..3 {
        let friend = app.register(&format!("common{n}")).await;
        friend.befriend(&jisoo).await;
        friend.befriend(&minho).await;
        common.push(json!(friend.id));
    }
    app.register("only").await.befriend(&jisoo).await;
    let path = format!("/friends/mutual/{}", minho.id);

    let first = jisoo.get(&format!("{path}?limit=2")).await.json(200);
    let cursor = first["next_cursor"].as_str().expect("there are three");
    let rest = jisoo.get(&format!("{path}?limit=2&cursor={cursor}")).await.json(200);
    let mut found = pluck(first["items"].as_array().unwrap(), "id");
    found.extend(pluck(rest["items"].as_array().unwrap(), "id"));
    assert_eq!(found, common);

    minho.post("/friends/block", &whom(&jisoo)).await.is(200);
    jisoo.get(&path).await.refused(404, "user_not_found");
}

async fn people_follow_each_other_and_are_counted(app: &mut TestApp) {
    let [jisoo, minho, yuna] = trio(app).await;
    let follow = |other: &User| format!("/users/{}/follow", other.id);
    let followed = minho.post(&follow(&jisoo), &json!({})).await.json(201);
    assert_eq!(followed, json!({ "user_id": jisoo.id, "following": true }));
    minho.post(&follow(&jisoo), &json!({})).await.is(200);
    yuna.post(&follow(&jisoo), &json!({})).await.is(201);
    jisoo.post(&follow(&jisoo), &json!({})).await.refused(422, "oneself");

    assert_eq!(counts(&yuna, &jisoo).await, (2, 0));
    assert_eq!(counts(&yuna, &minho).await, (0, 1));
    let followers = format!("/users/{}/followers", jisoo.id);
    assert_eq!(ids_in_pages(&minho, &followers, 1).await, [json!(yuna.id), json!(minho.id)]);
    let following = format!("/users/{}/following", minho.id);
    assert_eq!(ids_in_pages(&jisoo, &following, 1).await, [json!(jisoo.id)]);

    // To whom a block keeps apart, the other is in no list; blocking ends the follow.
    yuna.post("/friends/block", &whom(&minho)).await.is(200);
    assert_eq!(ids_in_pages(&minho, &followers, 5).await, [json!(minho.id)]);
    jisoo.post("/friends/block", &whom(&minho)).await.is(200);
    assert_eq!(counts(&yuna, &jisoo).await, (1, 0));
    minho.get(&followers).await.refused(404, "user_not_found");
    minho.post(&follow(&jisoo), &json!({})).await.refused(404, "user_not_found");
    jisoo.post(&follow(&minho), &json!({})).await.refused(403, "blocked");

    for _ in 0..2 {
        let ended = yuna.delete(&follow(&jisoo)).await.json(200);
        assert_eq!(ended, json!({ "user_id": jisoo.id, "following": false }));
    }
    assert_eq!(counts(&yuna, &jisoo).await, (0, 0));
}

async fn a_private_profile_shows_its_followers_to_friends_only(app: &mut TestApp) {
    let [jisoo, minho, yuna] = trio(app).await;
    yuna.post(&format!("/users/{}/follow", jisoo.id), &json!({})).await.is(201);
    jisoo.befriend(&minho).await;
    app.choose(&jisoo, "profile", "private").await;

    for list in ["followers", "following"] {
        let path = format!("/users/{}/{list}", jisoo.id);
        yuna.get(&path).await.refused(403, "profile_private");
        minho.get(&path).await.is(200);
        jisoo.get(&path).await.is(200);
    }
}

async fn who_leaves_for_good_is_nobodys_friend(app: &mut TestApp) {
    let [jisoo, minho, yuna] = trio(app).await;
    jisoo.befriend(&minho).await;
    yuna.post("/friends/request", &whom(&jisoo)).await.is(201);
    jisoo.post(&format!("/users/{}/follow", minho.id), &json!({})).await.is(201);
    let mut watching = minho.socket().await;
    watching.hello(&["me"]).await;

    let delete = jisoo
        .request(Method::DELETE, "/users/account")
        .json(&json!({ "password": crate::app::PASSWORD }));
    Answer::of(delete).await.is(204);

    let told = watching.next_named("friend_updated").await;
    assert_eq!(told["data"], json!({ "user_id": jisoo.id, "state": "none" }));
    assert_eq!(friends_of(&minho).await, NOBODY);
    assert_eq!(counts(&yuna, &minho).await, (0, 0));
    assert_eq!(
        yuna.get("/friends/requests?direction=outgoing").await.json(200)["items"],
        json!([])
    );
    yuna.post("/friends/request", &whom(&jisoo)).await.refused(404, "user_not_found");
}

const NOBODY: [Value; 0] = [];

async fn trio(app: &TestApp) -> [User; 3] {
    [app.register("jisoo").await, app.register("minho").await, app.register("yuna").await]
}

fn whom(other: &User) -> Value {
    json!({ "user_id": other.id })
}

async fn friends_of(user: &User) -> Vec<Value> {
    ids_in_pages(user, "/friends", 50).await
}

/// The ids of everybody in a list, page by page.
async fn ids_in_pages(user: &User, path: &str, limit: usize) -> Vec<Value> {
    let mut ids = Vec::new();
    let mut query = format!("limit={limit}");
    loop {
        let page = user.get(&format!("{path}?{query}")).await.json(200);
        let items = page["items"].as_array().unwrap();
        ids.extend(items.iter().map(|item| item["user"]["id"].clone()));
        let Some(cursor) = page["next_cursor"].as_str() else { return ids };
        query = format!("limit={limit}&cursor={cursor}");
    }
}

/// The first `count` things that a user was told of what another is to them.
async fn states_told(user: &User, other: &User, count: usize) -> Vec<String> {
    let mut socket = user.follow(&[]).await;
    socket.subscribe(json!({ "channel": "me", "after": 0 })).await;
    let mut told = Vec::new();
    while told.len() < count {
        let event = socket.next_of("me").await;
        if event["event"] == "friend_updated" && event["data"]["user_id"] == json!(other.id) {
            told.push(event["data"]["state"].as_str().expect("a state").to_owned());
        }
    }
    told
}

/// Followers and following, as another sees them.
async fn counts(viewer: &User, user: &User) -> (i64, i64) {
    let seen = viewer.get(&format!("/users/{}", user.id)).await.json(200);
    let count = |name: &str| seen[name].as_i64().expect("a count");
    (count("follower_count"), count("following_count"))
}
