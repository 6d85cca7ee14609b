//! States of flows as releases have written them: each is read by every release that comes after.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, from_value, json, to_value};

use crate::actors::payments::confirm::ConfirmState;
use crate::actors::payments::orphan::OrphanState;
use crate::actors::payments::refund::RefundState;
use crate::actors::payments::void::VoidState;

/// Is read, and written as it was.
fn is_kept<S: Serialize + DeserializeOwned>(written: &Value) {
    let state: S = from_value(written.clone()).unwrap();
    assert_eq!(&to_value(state).unwrap(), written);
}

#[test]
fn every_state_of_version_one_is_read() {
    let (payment, other) =
        ("019aab00-0000-7000-8000-000000000001", "019aab00-0000-7000-8000-000000000002");
    is_kept::<ConfirmState>(&json!({
        "payment": payment,
        "attempt": other,
        "provider": "fake",
        "provider_key": "fake-md_1",
        "agreed": {
            "order": "md_1",
            "amount": 1_000,
            "currency": "KRW",
            "is_captured_later": false,
            "is_by_deposit": false,
        },
        "give_up_at": "2026-11-22T09:00:00.000Z",
        "taken": { "amount": 999, "currency": "KRW", "is_captured": true },
    }));
    is_kept::<RefundState>(&json!({
        "payment": payment,
        "refund": other,
        "provider": "toss",
        "provider_key": "fake-md_1",
        "order": "md_1",
        "amount": 300,
        "currency": "KRW",
        "reason": "늦음",
    }));
    is_kept::<VoidState>(&json!({
        "payment": payment,
        "attempt": other,
        "provider": "stripe",
        "provider_key": "fake-md_1",
        "order": "md_1",
        "currency": "KRW",
        "reason": "늦음",
    }));
    is_kept::<OrphanState>(&json!({
        "payment": payment,
        "provider": "fake",
        "provider_key": "fake-md_1",
        "order": "md_1",
        "amount": 300,
        "currency": "KRW",
        "shard": 3,
        "is_captured": true,
    }));
}
