//! Webhooks: endpoints of other systems, their signing secrets, and the letters that go there.
//!
//! A secret is what Standard Webhooks 1.0 asks for: `whsec_` and 32 random bytes in base64. Invariant: it is shown once,
//! when it is made, and lies sealed in the store.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use super::post::{ComposeError, Composed, Composer, Ended};
use crate::clock;
use crate::domain::cloud_events::{CloudEvent, Fact};
use crate::domain::deliveries::{Delivery, DeliveryEnd, NewDelivery};
use crate::domain::ids::{DeliveryId, EndpointId};
use crate::domain::letters::{Content, Letter, WebhookContent};
use crate::domain::media::Medium;
use crate::domain::time::Timestamp;
use crate::domain::webhook_signatures::KEY_PREFIX;
use crate::domain::webhooks::{
    Description, EventFilter, FAILING_MAX, FULL_MAX, TEST_EVENT, WebhookError,
};
use crate::providers::seal::{Seal, WEBHOOK_SEAL, random_key};
use crate::store::webhooks::{self, Endpoint, Kept, NewEndpoint, SealedSecret};
use crate::store::{Db, Store, StoreError};

/// How long a letter waits that this node cannot sign.
const UNREADABLE_WAIT: Duration = Duration::from_mins(5);
/// More endpoints than there may be.
const ALL: i64 = 1_000;

