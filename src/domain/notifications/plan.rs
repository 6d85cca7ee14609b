//! The policy: an occasion and one recipient come to what is sent, through which media, and when.
//!
//! Pure: everything it rests on comes in, so that every promise about who is told is a test here.

use std::collections::HashMap;
use std::time::Duration;

use uuid::Uuid;

use super::{MessagePlace, Occasion, derived_id};
use crate::domain::digests;
use crate::domain::ids::{DeliveryId, DeviceId, NotificationId, UserId};
use crate::domain::media::Medium;
use crate::domain::preferences::{Choice, KindFacts, Offer, Preferences, RoomNotifications};
use crate::domain::presence::Status;
use crate::domain::quiet_hours::QuietHours;
use crate::domain::rooms::Seq;
use crate::domain::throttles::{THROTTLED, Throttles, Verdict};
use crate::domain::time::Timestamp;

/// One person who may be told, with everything that decides how.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipient {
    pub user: UserId,
    pub handle: String,
    pub display_name: String,
    /// Whether the mail address was confirmed.
    pub is_verified: bool,
    pub locale: String,
    /// IANA name.
    pub time_zone: String,
    /// From and until when they are left in peace, in minutes of their day.
    pub quiet: Option<(i64, i64)>,
    /// How long their digests gather, where they have chosen.
    pub digest_minutes: Option<i64>,
    pub status: Status,
    /// Their side of the room it is about.
    pub room: Option<RoomSide>,
    pub has_phone: bool,
    pub devices: Vec<DeviceId>,
    /// What they have chosen for this kind, and for every kind.
    pub preferences: Preferences,
    /// How many letters they were sent lately.
    pub sent: HashMap<Medium, i64>,
}

/// How a member stands to a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoomSide {
    pub notifications: RoomNotifications,
    pub read_seq: Seq,
    /// Whether there is a notification of this room that they have not read.
    pub has_unread: bool,
}

/// What is the same for everybody who is told of an occasion.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'t> {
    pub occasion: &'t Occasion,
    pub facts: &'t KindFacts,
    /// Members of the room it is about.
    pub room_members: i64,
    pub policy: &'t Policy,
    pub now: Timestamp,
}

/// What an operator has set.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// In rooms with more members, a message is told only to those who have read what they were told before.
    pub every_message_members: i64,
    /// Letters that a user is sent in an hour.
    pub throttles: Throttles,
    /// How long a letter waits for its notification to be seen in the app, by medium.
    pub unless_seen: HashMap<Medium, Duration>,
    /// How long a digest gathers where its reader has not chosen.
    pub digest_minutes: i64,
}

/// What one person is sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub user: UserId,
    pub id: NotificationId,
    /// Whether it is shown in the app.
    pub inbox: bool,
    pub letters: Vec<PlannedLetter>,
}

/// One letter of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedLetter {
    pub id: DeliveryId,
    pub medium: Medium,
    /// The device it goes to.
    pub target: Option<Uuid>,
    pub due_at: Timestamp,
    pub digest_key: Option<String>,
    /// Why it is not sent: kept for whoever is asked where it is.
    pub suppressed: Option<&'static str>,
}

/// A plan with its words.
#[derive(Debug, Clone, PartialEq)]
pub struct Sending {
    pub user: UserId,
    pub id: NotificationId,
    /// The JSON of the event in the inbox, if there is to be one.
    pub inbox: Option<String>,
    /// The same, for letters without a notification.
    pub content: String,
    pub letters: Vec<PlannedLetter>,
}

/// Why a letter is not sent that its reader has switched off.
pub const OPTED_OUT: &str = "opted_out";

/// Says what a recipient is sent; `None` for somebody who is not told at all.
#[must_use]
pub fn plan(terms: &Terms<'_>, recipient: &Recipient) -> Option<Plan> {
    if !concerns(terms, recipient) {
        return None;
    }
    let occasion = terms.occasion;
    let id = occasion.notification_id(recipient.user);
    let is_wanted = |medium| occasion.media.as_ref().is_none_or(|only| only.contains(&medium));
    let inbox = is_wanted(Medium::Inbox) && choice(terms, recipient, Medium::Inbox) != Choice::Off;
    let outward = [Medium::Push, Medium::Mail, Medium::Sms].into_iter();
    let letters: Vec<PlannedLetter> = outward
        .filter(|medium| is_wanted(*medium))
        .flat_map(|medium| letters(terms, recipient, id, medium, inbox))
        .collect();
    (inbox || !letters.is_empty()).then_some(Plan { user: recipient.user, id, inbox, letters })
}

