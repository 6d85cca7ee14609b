//! Sessions: one connection to a mail server, and what the server's replies mean at each step (RFC 5321, RFC 3463).

use std::time::Duration;

use lettre::address::Envelope;
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt, Rset};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};
use lettre::transport::smtp::response::Response;
use tokio::time::Instant;

use super::super::answers::{gone, misconfigured, refused, unavailable};
use super::super::outward::find;
use super::super::{DeliveryError, Receipt};
use super::message;

/// Where the mail server is and how it is greeted.
pub(super) struct Server {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) security: Security,
    pub(super) credentials: Option<Credentials>,
    pub(super) hello_name: ClientId,
    pub(super) timeout: Duration,
}

/// How the connection is kept secret.
pub(super) enum Security {
    Starttls(TlsParameters),
    Tls(TlsParameters),
    None,
}

/// A connection on which mails can be sent, one after the other.
pub(super) struct Session {
    connection: AsyncSmtpConnection,
    /// False once nobody knows where in the conversation it stands.
    pub(super) is_sound: bool,
    pub(super) used_at: Instant,
}

/// How far the conversation was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Hello,
    Starttls,
    Login,
    Sender,
    Recipient,
    Content,
}

impl Server {
    /// Connects, encrypts and logs in.
    pub(super) async fn open(&self) -> Result<Session, DeliveryError> {
        let wrapped = match &self.security {
            Security::Tls(tls) => Some(tls.clone()),
            Security::Starttls(_) | Security::None => None,
        };
        let address = (self.host.as_str(), self.port);
        let mut connection = AsyncSmtpConnection::connect_tokio1(
            address,
            Some(self.timeout),
            &self.hello_name,
            wrapped,
            None,
        )
        .await
        .map_err(|error| failure(Step::Hello, &error))?;
        if let Security::Starttls(tls) = &self.security {
            if !connection.can_starttls() {
                return Err(misconfigured("the mail server does not offer STARTTLS"));
            }
            let encrypted = connection.starttls(tls.clone(), &self.hello_name).await;
            encrypted.map_err(|error| failure(Step::Starttls, &error))?;
        }
        if let Some(credentials) = &self.credentials {
            let known = connection.auth(DEFAULT_MECHANISMS, credentials).await;
            known.map_err(|error| failure(Step::Login, &error))?;
        }
        Ok(Session { connection, is_sound: true, used_at: Instant::now() })
    }
}

impl Session {
    /// Whether the server is still there; whatever was begun before is forgotten.
    pub(super) async fn begin_again(&mut self) -> bool {
        self.connection.command(Rset).await.is_ok()
    }

    /// Sends one mail.
    pub(super) async fn send(&mut self, mail: &message::Mail) -> Result<Receipt, DeliveryError> {
        // A future that is dropped half way leaves nothing to build on.
        self.is_sound = false;
        let parameters = self.parameters(mail)?;
        let sent = self.converse(&mail.envelope, parameters, &mail.bytes).await;
        self.used_at = Instant::now();
        // Where the server said no, it waits for the next command.
        self.is_sound = match &sent {
            Ok(_) => true,
            Err((_, error)) => error.status().is_some_and(|code| u16::from(code) != SHUTTING_DOWN),
        };
        sent.map(|reply| Receipt { provider_id: queue_id(&reply) })
            .map_err(|(step, error)| failure(step, &error))
    }

    fn parameters(&self, mail: &message::Mail) -> Result<Vec<MailParameter>, DeliveryError> {
        let server = self.connection.server_info();
        let mut parameters = Vec::new();
        let addresses = mail.envelope.to().iter().chain(mail.envelope.from());
        if !addresses.map(AsRef::<str>::as_ref).all(str::is_ascii) {
            if !server.supports_feature(Extension::SmtpUtfEight) {
                return Err(refused(
                    "the mail server takes no address in letters of other scripts",
                ));
            }
            parameters.push(MailParameter::SmtpUtfEight);
        }
        if !mail.bytes.is_ascii() {
            if !server.supports_feature(Extension::EightBitMime) {
                return Err(refused("the mail server takes ASCII only"));
            }
            parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
        }
        Ok(parameters)
    }

