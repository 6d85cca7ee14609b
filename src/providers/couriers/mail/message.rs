//! Mails as they travel: headers, alternatives of text and HTML, and the signature.
//!
//! Invariant: nothing that a user wrote ends a header; each attempt at a letter has the same `Message-ID`.

use std::net::IpAddr;
use std::time::{Duration, UNIX_EPOCH};

use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message, MessageBuilder, MultiPart};
use lettre::{Address, address::Envelope};
use reqwest::Url;

use super::super::DeliveryError;
use super::super::answers::refused;
use super::dkim::Dkim;
use crate::domain::ids::DeliveryId;
use crate::domain::letters::MailContent;
use crate::domain::time::Timestamp;

const SUBJECT_CHARS_MAX: usize = 250;
const AUTO_SUBMITTED: HeaderName = HeaderName::new_from_ascii_str("Auto-Submitted");
const LIST_UNSUBSCRIBE: HeaderName = HeaderName::new_from_ascii_str("List-Unsubscribe");
const LIST_UNSUBSCRIBE_POST: HeaderName = HeaderName::new_from_ascii_str("List-Unsubscribe-Post");

/// Writes mails in one sender's name.
pub(super) struct Composer {
    pub(super) from: Mailbox,
    pub(super) reply_to: Option<Mailbox>,
    pub(super) dkim: Option<Dkim>,
}

/// A mail that is ready: whom the server is told about, and every byte.
pub(super) struct Mail {
    pub(super) envelope: Envelope,
    pub(super) bytes: Vec<u8>,
}

impl Composer {
    pub(super) fn compose(
        &self,
        id: DeliveryId,
        mail: &MailContent,
        now: Timestamp,
    ) -> Result<Mail, DeliveryError> {
        let to = recipient(mail.to.as_str())
            .ok_or_else(|| refused("the address cannot be written in a mail"))?;
        let headers =
            self.headers(id, now).to(Mailbox::new(None, to)).subject(one_line(&mail.subject));
        let headers = match &mail.unsubscribe_url {
            Some(url) => unsubscribable(headers, url)?,
            None => headers,
        };
        let made = match &mail.html {
            Some(html) => headers
                .multipart(MultiPart::alternative_plain_html(mail.text.clone(), html.clone())),
            None => headers.header(ContentType::TEXT_PLAIN).body(mail.text.clone()),
        };
        let mut message = made.map_err(|_| refused("no mail can be made of it"))?;
        if let Some(dkim) = &self.dkim {
            dkim.sign(&mut message);
        }
        Ok(Mail { envelope: message.envelope().clone(), bytes: message.formatted() })
    }

    fn headers(&self, id: DeliveryId, now: Timestamp) -> MessageBuilder {
        let millis = u64::try_from(now.millis()).unwrap_or(0);
        let headers = Message::builder()
            .date(UNIX_EPOCH + Duration::from_millis(millis))
            .message_id(Some(format!("<{id}@{}>", self.from.email.domain())))
            .from(self.from.clone())
            // No vacation notice answers it (RFC 3834).
            .raw_header(HeaderValue::new(AUTO_SUBMITTED, "auto-generated".to_owned()));
        match &self.reply_to {
            Some(reply_to) => headers.reply_to(reply_to.clone()),
            None => headers,
        }
    }
}

/// RFC 8058: one POST to an https:// address ends it. Any other address can only be opened.
fn unsubscribable(headers: MessageBuilder, url: &str) -> Result<MessageBuilder, DeliveryError> {
    let parsed = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "https" | "http"));
    // As parsed: without line ends, spaces and angle brackets.
    let url = parsed.ok_or_else(|| refused("the address that ends such mails is none"))?;
    let is_https = url.scheme() == "https";
    let headers = headers.raw_header(HeaderValue::new(LIST_UNSUBSCRIBE, format!("<{url}>")));
    if !is_https {
        return Ok(headers);
    }
    let one_click = "List-Unsubscribe=One-Click".to_owned();
    Ok(headers.raw_header(HeaderValue::new(LIST_UNSUBSCRIBE_POST, one_click)))
}

/// The domain is written as in the DNS (RFC 5891): then only the rare server must know about letters of other scripts.
fn recipient(address: &str) -> Option<Address> {
    let (local, domain) = address.rsplit_once('@')?;
    let url = Url::parse(&format!("https://{domain}/")).ok()?;
    // Numbers that a URL takes for an IPv4 address are no domain.
    let domain = url.host_str().filter(|host| host.parse::<IpAddr>().is_err())?;
    Address::new(local, domain).ok()
}