/// What becomes of it on a medium. A medium that its sender names is on, unless the recipient has chosen otherwise or it
/// never goes out that way.
fn choice(terms: &Terms<'_>, recipient: &Recipient, medium: Medium) -> Choice {
    let kind = &terms.occasion.kind;
    let is_named =
        terms.occasion.media.is_some() && matches!(terms.facts.offer(medium), Offer::Choosable(_));
    match recipient.preferences.resolve(kind, medium) {
        Choice::Off if is_named && !recipient.preferences.is_off(kind, medium) => Choice::On,
        choice => choice,
    }
}

/// Whether the occasion is one for this recipient.
fn concerns(terms: &Terms<'_>, recipient: &Recipient) -> bool {
    let Some(place) = terms.occasion.message else { return true };
    let Some(room) = recipient.room else { return false };
    let is_for_the_away = terms.occasion.audience.is_away_only();
    if !room.notifications.allows(!is_for_the_away, terms.now) || has_read(place, room) {
        return false;
    }
    // In a crowd, one unread notification stands for whatever was said since.
    let is_crowd = terms.room_members > terms.policy.every_message_members;
    !is_for_the_away || (is_away(recipient.status) && !(is_crowd && room.has_unread))
}

const fn has_read(place: MessagePlace, room: RoomSide) -> bool {
    room.read_seq >= place.seq
}

const fn is_away(status: Status) -> bool {
    matches!(status, Status::Away | Status::Offline)
}

fn letters(
    terms: &Terms<'_>,
    recipient: &Recipient,
    notification: NotificationId,
    medium: Medium,
    has_inbox: bool,
) -> Vec<PlannedLetter> {
    let suppressed = |reason| suppressed(terms, recipient, notification, medium, reason);
    let choice = choice(terms, recipient, medium);
    if choice == Choice::Off {
        // What nobody would have been sent anyway is no decision.
        let was_chosen = recipient.preferences.is_off(&terms.occasion.kind, medium);
        return if was_chosen { suppressed(OPTED_OUT) } else { Vec::new() };
    }
    if let Some(reason) = unreachable(terms, recipient, medium) {
        return suppressed(reason);
    }
    let sent = recipient.sent.get(&medium).copied().unwrap_or(0);
    // A digest is made of what the inbox has.
    let is_digest = match terms.policy.throttles.decide(terms.facts, medium, sent) {
        Verdict::Send => choice == Choice::Digest && has_inbox,
        Verdict::Digest if has_inbox => true,
        Verdict::Digest => return suppressed(THROTTLED),
        Verdict::Suppress(reason) => return suppressed(reason),
    };
    let due_at = due_at(terms, recipient, medium, has_inbox, is_digest);
    let targets: Vec<Option<Uuid>> = match medium {
        Medium::Push => recipient.devices.iter().map(|device| Some(device.uuid())).collect(),
        Medium::Mail | Medium::Sms | Medium::Inbox | Medium::Webhook => vec![None],
    };
    let digest_key = is_digest.then(|| digests::key(&terms.occasion.kind).to_owned());
    targets
        .into_iter()
        .map(|target| PlannedLetter {
            id: letter_id(terms.occasion, notification, medium, target),
            medium,
            target,
            due_at,
            digest_key: digest_key.clone(),
            suppressed: None,
        })
        .collect()
}

/// The same letter, however often it is planned.
fn letter_id(
    occasion: &Occasion,
    notification: NotificationId,
    medium: Medium,
    target: Option<Uuid>,
) -> DeliveryId {
    let (notification, target) = (notification.uuid(), target.unwrap_or_default());
    let parts = [notification.as_bytes().as_slice(), medium.as_str().as_bytes(), target.as_bytes()];
    derived_id(occasion.at, &parts).into()
}

