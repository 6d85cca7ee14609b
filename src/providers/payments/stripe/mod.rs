//! Stripe (payment intents): cards.
//!
//! A payer pays in the browser with the secret of the intent. That sets the money aside, and no more: every intent is made
//! to be captured by us, so that nothing is taken that was not confirmed. Stripe knows our keys for a day. Invariant: only
//! what is certain and final is a refusal; a card that was declined is final once the intent is closed.

mod dispute;
mod intent;
#[cfg(test)]
mod tests;
mod webhooks;

use std::time::Duration;

use async_trait::async_trait;
use reqwest::{RequestBuilder, StatusCode, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use self::dispute::Named;
use self::intent::{Balance, Intent, List, Refund, Status};
use super::http::{Heard, ProviderHttp, at, base};
use super::{
    Answer, Cancel, Canceled, Capabilities, Charge, ClientParameters, Confirm, Decline,
    DeclineCode, Dispute, DisputePage, Hint, LookUp, OpenError, PaidOut, PaymentProvider, Payout,
    Prepare, RawWebhook, RemotePage, SettlementPage, WebhookError, WebhookTrust,
};
use crate::config::Config;
use crate::domain::time::Timestamp;
use crate::domain::workflows::EffectKey;
use crate::secrets;

const NAME: &str = "stripe";
const SECRET_KEY: &str = "stripe_secret_key";
const WEBHOOK_SECRET: &str = "stripe_webhook_secret";
/// What we read was written for this one.
const VERSION: &str = "2024-06-20";
/// Those whose minor units are Stripe's, two decimals or none.
const CURRENCIES: [&str; 5] = ["KRW", "JPY", "USD", "EUR", "GBP"];
/// Lines of a page; each comes with its charge, and an answer may only be so long.
const PAGE_MAX: &str = "10";
/// Refunds of a page.
const REFUNDS_PAGE_MAX: &str = "100";
/// Disputes of a page: each comes with all that speaks against it, and an answer may only be so long.
const DISPUTES_PAGE_MAX: &str = "1";
/// Pages of what belongs to one payment.
const PAGES_MAX: usize = 10;
const NAME_CHARS_MAX: usize = 200;
const KEY_CHARS_MAX: usize = 255;
const DAY: Duration = Duration::from_hours(24);
/// What a refund is refused for, for good.
const REFUSALS: [&str; 2] = ["charge_disputed", "refund_disputed_payment"];
/// Amounts of which no intent is made.
const AMOUNTS: [&str; 2] = ["amount_too_small", "amount_too_large"];
/// What was set aside is no more.
const LAPSED: &str = "charge_expired_for_capture";

const CAPABILITIES: Capabilities = Capabilities {
    idempotent_for: Some(DAY),
    // Its search lags behind, by minutes or more.
    has_look_up_by_order: false,
    has_look_up_by_key: true,
    absent_after: DAY,
    has_manual_capture: true,
    has_partial_refund: true,
    has_deposits: false,
    has_payouts: false,
    has_settlements: false,
    utc_offset_hours: 0,
    has_disputes: true,
    // Its list has them as adjustments, of the day on which a dispute is opened: they are not read.
    lists_chargebacks: false,
    webhooks: WebhookTrust::Signed,
};

/// Stripe, for one account.
pub struct Stripe {
    http: ProviderHttp,
    url: Url,
    secret_key: SecretString,
    webhook_secret: SecretString,
    publishable_key: String,
    success_url: String,
}

/// Why there is no object.
enum Missing {
    Refused(Heard),
    Unknown(String),
}

impl Stripe {
    /// # Errors
    /// [`OpenError`] when a secret is missing, or the settings cannot be used.
    pub fn open(config: &Config) -> Result<Self, OpenError> {
        let secret_key = secrets::load(config, SECRET_KEY)?;
        Self::new(config, secret_key, secrets::load(config, WEBHOOK_SECRET)?)
    }

    fn new(
        config: &Config,
        secret_key: SecretString,
        webhook_secret: SecretString,
    ) -> Result<Self, OpenError> {
        let payments = &config.payments;
        Ok(Self {
            http: ProviderHttp::new(config)?,
            url: base("payments.stripe.url", &payments.stripe.url)?,
            secret_key,
            webhook_secret,
            publishable_key: payments.stripe.publishable_key.clone(),
            success_url: payments.success_url.clone(),
        })
    }

    async fn send(&self, request: RequestBuilder) -> Result<Value, Missing> {
        let request =
            request.bearer_auth(self.secret_key.expose_secret()).header("Stripe-Version", VERSION);
        match Heard::by(request).await {
            Ok(heard) if heard.status == StatusCode::OK => Ok(heard.body),
            Ok(heard) => Err(Missing::Refused(heard)),
            Err(why) => Err(Missing::Unknown(why)),
        }
    }

    async fn get(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Value, Missing> {
        let mut url = at(&self.url, path);
        url.query_pairs_mut().extend_pairs(query);
        self.send(self.http.get(url)).await
    }

    async fn post(
        &self,
        path: &[&str],
        form: &[(&str, &str)],
        key: &EffectKey,
    ) -> Result<Value, Missing> {
        self.send(self.http.post(at(&self.url, path), key).form(form)).await
    }

    async fn intent(&self, id: &str) -> Result<Intent, Missing> {
        let path = ["v1", "payment_intents", id];
        let body = self.get(&path, &[("expand[]", "latest_charge")]).await?;
        Intent::read(body).ok_or_else(something_else)
    }

    /// Changes an intent: `capture` or `cancel`.
    async fn change(&self, id: &str, how: &str, key: &EffectKey) -> Result<Intent, Missing> {
        let path = ["v1", "payment_intents", id, how];
        let body = self.post(&path, &[("expand[]", "latest_charge")], key).await?;
        Intent::read(body).ok_or_else(something_else)
    }

    async fn refunds(&self, id: &str) -> Result<Vec<Refund>, Missing> {
        self.all("refunds", id, REFUNDS_PAGE_MAX, Refund::id).await
    }

    /// The keys of an intent's disputes, the first first.
    async fn disputes(&self, id: &str) -> Result<Vec<String>, Missing> {
        let disputes = self.all("disputes", id, DISPUTES_PAGE_MAX, Named::id).await?;
        Ok(disputes.into_iter().map(|named| named.id).collect())
    }

    /// Everything of a kind that belongs to an intent, the first first.
    async fn all<T: DeserializeOwned>(
        &self,
        what: &str,
        intent: &str,
        limit: &str,
        name: fn(&T) -> &str,
    ) -> Result<Vec<T>, Missing> {
        let mut all: Vec<T> = Vec::new();
        for _ in 0..PAGES_MAX {
            let after = all.last().map(|it| name(it).to_owned());
            let mut query = vec![("payment_intent", intent), ("limit", limit)];
            query.extend(after.as_deref().map(|after| ("starting_after", after)));
            let body = self.get(&["v1", what], &query).await?;
            let list: List<T> = serde_json::from_value(body).map_err(|_| something_else())?;
            let is_over = !list.has_more || list.data.is_empty();
            all.extend(list.data);
            if is_over {
                // The newest come first.
                all.reverse();
                return Ok(all);
            }
        }
        Err(Missing::Unknown(format!("there are more {what} than are read")))
    }

    async fn dispute(&self, id: &str) -> Result<Dispute, Missing> {
        let body = self.get(&["v1", "disputes", id], &[]).await?;
        dispute::read(body).ok_or_else(something_else)
    }

    /// An intent as we see it, with its refunds.
    async fn charge(&self, intent: Intent) -> Result<Charge, Missing> {
        let refunds =
            if intent.has_refunds() { self.refunds(&intent.id).await? } else { Vec::new() };
        let disputes =
            if intent.has_disputes() { self.disputes(&intent.id).await? } else { Vec::new() };
        intent.charge(refunds, disputes).ok_or_else(something_else)
    }

    /// Takes what the payer of an intent has set aside.
    async fn take(&self, request: &Confirm, key: &EffectKey) -> Result<Answer<Charge>, Missing> {
        let taken = self.change(&request.provider_key, "capture", key).await;
        match taken {
            Ok(intent) if intent.status == Status::Succeeded => {
                Ok(Answer::Done(self.charge(intent).await?))
            }
            Ok(intent) => Ok(Answer::Unknown(format!("the provider shows {:?}", intent.status))),
            Err(Missing::Refused(heard)) if heard.code("/error/code") == Some(LAPSED) => {
                Ok(declined(DeclineCode::CardDeclined, LAPSED))
            }
            Err(missing) => Err(missing),
        }
    }

    /// Closes an intent whose payer's card was declined: nobody can pay for it any more.
    async fn close(&self, intent: &Intent, key: &EffectKey) -> Result<Answer<Charge>, Missing> {
        let Some(error) = &intent.last_payment_error else {
            return Ok(Answer::Unknown("the payer has not finished".to_owned()));
        };
        let key = EffectKey::of(&format!("{key}:close"));
        let closed = self.change(&intent.id, "cancel", &key).await?;
        Ok(match closed.status {
            Status::Canceled => Answer::Declined(error.decline()),
            status => Answer::Unknown(format!("the provider shows {status:?}")),
        })
    }

    async fn try_confirm(
        &self,
        request: &Confirm,
        key: &EffectKey,
    ) -> Result<Answer<Charge>, Missing> {
        let intent = self.intent(&request.provider_key).await?;
        if intent.order() != request.order {
            // Whoever it belongs to may still pay for it: it is not touched.
            return Ok(Answer::Unknown("it is a payment of another order".to_owned()));
        }
        let (status, is_later) = (intent.status, intent.is_captured_later());
        if status == Status::RequiresPaymentMethod {
            return self.close(&intent, key).await;
        }
        let charge = self.charge(intent).await?;
        let is_agreed = charge.currency == request.currency
            && (status == Status::Succeeded || charge.amount == request.amount);
        if !is_agreed {
            return Ok(Answer::Unknown("the provider has agreed on something else".to_owned()));
        }
        match status {
            Status::RequiresCapture if is_later => Ok(Answer::Done(charge)),
            Status::RequiresCapture => self.take(request, key).await,
            // By an earlier call of ours.
            Status::Succeeded => Ok(Answer::Done(charge)),
            Status::Canceled => Ok(declined(DeclineCode::CanceledByPayer, "canceled")),
            Status::RequiresPaymentMethod
            | Status::RequiresConfirmation
            | Status::RequiresAction
            | Status::Processing => Ok(Answer::Unknown(format!("the provider shows {status:?}"))),
        }
    }

    async fn try_cancel(
        &self,
        request: &Cancel,
        key: &EffectKey,
    ) -> Result<Answer<Canceled>, Missing> {
        let intent = self.intent(&request.provider_key).await?;
        if intent.status == Status::Succeeded {
            return self.refund(request, key).await;
        }
        if request.amount.is_some_and(|amount| Some(amount) != intent.voided().map(|it| it.amount))
        {
            return Ok(declined(DeclineCode::NotRefundable, "not_captured"));
        }
        // One that is canceled gives the answer of then, if that was ours.
        let intent = self.change(&intent.id, "cancel", key).await?;
        let canceled = intent.voided().ok_or_else(something_else)?;
        Ok(match intent.status {
            Status::Canceled => Answer::Done(canceled),
            status => Answer::Unknown(format!("the provider shows {status:?}")),
        })
    }

    async fn refund(&self, request: &Cancel, key: &EffectKey) -> Result<Answer<Canceled>, Missing> {
        let amount = request.amount.map(|amount| amount.to_string());
        let mut form = vec![
            ("payment_intent", request.provider_key.as_str()),
            ("metadata[effect_key]", key.as_str()),
            ("metadata[order]", &request.order),
        ];
        form.extend(amount.as_deref().map(|amount| ("amount", amount)));
        let body = match self.post(&["v1", "refunds"], &form, key).await {
            Err(Missing::Refused(heard)) if heard.is_refusal() => {
                let code = heard.code("/error/code");
                return match code.filter(|code| REFUSALS.contains(code)) {
                    Some(code) => Ok(declined(DeclineCode::NotRefundable, code)),
                    None => Err(Missing::Refused(heard)),
                };
            }
            otherwise => otherwise?,
        };
        let refund: Refund = serde_json::from_value(body).map_err(|_| something_else())?;
        let status = refund.status.clone().unwrap_or_default();
        let canceled = refund.read().ok_or_else(something_else)?;
        Ok(match status.as_str() {
            "succeeded" => Answer::Done(canceled),
            "pending" | "requires_action" => Answer::Pending(canceled),
            "failed" | "canceled" => declined(DeclineCode::NotRefundable, "refund_failed"),
            _ => Answer::Unknown("the provider shows a status that is not known".to_owned()),
        })
    }

    async fn try_find(&self, id: &str) -> Result<Charge, Missing> {
        let intent = self.intent(id).await?;
        self.charge(intent).await
    }

    async fn try_find_cancel(
        &self,
        request: &Cancel,
        key: &EffectKey,
    ) -> Result<Option<Canceled>, Missing> {
        let intent = self.intent(&request.provider_key).await?;
        if intent.status == Status::Canceled {
            // It was voided once and for all, whoever did it.
            return Ok(intent.voided());
        }
        let refunds = self.refunds(&intent.id).await?;
        let Some(refund) = refunds.into_iter().find(|it| it.effect_key() == Some(key.as_str()))
        else {
            return Ok(None);
        };
        match refund.status.as_deref() {
            Some("succeeded") => refund.read().map(Some).ok_or_else(something_else),
            Some("failed" | "canceled") => Err(Missing::Unknown(
                "the refund has failed at the provider, which has the money again".to_owned(),
            )),
            _ => Err(Missing::Unknown("the refund is under way".to_owned())),
        }
    }
}

#[async_trait]
impl PaymentProvider for Stripe {
    fn name(&self) -> &'static str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    /// Makes an intent. Its secret lets whoever has it pay for it, and no more.
    async fn prepare(&self, request: &Prepare) -> Answer<ClientParameters> {
        let Prepare { order, amount, currency, name, is_captured_later } = request;
        if !CURRENCIES.contains(&currency.as_str()) {
            return cannot("take this currency");
        }
        let key = EffectKey::of(&format!("stripe:prepare:{order}:{amount}:{currency}"));
        let amount_text = amount.to_string();
        let currency_text = currency.as_str().to_ascii_lowercase();
        let name: String = name.chars().take(NAME_CHARS_MAX).collect();
        let form = [
            ("amount", amount_text.as_str()),
            ("currency", &currency_text),
            ("capture_method", "manual"),
            ("payment_method_types[]", "card"),
            ("description", &name),
            ("metadata[order]", order),
            ("metadata[later]", if *is_captured_later { "yes" } else { "no" }),
        ];
        let made = self.post(&["v1", "payment_intents"], &form, &key).await;
        if let Err(Missing::Refused(heard)) = &made
            && let Some(code) = heard.code("/error/code").filter(|code| AMOUNTS.contains(code))
        {
            return declined(DeclineCode::LimitExceeded, code);
        }
        let intent = match made.map(Intent::read) {
            Ok(Some(intent)) => intent,
            Ok(None) => return unclear(something_else()),
            Err(missing) => return unclear(missing),
        };
        Answer::Done(ClientParameters(json!({
            "provider": NAME,
            "publishableKey": self.publishable_key,
            "clientSecret": intent.client_secret,
            "paymentKey": intent.id,
            "orderId": order,
            "amount": amount,
            "currency": currency,
            "orderName": name,
            "returnUrl": self.success_url,
        })))
    }

    async fn confirm(&self, request: &Confirm, key: &EffectKey) -> Answer<Charge> {
        if !is_key(&request.provider_key) {
            return Answer::Unknown("the payment is called as none of Stripe's".to_owned());
        }
        self.try_confirm(request, key).await.unwrap_or_else(unclear)
    }

    async fn capture(&self, request: &Confirm, key: &EffectKey) -> Answer<Charge> {
        if !is_key(&request.provider_key) {
            return Answer::Unknown("the payment is called as none of Stripe's".to_owned());
        }
        self.take(request, key).await.unwrap_or_else(unclear)
    }

    async fn cancel(&self, request: &Cancel, key: &EffectKey) -> Answer<Canceled> {
        if !is_key(&request.provider_key) {
            return cannot("refund a payment that is called so");
        }
        self.try_cancel(request, key).await.unwrap_or_else(unclear)
    }

    async fn pay_out(&self, _: &Payout, _: &EffectKey) -> Answer<PaidOut> {
        cannot("pay out")
    }

    async fn find_charge(&self, _: &str, provider_key: Option<&str>) -> LookUp<Charge> {
        match provider_key {
            // It cannot have been there.
            Some(id) if !is_key(id) => LookUp::Absent,
            Some(id) => self.try_find(id).await.map_or_else(unfound, LookUp::Found),
            None => LookUp::Unknown("the provider cannot be asked for it".to_owned()),
        }
    }

    async fn find_cancel(&self, request: &Cancel, key: &EffectKey) -> LookUp<Canceled> {
        match self.try_find_cancel(request, key).await {
            Ok(found) => found.map_or(LookUp::Absent, LookUp::Found),
            Err(missing) => unfound(missing),
        }
    }

    async fn find_payout(&self, _: &str, _: &EffectKey) -> LookUp<PaidOut> {
        LookUp::Unknown("the provider makes no payouts here".to_owned())
    }

    async fn find_dispute(&self, provider_key: &str) -> LookUp<Dispute> {
        match provider_key {
            id if !is_key(id) => LookUp::Absent,
            id => self.dispute(id).await.map_or_else(unfound, LookUp::Found),
        }
    }

    async fn list_disputes(
        &self,
        since: Timestamp,
        cursor: Option<&str>,
    ) -> Result<DisputePage, String> {
        let since = since.millis().div_euclid(1_000).to_string();
        let mut query = vec![("created[gte]", since.as_str()), ("limit", DISPUTES_PAGE_MAX)];
        query.extend(cursor.map(|cursor| ("starting_after", cursor)));
        let body = self.get(&["v1", "disputes"], &query).await.map_err(sentence)?;
        let list: Option<List<Named>> = serde_json::from_value(body).ok();
        list.map(dispute::page).ok_or_else(|| sentence(something_else()))
    }

    fn read_webhook(&self, webhook: &RawWebhook) -> Result<Hint, WebhookError> {
        webhooks::read(webhook, &self.webhook_secret)
    }

    async fn list_settlements(&self, _: &str, _: Option<&str>) -> Result<SettlementPage, String> {
        Err("the provider does not list what it pays".to_owned())
    }

    /// Days are those of UTC.
    async fn list_transactions(
        &self,
        day: &str,
        cursor: Option<&str>,
    ) -> Result<RemotePage, String> {
        let begin: jiff::Timestamp =
            format!("{day}T00:00:00Z").parse().map_err(|_| "this is no day".to_owned())?;
        let begin = begin.as_second();
        let end = begin.saturating_add(i64::try_from(DAY.as_secs()).unwrap_or(i64::MAX));
        let (begin, end) = (begin.to_string(), end.to_string());
        let mut query = vec![
            ("created[gte]", begin.as_str()),
            ("created[lt]", &end),
            ("limit", PAGE_MAX),
            ("expand[]", "data.source"),
        ];
        query.extend(cursor.map(|cursor| ("starting_after", cursor)));
        let body = self.get(&["v1", "balance_transactions"], &query).await.map_err(sentence)?;
        let list: Option<List<Balance>> = serde_json::from_value(body).ok();
        list.and_then(intent::page).ok_or_else(|| sentence(something_else()))
    }
}

fn is_key(id: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    (1..=KEY_CHARS_MAX).contains(&id.len()) && id.bytes().all(is_plain)
}

fn something_else() -> Missing {
    Missing::Unknown("the provider answered something else".to_owned())
}

fn sentence(missing: Missing) -> String {
    match missing {
        Missing::Refused(heard) => heard.unclear(heard.code("/error/code")),
        Missing::Unknown(why) => why,
    }
}

/// What a call came to that has no object: our keys are wrong, or nobody knows.
fn unclear<T>(missing: Missing) -> Answer<T> {
    match missing {
        Missing::Refused(heard) if heard.status == StatusCode::UNAUTHORIZED => {
            Answer::Misconfigured("the provider does not accept our keys".to_owned())
        }
        missing => Answer::Unknown(sentence(missing)),
    }
}

fn unfound<T>(missing: Missing) -> LookUp<T> {
    match missing {
        Missing::Refused(heard)
            if heard.status == StatusCode::NOT_FOUND
                && heard.code("/error/code") == Some("resource_missing") =>
        {
            LookUp::Absent
        }
        missing => LookUp::Unknown(sentence(missing)),
    }
}

fn declined<T>(code: DeclineCode, word: &str) -> Answer<T> {
    Answer::Declined(Decline { code, provider_code: word.to_owned() })
}

fn cannot<T>(what: &str) -> Answer<T> {
    Answer::Misconfigured(format!("Stripe cannot {what}"))
}
