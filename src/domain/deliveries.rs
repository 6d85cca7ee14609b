//! Deliveries: letters in the queue of a medium, what became of them, and the rule by which they are tried again.
//!
//! Invariant: an attempt says something about its letter or about the way there, and only the former is counted against
//! the letter: while a provider is down, nobody's attempts are used up. Webhooks are the exception: the way there is the
//! receiver's own, and their schedule outlasts what receivers need to mend it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::ids::{DeliveryId, UserId};
use super::media::Medium;
use super::rooms::Seq;
use super::stored_as;
use super::time::Timestamp;

/// Where a letter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStatus {
    /// To be attempted, for the first time or again.
    Queued,
    /// The provider has taken it over.
    Delivered,
    /// The provider has refused it, or its address, for good.
    Bounced,
    /// Given up, or never composed; a person may look at it and replay it.
    Dead,
    /// Not sent on purpose; `reason` says why.
    Suppressed,
}
stored_as!(DeliveryStatus {
    Queued = "queued",
    Delivered = "delivered",
    Bounced = "bounced",
    Dead = "dead",
    Suppressed = "suppressed"
});

/// A letter that is wanted. It is composed when it is attempted, so that it says what is true then.
#[derive(Clone, PartialEq)]
pub struct NewDelivery {
    pub id: DeliveryId,
    /// Never [`Medium::Inbox`].
    pub medium: Medium,
    /// The kind of notification, or the name of the domain event.
    pub kind: String,
    /// For whom; `None` for another system.
    pub user: Option<UserId>,
    /// The notification in the user's inbox that it tells of.
    pub seq: Option<Seq>,
    /// The device or the webhook endpoint that it goes to.
    pub target: Option<Uuid>,
    /// Set on a digest: later notifications with the same key go into it as long as it is queued.
    pub digest_key: Option<String>,
    /// JSON that it is composed from, where no notification holds it. May hold secrets, and is never printed.
    pub data: Option<String>,
    /// Not before then.
    pub due_at: Timestamp,
    /// Why it is not sent at all: it is kept for the log only.
    pub suppressed: Option<String>,
}

/// A letter that is to be attempted now.
#[derive(Clone, PartialEq)]
pub struct Delivery {
    pub id: DeliveryId,
    pub medium: Medium,
    pub kind: String,
    pub user: Option<UserId>,
    pub seq: Option<Seq>,
    pub target: Option<Uuid>,
    pub digest_key: Option<String>,
    /// May hold secrets, and is never printed.
    pub data: Option<String>,
    /// Which attempt this is, from 1.
    pub attempts: u32,
    pub created_at: Timestamp,
    /// Since when it has been tried.
    pub first_due_at: Timestamp,
    pub due_at: Timestamp,
}

impl Delivery {
    /// Whom it is for, as far as fairness goes: one party does not hold all the workers of a medium.
    #[must_use]
    pub fn party(&self) -> Uuid {
        self.user.map(UserId::uuid).or(self.target).unwrap_or(self.id.uuid())
    }
}

/// How a letter ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryEnd {
    Delivered,
    /// The provider refused the letter for good.
    Refused,
    /// Its address is no more.
    Gone,
    Dead,
    Suppressed,
}

impl DeliveryEnd {
    #[must_use]
    pub const fn status(self) -> DeliveryStatus {
        match self {
            Self::Delivered => DeliveryStatus::Delivered,
            Self::Refused | Self::Gone => DeliveryStatus::Bounced,
            Self::Dead => DeliveryStatus::Dead,
            Self::Suppressed => DeliveryStatus::Suppressed,
        }
    }
}

/// What came of one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// The provider has taken the letter.
    Taken,
    /// No answer, or the provider's own failure.
    Unavailable,
    /// The provider takes it later.
    Deferred,
    /// The provider takes nothing more from us for now.
    Throttled,
    /// The provider will never take it.
    Refused,
    /// The address is no more.
    Gone,
    /// The provider refuses us at this address.
    Denied,
    /// The provider refuses us.
    Misconfigured,
    /// It will never be composed.
    Poison,
    /// It could not be composed this time, or something here panicked.
    Failed,
    /// Whoever made it died before it could tell what came of it.
    Lost,
}
stored_as!(AttemptOutcome {
    Taken = "taken",
    Unavailable = "unavailable",
    Deferred = "deferred",
    Throttled = "throttled",
    Refused = "refused",
    Gone = "gone",
    Denied = "denied",
    Misconfigured = "misconfigured",
    Poison = "poison",
    Failed = "failed",
    Lost = "lost"
});

