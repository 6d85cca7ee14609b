//! What is behind a way that is not open: letters that are due and would be taken one by one, only to be put back.
//!
//! Invariant: they are put off together, page after page, and no longer than the way is closed. Those that have waited
//! for too long are left alone: they come to their end when they are taken.

use super::desk::Desk;
use crate::domain::deliveries::Delivery;
use crate::domain::devices::DeviceKind;
use crate::domain::letters::{Content, Letter, PushTarget};
use crate::store::deliveries::behind::{Behind, PutOff};

const PAGE: i64 = 500;
const PAGES_MAX: usize = 400;

/// Puts off what else is due on the way of this letter, unless that was done just now.
pub(super) async fn put_off(desk: &Desk, route: &str, delivery: &Delivery, letter: &Letter) {
    let now = (desk.clock)();
    let Some(sweep) = desk.routes.sweep(route, now) else { return };
    let Some(behind) = behind(delivery, letter) else { return };
    let put_off = PutOff {
        medium: desk.medium,
        behind,
        until: sweep.until,
        first_due_after: now.minus(desk.rule.give_up_after()),
    };
    let pages = if sweep.is_for_all { PAGES_MAX } else { 1 };
    for _ in 0..pages {
        if desk.is_stopping() {
            return;
        }
        match desk.store.put_off_deliveries(put_off.clone(), PAGE, now).await {
            Ok(count) if count == PAGE.unsigned_abs() => {}
            Ok(_) => return,
            Err(error) => {
                tracing::warn!(%error, "what is behind a way that is down was not put off");
                return;
            }
        }
    }
}

/// Which letters take the same way; `None` where the medium has no other.
fn behind(delivery: &Delivery, letter: &Letter) -> Option<Behind> {
    match &letter.content {
        Content::Mail(_) | Content::Sms(_) => None,
        // Endpoints on one host are found out one after the other.
        Content::Webhook(_) => delivery.target.map(Behind::Target),
        Content::Push(push) => Some(match &push.target {
            PushTarget::Fcm { .. } => {
                Behind::Devices { kind: DeviceKind::Fcm, prefix: String::new() }
            }
            PushTarget::WebPush { endpoint, .. } => {
                Behind::Devices { kind: DeviceKind::WebPush, prefix: origin(endpoint)?.to_owned() }
            }
        }),
    }
}

/// `https://host/`, with a port if there is one.
fn origin(endpoint: &str) -> Option<&str> {
    let host_at = endpoint.find("://")?.checked_add(3)?;
    let length = endpoint.get(host_at..)?.find('/')?;
    endpoint.get(..=host_at.checked_add(length)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_ends_with_the_slash_after_the_host() {
        assert_eq!(origin("https://push.example/a/b"), Some("https://push.example/"));
        assert_eq!(origin("https://push.example:8443/"), Some("https://push.example:8443/"));
        assert_eq!(origin("https://push.example"), None);
    }
}
