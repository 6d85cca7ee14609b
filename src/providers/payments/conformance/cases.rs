//! The cases: each prepares an order of its own and holds the provider to what it says of itself.

use bytes::Bytes;

use super::super::{
    Answer, Cancel, ChargeStatus, DeclineCode, ListedDispute, LookUp, RawWebhook, RefundTo,
    RemoteKind, WebhookError, WebhookTrust,
};
use super::{Subject, cancel, check_payout, confirm, is_taken, key, payout, refunded};
use crate::domain::money::Amount;
use crate::domain::payments::disputes::DisputeStatus;
use crate::domain::time::Timestamp;

pub(crate) async fn its_name_fits_the_books(subject: &Subject) {
    let name = subject.provider.name();
    assert!(!name.is_empty() && name.bytes().all(|it| it.is_ascii_lowercase() || it == b'_'));
}

pub(crate) async fn preparing_takes_nothing(subject: &Subject) {
    let order = subject.prepare("preparing", 1_000).await;
    assert!(!is_taken(&subject.provider.find_charge(&order, None).await));
    assert!(subject.moved(&order).await.is_empty());
}

pub(crate) async fn a_payment_is_taken_as_it_was_agreed(subject: &Subject) {
    let (request, charge) = subject.taken("agreed", 12_340).await;
    assert_eq!(charge.provider_key, request.provider_key);
    assert_eq!(charge.order, request.order);
    assert_eq!((charge.amount, charge.currency), (request.amount, request.currency));
    assert_eq!(charge.status, ChargeStatus::Captured);
    assert!(charge.approved_at.is_some() && charge.decline.is_none() && charge.cancels.is_empty());
}

pub(crate) async fn a_payment_that_its_payer_has_not_made_is_not_taken(subject: &Subject) {
    let order = subject.prepare("unmade", 1_000).await;
    let request = confirm(&order, "no-such-key", 1_000);
    let answer = subject.provider.confirm(&request, &key("unmade")).await;
    assert!(!matches!(answer, Answer::Done(_) | Answer::Pending(_)), "{answer:?}");
    assert!(subject.moved(&order).await.is_empty());
}

pub(crate) async fn a_payment_that_its_payer_gave_up_is_declined(subject: &Subject) {
    let order = subject.prepare("given-up", 1_000).await;
    let provider_key = subject.payer.give_up(&order).await;
    let request = confirm(&order, &provider_key, 1_000);
    let answer = subject.provider.confirm(&request, &key("given-up")).await;
    assert!(matches!(answer, Answer::Declined(_)), "{answer:?}");
    assert!(!is_taken(&subject.provider.find_charge(&order, Some(&provider_key)).await));
}

pub(crate) async fn another_amount_than_was_agreed_is_not_taken(subject: &Subject) {
    let order = subject.prepare("another-amount", 1_000).await;
    let provider_key = subject.payer.pay(&order).await;
    for (n, minor) in [1, 999, 1_001].into_iter().enumerate() {
        let request = confirm(&order, &provider_key, minor);
        let answer = subject.provider.confirm(&request, &key(&format!("another-{n}"))).await;
        assert!(!matches!(answer, Answer::Done(_) | Answer::Pending(_)), "{answer:?}");
    }
    assert!(!is_taken(&subject.provider.find_charge(&order, Some(&provider_key)).await));
}

pub(crate) async fn a_payment_that_nobody_knows_is_not_taken(subject: &Subject) {
    let request = confirm("conform-nobody", "no-such-key", 1_000);
    let answer = subject.provider.confirm(&request, &key("nobody")).await;
    assert!(!matches!(answer, Answer::Done(_) | Answer::Pending(_)), "{answer:?}");
    let found = subject.provider.find_charge(&request.order, Some("no-such-key")).await;
    assert!(!matches!(found, LookUp::Found(_)), "{found:?}");
}

pub(crate) async fn a_repeated_confirmation_takes_once_where_keys_are_known(subject: &Subject) {
    let (request, first) = subject.taken("repeated", 1_000).await;
    if !subject.knows_keys() {
        return;
    }
    let again = subject.provider.confirm(&request, &key("repeated")).await;
    assert_eq!(again, Answer::Done(first));
    assert_eq!(subject.moved(&request.order).await, [(RemoteKind::Charge, 1_000)]);
}

