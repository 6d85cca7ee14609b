//! Payments: takes money for orders, gives it back, and finds out what became of either. No actor: rows, and workflows
//! that go on whoever dies.
//!
//! [`requests`] are what callers ask for, each answered once however often it is sent; `confirm`, `refund`,
//! `void`, `orphan` and `dispute` the flows; [`again`] looks at a payment of which something was heard, and `expiry` at
//! those of which nothing was. [`operating`], [`conflicts`], [`settling`] and [`journal`] are what people do by hand, [`reconciliation`] holds what
//! providers say against ours. [`settlements`] is how what was paid becomes somebody's, [`wallets`] what users have
//! and take out, [`withdraw`] how that gets to their banks, and [`bank_file`] one of those who bring it there. Invariant: a provider is called by a flow and by nobody
//! else, but to get a payment ready and to look.

pub mod again;
pub mod answers;
pub mod bank_file;
mod confirm;
pub mod conflicts;
pub mod desk;
mod dispute;
mod expiry;
pub mod figures;
pub mod journal;
pub mod operating;
mod orphan;
pub mod reconciliation;
mod refund;
pub mod requests;
pub mod settlements;
pub mod settling;
mod silence;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
mod void;
pub mod wallets;
pub mod withdraw;

use std::sync::Arc;
use std::time::Duration;

use self::answers::PaymentView;
use self::desk::Desk;
use super::workflow::engine::Engine;
use super::workflow::flow::{Flow, StepError};
use super::workflow::supervisor::Workflows;
use crate::domain::idempotency::StoredAnswer;
use crate::domain::ids::{PaymentId, UserId};
use crate::domain::money::Currency;
use crate::domain::payments::ProviderName;
use crate::domain::time::Timestamp;
use crate::store::StoreError;
use crate::store::payments::ChangeError;
use crate::store::payments::transitions::TransitionError;
use crate::store::payments::views::{PaymentCursor, PaymentFilter};

/// How long a virtual account waits for its payer's transfer.
const DEPOSIT_AWAITED: Duration = Duration::from_hours(7 * 24);
/// How long whoever asks for something waits for its end.
pub const ANSWERED_WITHIN: Duration = Duration::from_secs(8);

/// How payments are made here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PaymentsSettings {
    /// The only one that is dealt in.
    pub currency: Currency,
    /// How long a payer has.
    pub expires_after: Duration,
    /// How long a caller waits for a workflow, such as [`ANSWERED_WITHIN`].
    pub answered_within: Duration,
}

/// Why a request is not answered. Nothing was done for it that a repeat under the same key would not find.
#[derive(Debug, thiserror::Error)]
pub enum PaymentsError {
    #[error("there is no such order or payment, or it is somebody else's")]
    NotFound,
    #[error("a request under the same key is being answered")]
    KeyInUse,
    #[error("the key was used for another request")]
    KeyReused,
    /// An administrator pays it or is paid by it; nothing was done.
    #[error("nobody decides about what is their own")]
    OwnDecision,
    /// A refund that nobody has to look at, or that is being asked for again; nothing was done.
    #[error("the refund does not wait for anybody's decision")]
    NotInReview,
    /// Somebody has stopped the provider; nothing was done.
    #[error("the provider takes nothing new for now")]
    ProviderStopped,
    /// Nobody takes payments here, or nobody answers.
    #[error("no provider answers: {0}")]
    Unavailable(String),
    /// Something else is being done with it now: the answer of this moment, which is not kept.
    #[error("not now")]
    NotNow(Box<StoredAnswer>),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What the rules refuse that was allowed before: a defect.
    #[error("a payment cannot come on: {0}")]
    Broken(String),
}

impl From<ChangeError> for PaymentsError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Store(error) => Self::Store(error),
            other => Self::Broken(other.to_string()),
        }
    }
}

impl From<TransitionError> for PaymentsError {
    fn from(error: TransitionError) -> Self {
        ChangeError::from(error).into()
    }
}

impl From<StepError> for PaymentsError {
    fn from(error: StepError) -> Self {
        match error {
            StepError::Store(error) => Self::Store(error),
            other => Self::Broken(other.to_string()),
        }
    }
}

/// Payments. Cheap to clone.
#[derive(Clone)]
pub struct Payments(Arc<Inner>);

struct Inner {
    desk: Desk,
    engine: Engine,
    workflows: Workflows,
    settings: PaymentsSettings,
}

/// Every flow there is, for the engine.
#[must_use]
pub fn flows(desk: &Desk) -> Vec<Flow> {
    let mut flows: Vec<Flow> = confirm::flows(desk).into();
    flows.extend([refund::flow(desk), void::flow(desk), orphan::flow(desk), dispute::flow()]);
    flows
}

impl Payments {
    /// `engine` has the [`flows`] of `desk`, and `workflows` drives it.
    #[must_use]
    pub fn new(
        desk: Desk,
        engine: Engine,
        workflows: Workflows,
        settings: PaymentsSettings,
    ) -> Self {
        Self(Arc::new(Inner { desk, engine, workflows, settings }))
    }

    /// A payer's payments, the latest first.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list(
        &self,
        payer: UserId,
        filter: PaymentFilter,
        after: Option<PaymentCursor>,
        limit: i64,
    ) -> Result<Vec<PaymentView>, StoreError> {
        let payments = self.0.desk.store.list_payments(payer, filter, after, limit).await?;
        Ok(payments.iter().map(PaymentView::from).collect())
    }

    /// A payment, of this payer where there is one: of another's nothing is told.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn find(
        &self,
        payer: Option<UserId>,
        id: PaymentId,
    ) -> Result<Option<PaymentView>, StoreError> {
        let found = self.0.desk.store.find_payment(id).await?;
        Ok(found
            .filter(|it| payer.is_none_or(|payer| payer == it.payer))
            .as_ref()
            .map(PaymentView::from))
    }

    /// Whether the settings of this node name a provider.
    #[must_use]
    pub fn has_provider(&self, name: ProviderName) -> bool {
        self.0.desk.provider(name).is_some()
    }

    /// Whether new payments go to a provider.
    #[must_use]
    pub fn is_preferred(&self, name: ProviderName) -> bool {
        self.0.desk.providers.preferred().is_some_and(|it| it.name() == name.as_str())
    }

    fn now(&self) -> Timestamp {
        (self.0.desk.clock)()
    }
}
