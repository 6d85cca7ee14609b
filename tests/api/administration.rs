//! What administrators see of people, and do with their accounts: each with a reason, and in the audit.

use futures_util::join;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::answer::Answer;
use crate::app::{PASSWORD, TestApp, eventually};
use crate::user::{User, pluck};

on_both_databases!(
    people_are_listed_and_found_by_handle_name_and_address,
    whoever_is_suspended_is_out_at_once_and_let_in_again,
    sessions_of_others_are_ended,
    a_role_that_is_taken_away_counts_at_once,
    nobody_decides_about_themselves_and_of_two_one_is_left,
    only_administrators_are_let_near,
    everything_is_in_one_audit,
);

async fn found(admin: &User, query: &str) -> Vec<Value> {
    let page = admin.get(&format!("/admin/users?{query}")).await.json(200);
    pluck(page["items"].as_array().expect("a page has items"), "handle")
}

fn because(reason: &str) -> Value {
    json!({ "reason": reason })
}

async fn people_are_listed_and_found_by_handle_name_and_address(app: &mut TestApp) {
    let admin = app.administrator("gwanri").await;
    let (jisoo, minho) = (app.register("jisoo").await, app.register("minho").await);
    app.register("jiyeon").await;
    minho.put("/users/profile", &json!({ "display_name": "홍길동" })).await.is(200);
    // Who does not want to be found by others, and who has been blocked, are found here.
    jisoo.patch("/users/settings", &json!({ "findable": false })).await.is(200);
    jisoo.post("/friends/block", &json!({ "user_id": admin.id })).await.is(200);

    assert_eq!(found(&admin, "").await, ["jiyeon", "minho", "jisoo", "gwanri"]);
    assert_eq!(found(&admin, "q=ji").await, ["jisoo", "jiyeon"]);
    assert_eq!(found(&admin, "q=길동").await, ["minho"]);
    assert_eq!(found(&admin, "q=JISOO@exam").await, ["jisoo"]);
    assert_eq!(found(&admin, "q=jisoo@elsewhere").await, [""; 0]);
    for query in ["limit=2", "limit=1&q=ji", "limit=1&q=j"] {
        let mut handles = Vec::new();
        let mut next = String::new();
        loop {
            let page = admin.get(&format!("/admin/users?{query}{next}")).await.json(200);
            handles.extend(pluck(page["items"].as_array().unwrap(), "handle"));
            let Some(cursor) = page["next_cursor"].as_str() else { break };
            next = format!("&cursor={cursor}");
        }
        assert_eq!(handles, found(&admin, query.split_once('&').map_or("", |it| it.1)).await);
    }
    let page = admin.get("/admin/users?q=ji&limit=1").await.json(200);
    let cursor = page["next_cursor"].as_str().unwrap();
    let other = admin.get(&format!("/admin/users?q=min&cursor={cursor}")).await;
    other.refused(422, "invalid_input");
    admin.get("/admin/users?q=%20").await.refused(422, "invalid_input");

    let seen = &page["items"][0];
    assert_eq!((&seen["email"], &seen["status"]), (&json!("jisoo@example.com"), &json!("active")));
    assert_eq!((&seen["roles"], &seen["verified_at"]), (&json!(["USER"]), &Value::Null));
    app.login("jisoo", PASSWORD).await;
    let details = admin.get(&format!("/admin/users/{}", jisoo.id)).await.json(200);
    assert_eq!(details["sessions"].as_array().unwrap().len(), 2);
    assert!(details["sessions"][0]["ip"].is_string());
    assert!(details.get("password_hash").is_none());
    admin.get(&format!("/admin/users/{}", Uuid::now_v7())).await.refused(404, "user_not_found");
    let leaving = minho.request(Method::DELETE, "/users/account");
    Answer::of(leaving.json(&json!({ "password": PASSWORD }))).await.is(204);
    assert_eq!(found(&admin, "q=minho@").await, [""; 0]);
    admin.get(&format!("/admin/users/{}", minho.id)).await.refused(404, "user_not_found");
}

