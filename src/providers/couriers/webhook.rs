//! Webhooks: domain events for other systems, as Standard Webhooks 1.0 says.
//!
//! The receiver's answer is its status; what else it says is nobody's business here, and is not kept.

use async_trait::async_trait;
use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;

use super::answers::{gone, misconfigured, not_ours, retry_after, send, unavailable, unusable};
use super::outward::{
    finish,
    guard::{Guard, host_of},
};
use super::{Courier, DeliveryError, Receipt};
use crate::clock;
use crate::domain::letters::{Content, Letter};
use crate::domain::webhook_signatures::{sign, timestamp};

const NAME: &str = "webhook";
const WHO: &str = "the endpoint";

/// Posts to addresses that users give.
pub struct WebhookCourier {
    guard: Guard,
}

impl WebhookCourier {
    #[must_use]
    pub const fn new(guard: Guard) -> Self {
        Self { guard }
    }
}

#[async_trait]
impl Courier for WebhookCourier {
    fn name(&self) -> &'static str {
        NAME
    }

    fn route(&self, letter: &Letter) -> String {
        match &letter.content {
            Content::Webhook(webhook) => host_of(&webhook.url).unwrap_or_else(|| NAME.to_owned()),
            Content::Mail(_) | Content::Sms(_) | Content::Push(_) => NAME.to_owned(),
        }
    }

    async fn deliver(&self, letter: &Letter) -> Result<Receipt, DeliveryError> {
        let Content::Webhook(webhook) = &letter.content else {
            return Err(not_ours());
        };
        let request = self.guard.post(&webhook.url).map_err(|error| unusable(WHO, error))?;
        let id = letter.id.to_string();
        let signature = sign(&id, webhook.at, &webhook.body, &webhook.keys)
            .ok_or_else(|| misconfigured("the endpoint has no key that can sign"))?;
        let request = request
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp(webhook.at).to_string())
            .header("webhook-signature", signature)
            .body(webhook.body.clone());

        let response = send(WHO, request).await?;
        let status = response.status();
        let retry_after = retry_after(response.headers(), clock::now());
        finish(response).await;
        let cause = format!("{WHO} answered {}", status.as_u16());
        match status {
            status if status.is_success() => Ok(Receipt::default()),
            StatusCode::GONE => Err(gone(cause)),
            StatusCode::TOO_MANY_REQUESTS => Err(DeliveryError::Deferred { cause, retry_after }),
            StatusCode::SERVICE_UNAVAILABLE if retry_after.is_some() => {
                Err(DeliveryError::Deferred { cause, retry_after })
            }
            // The host is well, and refuses this letter or this endpoint: others on the same host do not wait for it.
            // Redirects too: whoever moves has to say so where the address is kept.
            status if status.as_u16() < 500 => {
                Err(DeliveryError::Deferred { cause, retry_after: None })
            }
            _ => Err(unavailable(cause)),
        }
    }
}
