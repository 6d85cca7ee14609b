//! Settings of text messages.

use serde::Deserialize;

use super::problems::Problems;

/// Who carries text messages, and in whose name. Its credentials are the secrets `sms_key` and `sms_secret`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmsConfig {
    pub provider: SmsProvider,
    /// Empty: where the provider is found by everybody.
    pub base_url: String,
    pub sender: String,
    /// Empty: the account is the one that `sms_key` names.
    pub account: String,
    pub segments_max: usize,
    pub too_long: TooLong,
    pub key_header: String,
    pub timestamp_header: String,
    pub signature_header: String,
}

/// Who carries text messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum SmsProvider {
    /// The sandbox in development, nobody in production.
    #[serde(rename = "")]
    Default,
    #[serde(rename = "sandbox")]
    Sandbox,
    /// Signed JSON to an address of the operator's own.
    #[serde(rename = "http")]
    Http,
    #[serde(rename = "solapi")]
    Solapi,
    #[serde(rename = "twilio")]
    Twilio,
}

/// What becomes of a text that needs more than `segments_max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TooLong {
    Cut,
    Refuse,
}

impl SmsProvider {
    /// Whether messages leave the house by it.
    const fn is_real(self) -> bool {
        matches!(self, Self::Http | Self::Solapi | Self::Twilio)
    }

    const fn usual_url(self) -> &'static str {
        match self {
            Self::Solapi => "https://api.solapi.com",
            Self::Twilio => "https://api.twilio.com",
            Self::Default | Self::Sandbox | Self::Http => "",
        }
    }
}

impl SmsConfig {
    /// Where the provider is, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> &str {
        match self.base_url.as_str() {
            "" => self.provider.usual_url(),
            url => url.trim_end_matches('/'),
        }
    }

    pub(super) fn validate(&self, problems: &mut Problems) {
        problems.within("sms.segments_max", self.segments_max, 1..=10);
        for (key, name) in [
            ("key_header", &self.key_header),
            ("timestamp_header", &self.timestamp_header),
            ("signature_header", &self.signature_header),
        ] {
            if !is_header(name) {
                problems.add(format!("`sms.{key}` is {name:?}, but must be the name of a header"));
            }
        }
        if !self.provider.is_real() {
            return;
        }
        let url = self.url();
        if !url.starts_with("https://") && !url.starts_with("http://") {
            problems.add("`sms.base_url` must start with https:// or http://");
        }
        if !is_sender(&self.sender) {
            problems.add(format!(
                "`sms.sender` is {:?}, but must be the number or the name that messages come from",
                self.sender
            ));
        }
    }
}

fn is_header(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 64
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
}

fn is_sender(sender: &str) -> bool {
    let sane = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | ' ' | '_');
    !sender.is_empty() && sender.len() <= 64 && sender.chars().all(sane)
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, ConfigError};

    fn read(provider: &str, changes: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let sms = [("MADANG__SMS__PROVIDER", provider), ("MADANG__SMS__SENDER", "+15005550006")];
        Config::read(None, sms.iter().chain(changes).copied())
    }

    #[test]
    fn providers_that_everybody_finds_need_no_address() {
        assert_eq!(read("solapi", &[]).unwrap().sms.url(), "https://api.solapi.com");
        assert_eq!(read("twilio", &[]).unwrap().sms.url(), "https://api.twilio.com");
        let refusal = read("http", &[]).unwrap_err().to_string();
        assert!(refusal.contains("`sms.base_url`"), "{refusal}");
        let own = [("MADANG__SMS__BASE_URL", "https://sms.example.com/send/")];
        assert_eq!(read("http", &own).unwrap().sms.url(), "https://sms.example.com/send");
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (name, value, key) in [
            ("MADANG__SMS__SENDER", "", "sms.sender"),
            ("MADANG__SMS__SENDER", "a\r\nb", "sms.sender"),
            ("MADANG__SMS__SEGMENTS_MAX", "0", "sms.segments_max"),
            ("MADANG__SMS__KEY_HEADER", "X Key", "sms.key_header"),
            ("MADANG__SMS__TOO_LONG", "shrink", "sms.too_long"),
        ] {
            let refusal = read("twilio", &[(name, value)]).unwrap_err().to_string();
            assert!(refusal.contains(&format!("`{key}`")), "{refusal}");
        }
    }
}