    async fn converse(
        &mut self,
        envelope: &Envelope,
        parameters: Vec<MailParameter>,
        bytes: &[u8],
    ) -> Result<Response, (Step, SmtpError)> {
        let connection = &mut self.connection;
        let from = Mail::new(envelope.from().cloned(), parameters);
        connection.command(from).await.map_err(|error| (Step::Sender, error))?;
        for to in envelope.to() {
            let to = Rcpt::new(to.clone(), Vec::new());
            connection.command(to).await.map_err(|error| (Step::Recipient, error))?;
        }
        connection.command(Data).await.map_err(|error| (Step::Content, error))?;
        connection.message(bytes).await.map_err(|error| (Step::Content, error))
    }
}

/// The server closes the connection after this reply.
const SHUTTING_DOWN: u16 = 421;
/// Replies about our login, whenever they come (RFC 4954, 6).
const LOGIN_REPLIES: [u16; 4] = [530, 534, 535, 538];
/// The mailbox, its domain or its name is none (RFC 3463, 3.2 and 3.3; RFC 7505), or is no more.
const NO_MAILBOX: [&str; 6] = ["5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10", "5.2.1"];
const NOT_HERE: u16 = 551;
/// The whole server has too much to do, or has had too much from us (RFC 3463, 3.4 and 3.5); 4.7.28 is what large
/// providers say to a sender of too many mails. Others of 4.7 are grey lists, which are about one mail.
const TOO_MUCH: [&str; 4] = ["4.3.1", "4.3.2", "4.4.5", "4.7.28"];

fn failure(step: Step, error: &SmtpError) -> DeliveryError {
    let Some(code) = error.status().map(u16::from) else {
        return silence(step, error);
    };
    let text = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    refusal(step, code, enhanced(&text))
}

/// What a negative reply means. The server's own words are left out: they often repeat the address.
fn refusal(step: Step, code: u16, enhanced: Option<&str>) -> DeliveryError {
    let said = enhanced.map_or_else(|| code.to_string(), |enhanced| format!("{code} {enhanced}"));
    let cause = format!("the mail server answered {said} to {}", step.name());
    if code == SHUTTING_DOWN {
        return unavailable(cause);
    }
    if LOGIN_REPLIES.contains(&code) {
        return misconfigured(cause);
    }
    match step {
        Step::Hello | Step::Starttls | Step::Login | Step::Sender if code < 500 => {
            unavailable(cause)
        }
        Step::Hello | Step::Starttls | Step::Login | Step::Sender => misconfigured(cause),
        Step::Recipient | Step::Content if code < 500 => {
            if enhanced.is_some_and(|enhanced| TOO_MUCH.contains(&enhanced)) {
                DeliveryError::Throttled { cause, retry_after: None }
            } else {
                DeliveryError::Deferred { cause, retry_after: None }
            }
        }
        Step::Recipient | Step::Content => {
            let is_gone = match enhanced {
                Some(enhanced) => NO_MAILBOX.contains(&enhanced),
                None => code == NOT_HERE,
            };
            if is_gone { gone(cause) } else { refused(cause) }
        }
    }
}

/// There was no reply, or none that can be understood.
fn silence(step: Step, error: &SmtpError) -> DeliveryError {
    if let Some(rustls::Error::InvalidCertificate(_)) = find(error) {
        return misconfigured("the mail server has a certificate that is not believed");
    }
    // Nothing that was offered fits.
    if error.is_client() && matches!(step, Step::Starttls | Step::Login) {
        return misconfigured(format!("the mail server does not offer what {} needs", step.name()));
    }
    unavailable(if error.is_timeout() {
        format!("the mail server did not answer to {} in time", step.name())
    } else if error.is_response() {
        format!("the mail server's answer to {} cannot be understood", step.name())
    } else if step == Step::Hello {
        "the mail server cannot be reached".to_owned()
    } else {
        format!("the mail server broke off at {}", step.name())
    })
}

impl Step {
    const fn name(self) -> &'static str {
        match self {
            Self::Hello => "the greeting",
            Self::Starttls => "STARTTLS",
            Self::Login => "the login",
            Self::Sender => "the sender",
            Self::Recipient => "the recipient",
            Self::Content => "the content",
        }
    }
}