/// One line of bounded length, without characters that control anything.
fn one_line(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    clean.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(SUBJECT_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::accounts::EmailAddress;

    const AT: Timestamp = Timestamp::from_millis(1_795_244_400_000);

    fn composer() -> Composer {
        Composer {
            from: "마당 <hello@example.com>".parse().unwrap(),
            reply_to: Some("help@example.com".parse().unwrap()),
            dkim: None,
        }
    }

    fn content(subject: &str) -> MailContent {
        MailContent {
            to: EmailAddress::parse("jisoo@example.org").unwrap(),
            subject: subject.to_owned(),
            text: "hello".to_owned(),
            html: Some("<p>hello</p>".to_owned()),
            unsubscribe_url: Some("https://example.com/unsubscribe?token=a".to_owned()),
        }
    }

    fn written(content: &MailContent) -> String {
        let mail = composer().compose(Uuid::from_u128(7).into(), content, AT);
        String::from_utf8(mail.ok().unwrap().bytes).unwrap()
    }

    fn header<'a>(mail: &'a str, name: &str) -> Vec<&'a str> {
        let head = mail.split("\r\n\r\n").next().unwrap();
        head.split("\r\n").filter_map(|line| line.strip_prefix(&format!("{name}: "))).collect()
    }

    #[test]
    fn a_mail_has_the_headers_of_one_that_a_machine_wrote() {
        let mail = written(&content("Hello"));

        for (name, value) in [
            ("Message-ID", "<00000000-0000-0000-0000-000000000007@example.com>"),
            ("Date", "Sat, 21 Nov 2026 07:00:00 +0000"),
            ("Auto-Submitted", "auto-generated"),
            ("To", "jisoo@example.org"),
            ("Reply-To", "help@example.com"),
            ("Subject", "Hello"),
            ("List-Unsubscribe", "<https://example.com/unsubscribe?token=a>"),
            ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
        ] {
            assert_eq!(header(&mail, name), [value], "{mail}");
        }
        assert!(header(&mail, "Content-Type")[0].starts_with("multipart/alternative;"), "{mail}");
    }

    #[test]
    fn a_mail_that_cannot_be_ended_says_nothing_about_it() {
        let mail = written(&MailContent { unsubscribe_url: None, ..content("Hello") });

        assert!(!mail.contains("Unsubscribe"), "{mail}");
    }

    #[test]
    fn one_click_is_promised_over_https_only() {
        let url = Some("http://127.0.0.1:8080/u".to_owned());
        let mail = written(&MailContent { unsubscribe_url: url, ..content("Hello") });

        assert_eq!(header(&mail, "List-Unsubscribe"), ["<http://127.0.0.1:8080/u>"]);
        assert!(!mail.contains("One-Click"), "{mail}");
    }

    #[test]
    fn korean_stands_in_ascii_headers() {
        let mail = written(&content("지수 님이 친구 요청을 보냈습니다"));

        assert!(mail.is_ascii(), "{mail}");
        assert!(header(&mail, "Subject")[0].starts_with("=?utf-8?b?"), "{mail}");
        assert!(header(&mail, "From")[0].ends_with("<hello@example.com>"), "{mail}");
    }

    #[test]
    fn nothing_that_is_written_ends_a_header() {
        let evil = "Hi\r\nBcc: all@example.net\r\n\r\n<script>\n.\r\nQUIT\u{0}\u{85}\u{2028}";
        let url =
            "https://example.com/u\r\nBcc: all@example.net>,<https://evil.example/".to_owned();
        let mail = written(&MailContent { unsubscribe_url: Some(url), ..content(evil) });

        let head = mail.split("\r\n\r\n").next().unwrap();
        assert!(header(&mail, "Bcc").is_empty(), "{mail}");
        assert!(!head.contains('\u{0}') && !head.contains(">,<"), "{mail}");
        let names: Vec<&str> = head
            .split("\r\n")
            .filter(|line| !line.starts_with(' '))
            .map(|line| line.split(':').next().unwrap())
            .collect();
        let expected = [
            "Date",
            "Message-ID",
            "From",
            "Auto-Submitted",
            "Reply-To",
            "To",
            "Subject",
            "List-Unsubscribe",
            "List-Unsubscribe-Post",
            "MIME-Version",
            "Content-Type",
        ];
        assert_eq!(names, expected, "{mail}");
    }

    #[test]
    fn a_subject_is_one_line_of_bounded_length() {
        assert_eq!(one_line(" a\r\n b\tc "), "a b c");
        assert_eq!(one_line(&"가".repeat(1_000)).chars().count(), SUBJECT_CHARS_MAX);
    }

    #[test]
    fn a_domain_of_any_script_is_written_as_in_the_dns() {
        assert_eq!(recipient("a@마당.example").unwrap().to_string(), "a@xn--ok1b32k.example");
        assert_eq!(recipient("지수@example.com").unwrap().to_string(), "지수@example.com");
        for address in ["nobody", "a@127.1", "a@10.0.0.1"] {
            assert!(recipient(address).is_none(), "{address}");
        }
    }
}
