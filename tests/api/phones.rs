//! Telephone numbers: a code goes there and comes back, a few times a day, and a number has one owner.

use serde_json::{Value, json};

use crate::answer::Answer;
use crate::app::{TestApp, eventually};
use crate::both::Settings;
use crate::rows;
use crate::user::User;

const NUMBER: &str = "+821012345678";
const MANY_CODES: Settings = &[("MADANG__PHONES__CODES_PER_DAY", "100")];

on_both_databases!(with super::MANY_CODES;
    a_code_that_comes_back_proves_a_number,
    a_code_is_good_for_five_tries,
    a_number_stays_until_another_one_is_proven,
    whoever_proves_a_number_last_has_it,
);
on_both_databases!(codes_of_a_day_are_counted_by_number_and_by_user, what_is_no_number_is_refused);

async fn ask(user: &User, number: &str) -> Answer {
    user.put("/users/phone", &json!({ "number": number })).await
}

async fn bring(user: &User, code: &str) -> Answer {
    user.post("/users/phone/verify", &json!({ "code": code })).await
}

/// The text messages that carry codes, the oldest first, once all of them were sent.
async fn letters(app: &TestApp) -> Vec<Value> {
    eventually("every code is sent", async || {
        let waiting = "SELECT kind FROM deliveries WHERE medium = 'sms' AND status = 'queued'";
        rows::texts(app, waiting).await.is_empty().then_some(())
    })
    .await;
    let shown = app.get("/v1/dev/outbox?medium=sms&limit=50").await.json(200);
    shown["items"].as_array().unwrap().iter().rev().cloned().collect()
}

/// The code that was sent last.
async fn last_code(app: &TestApp) -> String {
    code_in(letters(app).await.last().unwrap())
}

fn code_in(letter: &Value) -> String {
    let text = letter["text"].as_str().unwrap();
    let mut words = text.split(|c: char| !c.is_ascii_digit());
    words.find(|word| word.len() == 6).expect("six digits").to_owned()
}

fn another(code: &str) -> String {
    let last = if code.ends_with('0') { '1' } else { '0' };
    format!("{}{last}", &code[..5])
}

async fn a_code_that_comes_back_proves_a_number(app: &mut TestApp) {
    let (jisoo, minho) = (app.register("jisoo").await, app.register("minho").await);
    let nothing = json!({ "number": null, "pending_number": null });
    assert_eq!(jisoo.get("/users/phone").await.json(200), nothing);
    bring(&jisoo, "123456").await.refused(422, "invalid_code");

    let asked = ask(&jisoo, " +82 (10) 1234-5678 ").await.json(202);
    assert_eq!(asked, json!({ "number": null, "pending_number": NUMBER }));
    let letters = letters(app).await;
    assert_eq!((letters.len(), &letters[0]["to"]), (1, &json!(NUMBER)));
    let code = last_code(app).await;
    assert!(!asked.to_string().contains(&code), "it goes to the number and nowhere else");
    bring(&minho, &code).await.refused(422, "invalid_code");
    for wrong in [&another(&code), "12345", "1234567", "abcdef", ""] {
        bring(&jisoo, wrong).await.refused(422, "invalid_code");
    }

    let proven = json!({ "number": NUMBER, "pending_number": null });
    assert_eq!(bring(&jisoo, &code).await.json(200), proven);
    bring(&jisoo, &code).await.refused(422, "invalid_code");
    assert_eq!(jisoo.get("/users/phone").await.json(200), proven);

    jisoo.delete("/users/phone").await.is(204);
    jisoo.delete("/users/phone").await.is(204);
    assert_eq!(jisoo.get("/users/phone").await.json(200), nothing);
    let told = rows::texts(app, "SELECT name FROM outbox WHERE name LIKE 'UserPhone%' ORDER BY id");
    assert_eq!(told.await, ["UserPhoneVerified", "UserPhoneRemoved"]);
}

