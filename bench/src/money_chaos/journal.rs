//! What was asked for and what was answered: every request with its key, and every answer that it got, also the repeats.

use std::fmt;
use std::rc::Rc;

use serde_json::Value;
use uuid::Uuid;

/// A request as it is sent, however often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The place of whoever sends it.
    pub account: usize,
    pub method: Method,
    pub path: String,
    /// What makes it take effect once; `None` where its path does.
    pub key: Option<String>,
    pub body: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Post,
    Put,
}

/// An answer as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    pub status: u16,
    pub text: String,
    /// Whether it says that it was given before.
    pub is_replayed: bool,
}

/// A request, and all that was answered to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub request: Rc<Request>,
    pub answers: Vec<Heard>,
}

/// Everything that was asked for, in the order in which it was.
#[derive(Debug, Default)]
pub struct Journal {
    pub entries: Vec<Entry>,
    /// Requests that were sent and of which nothing was heard.
    pub lost_answers: usize,
    /// Answers that say that nobody knows, or not now.
    pub put_off: usize,
}

/// What an answer promises.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Promise {
    /// A payment has begun.
    Begun { payment: Uuid, amount: i64 },
    /// All of it was taken.
    Captured { payment: Uuid, amount: i64 },
    /// Nothing is taken, or what was is given back.
    NotTaken { payment: Uuid },
    /// So much was given back.
    Refunded { payment: Uuid, refund: Uuid, amount: i64 },
    /// What was paid is earned.
    Released { payment: Uuid, gross: i64 },
    /// So much is to be paid out.
    Withdrawn { withdrawal: Uuid, amount: i64 },
    /// It is not paid out after all.
    WithdrawalCanceled { withdrawal: Uuid },
}

impl Journal {
    /// Notes that something is asked for; gives its place.
    pub fn ask(&mut self, request: Rc<Request>) -> usize {
        self.entries.push(Entry { request, answers: Vec::new() });
        self.entries.len() - 1
    }

    pub fn hear(&mut self, place: usize, heard: Heard) {
        if let Some(entry) = self.entries.get_mut(place) {
            entry.answers.push(heard);
        }
    }
}

impl Request {
    /// What is asked for, such as `confirm`.
    pub fn what(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    fn is_of_withdrawal(&self) -> bool {
        self.path.contains("/withdrawals/")
    }
}

impl Heard {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    /// Whether the same request is answered so for ever: it has come to its end.
    pub fn is_final(&self) -> bool {
        match self.status {
            200 | 201 | 402 | 410 | 422 => true,
            409 => !self.is_of_this_moment(),
            _ => false,
        }
    }

    /// Refused because something else is being done just now.
    pub fn is_of_this_moment(&self) -> bool {
        let code = self.code();
        self.status == 409
            && ["idempotency_key_in_use", "payment_under_way", "payment_key_in_use"]
                .contains(&code.as_str())
    }
}

impl Entry {
    /// What its answers promise; each of them, for each has to be kept.
    pub fn promises(&self) -> Vec<Promise> {
        self.answers.iter().filter_map(|answer| self.promise(answer)).collect()
    }

    fn promise(&self, answer: &Heard) -> Option<Promise> {
        let (body, request) = (answer.json(), &self.request);
        let id = |name: &str| body[name].as_str()?.parse::<Uuid>().ok();
        let sum = |name: &str| body[name].as_i64();
        let asked = || request.body["payment_id"].as_str()?.parse::<Uuid>().ok();
        Some(match (request.what(), answer.status) {
            ("create", 201) => {
                Promise::Begun { payment: id("payment_id")?, amount: sum("amount")? }
            }
            ("confirm" | "capture", 200) if body["captured"] != 0 => {
                Promise::Captured { payment: id("id")?, amount: sum("captured")? }
            }
            ("confirm" | "capture", 402 | 410) => Promise::NotTaken { payment: asked()? },
            ("confirm", 409) if answer.code() == "payment_conflicted" => {
                Promise::NotTaken { payment: asked()? }
            }
            ("cancel", 200) if request.is_of_withdrawal() => {
                Promise::WithdrawalCanceled { withdrawal: id("withdrawal_id")? }
            }
            ("cancel" | "refund", 200) => match &body["refund"] {
                Value::Object(refund) if refund["status"] == "succeeded" => Promise::Refunded {
                    payment: id("id")?,
                    refund: refund["id"].as_str()?.parse().ok()?,
                    amount: refund["amount"].as_i64()?,
                },
                Value::Object(_) => return None,
                _ => Promise::NotTaken { payment: id("id")? },
            },
            ("release", 200) => {
                Promise::Released { payment: id("payment_id")?, gross: sum("gross")? }
            }
            ("withdraw", 202) => {
                Promise::Withdrawn { withdrawal: id("withdrawal_id")?, amount: sum("amount")? }
            }
            _ => return None,
        })
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} under {:?}", self.path, self.key.as_deref().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ID: &str = "019f0000-0000-7000-8000-000000000001";

    fn promises(path: &str, status: u16, body: &Value) -> Vec<Promise> {
        let request = Request {
            account: 0,
            method: Method::Post,
            path: path.to_owned(),
            key: None,
            body: json!({ "payment_id": ID }),
        };
        let answers = vec![Heard { status, text: body.to_string(), is_replayed: false }];
        Entry { request: Rc::new(request), answers }.promises()
    }

    #[test]
    fn an_answer_promises_what_it_says_and_no_more() {
        let payment: Uuid = ID.parse().unwrap();
        let confirm = "/v1/payments/confirm";
        assert_eq!(
            promises(confirm, 200, &json!({ "id": ID, "captured": 700 })),
            [Promise::Captured { payment, amount: 700 }]
        );
        assert_eq!(promises(confirm, 402, &json!({})), [Promise::NotTaken { payment }]);
        for (status, body) in [
            (202, json!({ "id": ID, "captured": 700 })),
            (200, json!({ "id": ID, "captured": 0 })),
            (500, json!({ "id": ID, "captured": 700 })),
        ] {
            assert_eq!(promises(confirm, status, &body), [], "{status}");
        }
        let cancel = "/v1/payments/cancel";
        let body = |status: &str| {
            let refund = json!({ "id": ID, "amount": 5, "status": status });
            json!({ "id": ID, "refund": refund })
        };
        let refunded = Promise::Refunded { payment, refund: payment, amount: 5 };
        assert_eq!(promises(cancel, 200, &body("succeeded")), [refunded]);
        assert_eq!(promises(cancel, 200, &body("failed")), []);
        assert_eq!(promises(cancel, 200, &json!({ "id": ID })), [Promise::NotTaken { payment }]);
        let cancel = format!("/v1/payments/withdrawals/{ID}/cancel");
        let canceled = Promise::WithdrawalCanceled { withdrawal: payment };
        assert_eq!(promises(&cancel, 200, &json!({ "withdrawal_id": ID })), [canceled]);
    }

    #[test]
    fn what_nobody_knows_or_does_just_now_is_not_the_end() {
        let heard = |status, code: &str| Heard {
            status,
            text: json!({ "code": code }).to_string(),
            is_replayed: false,
        };
        for status in [200, 201, 402, 410, 422] {
            assert!(heard(status, "").is_final(), "{status}");
        }
        assert!(heard(409, "wrong_state").is_final());
        assert!(!heard(409, "idempotency_key_in_use").is_final());
        assert!(!heard(409, "payment_under_way").is_final());
        for status in [202, 401, 429, 500, 503] {
            assert!(!heard(status, "").is_final(), "{status}");
        }
    }
}
