//! What lies between two servers: a wire that can be cut, and one that can go silent.
//!
//! Invariant: no byte is lost on a wire that was silent and is open again; one that was cut never carries anything again,
//! and new ones take its place.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinSet, spawn_local};
use tokio::time::sleep;

use super::ports::lasting_address;

const BUFFER_BYTES: usize = 16 * 1024;
/// Before the port is asked for again, should somebody have it.
const RETRY: Duration = Duration::from_millis(50);

/// How the wire is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Open,
    /// Every connection is closed and new ones are refused.
    Cut,
    /// Connections are taken and kept, and no byte moves.
    Silent,
}

/// The way to one server. Dropped, it cuts what it carries.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
}

impl Proxy {
    /// Leads to `target`, whether or not anybody listens there yet.
    pub async fn start(target: SocketAddr) -> anyhow::Result<Self> {
        let address = lasting_address()?;
        let listener = TcpListener::bind(address).await.context("listen as a proxy")?;
        let (mode, watched) = watch::channel(Mode::Open);
        spawn_local(serve(listener, target, watched));
        Ok(Self { address, mode })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

/// Listens while the wire is not cut. Ends when the proxy is dropped.
async fn serve(mut listener: TcpListener, target: SocketAddr, mut mode: watch::Receiver<Mode>) {
    let Ok(address) = listener.local_addr() else {
        return;
    };
    loop {
        let mut wires = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    if let Ok((near, _)) = accepted {
                        wires.spawn_local(carry(near, target, mode.clone()));
                    }
                }
                _ = wires.join_next(), if !wires.is_empty() => {}
                has_owner = becomes(&mut mode, |mode| mode == Mode::Cut) => {
                    if !has_owner {
                        return;
                    }
                    break;
                }
            }
        }
        drop(listener);
        wires.shutdown().await;
        if !becomes(&mut mode, |mode| mode != Mode::Cut).await {
            return;
        }
        listener = loop {
            match TcpListener::bind(address).await {
                Ok(listener) => break listener,
                Err(_) => sleep(RETRY).await,
            }
        };
    }
}

/// Waits until the mode is one of these; says whether there is still somebody who sets it.
async fn becomes(mode: &mut watch::Receiver<Mode>, is_one: impl Fn(Mode) -> bool) -> bool {
    mode.wait_for(|mode| is_one(*mode)).await.is_ok()
}

/// Carries one connection until either end closes it. What goes wrong on it, both ends see by themselves.
async fn carry(
    mut near: TcpStream,
    target: SocketAddr,
    mut mode: watch::Receiver<Mode>,
) -> anyhow::Result<()> {
    mode.wait_for(|mode| *mode == Mode::Open).await?;
    let mut far = TcpStream::connect(target).await?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let (near_reads, near_writes) = near.split();
    let (far_reads, far_writes) = far.split();
    tokio::select! {
        ended = pump(near_reads, far_writes, mode.clone()) => ended,
        ended = pump(far_reads, near_writes, mode) => ended,
    }
}

/// Moves bytes one way while the wire is open.
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut mode: watch::Receiver<Mode>,
) -> anyhow::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        mode.wait_for(|mode| *mode == Mode::Open).await?;
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        mode.wait_for(|mode| *mode == Mode::Open).await?;
        to.write_all(buffer.get(..count).unwrap_or_default()).await?;
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::LocalSet;
    use tokio::time::timeout;

    use super::*;

    /// Long enough for a byte that moves although it must not.
    const MOMENT: Duration = Duration::from_millis(200);

    async fn hear(stream: &mut TcpStream) -> Option<u8> {
        let mut byte = [0];
        let heard = timeout(Duration::from_secs(10), stream.read_exact(&mut byte)).await.unwrap();
        heard.ok().map(|_| byte[0])
    }

    fn run(test: impl AsyncFnOnce(Proxy, TcpListener)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, async {
            let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let proxy = Proxy::start(server.local_addr().unwrap()).await.unwrap();
            test(proxy, server).await;
        });
    }

    #[test]
    fn a_silent_wire_moves_nothing_and_loses_nothing() {
        run(async |proxy, server| {
            let mut near = TcpStream::connect(proxy.address()).await.unwrap();
            let (mut far, _) = server.accept().await.unwrap();
            near.write_all(b"a").await.unwrap();
            assert_eq!(hear(&mut far).await, Some(b'a'));

            proxy.set(Mode::Silent);
            near.write_all(b"b").await.unwrap();
            let mut late = TcpStream::connect(proxy.address()).await.unwrap();
            late.write_all(b"c").await.unwrap();
            assert!(timeout(MOMENT, far.read_u8()).await.is_err());
            assert!(timeout(MOMENT, server.accept()).await.is_err());

            proxy.set(Mode::Open);
            assert_eq!(hear(&mut far).await, Some(b'b'));
            let (mut late_far, _) = server.accept().await.unwrap();
            assert_eq!(hear(&mut late_far).await, Some(b'c'));
        });
    }

    #[test]
    fn a_cut_wire_ends_both_ends_and_refuses_until_it_is_open_again() {
        run(async |proxy, server| {
            let mut near = TcpStream::connect(proxy.address()).await.unwrap();
            let (mut far, _) = server.accept().await.unwrap();

            proxy.set(Mode::Cut);
            assert_eq!((hear(&mut near).await, hear(&mut far).await), (None, None));
            assert!(TcpStream::connect(proxy.address()).await.is_err());

            proxy.set(Mode::Open);
            let mut again = loop {
                if let Ok(stream) = TcpStream::connect(proxy.address()).await {
                    break stream;
                }
                tokio::task::yield_now().await;
            };
            let (mut far, _) = server.accept().await.unwrap();
            far.write_all(b"d").await.unwrap();
            assert_eq!(hear(&mut again).await, Some(b'd'));
        });
    }
}
