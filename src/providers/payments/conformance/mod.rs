//! What every adapter has to hold to, whatever its provider is like: cases over the trait and over somebody who pays.
//!
//! An adapter's tests make a [`Subject`] and say `conforms!(subject);`. Orders are named after their cases, so that answers
//! can be recorded. Invariant: what a provider says it can do, it does; what it says it cannot, it says so when asked.

pub(crate) mod cases;

use std::sync::Arc;

use async_trait::async_trait;
use secrecy::SecretString;

use super::{
    Answer, Cancel, Canceled, Charge, ChargeStatus, ClientParameters, Confirm, LookUp, PaidOut,
    PaymentProvider, Payout, PayoutStatus, Prepare, RawWebhook, RemoteKind, RemoteSettlement,
    RemoteTransaction,
};
use crate::domain::money::{Amount, Currency};
use crate::domain::payments::disputes::DisputeStatus;
use crate::domain::workflows::EffectKey;

/// Pages of a day at most: an adapter whose cursor stands still fails.
const PAGES_MAX: usize = 100;

/// Who pays, and what the provider sends of its own accord.
#[async_trait]
pub(crate) trait Payer: Send + Sync {
    /// Sees what a payer's client is given for an order: real payers know of an order by nothing else.
    async fn open(&self, _: &ClientParameters) {}

    /// Pays for an order by card. Gives the provider's key.
    async fn pay(&self, order: &str) -> String;

    /// Pays for an order by a transfer that comes later. Gives the provider's key; `None` where the provider has no such
    /// thing.
    async fn promise(&self, order: &str) -> Option<String>;

    /// The transfer comes.
    async fn deposit(&self, order: &str);

    /// Gives up on an order. Gives the provider's key.
    async fn give_up(&self, order: &str) -> String;

    /// Has the bank want back all that is left of an order. Gives the dispute's key; `None` where the provider tells of
    /// none.
    async fn dispute(&self, order: &str) -> Option<String>;

    /// Lets the bank decide.
    async fn decide(&self, dispute: &str, status: DisputeStatus);

    /// The webhooks sent since this was asked last.
    async fn take_webhooks(&self) -> Vec<RawWebhook>;

    /// Today at the provider.
    fn day(&self) -> String;

    /// When the provider pays us for what is taken today.
    fn paid_on(&self) -> String {
        let today: jiff::civil::Date = self.day().parse().unwrap();
        today.tomorrow().unwrap().to_string()
    }
}

/// An adapter, and those who pay there.
pub(crate) struct Subject {
    pub(crate) provider: Arc<dyn PaymentProvider>,
    pub(crate) payer: Arc<dyn Payer>,
}

/// Makes a test of each case, for a function that gives a [`Subject`].
macro_rules! conforms {
    ($subject:expr) => {
        $crate::providers::payments::conformance::conforms!(
            $subject;
            its_name_fits_the_books,
            preparing_takes_nothing,
            a_payment_is_taken_as_it_was_agreed,
            a_payment_that_its_payer_has_not_made_is_not_taken,
            a_payment_that_its_payer_gave_up_is_declined,
            another_amount_than_was_agreed_is_not_taken,
            a_payment_that_nobody_knows_is_not_taken,
            a_repeated_confirmation_takes_once_where_keys_are_known,
            a_charge_is_found_by_what_the_provider_says_it_can_be_found_by,
            an_order_that_nobody_named_is_not_found,
            a_whole_refund_gives_back_all,
            partial_refunds_add_up_or_are_refused,
            more_than_is_left_is_not_refunded,
            a_repeated_refund_is_given_once_where_keys_are_known,
            a_refund_is_found_by_its_key_and_by_no_other,
            a_deposit_goes_back_to_the_account_that_was_named,
            a_payment_set_aside_is_captured_or_refused,
            a_payment_set_aside_is_voided,
            a_payout_is_made_and_found_or_refused,
            a_repeated_payout_is_made_once_where_keys_are_known,
            a_dispute_is_told_with_its_charge_and_found_by_its_key,
            a_day_lists_what_moved,
            what_it_pays_is_listed_or_it_says_that_it_cannot,
            a_webhook_says_what_to_ask_for,
            a_webhook_that_was_tampered_with_says_nothing,
        );
    };
    ($subject:expr; $($case:ident),+ $(,)?) => {
        $(
            #[tokio::test]
            async fn $case() {
                $crate::providers::payments::conformance::cases::$case(&$subject()).await;
            }
        )+
    };
}
pub(crate) use conforms;

impl Subject {
    fn knows_keys(&self) -> bool {
        self.provider.capabilities().idempotent_for.is_some()
    }

    async fn prepare(&self, case: &str, minor: i64) -> String {
        let request = prepare(case, minor, false);
        let answer = self.provider.prepare(&request).await;
        let Answer::Done(parameters) = answer else { panic!("{answer:?}") };
        self.payer.open(&parameters).await;
        request.order
    }

