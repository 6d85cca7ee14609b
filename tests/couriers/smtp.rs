//! Mail, given to real SMTP servers.

use madang::domain::letters::{Content, Letter};
use madang::domain::media::Medium;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::house::{House, fate, mail};
use crate::tools::{MailServer, check};

/// Enough for a login over TLS on a busy machine.
const TIMEOUT_MS: &str = "10000";
const SHORT_MS: &str = "700";

fn house(port: u16, settings: &[(&str, &str)]) -> House {
    let port = port.to_string();
    let smtp = [
        ("MAIL__PROVIDER", "smtp"),
        ("MAIL__HOST", "127.0.0.1"),
        ("MAIL__PORT", port.as_str()),
        ("MAIL__FROM", "마당 <hello@chat.example.com>"),
        ("MAIL__REPLY_TO", "help@chat.example.com"),
        ("MAIL__HELLO_NAME", "chat.example.com"),
        ("MAIL__TIMEOUT_MS", TIMEOUT_MS),
        ("MAIL__TLS", "none"),
    ];
    House::new().with(&smtp).with(settings)
}

/// A house whose settings lead to a server that encrypts, and that believes its certificate.
async fn with_tls(mode: &str, tls: &str) -> (MailServer, House) {
    let folder = House::new();
    let server = MailServer::start(mode, Some(folder.folder())).await;
    let root = std::fs::read(folder.folder().join("certificate.pem")).unwrap();
    let house = house(server.port(), &[("MAIL__TLS", tls), ("MAIL__USERNAME", "madang")]);
    let path = house.folder().join("root.pem");
    std::fs::write(&path, root).unwrap();
    let house = house.with(&[("MAIL__ROOT_CERTIFICATE", path.to_str().unwrap())]);
    (server, house.with_secret("smtp_password", "a courtyard\n"))
}

async fn plain() -> (MailServer, House) {
    let server = MailServer::start("plain", None).await;
    let house = house(server.port(), &[]);
    (server, house)
}

fn header<'a>(mail: &'a Value, name: &str) -> Vec<&'a str> {
    let headers = mail["headers"].as_array().unwrap().iter();
    headers.filter(|pair| pair[0] == name).map(|pair| pair[1].as_str().unwrap()).collect()
}

fn with_subject(letter: Letter, subject: &str) -> Letter {
    let Content::Mail(mut content) = letter.content.clone() else { panic!("it is no mail") };
    content.subject = subject.to_owned();
    Letter { content: Content::Mail(content), ..letter }
}

#[tokio::test]
async fn a_mail_arrives_as_it_was_written() {
    let (server, house) = plain().await;
    let letter = mail("jisoo@example.org");

    let receipt = house.courier(Medium::Mail).deliver(&letter).await.unwrap();

    assert_eq!(receipt.provider_id.as_deref(), Some("4Fz7Qp1kJ2"));
    let mail = &server.mails(1).await[0];
    assert_eq!(mail["sender"], "hello@chat.example.com");
    assert_eq!(mail["recipients"], json!(["jisoo@example.org"]));
    assert_eq!(mail["text"], "안녕하세요\n지수 님이 친구가 되고 싶어 합니다.\n.\n끝");
    assert_eq!(mail["html"], "<p>안녕하세요</p>");
    for (name, value) in [
        ("Subject", "지수 님이 친구 요청을 보냈습니다"),
        ("From", "마당 <hello@chat.example.com>"),
        ("To", "jisoo@example.org"),
        ("Reply-To", "help@chat.example.com"),
        ("Auto-Submitted", "auto-generated"),
        ("List-Unsubscribe", "<https://chat.example.com/unsubscribe?token=abc>"),
        ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
        ("Message-ID", &format!("<{}@chat.example.com>", letter.id)),
    ] {
        assert_eq!(header(mail, name), [value]);
    }
}

#[tokio::test]
async fn a_subject_that_would_end_the_header_stays_a_subject() {
    let (server, house) = plain().await;
    let letter = with_subject(
        mail("jisoo@example.org"),
        "Hi\r\nBcc: everybody@example.net\r\n\r\nbody\r\n.\r\nMAIL FROM:<evil@example.net>",
    );

    house.courier(Medium::Mail).deliver(&letter).await.unwrap();

    let mail = &server.mails(1).await[0];
    assert!(header(mail, "Bcc").is_empty(), "{mail}");
    assert_eq!(header(mail, "Subject").len(), 1);
    assert_eq!(mail["recipients"], json!(["jisoo@example.org"]));
    assert!(mail["text"].as_str().unwrap().starts_with("안녕하세요"));
}