/// Why nothing can be sent this way, if nothing can.
fn unreachable(terms: &Terms<'_>, recipient: &Recipient, medium: Medium) -> Option<&'static str> {
    match medium {
        Medium::Push if recipient.devices.is_empty() => Some("no_address"),
        Medium::Sms if !recipient.has_phone => Some("no_address"),
        Medium::Mail if !(recipient.is_verified || terms.facts.goes_to_unverified) => {
            Some("unverified")
        }
        Medium::Push | Medium::Sms | Medium::Mail | Medium::Inbox | Medium::Webhook => None,
    }
}

/// A letter that is not sent, for the log. What was said in a room leaves no such trace for each of its members.
fn suppressed(
    terms: &Terms<'_>,
    recipient: &Recipient,
    notification: NotificationId,
    medium: Medium,
    reason: &'static str,
) -> Vec<PlannedLetter> {
    if terms.occasion.message.is_some() {
        return Vec::new();
    }
    vec![PlannedLetter {
        id: letter_id(terms.occasion, notification, medium, Some(recipient.user.uuid())),
        medium,
        target: None,
        due_at: terms.now,
        digest_key: None,
        suppressed: Some(reason),
    }]
}

fn due_at(
    terms: &Terms<'_>,
    recipient: &Recipient,
    medium: Medium,
    has_inbox: bool,
    is_digest: bool,
) -> Timestamp {
    let waits = has_inbox && !terms.facts.is_critical && !terms.facts.goes_to_unverified;
    let due_at = if is_digest {
        let minutes = recipient.digest_minutes.unwrap_or(terms.policy.digest_minutes);
        digests::due_at(terms.now, minutes)
    } else if waits {
        terms.now.plus(terms.policy.unless_seen.get(&medium).copied().unwrap_or_default())
    } else {
        terms.now
    };
    // Quiet when it would go out, not when it happened.
    peace_until(terms.facts, recipient.quiet, &recipient.time_zone, due_at).unwrap_or(due_at)
}

/// Until when somebody is left in peace, if `at` is such a time.
#[must_use]
pub fn peace_until(
    facts: &KindFacts,
    quiet: Option<(i64, i64)>,
    time_zone: &str,
    at: Timestamp,
) -> Option<Timestamp> {
    if facts.is_critical {
        return None;
    }
    let (from, until) = quiet?;
    let minute = |minute: i64| u16::try_from(minute).ok();
    QuietHours::new(minute(from)?, minute(until)?, time_zone).ok()?.ends_at(at)
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;
    use crate::domain::ids::RoomId;
    use crate::domain::notifications::Audience;
    use crate::domain::preferences::{RoomLevel, facts_of};

    const NOON: Timestamp = Timestamp::from_millis(1_795_262_400_000);

    fn user(n: u128) -> UserId {
        Uuid::from_u128(n).into()
    }

    fn room() -> RoomId {
        Uuid::from_u128(7).into()
    }

    fn occasion(kind: &str, audience: Audience) -> Occasion {
        let is_about_a_message = audience.room().is_some();
        Occasion {
            id: Uuid::from_u128(9),
            kind: kind.to_owned(),
            audience,
            actor: Some(user(1)),
            params: Map::new(),
            media: None,
            group_key: None,
            message: is_about_a_message.then_some(MessagePlace { room: room(), seq: 5 }),
            first_seq: None,
            messages: i64::from(is_about_a_message),
            at: NOON,
        }
    }

    fn message() -> Occasion {
        occasion("message_received", Audience::Away { room: room(), except: Vec::new() })
    }

    fn mention() -> Occasion {
        occasion("mention_received", Audience::Mentioned { room: room(), users: vec![user(2)] })
    }

    fn request() -> Occasion {
        occasion("friend_request_received", Audience::Users { users: vec![user(2)] })
    }

    fn recipient() -> Recipient {
        Recipient {
            user: user(2),
            handle: "minho".to_owned(),
            display_name: "Minho".to_owned(),
            is_verified: true,
            locale: "ko".to_owned(),
            time_zone: "Asia/Seoul".to_owned(),
            quiet: None,
            digest_minutes: None,
            status: Status::Offline,
            room: Some(RoomSide {
                notifications: RoomNotifications::default(),
                read_seq: 4,
                has_unread: false,
            }),
            has_phone: false,
            devices: vec![Uuid::from_u128(20).into(), Uuid::from_u128(21).into()],
            preferences: Preferences::default(),
            sent: HashMap::new(),
        }
    }

    fn policy() -> Policy {
        Policy {
            every_message_members: 100,
            throttles: Throttles { mail_per_hour: 10, sms_per_hour: 5, push_per_hour: 20 },
            unless_seen: HashMap::from([
                (Medium::Push, Duration::from_secs(5)),
                (Medium::Mail, Duration::from_mins(5)),
            ]),
            digest_minutes: 15,
        }
    }

    fn planned_in(members: i64, occasion: &Occasion, recipient: &Recipient) -> Option<Plan> {
        let policy = policy();
        let terms = Terms {
            occasion,
            facts: facts_of(&occasion.kind),
            room_members: members,
            policy: &policy,
            now: NOON,
        };
        plan(&terms, recipient)
    }

    fn planned(occasion: &Occasion, recipient: &Recipient) -> Option<Plan> {
        planned_in(3, occasion, recipient)
    }

    fn of(plan: &Plan, medium: Medium) -> Vec<&PlannedLetter> {
        plan.letters.iter().filter(|letter| letter.medium == medium).collect()
    }

    fn chosen(kind: &str, medium: Medium, choice: Choice) -> Preferences {
        [(kind.to_owned(), medium, choice)].into_iter().collect()
    }

    fn seconds(letter: &PlannedLetter) -> u64 {
        letter.due_at.since(NOON).as_secs()
    }

    #[test]
    fn whoever_is_away_is_told_in_the_app_on_each_device_and_in_a_digest() {
        let plan = planned(&message(), &recipient()).unwrap();

        assert!(plan.inbox);
        let pushes = of(&plan, Medium::Push);
        assert_eq!(pushes.len(), 2);
        assert_ne!(pushes[0].id, pushes[1].id);
        assert_eq!(seconds(pushes[0]), 5);
        let [mail] = of(&plan, Medium::Mail)[..] else { panic!("{plan:?}") };
        assert_eq!((mail.digest_key.as_deref(), seconds(mail)), (Some("messages"), 15 * 60));
        assert!(of(&plan, Medium::Sms).is_empty());
        assert_eq!(
            planned(&message(), &recipient()),
            Some(plan),
            "planned again, the same letters"
        );
    }

    #[test]
    fn whoever_is_looking_is_told_only_of_a_mention() {
        for status in [Status::Online, Status::Busy] {
            let looking = Recipient { status, ..recipient() };

            assert_eq!(planned(&message(), &looking), None);
            assert!(planned(&mention(), &looking).unwrap().inbox);
        }
        assert!(planned(&message(), &Recipient { status: Status::Away, ..recipient() }).is_some());
    }

    #[test]
    fn a_room_that_is_muted_or_read_or_left_tells_nothing() {
        let side = |level, muted_until: Option<Timestamp>, read_seq| {
            let notifications = RoomNotifications { level, muted_until };
            let room = Some(RoomSide { notifications, read_seq, has_unread: false });
            Recipient { room, ..recipient() }
        };
        let soon = NOON.plus(Duration::from_secs(1));
        for (silent, is_silent_for_mentions) in [
            (side(RoomLevel::None, None, 4), true),
            (side(RoomLevel::Mentions, None, 4), false),
            (side(RoomLevel::All, Some(soon), 4), true),
            (side(RoomLevel::All, None, 5), true),
            (Recipient { room: None, ..recipient() }, true),
        ] {
            assert_eq!(planned(&message(), &silent), None);
            assert_eq!(planned(&mention(), &silent).is_none(), is_silent_for_mentions);
        }
        assert!(planned(&message(), &side(RoomLevel::All, Some(NOON), 4)).is_some());
    }

    #[test]
    fn in_a_crowd_one_unread_notification_stands_for_all() {
        let side = recipient().room.map(|side| RoomSide { has_unread: true, ..side });
        let told = Recipient { room: side, ..recipient() };

        assert!(planned_in(100, &message(), &told).is_some());
        assert_eq!(planned_in(101, &message(), &told), None);
        assert!(planned_in(101, &mention(), &told).is_some());
        assert!(planned_in(101, &message(), &recipient()).is_some());
    }

    #[test]
    fn what_was_switched_off_is_not_sent_and_the_log_says_why() {
        let preferences = chosen("friend_request_received", Medium::Mail, Choice::Off);
        let plan = planned(&request(), &Recipient { preferences, ..recipient() }).unwrap();

        let [mail] = of(&plan, Medium::Mail)[..] else { panic!("{plan:?}") };
        assert_eq!(mail.suppressed, Some(OPTED_OUT));
        assert!(of(&plan, Medium::Push).iter().all(|push| push.suppressed.is_none()));
        let preferences = chosen("*", Medium::Inbox, Choice::Off);
        let plan = planned(&request(), &Recipient { preferences, ..recipient() }).unwrap();
        assert!(!plan.inbox && of(&plan, Medium::Push).len() == 2, "letters go out all the same");
    }

    #[test]
    fn where_there_is_no_address_there_is_no_letter() {
        let nowhere = Recipient { devices: Vec::new(), is_verified: false, ..recipient() };
        let plan = planned(&request(), &nowhere).unwrap();

        let reasons: Vec<_> =
            plan.letters.iter().map(|letter| (letter.medium, letter.suppressed)).collect();
        assert_eq!(
            reasons,
            [(Medium::Push, Some("no_address")), (Medium::Mail, Some("unverified"))]
        );
        assert!(planned(&message(), &nowhere).unwrap().letters.is_empty(), "no trace of chatter");
        let welcome = occasion("welcome", Audience::Users { users: vec![user(2)] });
        let plan = planned(&welcome, &nowhere).unwrap();
        assert_eq!(
            (of(&plan, Medium::Mail)[0].suppressed, seconds(of(&plan, Medium::Mail)[0])),
            (None, 0)
        );
    }

    #[test]
    fn in_quiet_hours_letters_wait_and_the_app_does_not() {
        // Noon in UTC is nine in the evening in Seoul.
        let quiet = Some((21 * 60, 22 * 60));
        let plan = planned(&request(), &Recipient { quiet, ..recipient() }).unwrap();

        assert!(plan.inbox);
        assert!(plan.letters.iter().all(|letter| seconds(letter) == 3_600), "{plan:?}");
        let critical = occasion("password_changed", Audience::Users { users: vec![user(2)] });
        let plan = planned(&critical, &Recipient { quiet, ..recipient() }).unwrap();
        assert!(plan.letters.iter().all(|letter| seconds(letter) == 0), "{plan:?}");
    }

    #[test]
    fn more_than_enough_gathers_or_stays_away() {
        let sent = HashMap::from([(Medium::Mail, 10), (Medium::Push, 20)]);
        let plan = planned(&request(), &Recipient { sent, ..recipient() }).unwrap();

        let [mail] = of(&plan, Medium::Mail)[..] else { panic!("{plan:?}") };
        assert!(mail.digest_key.is_some());
        assert_eq!(of(&plan, Medium::Push)[0].suppressed, Some(THROTTLED));
    }

    #[test]
    fn a_sender_names_media_and_the_recipient_has_the_last_word() {
        let named = Occasion {
            media: Some(vec![Medium::Mail]),
            ..occasion("shop.sale", Audience::Everyone)
        };
        let plan = planned(&named, &recipient()).unwrap();
        assert!(!plan.inbox);
        assert_eq!(plan.letters.len(), 1);

        let preferences = chosen("*", Medium::Mail, Choice::Off);
        let plan = planned(&named, &Recipient { preferences, ..recipient() }).unwrap();
        assert_eq!(plan.letters[0].suppressed, Some(OPTED_OUT));
        // What never goes out this way does not because it was named.
        let named =
            Occasion { media: Some(vec![Medium::Push]), ..occasion("welcome", Audience::Everyone) };
        assert_eq!(planned(&named, &recipient()), None);
    }
}