async fn whoever_is_suspended_is_out_at_once_and_let_in_again(app: &mut TestApp) {
    let admin = app.administrator("gwanri").await;
    let jisoo = app.register("jisoo").await;
    let mut socket = jisoo.socket().await;
    socket.hello(&["me"]).await;
    let path = format!("/admin/users/{}", jisoo.id);
    admin.post(&format!("{path}/suspend"), &because(" ")).await.refused(422, "invalid_input");

    let suspended = admin.post(&format!("{path}/suspend"), &because("spam")).await.json(200);

    assert_eq!(suspended["status"], "suspended");
    assert!(suspended["suspended_at"].is_string());
    assert_eq!(socket.closed().await, Some(4307));
    jisoo.get("/users/profile").await.refused(401, "unauthenticated");
    let refresh = json!({ "refresh_token": jisoo.refresh });
    app.post("/v1/auth/refresh", &refresh).await.refused(401, "invalid_refresh_token");
    let login = json!({ "identifier": "jisoo", "password": PASSWORD });
    app.post("/v1/auth/login", &login).await.refused(403, "account_disabled");
    let again = admin.post(&format!("{path}/suspend"), &because("spam")).await.json(200);
    assert_eq!(again["suspended_at"], suspended["suspended_at"]);
    let details = admin.get(&path).await.json(200);
    assert_eq!((&details["status"], &details["sessions"]), (&json!("suspended"), &json!([])));
    assert_eq!(found(&admin, "q=jisoo").await, ["jisoo"]);

    let restored = admin.post(&format!("{path}/restore"), &because("a mistake")).await.json(200);

    assert_eq!((&restored["status"], &restored["suspended_at"]), (&json!("active"), &Value::Null));
    jisoo.get("/users/profile").await.refused(401, "unauthenticated");
    let jisoo = app.login("jisoo", PASSWORD).await;
    jisoo.get("/users/profile").await.is(200);
    jisoo.socket().await.hello(&["me"]).await;
    admin.post(&format!("{path}/restore"), &because("again")).await.is(200);
    let audit = admin.get(&format!("/admin/audit?target=user:{}", jisoo.id)).await.json(200);
    let actions = pluck(audit["items"].as_array().unwrap(), "action");
    assert_eq!(actions, ["user_restored", "user_suspended"]);
    assert_eq!(audit["items"][1]["reason"], "spam");
}

async fn sessions_of_others_are_ended(app: &mut TestApp) {
    let admin = app.administrator("gwanri").await;
    let jisoo = app.register("jisoo").await;
    let others = [app.login("jisoo", PASSWORD).await, app.login("jisoo", PASSWORD).await];
    let path = format!("/admin/users/{}/sessions", jisoo.id);
    let one = format!("{path}/{}", jisoo.session);
    let mut socket = jisoo.socket().await;
    socket.hello(&["me"]).await;

    admin.delete_with(&one, &because("a lost phone")).await.is(204);

    assert_eq!(socket.closed().await, Some(4202));
    jisoo.get("/users/profile").await.refused(401, "unauthenticated");
    others[0].get("/users/profile").await.is(200);
    let again = admin.delete_with(&one, &because("a lost phone")).await;
    again.refused(404, "session_not_found");
    let strange = format!("{path}/{}", admin.session);
    admin.delete_with(&strange, &because("x")).await.refused(404, "session_not_found");
    let ended = admin.delete_with(&path, &because("all of them")).await.json(200);
    assert_eq!(ended["ended"], 2);
    for other in &others {
        other.get("/users/profile").await.refused(401, "unauthenticated");
    }
    assert_eq!(admin.delete_with(&path, &because("again")).await.json(200)["ended"], 0);
    admin.get("/users/profile").await.is(200);
}

async fn a_role_that_is_taken_away_counts_at_once(app: &mut TestApp) {
    let admin = app.administrator("gwanri").await;
    let jisoo = app.register("jisoo").await;
    let path = format!("/admin/users/{}/roles", jisoo.id);
    let roles = |roles: &[&str]| json!({ "roles": roles, "reason": "a new task" });
    admin.put(&path, &roles(&["KING"])).await.refused(422, "invalid_body");

    let given = admin.put(&path, &roles(&["ADMIN", "MODERATOR"])).await.json(200);

    assert_eq!(given["roles"], json!(["USER", "MODERATOR", "ADMIN"]));
    // It counts from the next token on; nobody is logged out for it.
    jisoo.get("/admin/users").await.refused(403, "forbidden");
    let fresh = json!({ "refresh_token": jisoo.refresh });
    let fresh = app.post("/v1/auth/refresh", &fresh).await.json(200);
    let jisoo = jisoo.with_token(fresh["access_token"].as_str().unwrap());
    jisoo.get("/admin/users").await.is(200);

    let taken = admin.put(&path, &roles(&["MODERATOR"])).await.json(200);

    assert_eq!(taken["roles"], json!(["USER", "MODERATOR"]));
    jisoo.get("/admin/users").await.refused(401, "unauthenticated");
    let jisoo = app.login("jisoo", PASSWORD).await;
    jisoo.get("/admin/users").await.refused(403, "forbidden");
    // What they are already changes nothing.
    admin.put(&path, &roles(&["MODERATOR"])).await.is(200);
    jisoo.get("/users/profile").await.is(200);
}