#[tokio::test]
async fn every_reply_has_its_meaning_and_none_is_repeated() {
    let (server, house) = plain().await;
    let courier = house.courier(Medium::Mail);

    for (local, expected) in [
        ("greylisted", "deferred"),
        ("closing", "unavailable"),
        ("unknown", "gone"),
        ("disabled", "gone"),
        ("elsewhere", "gone"),
        ("policy", "refused"),
        ("bare", "refused"),
        ("full", "refused"),
        ("login", "misconfigured"),
        ("later", "deferred"),
        ("spam", "refused"),
        ("discovered", "gone"),
        ("jisoo", "delivered"),
    ] {
        let delivered = courier.deliver(&mail(&format!("{local}@example.org"))).await;

        assert_eq!(fate(&delivered), expected, "{local}: {delivered:?}");
        if let Err(error) = delivered {
            let cause = error.to_string();
            assert!(!cause.contains('@') && !cause.contains("<"), "{cause}");
        }
    }
    assert_eq!(server.mails(1).await.len(), 1);
}

#[tokio::test]
async fn connections_are_used_again_also_after_a_refusal() {
    let (mut server, house) = plain().await;
    let courier = house.courier(Medium::Mail);

    for local in ["jisoo", "unknown", "minho", "spam", "hana"] {
        let _ = courier.deliver(&mail(&format!("{local}@example.org"))).await;
    }

    assert_eq!(server.mails(3).await.len(), 3);
    server.stop();
    assert_eq!(server.told("connection").len(), 1);
}

#[tokio::test]
async fn a_connection_that_the_server_has_closed_is_replaced() {
    let (server, house) = plain().await;
    let courier = house.courier(Medium::Mail);
    courier.deliver(&mail("jisoo@example.org")).await.unwrap();
    let port = server.port();
    drop(server);
    // The same port, another server: it knows nothing of the connection.
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let accepted = tokio::spawn(async move { listener.accept().await.map(|_| ()) });

    let delivered = courier.deliver(&mail("jisoo@example.org")).await;

    assert_eq!(fate(&delivered), "unavailable", "{delivered:?}");
    accepted.await.unwrap().unwrap();
}

#[tokio::test]
async fn no_more_connections_are_opened_than_are_allowed() {
    let (mut server, house) = plain().await;
    let house = house.with(&[("MAIL__CONNECTIONS_MAX", "2"), ("DELIVERY__WORKERS_MAIL", "2")]);
    let courier = house.courier(Medium::Mail);

    let letters: Vec<Letter> = (0..12).map(|n| mail(&format!("user{n}@example.org"))).collect();
    let delivered =
        futures_util::future::join_all(letters.iter().map(|letter| courier.deliver(letter)));

    assert!(delivered.await.iter().all(Result::is_ok));
    assert_eq!(server.mails(12).await.len(), 12);
    server.stop();
    assert!(server.told("connection").len() <= 2, "{:?}", server.told("connection"));
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up_in_time() {
    let (mut server, house) = plain().await;
    let house = house.with(&[("MAIL__TIMEOUT_MS", SHORT_MS)]);
    let courier = house.courier(Medium::Mail);

    let delivered = courier.deliver(&mail("slow@example.org")).await;
    assert_eq!(fate(&delivered), "unavailable", "{delivered:?}");

    // What hung is not used again.
    courier.deliver(&mail("jisoo@example.org")).await.unwrap();
    server.stop();
    assert_eq!(server.told("connection").len(), 2);
}

#[tokio::test]
async fn a_mail_whose_answer_was_lost_is_the_same_mail_when_it_comes_again() {
    let (server, house) = plain().await;
    let house = house.with(&[("MAIL__TIMEOUT_MS", SHORT_MS)]);
    let courier = house.courier(Medium::Mail);

    for local in ["late", "cut"] {
        let letter = mail(&format!("{local}@example.org"));
        for _ in 0..2 {
            let delivered = courier.deliver(&letter).await;
            assert_eq!(fate(&delivered), "unavailable", "{delivered:?}");
        }
    }

    let mails = server.mails(4).await;
    let ids: Vec<_> = mails.iter().map(|mail| header(mail, "Message-ID")[0]).collect();
    assert!(ids[0] == ids[1] && ids[2] == ids[3] && ids[0] != ids[2], "{ids:?}");
}

#[tokio::test]
async fn nobody_there_is_unavailable() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let courier = house(port, &[]).courier(Medium::Mail);

    let delivered = courier.deliver(&mail("jisoo@example.org")).await;

    assert_eq!(fate(&delivered), "unavailable", "{delivered:?}");
}

