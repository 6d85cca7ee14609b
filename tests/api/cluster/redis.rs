//! A Redis of one's own: a real server on a free loopback port.
//!
//! It has stored what it acknowledged, so a kill takes nothing from it. Dropping it kills the process and removes its
//! folder.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use uuid::Uuid;

use crate::app::eventually;

/// Somebody else may take a free port before the server does.
const PORTS_MAX: usize = 5;

/// A replica is fed at once instead of after the 5 s in which others might join it.
pub(super) const STORES: &str =
    "appendonly yes\nappendfsync always\nsave \"\"\nrepl-diskless-sync-delay 0\n";

/// One server. It listens where it did before when it is started again.
#[derive(Debug)]
pub(crate) struct RedisServer {
    port: u16,
    folder: PathBuf,
    arguments: &'static [&'static str],
    child: Option<Child>,
}

impl RedisServer {
    /// Starts a server and waits until it answers.
    pub(crate) async fn start() -> Self {
        Self::start_as(&[], || STORES.to_owned()).await
    }

    /// What `cluster.redis_url` has to be.
    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address())
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

    /// Starts the server again on what it left, and waits until it answers.
    pub(crate) async fn restart(&mut self) {
        self.kill();
        self.launch();
        assert!(self.becomes_ready().await, "Redis does not come back:\n{}", self.log());
    }

    /// What the server says to a command; an error is none of its answers.
    pub(crate) fn command(&self, words: &[&str]) -> String {
        self.tell(words).unwrap_or_else(|said| panic!("{said}"))
    }

    /// Starts a server with settings of its own, which are asked for anew where a port was taken.
    pub(super) async fn start_as(
        arguments: &'static [&'static str],
        settings: impl Fn() -> String + Send,
    ) -> Self {
        let mut log = String::new();
        for _ in 0..PORTS_MAX {
            let folder = std::env::temp_dir().join(format!("madang-redis-{}", Uuid::now_v7()));
            fs::create_dir(&folder).unwrap();
            let mut server = Self { port: lasting_port(), folder, arguments, child: None };
            server.configure(&settings());
            server.launch();
            if server.becomes_ready().await {
                return server;
            }
            log = server.log();
        }
        panic!("Redis does not start:\n{log}");
    }

    /// Written once: what a server is told later it writes down itself.
    fn configure(&self, settings: &str) {
        let dir = self.folder.display();
        let text = format!("bind 127.0.0.1\nport {}\ndir {dir}\n{settings}", self.port);
        fs::write(self.folder.join("redis.conf"), text).unwrap();
    }

    fn launch(&mut self) {
        let log = File::options().create(true).append(true).open(self.folder.join("log")).unwrap();
        let child = Command::new("redis-server")
            .arg(self.folder.join("redis.conf"))
            .args(self.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("redis-server can be run: `scripts/require redis` installs it");
        self.child = Some(child);
    }

    /// False when the server has ended instead.
    async fn becomes_ready(&mut self) -> bool {
        eventually("Redis answers", async || {
            if self.child.as_mut().expect("it was launched").try_wait().unwrap().is_some() {
                return Some(false);
            }
            (self.ask(&["PING"])? == "PONG").then_some(true)
        })
        .await
    }

    /// As [`Self::command`], where an error or nobody is an answer too.
    pub(super) fn ask(&self, words: &[&str]) -> Option<String> {
        self.tell(words).ok()
    }

    fn tell(&self, words: &[&str]) -> Result<String, String> {
        redis_cli(&[&["-p", &self.port.to_string()], words].concat())
    }

    pub(super) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

pub(super) fn urls(servers: &[RedisServer]) -> String {
    servers.iter().map(RedisServer::url).collect::<Vec<_>>().join(",")
}

/// A free port that no outgoing connection takes while its server is dead.
pub(super) fn lasting_port() -> u16 {
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let mut ports = std::iter::repeat_with(|| rand::random_range(15_000..30_000));
    ports.find(is_free).expect("some port is free")
}

/// Runs `redis-cli`; gives what it printed, in either case.
pub(super) fn redis_cli(words: &[&str]) -> Result<String, String> {
    let told = Command::new("redis-cli").arg("-e").args(words).stdin(Stdio::null()).output();
    let told = told.expect("redis-cli can be run: `scripts/require redis` installs it");
    let printed = String::from_utf8_lossy(&told.stdout).trim_end().to_owned();
    if told.status.success() {
        return Ok(printed);
    }
    Err(format!("{words:?}: {printed}{}", String::from_utf8_lossy(&told.stderr)))
}

#[tokio::test]
async fn a_server_that_was_killed_comes_back_with_what_it_had() {
    let mut server = RedisServer::start().await;
    let port = server.port();
    server.command(&["XADD", "stream", "1-1", "word", "wisteria"]);

    server.kill();
    assert_eq!(server.ask(&["PING"]), None);
    server.restart().await;

    assert_eq!(server.url(), format!("redis://127.0.0.1:{port}"));
    assert!(server.command(&["XRANGE", "stream", "-", "+"]).contains("wisteria"));
}
