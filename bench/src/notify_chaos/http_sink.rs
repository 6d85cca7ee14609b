//! Everybody else who is called, in one HTTP server: a gateway for text messages, Firebase Cloud Messaging with its issuer
//! of tokens, and the receiver of a webhook. As bad-tempered as the seed says.

use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet, spawn_local};
use tokio::time::{sleep, timeout};

use super::ledger::{Given, Ledger};
use super::requests::{HOOK, Request, Wish};
use super::temper::Deed;

const HEAD_BYTES_MAX: usize = 16 * 1024;
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Longer than anybody waits for an answer.
const HANG: Duration = Duration::from_secs(15);

/// Listens until it is dropped.
#[derive(Debug)]
pub struct HttpSink {
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl HttpSink {
    pub async fn start(ledger: &Rc<RefCell<Ledger>>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (address, ledger) = (listener.local_addr()?, ledger.clone());
        let accepting = spawn_local(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                let ledger = ledger.clone();
                connections.spawn_local(async move {
                    if let Err(trouble) = serve(stream, &ledger).await {
                        ledger.borrow_mut().complain(format!("http: {trouble:#}"));
                    }
                });
            }
        });
        Ok(Self { address, accepting })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where webhooks go.
    pub fn hook(&self) -> String {
        format!("http://{}{HOOK}", self.address)
    }
}