pub(crate) async fn a_charge_is_found_by_what_the_provider_says_it_can_be_found_by(
    subject: &Subject,
) {
    let (request, charge) = subject.taken("found", 1_000).await;
    let by_key = subject.provider.find_charge(&request.order, Some(&request.provider_key)).await;
    assert_eq!(by_key, LookUp::Found(charge.clone()));
    let by_order = subject.provider.find_charge(&request.order, None).await;
    if subject.provider.capabilities().has_look_up_by_order {
        assert_eq!(by_order, LookUp::Found(charge));
    } else {
        assert!(matches!(by_order, LookUp::Unknown(_)), "{by_order:?}");
    }
}

pub(crate) async fn an_order_that_nobody_named_is_not_found(subject: &Subject) {
    let found = subject.provider.find_charge("conform-unnamed", None).await;
    if subject.provider.capabilities().has_look_up_by_order {
        assert_eq!(found, LookUp::Absent);
    } else {
        assert!(matches!(found, LookUp::Unknown(_)), "{found:?}");
    }
}

pub(crate) async fn a_whole_refund_gives_back_all(subject: &Subject) {
    let (request, _) = subject.taken("whole-refund", 1_000).await;
    let canceled = subject.canceled(&request, None, "whole-refund").await;
    assert_eq!(canceled.amount.minor(), 1_000);
    let charge = subject.found(&request).await;
    assert_eq!((charge.status, refunded(&charge)), (ChargeStatus::Canceled, 1_000));
    assert_eq!(charge.amount.minor(), 1_000, "what was taken is told as before");
}

pub(crate) async fn partial_refunds_add_up_or_are_refused(subject: &Subject) {
    let (request, _) = subject.taken("partial", 1_000).await;
    if !subject.provider.capabilities().has_partial_refund {
        let answer = subject.provider.cancel(&cancel(&request, Some(300)), &key("part")).await;
        assert!(matches!(answer, Answer::Declined(_) | Answer::Misconfigured(_)), "{answer:?}");
        return;
    }
    let first = subject.canceled(&request, Some(300), "partial-1").await;
    let charge = subject.found(&request).await;
    assert_eq!((charge.status, refunded(&charge)), (ChargeStatus::Captured, 300));
    // As much again is another refund: only the key tells them apart.
    let second = subject.canceled(&request, Some(300), "partial-2").await;
    let rest = subject.canceled(&request, None, "partial-3").await;
    assert_eq!([first.amount, second.amount, rest.amount].map(Amount::minor), [300, 300, 400]);
    assert_ne!(first.provider_key, second.provider_key);
    let charge = subject.found(&request).await;
    assert_eq!((charge.status, refunded(&charge)), (ChargeStatus::Canceled, 1_000));
}

pub(crate) async fn more_than_is_left_is_not_refunded(subject: &Subject) {
    let (request, _) = subject.taken("too-much", 1_000).await;
    let too_much = cancel(&request, Some(1_001));
    let answer = subject.provider.cancel(&too_much, &key("too-much-1")).await;
    assert!(!matches!(answer, Answer::Done(_) | Answer::Pending(_)), "{answer:?}");
    subject.canceled(&request, None, "too-much-2").await;
    let again = subject.provider.cancel(&cancel(&request, None), &key("too-much-3")).await;
    // Somebody may have refunded it under another name: that is no refusal for certain.
    assert!(matches!(again, Answer::Unknown(_) | Answer::Declined(_)), "{again:?}");
    assert_eq!(refunded(&subject.found(&request).await), 1_000);
}

pub(crate) async fn a_repeated_refund_is_given_once_where_keys_are_known(subject: &Subject) {
    let (request, _) = subject.taken("refund-again", 1_000).await;
    let asked = subject.provider.capabilities().has_partial_refund.then_some(300);
    let first = subject.canceled(&request, asked, "refund-again").await;
    if !subject.knows_keys() {
        return;
    }
    let again = subject.canceled(&request, asked, "refund-again").await;
    assert_eq!(again, first);
    assert_eq!(refunded(&subject.found(&request).await), first.amount.minor());
}

pub(crate) async fn a_refund_is_found_by_its_key_and_by_no_other(subject: &Subject) {
    let (request, _) = subject.taken("refund-found", 1_000).await;
    let canceled = subject.canceled(&request, None, "refund-found").await;
    let asked = cancel(&request, None);
    let found = subject.provider.find_cancel(&asked, &key("refund-found")).await;
    let other = subject.provider.find_cancel(&asked, &key("refund-other")).await;
    if subject.provider.capabilities().has_look_up_by_key {
        assert_eq!((found, other), (LookUp::Found(canceled), LookUp::Absent));
    } else {
        assert!(matches!(found, LookUp::Unknown(_)), "{found:?}");
        assert!(matches!(other, LookUp::Unknown(_)), "{other:?}");
    }
}

