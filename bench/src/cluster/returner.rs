//! Clients that come back by themselves when their node is gone: to another one, after a wait with full jitter.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::api::{Api, Person};
use crate::arrivals::Arrivals;
use crate::chance::Chance;
use crate::follower::Follower;
use crate::socket::{self, Seat, Socket};

const ROOMS_EACH: usize = 3;
/// The longest first wait, in milliseconds; it doubles with each try in vain.
const WAIT_MS: i64 = 500;
const WAIT_MS_MAX: i64 = 30_000;
/// The clients first come one after the other, within so many milliseconds.
const ENTRY_MS: i64 = 5_000;
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Time for all to be live.
const LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

pub struct Returner {
    number: usize,
    seat: Seat,
    nodes: Rc<[SocketAddr]>,
    /// Where it was first.
    pub home: usize,
    pub follower: Follower,
    pub visits: usize,
    /// How its last connection ended.
    pub trouble: Option<anyhow::Error>,
    chance: Chance,
}

/// All of them, on their way or live.
pub struct Returners {
    clients: JoinSet<Returner>,
    cut: watch::Sender<bool>,
    pub arrivals: Rc<Arrivals>,
}

impl Returners {
    /// Sends `count` clients on their way, to each node in turn; the rooms are told in turn too.
    pub fn gather(
        api: &Api,
        nodes: Rc<[SocketAddr]>,
        people: &[Person],
        channels: &[String],
        count: usize,
    ) -> anyhow::Result<Self> {
        let (cut, is_cut) = watch::channel(false);
        let (mut clients, arrivals) = (JoinSet::new(), Rc::new(Arrivals::new()?));
        let mut channels = channels.iter().cycle();
        for (number, person) in (0..count).zip(people.iter().cycle()) {
            let client = Returner {
                number,
                seat: Seat { hello: None, ..api.seat(person, Vec::new()) },
                nodes: nodes.clone(),
                home: number % nodes.len().max(1),
                follower: Follower::new(channels.by_ref().take(ROOMS_EACH).cloned()),
                visits: 0,
                trouble: None,
                chance: Chance::new(0, u64::try_from(number)?),
            };
            clients.spawn_local(client.stay(arrivals.clone(), is_cut.clone()));
        }
        Ok(Self { clients, cut, arrivals })
    }

    /// Waits until so many have arrived; gives how many have not in time.
    pub async fn wait_until_live(&self, count: usize) -> usize {
        loop {
            let late = count.saturating_sub(self.arrivals.count());
            if late == 0 || self.arrivals.since().elapsed() > LIMIT {
                return late;
            }
            sleep(POLL).await;
        }
    }

    /// Drops every socket, and gives the clients.
    pub async fn cut(mut self) -> anyhow::Result<Vec<Returner>> {
        self.cut.send_replace(true);
        let mut clients = Vec::with_capacity(self.clients.len());
        while let Some(client) = self.clients.join_next().await {
            clients.push(client?);
        }
        Ok(clients)
    }
}

impl Returner {
    async fn stay(mut self, arrivals: Rc<Arrivals>, mut is_cut: watch::Receiver<bool>) -> Self {
        tokio::select! {
            () = self.live(&arrivals) => {}
            // An error would mean that nobody waits for it any more.
            _ = is_cut.wait_for(|is_cut| *is_cut) => {}
        }
        self
    }

    /// Never ends by itself.
    async fn live(&mut self, arrivals: &Arrivals) {
        let (mut node, mut tries) = (self.home, 0);
        sleep(self.chance.wait_ms(0, ENTRY_MS)).await;
        loop {
            let visits = self.visits;
            self.trouble = self.visit(node, arrivals).await.err();
            tries = if self.visits > visits { 0 } else { tries + 1 };
            node = self.chance.other_than(node, self.nodes.len());
            sleep(self.chance.wait_ms(0, longest_wait_ms(tries))).await;
        }
    }

    /// One connection, for as long as it lasts.
    async fn visit(&mut self, node: usize, arrivals: &Arrivals) -> anyhow::Result<()> {
        if let Some(address) = self.nodes.get(node) {
            self.seat.address = *address;
        }
        let mut socket = timeout(CONNECT_LIMIT, self.come_in()).await??;
        self.visits += 1;
        arrivals.add();
        loop {
            self.follower.listen(&mut socket).await?;
        }
    }

    async fn come_in(&mut self) -> anyhow::Result<Socket> {
        let tcp = socket::dial(self.seat.address, self.number).await?;
        let mut socket = Socket::over(tcp, &self.seat).await?;
        self.follower.come_in(&mut socket).await?;
        Ok(socket)
    }
}

/// How long is waited at most after so many tries in vain.
fn longest_wait_ms(tries: u32) -> i64 {
    WAIT_MS.saturating_mul(2_i64.saturating_pow(tries)).min(WAIT_MS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_wait_doubles_until_it_is_thirty_seconds() {
        let waits: Vec<_> = [0, 1, 2, 5, 6, 7, 1_000].map(longest_wait_ms).into();

        assert_eq!(waits, [500, 1_000, 2_000, 16_000, 30_000, 30_000, 30_000]);
    }
}
