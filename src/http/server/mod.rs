//! Server: the listener and its connections, spread over the workers.
//!
//! One task accepts, and gives each connection to the worker that carries the fewest: a socket stays for hours, so
//! where it begins is where it is. Invariant: who is refused was refused before anything was read, and is told so.

pub mod load;
mod refusal;
mod seat_counts;
pub mod seats;
#[cfg(test)]
mod tests;
mod user_seats;
pub mod workers;

use std::fmt::Debug;
use std::io;
use std::net::{TcpListener as StdTcpListener, TcpStream as StdTcpStream};
use std::time::Duration;

use actix_rt::ArbiterHandle;
use actix_service::{Service, ServiceFactory};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use self::load::{Carried, Load};
use crate::config::limits::LimitsConfig;

/// Connections that may wait for one worker to take them up.
const HANDED_MAX: usize = 1_024;
/// Connections beside the sockets: requests, probes, handshakes.
const BESIDE_SOCKETS: usize = 1_024;
/// Clients that may hear their refusal at once; more are dropped without a word.
const REFUSALS_MAX: usize = 1_024;
/// What to wait when the process has no file descriptor left.
const EXHAUSTED_WAIT: Duration = Duration::from_millis(200);
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// What the service of one worker is made with.
pub struct WorkerSeat {
    /// Counts what this worker carries; whoever takes over a connection counts it on.
    pub load: Load,
    stopping: watch::Receiver<bool>,
}

impl WorkerSeat {
    /// Ends once the server is stopping: idle connections close then, busy ones after their answer.
    pub fn stopping(&self) -> impl Future<Output = ()> + use<> {
        let mut stopping = self.stopping.clone();
        async move {
            // An error says that the server itself is gone.
            let _ = stopping.wait_for(|stopping| *stopping).await;
        }
    }
}

/// A listening server.
pub struct Server {
    acceptor: JoinHandle<()>,
    stopping: watch::Sender<bool>,
    loads: Vec<Load>,
}

/// How many connections there may be, and how fast they may come.
struct Limits {
    connections_max: usize,
    rate: Option<DefaultDirectRateLimiter>,
}

impl Limits {
    fn new(config: &LimitsConfig) -> Self {
        let rate = config.enabled.then(|| {
            let quota = Quota::per_second(config.accepts_per_second);
            RateLimiter::direct(quota.allow_burst(config.accept_burst))
        });
        Self { connections_max: config.connections_max.saturating_add(BESIDE_SOCKETS), rate }
    }

    /// Whether one more may come in beside those that are `carried`.
    fn admit(&self, carried: usize) -> bool {
        carried < self.connections_max && self.rate.as_ref().is_none_or(|rate| rate.check().is_ok())
    }
}

/// The acceptor's view of one worker.
struct Lane {
    load: Load,
    connections: mpsc::Sender<(StdTcpStream, Carried)>,
}

impl Server {
    /// Serves `listener` on `workers`, each with a service that `make` makes on its thread. A peer that takes nothing for
    /// `stall_timeout` is cut off.
    ///
    /// # Errors
    /// When the listener cannot be watched.
    pub fn start<M, F>(
        listener: StdTcpListener,
        workers: &[ArbiterHandle],
        limits: &LimitsConfig,
        stall_timeout: Duration,
        make: M,
    ) -> io::Result<Self>
    where
        M: Fn(WorkerSeat) -> F + Clone + Send + 'static,
        F: ServiceFactory<TcpStream, Config = (), Response = (), InitError = ()> + 'static,
        F::Error: Debug,
    {
        let (stopping, is_stopping) = watch::channel(false);
        let mut lanes = Vec::with_capacity(workers.len());
        for worker in workers {
            let (connections, handed) = mpsc::channel(HANDED_MAX);
            let load = Load::default();
            let seat = WorkerSeat { load: load.clone(), stopping: is_stopping.clone() };
            let make = make.clone();
            worker.spawn_fn(move || {
                actix_rt::spawn(serve(make(seat), handed, stall_timeout));
            });
            lanes.push(Lane { load, connections });
        }
        let loads = lanes.iter().map(|lane| lane.load.clone()).collect();
        let listener = TcpListener::from_std(listener)?;
        let acceptor = Acceptor { lanes, limits: Limits::new(limits), refused: Load::default() };
        let acceptor = actix_rt::spawn(acceptor.run(listener, is_stopping));
        Ok(Self { acceptor, stopping, loads })
    }