pub(crate) async fn a_deposit_goes_back_to_the_account_that_was_named(subject: &Subject) {
    let order = subject.prepare("deposit", 1_000).await;
    let Some(provider_key) = subject.payer.promise(&order).await else { return };
    let request = confirm(&order, &provider_key, 1_000);
    let answer = subject.provider.confirm(&request, &key("deposit")).await;
    assert!(matches!(answer, Answer::Pending(_)), "{answer:?}");
    subject.payer.deposit(&order).await;
    assert_eq!(subject.found(&request).await.status, ChargeStatus::Captured);
    let to_nobody = cancel(&request, None);
    let refused = subject.provider.cancel(&to_nobody, &key("deposit-nobody")).await;
    let Answer::Declined(decline) = refused else { panic!("{refused:?}") };
    assert_eq!(decline.code, DeclineCode::InvalidBankAccount);
    let to = RefundTo {
        bank_code: "088".to_owned(),
        account_number: "110123456789".into(),
        holder: "김하나".to_owned(),
    };
    let named = Cancel { refund_account: Some(to), ..to_nobody };
    let answer = subject.provider.cancel(&named, &key("deposit-back")).await;
    assert!(matches!(answer, Answer::Done(_)), "{answer:?}");
    assert_eq!(refunded(&subject.found(&request).await), 1_000);
}

pub(crate) async fn a_payment_set_aside_is_captured_or_refused(subject: &Subject) {
    let Some(request) = subject.set_aside("aside-captured").await else { return };
    assert!(subject.moved(&request.order).await.is_empty());
    let answer = subject.provider.capture(&request, &key("aside-capture")).await;
    let Answer::Done(charge) = answer else { panic!("{answer:?}") };
    assert_eq!((charge.status, charge.amount), (ChargeStatus::Captured, request.amount));
    assert_eq!(subject.moved(&request.order).await, [(RemoteKind::Charge, 1_000)]);
}

pub(crate) async fn a_payment_set_aside_is_voided(subject: &Subject) {
    let Some(request) = subject.set_aside("aside-voided").await else { return };
    subject.canceled(&request, None, "aside-void").await;
    assert_eq!(subject.found(&request).await.status, ChargeStatus::Canceled);
    let late = subject.provider.capture(&request, &key("aside-late")).await;
    assert!(!matches!(late, Answer::Done(_) | Answer::Pending(_)), "{late:?}");
    assert!(subject.moved(&request.order).await.is_empty());
}

pub(crate) async fn a_payout_is_made_and_found_or_refused(subject: &Subject) {
    let (request, key) = (payout("paid"), key("payout"));
    let answer = subject.provider.pay_out(&request, &key).await;
    let capabilities = subject.provider.capabilities();
    if !capabilities.has_payouts {
        assert!(matches!(answer, Answer::Misconfigured(_)), "{answer:?}");
        return;
    }
    check_payout(&answer, &request);
    let found = subject.provider.find_payout(&request.reference, &key).await;
    if capabilities.has_look_up_by_key {
        let LookUp::Found(found) = found else { panic!("{found:?}") };
        check_payout(&Answer::Done(found), &request);
        let other = subject.provider.find_payout("conform-unpaid", &key).await;
        assert_eq!(other, LookUp::Absent);
    } else {
        assert!(matches!(found, LookUp::Unknown(_)), "{found:?}");
    }
}

pub(crate) async fn a_repeated_payout_is_made_once_where_keys_are_known(subject: &Subject) {
    let (request, key) = (payout("paid-again"), key("payout-again"));
    if !subject.provider.capabilities().has_payouts || !subject.knows_keys() {
        return;
    }
    for _ in 0..2 {
        check_payout(&subject.provider.pay_out(&request, &key).await, &request);
    }
    assert_eq!(subject.moved(&request.reference).await, [(RemoteKind::PayOut, 5_000)]);
}

