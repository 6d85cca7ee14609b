//! Controls of the oracle: a run in which all is well, and the same with one thing wrong.

use std::time::Duration;

use uuid::Uuid;

use super::ledger::{Given, Medium, Subject, Take};
use super::oracle::{Kill, Kind, Oracle, Promise, Repeats};
use super::truth::{Inbox, Letter, Notice, Truth};

const PROMISE: Promise = Promise { users: 2, sendings: 2 };
/// Node 1 is killed long before anything is taken there.
const KILLS: [Kill; 2] = [Kill { node: 1, at: seconds(2) }, Kill { node: 0, at: seconds(50) }];

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn notification(user: usize, sending: u32) -> Uuid {
    Uuid::from_u64_pair(user as u64, sending.into())
}

fn letter_id(medium: Medium, user: usize, sending: u32) -> Uuid {
    let medium = medium as u64;
    Uuid::from_u64_pair(1_000 * (1 + medium) + user as u64, sending.into())
}

fn event_id(sending: u32) -> Uuid {
    Uuid::from_u64_pair(9_000, sending.into())
}

/// Everything was taken once, at 10 s, by node 0.
fn well() -> (Truth, Vec<Take>) {
    let (mut truth, mut takes) = (Truth::default(), Vec::new());
    for user in 0..PROMISE.users {
        let notices = (1..=PROMISE.sendings).map(|sending| Notice {
            id: notification(user, sending),
            seq: i64::from(sending),
            sending: Some(sending),
        });
        truth.inboxes.push(Inbox { head: 2, seqs: vec![2, 1], notices: notices.collect() });
        for medium in Medium::OF_USERS {
            for sending in 1..=PROMISE.sendings {
                let id = letter_id(medium, user, sending);
                truth.letters.push(delivered(id, medium, Some(user)));
                takes.push(take(Subject::Sending { medium, user, sending }, id, Vec::new()));
            }
        }
    }
    for sending in 1..=PROMISE.sendings {
        let told = (0..PROMISE.users).map(|user| notification(user, sending)).collect();
        let id = event_id(sending);
        truth.letters.push(delivered(id, Medium::Webhook, None));
        takes.push(take(Subject::Event(format!("event {sending}")), id, told));
    }
    (truth, takes)
}

fn delivered(id: Uuid, medium: Medium, user: Option<usize>) -> Letter {
    Letter { id, medium, user, seq: None, status: "delivered".to_owned(), reason: None }
}

fn take(subject: Subject, id: Uuid, told: Vec<Uuid>) -> Take {
    let letter = Given { subject, id, node: Some(0), told };
    Take { letter, at: seconds(10), answered: Some(seconds(11)) }
}

/// Takes the first letter once more, at 30 s.
fn again(takes: &mut Vec<Take>) -> &mut Take {
    let again = Take { at: seconds(30), answered: Some(seconds(31)), ..takes[0].clone() };
    takes.push(again);
    &mut takes[0]
}

fn judge(truth: &Truth, takes: &[Take]) -> (Vec<Kind>, Repeats) {
    let mut oracle = Oracle::new(PROMISE, &KILLS);
    oracle.judge(truth, takes);
    let mut kinds: Vec<_> = oracle.violations.iter().map(|violation| violation.kind).collect();
    kinds.dedup();
    assert_eq!(
        Kind::ALL.iter().map(|kind| oracle.count(*kind)).sum::<usize>(),
        oracle.violations.len()
    );
    (kinds, oracle.repeats)
}

fn kinds(truth: &Truth, takes: &[Take]) -> Vec<Kind> {
    judge(truth, takes).0
}

#[test]
fn a_run_in_which_all_is_well_has_no_violation() {
    let (truth, mut takes) = well();
    takes.push(take(Subject::Other(Medium::Mail), Uuid::from_u128(1), Vec::new()));

    assert_eq!(judge(&truth, &takes), (vec![], Repeats::default()));
}

#[test]
fn a_lost_letter_is_found_on_every_medium() {
    for medium in Medium::ALL {
        let (truth, mut takes) = well();
        let lost = takes.iter().position(|take| take.letter.subject.medium() == medium).unwrap();
        takes.remove(lost);

        assert_eq!(kinds(&truth, &takes), [Kind::Lost], "{medium:?}");
    }
}

#[test]
fn a_doubled_letter_is_found_on_every_medium() {
    for medium in Medium::ALL {
        let (truth, mut takes) = well();
        let twice = takes.iter().find(|take| take.letter.subject.medium() == medium).unwrap();
        takes.push(twice.clone());

        assert_eq!(kinds(&truth, &takes), [Kind::Doubled], "{medium:?}");
    }
}

#[test]
fn a_letter_under_another_id_is_found_even_where_it_may_come_again() {
    let (truth, mut takes) = well();
    again(&mut takes).answered = None;
    takes.last_mut().unwrap().letter.id = Uuid::from_u128(77);

    assert_eq!(kinds(&truth, &takes), [Kind::Reidentified, Kind::Stray]);
}

