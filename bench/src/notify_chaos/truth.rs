//! What the database says of inboxes and letters, and what is left to be done.

use std::collections::HashMap;
use std::fmt;

use serde_json::Value;
use uuid::Uuid;

use super::ledger::Medium;
use super::oracle::Promise;
use super::people::KIND;
use crate::database::{Database, rows};
use crate::residents::Residents;

/// The whole of it, when everything is over.
#[derive(Debug, Clone, Default)]
pub struct Truth {
    /// By the number of the user.
    pub inboxes: Vec<Inbox>,
    /// Letters of the run, to its people and to the webhook.
    pub letters: Vec<Letter>,
}

#[derive(Debug, Clone, Default)]
pub struct Inbox {
    pub head: i64,
    /// The numbers of its events.
    pub seqs: Vec<i64>,
    pub notices: Vec<Notice>,
}

/// A notification: its row, and the event in the inbox that tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    pub id: Uuid,
    pub seq: i64,
    /// Which sending its event tells of; `None` where there is no such event, or it is about something else.
    pub sending: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    pub id: Uuid,
    pub medium: Medium,
    /// The number of the user; `None` of a webhook.
    pub user: Option<usize>,
    /// The notification that it tells of.
    pub seq: Option<i64>,
    pub status: String,
    pub reason: Option<String>,
}

/// What is not done yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// Sendings that not everybody was told of.
    sendings: i64,
    /// Letters to people that are not there, or wait.
    letters: i64,
    webhooks: i64,
}

impl Left {
    pub fn is_nothing(self) -> bool {
        self == Self { sendings: 0, letters: 0, webhooks: 0 }
    }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sendings, letters, webhooks } = self;
        write!(f, "{sendings} sendings, {letters} letters to people, {webhooks} webhooks")
    }
}

/// What is left of the promise.
pub async fn left(database: &Database, promise: &Promise) -> anyhow::Result<Left> {
    let mut db = database.open().await?;
    let counted = rows!(
        &mut db,
        (i64, i64, i64),
        "SELECT (SELECT COUNT(*) FROM fanouts WHERE kind = $1 AND status <> 'queued'),
                (SELECT COUNT(*) FROM deliveries WHERE kind = $1 AND status <> 'queued'),
                (SELECT COUNT(*) FROM deliveries WHERE medium = 'webhook' AND status = 'queued')",
        KIND,
    );
    db.close().await?;
    let (sendings, letters, webhooks) = counted.first().copied().unwrap_or_default();
    Ok(Left {
        sendings: i64::from(promise.sendings) - sendings,
        letters: i64::try_from(promise.letters())? - letters,
        webhooks,
    })
}

impl Truth {
    pub async fn read(database: &Database, residents: &Residents) -> anyhow::Result<Self> {
        let mut db = database.open().await?;
        let heads = rows!(&mut db, (Uuid, i64), "SELECT user_id, last_seq FROM inboxes");
        let events =
            rows!(&mut db, (Uuid, i64, String), "SELECT user_id, seq, data FROM inbox_events");
        let notices =
            rows!(&mut db, (Uuid, i64, Uuid), "SELECT user_id, seq, id FROM notifications");
        let letters = rows!(
            &mut db,
            (Uuid, String, Option<Uuid>, Option<i64>, String, Option<String>),
            "SELECT id, medium, user_id, seq, status, reason FROM deliveries
             WHERE kind = $1 OR medium = 'webhook'",
            KIND,
        );
        db.close().await?;

        let mut truth =
            Self { inboxes: vec![Inbox::default(); residents.len()], letters: Vec::new() };
        for (user, head) in heads {
            if let Some(inbox) = truth.inbox(residents, user) {
                inbox.head = head;
            }
        }
        let mut told = HashMap::with_capacity(events.len());
        for (user, seq, data) in events {
            if let Some(inbox) = truth.inbox(residents, user) {
                inbox.seqs.push(seq);
                told.insert((user, seq), sending(&data));
            }
        }
        for (user, seq, id) in notices {
            if let Some(inbox) = truth.inbox(residents, user) {
                let sending = told.get(&(user, seq)).copied().flatten();
                inbox.notices.push(Notice { id, seq, sending });
            }
        }
        let letters = letters.into_iter().filter_map(|(id, medium, user, seq, status, reason)| {
            let medium = Medium::ALL.into_iter().find(|known| known.name() == medium)?;
            let user = user.and_then(|user| residents.number(user));
            Some(Letter { id, medium, user, seq, status, reason })
        });
        truth.letters.extend(letters);
        Ok(truth)
    }

    fn inbox(&mut self, residents: &Residents, user: Uuid) -> Option<&mut Inbox> {
        self.inboxes.get_mut(residents.number(user)?)
    }
}

/// Which sending an event in an inbox tells of.
fn sending(data: &str) -> Option<u32> {
    let data: Value = serde_json::from_str(data).ok()?;
    let number = data.get("data")?.get("number")?.as_u64()?;
    u32::try_from(number).ok().filter(|_| data["type"].as_str() == Some(KIND))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_tells_of_a_sending_of_the_run_or_of_none() {
        assert_eq!(sending(r#"{"type":"announcement","data":{"number":3}}"#), Some(3));
        for data in [
            r#"{"type":"welcome","data":{"number":3}}"#,
            r#"{"type":"announcement","data":{}}"#,
            "x",
        ] {
            assert_eq!(sending(data), None, "{data}");
        }
    }
}