pub(crate) async fn a_dispute_is_told_with_its_charge_and_found_by_its_key(subject: &Subject) {
    let (request, charge) = subject.taken("disputed", 1_000).await;
    assert!(charge.disputes.is_empty());
    let provider = &subject.provider;
    let ever = Timestamp::from_millis(0);
    let opened = subject.payer.dispute(&request.order).await;
    assert_eq!(opened.is_some(), provider.capabilities().has_disputes);
    let Some(key) = opened else {
        let found = provider.find_dispute("no-such-key").await;
        assert!(matches!(found, LookUp::Unknown(_)), "{found:?}");
        assert!(provider.list_disputes(ever, None).await.is_err());
        return;
    };
    let listed = provider.list_disputes(ever, None).await.unwrap().items;
    let (provider_key, charge) = (key.clone(), request.provider_key.clone());
    assert!(listed.contains(&ListedDispute { provider_key, charge }), "{listed:?}");
    assert_eq!(subject.found(&request).await.disputes, std::slice::from_ref(&key));
    assert_eq!(provider.find_dispute("no-such-key").await, LookUp::Absent);
    let refused = provider.cancel(&cancel(&request, None), &super::key("disputed-refund")).await;
    assert!(matches!(refused, Answer::Declined(_)), "{refused:?}");
    for status in [DisputeStatus::NeedsResponse, DisputeStatus::Lost] {
        if status.is_final() {
            subject.payer.decide(&key, status).await;
        }
        let found = provider.find_dispute(&key).await;
        let LookUp::Found(dispute) = found else { panic!("{found:?}") };
        assert_eq!((dispute.provider_key.as_str(), dispute.status), (key.as_str(), status));
        assert_eq!((dispute.amount, dispute.currency), (request.amount, request.currency));
        assert_eq!(dispute.charge, request.provider_key);
    }
    let sent = subject.payer.take_webhooks().await;
    let hints: Vec<_> = sent.iter().map(|it| provider.read_webhook(it).unwrap()).collect();
    assert!(hints.iter().all(|it| it.provider_key.as_ref() == Some(&request.provider_key)));
    let mut names: Vec<_> = hints.into_iter().map(|it| it.dedupe_key).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), sent.len(), "each of them is a happening of its own");
}

pub(crate) async fn a_day_lists_what_moved(subject: &Subject) {
    let (request, charge) = subject.taken("listed", 1_000).await;
    let canceled = subject.canceled(&request, None, "listed").await;
    let listed = subject.listed(&request.order).await;
    let lines: Vec<_> =
        listed.iter().map(|it| (it.kind, it.provider_key.as_str(), it.amount.minor())).collect();
    assert_eq!(
        lines,
        [
            (RemoteKind::Charge, charge.provider_key.as_str(), 1_000),
            (RemoteKind::Cancel, canceled.provider_key.as_str(), 1_000),
        ]
    );
}

pub(crate) async fn what_it_pays_is_listed_or_it_says_that_it_cannot(subject: &Subject) {
    let (request, charge) = subject.taken("paid", 1_000).await;
    if !subject.provider.capabilities().has_settlements {
        let day = subject.payer.paid_on();
        assert!(subject.provider.list_settlements(&day, None).await.is_err());
        return;
    }
    let canceled = subject.canceled(&request, None, "paid").await;
    let settled = subject.settled(&request.order).await;
    let lines: Vec<_> = settled.iter().map(|it| (it.movement.as_str(), it.gross)).collect();
    let expected = [(charge.provider_key.as_str(), 1_000), (&canceled.provider_key, -1_000)];
    assert_eq!(lines, expected);
    assert!(settled.iter().all(|it| it.gross - it.fee == it.net), "{settled:?}");
    assert_eq!(subject.settled(&request.order).await, settled, "a line is the same for ever");
}

pub(crate) async fn a_webhook_says_what_to_ask_for(subject: &Subject) {
    let (request, _) = subject.taken("webhook", 1_000).await;
    let sent = subject.payer.take_webhooks().await;
    assert!(!sent.is_empty());
    for webhook in &sent {
        let hint = subject.provider.read_webhook(webhook).unwrap();
        assert_eq!(subject.provider.read_webhook(webhook).unwrap(), hint, "it may come again");
        assert!(!hint.dedupe_key.is_empty());
        assert!(hint.order.is_some() || hint.provider_key.is_some());
        assert!(hint.order.is_none_or(|it| it == request.order));
        assert!(hint.provider_key.is_none_or(|it| it == request.provider_key));
    }
}

pub(crate) async fn a_webhook_that_was_tampered_with_says_nothing(subject: &Subject) {
    subject.taken("tampered", 1_000).await;
    let sent = subject.payer.take_webhooks().await;
    let mut webhook = sent.first().unwrap().clone();
    if subject.provider.capabilities().webhooks == WebhookTrust::Signed {
        let mut body = webhook.body.to_vec();
        body.push(b' ');
        let changed = RawWebhook { body: Bytes::from(body), ..webhook.clone() };
        let stripped = RawWebhook { headers: Vec::new(), ..webhook.clone() };
        for forged in [changed, stripped] {
            let read = subject.provider.read_webhook(&forged);
            assert_eq!(read, Err(WebhookError::Unsigned));
        }
    }
    for noise in ["", "null", "{", "{}", "[]"] {
        webhook.body = Bytes::from_static(noise.as_bytes());
        assert!(subject.provider.read_webhook(&webhook).is_err(), "{noise}");
    }
}