/// An attempt that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    pub outcome: AttemptOutcome,
    /// Which one it was, from 1.
    pub number: u32,
    /// What the provider asks for.
    pub retry_after: Option<Duration>,
    /// Whether it was made to find out if the way is open again.
    pub is_probe: bool,
}

/// What follows an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    End {
        end: DeliveryEnd,
        reason: Option<&'static str>,
    },
    Again {
        due_at: Timestamp,
        /// Whether the attempt is counted against the letter.
        counts: bool,
    },
}

/// Why a letter of the log cannot be given or replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DeliveryLogError {
    #[error("there is no such letter")]
    NotFound,
    #[error("only a dead letter can be replayed")]
    NotDead,
}

/// All attempts are used up.
pub const ATTEMPTS_USED_UP: &str = "attempts_used_up";
/// It was put off for so long that it is of no use any more.
pub const TOO_OLD: &str = "too_old";
/// The medium has no provider here.
pub const NO_PROVIDER: &str = "no_provider";

/// The wait before the first retry is up to this, and doubles: 14, 28 … 1,792 seconds, on average half of that, which
/// makes eight retries in about 30 minutes.
const WAIT_FIRST: Duration = Duration::from_secs(14);
const RETRIES: u32 = 8;
/// Even the luckiest draw leaves the provider a moment.
const WAIT_MIN: Duration = Duration::from_secs(1);
/// The schedule that Standard Webhooks 1.0 gives as its example, after the first attempt.
const WEBHOOK_WAITS: [Duration; 9] = [
    Duration::from_secs(5),
    Duration::from_mins(5),
    Duration::from_mins(30),
    Duration::from_hours(2),
    Duration::from_hours(5),
    Duration::from_hours(10),
    Duration::from_hours(14),
    Duration::from_hours(20),
    Duration::from_hours(24),
];
/// Webhooks wait up to this part longer, so that those of one outage do not come back as one crowd.
const WEBHOOK_JITTER: f64 = 0.2;
/// What a provider asks for is spread by up to this part.
const RETRY_AFTER_JITTER: f64 = 0.1;
/// How long a letter waits that was attempted for the sake of the way.
const UNCOUNTED_WAIT: Duration = Duration::from_secs(30);
/// How long one waits at least whose address we were denied: longer than a way stays closed, so that those of others, and not
/// this one again, find out whether the way is open.
pub const DENIED_WAIT: Duration = Duration::from_mins(5);

/// How a medium tries again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryRule {
    medium: Medium,
}

impl RetryRule {
    #[must_use]
    pub const fn of(medium: Medium) -> Self {
        Self { medium }
    }

    /// How often a letter is attempted at most.
    #[must_use]
    pub fn attempts_max(self) -> u32 {
        match self.medium {
            Medium::Webhook => {
                u32::try_from(WEBHOOK_WAITS.len()).unwrap_or(u32::MAX).saturating_add(1)
            }
            Medium::Inbox | Medium::Mail | Medium::Sms | Medium::Push => RETRIES.saturating_add(1),
        }
    }

    /// A letter that waited for so long, for a way to open that stayed closed, is given up.
    #[must_use]
    pub const fn give_up_after(self) -> Duration {
        match self.medium {
            Medium::Webhook => Duration::from_hours(96),
            Medium::Inbox | Medium::Mail | Medium::Sms | Medium::Push => Duration::from_hours(24),
        }
    }

    /// The longest wait that a provider may ask for.
    #[must_use]
    pub const fn retry_after_max(self) -> Duration {
        match self.medium {
            Medium::Webhook => Duration::from_hours(24),
            Medium::Inbox | Medium::Mail | Medium::Sms | Medium::Push => Duration::from_hours(1),
        }
    }

    /// How long to wait after attempt `number`, from 1; `None` when that was the last. `chance`, from 0 to 1, is drawn
    /// by the caller: full jitter, so that whoever failed together does not come back together.
    #[must_use]
    pub fn wait(self, number: u32, retry_after: Option<Duration>, chance: f64) -> Option<Duration> {
        if number >= self.attempts_max() {
            return None;
        }
        let chance = chance.clamp(0.0, 1.0);
        let retries_made = number.max(1).saturating_sub(1);
        let wait = match self.medium {
            Medium::Webhook => {
                let wait = usize::try_from(retries_made).ok().and_then(|at| WEBHOOK_WAITS.get(at));
                wait?.mul_f64(1.0 + WEBHOOK_JITTER * chance)
            }
            Medium::Inbox | Medium::Mail | Medium::Sms | Medium::Push => {
                let factor = 1_u32.checked_shl(retries_made).unwrap_or(u32::MAX);
                WAIT_FIRST.saturating_mul(factor).mul_f64(chance).max(WAIT_MIN)
            }
        };
        let asked = retry_after.unwrap_or_default().min(self.retry_after_max());
        Some(wait.max(asked.mul_f64(1.0 + RETRY_AFTER_JITTER * chance)))
    }

