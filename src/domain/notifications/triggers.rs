//! Triggers: which domain events notify whom of what. The table is the whole of it.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{Audience, MessagePlace, Occasion, derived_id};
use crate::domain::ids::{EventId, RoomId, UserId};
use crate::domain::money::{Amount, Currency};
use crate::domain::rooms::Seq;
use crate::domain::time::Timestamp;

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
/// The kind of whoever is mentioned.
const MENTION: &str = "mention_received";

/// One row: an event and a kind of notification that comes of it.
pub struct Trigger {
    /// The domain event's name.
    pub event: &'static str,
    /// The kind of notification.
    pub kind: &'static str,
    /// Who is told, read off the event's data.
    find: Finder,
}

/// How the people are found in an event's data.
#[derive(Clone, Copy)]
enum Finder {
    /// The user whose id is at `user`; `actor` is where the id of whoever caused it is.
    One { user: &'static str, actor: Option<&'static str> },
    /// The same, once in a day for these two: who takes back and asks again, again and again, is told of once.
    OneADay { user: &'static str, actor: &'static str },
    /// The user whose id is at `user`, of money that has moved, or has not; how much is at `amount`.
    Money { user: &'static str, amount: &'static str },
    /// Whoever each message mentions.
    Mentioned,
    /// The members of the room who are not looking, and are not mentioned.
    Away,
}

/// What is told of what. A new domain adds its rows here, and its templates.
pub const TRIGGERS: &[Trigger] = &[
    Trigger {
        event: "FriendRequestSent",
        kind: "friend_request_received",
        find: Finder::OneADay { user: "to", actor: "from" },
    },
    Trigger {
        // `from` is who has accepted; `to` is who had asked.
        event: "FriendRequestAccepted",
        kind: "friend_request_accepted",
        find: Finder::One { user: "to", actor: Some("from") },
    },
    Trigger { event: "MessageSent", kind: MENTION, find: Finder::Mentioned },
    Trigger { event: "MessageSent", kind: "message_received", find: Finder::Away },
    Trigger::of_dispute("PaymentChargedBack", "payment_charged_back", "payee_id"),
    Trigger::of_dispute("PaymentChargedBack", "payment_taken_back", "payer_id"),
    Trigger::of_money("PaymentCompleted", "payment_completed", "payer_id"),
    Trigger::of_money("PaymentCompleted", "payment_received", "payee_id"),
    Trigger::of_dispute("PaymentDisputeWon", "payment_dispute_won", "payee_id"),
    Trigger::of_dispute("PaymentDisputed", "payment_disputed", "payee_id"),
    Trigger::of_money("PaymentFailed", "payment_failed", "payer_id"),
    Trigger {
        event: "PaymentRefunded",
        kind: "payment_refunded",
        // Not the whole payment: what goes back this time.
        find: Finder::Money { user: "payer_id", amount: "refund_amount" },
    },
    Trigger::of_money("SettlementReleased", "settlement_released", "payee_id"),
    Trigger {
        event: "UserRegistered",
        kind: "welcome",
        find: Finder::One { user: "user_id", actor: None },
    },
    Trigger::of_money("WithdrawalFailed", "withdrawal_failed", "user_id"),
    Trigger::of_money("WithdrawalPaid", "withdrawal_paid", "user_id"),
    Trigger::of_money("WithdrawalRejected", "withdrawal_rejected", "user_id"),
    // The bank has sent back what it had taken.
    Trigger::of_money("WithdrawalReturned", "withdrawal_failed", "user_id"),
];

/// An event as far as triggers look at it.
#[derive(Debug, Clone, Copy)]
pub struct Cause<'e> {
    pub id: EventId,
    pub name: &'e str,
    pub at: Timestamp,
    /// JSON.
    pub data: &'e str,
}

/// What comes of an event, without the `disabled` kinds; empty for one that notifies nobody.
#[must_use]
pub fn occasions(cause: &Cause<'_>, disabled: &[String]) -> Vec<Occasion> {
    let is_enabled = |kind: &str| disabled.iter().all(|disabled| disabled != kind);
    let mut rows =
        TRIGGERS.iter().filter(|row| row.event == cause.name && is_enabled(row.kind)).peekable();
    if rows.peek().is_none() {
        return Vec::new();
    }
    let Ok(data) = serde_json::from_str::<Value>(cause.data) else { return Vec::new() };
    let has_mentions = is_enabled(MENTION);
    rows.flat_map(|row| row.occasions(cause, &data, has_mentions)).collect()
}

/// What of an event about money is told on, so that a client can show it.
const MONEY_FIELDS: [&str; 6] =
    ["payment_id", "order_type", "order_id", "withdrawal_id", "settlement_id", "failure_code"];

