//! The fake provider from afar: the adapter of its HTTP API.
//!
//! What comes back is read as by every adapter. Invariant: what the provider is told that it cannot do, it is not asked.

use reqwest::{StatusCode, Url};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use async_trait::async_trait;

use super::wire::{Fact, Request, cannot_be_asked, refused};
use super::{NAME, cannot, prepare_key, webhooks};
use crate::config::Config;
use crate::domain::time::Timestamp;
use crate::domain::workflows::EffectKey;
use crate::providers::payments::http::{Heard, ProviderHttp, at, base};
use crate::providers::payments::{
    Answer, Cancel, Canceled, Capabilities, Charge, ClientParameters, Confirm, Dispute,
    DisputePage, Hint, LookUp, OpenError, PaidOut, PaymentProvider, Payout, Prepare, RawWebhook,
    RemotePage, SettlementPage, WebhookError,
};

/// Asks a [`super::host`].
pub struct FakeClient {
    http: ProviderHttp,
    capabilities: Capabilities,
    url: Url,
    /// Where payers find the checkout page.
    public_url: Url,
    success_url: String,
    fail_url: String,
}

impl FakeClient {
    /// One that asks at `url`.
    ///
    /// # Errors
    /// [`OpenError`] for an address that is none, or settings with which nobody can be called.
    pub fn new(config: &Config, url: &str, capabilities: Capabilities) -> Result<Self, OpenError> {
        let public_url = match config.payments.fake.public_url.as_str() {
            "" => url,
            public_url => public_url,
        };
        Ok(Self {
            http: ProviderHttp::new(config)?,
            capabilities,
            url: base("payments.fake.url", url)?,
            public_url: base("payments.fake.public_url", public_url)?,
            success_url: config.payments.success_url.clone(),
            fail_url: config.payments.fail_url.clone(),
        })
    }

    /// Where a payer pays for an order.
    fn checkout_url(&self, order: &str) -> Url {
        let mut url = at(&self.public_url, &["checkout", order]);
        for (name, value) in [("success_url", &self.success_url), ("fail_url", &self.fail_url)] {
            if !value.is_empty() {
                url.query_pairs_mut().append_pair(name, value);
            }
        }
        url
    }

    async fn call<T>(
        &self,
        request: &Request,
        key: &EffectKey,
        pick: fn(Fact) -> Option<T>,
    ) -> Answer<T> {
        let request = self.http.post(at(&self.url, &["v1", "calls"]), key).json(request);
        let heard = match Heard::by(request).await {
            Ok(heard) => heard,
            Err(why) => return Answer::Unknown(why),
        };
        match heard.status {
            StatusCode::OK => match serde_json::from_value::<Fact>(heard.body) {
                Ok(fact) => fact.read(pick),
                Err(_) => Answer::Unknown("the provider answered something else".to_owned()),
            },
            StatusCode::UNAUTHORIZED => {
                Answer::Misconfigured("the provider does not accept our keys".to_owned())
            }
            _ => match heard.code("/code") {
                Some(code) if heard.is_refusal() => refused(code),
                code => Answer::Unknown(heard.unclear(code)),
            },
        }
    }

    async fn look_up<T: DeserializeOwned>(&self, what: &str, query: &[(&str, &str)]) -> LookUp<T> {
        match self.ask(what, query).await {
            Ok(heard) if heard.status == StatusCode::OK => match serde_json::from_value(heard.body)
            {
                Ok(found) => LookUp::Found(found),
                Err(_) => LookUp::Unknown("the provider answered something else".to_owned()),
            },
            // A proxy that finds no way has no such code.
            Ok(heard)
                if heard.status == StatusCode::NOT_FOUND
                    && heard.code("/code") == Some(super::wire::NOT_FOUND) =>
            {
                LookUp::Absent
            }
            Ok(heard) => LookUp::Unknown(heard.unclear(heard.code("/code"))),
            Err(why) => LookUp::Unknown(why),
        }
    }

    async fn ask(&self, what: &str, query: &[(&str, &str)]) -> Result<Heard, String> {
        let mut url = at(&self.url, &["v1", what]);
        url.query_pairs_mut().extend_pairs(query);
        Heard::by(self.http.get(url)).await
    }
}

