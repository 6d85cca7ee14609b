//! Couriers: the outside world of each medium behind one trait.
//!
//! A courier makes one attempt. Whether and when there is another, and when a whole route is left alone, is decided by
//! whoever calls it. Invariant: no error and no log line carries an address, a text, a token or a key.

mod answers;
pub mod mail;
pub mod outward;
pub mod push;
mod sms;
pub mod webhook;

use std::sync::Arc;
pub mod sandbox;

use std::time::Duration;

use async_trait::async_trait;

use crate::config::{Config, MailProvider, SmsProvider};
use crate::domain::letters::Letter;
use crate::domain::media::Medium;
use crate::secrets::SecretError;

use mail::SmtpCourier;
use outward::OutwardError;
use outward::guard::Guard;
use push::PushCourier;
use webhook::WebhookCourier;

/// Takes letters of one medium out of the house. Errors are for a support person to read.
#[async_trait]
pub trait Courier: Send + Sync + 'static {
    /// The name of the provider in the delivery log, such as `smtp`.
    fn name(&self) -> &'static str;

    /// What may be down for this letter and others with it, such as `smtp` or a push service's host: failures are
    /// counted for each. The route of a webhook is its endpoint's host.
    fn route(&self, letter: &Letter) -> String;

    /// Makes one attempt; ends within the courier's own time limit. `Ok` means that the provider has taken it over.
    ///
    /// # Errors
    /// [`DeliveryError`], which says whether another attempt makes sense.
    async fn deliver(&self, letter: &Letter) -> Result<Receipt, DeliveryError>;
}

/// What the provider said when it took a letter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Receipt {
    /// Its own id for it, by which its support finds it.
    pub provider_id: Option<String>,
}

/// Why a letter was not taken. Each `cause` is one short sentence without personal data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeliveryError {
    /// The provider does not answer, not in time, or with a failure of its own: says something about the whole route.
    #[error("{cause}")]
    Unavailable { cause: String, retry_after: Option<Duration> },
    /// This letter was put off, such as by a grey list or its recipient's own limit: says nothing about the route.
    #[error("{cause}")]
    Deferred { cause: String, retry_after: Option<Duration> },
    /// The provider takes nothing more from us for now: no letter is to blame, and the route is left alone for a while.
    #[error("{cause}")]
    Throttled { cause: String, retry_after: Option<Duration> },
    /// This letter will never be taken.
    #[error("{cause}")]
    Refused { cause: String },
    /// The address is no more: nothing should go there again.
    #[error("{cause}")]
    Gone { cause: String },
    /// The provider refuses us at this address. That is the address's fault if we are welcome at others, such as where a
    /// subscription is bound to somebody else's key; and ours if we are not.
    #[error("{cause}")]
    Denied { cause: String },
    /// The provider refuses us, not the letter: a wrong key, an account without credit. The route is down until an
    /// operator mends it.
    #[error("{cause}")]
    Misconfigured { cause: String },
}

