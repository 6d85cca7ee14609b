//! What `scripts/require couriers` installs: servers and libraries of others, run as processes of their own.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

/// How long anything may take before a test gives up on it: far longer than it should on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(20);
const MISSING: &str = "`scripts/require couriers` installs what these tests need";
/// Somebody else may take a free port before the server does.
const PORTS_MAX: usize = 5;

/// Waits until there is an answer.
pub(crate) async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "never happened: {what}");
        sleep(POLL_INTERVAL).await;
    }
}

/// What `servers/check.py` says about `given`.
pub(crate) fn check(what: &str, given: &Value) -> Value {
    let mut child = python("check.py").arg(what).stdin(Stdio::piped()).spawn().expect(MISSING);
    child.stdin.take().unwrap().write_all(given.to_string().as_bytes()).unwrap();
    let said = child.wait_with_output().unwrap();
    assert!(said.status.success(), "check.py {what} failed");
    serde_json::from_slice(&said.stdout).unwrap()
}

/// `servers/smtp.py`, and what it tells.
pub(crate) struct MailServer {
    child: Child,
    port: u16,
    told: Arc<Mutex<Vec<Value>>>,
    /// Reads what it tells; ends with the process.
    reader: Option<JoinHandle<()>>,
}

impl MailServer {
    /// `folder` is where it leaves its certificate.
    pub(crate) async fn start(mode: &str, folder: Option<&Path>) -> Self {
        let mut child = python("smtp.py").arg(mode).args(folder).spawn().expect(MISSING);
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let told = Arc::new(Mutex::new(Vec::<Value>::new()));
        let shared = Arc::clone(&told);
        let reader = std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                shared.lock().unwrap().push(serde_json::from_str(&line).unwrap());
            }
        });
        let mut server = Self { child, port: 0, told, reader: Some(reader) };
        let port = eventually("the mail server listens", async || {
            assert!(server.child.try_wait().unwrap().is_none(), "the mail server has ended");
            server.told("port").first().map(|told| told["port"].as_u64().unwrap())
        })
        .await;
        server.port = u16::try_from(port).unwrap();
        server
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Ends the server. What it has told until then is all that happened.
    pub(crate) fn stop(&mut self) {
        end(&mut self.child);
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
    }

    /// What it has told of one kind of event, in order, as far as that was read.
    pub(crate) fn told(&self, event: &str) -> Vec<Value> {
        let told = self.told.lock().unwrap();
        told.iter().filter(|told| told["event"] == event).cloned().collect()
    }

    /// The mails that have come in, as soon as there are `count` of them.
    pub(crate) async fn mails(&self, count: usize) -> Vec<Value> {
        eventually("the mails are there", async || {
            let mails = self.told("mail");
            (mails.len() >= count).then_some(mails)
        })
        .await
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// web-push-testing: a push service that decrypts what it is given.
pub(crate) struct PushService {
    child: Child,
    port: u16,
}

impl PushService {
    pub(crate) async fn start(http: &reqwest::Client) -> Self {
        for _ in 0..PORTS_MAX {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let child = Command::new("node")
                .arg(servers().join("push.cjs"))
                .arg(port.to_string())
                .env("NODE_PATH", root().join("target/tools/web-push-testing/node_modules"))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .spawn()
                .expect(MISSING);
            let mut service = Self { child, port };
            let is_up = eventually("the push service answers", async || {
                if service.child.try_wait().unwrap().is_some() {
                    return Some(false);
                }
                http.post(service.url("/status")).send().await.ok().map(|_| true)
            })
            .await;
            if is_up {
                return service;
            }
        }
        panic!("the push service does not start: {MISSING}");
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://localhost:{}{path}", self.port)
    }

    /// What it answers to JSON.
    pub(crate) async fn ask(&self, http: &reqwest::Client, path: &str, body: &Value) -> Value {
        let answer = http.post(self.url(path)).json(body).send().await.unwrap();
        assert!(answer.status().is_success(), "{path} answered {}", answer.status());
        serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default()
    }
}

impl Drop for PushService {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

fn python(script: &str) -> Command {
    let mut command = Command::new(root().join("target/venv/bin/python"));
    command.arg(servers().join(script)).stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

fn servers() -> PathBuf {
    root().join("tests/couriers/servers")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}
