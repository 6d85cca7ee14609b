//! A NATS server of one's own, with `JetStream`, as a child process on a free port.
//!
//! Dropping it kills the process and removes its folder; killing and restarting it keeps what it had stored.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use async_nats::jetstream::{self, Context};
use serde_json::Value;
use uuid::Uuid;

use crate::app::eventually;

/// Somebody else may take a free port before the server does.
const STARTS_MAX: usize = 5;

pub(crate) struct NatsServer {
    port: u16,
    folder: PathBuf,
    child: Option<Child>,
}

impl NatsServer {
    pub(crate) async fn start() -> Self {
        let folder = std::env::temp_dir().join(format!("madang-nats-{}", Uuid::now_v7()));
        std::fs::create_dir(&folder).unwrap();
        let mut server = Self { port: 0, folder, child: None };
        for _ in 0..STARTS_MAX {
            server.port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            if server.launch().await {
                return server;
            }
        }
        panic!("nats-server does not start");
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Ends the server at once, as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("a running server can be killed");
            child.wait().expect("a killed server ends");
        }
    }

    /// Starts the server again, where it was and on what it left.
    pub(crate) async fn restart(&mut self) {
        self.kill();
        assert!(self.launch().await, "nats-server does not start again");
    }

    /// A connection of the test's own.
    pub(crate) async fn connect(&self) -> Context {
        jetstream::new(async_nats::connect(self.url()).await.expect("NATS answers"))
    }

    /// False when the server has ended instead of becoming ready.
    async fn launch(&mut self) -> bool {
        let child = Command::new("nats-server")
            .args(["--addr", "127.0.0.1", "--port", &self.port.to_string(), "--jetstream"])
            .arg("--store_dir")
            .arg(&self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nats-server can be run: Debian's package is nats-server");
        self.child = Some(child);
        let url = self.url();
        let child = &mut self.child;
        eventually("nats-server answers or ends", async || {
            if child.as_mut()?.try_wait().unwrap().is_some() {
                return Some(false);
            }
            let context = jetstream::new(async_nats::connect(&url).await.ok()?);
            // The library's own question expects an answer of a younger server than Debian's.
            context.request::<_, _, Value>("INFO", &()).await.ok().map(|_| true)
        })
        .await
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
