//! What is known of each kind of notification before anybody has chosen anything. The table is the whole of it.

use super::Choice;
use crate::domain::media::Medium;

/// How a kind stands to a medium.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// It goes out this way, whatever anybody has chosen.
    Always,
    /// It never goes out this way.
    Never,
    /// It goes out this way or not, as the user chooses; this where they have not.
    Choosable(Choice),
}

/// What is known of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KindFacts {
    /// Whether quiet hours and throttles do not hold it up.
    pub is_critical: bool,
    /// Whether its mails go to an address that nobody has confirmed yet, and at once.
    pub goes_to_unverified: bool,
    inbox: Offer,
    push: Offer,
    mail: Offer,
    sms: Offer,
}

impl KindFacts {
    /// How the kind stands to a medium.
    #[must_use]
    pub const fn offer(&self, medium: Medium) -> Offer {
        match medium {
            Medium::Inbox => self.inbox,
            Medium::Push => self.push,
            Medium::Mail => self.mail,
            Medium::Sms => self.sms,
            Medium::Webhook => Offer::Never,
        }
    }

    /// Whether a user may choose anything about it.
    #[must_use]
    pub fn is_choosable(&self) -> bool {
        Medium::OF_USERS.into_iter().any(|medium| matches!(self.offer(medium), Offer::Choosable(_)))
    }
}

const ON: Offer = Offer::Choosable(Choice::On);
const OFF: Offer = Offer::Choosable(Choice::Off);
const DIGEST: Offer = Offer::Choosable(Choice::Digest);

/// What is true of a kind that an administrator made.
pub const CUSTOM: KindFacts = of(ON, ON, OFF, OFF);

/// What this program tells of by itself. A new domain adds its rows.
pub const KINDS: [(&str, KindFacts); 23] = [
    // The digest goes where its notifications go: those are what users choose about.
    ("digest", of(Offer::Never, Offer::Always, Offer::Always, Offer::Always)),
    ("friend_request_accepted", of(ON, ON, OFF, OFF)),
    ("friend_request_received", of(ON, ON, ON, OFF)),
    ("mention_received", of(ON, ON, ON, OFF)),
    ("message_received", of(ON, ON, DIGEST, OFF)),
    ("password_changed", critical(of(Offer::Always, ON, Offer::Always, OFF))),
    ("payment_charged_back", of(ON, ON, ON, OFF)),
    ("payment_completed", of(ON, ON, ON, OFF)),
    ("payment_dispute_won", of(ON, ON, ON, OFF)),
    ("payment_disputed", of(ON, ON, ON, OFF)),
    ("payment_failed", of(ON, ON, OFF, OFF)),
    ("payment_received", of(ON, ON, OFF, OFF)),
    ("payment_refunded", of(ON, ON, ON, OFF)),
    ("payment_taken_back", of(ON, ON, ON, OFF)),
    ("reset_password", critical(of(Offer::Never, Offer::Never, Offer::Always, Offer::Never))),
    ("settlement_released", of(ON, ON, ON, OFF)),
    ("test", critical(of(Offer::Always, Offer::Always, Offer::Always, Offer::Always))),
    ("verify_email", critical(of(Offer::Never, Offer::Never, Offer::Always, Offer::Never))),
    ("verify_phone", critical(of(Offer::Never, Offer::Never, Offer::Never, Offer::Always))),
    ("welcome", to_unverified(of(ON, Offer::Never, ON, Offer::Never))),
    ("withdrawal_failed", of(ON, ON, ON, OFF)),
    ("withdrawal_paid", of(ON, ON, ON, OFF)),
    ("withdrawal_rejected", of(ON, ON, ON, OFF)),
];

/// What is known of `kind`.
#[must_use]
pub fn facts_of(kind: &str) -> &'static KindFacts {
    KINDS.iter().find(|(name, _)| *name == kind).map_or(&CUSTOM, |(_, facts)| facts)
}

/// In the order inbox, push, mail, SMS.
const fn of(inbox: Offer, push: Offer, mail: Offer, sms: Offer) -> KindFacts {
    KindFacts { is_critical: false, goes_to_unverified: false, inbox, push, mail, sms }
}

const fn to_unverified(facts: KindFacts) -> KindFacts {
    KindFacts { goes_to_unverified: true, ..facts }
}

const fn critical(facts: KindFacts) -> KindFacts {
    KindFacts { is_critical: true, ..to_unverified(facts) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::templates::builtin;

    #[test]
    fn every_built_in_kind_has_its_row() {
        let mut kinds: Vec<&str> = KINDS.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, builtin::KINDS.map(|(kind, _)| kind));
        kinds.dedup();
        assert_eq!(kinds.len(), KINDS.len());
    }

    #[test]
    fn security_is_critical_and_cannot_be_switched_off() {
        for (kind, medium) in [
            ("password_changed", Medium::Mail),
            ("reset_password", Medium::Mail),
            ("verify_email", Medium::Mail),
            ("verify_phone", Medium::Sms),
        ] {
            let facts = facts_of(kind);
            assert_eq!((facts.is_critical, facts.offer(medium)), (true, Offer::Always), "{kind}");
        }
        assert!(!facts_of("message_received").is_critical);
        assert_eq!(facts_of("shop.order_sent"), &CUSTOM);
    }
}