async fn nobody_decides_about_themselves_and_of_two_one_is_left(app: &mut TestApp) {
    let (one, two) = (app.administrator("gwanri").await, app.administrator("dokki").await);
    let own = format!("/admin/users/{}", one.id);
    let roles = json!({ "roles": ["USER"], "reason": "tired" });
    one.put(&format!("{own}/roles"), &roles).await.refused(403, "own_decision");
    for what in ["suspend", "restore"] {
        let refused = one.post(&format!("{own}/{what}"), &because("tired")).await;
        refused.refused(403, "own_decision");
    }
    let password = json!({ "password": PASSWORD });
    let leaving = one.request(Method::DELETE, "/users/account").json(&password);
    Answer::of(leaving).await.refused(403, "own_decision");
    let nobody = format!("/admin/users/{}/suspend", Uuid::now_v7());
    one.post(&nobody, &because("x")).await.refused(404, "user_not_found");

    let suspend = async |by: &User, whom: &User| {
        by.post(&format!("/admin/users/{}/suspend", whom.id), &because("a quarrel")).await.status
    };
    let statuses = join!(suspend(&one, &two), suspend(&two, &one));

    // The later one is no administrator any more by then, or not even heard.
    let (done, refused) = if statuses.0 == 200 { statuses } else { (statuses.1, statuses.0) };
    assert_eq!(done, 200, "{statuses:?}");
    assert!([401, 403].contains(&refused), "{statuses:?}");
    let left = "SELECT COUNT(*) FROM users WHERE disabled_at IS NULL";
    assert_eq!(app.count(left).await, 1);
}

async fn only_administrators_are_let_near(app: &mut TestApp) {
    let (jisoo, minho) = (app.register("jisoo").await, app.register("minho").await);
    let path = format!("/admin/users/{}", minho.id);
    for read in ["/admin/users", &path, "/admin/audit"] {
        jisoo.get(read).await.refused(403, "forbidden");
        app.get(&format!("/v1{read}")).await.refused(401, "unauthenticated");
    }
    for change in ["suspend", "restore"] {
        let refused = jisoo.post(&format!("{path}/{change}"), &because("x")).await;
        refused.refused(403, "forbidden");
    }
    let roles = json!({ "roles": ["ADMIN"], "reason": "x" });
    jisoo.put(&format!("{path}/roles"), &roles).await.refused(403, "forbidden");
    jisoo.delete_with(&format!("{path}/sessions"), &because("x")).await.refused(403, "forbidden");
    let own = format!("{path}/sessions/{}", minho.session);
    jisoo.delete_with(&own, &because("x")).await.refused(403, "forbidden");
    minho.get("/users/profile").await.is(200);
}

async fn everything_is_in_one_audit(app: &mut TestApp) {
    let (admin, other) = (app.administrator("gwanri").await, app.administrator("dokki").await);
    let jisoo = app.register("jisoo").await;
    let user = format!("/admin/users/{}", jisoo.id);
    let freeze = format!("/admin/payments/wallets/{}/freeze", jisoo.id);
    admin.put(&freeze, &because("odd")).await.is(204);
    other.post(&format!("{user}/suspend"), &because("odder")).await.is(200);
    let audit = async |query: &str| {
        let page = admin.get(&format!("/admin/audit?{query}")).await.json(200);
        page["items"].as_array().unwrap().clone()
    };

    let all = audit("").await;

    assert_eq!(pluck(&all, "action"), ["user_suspended", "wallet_frozen"]);
    assert_eq!(pluck(&all, "area"), ["people", "money"]);
    assert_eq!(all[0]["after"]["status"], "suspended");
    assert_eq!(audit(&format!("by={}", other.id)).await, all[..1]);
    assert_eq!(audit(&format!("target=wallet:{}", jisoo.id)).await, all[1..]);
    assert_eq!(audit("area=people").await, all[..1]);
    assert_eq!(audit("limit=1").await, all[..1]);
    admin.get("/admin/audit?area=weather").await.refused(422, "invalid_input");
    // What is about money alone stays so.
    let money = admin.get("/admin/payments/audit").await.json(200);
    assert_eq!(pluck(money["items"].as_array().unwrap(), "action"), ["wallet_frozen"]);
    eventually("it is told", async || {
        let told = "SELECT COUNT(*) FROM outbox WHERE name = 'UserSuspended'";
        (app.count(told).await == 1).then_some(())
    })
    .await;
}
