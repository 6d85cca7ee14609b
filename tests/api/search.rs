//! Finding people: by handle and name, in Korean as it is typed, page by page, and not those who do not want it.

use serde_json::{Value, json};

use crate::answer::Answer;
use crate::app::{PASSWORD, TestApp, eventually};
use crate::rows;
use crate::user::{User, pluck};

on_both_databases!(
    people_are_found_by_the_beginning_of_any_word,
    korean_names_are_found_while_they_are_typed,
    a_handle_comes_first_and_everybody_once,
    pages_skip_and_repeat_nobody_while_people_come_and_go,
    whoever_does_not_want_it_is_not_found,
    neither_of_two_finds_the_other_past_a_block,
    a_new_name_takes_the_place_of_the_old_one,
    whoever_was_there_before_the_search_is_found,
    what_cannot_be_looked_for_is_refused,
);

async fn register(app: &TestApp, handle: &str, display_name: &str) -> User {
    let body = json!({
        "handle": handle, "email": format!("{handle}@example.com"), "password": PASSWORD,
        "display_name": display_name,
    });
    User::new(app, &app.post("/v1/auth/register", &body).await.json(201))
}

async fn page(user: &User, query: &[(&str, &str)]) -> Value {
    let pairs = query.iter().map(|(name, value)| format!("{name}={}", in_query(value)));
    let pairs: Vec<String> = pairs.collect();
    user.get(&format!("/users/search?{}", pairs.join("&"))).await.json(200)
}

