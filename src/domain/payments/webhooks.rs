//! Webhooks of payment providers, as they are kept: a hint about which charge to ask for, and never what became of it.
//!
//! Invariant: nothing that a webhook says is believed. Whoever forges one makes us look, and see what is true.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::domain::stored_as;

/// The longest webhook that is taken.
pub const BODY_BYTES_MAX: usize = 65_536;
/// How long one that is settled is kept, for whoever has to find out what a provider has said.
pub const KEPT: Duration = Duration::from_hours(30 * 24);
/// How long whoever has taken one has for it: longer than a call to the outside takes.
pub const LEASED: Duration = Duration::from_secs(60);
const NAME_BYTES_MAX: usize = 200;

/// How far a webhook can be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Trust {
    /// It proves who sent it.
    Signed,
    /// Anybody may have sent it.
    Unsigned,
}

stored_as!(Trust { Signed = "signed", Unsigned = "unsigned" });

/// Where a webhook is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WebhookStatus {
    /// Somebody has to look.
    Received,
    /// Somebody has looked.
    Done,
    /// It is about nothing of ours.
    Ignored,
    /// For a day, looking has failed.
    Failed,
}

stored_as!(WebhookStatus {
    Received = "received",
    Done = "done",
    Ignored = "ignored",
    Failed = "failed"
});

/// Which charge a webhook is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ChargeName {
    /// Our order, as we named it to the provider.
    pub order: Option<String>,
    /// The provider's own name.
    pub provider_key: Option<String>,
}

impl ChargeName {
    /// `None` where there is no name, or one that is none of ours: ours are printable, and not that long.
    #[must_use]
    pub fn parse(order: Option<&str>, provider_key: Option<&str>) -> Option<Self> {
        let is_name = |name: &str| {
            (1..=NAME_BYTES_MAX).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_graphic())
        };
        if order.is_none() && provider_key.is_none() {
            return None;
        }
        let are_names = order.into_iter().chain(provider_key).all(is_name);
        are_names.then(|| Self {
            order: order.map(str::to_owned),
            provider_key: provider_key.map(str::to_owned),
        })
    }
}

/// What a webhook is known by: the same for the same happening, short whatever a provider, or somebody else, calls it.
#[must_use]
pub fn dedupe_key(happening: &[u8]) -> String {
    format!("{:x}", Sha256::digest(happening))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_charge_has_a_short_plain_name() {
        let parsed = ChargeName::parse(Some("md_1"), None).unwrap();
        assert_eq!((parsed.order.as_deref(), parsed.provider_key), (Some("md_1"), None));
        assert!(ChargeName::parse(None, Some("pay_1")).is_some());
        assert_eq!(ChargeName::parse(None, None), None);
        for name in ["", "a b", "a\0", "주문", &"a".repeat(201)] {
            assert_eq!(ChargeName::parse(Some("md_1"), Some(name)), None, "{name:?}");
            assert_eq!(ChargeName::parse(Some(name), None), None, "{name:?}");
        }
    }
}