    /// Ends when the server ends by itself, which it should not.
    pub async fn ended(&mut self) {
        let ended = (&mut self.acceptor).await;
        tracing::error!(?ended, "connections are no longer accepted");
    }

    /// Accepts what the system has accepted already and closes the listener; idle connections end, busy ones after their
    /// answer.
    pub fn stop_accepting(&self) {
        self.stopping.send_replace(true);
    }

    /// As [`Self::stop_accepting`], and waits until every request is answered.
    pub async fn stop(&self) {
        self.stop_accepting();
        while !self.acceptor.is_finished() || self.loads.iter().any(|load| load.count() > 0) {
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }
}

struct Acceptor {
    lanes: Vec<Lane>,
    limits: Limits,
    refused: Load,
}

impl Acceptor {
    async fn run(self, listener: TcpListener, mut stopping: watch::Receiver<bool>) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                // An error says that the server itself is gone.
                _ = stopping.wait_for(|stopping| *stopping) => break,
            };
            match accepted {
                // Another event loop will watch it.
                Ok((stream, _)) => stream.into_std().map_or((), |stream| self.place(stream)),
                Err(error) if is_of_the_peer(&error) => {}
                Err(error) => {
                    tracing::error!(%error, "a connection cannot be accepted");
                    tokio::time::sleep(EXHAUSTED_WAIT).await;
                }
            }
        }
        // Those the system has let in would be cut off by closing the listener.
        let Ok(listener) = listener.into_std() else { return };
        while let Ok((stream, _)) = listener.accept() {
            if stream.set_nonblocking(true).is_ok() {
                self.place(stream);
            }
        }
    }

    /// Gives a connection to the worker that carries the fewest, or refuses it.
    fn place(&self, stream: StdTcpStream) {
        if !self.limits.admit(self.lanes.iter().map(|lane| lane.load.count()).sum()) {
            return self.refuse(stream);
        }
        let Some(lane) = self.lanes.iter().min_by_key(|lane| lane.load.count()) else { return };
        let handed = lane.connections.try_send((stream, lane.load.enter()));
        match handed {
            Ok(()) => metrics::counter!("madang_tcp_accepted_total").increment(1),
            Err(mpsc::error::TrySendError::Full((stream, _))) => self.refuse(stream),
            Err(mpsc::error::TrySendError::Closed(_)) => {
                tracing::error!("a worker no longer takes connections");
            }
        }
    }

    fn refuse(&self, stream: StdTcpStream) {
        metrics::counter!("madang_tcp_refused_total").increment(1);
        if self.refused.count() < REFUSALS_MAX {
            actix_rt::spawn(refusal::refuse(stream, self.refused.enter()));
        }
    }
}

/// Whether accepting failed because of that one client.
fn is_of_the_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// A peer that takes nothing for `stall_timeout` loses its connection, whatever still waits for it in the system.
fn prepare(stream: &StdTcpStream, stall_timeout: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_tcp_user_timeout(Some(stall_timeout))
}

/// Serves what one worker is given, for as long as it is given anything.
async fn serve<F>(
    factory: F,
    mut handed: mpsc::Receiver<(StdTcpStream, Carried)>,
    stall_timeout: Duration,
) where
    F: ServiceFactory<TcpStream, Config = (), Response = (), InitError = ()> + 'static,
    F::Error: Debug,
{
    let Ok(service) = factory.new_service(()).await else {
        return tracing::error!("a worker has no service");
    };
    while let Some((stream, carried)) = handed.recv().await {
        let prepared = prepare(&stream, stall_timeout).and_then(|()| TcpStream::from_std(stream));
        let Ok(stream) = prepared else {
            // The client is gone already.
            continue;
        };
        if let Err(error) = std::future::poll_fn(|cx| service.poll_ready(cx)).await {
            tracing::warn!(?error, "a worker's service is not ready");
            continue;
        }
        let served = service.call(stream);
        actix_rt::spawn(async move {
            if let Err(error) = served.await {
                tracing::debug!(?error, "a connection has ended early");
            }
            drop(carried);
        });
    }
}
