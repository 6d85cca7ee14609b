//! One attempt at one letter: compose it, find its way open, and hand it over.
//!
//! Invariant: whatever a composer or a courier does, such as panicking, lying or never answering, ends here: the letter
//! gets an end or goes back into its queue.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use rand::Rng as _;

use super::desk::Desk;
use super::record::{hold, record};
use super::routes::{Denial, Pass, Place};
use super::{ComposeError, Composed, Ended, behind};
use crate::domain::breaker::Report;
use crate::domain::deliveries::{
    Attempt, AttemptOutcome, DENIED_WAIT, Delivery, DeliveryEnd, NO_PROVIDER, Next, TOO_OLD,
};
use crate::domain::letters::Letter;
use crate::domain::time::Timestamp;
use crate::providers::couriers::{Courier, DeliveryError, Receipt};
use crate::store::deliveries::queue::{AttemptEnd, Claimed, Fate, Settlement};

/// When a letter is composed again for which the database did not give what it needs: after as long as it has waited,
/// between these two.
const COMPOSE_AGAIN: Duration = Duration::from_secs(5);
const COMPOSE_AGAIN_MAX: Duration = Duration::from_mins(10);
/// A time that was put off to is not in the past, and not at once.
const LATER_MIN: Duration = Duration::from_secs(1);

/// What came of it.
enum Made {
    Attempt {
        outcome: AttemptOutcome,
        detail: Option<String>,
        retry_after: Option<Duration>,
        is_probe: bool,
        provider_id: Option<String>,
        letter: Option<Box<Letter>>,
    },
    Suppressed(String),
    NoProvider,
    Later(Timestamp),
    /// It cannot be attempted now, such as because the way is not open.
    Shut {
        until: Timestamp,
        reason: &'static str,
    },
    /// The node stops: somebody else makes it.
    Released,
}

/// Why something here did not answer.
enum Cut {
    TimedOut,
    Panicked,
}

/// Makes the attempt, holding the letter's lease, and records it. The party's place is given back at the end.
pub(super) async fn make(desk: Arc<Desk>, claimed: Claimed, place: Place) {
    let Claimed { claim, delivery } = claimed;
    let renewals = AtomicU32::new(0);
    let mut holding = pin!(hold(&desk, claim, &renewals));
    let made = tokio::select! {
        made = attempt(&desk, &delivery) => made,
        () = &mut holding => {
            tracing::warn!(delivery.id = %delivery.id, "a letter was taken by another node meanwhile");
            return;
        }
    };
    let (settlement, ended) = settle(&desk, &delivery, made);
    let held = (holding, &renewals);
    if record(&desk, claim, settlement.clone(), ended, held).await {
        tell(&desk, &delivery, &settlement);
    }
    drop(place);
}

async fn attempt(desk: &Desk, delivery: &Delivery) -> Made {
    if delivery.attempts > desk.rule.attempts_max() {
        return failed(AttemptOutcome::Lost, "whoever attempted it the last times did not survive");
    }
    let Some(courier) = &desk.courier else { return Made::NoProvider };
    let letter = match compose(desk, delivery).await {
        Ok(letter) => letter,
        Err(made) => return made,
    };
    let found = catch_unwind(AssertUnwindSafe(|| courier.route(&letter)));
    let Ok(route) = found else {
        return failed(AttemptOutcome::Failed, "its way could not be found");
    };
    let pass = match desk.routes.admit(&route, delivery.party(), (desk.clock)()) {
        Ok(pass) => pass,
        Err(wait) => {
            behind::put_off(desk, &route, delivery, &letter).await;
            return Made::Shut { until: wait.until, reason: wait.reason };
        }
    };
    if desk.is_stopping() {
        return Made::Released;
    }
    deliver(desk, courier.as_ref(), delivery, letter, pass).await
}

