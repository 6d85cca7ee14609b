//! The fake payment provider as a process of its own: what it has answered it has done, however it ends.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use madang::domain::workflows::EffectKey;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::sync::mpsc::unbounded_channel;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::app::http_client;

const ORDERS: usize = 60;
const ANSWERED_BEFORE_THE_KILL: usize = 12;

#[tokio::test]
async fn what_was_answered_was_done_and_is_done_once_through_kill_9() {
    let folder = Folder::new();
    let place = Place::start(&folder.0.join("journal"));
    let client = http_client();
    for order in orders() {
        let name = json!({
            "order": order, "amount": 1_000, "currency": "KRW", "name": "a lamp",
            "is_captured_later": false,
        });
        assert_eq!(place.call(&client, &order, json!({ "prepare": name })).await, Some(200));
        let pay = client.post(format!("{}/checkout/{order}", place.url)).form(&[("action", "pay")]);
        assert_eq!(pay.send().await.unwrap().status(), StatusCode::OK);
    }

    let (answered, mut answers) = unbounded_channel();
    let mut payers = JoinSet::new();
    for order in orders() {
        let (url, client, answered) = (place.url.clone(), client.clone(), answered.clone());
        payers.spawn(async move {
            if confirm(&client, &url, &order).await == Some(200) {
                answered.send(order).unwrap();
            }
        });
    }
    drop(answered);
    let mut done = Vec::new();
    while done.len() < ANSWERED_BEFORE_THE_KILL {
        done.push(answers.recv().await.expect("the provider answers"));
    }
    drop(place);
    while let Some(order) = answers.recv().await {
        done.push(order);
    }
    payers.join_all().await;

    let place = Place::start(&folder.0.join("journal"));
    let moved = place.movements(&client).await;
    assert!(done.iter().all(|order| count(&moved, order) == 1), "{done:?} {moved:?}");
    for order in orders() {
        assert_eq!(confirm(&client, &place.url, &order).await, Some(200), "{order}");
    }
    let moved = place.movements(&client).await;
    assert!(orders().all(|order| count(&moved, &order) == 1), "{moved:?}");

    // The control: without its journal it knows of nothing.
    let elsewhere = Place::start(&folder.0.join("another"));
    assert!(elsewhere.movements(&client).await.is_empty());
}

fn orders() -> impl Iterator<Item = String> {
    (0..ORDERS).map(|n| format!("order-{n}"))
}

fn count(moved: &[Value], order: &str) -> usize {
    moved.iter().filter(|line| line["order"] == order).count()
}

async fn confirm(client: &Client, url: &str, order: &str) -> Option<u16> {
    let request = json!({ "confirm": {
        "provider_key": format!("fake-{order}"), "order": order, "amount": 1_000, "currency": "KRW",
    } });
    post(client, url, order, request).await
}

async fn post(client: &Client, url: &str, order: &str, body: Value) -> Option<u16> {
    let key = EffectKey::of(order);
    let request = client.post(format!("{url}/v1/calls")).header("idempotency-key", key.as_str());
    request.json(&body).send().await.ok().map(|answer| answer.status().as_u16())
}

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("madang-fake-{}", Uuid::now_v7()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A process that is killed when it is dropped.
struct Place {
    child: Child,
    url: String,
}

impl Place {
    fn start(journal: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_madang"))
            .args(["fake-provider", "--listen", "127.0.0.1:0", "--journal"])
            .arg(journal)
            .current_dir(std::env::temp_dir())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary can be run");
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
        Self { child, url: url.trim().to_owned() }
    }

    async fn call(&self, client: &Client, order: &str, body: Value) -> Option<u16> {
        post(client, &self.url, order, body).await
    }

    async fn movements(&self, client: &Client) -> Vec<Value> {
        let page: Value = client
            .get(format!("{}/admin/movements", self.url))
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        assert_eq!(page["next"], Value::Null, "one page is enough");
        page["items"].as_array().unwrap().clone()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
