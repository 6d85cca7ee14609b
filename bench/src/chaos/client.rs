//! One client: it comes and goes, reads and stalls, and sends each message until it is acknowledged.
//!
//! What it knows is in its [`Record`]; this is what it does, driven by its own numbers by chance. Once the chaos is
//! over it only stays, finishes its sends and reads.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::link::{Link, Word};
use super::record::{Draft, HELLO, Record, Waiting};
use super::stream::{Opening, Refused, Stream};
use crate::api::Person;
use crate::chance::Chance;
use crate::narrow;
use crate::socket::{Seat, Socket};

const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Between two deeds, in milliseconds.
const PAUSE_MS: (i64, i64) = (100, 900);
/// Before the next try after a lost connection.
const BACK_OFF_MS: (i64, i64) = (50, 500);
const SHORT_ABSENCE_MS: (i64, i64) = (0, 1_500);
const LONG_ABSENCE_MS: (i64, i64) = (1_500, 8_000);
const STALL_MS: (i64, i64) = (300, 7_000);
const SHORT_BODY_CHARS: (i64, i64) = (12, 200);
const LONG_BODY_CHARS: (i64, i64) = (200, 2_000);
/// Sends that may wait for an answer before a client writes another.
const WAITING_MAX: usize = 8;

/// How far the run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Chaos,
    /// Nobody leaves and nothing new is sent.
    Settle,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Socket,
    Stream,
}

/// Something a client does now and then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    /// Only reads on.
    Read,
    /// Sends a new message.
    Send,
    /// Sends one again that was acknowledged.
    Repeat,
    /// Stays and does not read.
    Stall,
    /// Drops the connection without a close.
    Leave,
}

#[derive(Debug)]
pub struct Client {
    pub record: Rc<RefCell<Record>>,
    pub transport: Transport,
    /// Where it may go.
    pub nodes: Rc<[SocketAddr]>,
    /// The place among them of the one it goes to.
    pub node: usize,
    /// A server that says nothing for longer is given up.
    pub silence_max: Duration,
    pub person: Person,
    pub chance: Chance,
    pub stage: watch::Receiver<Stage>,
    /// The last `id:` that a stream was given.
    pub cursor: Option<String>,
    pub written: usize,
}

impl Client {
    /// Never ends by itself.
    pub async fn live(mut self) {
        loop {
            let visited = self.visit().await;
            self.record.borrow_mut().is_here = false;
            if let Err(trouble) = visited {
                self.record.borrow_mut().trouble = format!("{trouble:#}");
                self.move_on();
                sleep(self.draw_wait(BACK_OFF_MS)).await;
                continue;
            }
            let is_short = !self.chance.is_one_in(4);
            let absence = if is_short { SHORT_ABSENCE_MS } else { LONG_ABSENCE_MS };
            let absence = self.draw_wait(absence);
            self.pause(absence).await;
            self.node = self.chance.below(self.nodes.len());
        }
    }

    /// The next try goes to another node, if there is one.
    fn move_on(&mut self) {
        self.node = self.chance.other_than(self.node, self.nodes.len());
    }

    fn address(&self) -> anyhow::Result<SocketAddr> {
        self.nodes.get(self.node).copied().context("nowhere to go")
    }

    /// One connection. Ends when the client wants to leave; errors when the connection is lost.
    async fn visit(&mut self) -> anyhow::Result<()> {
        let connecting = timeout(CONNECT_LIMIT, self.connect());
        let mut link = connecting.await.context("no connection in time")??;
        let mut last_request = HELLO;
        let mut act_at = Instant::now() + self.draw_wait(PAUSE_MS);
        loop {
            self.say_due(&link, &mut last_request)?;
            let due = self.record.borrow().next_due();
            let give_up_at = link.heard_at() + self.silence_max;
            let wake_at = due.map_or(act_at, |due| due.min(act_at)).min(give_up_at);
            tokio::select! {
                word = link.next() => self.hear(word?)?,
                () = sleep_until(wake_at) => {}
            }
            ensure!(link.heard_at().elapsed() < self.silence_max, "the server has fallen silent");
            if Instant::now() < act_at {
                continue;
            }
            let is_chaos = *self.stage.borrow() == Stage::Chaos;
            let deed = if is_chaos { self.draw_deed() } else { Deed::Read };
            match deed {
                Deed::Read => {}
                Deed::Send => self.write(),
                Deed::Repeat => self.write_again(),
                Deed::Stall => {
                    let stall = self.draw_wait(STALL_MS);
                    self.pause(stall).await;
                    link.listen_anew();
                }
                Deed::Leave => return Ok(()),
            }
            act_at = Instant::now() + self.draw_wait(PAUSE_MS);
        }
    }