async fn compose(desk: &Desk, delivery: &Delivery) -> Result<Letter, Made> {
    let composing = async { desk.composer.compose(delivery).await };
    match guarded(desk.attempt_timeout, composing).await {
        Ok(Ok(Composed::Letter(letter))) => {
            if letter.id == delivery.id && letter.medium() == desk.medium {
                Ok(*letter)
            } else {
                Err(failed(AttemptOutcome::Poison, "it was composed as another letter"))
            }
        }
        Ok(Ok(Composed::Suppressed(reason))) => Err(Made::Suppressed(reason)),
        Ok(Ok(Composed::Later(until))) => Err(Made::Later(until)),
        Ok(Ok(Composed::Unable(until))) => Err(Made::Shut { until, reason: "unable" }),
        Ok(Err(ComposeError::Poison(cause))) => Err(failed(AttemptOutcome::Poison, &cause)),
        Ok(Err(ComposeError::Store(error))) => {
            tracing::warn!(delivery.id = %delivery.id, %error, "a letter could not be composed");
            // That says nothing about the letter.
            let now = (desk.clock)();
            let waited = now.since(delivery.first_due_at);
            let until = now.plus(waited.clamp(COMPOSE_AGAIN, COMPOSE_AGAIN_MAX));
            Err(Made::Shut { until, reason: "not_composed" })
        }
        Err(Cut::TimedOut) => Err(failed(AttemptOutcome::Failed, "composing it took too long")),
        Err(Cut::Panicked) => Err(failed(AttemptOutcome::Failed, "composing it panicked")),
    }
}

async fn deliver(
    desk: &Desk,
    courier: &dyn Courier,
    delivery: &Delivery,
    letter: Letter,
    pass: Pass,
) -> Made {
    let began = Instant::now();
    let delivering = async { courier.deliver(&letter).await };
    let delivered = guarded(desk.attempt_timeout, delivering).await;
    let labels = [("medium", desk.medium.as_str())];
    metrics::histogram!("madang_delivery_duration_seconds", &labels).record(began.elapsed());

    let is_probe = pass.is_probe();
    let now = (desk.clock)();
    let (outcome, detail, retry_after) = match &delivered {
        Ok(Ok(_)) => (AttemptOutcome::Taken, None, None),
        Ok(Err(error)) => {
            let (outcome, retry_after) = meaning(error);
            (outcome, Some(error.to_string()), retry_after)
        }
        Err(Cut::TimedOut) => {
            (AttemptOutcome::Unavailable, Some("no answer in time".to_owned()), None)
        }
        Err(Cut::Panicked) => {
            (AttemptOutcome::Failed, Some("handing it over panicked".to_owned()), None)
        }
    };
    let outcome = tell_route(pass, outcome, retry_after, delivery.attempts, now);
    if outcome == AttemptOutcome::Misconfigured {
        tracing::error!(
            medium = desk.medium.as_str(),
            provider = courier.name(),
            cause = detail.as_deref(),
            "the provider refuses this server; letters wait until somebody mends that"
        );
    }
    let provider_id =
        delivered.ok().and_then(Result::ok).and_then(|Receipt { provider_id }| provider_id);
    Made::Attempt {
        outcome,
        detail,
        retry_after,
        is_probe,
        provider_id,
        letter: Some(Box::new(letter)),
    }
}

/// Says what the attempt told about the way, and gives what it means for the letter.
fn tell_route(
    pass: Pass,
    outcome: AttemptOutcome,
    retry_after: Option<Duration>,
    number: u32,
    now: Timestamp,
) -> AttemptOutcome {
    match outcome {
        AttemptOutcome::Taken => pass.taken(now),
        AttemptOutcome::Unavailable => pass.report(Report::Failed, now),
        AttemptOutcome::Misconfigured => pass.report(Report::Broken, now),
        AttemptOutcome::Throttled => pass.report(Report::Throttled(retry_after), now),
        AttemptOutcome::Denied => match pass.denied(now) {
            // An address that denies us again and again, where others do not, is worth nothing.
            Denial::OfOne if number > 1 => return AttemptOutcome::Gone,
            Denial::OfOne | Denial::Unclear => {}
            Denial::OfAll => tracing::error!(
                "a provider denies this server at one address after the other: is its key the one that they are bound to?"
            ),
        },
        // That says nothing about the way.
        AttemptOutcome::Failed => drop(pass),
        AttemptOutcome::Deferred
        | AttemptOutcome::Refused
        | AttemptOutcome::Gone
        | AttemptOutcome::Poison
        | AttemptOutcome::Lost => pass.report(Report::Answered, now),
    }
    outcome
}

const fn meaning(error: &DeliveryError) -> (AttemptOutcome, Option<Duration>) {
    match error {
        DeliveryError::Unavailable { retry_after, .. } => {
            (AttemptOutcome::Unavailable, *retry_after)
        }
        DeliveryError::Deferred { retry_after, .. } => (AttemptOutcome::Deferred, *retry_after),
        DeliveryError::Throttled { retry_after, .. } => (AttemptOutcome::Throttled, *retry_after),
        DeliveryError::Refused { .. } => (AttemptOutcome::Refused, None),
        DeliveryError::Gone { .. } => (AttemptOutcome::Gone, None),
        DeliveryError::Denied { .. } => (AttemptOutcome::Denied, Some(DENIED_WAIT)),
        DeliveryError::Misconfigured { .. } => (AttemptOutcome::Misconfigured, None),
    }
}