#[async_trait]
impl PaymentProvider for FakeClient {
    fn name(&self) -> &'static str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    async fn prepare(&self, request: &Prepare) -> Answer<ClientParameters> {
        if request.is_captured_later && !self.capabilities.has_manual_capture {
            return cannot("capture later");
        }
        let call = Request::Prepare(request.clone());
        match self.call(&call, &prepare_key(request), Fact::charge).await {
            Answer::Done(charge) | Answer::Pending(charge) => {
                let mut parameters = super::client_parameters(&charge, request);
                if let Value::Object(fields) = &mut parameters {
                    let url = self.checkout_url(&request.order);
                    fields.insert("checkout_url".to_owned(), json!(url.as_str()));
                }
                Answer::Done(ClientParameters(parameters))
            }
            Answer::Declined(decline) => Answer::Declined(decline),
            Answer::Unknown(why) => Answer::Unknown(why),
            Answer::Misconfigured(why) => Answer::Misconfigured(why),
        }
    }

    async fn confirm(&self, request: &Confirm, key: &EffectKey) -> Answer<Charge> {
        self.call(&Request::Confirm(request.clone()), key, Fact::charge).await
    }

    async fn capture(&self, request: &Confirm, key: &EffectKey) -> Answer<Charge> {
        if !self.capabilities.has_manual_capture {
            return cannot("capture later");
        }
        self.call(&Request::Capture(request.clone()), key, Fact::charge).await
    }

    async fn cancel(&self, request: &Cancel, key: &EffectKey) -> Answer<Canceled> {
        self.call(&Request::Cancel(request.clone()), key, Fact::canceled).await
    }

    async fn pay_out(&self, request: &Payout, key: &EffectKey) -> Answer<PaidOut> {
        if !self.capabilities.has_payouts {
            return cannot("pay out");
        }
        self.call(&Request::PayOut(request.clone()), key, Fact::paid_out).await
    }

    async fn find_charge(&self, order: &str, provider_key: Option<&str>) -> LookUp<Charge> {
        match provider_key {
            Some(key) => self.look_up("charges", &[("order", order), ("key", key)]).await,
            None if self.capabilities.has_look_up_by_order => {
                self.look_up("charges", &[("order", order)]).await
            }
            None => cannot_be_asked(),
        }
    }

    async fn find_cancel(&self, request: &Cancel, key: &EffectKey) -> LookUp<Canceled> {
        if !self.capabilities.has_look_up_by_key {
            return cannot_be_asked();
        }
        let query = [
            ("order", request.order.as_str()),
            ("key", &request.provider_key),
            ("effect", key.as_str()),
        ];
        self.look_up("cancels", &query).await
    }

    async fn find_payout(&self, reference: &str, _: &EffectKey) -> LookUp<PaidOut> {
        if !self.capabilities.has_look_up_by_key {
            return cannot_be_asked();
        }
        self.look_up("payouts", &[("reference", reference)]).await
    }

    async fn find_dispute(&self, provider_key: &str) -> LookUp<Dispute> {
        if !self.capabilities.has_disputes {
            return cannot_be_asked();
        }
        self.look_up("disputes", &[("key", provider_key)]).await
    }

    async fn list_disputes(
        &self,
        since: Timestamp,
        cursor: Option<&str>,
    ) -> Result<DisputePage, String> {
        if !self.capabilities.has_disputes {
            return Err("the fake provider is told that it knows of no disputes".to_owned());
        }
        let since = since.millis().to_string();
        let mut query = vec![("since", since.as_str())];
        query.extend(cursor.map(|cursor| ("cursor", cursor)));
        let heard = self.ask("opened-disputes", &query).await?;
        if heard.status != StatusCode::OK {
            return Err(heard.unclear(heard.code("/code")));
        }
        serde_json::from_value(heard.body)
            .map_err(|_| "the provider answered something else".to_owned())
    }

    fn read_webhook(&self, webhook: &RawWebhook) -> Result<Hint, WebhookError> {
        webhooks::read(webhook, self.capabilities.webhooks)
    }

    async fn list_transactions(
        &self,
        day: &str,
        cursor: Option<&str>,
    ) -> Result<RemotePage, String> {
        let mut query = vec![("day", day)];
        query.extend(cursor.map(|cursor| ("cursor", cursor)));
        let heard = self.ask("transactions", &query).await?;
        if heard.status != StatusCode::OK {
            return Err(heard.unclear(heard.code("/code")));
        }
        serde_json::from_value(heard.body)
            .map_err(|_| "the provider answered something else".to_owned())
    }

    async fn list_settlements(
        &self,
        day: &str,
        cursor: Option<&str>,
    ) -> Result<SettlementPage, String> {
        if !self.capabilities.has_settlements {
            return Err("the fake provider is told that it does not list what it pays".to_owned());
        }
        let mut query = vec![("day", day)];
        query.extend(cursor.map(|cursor| ("cursor", cursor)));
        let heard = self.ask("settlements", &query).await?;
        if heard.status != StatusCode::OK {
            return Err(heard.unclear(heard.code("/code")));
        }
        serde_json::from_value(heard.body)
            .map_err(|_| "the provider answered something else".to_owned())
    }
}