async fn a_code_is_good_for_five_tries(app: &mut TestApp) {
    let jisoo = app.register("jisoo").await;
    ask(&jisoo, NUMBER).await.is(202);
    let code = last_code(app).await;
    for _ in 0..3 {
        bring(&jisoo, &another(&code)).await.refused(422, "invalid_code");
    }
    let mut waits = 0;
    for _ in 3..5 {
        // The next try has to wait; how long, it is told.
        let answer = eventually("the wait is over", async || {
            let answer = bring(&jisoo, &another(&code)).await;
            if answer.status == 429 {
                answer.refused(429, "code_backoff");
                assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
                waits += 1;
                return None;
            }
            Some(answer)
        });
        answer.await.refused(422, "invalid_code");
    }
    assert!(waits > 0, "nobody had to wait");
    bring(&jisoo, &code).await.refused(422, "invalid_code");

    ask(&jisoo, NUMBER).await.is(202);
    bring(&jisoo, &last_code(app).await).await.is(200);
}

async fn a_number_stays_until_another_one_is_proven(app: &mut TestApp) {
    let other = "+14155550123";
    let jisoo = app.register("jisoo").await;
    ask(&jisoo, NUMBER).await.is(202);
    bring(&jisoo, &last_code(app).await).await.is(200);

    let asked = ask(&jisoo, other).await.json(202);
    assert_eq!(asked, json!({ "number": NUMBER, "pending_number": other }));
    let old = last_code(app).await;
    ask(&jisoo, "+14155550199").await.is(202);
    if old != last_code(app).await {
        bring(&jisoo, &old).await.refused(422, "invalid_code");
    }
    ask(&jisoo, other).await.is(202);
    let proven = bring(&jisoo, &last_code(app).await).await.json(200);
    assert_eq!(proven, json!({ "number": other, "pending_number": null }));
}

async fn whoever_proves_a_number_last_has_it(app: &mut TestApp) {
    let (jisoo, minho) = (app.register("jisoo").await, app.register("minho").await);
    ask(&jisoo, NUMBER).await.is(202);
    bring(&jisoo, &last_code(app).await).await.is(200);

    // The answer is the same as for a number that nobody has.
    assert_eq!(ask(&minho, NUMBER).await.json(202)["pending_number"], NUMBER);
    assert_eq!(jisoo.get("/users/phone").await.json(200)["number"], NUMBER);
    bring(&minho, &last_code(app).await).await.is(200);

    assert_eq!(minho.get("/users/phone").await.json(200)["number"], NUMBER);
    assert_eq!(jisoo.get("/users/phone").await.json(200)["number"], Value::Null);
}

async fn codes_of_a_day_are_counted_by_number_and_by_user(app: &mut TestApp) {
    let (jisoo, minho) = (app.register("jisoo").await, app.register("minho").await);
    // A code that is replaced before it was sent is not sent.
    let ask_and_wait = async |user: &User, number: &str| {
        ask(user, number).await.is(202);
        letters(app).await;
    };
    for number in ["+14155550100", "+14155550101", NUMBER, NUMBER, NUMBER] {
        ask_and_wait(&jisoo, number).await;
    }
    let refused = ask(&jisoo, "+14155550102").await;
    refused.refused(429, "too_many_codes");
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((80_000..=86_400).contains(&wait), "{wait}");

    for _ in 0..2 {
        ask_and_wait(&minho, NUMBER).await;
    }
    ask(&minho, NUMBER).await.refused(429, "too_many_codes");
    // What was refused does not count.
    for _ in 0..3 {
        ask_and_wait(&minho, "+14155550103").await;
    }
    ask(&minho, "+14155550104").await.refused(429, "too_many_codes");
    assert_eq!(letters(app).await.len(), 10);
}

async fn what_is_no_number_is_refused(app: &mut TestApp) {
    let jisoo = app.register("jisoo").await;
    for number in ["", "010-1234-5678", "+0101234567", "+82", "+8210123456789012", "mine"] {
        let problem = ask(&jisoo, number).await.refused(422, "invalid_phone_number");
        assert_eq!(problem["errors"][0]["pointer"], "/number");
    }
    assert_eq!(letters(app).await.len(), 0);
    app.get("/v1/users/phone").await.refused(401, "unauthenticated");
}