    async fn taken(&self, case: &str, minor: i64) -> (Confirm, Charge) {
        let order = self.prepare(case, minor).await;
        let request = confirm(&order, &self.payer.pay(&order).await, minor);
        let answer = self.provider.confirm(&request, &key(case)).await;
        let Answer::Done(charge) = answer else { panic!("{answer:?}") };
        (request, charge)
    }

    /// A payment of 1,000 that waits to be captured; `None` from who cannot do that, and says so.
    async fn set_aside(&self, case: &str) -> Option<Confirm> {
        let prepare = prepare(case, 1_000, true);
        let prepared = self.provider.prepare(&prepare).await;
        if !self.provider.capabilities().has_manual_capture {
            assert!(matches!(prepared, Answer::Misconfigured(_)), "{prepared:?}");
            return None;
        }
        let Answer::Done(parameters) = prepared else { panic!("{prepared:?}") };
        self.payer.open(&parameters).await;
        let provider_key = self.payer.pay(&prepare.order).await;
        let request = confirm(&prepare.order, &provider_key, 1_000);
        let answer = self.provider.confirm(&request, &key(case)).await;
        let Answer::Done(charge) = answer else { panic!("{answer:?}") };
        assert_eq!((charge.status, charge.amount), (ChargeStatus::Authorized, request.amount));
        Some(request)
    }

    async fn canceled(&self, charge: &Confirm, minor: Option<i64>, name: &str) -> Canceled {
        let answer = self.provider.cancel(&cancel(charge, minor), &key(name)).await;
        let Answer::Done(canceled) = answer else { panic!("{answer:?}") };
        canceled
    }

    async fn found(&self, request: &Confirm) -> Charge {
        let key = Some(request.provider_key.as_str());
        let found = self.provider.find_charge(&request.order, key).await;
        let LookUp::Found(charge) = found else { panic!("{found:?}") };
        charge
    }

    async fn listed(&self, order: &str) -> Vec<RemoteTransaction> {
        let (mut listed, mut cursor) = (Vec::new(), None);
        for _ in 0..PAGES_MAX {
            let day = self.payer.day();
            let page = self.provider.list_transactions(&day, cursor.as_deref()).await.unwrap();
            listed.extend(page.items.into_iter().filter(|it| it.order == order));
            cursor = page.next;
            if cursor.is_none() {
                return listed;
            }
        }
        panic!("the day has no end")
    }

    async fn settled(&self, order: &str) -> Vec<RemoteSettlement> {
        let (mut listed, mut cursor) = (Vec::new(), None);
        for _ in 0..PAGES_MAX {
            let day = self.payer.paid_on();
            let page = self.provider.list_settlements(&day, cursor.as_deref()).await.unwrap();
            listed.extend(page.items.into_iter().filter(|it| it.order == order));
            cursor = page.next;
            if cursor.is_none() {
                return listed;
            }
        }
        panic!("the day has no end")
    }

    async fn moved(&self, order: &str) -> Vec<(RemoteKind, i64)> {
        let listed = self.listed(order).await;
        listed.into_iter().map(|it| (it.kind, it.amount.minor())).collect()
    }
}

fn key(name: &str) -> EffectKey {
    EffectKey::of(&format!("conform-{name}"))
}

fn amount(minor: i64) -> Amount {
    Amount::new(minor).unwrap()
}

fn prepare(case: &str, minor: i64, is_captured_later: bool) -> Prepare {
    Prepare {
        order: format!("conform-{case}"),
        amount: amount(minor),
        currency: Currency::KRW,
        name: "conformance".to_owned(),
        is_captured_later,
    }
}

fn confirm(order: &str, provider_key: &str, minor: i64) -> Confirm {
    Confirm {
        provider_key: provider_key.to_owned(),
        order: order.to_owned(),
        amount: amount(minor),
        currency: Currency::KRW,
    }
}

fn cancel(charge: &Confirm, minor: Option<i64>) -> Cancel {
    Cancel {
        provider_key: charge.provider_key.clone(),
        order: charge.order.clone(),
        amount: minor.map(amount),
        currency: charge.currency,
        reason: "conformance".to_owned(),
        refund_account: None,
    }
}

fn payout(case: &str) -> Payout {
    Payout {
        reference: format!("conform-{case}"),
        amount: amount(5_000),
        currency: Currency::KRW,
        bank_code: "088".to_owned(),
        account_number: SecretString::from("110123456789"),
        holder: "김하나".to_owned(),
    }
}

fn check_payout(answer: &Answer<PaidOut>, request: &Payout) {
    let (Answer::Done(made) | Answer::Pending(made)) = answer else { panic!("{answer:?}") };
    assert_eq!((made.amount, made.currency), (request.amount, request.currency));
    assert_eq!(made.reference, request.reference);
    assert_ne!(made.status, PayoutStatus::Failed);
}

fn is_taken(found: &LookUp<Charge>) -> bool {
    matches!(
        found,
        LookUp::Found(Charge { status: ChargeStatus::Authorized | ChargeStatus::Captured, .. })
    )
}

fn refunded(charge: &Charge) -> i64 {
    charge.cancels.iter().map(|it| it.amount.minor()).sum()
}