    /// What follows an attempt at a letter that was first due at `first_due_at`.
    #[must_use]
    pub fn next(
        self,
        attempt: &Attempt,
        first_due_at: Timestamp,
        now: Timestamp,
        chance: f64,
    ) -> Next {
        let dead = |reason| Next::End { end: DeliveryEnd::Dead, reason: Some(reason) };
        let ended = |end| Next::End { end, reason: Some(attempt.outcome.as_str()) };
        let counts = match attempt.outcome {
            AttemptOutcome::Taken => {
                return Next::End { end: DeliveryEnd::Delivered, reason: None };
            }
            AttemptOutcome::Refused => return ended(DeliveryEnd::Refused),
            AttemptOutcome::Gone => return ended(DeliveryEnd::Gone),
            AttemptOutcome::Poison => return ended(DeliveryEnd::Dead),
            // An operator has to mend something, or the provider to recover: no letter is to blame.
            AttemptOutcome::Misconfigured | AttemptOutcome::Throttled => false,
            AttemptOutcome::Unavailable => !attempt.is_probe || self.medium == Medium::Webhook,
            AttemptOutcome::Denied
            | AttemptOutcome::Deferred
            | AttemptOutcome::Failed
            | AttemptOutcome::Lost => true,
        };
        if self.is_too_old(first_due_at, now) {
            return dead(TOO_OLD);
        }
        if !counts {
            let wait = UNCOUNTED_WAIT.mul_f64(0.5 + 0.5 * chance.clamp(0.0, 1.0));
            let asked = attempt.retry_after.unwrap_or_default().min(self.retry_after_max());
            let wait = wait.max(asked);
            return Next::Again { due_at: now.plus(wait), counts };
        }
        match self.wait(attempt.number, attempt.retry_after, chance) {
            Some(wait) => Next::Again { due_at: now.plus(wait), counts },
            None => dead(ATTEMPTS_USED_UP),
        }
    }

    /// Whether a letter that was first due then is given up instead of being put off once more.
    #[must_use]
    pub fn is_too_old(self, first_due_at: Timestamp, now: Timestamp) -> bool {
        now.since(first_due_at) >= self.give_up_after()
    }
}