/// Why a courier cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Outward(#[from] OutwardError),
    #[error("`{key}` cannot be used: {reason}")]
    Setting { key: &'static str, reason: String },
    #[error("the secret `{name}` cannot be used: {reason}")]
    Key { name: &'static str, reason: String },
}

/// The couriers of a node. A medium without one is not used: what is for it is not sent.
#[derive(Clone)]
pub struct Couriers {
    mail: Option<Arc<dyn Courier>>,
    sms: Option<Arc<dyn Courier>>,
    push: Option<Arc<dyn Courier>>,
    webhook: Arc<dyn Courier>,
    web_push_key: Option<Arc<str>>,
}

impl Couriers {
    /// The courier of a medium, if it is used.
    #[must_use]
    pub fn get(&self, medium: Medium) -> Option<&Arc<dyn Courier>> {
        match medium {
            Medium::Inbox => None,
            Medium::Mail => self.mail.as_ref(),
            Medium::Sms => self.sms.as_ref(),
            Medium::Push => self.push.as_ref(),
            Medium::Webhook => Some(&self.webhook),
        }
    }

    /// The key that browsers bind their subscriptions to (`applicationServerKey`), in base64url; `None` where Web Push is
    /// not used.
    #[must_use]
    pub fn web_push_key(&self) -> Option<&str> {
        self.web_push_key.as_deref()
    }
}

/// Opens the couriers that the settings choose. `sandbox` makes the one that stands in for a medium: where the settings
/// ask for it, and in development wherever they ask for nothing. Nobody is connected to yet.
///
/// # Errors
/// [`OpenError`] for a secret that is missing, or settings that cannot be used.
pub fn open(
    config: &Config,
    sandbox: impl Fn(Medium) -> Arc<dyn Courier>,
) -> Result<Couriers, OpenError> {
    let unless_chosen = |medium| (!config.is_production()).then(|| sandbox(medium));
    let mail: Option<Arc<dyn Courier>> = match config.mail.provider {
        MailProvider::Default => unless_chosen(Medium::Mail),
        MailProvider::Sandbox => Some(sandbox(Medium::Mail)),
        MailProvider::Smtp => Some(Arc::new(SmtpCourier::new(config)?)),
    };
    let sms = match config.sms.provider {
        SmsProvider::Default => unless_chosen(Medium::Sms),
        SmsProvider::Sandbox => Some(sandbox(Medium::Sms)),
        SmsProvider::Http | SmsProvider::Solapi | SmsProvider::Twilio => sms::open(config)?,
    };
    let guard = Guard::new(&config.outward)?;
    let otherwise = unless_chosen(Medium::Push);
    let (push, web_push_key): (Option<Arc<dyn Courier>>, _) =
        if config.push.web_push || config.push.fcm {
            let push = PushCourier::new(config, &guard, otherwise)?;
            let key = push.web_push_key().map(Arc::from);
            (Some(Arc::new(push)), key)
        } else {
            (otherwise, None)
        };
    let webhook = Arc::new(WebhookCourier::new(guard));
    Ok(Couriers { mail, sms, push, webhook, web_push_key })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Sandbox;

    #[async_trait]
    impl Courier for Sandbox {
        fn name(&self) -> &'static str {
            "sandbox"
        }

        fn route(&self, _: &Letter) -> String {
            "sandbox".to_owned()
        }

        async fn deliver(&self, _: &Letter) -> Result<Receipt, DeliveryError> {
            Ok(Receipt::default())
        }
    }

    fn names(settings: &[(&str, &str)]) -> Vec<Option<&'static str>> {
        let config = Config::read(None, settings.iter().copied()).unwrap();
        let couriers = open(&config, |_| Arc::new(Sandbox)).unwrap();
        Medium::OUTWARD.map(|medium| couriers.get(medium).map(|courier| courier.name())).into()
    }

    #[tokio::test]
    async fn development_plays_what_it_was_not_told_and_production_leaves_it() {
        assert_eq!(
            names(&[]),
            [Some("sandbox"), Some("sandbox"), Some("sandbox"), Some("webhook")]
        );
        assert_eq!(names(&[("MADANG__MODE", "production")]), [None, None, None, Some("webhook")]);
    }

    #[tokio::test]
    async fn a_chosen_provider_is_opened_and_a_chosen_sandbox_too() {
        let settings = [
            ("MADANG__MODE", "production"),
            ("MADANG__MAIL__PROVIDER", "smtp"),
            ("MADANG__MAIL__HOST", "mail.example.com"),
            ("MADANG__MAIL__FROM", "hello@example.com"),
            ("MADANG__SMS__PROVIDER", "sandbox"),
        ];
        assert_eq!(names(&settings), [Some("smtp"), Some("sandbox"), None, Some("webhook")]);
    }

    #[tokio::test]
    async fn a_provider_without_its_secret_is_not_opened() {
        let settings = [
            ("MADANG__DATA__DIR", "/nonexistent"),
            ("MADANG__SMS__PROVIDER", "twilio"),
            ("MADANG__SMS__SENDER", "+15005550006"),
        ];
        let config = Config::read(None, settings).unwrap();

        let refusal = open(&config, |_| Arc::new(Sandbox)).err().unwrap().to_string();

        assert!(refusal.contains("MADANG_SECRET_SMS_KEY"), "{refusal}");
    }
}