/// The enhanced status code at the beginning of a reply (RFC 3463), such as `5.1.1`.
fn enhanced(text: &str) -> Option<&str> {
    let first = text.split_whitespace().next()?;
    let mut parts = first.split('.');
    let is_number = |part: &str| {
        (1..=3).contains(&part.len()) && part.bytes().all(|digit| digit.is_ascii_digit())
    };
    let is_class = matches!(parts.next(), Some("2" | "4" | "5"));
    let is_rest = parts.clone().count() == 2 && parts.all(is_number);
    (is_class && is_rest).then_some(first)
}

/// What the server calls the mail in its queue. Servers say it last, and it has a digit in it.
fn queue_id(reply: &Response) -> Option<String> {
    const CHARS: std::ops::RangeInclusive<usize> = 6..=128;
    let id = reply.first_line()?.split_whitespace().last()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '=');
    let looks_like_one = CHARS.contains(&id.len())
        && id.chars().all(plain)
        && id.contains(|c: char| c.is_ascii_digit());
    looks_like_one.then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(step: Step, code: u16, enhanced: Option<&str>) -> &'static str {
        match refusal(step, code, enhanced) {
            DeliveryError::Unavailable { .. } => "unavailable",
            DeliveryError::Deferred { .. } => "deferred",
            DeliveryError::Throttled { .. } => "throttled",
            DeliveryError::Refused { .. } => "refused",
            DeliveryError::Gone { .. } => "gone",
            DeliveryError::Denied { .. } => "denied",
            DeliveryError::Misconfigured { .. } => "misconfigured",
        }
    }

    #[test]
    fn a_reply_means_what_it_means_where_it_comes() {
        for (step, code, enhanced, expected) in [
            (Step::Hello, 421, None, "unavailable"),
            (Step::Hello, 554, None, "misconfigured"),
            (Step::Starttls, 454, Some("4.7.0"), "unavailable"),
            (Step::Starttls, 502, None, "misconfigured"),
            (Step::Login, 454, Some("4.7.0"), "unavailable"),
            (Step::Login, 535, Some("5.7.8"), "misconfigured"),
            (Step::Sender, 451, Some("4.3.0"), "unavailable"),
            (Step::Sender, 530, Some("5.7.0"), "misconfigured"),
            (Step::Sender, 550, Some("5.7.1"), "misconfigured"),
            (Step::Recipient, 421, Some("4.4.2"), "unavailable"),
            (Step::Recipient, 450, Some("4.2.0"), "deferred"),
            (Step::Recipient, 452, Some("4.2.2"), "deferred"),
            (Step::Recipient, 450, Some("4.7.28"), "throttled"),
            (Step::Content, 452, Some("4.3.1"), "throttled"),
            (Step::Recipient, 530, None, "misconfigured"),
            (Step::Recipient, 550, Some("5.1.1"), "gone"),
            (Step::Recipient, 550, Some("5.2.1"), "gone"),
            (Step::Recipient, 556, Some("5.1.10"), "gone"),
            (Step::Recipient, 551, None, "gone"),
            (Step::Recipient, 550, Some("5.7.1"), "refused"),
            (Step::Recipient, 552, Some("5.2.2"), "refused"),
            // A rule, a block list, or no such mailbox: the code alone does not tell.
            (Step::Recipient, 550, None, "refused"),
            (Step::Content, 451, Some("4.7.1"), "deferred"),
            (Step::Content, 550, Some("5.1.1"), "gone"),
            (Step::Content, 554, Some("5.6.0"), "refused"),
        ] {
            assert_eq!(kind(step, code, enhanced), expected, "{step:?} {code} {enhanced:?}");
        }
    }

    #[test]
    fn the_cause_repeats_codes_and_no_words() {
        let error = refusal(Step::Recipient, 550, enhanced("5.1.1 <jisoo@example.com>: unknown"));

        assert_eq!(error.to_string(), "the mail server answered 550 5.1.1 to the recipient");
    }

    #[test]
    fn enhanced_codes_are_three_numbers() {
        assert_eq!(enhanced("5.1.1 no such user"), Some("5.1.1"));
        assert_eq!(enhanced("4.7.100"), Some("4.7.100"));
        for text in ["", "no such user", "5.1", "5.1.1.1", "6.1.1 a", "5.1.x", "192.0.2.1 blocked"]
        {
            assert_eq!(enhanced(text), None, "{text}");
        }
    }
}
