//! Toss Payments (core API, version 2022-11-16): cards, transfers and virtual accounts in Korea.
//!
//! A payer pays in Toss's own window, which gives the app a payment key; nothing is taken before that is confirmed. Toss
//! knows our keys for fifteen days by key, API key, address and method, and not by body: a key is of one effect for ever.
//! Invariant: only what `codes` lists is a refusal.

mod codes;
mod payment;
mod settlement;
#[cfg(test)]
mod tests;
mod webhooks;

use std::time::Duration;

use async_trait::async_trait;
use reqwest::{RequestBuilder, StatusCode, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use super::http::{Heard, ProviderHttp, at, base};
use super::{
    Answer, Cancel, Canceled, Capabilities, Charge, ChargeStatus, ClientParameters, Confirm,
    Decline, Dispute, Hint, LookUp, OpenError, PaidOut, PaymentProvider, Payout, Prepare,
    RawWebhook, RemotePage, SettlementPage, WebhookError, WebhookTrust,
};
use crate::config::Config;
use crate::domain::money::Currency;
use crate::domain::workflows::EffectKey;
use crate::secrets;

const NAME: &str = "toss";
const SECRET_KEY: &str = "toss_secret_key";
/// Lines of a page: far from what is read of an answer.
const PAGE_MAX: usize = 100;
/// Lines of what was paid, each of which has a whole card.
const SETTLED_PAGE_MAX: usize = 40;
/// What Toss takes as an order, besides its alphabet.
const ORDER_CHARS: std::ops::RangeInclusive<usize> = 6..=64;
const ORDER_NAME_CHARS_MAX: usize = 100;
const KEY_CHARS_MAX: usize = 200;

const CAPABILITIES: Capabilities = Capabilities {
    idempotent_for: Some(Duration::from_hours(15 * 24)),
    has_look_up_by_order: true,
    has_look_up_by_key: true,
    absent_after: Duration::from_hours(24),
    has_manual_capture: false,
    has_partial_refund: true,
    has_deposits: true,
    has_payouts: false,
    has_settlements: true,
    utc_offset_hours: 9,
    // What a card company takes back is settled with the merchant, and no call tells of it.
    has_disputes: false,
    lists_chargebacks: false,
    webhooks: WebhookTrust::Unsigned,
};

/// Toss Payments, for one merchant.
pub struct Toss {
    http: ProviderHttp,
    url: Url,
    secret_key: SecretString,
    client_key: String,
    success_url: String,
    fail_url: String,
}

impl Toss {
    /// # Errors
    /// [`OpenError`] when the secret key is missing, or the settings cannot be used.
    pub fn open(config: &Config) -> Result<Self, OpenError> {
        Self::new(config, secrets::load(config, SECRET_KEY)?)
    }

    fn new(config: &Config, secret_key: SecretString) -> Result<Self, OpenError> {
        let payments = &config.payments;
        Ok(Self {
            http: ProviderHttp::new(config)?,
            url: base("payments.toss.url", &payments.toss.url)?,
            secret_key,
            client_key: payments.toss.client_key.clone(),
            success_url: payments.success_url.clone(),
            fail_url: payments.fail_url.clone(),
        })
    }

    /// The password is empty.
    fn signed(&self, request: RequestBuilder) -> RequestBuilder {
        request.basic_auth(self.secret_key.expose_secret(), Some(""))
    }

    /// Asks for something to be done. Gives the payment that Toss then shows.
    async fn call(
        &self,
        request: RequestBuilder,
        refusal: fn(&str) -> Option<Decline>,
    ) -> Answer<Charge> {
        let heard = match Heard::by(self.signed(request)).await {
            Ok(heard) => heard,
            Err(why) => return Answer::Unknown(why),
        };
        if heard.status == StatusCode::OK {
            return match payment::read(heard.body) {
                Some(charge) => Answer::Done(charge),
                None => Answer::Unknown("the provider answered something else".to_owned()),
            };
        }
        let code = heard.code("/code");
        if heard.is_refusal() {
            if heard.status == StatusCode::UNAUTHORIZED || code.is_some_and(codes::is_about_keys) {
                return Answer::Misconfigured("the provider does not accept our keys".to_owned());
            }
            if let Some(decline) = code.and_then(refusal) {
                return Answer::Declined(decline);
            }
        }
        Answer::Unknown(heard.unclear(code))
    }

    async fn find(&self, path: &[&str]) -> LookUp<Charge> {
        let request = self.http.get(at(&self.url, path));
        let heard = match Heard::by(self.signed(request)).await {
            Ok(heard) => heard,
            Err(why) => return LookUp::Unknown(why),
        };
        match (heard.status, heard.code("/code")) {
            (StatusCode::OK, _) => match payment::read(heard.body) {
                Some(charge) => LookUp::Found(charge),
                None => LookUp::Unknown("the provider answered something else".to_owned()),
            },
            (StatusCode::NOT_FOUND, Some(codes::NOT_FOUND)) => LookUp::Absent,
            (_, code) => LookUp::Unknown(heard.unclear(code)),
        }
    }
}

#[async_trait]
impl PaymentProvider for Toss {
    fn name(&self) -> &'static str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    /// Toss learns of it when the payer opens its window with this.
    async fn prepare(&self, request: &Prepare) -> Answer<ClientParameters> {
        if request.is_captured_later {
            return cannot("capture later");
        }
        if request.currency != Currency::KRW {
            return cannot("take another currency than won");
        }
        if !is_order(&request.order) {
            return cannot("take an order that is called so");
        }
        let name: String = request.name.chars().take(ORDER_NAME_CHARS_MAX).collect();
        Answer::Done(ClientParameters(json!({
            "provider": NAME,
            "clientKey": self.client_key,
            "orderId": request.order,
            "amount": request.amount,
            "currency": request.currency,
            "orderName": name,
            "successUrl": self.success_url,
            "failUrl": self.fail_url,
        })))
    }

    async fn confirm(&self, request: &Confirm, key: &EffectKey) -> Answer<Charge> {
        if request.currency != Currency::KRW {
            return cannot("take another currency than won");
        }
        let call =
            self.http.post(at(&self.url, &["v1", "payments", "confirm"]), key).json(&json!({
                "paymentKey": request.provider_key,
                "orderId": request.order,
                "amount": request.amount,
            }));
        match self.call(call, codes::of_confirm).await {
            Answer::Done(charge) => match charge.status {
                ChargeStatus::Captured => Answer::Done(charge),
                ChargeStatus::AwaitingDeposit => Answer::Pending(charge),
                status => Answer::Unknown(format!("the provider shows it as {status:?}")),
            },
            otherwise => otherwise,
        }
    }

    async fn capture(&self, _: &Confirm, _: &EffectKey) -> Answer<Charge> {
        cannot("capture later")
    }

    async fn cancel(&self, request: &Cancel, key: &EffectKey) -> Answer<Canceled> {
        if !is_key(&request.provider_key) {
            return cannot("refund a payment that is called so");
        }
        let path = ["v1", "payments", &request.provider_key, "cancel"];
        let mut body = json!({ "cancelReason": payment::reason(&request.reason, key) });
        if let (Some(amount), Some(fields)) = (request.amount, body.as_object_mut()) {
            fields.insert("cancelAmount".to_owned(), json!(amount));
        }
        if let (Some(to), Some(fields)) = (&request.refund_account, body.as_object_mut()) {
            let account = json!({
                "bank": to.bank_code,
                "accountNumber": to.account_number.expose_secret(),
                "holderName": to.holder,
            });
            fields.insert("refundReceiveAccount".to_owned(), account);
        }
        let call = self.http.post(at(&self.url, &path), key).json(&body);
        match self.call(call, codes::of_cancel).await {
            Answer::Done(charge) => match with_key(charge, key) {
                Some(canceled) => Answer::Done(canceled),
                None => Answer::Unknown("the provider does not show the refund yet".to_owned()),
            },
            Answer::Pending(_) => Answer::Unknown("the refund is under way".to_owned()),
            Answer::Declined(decline) => Answer::Declined(decline),
            Answer::Unknown(why) => Answer::Unknown(why),
            Answer::Misconfigured(why) => Answer::Misconfigured(why),
        }
    }

    async fn pay_out(&self, _: &Payout, _: &EffectKey) -> Answer<PaidOut> {
        cannot("pay out")
    }

    async fn find_charge(&self, order: &str, provider_key: Option<&str>) -> LookUp<Charge> {
        match provider_key {
            // It cannot have been there.
            Some(key) if !is_key(key) => LookUp::Absent,
            Some(key) => self.find(&["v1", "payments", key]).await,
            None if !is_order(order) => LookUp::Absent,
            None => self.find(&["v1", "payments", "orders", order]).await,
        }
    }

    async fn find_cancel(&self, request: &Cancel, key: &EffectKey) -> LookUp<Canceled> {
        match self.find_charge(&request.order, Some(&request.provider_key)).await {
            LookUp::Found(charge) => {
                // One that is under way is shown without our key.
                let is_open = charge.has_open_cancels;
                match with_key(charge, key) {
                    Some(canceled) => LookUp::Found(canceled),
                    None if is_open => LookUp::Unknown("the refund is under way".to_owned()),
                    None => LookUp::Absent,
                }
            }
            LookUp::Absent => LookUp::Absent,
            LookUp::Unknown(why) => LookUp::Unknown(why),
        }
    }

    async fn find_payout(&self, _: &str, _: &EffectKey) -> LookUp<PaidOut> {
        LookUp::Unknown("the provider makes no payouts here".to_owned())
    }

    async fn find_dispute(&self, _: &str) -> LookUp<Dispute> {
        LookUp::Unknown("the provider tells of no disputes".to_owned())
    }

    fn read_webhook(&self, webhook: &RawWebhook) -> Result<Hint, WebhookError> {
        webhooks::read(&webhook.body)
    }

    async fn list_transactions(
        &self,
        day: &str,
        cursor: Option<&str>,
    ) -> Result<RemotePage, String> {
        let mut url = at(&self.url, &["v1", "transactions"]);
        url.query_pairs_mut()
            .append_pair("startDate", &format!("{day}T00:00:00.000"))
            .append_pair("endDate", &format!("{day}T23:59:59.999"))
            .append_pair("limit", &PAGE_MAX.to_string());
        if let Some(cursor) = cursor {
            url.query_pairs_mut().append_pair("startingAfter", cursor);
        }
        let heard = Heard::by(self.signed(self.http.get(url))).await?;
        if heard.status != StatusCode::OK {
            return Err(heard.unclear(heard.code("/code")));
        }
        payment::read_page(heard.body, PAGE_MAX)
            .ok_or_else(|| "the provider answered something else".to_owned())
    }

    /// Pages are numbered from 1.
    async fn list_settlements(
        &self,
        day: &str,
        cursor: Option<&str>,
    ) -> Result<SettlementPage, String> {
        let page = cursor.map_or(Ok(1_u32), str::parse);
        let page = page.map_err(|_| "the cursor is none of ours".to_owned())?;
        let mut url = at(&self.url, &["v1", "settlements"]);
        url.query_pairs_mut()
            .append_pair("dateType", "paidOutDate")
            .append_pair("startDate", day)
            .append_pair("endDate", day)
            .append_pair("page", &page.to_string())
            .append_pair("size", &SETTLED_PAGE_MAX.to_string());
        let heard = Heard::by(self.signed(self.http.get(url))).await?;
        if heard.status != StatusCode::OK {
            return Err(heard.unclear(heard.code("/code")));
        }
        let items = settlement::read(heard.body)
            .ok_or_else(|| "the provider answered something else".to_owned())?;
        let is_full = items.len() >= SETTLED_PAGE_MAX;
        Ok(SettlementPage { next: is_full.then(|| page.saturating_add(1).to_string()), items })
    }
}

fn with_key(charge: Charge, key: &EffectKey) -> Option<Canceled> {
    charge.cancels.into_iter().find(|it| it.effect_key.as_deref() == Some(key.as_str()))
}

fn is_order(order: &str) -> bool {
    ORDER_CHARS.contains(&order.len()) && order.bytes().all(is_plain)
}

fn is_key(key: &str) -> bool {
    (1..=KEY_CHARS_MAX).contains(&key.len()) && key.bytes().all(is_plain)
}

const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'=')
}

fn cannot<T>(what: &str) -> Answer<T> {
    Answer::Misconfigured(format!("Toss cannot {what}"))
}