fn in_query(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// The handles of those who are found.
async fn found(user: &User, typed: &str) -> Vec<String> {
    let page = page(user, &[("q", typed)]).await;
    assert_eq!(page["next_cursor"], Value::Null);
    handles(&page)
}

fn handles(page: &Value) -> Vec<String> {
    let handles = pluck(page["items"].as_array().unwrap(), "handle");
    handles.iter().map(|handle| handle.as_str().unwrap().to_owned()).collect()
}

async fn people_are_found_by_the_beginning_of_any_word(app: &mut TestApp) {
    let caller = app.register("caller").await;
    register(app, "mk", "Min Kim (Seoul)").await;
    register(app, "wide", "Ｔａｎａｋａ　Ｋｅｎ").await;
    register(app, "under_score", "x").await;

    for (typed, handle) in [
        ("min", "mk"),
        ("MIN K", "mk"),
        ("kim", "mk"),
        ("seo", "mk"),
        ("tanaka ken", "wide"),
        ("ｋｅ", "wide"),
        ("@under", "under_score"),
        ("score", "under_score"),
        ("under_sc", "under_score"),
    ] {
        assert_eq!(found(&caller, typed).await, [handle], "{typed}");
    }
    for typed in ["im", "kimm", "anaka", "100%", "kim%20"] {
        assert_eq!(found(&caller, typed).await, [""; 0], "{typed}");
    }
    let one = &page(&caller, &[("q", "kim")]).await["items"][0];
    assert_eq!(one["display_name"], "Min Kim (Seoul)");
    assert_eq!((&one["avatar"], &one["avatar_sizes"]), (&Value::Null, &Value::Null));
    assert_eq!(one.as_object().unwrap().len(), 5, "{one}");
}

async fn korean_names_are_found_while_they_are_typed(app: &mut TestApp) {
    let caller = app.register("caller").await;
    register(app, "hong", "홍길동").await;
    register(app, "kim", "김 하늘").await;
    register(app, "한지수", "x").await;

    for typed in
        ["호", "홍", "홍ㄱ", "홍기", "홍길", "홍길도", "홍길동", "ㅎㄱㄷ", "ㅎㄱ", "길동", "ㄱㄷ"]
    {
        assert_eq!(found(&caller, typed).await, ["hong"], "{typed}");
    }
    for typed in ["김", "하늘", "김하", "김 하늘", "ㄱㅎㄴ"] {
        assert_eq!(found(&caller, typed).await, ["kim"], "{typed}");
    }
    assert_eq!(found(&caller, "한지").await, ["한지수"]);
    assert_eq!(found(&caller, "ㅎㅈㅅ").await, ["한지수"]);
    assert_eq!(found(&caller, "동").await, [""; 0]);
}

async fn a_handle_comes_first_and_everybody_once(app: &mut TestApp) {
    let caller = app.register("kim").await;
    register(app, "minkim", "Kim Kim").await;
    register(app, "ki_m", "A").await;
    register(app, "kimchi", "Kimchi Kim").await;
    register(app, "later", "Kim Later").await;
    register(app, "ki.m", "Kim").await;

    assert_eq!(found(&caller, "ki.m").await[0], "ki.m");
    assert_eq!(found(&caller, "KI_M").await[0], "ki_m");
    let mut all = found(&caller, "kim").await;
    all.sort();
    assert_eq!(all, ["ki.m", "ki_m", "kimchi", "later", "minkim"], "each once, oneself not");

    let first = page(&caller, &[("q", "ki.m"), ("limit", "1")]).await;
    assert_eq!(handles(&first), ["ki.m"]);
    let next = first["next_cursor"].as_str().unwrap();
    let rest = page(&caller, &[("q", "ki.m"), ("cursor", next)]).await;
    assert_eq!(rest["items"].as_array().unwrap().len(), 4);
    assert!(!handles(&rest).contains(&"ki.m".to_owned()));
}

async fn pages_skip_and_repeat_nobody_while_people_come_and_go(app: &mut TestApp) {
    let caller = app.register("caller").await;
    let mut people = Vec::new();
    for number in 0..23 {
        people.push(register(app, &format!("p{number:02}"), &format!("Sana {}", number % 3)).await);
    }
    let mut seen = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let mut query = vec![("q", "sana"), ("limit", "4")];
        query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
        let page = page(&caller, &query).await;
        let shown = handles(&page);
        // Who was shown goes or comes back elsewhere, and somebody new comes.
        let number = people.len() + seen.len();
        let gone = shown.iter().find_map(|handle| handle.strip_prefix('p')?.parse::<usize>().ok());
        if let Some(gone) = gone {
            let change = json!({ "display_name": "Somebody" });
            people[gone].put("/users/profile", &change).await.is(200);
        }
        register(app, &format!("new{number}"), "Sana 0").await;
        seen.extend(shown);
        cursor = page["next_cursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            break;
        }
    }

    seen.retain(|handle| handle.starts_with('p'));
    let times = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!((seen.len(), times), (23, 23));
}

async fn whoever_does_not_want_it_is_not_found(app: &mut TestApp) {
    let caller = app.register("caller").await;
    let jisoo = register(app, "jisoo", "홍지수").await;
    register(app, "jiso", "Ji").await;
    assert_eq!(found(&caller, "jiso").await, ["jiso", "jisoo"]);

    jisoo.patch("/users/settings", &json!({ "findable": false })).await.is(200);
    assert_eq!(found(&caller, "jiso").await, ["jiso"]);
    assert_eq!(found(&caller, "jisoo").await, [""; 0], "not by the handle either");

    jisoo.patch("/users/settings", &json!({ "findable": true })).await.is(200);
    assert_eq!(found(&caller, "홍지수").await, ["jisoo"]);

    let leaving = jisoo.request(reqwest::Method::DELETE, "/users/account");
    let body = json!({ "password": PASSWORD });
    Answer::of(leaving.json(&body)).await.is(204);
    for typed in ["홍지수", "jisoo", "deleted"] {
        assert_eq!(found(&caller, typed).await, [""; 0], "{typed}");
    }
    let left = "SELECT word FROM user_names WHERE word LIKE 'jisoo%' OR word LIKE 'deleted%'";
    assert_eq!(rows::texts(app, left).await, [""; 0]);
}

