//! Masking: what people may see of a key of a provider, or of an account.
//!
//! Invariant: at most the last four characters are left, and only where there are twice as many.

use serde_json::Value;

const SHOWN: usize = 4;

/// The last four characters behind asterisks; nothing of a text of fewer than eight.
#[must_use]
pub fn masked(text: &str) -> String {
    let hidden = text.chars().count().saturating_sub(SHOWN);
    if hidden < SHOWN {
        return "****".to_owned();
    }
    format!("****{}", text.chars().skip(hidden).collect::<String>())
}

/// Masks every text in it that stands under a name that says so, however deep.
pub fn mask(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(text) if is_secret(name) => *text = masked(text),
                    Value::Array(items) if is_list_of_secrets(name) => {
                        items.iter_mut().for_each(mask_text);
                    }
                    other => mask(other),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(mask),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// What a workflow is for, without the key of the provider that some are named by.
#[must_use]
pub fn masked_purpose(dedupe_key: &str) -> String {
    let mut parts = dedupe_key.splitn(3, ':');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(what @ ("orphan" | "let_go" | "dispute")), Some(provider), Some(key)) => {
            format!("{what}:{provider}:{}", masked(key))
        }
        _ => dedupe_key.to_owned(),
    }
}

fn mask_text(value: &mut Value) {
    match value {
        Value::String(text) => *text = masked(text),
        other => mask(other),
    }
}

/// What a charge calls its disputes is the provider's keys of them.
fn is_list_of_secrets(name: &str) -> bool {
    name == "disputes"
}

/// The keys of effects are our own, and say nothing.
fn is_secret(name: &str) -> bool {
    (name.ends_with("_key") && name != "effect_key")
        || matches!(name, "account_number" | "holder" | "secret")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn at_most_four_characters_are_left() {
        assert_eq!(masked("pay_0123456789"), "****6789");
        assert_eq!(masked("12345678"), "****5678");
        assert_eq!(masked("1234567"), "****");
        assert_eq!(masked("가나다라마바사아자"), "****바사아자");
        assert_eq!(masked(""), "****");
    }

    #[test]
    fn keys_are_masked_however_deep_they_are() {
        let mut answer = json!({
            "provider_key": "pay_0123456789", "effect_key": "0123456789", "amount": 1,
            "cancels": [{ "provider_key": "cancel_987654", "amount": 1 }],
            "disputes": ["dp_1a2b3c4d", { "provider_key": "dp_5e6f7a8b" }],
        });
        mask(&mut answer);
        assert_eq!(
            answer,
            json!({
                "provider_key": "****6789", "effect_key": "0123456789", "amount": 1,
                "cancels": [{ "provider_key": "****7654", "amount": 1 }],
                "disputes": ["****3c4d", { "provider_key": "****7a8b" }],
            })
        );
        for what in ["orphan", "let_go", "dispute"] {
            let whole = format!("{what}:toss:pay_0123:456789");
            assert_eq!(masked_purpose(&whole), format!("{what}:toss:****6789"));
        }
        assert_eq!(masked_purpose("void:1:2"), "void:1:2");
        assert_eq!(masked_purpose("confirm:1"), "confirm:1");
    }
}
