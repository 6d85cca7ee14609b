//! The fake provider in each of its natures against the suite that every adapter passes.

use std::sync::Arc;

use async_trait::async_trait;

use super::super::journal::day_of;
use super::super::{FORGETFUL, SILENT, SOUND};
use super::{Capabilities, FakeProvider, Faults, Method, Town};
use crate::domain::payments::disputes::DisputeStatus;
use crate::providers::payments::RawWebhook;
use crate::providers::payments::conformance::{Payer, Subject, conforms};

/// It can do no more than it has to.
const POOR: Capabilities = Capabilities {
    has_manual_capture: false,
    has_partial_refund: false,
    has_deposits: true,
    has_payouts: false,
    has_settlements: false,
    ..FORGETFUL
};

struct FakePayer(Arc<FakeProvider>);

#[async_trait]
impl Payer for FakePayer {
    async fn pay(&self, order: &str) -> String {
        self.0.pay(order, Method::Card).unwrap()
    }

    async fn promise(&self, order: &str) -> Option<String> {
        Some(self.0.pay(order, Method::VirtualAccount).unwrap())
    }

    async fn deposit(&self, order: &str) {
        self.0.deposit(order).unwrap();
    }

    async fn give_up(&self, order: &str) -> String {
        self.0.decline(order).unwrap()
    }

    async fn dispute(&self, order: &str) -> Option<String> {
        Some(self.0.dispute(order, None).unwrap())
    }

    async fn decide(&self, dispute: &str, status: DisputeStatus) {
        self.0.decide(dispute, status).unwrap();
    }

    async fn take_webhooks(&self) -> Vec<RawWebhook> {
        self.0.take_webhooks()
    }

    fn day(&self) -> String {
        day_of(self.0.now())
    }
}

fn subject(capabilities: Capabilities) -> Subject {
    let provider = Town::new(capabilities, Faults::by_amount()).provider;
    Subject { payer: Arc::new(FakePayer(Arc::clone(&provider))), provider }
}

fn sound() -> Subject {
    subject(SOUND)
}

fn forgetful() -> Subject {
    subject(FORGETFUL)
}

fn silent() -> Subject {
    subject(SILENT)
}

fn poor() -> Subject {
    subject(POOR)
}

mod a_sound_one {
    super::conforms!(super::sound);
}

mod a_forgetful_one {
    super::conforms!(super::forgetful);
}

mod a_silent_one {
    super::conforms!(super::silent);
}

mod a_poor_one {
    super::conforms!(super::poor);
}
