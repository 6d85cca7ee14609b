//! Times the calls of a provider: how long each took, and what came of it. Changes nothing.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;

use super::{
    Answer, Cancel, Canceled, Capabilities, Charge, ClientParameters, Confirm, Dispute,
    DisputePage, Hint, LookUp, PaidOut, PaymentProvider, Payout, Prepare, RawWebhook, RemotePage,
    SettlementPage, WebhookError,
};
use crate::domain::time::Timestamp;
use crate::domain::workflows::EffectKey;

/// A provider whose calls are timed.
pub(super) struct Measured(pub(super) Arc<dyn PaymentProvider>);

/// What a call came to, in a word.
trait Outcome {
    fn word(&self) -> &'static str;
}

impl<T> Outcome for Answer<T> {
    fn word(&self) -> &'static str {
        match self {
            Self::Done(_) => "done",
            Self::Pending(_) => "pending",
            Self::Declined(_) => "declined",
            Self::Unknown(_) => "unknown",
            Self::Misconfigured(_) => "misconfigured",
        }
    }
}

impl<T> Outcome for LookUp<T> {
    fn word(&self) -> &'static str {
        match self {
            Self::Found(_) => "done",
            Self::Absent => "absent",
            Self::Unknown(_) => "unknown",
        }
    }
}

impl<T> Outcome for Result<T, String> {
    fn word(&self) -> &'static str {
        if self.is_ok() { "done" } else { "unknown" }
    }
}

impl Measured {
    async fn timed<O: Outcome>(&self, op: &'static str, call: impl Future<Output = O>) -> O {
        let began = Instant::now();
        let outcome = call.await;
        metrics::histogram!(
            "madang_provider_call_seconds",
            "provider" => self.0.name(),
            "op" => op,
            "outcome" => outcome.word(),
        )
        .record(began.elapsed());
        outcome
    }
}

#[async_trait]
impl PaymentProvider for Measured {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    async fn prepare(&self, request: &Prepare) -> Answer<ClientParameters> {
        self.timed("prepare", self.0.prepare(request)).await
    }

    async fn confirm(&self, request: &Confirm, key: &EffectKey) -> Answer<Charge> {
        self.timed("confirm", self.0.confirm(request, key)).await
    }

    async fn capture(&self, request: &Confirm, key: &EffectKey) -> Answer<Charge> {
        self.timed("capture", self.0.capture(request, key)).await
    }

    async fn cancel(&self, request: &Cancel, key: &EffectKey) -> Answer<Canceled> {
        self.timed("cancel", self.0.cancel(request, key)).await
    }

    async fn pay_out(&self, request: &Payout, key: &EffectKey) -> Answer<PaidOut> {
        self.timed("pay_out", self.0.pay_out(request, key)).await
    }

    async fn find_charge(&self, order: &str, provider_key: Option<&str>) -> LookUp<Charge> {
        self.timed("find_charge", self.0.find_charge(order, provider_key)).await
    }

    async fn find_cancel(&self, request: &Cancel, key: &EffectKey) -> LookUp<Canceled> {
        self.timed("find_cancel", self.0.find_cancel(request, key)).await
    }

    async fn find_payout(&self, reference: &str, key: &EffectKey) -> LookUp<PaidOut> {
        self.timed("find_payout", self.0.find_payout(reference, key)).await
    }

    async fn find_dispute(&self, provider_key: &str) -> LookUp<Dispute> {
        self.timed("find_dispute", self.0.find_dispute(provider_key)).await
    }

    async fn list_disputes(
        &self,
        since: Timestamp,
        cursor: Option<&str>,
    ) -> Result<DisputePage, String> {
        self.timed("list_disputes", self.0.list_disputes(since, cursor)).await
    }

    fn read_webhook(&self, webhook: &RawWebhook) -> Result<Hint, WebhookError> {
        self.0.read_webhook(webhook)
    }

    async fn list_transactions(
        &self,
        day: &str,
        cursor: Option<&str>,
    ) -> Result<RemotePage, String> {
        self.timed("list_transactions", self.0.list_transactions(day, cursor)).await
    }

    async fn list_settlements(
        &self,
        day: &str,
        cursor: Option<&str>,
    ) -> Result<SettlementPage, String> {
        self.timed("list_settlements", self.0.list_settlements(day, cursor)).await
    }
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;
    use crate::clock;
    use crate::providers::payments::Providers;
    use crate::providers::payments::fake::faults::Faults;
    use crate::providers::payments::fake::{FakeProvider, SOUND};

    #[tokio::test]
    async fn calls_are_timed_by_what_came_of_them() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let local = metrics::set_default_local_recorder(&recorder);
        let fake = FakeProvider::new(SOUND, Faults::default(), Arc::new(clock::now));
        let providers = Providers::of(Arc::new(fake));
        let absent = providers.preferred().unwrap().find_charge("nobody", None).await;
        assert_eq!(absent, LookUp::Absent);
        drop(local);

        let figures = recorder.handle().render();
        let line = r#"madang_provider_call_seconds_count{provider="fake",op="find_charge",outcome="absent"} 1"#;
        assert!(figures.contains(line), "{line} is not in {figures}");
    }
}
