//! Push messages: to browsers by Web Push, to apps by Firebase Cloud Messaging.

mod fcm;
mod vapid;
mod web_push;

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};

use super::answers::{not_ours, refused};
use super::outward::{self, guard::Guard};
use super::{Courier, DeliveryError, OpenError, Receipt};
use crate::config::Config;
use crate::domain::letters::{Content, Letter, PushTarget};
use crate::domain::pushes::Shown;
use crate::secrets;

use fcm::Fcm;
use vapid::Vapid;
use web_push::WebPush;

pub use web_push::is_subscription_key;

const NAME: &str = "push";

/// Takes a message to the service that the device is registered with.
pub struct PushCourier {
    web_push: Option<WebPush>,
    fcm: Option<Fcm>,
    /// Takes what is for a service that is not used; `None`: such messages are refused.
    otherwise: Option<Arc<dyn Courier>>,
}

impl PushCourier {
    /// Opens the services that the settings switch on.
    ///
    /// # Errors
    /// [`OpenError`] for a secret that is missing, or settings that cannot be used.
    pub fn new(
        config: &Config,
        guard: &Guard,
        otherwise: Option<Arc<dyn Courier>>,
    ) -> Result<Self, OpenError> {
        let web_push = match config.push.web_push {
            true => Some(WebPush::new(vapid(config)?, guard.clone())),
            false => None,
        };
        let fcm = match config.push.fcm {
            true => {
                let account = secrets::load(config, fcm::SECRET)?;
                let client = outward::client(&config.outward)?;
                Some(Fcm::new(&config.push.fcm_url, &account, client)?)
            }
            false => None,
        };
        Ok(Self { web_push, fcm, otherwise })
    }

    /// The key that browsers bind their subscriptions to, in base64url; `None` where Web Push is not used.
    #[must_use]
    pub fn web_push_key(&self) -> Option<&str> {
        self.web_push.as_ref().map(WebPush::public_key)
    }

    fn other(&self) -> Result<&Arc<dyn Courier>, DeliveryError> {
        self.otherwise.as_ref().ok_or_else(|| refused("this push service is not used here"))
    }
}

#[async_trait]
impl Courier for PushCourier {
    fn name(&self) -> &'static str {
        NAME
    }

    fn route(&self, letter: &Letter) -> String {
        let Content::Push(push) = &letter.content else {
            return NAME.to_owned();
        };
        match &push.target {
            PushTarget::WebPush { endpoint, .. } => {
                outward::guard::host_of(endpoint).unwrap_or_else(|| NAME.to_owned())
            }
            PushTarget::Fcm { .. } => fcm::ROUTE.to_owned(),
        }
    }

    async fn deliver(&self, letter: &Letter) -> Result<Receipt, DeliveryError> {
        let Content::Push(push) = &letter.content else {
            return Err(not_ours());
        };
        match (&push.target, &self.web_push, &self.fcm) {
            (PushTarget::WebPush { endpoint, p256dh, auth }, Some(web_push), _) => {
                web_push.deliver(letter, push, (endpoint, p256dh, auth)).await
            }
            (PushTarget::Fcm { token }, _, Some(fcm)) => fcm.deliver(letter, push, token).await,
            _ => self.other()?.deliver(letter).await,
        }
    }
}

/// The key for Web Push: development makes it, and every node needs the same, or subscriptions are worth nothing.
fn vapid(config: &Config) -> Result<Vapid, OpenError> {
    let key = secrets::load_or_generate(config, vapid::SECRET)?;
    Vapid::new(&key, &config.push.contact)
}

/// What a service worker is given.
fn payload(letter: &Letter, shown: &Shown) -> Value {
    json!({
        "id": letter.id,
        "kind": letter.kind,
        "title": shown.title,
        "body": shown.body,
        "data": shown.data,
    })
}
