//! A real browser: Chromium's own `EventSource`, driven over its debugging protocol.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};
use uuid::Uuid;

use crate::app::{PATIENCE, TestApp, eventually};

/// A browser to test with; Debian's unless another one is named.
const BROWSER: &str = "MADANG_TEST_BROWSER";

on_both_databases!(an_event_source_survives_a_kill_and_a_restart);

async fn an_event_source_survives_a_kill_and_a_restart(app: &mut TestApp) {
    let (jisoo, minho) = (app.register("jisoo").await, app.register("minho").await);
    let room = jisoo.direct_room(&minho).await;
    let mut page = Page::open(&app.url("/docs/")).await;

    let cookie = format!(
        "fetch('/v1/auth/cookie', {{ method: 'POST', headers: {{ Authorization: 'Bearer {}' }} }}).then(r => r.status)",
        minho.token
    );
    assert_eq!(page.evaluate(&cookie).await, 204);
    page.evaluate(&format!(
        "window.heard = []; window.lives = 0;
         window.source = new EventSource('/v1/messages/stream/{room}');
         source.addEventListener('live', () => lives++);
         source.addEventListener('message_sent', e => heard.push(JSON.parse(e.data).data.key)); 0"
    ))
    .await;
    page.wait_for("lives === 1").await;
    let mut sent = Vec::new();
    for round in 0..2 {
        for n in 0..5 {
            let key = format!("before-{round}-{n}");
            jisoo.at(app).say(&room, &key, "hello").await;
            sent.push(key);
        }
        page.wait_for(&format!("heard.length === {}", sent.len())).await;

        app.restart().await;
        for n in 0..5 {
            let key = format!("while-it-is-away-{round}-{n}");
            jisoo.at(app).say(&room, &key, "hello").await;
            sent.push(key);
        }
        page.wait_for(&format!("lives === {}", round + 2)).await;
    }
    jisoo.at(app).say(&room, "last", "hello").await;
    sent.push("last".to_owned());

    page.wait_for("heard.includes('last')").await;
    assert_eq!(page.evaluate("heard").await, json!(sent));
}

/// One page of a browser of one's own.
struct Page {
    browser: Child,
    profile: PathBuf,
    protocol: WebSocketStream<TcpStream>,
    last_id: u64,
}

impl Page {
    async fn open(url: &str) -> Self {
        let profile = std::env::temp_dir().join(format!("madang-browser-{}", Uuid::now_v7()));
        let program = std::env::var(BROWSER).unwrap_or_else(|_| "chromium".to_owned());
        let browser = Command::new(&program)
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
            .args(["--no-first-run", "--disable-extensions", "--remote-debugging-port=0"])
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg("about:blank")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{program} cannot be run: {error}; run `make test`"));
        let port: u16 = eventually("the browser listens", async || {
            let text = std::fs::read_to_string(profile.join("DevToolsActivePort")).ok()?;
            text.lines().next()?.parse().ok()
        })
        .await;
        let target = eventually("the browser has a page", async || {
            let list = reqwest::get(format!("http://127.0.0.1:{port}/json/list")).await.ok()?;
            let list: Vec<Value> = list.json().await.ok()?;
            let page = list.iter().find(|target| target["type"] == "page")?;
            page["webSocketDebuggerUrl"].as_str().map(str::to_owned)
        })
        .await;
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let (protocol, _) = client_async(target, stream).await.unwrap();
        let mut page = Self { browser, profile, protocol, last_id: 0 };
        page.call("Page.navigate", &json!({ "url": url })).await;
        page.wait_for(&format!(
            "location.href.startsWith('{url}') && document.readyState === 'complete'"
        ))
        .await;
        page
    }

    /// What an expression comes to, promises awaited.
    async fn evaluate(&mut self, expression: &str) -> Value {
        let asked =
            json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let answer = self.call("Runtime.evaluate", &asked).await;
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    async fn wait_for(&mut self, condition: &str) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while self.evaluate(condition).await != json!(true) {
            let state = self.evaluate("JSON.stringify([window.heard, window.lives])").await;
            assert!(tokio::time::Instant::now() < deadline, "never: {condition}; {state}");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }

    async fn call(&mut self, method: &str, parameters: &Value) -> Value {
        self.last_id += 1;
        let call = json!({ "id": self.last_id, "method": method, "params": parameters });
        self.protocol.send(Message::text(call.to_string())).await.unwrap();
        loop {
            let said = timeout(PATIENCE, self.protocol.next()).await.expect("the browser answers");
            let Message::Text(text) = said.unwrap().unwrap() else { continue };
            let said: Value = serde_json::from_str(&text).unwrap();
            if said["id"] == self.last_id {
                assert!(said["error"].is_null(), "{method}: {said}");
                return said["result"].clone();
            }
        }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let _ = self.browser.kill();
        let _ = self.browser.wait();
        let _ = std::fs::remove_dir_all(&self.profile);
    }
}