impl Trigger {
    const fn of_money(event: &'static str, kind: &'static str, user: &'static str) -> Self {
        Self { event, kind, find: Finder::Money { user, amount: "amount" } }
    }

    /// Not the whole payment: what its payer's bank wants back.
    const fn of_dispute(event: &'static str, kind: &'static str, user: &'static str) -> Self {
        Self { event, kind, find: Finder::Money { user, amount: "dispute_amount" } }
    }

    /// Who is told, in words, for the documentation.
    #[must_use]
    pub const fn recipients(&self) -> &'static str {
        match self.find {
            Finder::One { .. } | Finder::OneADay { .. } | Finder::Money { .. } => {
                "the user it is about"
            }
            Finder::Mentioned => "whoever is mentioned and a member of the room",
            Finder::Away => "the other members of the room who are not looking",
        }
    }

    /// Where nobody is told of mentions, whoever is mentioned is told of the message like the others.
    fn occasions(&self, cause: &Cause<'_>, data: &Value, has_mentions: bool) -> Vec<Occasion> {
        match self.find {
            Finder::One { user, actor } => self.one(cause, data, user, actor).into_iter().collect(),
            Finder::OneADay { user, actor } => {
                self.one_a_day(cause, data, user, actor).into_iter().collect()
            }
            Finder::Money { user, amount } => {
                self.money(cause, data, user, amount).into_iter().collect()
            }
            Finder::Mentioned => messages(data)
                .filter(|sent| !sent.mentions.is_empty())
                .map(|sent| {
                    let (room, users) = (sent.place.room, sent.mentions.clone());
                    self.of_message(cause, &sent, Audience::Mentioned { room, users })
                })
                .collect(),
            Finder::Away => messages(data)
                .map(|sent| {
                    let except = if has_mentions { sent.mentions.clone() } else { Vec::new() };
                    let room = sent.place.room;
                    self.of_message(cause, &sent, Audience::Away { room, except })
                })
                .collect(),
        }
    }

    fn one(
        &self,
        cause: &Cause<'_>,
        data: &Value,
        user: &str,
        actor: Option<&str>,
    ) -> Option<Occasion> {
        let user = id_at(data, user)?;
        let actor = actor.and_then(|field| id_at(data, field));
        let mut params = Map::new();
        if let Some(actor) = actor {
            params.insert("actor".to_owned(), json!({ "id": actor }));
        }
        Some(Occasion {
            id: self.occasion_id(cause, 0),
            kind: self.kind.to_owned(),
            audience: Audience::Users { users: vec![user] },
            actor,
            params,
            media: None,
            group_key: None,
            message: None,
            first_seq: None,
            messages: 0,
            at: cause.at,
        })
    }

    /// As [`Self::one`], with an id that follows from the two people and the day (UTC): a repeat is known already.
    fn one_a_day(
        &self,
        cause: &Cause<'_>,
        data: &Value,
        user: &str,
        actor: &str,
    ) -> Option<Occasion> {
        let [from, to] = [id_at::<UserId>(data, actor)?, id_at(data, user)?].map(UserId::uuid);
        let millis = cause.at.millis();
        let day = Timestamp::from_millis(millis.saturating_sub(millis.rem_euclid(DAY_MS)));
        let id = derived_id(day, &[self.kind.as_bytes(), from.as_bytes(), to.as_bytes()]);
        Some(Occasion { id, ..self.one(cause, data, user, Some(actor))? })
    }

    /// As [`Self::one`], with the money; nobody where it cannot be read.
    fn money(&self, cause: &Cause<'_>, data: &Value, user: &str, amount: &str) -> Option<Occasion> {
        let amount = Amount::new(data.get(amount)?.as_i64()?).ok()?;
        let currency: Currency = data.get("currency")?.as_str()?.parse().ok()?;
        let mut occasion = self.one(cause, data, user, None)?;
        let name = data.get("order_name").and_then(Value::as_str);
        let text = amount.written(currency);
        let money = json!({ "amount": amount, "currency": currency, "text": text, "name": name });
        occasion.params.insert("money".to_owned(), money);
        for field in MONEY_FIELDS {
            if let Some(value) = data.get(field).filter(|value| value.is_string()) {
                occasion.params.insert(field.to_owned(), value.clone());
            }
        }
        Some(occasion)
    }

    fn of_message(&self, cause: &Cause<'_>, sent: &Sent, audience: Audience) -> Occasion {
        let MessagePlace { room, seq } = sent.place;
        let mut params = Map::new();
        params.insert("actor".to_owned(), json!({ "id": sent.from }));
        params.insert("room".to_owned(), json!({ "id": room }));
        params.insert("message".to_owned(), json!({ "id": sent.id, "seq": seq }));
        Occasion {
            id: self.occasion_id(cause, seq),
            kind: self.kind.to_owned(),
            audience,
            actor: Some(sent.from),
            params,
            media: None,
            group_key: Some(format!("room:{room}")),
            message: Some(sent.place),
            first_seq: Some(seq),
            messages: 1,
            at: cause.at,
        }
    }

    fn occasion_id(&self, cause: &Cause<'_>, part: Seq) -> Uuid {
        let event = cause.id.uuid();
        derived_id(cause.at, &[event.as_bytes(), self.kind.as_bytes(), &part.to_be_bytes()])
    }
}

