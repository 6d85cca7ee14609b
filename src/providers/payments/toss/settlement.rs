//! What Toss pays us, as Toss writes it: a line for a payment or a part of it that was canceled, the latter with a minus.
//!
//! Invariant: a page with a line that cannot be read is none.

use serde::Deserialize;
use serde_json::{Number, Value};

use crate::domain::money::Currency;
use crate::providers::payments::RemoteSettlement;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Settlement {
    payment_key: String,
    transaction_key: String,
    order_id: String,
    currency: Currency,
    amount: Number,
    fee: Number,
    pay_out_amount: Number,
    /// What was canceled, where it is that.
    #[serde(default)]
    cancel: Value,
}

/// The lines of a page.
pub(super) fn read(body: Value) -> Option<Vec<RemoteSettlement>> {
    let lines: Vec<Settlement> = serde_json::from_value(body).ok()?;
    lines.into_iter().map(Settlement::read).collect()
}

impl Settlement {
    fn read(self) -> Option<RemoteSettlement> {
        if self.currency != Currency::KRW {
            return None;
        }
        let gross = whole(&self.amount)?;
        let is_cancel = !self.cancel.is_null() || gross < 0;
        Some(RemoteSettlement {
            // The list of movements calls a payment by its own key, and what was canceled of it by this one.
            movement: if is_cancel { self.transaction_key.clone() } else { self.payment_key },
            key: self.transaction_key,
            order: self.order_id,
            gross,
            fee: whole(&self.fee)?,
            net: whole(&self.pay_out_amount)?,
        })
    }
}

/// A whole number of won, with its sign, however it is written.
fn whole(number: &Number) -> Option<i64> {
    let text = number.to_string();
    text.strip_suffix(".0").unwrap_or(&text).parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line(changes: &[(&str, Value)]) -> Value {
        let mut line = json!({
            "mId": "m", "paymentKey": "pay-1", "transactionKey": "tx-1", "orderId": "md_1",
            "currency": "KRW", "method": "카드", "amount": 64_601, "interestFee": 0, "fee": 1_492,
            "supplyAmount": 1_356, "vat": 136, "payOutAmount": 63_109,
            "approvedAt": "2026-11-20T06:58:32+09:00", "soldDate": "2026-11-20",
            "paidOutDate": "2026-11-24", "cancel": null,
        });
        for (key, value) in changes {
            line[*key] = value.clone();
        }
        line
    }

    #[test]
    fn a_line_is_read_with_its_sign_and_the_key_of_what_it_is_of() {
        let canceled = line(&[
            ("transactionKey", json!("tx-2")),
            ("amount", json!(-4_000)),
            ("fee", json!(-93)),
            ("payOutAmount", json!(-3_907)),
            ("cancel", json!({ "cancelReason": "…" })),
        ]);
        let lines = read(json!([line(&[]), canceled])).unwrap();
        let read: Vec<_> =
            lines.iter().map(|it| (it.movement.as_str(), it.gross, it.fee, it.net)).collect();
        assert_eq!(read, [("pay-1", 64_601, 1_492, 63_109), ("tx-2", -4_000, -93, -3_907)]);
        assert_eq!((lines[0].key.as_str(), lines[0].order.as_str()), ("tx-1", "md_1"));
    }

    #[test]
    fn a_page_with_a_line_that_cannot_be_read_is_none() {
        for (key, value) in [
            ("amount", json!(10.5)),
            ("fee", json!("1492")),
            ("payOutAmount", json!(null)),
            ("currency", json!("USD")),
            ("transactionKey", json!(null)),
        ] {
            assert_eq!(read(json!([line(&[]), line(&[(key, value)])])), None, "{key}");
        }
        assert_eq!(read(json!({ "code": "x" })), None);
        assert_eq!(read(json!([])), Some(Vec::new()));
    }
}
