//! The few REST calls of madang that set a scene: people and rooms.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};

use crate::socket::Seat;

/// People a scene has. Hashing a password is meant to be slow, so each of them opens many connections.
pub const PEOPLE: usize = 20;

/// A request to send that is not answered by then is repeated.
const SEND_LIMIT: Duration = Duration::from_secs(10);

#[derive(Debug, Clone)]
pub struct Person {
    pub id: String,
    pub token: Rc<str>,
}

#[derive(Debug, Clone)]
pub struct Api {
    http: Client,
    address: SocketAddr,
}

impl Api {
    pub fn new(address: SocketAddr) -> anyhow::Result<Self> {
        Ok(Self { http: Client::builder().no_proxy().build()?, address })
    }

    /// Registers the `count` people of a scene.
    pub async fn register(&self, count: usize) -> anyhow::Result<Vec<Person>> {
        let mut people = Vec::with_capacity(count);
        for number in 0..count {
            let answer = self.post("/v1/auth/register", None).json(&json!({
                "handle": format!("bench{number:03}"),
                "email": format!("bench{number:03}@example.com"),
                "password": "courtyard-load-7f3a9c21-evening",
                "display_name": format!("Bench {number}"),
            }));
            let answer = created(answer).await.context("register")?;
            people.push(Person {
                id: text(&answer, "/user/id")?,
                token: text(&answer, "/access_token")?.into(),
            });
        }
        Ok(people)
    }

    /// Logs somebody in who has an account.
    pub async fn log_in(&self, handle: &str, password: &str) -> anyhow::Result<Person> {
        let body = json!({ "identifier": handle, "password": password });
        let answer = answered(self.post("/v1/auth/login", None).json(&body), 200);
        let answer = answer.await.context("log in")?;
        Ok(Person { id: text(&answer, "/user/id")?, token: text(&answer, "/access_token")?.into() })
    }

    /// Makes an endpoint for the events of `topic`.
    pub async fn create_webhook(
        &self,
        admin: &Person,
        url: &str,
        topic: &str,
    ) -> anyhow::Result<()> {
        let body = json!({ "url": url, "events": [topic] });
        created(self.post("/v1/webhooks", Some(admin)).json(&body))
            .await
            .context("make a webhook")?;
        Ok(())
    }

    /// Writes what a notification of this `kind` says in English; `data` is an example of what it brings along.
    pub async fn write_template(
        &self,
        admin: &Person,
        kind: &str,
        words: &Value,
        data: &Value,
    ) -> anyhow::Result<()> {
        let address = self.address;
        let request = self.http.put(format!("http://{address}/v1/admin/templates/{kind}/en"));
        let request = request.bearer_auth(&admin.token);
        let body = json!({ "parts": words, "data": data });
        created(request.json(&body)).await.context("write a template")?;
        Ok(())
    }

    /// Has users notified; the same `key` is the same sending. Gives the sending's id.
    pub async fn send_notification(
        &self,
        sender: &Person,
        key: &str,
        body: &Value,
    ) -> anyhow::Result<String> {
        let request = self.post("/v1/notifications/send", Some(sender));
        let request = request.header("Idempotency-Key", key).timeout(SEND_LIMIT).json(body);
        text(&answered(request, 202).await?, "/id")
    }

    /// Creates a private group of `owner` and `others`; gives its id.
    pub async fn create_room(
        &self,
        name: &str,
        owner: &Person,
        others: &[&Person],
    ) -> anyhow::Result<String> {
        let members: Vec<_> =
            others.iter().map(|person| &person.id).filter(|id| **id != owner.id).collect();
        let request = self.post("/v1/chat/rooms", Some(owner)).json(&json!({
            "kind": "group",
            "name": name,
            "member_ids": members,
            "visibility": "private",
        }));
        text(&created(request).await.context("create a room")?, "/id")
    }

    /// Creates so many rooms of all `people`; gives their channels.
    pub async fn create_rooms(
        &self,
        people: &[Person],
        count: usize,
    ) -> anyhow::Result<Vec<String>> {
        let everybody: Vec<_> = people.iter().collect();
        let mut channels = Vec::with_capacity(count);
        for (number, owner) in (0..count).zip(people.iter().cycle()) {
            let id = self.create_room(&format!("bench {number}"), owner, &everybody).await?;
            channels.push(format!("room:{id}"));
        }
        Ok(channels)
    }

    /// The request for the 50 messages before `seq`.
    pub fn history_before(&self, person: &Person, room: &str, seq: i64) -> RequestBuilder {
        let address = self.address;
        self.http
            .get(format!("http://{address}/v1/chat/rooms/{room}/messages?before={seq}&limit=50"))
            .bearer_auth(&person.token)
    }

    /// The request for the `limit` messages after `seq`.
    pub fn history_after(
        &self,
        person: &Person,
        room: &str,
        seq: i64,
        limit: i64,
    ) -> RequestBuilder {
        let address = self.address;
        self.http
            .get(format!(
                "http://{address}/v1/chat/rooms/{room}/messages?after={seq}&limit={limit}"
            ))
            .bearer_auth(&person.token)
    }

    /// The request that costs the server least: what HTTP itself takes.
    pub fn alive(&self) -> RequestBuilder {
        self.http.get(format!("http://{}/livez", self.address))
    }

    /// A socket of `person` that subscribes to `channels`.
    pub fn seat(&self, person: &Person, channels: Vec<String>) -> Seat {
        Seat {
            address: self.address,
            path: "/v1/chat/socket".to_owned(),
            token: Some(person.token.clone()),
            hello: Some(channels),
        }
    }

    fn post(&self, path: &str, caller: Option<&Person>) -> RequestBuilder {
        let request = self.http.post(format!("http://{}{path}", self.address));
        match caller {
            Some(person) => request.bearer_auth(&person.token),
            None => request,
        }
    }
}

async fn created(request: RequestBuilder) -> anyhow::Result<Value> {
    answered(request, 201).await
}

/// The answer's body, if its status is the one that is `expected`.
async fn answered(request: RequestBuilder, expected: u16) -> anyhow::Result<Value> {
    let answer = request.send().await?;
    let status = answer.status();
    let body = answer.text().await?;
    if status.as_u16() != expected {
        bail!("answered {status}: {body}");
    }
    Ok(serde_json::from_str(&body)?)
}

fn text(answer: &Value, pointer: &str) -> anyhow::Result<String> {
    let value = answer.pointer(pointer).and_then(Value::as_str);
    Ok(value.with_context(|| format!("no {pointer} in {answer}"))?.to_owned())
}