async fn neither_of_two_finds_the_other_past_a_block(app: &mut TestApp) {
    let (jisoo, minho) = (app.register("jisoo").await, app.register("minho").await);
    assert_eq!(found(&minho, "jis").await, ["jisoo"]);
    jisoo.post("/friends/block", &json!({ "user_id": minho.id })).await.is(200);

    // Neither by the beginning of a word nor by the handle.
    for (searching, typed) in
        [(&minho, "jis"), (&minho, "jisoo"), (&jisoo, "min"), (&jisoo, "minho")]
    {
        assert_eq!(found(searching, typed).await, [""; 0], "{typed}");
    }
    jisoo.delete(&format!("/friends/unblock/{}", minho.id)).await.is(200);
    assert_eq!(found(&minho, "jis").await, ["jisoo"]);
}

async fn a_new_name_takes_the_place_of_the_old_one(app: &mut TestApp) {
    let caller = app.register("caller").await;
    let jisoo = register(app, "jisoo", "홍지수").await;

    jisoo.put("/users/profile", &json!({ "display_name": "Lee Jisoo" })).await.is(200);

    assert_eq!(found(&caller, "홍").await, [""; 0]);
    assert_eq!(found(&caller, "lee").await, ["jisoo"]);
    assert_eq!(found(&caller, "jis").await, ["jisoo"]);
}

async fn whoever_was_there_before_the_search_is_found(app: &mut TestApp) {
    let caller = app.register("caller").await;
    register(app, "old", "옛사람").await;
    register(app, "renamed", "Before").await;
    register(app, "disabled", "막힌사람").await;
    app.kill();
    // As a release without a search leaves them: one without words, one whose words are of another name.
    rows::change(app, "DELETE FROM user_names").await;
    rows::change(app, "UPDATE users SET named_as = NULL WHERE handle <> 'renamed'").await;
    rows::change(app, "UPDATE users SET display_name = 'After' WHERE handle = 'renamed'").await;
    rows::change(app, "UPDATE users SET disabled_at = 1 WHERE handle = 'disabled'").await;

    app.start_again().await;

    let caller = caller.at(app);
    eventually("the old one is found", async || {
        (found(&caller, "옛사").await == ["old"]).then_some(())
    })
    .await;
    eventually("the new name is found", async || {
        (found(&caller, "after").await == ["renamed"]).then_some(())
    })
    .await;
    assert_eq!(found(&caller, "before").await, [""; 0]);
    assert_eq!(found(&caller, "막힌").await, [""; 0]);
    assert_eq!(found(&caller, "disabled").await, [""; 0]);
}

async fn what_cannot_be_looked_for_is_refused(app: &mut TestApp) {
    let caller = app.register("caller").await;
    for typed in ["", "%20", "%F0%9F%8E%89", "---", &"a".repeat(401)] {
        let answer = caller.get(&format!("/users/search?q={typed}")).await;
        let problem = answer.refused(422, "invalid_input");
        assert_eq!(problem["errors"][0]["code"], "invalid_search", "{typed}");
    }
    caller.get("/users/search").await.refused(422, "invalid_query");
    caller.get("/users/search?q=a&name=b").await.refused(422, "invalid_query");
    caller.get("/users/search?q=a&cursor=7").await.refused(422, "invalid_input");

    for number in 0..3 {
        register(app, &format!("min{number}"), "x").await;
    }
    let first = page(&caller, &[("q", "min"), ("limit", "2")]).await;
    let cursor = first["next_cursor"].as_str().unwrap();
    caller.get(&format!("/users/search?q=kim&cursor={cursor}")).await.refused(422, "invalid_input");
    assert_eq!(handles(&page(&caller, &[("q", "min"), ("cursor", cursor)]).await), ["min2"]);
    app.get("/v1/users/search?q=min").await.refused(401, "unauthenticated");
}
