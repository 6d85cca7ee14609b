//! Settings of outgoing mail.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use lettre::message::Mailbox;
use serde::Deserialize;

use super::problems::Problems;

/// Who carries mail, and in whose name.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MailConfig {
    pub provider: MailProvider,
    pub host: String,
    pub port: u16,
    pub tls: MailTls,
    pub plaintext_allowed: bool,
    /// Empty: no login. Its password is the secret `smtp_password`.
    pub username: String,
    /// An address, or a name and an address in angle brackets.
    pub from: String,
    /// As `from`; empty: answers go to the sender.
    pub reply_to: String,
    /// Empty: the name of the machine.
    pub hello_name: String,
    pub timeout_ms: u64,
    pub connections_max: usize,
    /// Empty: none besides those of the machine.
    pub root_certificate: PathBuf,
    /// Empty: mails are not signed. The key is the secret `dkim_key`.
    pub dkim_selector: String,
    /// Empty: the domain of `from`.
    pub dkim_domain: String,
}

/// Who carries mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum MailProvider {
    /// The sandbox in development, nobody in production.
    #[serde(rename = "")]
    Default,
    #[serde(rename = "sandbox")]
    Sandbox,
    #[serde(rename = "smtp")]
    Smtp,
}

/// How the connection to the mail server is kept secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MailTls {
    /// Begins in the clear and must change to TLS before anything is said.
    Starttls,
    /// TLS from the first byte.
    Tls,
    /// None at all.
    None,
}

impl MailConfig {
    /// `timeout_ms` as a duration.
    #[must_use]
    pub const fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    pub(super) fn validate(&self, problems: &mut Problems) {
        problems.within("mail.timeout_ms", self.timeout_ms, 100..=300_000);
        problems.within("mail.connections_max", self.connections_max, 1..=256);
        if self.provider != MailProvider::Smtp {
            return;
        }
        if !is_host(&self.host) {
            problems.add("`mail.host` must name the mail server");
        }
        if self.port == 0 {
            problems.add("`mail.port` is 0, but must be the port of the mail server");
        }
        if self.tls == MailTls::None && !self.plaintext_allowed && !is_loopback(&self.host) {
            problems.add(
                "`mail.tls` is \"none\", but the mail server is not on this machine: \
                 set `mail.plaintext_allowed` if mails and the password may be read on the way",
            );
        }
        if self.from.parse::<Mailbox>().is_err() {
            problems.add("`mail.from` must be an address, such as \"Madang <hello@example.com>\"");
        }
        if !self.reply_to.is_empty() && self.reply_to.parse::<Mailbox>().is_err() {
            problems.add("`mail.reply_to` must be an address, or empty");
        }
        if !self.hello_name.is_empty() && !is_host(&self.hello_name) {
            problems.add("`mail.hello_name` must be the name of a host, or empty");
        }
        for (key, value) in
            [("dkim_selector", &self.dkim_selector), ("dkim_domain", &self.dkim_domain)]
        {
            if !value.is_empty() && !is_host(value) {
                problems.add(format!(
                    "`mail.{key}` is {value:?}, but must be a name as in the DNS, or empty"
                ));
            }
        }
    }
}

/// A name or a literal address: nothing that could end a line or a header.
fn is_host(text: &str) -> bool {
    let sane = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    !text.is_empty() && text.len() <= 253 && text.chars().all(sane)
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, ConfigError};

    fn read(changes: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let smtp = [
            ("MADANG__MAIL__PROVIDER", "smtp"),
            ("MADANG__MAIL__HOST", "mail.example.com"),
            ("MADANG__MAIL__FROM", "Madang <hello@example.com>"),
        ];
        Config::read(None, smtp.iter().chain(changes).copied())
    }

    #[test]
    fn a_mail_server_and_a_sender_are_enough() {
        assert!(read(&[]).is_ok());
        assert!(read(&[("MADANG__MAIL__FROM", "hello@example.com")]).is_ok());
        assert!(read(&[("MADANG__MAIL__FROM", "마당 <hello@example.com>")]).is_ok());
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (name, value, key) in [
            ("MADANG__MAIL__HOST", "", "mail.host"),
            ("MADANG__MAIL__HOST", "mail.example.com\r\nX", "mail.host"),
            ("MADANG__MAIL__PORT", "0", "mail.port"),
            ("MADANG__MAIL__FROM", "", "mail.from"),
            ("MADANG__MAIL__FROM", "Madang", "mail.from"),
            ("MADANG__MAIL__REPLY_TO", "nobody", "mail.reply_to"),
            ("MADANG__MAIL__HELLO_NAME", "a b", "mail.hello_name"),
            ("MADANG__MAIL__DKIM_SELECTOR", "a;b", "mail.dkim_selector"),
            ("MADANG__MAIL__TLS", "sometimes", "mail.tls"),
        ] {
            let refusal = read(&[(name, value)]).unwrap_err().to_string();
            assert!(refusal.contains(&format!("`{key}`")), "{refusal}");
        }
    }

    #[test]
    fn mail_in_the_clear_stays_on_the_machine_unless_somebody_says_otherwise() {
        const NO_TLS: (&str, &str) = ("MADANG__MAIL__TLS", "none");

        let refusal = read(&[NO_TLS]).unwrap_err().to_string();
        assert!(refusal.contains("`mail.plaintext_allowed`"), "{refusal}");
        for host in ["localhost", "127.0.0.1", "::1"] {
            assert!(read(&[NO_TLS, ("MADANG__MAIL__HOST", host)]).is_ok(), "{host}");
        }
        assert!(read(&[NO_TLS, ("MADANG__MAIL__PLAINTEXT_ALLOWED", "true")]).is_ok());
    }
}
