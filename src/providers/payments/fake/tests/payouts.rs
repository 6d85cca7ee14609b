//! Payouts: those that take their time, come back, or are made twice.

use super::super::{FORGETFUL, SOUND};
use super::*;
use crate::providers::payments::{DeclineCode, PaidOut, PayoutStatus};

impl Town {
    async fn pay_out(&self, request: &Payout, key: &str) -> Answer<PaidOut> {
        self.provider.pay_out(request, &EffectKey::of(key)).await
    }

    async fn find_payout(&self, reference: &str) -> Option<PaidOut> {
        match self.provider.find_payout(reference, &EffectKey::of("any")).await {
            LookUp::Found(found) => Some(found),
            LookUp::Absent => None,
            LookUp::Unknown(why) => panic!("{why}"),
        }
    }
}

#[tokio::test]
async fn a_payout_that_takes_its_time_is_pending_and_then_paid() {
    let town = Town::new(SOUND, Faults::by_amount());
    let request = payout("slow", 5_951);
    assert!(matches!(town.pay_out(&request, "key").await, Answer::Pending(_)));
    assert_eq!(town.find_payout("slow").await.unwrap().status, PayoutStatus::Pending);
    town.pass(MINUTE * 3);
    assert_eq!(town.find_payout("slow").await.unwrap().status, PayoutStatus::Paid);
}

#[tokio::test]
async fn a_payout_that_was_made_can_come_back() {
    let town = Town::new(SOUND, Faults::by_amount());
    assert!(matches!(town.pay_out(&payout("back", 5_952), "key").await, Answer::Done(_)));
    town.pass(MINUTE * 3);
    let found = town.find_payout("back").await.unwrap();
    assert_eq!(found.status, PayoutStatus::Failed);
    assert_eq!(found.decline.unwrap().code, DeclineCode::InvalidBankAccount);
}

#[tokio::test]
async fn a_declined_payout_stays_declined_and_is_found_so() {
    let town = Town::new(FORGETFUL, Faults::by_amount());
    for (minor, code) in [(953, DeclineCode::InvalidBankAccount), (954, DeclineCode::PayoutRefused)]
    {
        let request = payout(&format!("refused-{minor}"), minor);
        for key in ["first", "first", "second"] {
            let key = format!("{minor}-{key}");
            let Answer::Declined(decline) = town.pay_out(&request, &key).await else { panic!() };
            assert_eq!(decline.code, code);
        }
        let found = town.find_payout(&request.reference).await.unwrap();
        assert_eq!(found.status, PayoutStatus::Failed);
        assert!(town.moved(&request.reference).is_empty());
    }
}

#[tokio::test]
async fn a_hidden_payout_is_not_shown_for_a_while() {
    let town = Town::with(SOUND, Operation::PayOut, Fault::Hidden(MINUTE));
    assert!(is_unknown(&town.pay_out(&payout("hidden", 5_000), "key").await));
    assert_eq!(town.find_payout("hidden").await, None);
    town.pass(MINUTE);
    assert_eq!(town.find_payout("hidden").await.unwrap().status, PayoutStatus::Paid);
}

#[tokio::test]
async fn a_payout_is_made_twice_where_keys_are_not_known_or_it_is_doubled() {
    let forgetful = Town::new(FORGETFUL, Faults::default());
    for _ in 0..2 {
        forgetful.pay_out(&payout("twice", 5_000), "key").await;
    }
    let doubling = Town::with(SOUND, Operation::PayOut, Fault::Doubled);
    doubling.pay_out(&payout("twice", 5_000), "key").await;
    for town in [forgetful, doubling] {
        let moved = town.provider.movements("twice");
        assert_eq!(town.moved("twice"), [(RemoteKind::PayOut, 5_000); 2]);
        assert_ne!(moved[0].provider_key, moved[1].provider_key);
    }
}

#[tokio::test]
async fn another_key_for_the_same_reference_is_no_refusal() {
    let town = Town::new(SOUND, Faults::default());
    town.pay_out(&payout("once", 5_000), "key").await;
    assert!(is_unknown(&town.pay_out(&payout("once", 5_000), "another").await));
    assert_eq!(town.moved("once"), [(RemoteKind::PayOut, 5_000)]);
}

#[test]
fn an_account_number_is_in_nothing_that_is_printed() {
    assert!(!format!("{:?}", payout("secret", 5_000)).contains("110123456789"));
}