    /// Connects and asks for all rooms, from where the client left off.
    async fn connect(&mut self) -> anyhow::Result<Link> {
        let link = match self.transport {
            Transport::Socket => self.open_socket().await?,
            Transport::Stream => self.open_stream().await?,
        };
        self.record.borrow_mut().come_in();
        Ok(link)
    }

    async fn open_socket(&self) -> anyhow::Result<Link> {
        let address = self.address()?;
        let seat = Seat {
            address,
            path: "/v1/chat/socket".to_owned(),
            token: Some(self.person.token.clone()),
            hello: None,
        };
        let tcp = narrow::connect(address).await?;
        let mut link = Link::Socket(Socket::over(tcp, &seat).await?);
        let hello = self.record.borrow().hello();
        link.send(&hello)?;
        let answer = link.next().await?;
        self.record.borrow_mut().hear_welcome(&answer.frame)?;
        Ok(link)
    }

    async fn open_stream(&mut self) -> anyhow::Result<Link> {
        if self.cursor.is_none() {
            let mut record = self.record.borrow_mut();
            for journal in &mut record.journals {
                journal.begin_anew();
            }
        }
        let channels: Vec<String> = {
            let record = self.record.borrow();
            record.journals.iter().map(|journal| journal.channel.clone()).collect()
        };
        let address = self.address()?;
        let opening = Opening {
            address,
            token: &self.person.token,
            channels: channels.iter().map(String::as_str).collect(),
            cursor: self.cursor.as_deref(),
            is_in_query: self.chance.is_one_in(2),
        };
        let tcp = narrow::connect(address).await?;
        let opened = Stream::open(tcp, &opening).await;
        if let Err(error) = &opened
            && let Some(refused) = error.downcast_ref::<Refused>()
            && refused.is_for_good()
        {
            self.record.borrow_mut().complain(refused.to_string());
        }
        Ok(Link::Stream(opened?))
    }

    fn hear(&mut self, word: Word) -> anyhow::Result<()> {
        let mut record = self.record.borrow_mut();
        record.hear(&word.frame)?;
        if word.cursor.is_some() {
            self.cursor = word.cursor;
        } else if self.transport == Transport::Stream && word.frame.get("seq").is_some() {
            record.complain(format!("a numbered event without an id: {}", word.frame));
        }
        Ok(())
    }

    /// Says every send that has not been said on this connection, as soon as it is due.
    fn say_due(&self, link: &Link, last_request: &mut u64) -> anyhow::Result<()> {
        let now = Instant::now();
        let mut record = self.record.borrow_mut();
        let due = |waiting: &&mut Waiting| waiting.request.is_none() && waiting.due <= now;
        for waiting in record.waiting.iter_mut().filter(due) {
            *last_request += 1;
            waiting.request = Some(*last_request);
            link.send(&waiting.draft.frame(*last_request))?;
        }
        Ok(())
    }

    /// Writes a new message to one of the rooms.
    fn write(&mut self) {
        let mut record = self.record.borrow_mut();
        if record.waiting.len() >= WAITING_MAX {
            return;
        }
        let is_short = !self.chance.is_one_in(4);
        let (fewest, most) = if is_short { SHORT_BODY_CHARS } else { LONG_BODY_CHARS };
        let chars = usize::try_from(self.chance.between(fewest, most)).unwrap_or_default();
        let Some(journal) = self.chance.pick(&record.journals) else {
            return;
        };
        self.written += 1;
        let draft = Draft {
            key: format!("c{}-{}", record.client, self.written),
            room: journal.room,
            channel: journal.channel.clone(),
            chars,
        };
        record.waiting.push(Waiting::new(draft));
    }

    /// Sends a message again that was acknowledged: the answer must be the same.
    fn write_again(&mut self) {
        let mut record = self.record.borrow_mut();
        if let Some(draft) = self.chance.pick(&record.done).cloned() {
            record.waiting.push(Waiting::new(draft));
        }
    }

    fn draw_deed(&mut self) -> Deed {
        match (self.transport, self.chance.between(1, 100)) {
            (_, 1..=4) => Deed::Leave,
            (_, 5..=8) => Deed::Stall,
            (Transport::Socket, 9..=12) => Deed::Repeat,
            (Transport::Socket, 13..=75) => Deed::Send,
            (Transport::Socket | Transport::Stream, _) => Deed::Read,
        }
    }

    fn draw_wait(&mut self, (shortest, longest): (i64, i64)) -> Duration {
        self.chance.wait_ms(shortest, longest)
    }

    /// Waits, but not beyond the chaos.
    async fn pause(&mut self, wait: Duration) {
        // An error would mean that nobody runs the chaos any more; then nobody needs the client either.
        _ = timeout(wait, self.stage.wait_for(|stage| *stage == Stage::Settle)).await;
    }
}
