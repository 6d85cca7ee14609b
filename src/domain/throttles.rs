//! Throttles: how many letters a person gets an hour on one medium, whatever happens around them.

use super::media::Medium;
use super::preferences::KindFacts;

/// Why a letter was not sent, in the delivery log.
pub const THROTTLED: &str = "throttled";

/// Letters an hour to one user; 0 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throttles {
    pub mail_per_hour: i64,
    pub sms_per_hour: i64,
    pub push_per_hour: i64,
}

/// What becomes of a letter that is wanted now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Send,
    /// Together with others, later: nothing is lost.
    Digest,
    /// Not at all, for this reason. It stays in the inbox.
    Suppress(&'static str),
}

impl Throttles {
    /// Letters of `medium` to one user in an hour; `None` is no limit.
    #[must_use]
    pub fn limit(&self, medium: Medium) -> Option<i64> {
        let limit = match medium {
            Medium::Mail => self.mail_per_hour,
            Medium::Sms => self.sms_per_hour,
            Medium::Push => self.push_per_hour,
            Medium::Inbox | Medium::Webhook => 0,
        };
        (limit > 0).then_some(limit)
    }

    /// Decides about one more letter, given how many went to the user on this medium in the last hour.
    ///
    /// Mails over the limit gather in a digest. A text message or a push message that comes late is of no use.
    #[must_use]
    pub fn decide(&self, facts: &KindFacts, medium: Medium, sent: i64) -> Verdict {
        let is_over = self.limit(medium).is_some_and(|limit| sent >= limit);
        match medium {
            _ if facts.is_critical || !is_over => Verdict::Send,
            Medium::Mail => Verdict::Digest,
            Medium::Sms | Medium::Push | Medium::Inbox | Medium::Webhook => {
                Verdict::Suppress(THROTTLED)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::preferences::facts_of;

    const THROTTLES: Throttles = Throttles { mail_per_hour: 2, sms_per_hour: 1, push_per_hour: 0 };

    #[test]
    fn what_is_over_the_limit_gathers_or_stays_away() {
        let decide = |medium, sent| THROTTLES.decide(facts_of("message_received"), medium, sent);

        assert_eq!(decide(Medium::Mail, 1), Verdict::Send);
        assert_eq!(decide(Medium::Mail, 2), Verdict::Digest);
        assert_eq!(decide(Medium::Sms, 0), Verdict::Send);
        assert_eq!(decide(Medium::Sms, 1), Verdict::Suppress("throttled"));
        assert_eq!(decide(Medium::Push, 1_000_000), Verdict::Send, "0 is no limit");
        assert_eq!(decide(Medium::Inbox, 1_000_000), Verdict::Send);
    }

    #[test]
    fn what_is_critical_is_never_held_back() {
        for (kind, medium) in [("reset_password", Medium::Mail), ("verify_phone", Medium::Sms)] {
            assert_eq!(THROTTLES.decide(facts_of(kind), medium, 1_000), Verdict::Send);
        }
    }
}
