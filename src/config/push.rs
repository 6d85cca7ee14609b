//! Settings of push messages.

use serde::Deserialize;

use super::problems::Problems;

/// Which push services are used. The key of Web Push is the secret `vapid`, the account of FCM `fcm_service_account`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PushConfig {
    pub web_push: bool,
    /// A `mailto:` or `https:` address by which push services reach whoever runs this.
    pub contact: String,
    pub fcm: bool,
    pub fcm_url: String,
}

impl PushConfig {
    pub(super) fn validate(&self, problems: &mut Problems) {
        let is_reachable = self.contact.starts_with("mailto:") && self.contact.contains('@')
            || self.contact.starts_with("https://") && self.contact.len() > "https://".len();
        if self.web_push && !is_reachable {
            problems.add(format!(
                "`push.contact` is {:?}, but Web Push needs a mailto: or https: address",
                self.contact
            ));
        }
        if !self.fcm_url.starts_with("https://") && !self.fcm_url.starts_with("http://") {
            problems.add("`push.fcm_url` must start with https:// or http://");
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn web_push_needs_somebody_to_write_to() {
        let read = |contact| {
            Config::read(
                None,
                [("MADANG__PUSH__WEB_PUSH", "true"), ("MADANG__PUSH__CONTACT", contact)],
            )
        };

        for contact in ["mailto:push@example.com", "https://example.com/contact"] {
            assert!(read(contact).is_ok(), "{contact}");
        }
        for contact in ["", "push@example.com", "mailto:", "https://", "http://example.com"] {
            let refusal = read(contact).unwrap_err().to_string();
            assert!(refusal.contains("`push.contact`"), "{refusal}");
        }
    }
}
