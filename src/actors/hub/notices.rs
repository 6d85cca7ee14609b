//! Notices: what a server says of a channel or a connection beside events. The same JSON on every transport.

use std::time::Duration;

use super::channel::Channel;
use super::close::CloseCode;
use super::subscription::Gap;
use crate::domain::rooms::Seq;

/// Everything after it is new.
#[must_use]
pub fn live(channel: Channel, seq: Seq) -> String {
    format!(r#"{{"event":"live","channel":"{channel}","seq":{seq}}}"#)
}

/// Continuity from `have` cannot be given: page through REST, go on from `head`.
#[must_use]
pub fn gap(channel: Channel, gap: Gap) -> String {
    let Gap { have, first, head } = gap;
    format!(
        r#"{{"event":"gap","channel":"{channel}","have":{have},"first":{first},"head":{head}}}"#
    )
}

/// The client reads slowly: it is given the channel from the store, at its own pace.
#[must_use]
pub fn lag(channel: Channel) -> String {
    format!(r#"{{"event":"lag","channel":"{channel}"}}"#)
}

/// The subscription has ended, because the user is no longer a member.
#[must_use]
pub fn unsubscribed(channel: Channel) -> String {
    format!(r#"{{"event":"unsubscribed","channel":"{channel}","reason":"removed"}}"#)
}

/// The access token ends after `left`; a fresh one keeps the connection.
#[must_use]
pub fn token_expiring(left: Duration) -> String {
    let in_ms = left.as_millis();
    format!(r#"{{"event":"token_expiring","in_ms":{in_ms}}}"#)
}

/// The node goes away: after `wait`, open another connection, then close this one.
#[must_use]
pub fn drain(wait: Duration) -> String {
    let in_ms = wait.as_millis();
    format!(r#"{{"event":"drain","in_ms":{in_ms}}}"#)
}

/// The last word before a close.
#[must_use]
pub fn bye(code: CloseCode) -> String {
    let after = code.after_ms().map_or_else(String::new, |ms| format!(r#","after_ms":{ms}"#));
    format!(r#"{{"event":"bye","code":{},"reason":"{}"{after}}}"#, code.number(), code.reason())
}