#[tokio::test]
async fn the_login_and_the_mail_are_encrypted() {
    for (mode, tls) in [("starttls", "starttls"), ("tls", "tls")] {
        let (mut server, house) = with_tls(mode, tls).await;

        house.courier(Medium::Mail).deliver(&mail("jisoo@example.org")).await.unwrap();

        let mail = &server.mails(1).await[0];
        assert_eq!((&mail["encrypted"], &mail["user"]), (&json!(true), &json!("madang")), "{mode}");
        server.stop();
        assert_eq!(server.told("login").len(), 1);
    }
}

#[tokio::test]
async fn a_wrong_password_is_ours_to_mend() {
    let (mut server, house) = with_tls("starttls", "starttls").await;
    let house = house.with_secret("smtp_password", "hunter2");

    let delivered = house.courier(Medium::Mail).deliver(&mail("jisoo@example.org")).await;

    assert_eq!(fate(&delivered), "misconfigured", "{delivered:?}");
    assert!(!format!("{delivered:?}").contains("hunter2"));
    server.stop();
    assert_eq!(server.told("login").len(), 1);
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_not_believed() {
    for (mode, tls) in [("starttls", "starttls"), ("tls", "tls")] {
        let (mut server, house) = with_tls(mode, tls).await;
        let house = house.with(&[("MAIL__ROOT_CERTIFICATE", "")]);

        let delivered = house.courier(Medium::Mail).deliver(&mail("jisoo@example.org")).await;

        assert_eq!(fate(&delivered), "misconfigured", "{delivered:?}");
        server.stop();
        assert!(server.told("login").is_empty(), "the password was said to somebody unknown");
    }
}

#[tokio::test]
async fn without_starttls_nothing_is_said() {
    for (mode, expected) in [
        ("no-starttls", "misconfigured"),
        ("starttls-502", "misconfigured"),
        ("starttls-454", "unavailable"),
    ] {
        let (mut server, house) = with_tls(mode, "starttls").await;

        let delivered = house.courier(Medium::Mail).deliver(&mail("jisoo@example.org")).await;

        assert_eq!(fate(&delivered), expected, "{mode}: {delivered:?}");
        server.stop();
        assert!(server.told("login").is_empty() && server.told("mail").is_empty(), "{mode}");
    }
}

#[tokio::test]
async fn a_signed_mail_is_believed_and_a_changed_one_is_not() {
    for algorithm in ["rsa", "ed25519"] {
        let key = check("dkim-key", &json!({ "algorithm": algorithm }));
        let (server, house) = plain().await;
        let house = house
            .with(&[("MAIL__DKIM_SELECTOR", "mail")])
            .with_secret("dkim_key", key["private"].as_str().unwrap());

        house.courier(Medium::Mail).deliver(&mail("jisoo@example.org")).await.unwrap();

        let raw = server.mails(1).await[0]["raw"].as_str().unwrap().to_owned();
        let is_believed = |message: &str| {
            let name = "mail._domainkey.chat.example.com";
            let given = json!({ "message": message, "name": name, "record": key["record"] });
            check("dkim", &given)["believed"] == true
        };
        assert!(is_believed(&raw), "{algorithm}: {raw}");
        for (from, to) in [
            ("One-Click", "Two-Click"),
            ("To: jisoo@example.org", "To: minho@example.org"),
            ("Subject: ", "Subject: a"),
            ("Content-Type: text/plain", "Content-Type: text/other"),
        ] {
            assert!(raw.contains(from), "{from}: {raw}");
            assert!(!is_believed(&raw.replacen(from, to, 1)), "{algorithm}: {from}");
        }
    }
}