/// What an operation with webhooks can come to besides success.
#[derive(Debug, thiserror::Error)]
pub enum WebhooksError {
    #[error(transparent)]
    Webhook(#[from] WebhookError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An endpoint that somebody asks for; its address was looked at.
#[derive(Debug, Clone)]
pub struct EndpointDraft {
    pub url: String,
    pub events: EventFilter,
    pub description: Description,
}

/// The endpoints of this installation. Cheap to clone.
#[derive(Clone)]
pub struct Webhooks {
    store: Store,
    /// `None` where production was given no key.
    seal: Option<Arc<Seal>>,
}

impl Webhooks {
    #[must_use]
    pub fn new(store: Store, seal: Option<Seal>) -> Self {
        Self { store, seal: seal.map(Arc::new) }
    }

    /// Makes an endpoint, which takes events from now on, and gives its signing secret: nobody is told it again.
    ///
    /// # Errors
    /// [`WebhookError::TooMany`], [`WebhookError::NoSeal`]; otherwise the system or the store has failed.
    pub async fn create(
        &self,
        draft: EndpointDraft,
        by: String,
    ) -> Result<(Endpoint, SecretString), WebhooksError> {
        let now = clock::now();
        let id = EndpointId::from(clock::new_uuid());
        let (secret, shown) = self.draw(id)?;
        let EndpointDraft { url, events, description } = draft;
        let endpoint = Endpoint {
            id,
            url: url.clone(),
            events: events.clone(),
            description: description.as_str().to_owned(),
            old_secret_until: None,
            enabled_at: Some(now),
            disabled_reason: None,
            created_by: by.clone(),
            created_at: now,
            updated_at: now,
        };
        let new = NewEndpoint { id, url, events, description, secret, by };
        kept(self.store.insert_webhook(new, now).await?)?;
        Ok((endpoint, shown))
    }

    /// Gives an endpoint a new signing secret. The one it had signs as well for `overlap`; says until when.
    ///
    /// # Errors
    /// [`WebhookError::NotFound`], [`WebhookError::NoSeal`]; otherwise the system or the store has failed.
    pub async fn rotate_secret(
        &self,
        id: EndpointId,
        overlap: Duration,
        by: String,
    ) -> Result<(SecretString, Option<Timestamp>), WebhooksError> {
        let now = clock::now();
        let (secret, shown) = self.draw(id)?;
        let until = (!overlap.is_zero()).then(|| now.plus(overlap));
        kept(self.store.rotate_webhook_secret(id, secret, until, by, now).await?)?;
        Ok((shown, until))
    }

    /// Queues an event that says nothing, to see whether it arrives. `source` is this node.
    ///
    /// # Errors
    /// [`WebhookError::NotFound`], [`WebhookError::Disabled`]; otherwise the store has failed.
    pub async fn test(&self, id: EndpointId, source: &str) -> Result<DeliveryId, WebhooksError> {
        self.get_enabled(id).await?;
        let now = clock::now();
        let fact = Fact {
            id: clock::new_uuid().into(),
            name: TEST_EVENT,
            subject: &id.to_string(),
            at: now,
            request_id: None,
            traceparent: None,
            data: &json!({ "endpoint_id": id }).to_string(),
        };
        let delivery = NewDelivery {
            id: clock::new_uuid().into(),
            medium: Medium::Webhook,
            kind: TEST_EVENT.to_owned(),
            user: None,
            seq: None,
            target: Some(id.uuid()),
            digest_key: None,
            data: Some(CloudEvent::new(&fact, source).to_json()),
            due_at: now,
            suppressed: None,
        };
        let id = delivery.id;
        self.store.insert_webhook_deliveries(vec![delivery], now).await?;
        Ok(id)
    }

    /// An endpoint that takes events.
    ///
    /// # Errors
    /// [`WebhookError::NotFound`], [`WebhookError::Disabled`]; otherwise the store has failed.
    pub async fn get_enabled(&self, id: EndpointId) -> Result<Endpoint, WebhooksError> {
        let endpoint = self.store.find_webhook(id).await?.ok_or(WebhookError::NotFound)?;
        if endpoint.enabled_at.is_none() {
            return Err(WebhookError::Disabled.into());
        }
        Ok(endpoint)
    }

    /// Disables what has failed for five days, and what took nothing for a day while its queue was full.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn disable_failing(&self) -> Result<(), StoreError> {
        for id in self.store.disable_failing_webhooks(FAILING_MAX, clock::now()).await? {
            tracing::info!(endpoint.id = %id, "a webhook endpoint keeps failing; it was disabled");
        }
        for id in self.store.disable_full_webhooks(FULL_MAX, clock::now()).await? {
            tracing::info!(endpoint.id = %id, "the queue of a webhook endpoint stays full; it was disabled");
        }
        Ok(())
    }

    /// Gives every endpoint a new signing secret, sealed under the key that this node has: for when the one before is
    /// lost. Gives each with its secret.
    ///
    /// # Errors
    /// [`WebhookError::NoSeal`]; otherwise the system or the store has failed.
    pub async fn renew_secrets(
        &self,
        by: &str,
    ) -> Result<Vec<(Endpoint, SecretString)>, WebhooksError> {
        let seal = self.seal.as_ref().ok_or(WebhookError::NoSeal)?;
        let (mut sealed, mut shown) = (Vec::new(), Vec::new());
        for endpoint in self.store.list_webhooks(None, ALL).await? {
            let (secret, text) = self.draw(endpoint.id)?;
            sealed.push((endpoint.id, secret.bytes));
            shown.push((endpoint, text));
        }
        let (mark, by) = (seal.mark().to_owned(), by.to_owned());
        self.store.replace_webhook_secrets(mark, sealed, by, clock::now()).await?;
        Ok(shown)
    }

    /// A new secret: as it is stored, and as its holder is told.
    fn draw(&self, endpoint: EndpointId) -> Result<(SealedSecret, SecretString), WebhookError> {
        let Some(seal) = &self.seal else {
            tracing::error!(
                "webhooks need the secret `{WEBHOOK_SEAL}`: run `madang secrets generate {WEBHOOK_SEAL}`, and give every \
                 node the same"
            );
            return Err(WebhookError::NoSeal);
        };
        let key = random_key().map_err(|_| WebhookError::Crypto)?;
        let secret = SecretString::from(format!("{KEY_PREFIX}{}", key.expose_secret()));
        let bytes = seal.seal(&secret, endpoint.uuid().as_bytes());
        let bytes = bytes.map_err(|_| WebhookError::Crypto)?;
        Ok((SealedSecret { bytes, mark: seal.mark().to_owned() }, secret))
    }
}

#[async_trait]
impl Composer for Webhooks {
    /// To the address that the endpoint has by now, signed with every secret that is valid.
    async fn compose(&self, delivery: &Delivery) -> Result<Composed, ComposeError> {
        let poison = |cause: &str| ComposeError::Poison(cause.to_owned());
        let endpoint = delivery.target.ok_or_else(|| poison("it is for no endpoint"))?;
        let body = delivery.data.clone().ok_or_else(|| poison("it says nothing"))?;
        let now = clock::now();
        let Some(addressee) = self.store.find_webhook_addressee(endpoint.into(), now).await? else {
            return Ok(Composed::Suppressed("endpoint_deleted".to_owned()));
        };
        if !addressee.is_enabled {
            return Ok(Composed::Suppressed("endpoint_disabled".to_owned()));
        }
        let open = |sealed: &Vec<u8>| self.seal.as_ref()?.open(sealed, endpoint.as_bytes()).ok();
        let keys: Option<Vec<SecretString>> = addressee.secrets.iter().map(open).collect();
        let Some(keys) = keys else {
            tracing::error!(endpoint.id = %endpoint, "a signing secret cannot be opened with the key of this node");
            // Another node may have the key, or this one after its next start.
            return Ok(Composed::Unable(now.plus(UNREADABLE_WAIT)));
        };
        let content = WebhookContent { url: addressee.url, keys, at: now, body };
        let (id, kind) = (delivery.id, delivery.kind.clone());
        Ok(Composed::Letter(Box::new(Letter { id, kind, content: Content::Webhook(content) })))
    }

    /// An endpoint that is gone is disabled, unless it has moved since the letter went out.
    async fn ended(&self, db: &mut Db, ended: &Ended) -> Result<(), StoreError> {
        let (DeliveryEnd::Gone, Some(endpoint)) = (ended.end, ended.delivery.target) else {
            return Ok(());
        };
        let Some(Content::Webhook(sent)) = ended.letter.as_ref().map(|letter| &letter.content)
        else {
            return Ok(());
        };
        webhooks::disable_gone(db, endpoint.into(), &sent.url, ended.at).await.map(|_| ())
    }
}

fn kept(kept: Kept) -> Result<(), WebhookError> {
    match kept {
        Kept::Done => Ok(()),
        Kept::TooMany => Err(WebhookError::TooMany),
        Kept::NotFound => Err(WebhookError::NotFound),
        Kept::OtherSeal => Err(WebhookError::NoSeal),
    }
}