impl fmt::Debug for NewDelivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewDelivery")
            .field("id", &self.id)
            .field("medium", &self.medium)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("id", &self.id)
            .field("medium", &self.medium)
            .field("kind", &self.kind)
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: Timestamp = Timestamp::from_millis(1_795_244_400_000);

    fn attempt(outcome: AttemptOutcome, number: u32) -> Attempt {
        Attempt { outcome, number, retry_after: None, is_probe: false }
    }

    fn next(medium: Medium, attempt: &Attempt) -> Next {
        RetryRule::of(medium).next(attempt, START, START, 0.5)
    }

    #[test]
    fn a_letter_is_tried_nine_times_within_about_half_an_hour() {
        let rule = RetryRule::of(Medium::Mail);
        let mut waits = (1..).map_while(|number| rule.wait(number, None, 0.5));

        let expected: Duration = waits.by_ref().sum();
        assert_eq!(expected, Duration::from_secs(1_785));
        assert_eq!(rule.attempts_max(), 9);
        assert_eq!(rule.wait(8, None, 1.0), Some(Duration::from_secs(1_792)));
        assert_eq!(rule.wait(9, None, 0.5), None);
    }

    #[test]
    fn webhooks_follow_the_schedule_of_the_specification() {
        let rule = RetryRule::of(Medium::Webhook);
        let waits: Vec<u64> =
            (1..).map_while(|number| rule.wait(number, None, 0.0)).map(|it| it.as_secs()).collect();

        let hours = [2, 5, 10, 14, 20, 24].map(|hours| hours * 3_600);
        assert_eq!(waits, [[5, 300, 1_800].as_slice(), &hours].concat());
        assert_eq!(rule.attempts_max(), 10);
        let all: u64 = (1..).map_while(|n| rule.wait(n, None, 1.0)).map(|it| it.as_secs()).sum();
        assert!(Duration::from_secs(all) < rule.give_up_after(), "nothing is cut short");
    }

    #[test]
    fn a_provider_is_obeyed_within_bounds() {
        let rule = RetryRule::of(Medium::Sms);
        let wait = |asked| rule.wait(1, Some(Duration::from_secs(asked)), 0.0).unwrap().as_secs();

        assert_eq!([wait(0), wait(90), wait(1_000_000)], [1, 90, 3_600]);
    }

    #[test]
    fn each_outcome_leads_where_it_should() {
        use AttemptOutcome as O;
        let end = |end, reason: &'static str| Next::End { end, reason: Some(reason) };
        for (outcome, expected) in [
            (O::Refused, end(DeliveryEnd::Refused, "refused")),
            (O::Gone, end(DeliveryEnd::Gone, "gone")),
            (O::Poison, end(DeliveryEnd::Dead, "poison")),
            (O::Taken, Next::End { end: DeliveryEnd::Delivered, reason: None }),
        ] {
            assert_eq!(next(Medium::Mail, &attempt(outcome, 1)), expected);
            assert_eq!(next(Medium::Mail, &attempt(outcome, 9)), expected, "the last one, too");
        }
        for outcome in [O::Unavailable, O::Denied, O::Deferred, O::Failed, O::Lost] {
            let due_at = START.plus(Duration::from_secs(7));
            let again = Next::Again { due_at, counts: true };
            assert_eq!(next(Medium::Mail, &attempt(outcome, 1)), again, "{outcome:?}");
            let last = next(Medium::Mail, &attempt(outcome, 9));
            assert_eq!(last, end(DeliveryEnd::Dead, ATTEMPTS_USED_UP), "{outcome:?}");
        }
    }

    #[test]
    fn what_was_the_ways_fault_is_not_counted_until_the_letter_is_too_old() {
        let probe = Attempt { is_probe: true, ..attempt(AttemptOutcome::Unavailable, 9) };
        let others = [AttemptOutcome::Misconfigured, AttemptOutcome::Throttled];
        let [broken, throttled] = others.map(|outcome| attempt(outcome, 9));
        for attempt in [probe, broken, throttled] {
            let rule = RetryRule::of(Medium::Push);
            let at = |now| rule.next(&attempt, START, now, 1.0);
            let due_at = START.plus(UNCOUNTED_WAIT);
            assert_eq!(at(START), Next::Again { due_at, counts: false });
            let late = START.plus(rule.give_up_after());
            let too_old = Next::End { end: DeliveryEnd::Dead, reason: Some(TOO_OLD) };
            assert_eq!(at(late), too_old);
        }
    }

    #[test]
    fn a_provider_that_wants_less_gets_nothing_from_this_letter_until_then() {
        let asked = Some(Duration::from_secs(600));
        let throttled = Attempt { retry_after: asked, ..attempt(AttemptOutcome::Throttled, 1) };
        let due_at = START.plus(Duration::from_secs(600));
        assert_eq!(next(Medium::Sms, &throttled), Next::Again { due_at, counts: false });
    }

    #[test]
    fn a_webhook_keeps_to_its_schedule_whatever_is_known_of_the_way() {
        let probe = Attempt { is_probe: true, ..attempt(AttemptOutcome::Unavailable, 3) };
        let rule = RetryRule::of(Medium::Webhook);
        let due_at = START.plus(Duration::from_mins(30));
        assert_eq!(rule.next(&probe, START, START, 0.0), Next::Again { due_at, counts: true });
    }

    #[test]
    fn a_delivery_in_a_log_tells_no_secret() {
        let delivery = NewDelivery {
            id: Uuid::from_u128(1).into(),
            medium: Medium::Mail,
            kind: "reset_password".to_owned(),
            user: None,
            seq: None,
            target: None,
            digest_key: None,
            data: Some("token-7".to_owned()),
            due_at: START,
            suppressed: None,
        };
        let debug = format!("{delivery:?}");
        assert!(debug.contains("reset_password") && !debug.contains("token-7"), "{debug}");
    }

    proptest! {
        #[test]
        fn every_letter_comes_to_an_end(
            webhook: bool,
            chances in prop::collection::vec(0.0_f64..1.0, 64),
            asked in prop::option::of(0_u64..10_000_000),
        ) {
            let medium = if webhook { Medium::Webhook } else { Medium::Push };
            let rule = RetryRule::of(medium);
            let (mut now, mut number) = (START, 0);
            for chance in chances {
                number += 1;
                let retry_after = asked.map(Duration::from_secs);
                let outcome = AttemptOutcome::Unavailable;
                let attempt = Attempt { outcome, number, retry_after, is_probe: false };
                match rule.next(&attempt, START, now, chance) {
                    Next::End { end, .. } => {
                        prop_assert_eq!(end, DeliveryEnd::Dead);
                        prop_assert!(number <= rule.attempts_max());
                        return Ok(());
                    }
                    Next::Again { due_at, .. } => {
                        prop_assert!(due_at.since(now) >= WAIT_MIN);
                        prop_assert!(due_at.since(now) <= Duration::from_hours(29));
                        now = due_at;
                    }
                }
            }
            prop_assert!(false, "it never ended");
        }
    }
}
