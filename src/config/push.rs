//! Settings of push messages.

use serde::Deserialize;

use super::list;
use super::problems::Problems;

/// Which push services are used. The key of Web Push is the secret `vapid`, the account of FCM `fcm_service_account`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PushConfig {
    pub web_push: bool,
    /// A `mailto:` or `https:` address by which push services reach whoever runs this.
    pub contact: String,
    /// Names of hosts, or `*.` and what they end with.
    #[serde(deserialize_with = "list::deserialize")]
    pub endpoint_hosts: Vec<String>,
    pub fcm: bool,
    pub fcm_url: String,
}

impl PushConfig {
    /// Whether browsers may have their subscriptions at a host.
    #[must_use]
    pub fn takes_endpoints_at(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        self.endpoint_hosts.iter().any(|known| match known.strip_prefix('*') {
            Some(end) => host.len() > end.len() && host.ends_with(end),
            None => host == *known,
        })
    }

    pub(super) fn validate(&self, problems: &mut Problems) {
        let is_reachable = self.contact.starts_with("mailto:") && self.contact.contains('@')
            || self.contact.starts_with("https://") && self.contact.len() > "https://".len();
        if self.web_push && !is_reachable {
            problems.add(format!(
                "`push.contact` is {:?}, but Web Push needs a mailto: or https: address",
                self.contact
            ));
        }
        for host in &self.endpoint_hosts {
            let name = host.strip_prefix("*.").unwrap_or(host);
            let is_plain =
                |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-".contains(c);
            if name.is_empty() || name.starts_with('.') || !name.chars().all(is_plain) {
                problems.add(format!(
                    "`push.endpoint_hosts` has {host:?}, but each must be the name of a host in small letters, or \
                     \"*.\" and the end of one"
                ));
            }
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
    fn subscriptions_are_taken_at_the_services_of_browsers_and_nowhere_else() {
        let config = Config::read(None, [("MADANG__NODE__NAME", "a")]).unwrap();
        for host in [
            "fcm.googleapis.com",
            "updates.push.services.mozilla.com",
            "db5p.notify.windows.com",
            "web.push.apple.com",
            "WEB.PUSH.APPLE.COM.",
        ] {
            assert!(config.push.takes_endpoints_at(host), "{host}");
        }
        for host in [
            "",
            "example.com",
            "notify.windows.com",
            "evil-fcm.googleapis.com",
            "a.web.push.apple.com",
        ] {
            assert!(!config.push.takes_endpoints_at(host), "{host}");
        }

        let hosts = |hosts| Config::read(None, [("MADANG__PUSH__ENDPOINT_HOSTS", hosts)]);
        assert!(hosts("push.example.net").unwrap().push.takes_endpoints_at("push.example.net"));
        for wrong in ["*", "*.", "https://push.example.net", "Push.example.net", "*.*.net"] {
            let refusal = hosts(wrong).unwrap_err().to_string();
            assert!(refusal.contains("`push.endpoint_hosts`"), "{refusal}");
        }
    }

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
