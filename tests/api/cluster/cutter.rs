//! A bad line: carries bytes to a server and back, and cuts its first connections in the middle of what is said.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Connections that are cut; all later ones are good.
const CUTS: usize = 8;
/// What the first connection may say; each later one may say so much more.
const BYTES: usize = 1_500;

/// Dropping it closes the line.
pub(crate) struct Cutter {
    port: u16,
    carried: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Cutter {
    /// Opens a line to the server on this port.
    pub(crate) async fn before(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let carried = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&carried);
        let task = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let n = counted.fetch_add(1, Ordering::Relaxed);
                let allowance = if n < CUTS { BYTES * (n + 1) } else { usize::MAX };
                tokio::spawn(carry(client, server, allowance));
            }
        });
        Self { port, carried, task }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Whether all the cuts that there will be have been made.
    pub(crate) fn is_good_by_now(&self) -> bool {
        self.carried.load(Ordering::Relaxed) > CUTS
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Ends when one side does, or when the client has said as much as it may.
async fn carry(client: TcpStream, server: u16, mut allowance: usize) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else {
        return;
    };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let there = async {
        let mut buffer = [0; 1_024];
        while allowance > 0 {
            let room = buffer.len().min(allowance);
            match from_client.read(&mut buffer[..room]).await {
                Ok(length @ 1..) if to_server.write_all(&buffer[..length]).await.is_ok() => {
                    allowance -= length;
                }
                _ => return,
            }
        }
    };
    tokio::select! {
        () = there => {}
        _ = copy(&mut from_server, &mut to_client) => {}
    }
}