/// Nothing was handed over.
fn failed(outcome: AttemptOutcome, detail: &str) -> Made {
    Made::Attempt {
        outcome,
        detail: Some(detail.to_owned()),
        retry_after: None,
        is_probe: false,
        provider_id: None,
        letter: None,
    }
}

async fn guarded<T>(limit: Duration, work: impl Future<Output = T>) -> Result<T, Cut> {
    match tokio::time::timeout(limit, AssertUnwindSafe(work).catch_unwind()).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(_)) => Err(Cut::Panicked),
        Err(_) => Err(Cut::TimedOut),
    }
}

/// What is recorded, and what the composer is told if that is the letter's end.
fn settle(desk: &Desk, delivery: &Delivery, made: Made) -> (Settlement, Option<Ended>) {
    let now = (desk.clock)();
    let provider = desk.courier.as_ref().map(|courier| courier.name());
    let end = |end: DeliveryEnd, reason: Option<String>, letter: Option<Box<Letter>>| Ended {
        delivery: delivery.clone(),
        letter,
        end,
        reason,
        at: now,
    };
    let unmade = |ended: Ended| {
        let (status, reason) = (ended.end.status(), ended.reason.clone());
        let fate = Fate::Ended { status, reason, provider_id: None };
        (Settlement { fate, attempt: None, provider: None }, Some(ended))
    };
    let again = |due_at, reason: Option<&str>, starts_anew| {
        let reason = reason.map(str::to_owned);
        let fate = Fate::Again { due_at, reason, counts: false, starts_anew };
        (Settlement { fate, attempt: None, provider: None }, None)
    };
    match made {
        Made::Attempt { outcome, detail, retry_after, is_probe, provider_id, letter } => {
            let number = delivery.attempts;
            let attempt = Attempt { outcome, number, retry_after, is_probe };
            let chance = rand::rng().random_range(0.0..1.0);
            let next = desk.rule.next(&attempt, delivery.first_due_at, now, chance);
            let (fate, ended) = match next {
                Next::End { end: how, reason } => {
                    let reason = reason.map(str::to_owned);
                    let status = how.status();
                    let fate = Fate::Ended { status, reason: reason.clone(), provider_id };
                    (fate, Some(end(how, reason, letter)))
                }
                Next::Again { due_at, counts } => {
                    let reason = Some(outcome.as_str().to_owned());
                    (Fate::Again { due_at, reason, counts, starts_anew: false }, None)
                }
            };
            (Settlement { fate, attempt: Some(AttemptEnd { outcome, detail }), provider }, ended)
        }
        Made::Suppressed(reason) => unmade(end(DeliveryEnd::Suppressed, Some(reason), None)),
        Made::NoProvider => {
            let must_arrive = desk.composer.must_arrive(delivery);
            let how = if must_arrive { DeliveryEnd::Dead } else { DeliveryEnd::Suppressed };
            unmade(end(how, Some(NO_PROVIDER.to_owned()), None))
        }
        Made::Later(until) => again(until.max(now.plus(LATER_MIN)), Some("later"), true),
        Made::Shut { reason, .. } if desk.rule.is_too_old(delivery.first_due_at, now) => {
            tracing::debug!(delivery.id = %delivery.id, reason, "a letter waited for too long");
            unmade(end(DeliveryEnd::Dead, Some(TOO_OLD.to_owned()), None))
        }
        Made::Shut { until, reason } => again(until, Some(reason), false),
        Made::Released => again(delivery.due_at, None, false),
    }
}

fn tell(desk: &Desk, delivery: &Delivery, settlement: &Settlement) {
    let medium = desk.medium.as_str();
    let (outcome, reason) = match &settlement.fate {
        Fate::Ended { status, reason, .. } => (status.as_str(), reason.as_deref()),
        Fate::Again { counts: true, reason, .. } => ("retried", reason.as_deref()),
        Fate::Again { counts: false, reason, .. } => ("put_off", reason.as_deref()),
    };
    metrics::counter!("madang_deliveries_total", "medium" => medium, "outcome" => outcome)
        .increment(1);
    if outcome == "dead" {
        let (id, kind) = (delivery.id, &delivery.kind);
        tracing::error!(delivery.id = %id, delivery.kind = kind, medium, reason, "a letter is dead");
    }
}
