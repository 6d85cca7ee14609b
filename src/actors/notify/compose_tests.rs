//! What is left to be sent of a letter that waited.

use super::*;
use crate::domain::preferences::{Choice, Preferences};
use crate::domain::time::Timestamp;

fn letter(kind: &str, digest_key: Option<&str>) -> Delivery {
    let now = Timestamp::from_millis(0);
    Delivery {
        id: uuid::Uuid::from_u128(1).into(),
        medium: Medium::Mail,
        kind: kind.to_owned(),
        user: Some(uuid::Uuid::from_u128(2).into()),
        seq: Some(1),
        target: None,
        digest_key: digest_key.map(str::to_owned),
        data: None,
        attempts: 1,
        created_at: now,
        first_due_at: now,
        due_at: now,
    }
}

fn notice(kind: &str, unwanted: Option<&'static str>) -> Notice {
    Notice {
        id: uuid::Uuid::from_u128(3).into(),
        kind: kind.to_owned(),
        group_key: None,
        is_message: true,
        at: Timestamp::from_millis(0),
        unwanted,
        content: "{}".to_owned(),
    }
}

fn reader(preferences: Preferences) -> Reader {
    Reader {
        handle: "minho".to_owned(),
        display_name: "Minho".to_owned(),
        email: "minho@example.com".to_owned(),
        is_verified: true,
        is_disabled: false,
        locale: "en".to_owned(),
        time_zone: "UTC".to_owned(),
        quiet: None,
        preferences,
        unsubscribe_key: None,
        unwanted: None,
        notice: None,
        items: Vec::new(),
        more_items: 0,
        device: None,
        phone: None,
    }
}

fn off(kind: &str) -> Preferences {
    [(kind.to_owned(), Medium::Mail, Choice::Off)].into_iter().collect()
}

fn refused(delivery: &Delivery, reader: &mut Reader) -> Option<&'static str> {
    match check_wanted(delivery, reader, facts_of(&delivery.kind)) {
        Ok(()) => None,
        Err(Stop::Suppressed(reason)) => Some(reason),
        Err(_) => panic!("it is wanted or not"),
    }
}

#[test]
fn each_part_of_a_digest_goes_by_the_choice_for_its_own_kind() {
    let digest = letter("message_received", Some("messages"));
    let both = || {
        let (message, mention) = ("message_received", "mention_received");
        vec![notice(message, None), notice(mention, None), notice(message, Some("blocked"))]
    };
    for (switched_off, left) in
        [("mention_received", "message_received"), ("message_received", "mention_received")]
    {
        let mut reader = Reader { items: both(), ..reader(off(switched_off)) };
        assert_eq!(refused(&digest, &mut reader), None);
        let kinds: Vec<&str> = reader.items.iter().map(|item| item.kind.as_str()).collect();
        assert_eq!(kinds, [left]);
    }
    let mut reader = Reader { items: both(), ..reader(off("*")) };
    assert!(refused(&digest, &mut reader).is_some());
}

#[test]
fn a_warning_goes_out_even_if_somebody_has_seen_it() {
    let seen = |kind| {
        let notice = Some(notice(kind, Some("seen")));
        refused(&letter(kind, None), &mut Reader { notice, ..reader(off("*")) })
    };

    assert_eq!(seen("password_changed"), None);
    assert_eq!(seen("friend_request_received"), Some("seen"));
}
