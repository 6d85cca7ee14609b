//! What is asked of the HTTP sink: text messages, push messages, tokens and events, each in the form of whoever asks.

use std::collections::HashMap;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use uuid::Uuid;

use super::ledger::{Given, Medium, Subject};
use super::people;

/// Where webhooks go.
pub const HOOK: &str = "/hook";

/// A request as far as it matters here.
#[derive(Debug, Default)]
pub struct Request {
    method: String,
    pub path: String,
    /// By their names in small letters.
    headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

/// What somebody wants.
#[derive(Debug, PartialEq, Eq)]
pub enum Wish {
    /// A token for FCM.
    Token,
    Letter(Given),
}

impl Request {
    pub fn parse(head: &str) -> anyhow::Result<Self> {
        let mut lines = head.trim_end().split("\r\n");
        let mut words = lines.next().unwrap_or_default().split(' ');
        let (method, path) = words.next().zip(words.next()).context("a request without a path")?;
        let headers = lines.map(|line| {
            let (name, value) =
                line.split_once(':').with_context(|| format!("{line:?} is no header"))?;
            Ok((name.to_ascii_lowercase(), value.trim().to_owned()))
        });
        Ok(Self {
            method: method.to_owned(),
            path: path.to_owned(),
            headers: headers.collect::<anyhow::Result<_>>()?,
            body: Vec::new(),
        })
    }

    pub fn header(&self, name: &str) -> anyhow::Result<&str> {
        let value = self.headers.get(name).with_context(|| format!("a request without {name}"))?;
        Ok(value)
    }

    pub fn wish(&self) -> anyhow::Result<Wish> {
        ensure!(self.method == "POST", "{} instead of POST", self.method);
        if self.path == "/token" {
            return Ok(Wish::Token);
        }
        let body: Value = serde_json::from_slice(&self.body).context("a body that is no JSON")?;
        if self.path == HOOK {
            return self.event(&body).map(Wish::Letter);
        }
        if let Some(number) = self.path.strip_prefix("/sms/") {
            return self.text_message(&body, node(Some(number))).map(Wish::Letter);
        }
        let number = self.path.strip_prefix("/fcm/").and_then(|path| path.split('/').next());
        ensure!(number.is_some() && self.path.ends_with("/messages:send"), "nobody is here");
        self.push_message(&body, node(number)).map(Wish::Letter)
    }

    fn text_message(&self, body: &Value, node: Option<usize>) -> anyhow::Result<Given> {
        let id = id(&body["id"])?;
        ensure!(
            self.header("idempotency-key")? == id.to_string(),
            "an idempotency key that is not the letter's id"
        );
        let (user, sending) =
            (text(&body["to"], people::of_phone), text(&body["text"], people::of_title));
        Ok(Given { subject: subject(Medium::Sms, user, sending), id, node, told: Vec::new() })
    }

    fn push_message(&self, body: &Value, node: Option<usize>) -> anyhow::Result<Given> {
        ensure!(self.header("authorization")? == "Bearer bench", "a token that nobody has issued");
        let message = &body["message"];
        let id = id(&message["data"]["madang_id"])?;
        let user = text(&message["token"], people::of_device);
        let sending = text(&message["notification"]["title"], people::of_title);
        Ok(Given { subject: subject(Medium::Push, user, sending), id, node, told: Vec::new() })
    }

    /// An event, which says whom it tells of; only those of the run's own kind matter.
    fn event(&self, body: &Value) -> anyhow::Result<Given> {
        let id =
            Uuid::parse_str(self.header("webhook-id")?).context("a webhook-id that is none")?;
        ensure!(
            self.header("webhook-signature")?.starts_with("v1,"),
            "an event without a signature"
        );
        if body["data"]["type"].as_str() != Some(people::KIND) {
            let subject = Subject::Other(Medium::Webhook);
            return Ok(Given { subject, id, node: None, told: Vec::new() });
        }
        let event = body["id"].as_str().context("an event without an id")?;
        let told = body["data"]["notifications"].as_array().context("an event about nobody")?;
        let told = told.iter().map(|notification| self::id(&notification["id"]));
        Ok(Given {
            subject: Subject::Event(event.to_owned()),
            id,
            node: None,
            told: told.collect::<anyhow::Result<_>>()?,
        })
    }
}

fn id(value: &Value) -> anyhow::Result<Uuid> {
    let id = value.as_str().context("a letter without an id")?;
    Uuid::parse_str(id).context("an id that is none")
}

fn text<T>(value: &Value, read: impl Fn(&str) -> Option<T>) -> Option<T> {
    value.as_str().and_then(read)
}

fn subject(medium: Medium, user: Option<usize>, sending: Option<u32>) -> Subject {
    match user.zip(sending) {
        Some((user, sending)) => Subject::Sending { medium, user, sending },
        None => Subject::Other(medium),
    }
}

/// The place of the node that calls itself by this number.
pub fn node(number: Option<&str>) -> Option<usize> {
    number?.parse::<usize>().ok()?.checked_sub(1)
}