impl Drop for HttpSink {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Answers the requests of one connection; errors when it is asked what it must not be.
async fn serve(mut stream: TcpStream, ledger: &RefCell<Ledger>) -> anyhow::Result<()> {
    let mut unread = Vec::new();
    while let Some(request) = read(&mut stream, &mut unread).await? {
        match request.wish().with_context(|| request.path.clone())? {
            Wish::Token => {
                let token = json!({ "access_token": "bench", "expires_in": 3_600 });
                if answer(&mut stream, "200 OK", &token).await.is_err() {
                    return Ok(());
                }
            }
            Wish::Letter(letter) => {
                if !meet(&mut stream, letter, ledger).await {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

/// Does with a letter what the seed says; gives whether the connection goes on.
async fn meet(stream: &mut TcpStream, letter: Given, ledger: &RefCell<Ledger>) -> bool {
    let deed = ledger.borrow_mut().meet(&letter.subject);
    match deed {
        Deed::Take(wait) => {
            let said = json!({ "id": letter.id.to_string(), "name": letter.id.to_string() });
            let place = ledger.borrow_mut().take(letter);
            sleep(wait).await;
            let is_said = answer(stream, "200 OK", &said).await.is_ok();
            if is_said {
                ledger.borrow_mut().answer(place);
            }
            is_said
        }
        Deed::Fail => answer(stream, "503 Service Unavailable", &json!({})).await.is_ok(),
        Deed::PutOff => {
            let status = "429 Too Many Requests\r\nRetry-After: 1";
            answer(stream, status, &json!({})).await.is_ok()
        }
        Deed::CloseBefore => false,
        Deed::CloseAfter => {
            ledger.borrow_mut().take(letter);
            false
        }
        Deed::Hang => {
            ledger.borrow_mut().take(letter);
            hang(stream).await;
            false
        }
    }
}

/// Waits until the other side has given up, but not for ever.
pub async fn hang(stream: &mut (impl AsyncRead + Unpin)) {
    let mut ignored = [0; 1_024];
    let leaving = async { while matches!(stream.read(&mut ignored).await, Ok(1..)) {} };
    // Whoever is still there is left now.
    _ = timeout(HANG, leaving).await;
}

/// Sends an answer; `status` may bring further headers along.
async fn answer(stream: &mut TcpStream, status: &str, body: &Value) -> std::io::Result<()> {
    let body = body.to_string();
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(answer.as_bytes()).await
}

/// The next request; `None` when the connection ends, be it within one.
async fn read(stream: &mut TcpStream, unread: &mut Vec<u8>) -> anyhow::Result<Option<Request>> {
    let end = loop {
        if let Some(at) = unread.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        ensure!(unread.len() < HEAD_BYTES_MAX, "the head of a request has no end");
        if !matches!(stream.read_buf(unread).await, Ok(1..)) {
            return Ok(None);
        }
    };
    let head: Vec<u8> = unread.drain(..end).collect();
    let mut request = Request::parse(&String::from_utf8(head)?)?;
    let length = request.header("content-length")?;
    let length: usize = length.parse().context("a length that is no number")?;
    ensure!(length <= BODY_BYTES_MAX, "a body of {length} bytes");
    while unread.len() < length {
        if !matches!(stream.read_buf(unread).await, Ok(1..)) {
            return Ok(None);
        }
    }
    request.body = unread.drain(..length).collect();
    Ok(Some(request))
}

#[cfg(test)]
mod tests {
    use tokio::task::LocalSet;

    use super::super::ledger::{Medium, Subject, Take};
    use super::super::temper;
    use super::*;

    const ID: &str = "00000000-0000-0000-0000-000000000007";

    fn post(path: &str, headers: &str, body: &Value) -> String {
        let body = body.to_string();
        format!("POST {path} HTTP/1.1\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len())
    }

    fn text_message(user: usize) -> String {
        let body = json!({ "id": ID, "to": format!("+8210{user:08}"), "text": "Announcement 2", "from": "x" });
        post("/sms/2", &format!("Idempotency-Key: {ID}\r\n"), &body)
    }

    /// Sends all of `requests` on one connection to a sink and gives what it answered and noted.
    fn converse(requests: &str, is_calm: bool) -> (String, Ledger) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let ledger = Rc::new(RefCell::new(Ledger::new(1)));
        ledger.borrow_mut().is_calm = is_calm;
        let answers = LocalSet::new().block_on(&runtime, async {
            let sink = HttpSink::start(&ledger).await.unwrap();
            let mut stream = TcpStream::connect(sink.address()).await.unwrap();
            stream.write_all(requests.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
            let mut answers = Vec::new();
            _ = stream.read_to_end(&mut answers).await;
            String::from_utf8(answers).unwrap()
        });
        drop(runtime);
        (answers, Rc::into_inner(ledger).unwrap().into_inner())
    }

    #[test]
    fn every_kind_of_letter_is_read_and_taken() {
        let push = json!({ "message": {
            "token": "device-4",
            "notification": { "title": "Announcement 1", "body": "x" },
            "data": { "madang_id": ID, "madang_kind": "announcement" },
        } });
        let told = json!([{ "id": ID, "user_id": ID }]);
        let event = json!({ "id": "e", "type": "NotificationSent", "data": { "type": "announcement", "notifications": told } });
        let welcome = json!({ "id": "f", "data": { "type": "welcome", "notifications": told } });
        let signed = format!("webhook-id: {ID}\r\nwebhook-signature: v1,abc\r\n");
        let requests = [
            post("/token", "", &json!({})),
            text_message(3),
            post(
                "/fcm/1/v1/projects/bench/messages:send",
                "Authorization: Bearer bench\r\n",
                &push,
            ),
            post("/hook", &signed, &event),
            post("/hook", &signed, &welcome),
        ];

        let (answers, ledger) = converse(&requests.concat(), true);

        assert!(ledger.complaints.is_empty(), "{:?}", ledger.complaints);
        assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 5, "{answers}");
        let taken: Vec<_> = ledger
            .takes
            .iter()
            .map(|Take { letter, .. }| (letter.subject.clone(), letter.node, letter.told.len()))
            .collect();
        let sending = |medium, user, sending| Subject::Sending { medium, user, sending };
        assert_eq!(
            taken,
            [
                (sending(Medium::Sms, 3, 2), Some(1), 0),
                (sending(Medium::Push, 4, 1), Some(0), 0),
                (Subject::Event("e".to_owned()), None, 1),
                (Subject::Other(Medium::Webhook), None, 0),
            ]
        );
        assert!(ledger.takes.iter().all(|take| take.answered.is_some()));
    }

    #[test]
    fn what_must_not_be_asked_is_complained_of() {
        let other_key = text_message(1).replace(&format!("Key: {ID}"), "Key: other");
        let unsigned = post("/hook", &format!("webhook-id: {ID}\r\n"), &json!({ "id": "e" }));
        for request in [
            other_key,
            unsigned,
            post("/nowhere", "", &json!({})),
            "GET / HTTP/1.1\r\n\r\n".to_owned(),
        ] {
            let (_, ledger) = converse(&request, true);

            assert!(ledger.takes.is_empty(), "{request}");
            assert_eq!(ledger.complaints.len(), 1, "{request}");
        }
    }

    #[test]
    fn a_letter_in_trouble_is_not_answered_as_taken() {
        for (trouble, status, take) in [
            (None, "200", Some(true)),
            (Some("failed"), "503", None),
            (Some("put_off"), "429", None),
            (Some("closed_before"), "", None),
            (Some("closed_after"), "", Some(false)),
        ] {
            let user = (0..1_000).find(|user| temper_of(*user) == trouble).unwrap();

            let (answers, ledger) = converse(&text_message(user), false);

            assert_eq!(answers.split(' ').nth(1).unwrap_or_default(), status, "{trouble:?}");
            let taken = ledger.takes.first().map(|take| take.answered.is_some());
            assert_eq!(taken, take, "{trouble:?}");
            assert_eq!(ledger.troubles.keys().next().copied(), trouble);
        }
    }

    fn temper_of(user: usize) -> Option<&'static str> {
        let subject = Subject::Sending { medium: Medium::Sms, user, sending: 2 };
        temper::draw(1, &subject.to_string(), 0).name()
    }
}
