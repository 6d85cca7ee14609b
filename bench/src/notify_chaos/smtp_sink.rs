//! A mail server that takes every mail and delivers none (RFC 5321): strict about what it is told, and as bad-tempered as
//! the seed says.

use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet, spawn_local};
use tokio::time::sleep;
use uuid::Uuid;

use super::ledger::{Given, Ledger, Medium, Subject};
use super::temper::Deed;
use super::{http_sink, people, requests};

/// With its end, of a command or of a line of text (RFC 5321, 4.5.3.1).
const LINE_BYTES_MAX: usize = 1_000;
const MAIL_BYTES_MAX: usize = 512 * 1024;

/// Listens until it is dropped.
#[derive(Debug)]
pub struct SmtpSink {
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl SmtpSink {
    pub async fn start(ledger: &Rc<RefCell<Ledger>>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (address, ledger) = (listener.local_addr()?, ledger.clone());
        let accepting = spawn_local(async move {
            let mut sessions = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                while sessions.try_join_next().is_some() {}
                let ledger = ledger.clone();
                sessions.spawn_local(async move {
                    let session = Session::new(ledger.clone());
                    if let Err(trouble) = session.talk(stream).await {
                        ledger.borrow_mut().complain(format!("mail: {trouble:#}"));
                    }
                });
            }
        });
        Ok(Self { address, accepting })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for SmtpSink {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// How far a conversation is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    Connected,
    Ready,
    Sender,
    Recipient(String),
}

/// What is answered to a command.
#[derive(Debug, PartialEq, Eq)]
enum Reply {
    Say(&'static str),
    /// The text of a mail to this address comes next.
    Data(String),
    Bye,
}

struct Session {
    ledger: Rc<RefCell<Ledger>>,
    stage: Stage,
    node: Option<usize>,
}

impl Session {
    fn new(ledger: Rc<RefCell<Ledger>>) -> Self {
        Self { ledger, stage: Stage::Connected, node: None }
    }

    /// Talks until either side ends the connection; errors when it is told what it must not be.
    async fn talk(mut self, stream: TcpStream) -> anyhow::Result<()> {
        let mut stream = BufReader::new(stream);
        // Whoever does not hear an answer was killed; their next command never comes.
        _ = say(&mut stream, "220 sink.example ESMTP").await;
        while let Some(line) = read_line(&mut stream).await? {
            match self.obey(&line)? {
                Reply::Say(reply) => _ = say(&mut stream, reply).await,
                Reply::Bye => {
                    _ = say(&mut stream, "221 2.0.0 Bye").await;
                    return Ok(());
                }
                Reply::Data(recipient) => {
                    _ = say(&mut stream, "354 Go ahead").await;
                    let Some(mail) = read_mail(&mut stream).await? else {
                        return Ok(());
                    };
                    let letter = letter(&mail, &recipient, self.node)?;
                    if !self.meet(&mut stream, letter).await {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes a command; errors where it is none, or comes out of order.
    fn obey(&mut self, line: &str) -> anyhow::Result<Reply> {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let (stage, reply) = match (verb.to_ascii_uppercase().as_str(), &self.stage) {
            ("EHLO", _) => {
                ensure!(!rest.is_empty(), "EHLO without a name");
                self.node = requests::node(rest.strip_prefix("node-"));
                (Stage::Ready, Reply::Say("250-sink.example\r\n250 8BITMIME"))
            }
            ("MAIL", Stage::Ready) => {
                path(rest, "FROM:").context("MAIL without a sender")?;
                (Stage::Sender, Reply::Say("250 2.1.0 Ok"))
            }
            ("RCPT", Stage::Sender) => {
                let recipient = path(rest, "TO:").context("RCPT without a recipient")?;
                (Stage::Recipient(recipient.to_owned()), Reply::Say("250 2.1.5 Ok"))
            }
            ("DATA", Stage::Recipient(recipient)) if rest.is_empty() => {
                (Stage::Ready, Reply::Data(recipient.clone()))
            }
            ("RSET", stage) if *stage != Stage::Connected && rest.is_empty() => {
                (Stage::Ready, Reply::Say("250 2.0.0 Ok"))
            }
            ("NOOP", stage) => (stage.clone(), Reply::Say("250 2.0.0 Ok")),
            ("QUIT", stage) if rest.is_empty() => (stage.clone(), Reply::Bye),
            (_, stage) => anyhow::bail!("{line:?} is no command at this point ({stage:?})"),
        };
        self.stage = stage;
        Ok(reply)
    }

    /// Does with a mail what the seed says; gives whether the connection goes on.
    async fn meet(&self, stream: &mut BufReader<TcpStream>, letter: Given) -> bool {
        let deed = self.ledger.borrow_mut().meet(&letter.subject);
        match deed {
            Deed::Take(wait) => {
                let reply = format!("250 2.0.0 Ok: queued as {}", letter.id.simple());
                let place = self.ledger.borrow_mut().take(letter);
                sleep(wait).await;
                let is_said = say(stream, &reply).await.is_ok();
                if is_said {
                    self.ledger.borrow_mut().answer(place);
                }
                is_said
            }
            Deed::PutOff => say(stream, "451 4.7.1 Come back later").await.is_ok(),
            Deed::Fail => {
                _ = say(stream, "421 4.3.2 Closing").await;
                false
            }
            Deed::CloseBefore => false,
            Deed::CloseAfter => {
                self.ledger.borrow_mut().take(letter);
                false
            }
            Deed::Hang => {
                self.ledger.borrow_mut().take(letter);
                http_sink::hang(stream).await;
                false
            }
        }
    }
}

async fn say(stream: &mut BufReader<TcpStream>, reply: &str) -> std::io::Result<()> {
    stream.write_all(format!("{reply}\r\n").as_bytes()).await
}

/// One line without its end; `None` when the connection ends, be it within a line.
async fn read_line(stream: &mut BufReader<TcpStream>) -> anyhow::Result<Option<String>> {
    let mut line = Vec::new();
    // A connection that breaks has ended: its node may have been killed.
    if stream.read_until(b'\n', &mut line).await.is_err() || line.last() != Some(&b'\n') {
        return Ok(None);
    }
    ensure!(line.len() <= LINE_BYTES_MAX, "a line of {} bytes", line.len());
    let line = line.strip_suffix(b"\r\n").context("a line that does not end as lines do")?;
    ensure!(!line.contains(&b'\r'), "half a line end within a line");
    Ok(Some(String::from_utf8(line.to_vec()).context("a line that is no text")?))
}

/// The lines of a mail; `None` when the connection ends before it is whole.
async fn read_mail(stream: &mut BufReader<TcpStream>) -> anyhow::Result<Option<Vec<String>>> {
    let (mut lines, mut bytes) = (Vec::new(), 0);
    while let Some(line) = read_line(stream).await? {
        if line == "." {
            return Ok(Some(lines));
        }
        bytes += line.len();
        ensure!(bytes <= MAIL_BYTES_MAX, "a mail of more than {MAIL_BYTES_MAX} bytes");
        // The dot that keeps such a line from ending the mail.
        lines.push(line.strip_prefix('.').map(str::to_owned).unwrap_or(line));
    }
    Ok(None)
}

/// The address in `FROM:<…>` or `TO:<…>`; parameters may follow.
fn path<'l>(rest: &'l str, keyword: &str) -> Option<&'l str> {
    let begins = rest.get(..keyword.len())?.eq_ignore_ascii_case(keyword);
    let (address, _) =
        rest.get(keyword.len()..)?.trim_start().strip_prefix('<')?.split_once('>')?;
    begins.then_some(address)
}

/// Reads for whom a mail is, which sending it tells of, and what it is called.
fn letter(mail: &[String], recipient: &str, node: Option<usize>) -> anyhow::Result<Given> {
    let id = header(mail, "Message-ID").context("a mail without a Message-ID")?;
    let id = id.strip_prefix('<').and_then(|id| id.split_once('@')).map(|(id, _)| id);
    let id = id.and_then(|id| Uuid::parse_str(id).ok()).context("a Message-ID without an id")?;
    let title = header(mail, "Subject").context("a mail without a subject")?;
    let subject = match (people::of_address(recipient), people::of_title(title)) {
        (Some(user), Some(sending)) => Subject::Sending { medium: Medium::Mail, user, sending },
        _ => Subject::Other(Medium::Mail),
    };
    Ok(Given { subject, id, node, told: Vec::new() })
}

fn header<'m>(mail: &'m [String], name: &str) -> Option<&'m str> {
    let mut head = mail.iter().take_while(|line| !line.is_empty());
    head.find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncReadExt as _;
    use tokio::task::LocalSet;
    use tokio::time::timeout;

    use super::*;

    const MAIL: &str = "Message-ID: <00000000-0000-0000-0000-000000000007@example.com>\r\n\
                        Subject: Announcement 3\r\n\r\n..hidden dot\r\n";

    fn session() -> Session {
        Session::new(Rc::new(RefCell::new(Ledger::new(1))))
    }

    /// Says all of `lines` to a calm sink and gives what it answered and took.
    fn converse(lines: &str) -> (String, Ledger) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let ledger = Rc::new(RefCell::new(Ledger::new(1)));
        ledger.borrow_mut().is_calm = true;
        let answers = LocalSet::new().block_on(&runtime, async {
            let sink = SmtpSink::start(&ledger).await.unwrap();
            let mut stream = TcpStream::connect(sink.address()).await.unwrap();
            stream.write_all(lines.as_bytes()).await.unwrap();
            let mut answers = String::new();
            let reading = stream.read_to_string(&mut answers);
            // A reset is an end too, where the sink leaves something unread.
            _ = timeout(Duration::from_secs(5), reading).await.unwrap();
            answers
        });
        drop(runtime);
        (answers, Rc::into_inner(ledger).unwrap().into_inner())
    }

    #[test]
    fn a_mail_is_taken_under_its_id_and_a_connection_carries_several() {
        let one = "MAIL FROM:<madang@example.com> BODY=8BITMIME\r\nRCPT TO:<resident00005@example.com>\r\nDATA\r\n";
        let lines = format!("EHLO node-2\r\n{one}{MAIL}.\r\nRSET\r\n{one}{MAIL}.\r\nQUIT\r\n");

        let (answers, ledger) = converse(&lines);

        assert!(ledger.complaints.is_empty(), "{:?}", ledger.complaints);
        let subject = Subject::Sending { medium: Medium::Mail, user: 5, sending: 3 };
        let expected = Given { subject, id: Uuid::from_u128(7), node: Some(1), told: Vec::new() };
        let taken: Vec<_> = ledger.takes.iter().map(|take| &take.letter).collect();
        assert_eq!(taken, [&expected, &expected]);
        assert!(ledger.takes.iter().all(|take| take.answered.is_some()));
        assert!(
            answers.contains("\r\n250 2.0.0 Ok: queued as 0000") && answers.ends_with("Bye\r\n"),
            "{answers}"
        );
    }

    #[test]
    fn a_mail_that_is_cut_off_is_not_taken() {
        let (_, ledger) = converse(&format!(
            "EHLO node-1\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<resident00005@example.com>\r\nDATA\r\n{MAIL}\nQUIT\r\n"
        ));

        // The bare line feed is no end of a mail, and is complained of.
        assert!(ledger.takes.is_empty());
        assert_eq!(ledger.complaints.len(), 1, "{:?}", ledger.complaints);
    }

    #[test]
    fn commands_out_of_order_are_refused() {
        for lines in [
            vec!["MAIL FROM:<a@b.c>"],
            vec!["EHLO"],
            vec!["EHLO x", "RCPT TO:<a@b.c>"],
            vec!["EHLO x", "DATA"],
            vec!["EHLO x", "MAIL FROM:a@b.c"],
            vec!["EHLO x", "MAIL FROM:<a@b.c>", "DATA"],
            vec!["EHLO x", "MAIL FROM:<a@b.c>", "MAIL FROM:<a@b.c>"],
            vec!["RSET"],
            vec!["EHLO x", "VRFY a"],
        ] {
            let mut session = session();
            let (last, before) = lines.split_last().unwrap();
            for line in before {
                session.obey(line).unwrap();
            }
            assert!(session.obey(last).is_err(), "{lines:?}");
        }
    }

    #[test]
    fn letters_of_the_run_are_told_from_others() {
        let mail = |subject: &str| {
            let text = MAIL.replace("Announcement 3", subject);
            text.lines().map(str::to_owned).collect::<Vec<_>>()
        };
        let read = |subject, to| letter(&mail(subject), to, None).unwrap().subject;

        assert_eq!(read("Welcome", "resident00005@example.com"), Subject::Other(Medium::Mail));
        assert_eq!(read("Announcement 3", "admin@example.com"), Subject::Other(Medium::Mail));
        assert!(letter(&mail("x")[1..], "a@b.c", None).is_err());
    }
}
