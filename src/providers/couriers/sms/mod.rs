//! Text messages: one courier for each provider's API; what they may cost is decided before one is called.

mod signed_json;
mod solapi;
mod twilio;

use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};

use super::answers::refused;
use super::{Courier, DeliveryError, OpenError, outward};
use crate::config::{Config, SmsConfig, SmsProvider, TooLong};
use crate::domain::sms;
use crate::secrets;

/// With what we say to a provider who we are.
struct Credentials {
    key: String,
    secret: SecretString,
}

/// The courier that the settings choose; `None` where they leave it to the mode, or choose the sandbox.
///
/// # Errors
/// [`OpenError`] for a secret that is missing, or settings that cannot be used.
pub(super) fn open(config: &Config) -> Result<Option<Arc<dyn Courier>>, OpenError> {
    Ok(match config.sms.provider {
        SmsProvider::Default | SmsProvider::Sandbox => None,
        SmsProvider::Http => {
            let client = outward::client(&config.outward)?;
            let courier = signed_json::SignedJson::new(&config.sms, credentials(config)?, client)?;
            Some(Arc::new(courier))
        }
        SmsProvider::Solapi => {
            let client = outward::client(&config.outward)?;
            Some(Arc::new(solapi::Solapi::new(&config.sms, credentials(config)?, client)))
        }
        SmsProvider::Twilio => {
            let client = outward::client(&config.outward)?;
            Some(Arc::new(twilio::Twilio::new(&config.sms, credentials(config)?, client)))
        }
    })
}

fn credentials(config: &Config) -> Result<Credentials, OpenError> {
    let key = secrets::load(config, "sms_key")?.expose_secret().to_owned();
    Ok(Credentials { key, secret: secrets::load(config, "sms_secret")? })
}

/// How long a message may become.
struct Length {
    segments_max: usize,
    too_long: TooLong,
}

impl Length {
    fn of(config: &SmsConfig) -> Self {
        Self { segments_max: config.segments_max, too_long: config.too_long }
    }

    /// The text as it is sent abroad.
    fn fit(&self, text: &str) -> Result<String, DeliveryError> {
        let text = sms::tidy(text);
        if sms::segments(&text).count <= self.segments_max {
            return Ok(text);
        }
        self.may_cut().map(|()| sms::cut_to_segments(&text, self.segments_max))
    }

    /// The text as it is sent in Korea.
    fn fit_korean(&self, text: &str) -> Result<String, DeliveryError> {
        let text = sms::in_euc_kr(&sms::tidy(text));
        let bytes_max =
            if self.segments_max == 1 { sms::SMS_BYTES_MAX } else { sms::LMS_BYTES_MAX };
        if sms::euc_kr_bytes(&text).is_some_and(|bytes| bytes <= bytes_max) {
            return Ok(text);
        }
        self.may_cut().map(|()| sms::cut_to_euc_kr(&text, bytes_max))
    }

    fn may_cut(&self) -> Result<(), DeliveryError> {
        match self.too_long {
            TooLong::Cut => Ok(()),
            TooLong::Refuse => Err(refused("the text is longer than `sms.segments_max` allows")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_too_long_is_cut_or_refused() {
        let long = "가".repeat(71);
        let cut = Length { segments_max: 1, too_long: TooLong::Cut };
        let refuse = Length { segments_max: 1, too_long: TooLong::Refuse };

        assert_eq!(sms::segments(&cut.fit(&long).unwrap()).count, 1);
        assert!(cut.fit_korean(&long).unwrap().ends_with(".."));
        for refusal in [refuse.fit(&long), refuse.fit_korean(&long)] {
            assert!(matches!(refusal, Err(DeliveryError::Refused { .. })), "{refusal:?}");
        }
        assert_eq!(refuse.fit("짧은 글 🙂").unwrap(), "짧은 글 🙂");
        assert_eq!(refuse.fit_korean("짧은 글 🙂").unwrap(), "짧은 글 ?");
    }

    #[test]
    fn more_segments_make_a_long_korean_message() {
        let length = Length { segments_max: 2, too_long: TooLong::Refuse };

        assert_eq!(length.fit_korean(&"가".repeat(1_000)).unwrap().chars().count(), 1_000);
        assert!(length.fit_korean(&"가".repeat(1_001)).is_err());
    }
}
