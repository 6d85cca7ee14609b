//! CloudEvents: domain events as the rest of the world reads them (CloudEvents 1.0, JSON format).
//!
//! Invariant: the same event gives the same `id`, whoever carries it and however often; consumers drop repeats by it.

use serde::Serialize;
use serde_json::Value;

use super::ids::EventId;
use super::time::Timestamp;

const SPEC_VERSION: &str = "1.0";
const CONTENT_TYPE: &str = "application/json";

/// An event with the attributes of the specification; attributes that are `None` are left out, as it demands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CloudEvent<'a> {
    specversion: &'static str,
    id: EventId,
    source: &'a str,
    #[serde(rename = "type")]
    name: &'a str,
    subject: &'a str,
    time: Timestamp,
    datacontenttype: &'static str,
    /// Extension "partitioning": events with one key keep their order.
    partitionkey: &'a str,
    /// Extension "distributed tracing".
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'a str>,
    /// Our own extension: the request from which the event came.
    #[serde(skip_serializing_if = "Option::is_none")]
    requestid: Option<&'a str>,
    data: Value,
}

/// What is known of a domain event where it is kept.
#[derive(Debug, Clone, Copy)]
pub struct Fact<'a> {
    pub id: EventId,
    /// Its type, such as `UserRegistered`.
    pub name: &'a str,
    /// The aggregate it is about.
    pub subject: &'a str,
    pub at: Timestamp,
    pub request_id: Option<&'a str>,
    pub traceparent: Option<&'a str>,
    /// JSON.
    pub data: &'a str,
}

impl<'a> CloudEvent<'a> {
    /// Makes an event that the node called `source` passes on.
    #[must_use]
    pub fn new(fact: &Fact<'a>, source: &'a str) -> Self {
        Self {
            specversion: SPEC_VERSION,
            id: fact.id,
            source,
            name: fact.name,
            subject: fact.subject,
            time: fact.at,
            datacontenttype: CONTENT_TYPE,
            partitionkey: fact.subject,
            traceparent: fact.traceparent,
            requestid: fact.request_id,
            // Text that is no JSON would be a defect of ours: better passed on as it is than in everybody's way.
            data: serde_json::from_str(fact.data)
                .unwrap_or_else(|_| Value::String(fact.data.to_owned())),
        }
    }

    /// The event in the JSON format.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Texts, a time and a JSON value always have a JSON form.
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    const ID: &str = "0193a7c2-7c3b-7000-8000-000000000001";
    const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn fact() -> Fact<'static> {
        Fact {
            id: Uuid::try_parse(ID).unwrap().into(),
            name: "UserRegistered",
            subject: "jisoo",
            at: Timestamp::from_millis(1_795_244_400_000),
            request_id: Some("request-1"),
            traceparent: Some(TRACE),
            data: r#"{"user_id":"jisoo","tags":["a"]}"#,
        }
    }

    fn written(fact: &Fact<'_>) -> Value {
        serde_json::from_str(&CloudEvent::new(fact, "node-a").to_json()).unwrap()
    }

    #[test]
    fn an_event_has_the_attributes_of_the_specification() {
        assert_eq!(
            written(&fact()),
            json!({
                "specversion": "1.0",
                "id": ID,
                "source": "node-a",
                "type": "UserRegistered",
                "subject": "jisoo",
                "time": "2026-11-21T07:00:00.000Z",
                "datacontenttype": "application/json",
                "partitionkey": "jisoo",
                "traceparent": TRACE,
                "requestid": "request-1",
                "data": { "user_id": "jisoo", "tags": ["a"] },
            })
        );
    }

    #[test]
    fn what_is_not_known_is_left_out_and_not_null() {
        let event = written(&Fact { request_id: None, traceparent: None, ..fact() });

        assert!(event.get("traceparent").is_none() && event.get("requestid").is_none(), "{event}");
    }

    #[test]
    fn attributes_are_named_in_lower_case_letters_and_digits() {
        let event = written(&fact());
        let mut names = event.as_object().unwrap().keys();

        assert!(names.all(|name| {
            name.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit())
        }));
    }

    #[test]
    fn an_event_is_written_the_same_way_each_time() {
        let event = fact();

        assert_eq!(
            CloudEvent::new(&event, "node-a").to_json(),
            CloudEvent::new(&event, "node-a").to_json()
        );
    }

    #[test]
    fn data_that_is_no_json_is_passed_on_as_text() {
        assert_eq!(written(&Fact { data: "{half", ..fact() })["data"], "{half");
    }
}