#[test]
fn two_letters_under_one_id_are_found() {
    let (truth, mut takes) = well();
    takes[1].letter.id = takes[0].letter.id;

    assert!(kinds(&truth, &takes).contains(&Kind::Reidentified));
}

#[test]
fn a_letter_may_come_again_when_its_answer_was_lost() {
    let (truth, mut takes) = well();
    again(&mut takes).answered = None;

    let expected = Repeats { after_lost_answer: 1, after_kill: 0 };
    assert_eq!(judge(&truth, &takes), (vec![], expected));
}

#[test]
fn a_letter_may_come_again_when_its_node_was_killed_meanwhile_and_only_then() {
    let kills_at = |at, node| {
        let (truth, mut takes) = well();
        again(&mut takes);
        let kills = [Kill { node, at }];
        let mut oracle = Oracle::new(PROMISE, &kills);
        oracle.judge(&truth, &takes);
        (oracle.violations.len(), oracle.repeats.after_kill)
    };

    assert_eq!(kills_at(seconds(11), 0), (0, 1));
    assert_eq!(kills_at(seconds(9), 0), (0, 1), "the request was on its way when its node died");
    assert_eq!(kills_at(seconds(12), 0), (0, 1), "the answer was not written down yet");
    assert_eq!(kills_at(seconds(11), 1), (1, 0), "another node's kill excuses nothing");
    assert_eq!(kills_at(seconds(20), 0), (1, 0), "a later kill excuses nothing");
    assert_eq!(kills_at(seconds(7), 0), (1, 0), "an earlier kill excuses nothing");
}

#[test]
fn a_kill_does_not_excuse_more_than_a_node_has_on_its_way() {
    let promise = Promise { users: 0, sendings: 0 };
    let kills = [Kill { node: 0, at: seconds(10) }];
    let judged = |letters: u32| {
        let (mut truth, mut takes) = (Truth::default(), Vec::new());
        for sending in 0..letters {
            let subject = Subject::Sending { medium: Medium::Sms, user: 0, sending };
            let id = letter_id(Medium::Sms, 0, sending);
            truth.letters.push(delivered(id, Medium::Sms, Some(0)));
            takes.extend([take(subject.clone(), id, vec![]), take(subject, id, vec![])]);
        }
        let mut oracle = Oracle::new(promise, &kills);
        oracle.judge(&truth, &takes);
        oracle
            .violations
            .iter()
            .filter(|violation| violation.to_string().contains("kill 1"))
            .count()
    };

    assert_eq!((judged(32), judged(33)), (0, 1));
}

#[test]
fn a_notification_that_is_missing_or_there_twice_is_found() {
    let (mut truth, takes) = well();
    truth.inboxes[1].notices.pop();
    assert_eq!(kinds(&truth, &takes), [Kind::Lost]);

    let (mut truth, takes) = well();
    let notice = Notice { seq: 3, ..truth.inboxes[1].notices[0].clone() };
    truth.inboxes[1].notices.push(notice);
    truth.inboxes[1].seqs.push(3);
    truth.inboxes[1].head = 3;
    assert_eq!(kinds(&truth, &takes), [Kind::Doubled]);
}

#[test]
fn a_notification_without_its_event_is_found() {
    let (mut truth, takes) = well();
    truth.inboxes[0].notices[0].sending = None;

    assert_eq!(kinds(&truth, &takes), [Kind::Lost]);
}

#[test]
fn a_hole_in_an_inbox_is_found_and_so_is_more_than_its_head_says() {
    for (head, seqs) in [(3, vec![1, 3]), (1, vec![1, 2]), (2, vec![1, 2, 2])] {
        let (mut truth, takes) = well();
        truth.inboxes[0].head = head;
        truth.inboxes[0].seqs = seqs;

        assert_eq!(kinds(&truth, &takes), [Kind::Hole]);
    }
}

#[test]
fn a_notification_that_two_events_tell_of_is_found() {
    let (mut truth, mut takes) = well();
    let told = vec![notification(0, 1)];
    takes.push(take(Subject::Event("another".to_owned()), Uuid::from_u128(5), told));
    truth.letters.push(delivered(Uuid::from_u128(5), Medium::Webhook, None));

    assert_eq!(kinds(&truth, &takes), [Kind::Doubled]);
}

#[test]
fn a_letter_that_is_not_delivered_is_found_and_so_is_one_that_nobody_wrote() {
    let (mut truth, takes) = well();
    truth.letters[0].status = "dead".to_owned();
    assert_eq!(kinds(&truth, &takes), [Kind::Undelivered]);

    let (mut truth, takes) = well();
    truth.letters.pop();
    assert_eq!(kinds(&truth, &takes), [Kind::Stray], "a webhook");

    let (mut truth, takes) = well();
    truth.letters.push(delivered(Uuid::from_u128(5), Medium::Sms, Some(0)));
    assert_eq!(kinds(&truth, &takes), [Kind::Doubled], "one letter too many");
}
