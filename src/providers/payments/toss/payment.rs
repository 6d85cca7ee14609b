//! A payment as Toss writes it, and what of it we read.
//!
//! Toss keeps no key of ours with a refund, so that ours stands at the end of the reason that it keeps. Invariant: a payment
//! that lacks what identifies it is none.

use serde::Deserialize;
use serde_json::{Number, Value};

use super::codes;
use crate::domain::money::{Amount, Currency};
use crate::domain::time::Timestamp;
use crate::domain::workflows::EffectKey;
use crate::providers::payments::{
    Canceled, Charge, ChargeStatus, RemoteKind, RemotePage, RemoteTransaction,
};

/// What a reason may have besides our key; Toss takes 200 characters.
const REASON_CHARS_MAX: usize = 120;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payment {
    payment_key: String,
    order_id: String,
    total_amount: Number,
    currency: Currency,
    status: String,
    method: Option<String>,
    approved_at: Option<String>,
    #[serde(default)]
    cancels: Option<Vec<CancelLine>>,
    #[serde(default)]
    failure: Option<Failure>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CancelLine {
    transaction_key: String,
    cancel_amount: Number,
    cancel_reason: Option<String>,
    canceled_at: Option<String>,
    /// A refund that is not finished has another one than `DONE`.
    #[serde(default)]
    cancel_status: Option<String>,
}

#[derive(Deserialize)]
struct Failure {
    code: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Transaction {
    transaction_key: String,
    payment_key: String,
    order_id: String,
    amount: Number,
    status: String,
    transaction_at: String,
}

/// The payment in an answer.
pub(super) fn read(body: Value) -> Option<Charge> {
    let payment: Payment = serde_json::from_value(body).ok()?;
    let cancels = payment.cancels.unwrap_or_default();
    let has_open_cancels = cancels.iter().any(CancelLine::is_open);
    let cancels = cancels.into_iter().filter(CancelLine::is_done).map(CancelLine::read);
    Some(Charge {
        provider_key: payment.payment_key,
        order: payment.order_id,
        amount: amount(&payment.total_amount)?,
        currency: payment.currency,
        status: status(&payment.status)?,
        method: payment.method.as_deref().map(method),
        decline: payment.failure.and_then(|failure| codes::of_confirm(&failure.code)),
        approved_at: payment.approved_at.as_deref().and_then(instant),
        cancels: cancels.collect::<Option<_>>()?,
        has_open_cancels,
        disputes: Vec::new(),
    })
}

impl CancelLine {
    fn is_done(&self) -> bool {
        self.cancel_status.as_deref().is_none_or(|status| status == "DONE")
    }

    /// Whatever is neither made nor given up may still be made.
    fn is_open(&self) -> bool {
        !self.is_done() && self.cancel_status.as_deref() != Some("ABORTED")
    }

    fn read(self) -> Option<Canceled> {
        let effect_key = self.cancel_reason.as_deref().and_then(key_in);
        Some(Canceled {
            provider_key: self.transaction_key,
            effect_key: effect_key.map(|key| key.as_str().to_owned()),
            amount: amount(&self.cancel_amount)?,
            at: self.canceled_at.as_deref().and_then(instant),
        })
    }
}

/// A reason that says which refund it is of.
pub(super) fn reason(text: &str, key: &EffectKey) -> String {
    let text: String = text.chars().take(REASON_CHARS_MAX).collect();
    format!("{text} [{key}]")
}

fn key_in(reason: &str) -> Option<EffectKey> {
    let (_, key) = reason.strip_suffix(']')?.rsplit_once('[')?;
    EffectKey::parse(key)
}

/// A page of a day. `limit` is how many were asked for: where there are as many, there may be more.
pub(super) fn read_page(body: Value, limit: usize) -> Option<RemotePage> {
    let lines: Vec<Transaction> = serde_json::from_value(body).ok()?;
    let next = (lines.len() >= limit).then(|| lines.last()).flatten();
    let next = next.map(|line| line.transaction_key.clone());
    let items = lines.into_iter().filter_map(Transaction::read);
    Some(RemotePage { items: items.collect::<Option<_>>()?, next })
}

impl Transaction {
    /// `None` for one that moved no money, and within for one that cannot be read.
    fn read(self) -> Option<Option<RemoteTransaction>> {
        let (kind, provider_key) = match self.status.as_str() {
            "DONE" => (RemoteKind::Charge, self.payment_key),
            "CANCELED" | "PARTIAL_CANCELED" => (RemoteKind::Cancel, self.transaction_key),
            _ => return None,
        };
        let line = |amount, at| RemoteTransaction {
            provider_key,
            order: self.order_id,
            amount,
            kind,
            // What it takes is told when it pays.
            fee: 0,
            at,
        };
        Some(amount(&self.amount).zip(instant(&self.transaction_at)).map(|(a, at)| line(a, at)))
    }
}

/// `None` for a status of tomorrow: it could mean anything.
fn status(text: &str) -> Option<ChargeStatus> {
    Some(match text {
        "READY" | "IN_PROGRESS" => ChargeStatus::Open,
        "WAITING_FOR_DEPOSIT" => ChargeStatus::AwaitingDeposit,
        "DONE" | "PARTIAL_CANCELED" => ChargeStatus::Captured,
        "CANCELED" => ChargeStatus::Canceled,
        "ABORTED" | "EXPIRED" => ChargeStatus::Failed,
        _ => return None,
    })
}

/// The methods come in Korean.
fn method(text: &str) -> String {
    match text {
        "카드" => "card",
        "가상계좌" => "virtual_account",
        "간편결제" => "easy_pay",
        "휴대폰" => "mobile_phone",
        "계좌이체" => "transfer",
        "문화상품권" | "도서문화상품권" | "게임문화상품권" => "gift_certificate",
        _ => "other",
    }
    .to_owned()
}

/// A whole number of won, however it is written; a refund may have a sign.
fn amount(number: &Number) -> Option<Amount> {
    let text = number.to_string();
    let text = text.strip_suffix(".0").unwrap_or(&text);
    Amount::new(text.strip_prefix('-').unwrap_or(text).parse().ok()?).ok()
}

fn instant(text: &str) -> Option<Timestamp> {
    let at: jiff::Timestamp = text.parse().ok()?;
    Some(Timestamp::from_millis(at.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::providers::payments::DeclineCode;

    fn payment(changes: &[(&str, Value)]) -> Value {
        let mut payment = json!({
            "mId": "tvivarepublica",
            "version": "2022-11-16",
            "paymentKey": "key-1",
            "orderId": "order-1",
            "orderName": "a lamp",
            "status": "DONE",
            "requestedAt": "2026-11-22T10:00:00+09:00",
            "approvedAt": "2026-11-22T10:00:01+09:00",
            "currency": "KRW",
            "totalAmount": 1000,
            "balanceAmount": 1000,
            "method": "카드",
            "cancels": null,
            "failure": null,
        });
        for (key, value) in changes {
            payment[*key] = value.clone();
        }
        payment
    }

    #[test]
    fn a_payment_is_read_with_what_identifies_it() {
        let charge = read(payment(&[])).unwrap();
        assert_eq!((charge.provider_key.as_str(), charge.order.as_str()), ("key-1", "order-1"));
        assert_eq!((charge.amount.minor(), charge.currency), (1_000, Currency::KRW));
        assert_eq!(charge.status, ChargeStatus::Captured);
        assert_eq!(charge.method.as_deref(), Some("card"));
        assert_eq!(charge.approved_at, Some(Timestamp::from_millis(1_795_309_201_000)));
        for (key, value) in [
            ("paymentKey", json!(null)),
            ("orderId", json!(7)),
            ("totalAmount", json!(0)),
            ("totalAmount", json!(10.5)),
            ("totalAmount", json!("1000")),
            ("currency", json!("won")),
            ("status", json!("A_STATUS_OF_TOMORROW")),
            ("cancels", json!([{ "cancelAmount": 3 }])),
        ] {
            assert_eq!(read(payment(&[(key, value.clone())])), None, "{key} {value}");
        }
    }

    #[test]
    fn every_status_has_its_meaning() {
        for (status, meaning) in [
            ("READY", ChargeStatus::Open),
            ("IN_PROGRESS", ChargeStatus::Open),
            ("WAITING_FOR_DEPOSIT", ChargeStatus::AwaitingDeposit),
            ("DONE", ChargeStatus::Captured),
            ("PARTIAL_CANCELED", ChargeStatus::Captured),
            ("CANCELED", ChargeStatus::Canceled),
            ("ABORTED", ChargeStatus::Failed),
            ("EXPIRED", ChargeStatus::Failed),
        ] {
            assert_eq!(read(payment(&[("status", json!(status))])).unwrap().status, meaning);
        }
    }

    #[test]
    fn a_payment_that_failed_says_why_if_that_is_certain() {
        let failed = |code| {
            let failure = json!({ "code": code, "message": "…" });
            read(payment(&[("status", json!("ABORTED")), ("failure", failure)])).unwrap().decline
        };
        assert_eq!(failed("REJECT_CARD_PAYMENT").unwrap().code, DeclineCode::InsufficientFunds);
        assert_eq!(failed("PROVIDER_ERROR"), None);
    }

    #[test]
    fn a_refund_is_known_by_the_key_in_its_reason() {
        let key = EffectKey::of("refund");
        let written = reason(&"이".repeat(500), &key);
        assert!(written.chars().count() <= 200);
        let line = |reason: &str, status: Value| {
            json!({
                "transactionKey": "tx-1", "cancelAmount": 300, "cancelReason": reason,
                "canceledAt": "2026-11-22T11:00:00+09:00", "cancelStatus": status,
            })
        };
        let cancels = json!([
            line(&written, json!("DONE")),
            line("by hand [at the counter]", json!(null)),
            line("under way", json!("IN_PROGRESS")),
        ]);
        let charge = read(payment(&[("cancels", cancels)])).unwrap();
        let keys: Vec<_> = charge.cancels.iter().map(|it| it.effect_key.as_deref()).collect();
        assert_eq!(keys, [Some(key.as_str()), None]);
        assert!(charge.has_open_cancels, "one is under way");
    }

    #[test]
    fn a_refund_is_under_way_until_it_is_made_or_given_up() {
        let is_open = |status: Value| {
            let line = json!({ "transactionKey": "tx", "cancelAmount": 1, "cancelStatus": status });
            read(payment(&[("cancels", json!([line]))])).unwrap().has_open_cancels
        };
        assert!(is_open(json!("IN_PROGRESS")) && is_open(json!("A_STATUS_OF_TOMORROW")));
        assert!(!is_open(json!("DONE")) && !is_open(json!(null)) && !is_open(json!("ABORTED")));
    }

    #[test]
    fn a_day_has_what_moved_money_and_goes_on_after_a_full_page() {
        let line = |key: &str, status: &str, amount: i64| {
            json!({
                "mId": "m", "transactionKey": key, "paymentKey": "pay-1", "orderId": "order-1",
                "method": "카드", "customerKey": null, "useEscrow": false, "currency": "KRW",
                "amount": amount, "status": status, "transactionAt": "2026-11-22T12:00:00+09:00",
            })
        };
        let body = json!([
            line("tx-1", "DONE", 1_000),
            line("tx-2", "PARTIAL_CANCELED", -300),
            line("tx-3", "WAITING_FOR_DEPOSIT", 1_000),
        ]);
        let page = read_page(body.clone(), 3).unwrap();
        let lines: Vec<_> = page
            .items
            .iter()
            .map(|it| (it.kind, it.provider_key.as_str(), it.amount.minor()))
            .collect();
        assert_eq!(
            lines,
            [(RemoteKind::Charge, "pay-1", 1_000), (RemoteKind::Cancel, "tx-2", 300)]
        );
        assert_eq!(page.next.as_deref(), Some("tx-3"));
        assert_eq!(read_page(body, 4).unwrap().next, None);
        assert_eq!(read_page(json!({ "code": "x" }), 4), None);
    }
}