/// A message as its event tells of it; the wording is not part of that.
struct Sent {
    id: Value,
    from: UserId,
    place: MessagePlace,
    mentions: Vec<UserId>,
}

fn messages(data: &Value) -> impl Iterator<Item = Sent> {
    let room = id_at::<RoomId>(data, "room_id");
    let sent = data.get("messages").and_then(Value::as_array).map(Vec::as_slice);
    sent.unwrap_or_default().iter().filter_map(move |message| {
        let from = id_at(message, "from")?;
        let mentions = message.get("mentions").and_then(Value::as_array);
        let mentions = mentions.into_iter().flatten().filter_map(Value::as_str);
        Some(Sent {
            id: message.get("id").cloned().unwrap_or_default(),
            from,
            place: MessagePlace { room: room?, seq: message.get("seq")?.as_i64()? },
            mentions: mentions
                .filter_map(|user| user.parse().ok())
                .filter(|user| *user != from)
                .collect(),
        })
    })
}

fn id_at<T: std::str::FromStr>(data: &Value, field: &str) -> Option<T> {
    data.get(field)?.as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(n: u128) -> UserId {
        Uuid::from_u128(n).into()
    }

    fn caused(name: &str, data: &Value) -> Vec<Occasion> {
        let id = Uuid::from_u128(9).into();
        let at = Timestamp::from_millis(1_795_244_400_000);
        occasions(&Cause { id, name, at, data: &data.to_string() }, &[])
    }

    #[test]
    fn a_friend_request_is_told_to_whom_it_was_sent() {
        let told = caused("FriendRequestSent", &json!({ "from": user(1), "to": user(2) }));

        assert_eq!(told.len(), 1);
        assert_eq!(told[0].kind, "friend_request_received");
        assert_eq!(told[0].audience, Audience::Users { users: vec![user(2)] });
        assert_eq!(told[0].actor, Some(user(1)));
    }

    #[test]
    fn who_asks_again_and_again_is_told_of_once_a_day() {
        let asked = |event: u128, from: u128, at: i64| {
            let data = json!({ "from": user(from), "to": user(2) }).to_string();
            let (id, at) = (Uuid::from_u128(event).into(), Timestamp::from_millis(at));
            occasions(&Cause { id, name: "FriendRequestSent", at, data: &data }, &[])[0].id
        };
        let morning = 20_000 * DAY_MS;

        let first = asked(1, 1, morning);

        assert_eq!(asked(2, 1, morning + DAY_MS - 1), first);
        assert_ne!(asked(3, 1, morning + DAY_MS), first);
        assert_ne!(asked(4, 3, morning), first);
    }

    #[test]
    fn an_accepted_request_is_told_to_whoever_had_asked() {
        let told = caused("FriendRequestAccepted", &json!({ "from": user(1), "to": user(2) }));

        assert_eq!(told[0].audience, Audience::Users { users: vec![user(2)] });
        assert_eq!(told[0].actor, Some(user(1)));
    }

    #[test]
    fn a_payment_is_told_to_both_and_where_the_platform_keeps_it_to_its_payer() {
        let paid = |payee: Value| {
            json!({ "payment_id": "p", "order_id": "7", "payer_id": user(1), "payee_id": payee,
                    "amount": 12_000, "currency": "KRW", "order_name": "화단 정리", "seq": 3 })
        };
        let both = caused("PaymentCompleted", &paid(json!(user(2))));

        let told = |of: &[Occasion]| {
            of.iter().map(|told| (told.kind.clone(), told.audience.clone())).collect::<Vec<_>>()
        };
        let to = |n| Audience::Users { users: vec![user(n)] };
        let payer = ("payment_completed".to_owned(), to(1));
        assert_eq!(told(&both), [payer.clone(), ("payment_received".to_owned(), to(2))]);
        let money = json!({ "amount": 12_000, "currency": "KRW", "text": "12,000",
                            "name": "화단 정리" });
        assert_eq!(both[0].params["money"], money);
        assert_eq!(both[0].params["payment_id"], "p");
        assert!(!both[0].params.contains_key("seq"));
        assert_eq!(told(&caused("PaymentCompleted", &paid(Value::Null))), [payer]);
        let without = json!({ "payer_id": user(1), "currency": "KRW" });
        assert!(caused("PaymentCompleted", &without).is_empty());
    }

    #[test]
    fn of_a_refund_what_goes_back_this_time_is_told() {
        let data = json!({ "payer_id": user(1), "amount": 12_000, "refund_amount": 2_000,
                           "currency": "KRW" });
        let told = caused("PaymentRefunded", &data);
        assert_eq!(told[0].params["money"]["text"], "2,000");
        assert_eq!(told.len(), 1);
    }

    #[test]
    fn a_dispute_is_told_to_whose_money_it_is_and_its_end_to_both() {
        let data = json!({ "payer_id": user(1), "payee_id": user(2), "amount": 12_000,
                           "dispute_amount": 2_000, "currency": "KRW" });
        let told = |event| -> Vec<_> {
            let told = caused(event, &data);
            assert!(told.iter().all(|it| it.params["money"]["text"] == "2,000"));
            told.iter().map(|it| (it.kind.clone(), it.audience.clone())).collect()
        };
        let of = |kind: &str, n| (kind.to_owned(), Audience::Users { users: vec![user(n)] });
        assert_eq!(told("PaymentDisputed"), [of("payment_disputed", 2)]);
        assert_eq!(told("PaymentDisputeWon"), [of("payment_dispute_won", 2)]);
        let lost = [of("payment_charged_back", 2), of("payment_taken_back", 1)];
        assert_eq!(told("PaymentChargedBack"), lost);
    }

    #[test]
    fn a_message_is_told_once_to_each_person() {
        let room = Uuid::from_u128(7);
        let data = json!({ "room_id": room, "messages": [
            { "id": Uuid::from_u128(70), "seq": 3, "from": user(1), "mentions": [user(2), user(1)] },
            { "id": Uuid::from_u128(71), "seq": 4, "from": user(1), "mentions": [] },
        ]});
        let told = caused("MessageSent", &data);
        let room = room.into();

        let of = |kind| told.iter().filter(move |occasion| occasion.kind == kind);
        let mentioned: Vec<_> = of("mention_received").map(|told| &told.audience).collect();
        assert_eq!(mentioned, [&Audience::Mentioned { room, users: vec![user(2)] }]);
        let away: Vec<_> = of("message_received").map(|told| &told.audience).collect();
        assert_eq!(
            away,
            [
                &Audience::Away { room, except: vec![user(2)] },
                &Audience::Away { room, except: vec![] },
            ]
        );
        assert_eq!(told[0].message, Some(MessagePlace { room, seq: 3 }));
    }

    #[test]
    fn where_mentions_are_disabled_whoever_is_mentioned_is_told_of_the_message() {
        let data = json!({ "room_id": Uuid::from_u128(7), "messages": [
            { "id": Uuid::from_u128(70), "seq": 3, "from": user(1), "mentions": [user(2)] },
        ]});
        let (id, at) = (Uuid::from_u128(9).into(), Timestamp::from_millis(1_795_244_400_000));
        let cause = Cause { id, name: "MessageSent", at, data: &data.to_string() };

        let told = occasions(&cause, &["mention_received".to_owned()]);
        let [away] = told.as_slice() else { panic!("{told:?}") };
        let room = Uuid::from_u128(7).into();
        assert_eq!(away.audience, Audience::Away { room, except: Vec::new() });
        let told = occasions(&cause, &["message_received".to_owned()]);
        assert!(told.iter().all(|told| told.kind == "mention_received") && told.len() == 1);
    }

    #[test]
    fn the_same_event_gives_the_same_occasions_and_no_two_are_alike() {
        let message =
            |seq: i64| json!({ "id": "m", "seq": seq, "from": user(1), "mentions": [user(2)] });
        let data = json!({ "room_id": Uuid::from_u128(7), "messages": [message(1), message(2)] });
        let ids = |told: Vec<Occasion>| told.into_iter().map(|told| told.id).collect::<Vec<_>>();

        let first = ids(caused("MessageSent", &data));
        assert_eq!(first, ids(caused("MessageSent", &data)));
        let distinct: std::collections::HashSet<_> = first.iter().collect();
        assert_eq!((first.len(), distinct.len()), (4, 4));
    }

    #[test]
    fn what_cannot_be_read_notifies_nobody() {
        assert!(caused("NotificationSent", &json!({})).is_empty());
        assert!(caused("FriendRequestSent", &json!({ "from": user(1) })).is_empty());
        assert!(caused("MessageSent", &json!({ "messages": [{ "seq": 1 }] })).is_empty());
    }
}
