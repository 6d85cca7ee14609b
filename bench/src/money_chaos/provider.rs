//! The payment provider of a run: `madang fake-provider` as a process of its own, which is killed too.
//!
//! Invariant: what it says that it moved is the truth that all books are held against; it outlives every kill.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use reqwest::Client;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::plan::Plan;
use crate::server::forget_settings;
use crate::servers::ports::lasting_address;
use crate::servers::process::Process;

const JOURNAL: &str = "provider.journal";
/// How long it says nothing where it says nothing: longer than nodes wait.
const SILENCE_MS: &str = "2500";
pub const PATIENCE_MS: &str = "1500";
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub struct Provider {
    /// `None` while it is down.
    process: Option<Process>,
    program: PathBuf,
    folder: PathBuf,
    address: SocketAddr,
    /// Who is told what happened.
    webhook: SocketAddr,
    http: Client,
    /// Calls of a hundred that go wrong besides those whose amount says so.
    faults: u32,
    seed: u32,
}

/// What moved, as the provider has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Movement {
    /// What we call the order; of a payout, the withdrawal.
    pub order: String,
    pub amount: i64,
    pub kind: MovementKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MovementKind {
    Charge,
    Cancel,
    PayOut,
}

impl Provider {
    /// One that is down.
    pub fn new(plan: &Plan, folder: &Path, faults: u32, seed: u32) -> anyhow::Result<Self> {
        let address = lasting_address()?;
        Ok(Self {
            process: None,
            program: std::path::absolute(&plan.madang)?,
            folder: folder.to_owned(),
            address,
            webhook: address,
            http: Client::builder().no_proxy().timeout(ANSWER_LIMIT).build()?,
            faults,
            seed,
        })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Has it tell the node at this address, from its next start on.
    pub fn tell(&mut self, node: SocketAddr) {
        self.webhook = node;
    }

    /// Starts it where it was; it goes on from its journal.
    pub async fn start(&mut self) -> anyhow::Result<()> {
        let mut command = Command::new(&self.program);
        forget_settings(&mut command);
        command
            .args(["fake-provider", "--listen", &self.address.to_string(), "--journal", JOURNAL])
            .args(["--silence-ms", SILENCE_MS, "--webhook-url"])
            .arg(format!("http://{}/v1/payments/webhooks/fake", self.webhook))
            .env("MADANG__OUTWARD__ALLOWED_NETWORKS", "127.0.0.0/8");
        let mut process = Process::start(command, &self.folder, "provider.log", libc::SIGKILL)?;
        let is_ready = async || self.page("").await.is_ok();
        process.wait_until(is_ready).await.context("the provider")?;
        self.process = Some(process);
        self.worsen(self.faults).await
    }

    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.process.take().context("the provider is down")?.kill().await
    }

    /// Has so many calls of a hundred go wrong by chance.
    pub async fn worsen(&self, percent: u32) -> anyhow::Result<()> {
        let body = json!({ "chance": { "percent": percent, "seed": self.seed } });
        let answer = self.http.post(format!("{}/admin/faults", self.url())).json(&body);
        let status = answer.send().await?.status();
        ensure!(status.is_success(), "the provider plans nothing: {status}");
        Ok(())
    }

    /// Everything that it moved, the oldest first.
    pub async fn movements(&self) -> anyhow::Result<Vec<Movement>> {
        let (mut movements, mut query) = (Vec::new(), String::new());
        loop {
            let page = self.page(&query).await?;
            for item in page["items"].as_array().context("a page without items")? {
                movements.push(Movement::read(item).with_context(|| format!("{item}"))?);
            }
            match page["next"].as_str() {
                Some(next) => query = format!("?cursor={next}"),
                None => return Ok(movements),
            }
        }
    }

    /// A control: half of what it wrote down is gone.
    pub async fn forget_half(&mut self) -> anyhow::Result<()> {
        self.kill().await?;
        let path = self.folder.join(JOURNAL);
        let journal = std::fs::read_to_string(&path)?;
        let lines: Vec<&str> = journal.lines().collect();
        let kept = lines.get(..lines.len() / 2).unwrap_or_default().join("\n");
        std::fs::write(&path, format!("{kept}\n"))?;
        self.start().await
    }

    async fn page(&self, query: &str) -> anyhow::Result<Value> {
        let url = format!("{}/admin/movements{query}", self.url());
        let answer = self.http.get(url).send().await?.error_for_status()?;
        Ok(answer.json().await?)
    }
}

impl Movement {
    fn read(item: &Value) -> Option<Self> {
        let kind = match item["kind"].as_str()? {
            "charge" => MovementKind::Charge,
            "cancel" => MovementKind::Cancel,
            "pay_out" => MovementKind::PayOut,
            _ => return None,
        };
        let order = item["order"].as_str()?.to_owned();
        Some(Self { order, amount: item["amount"].as_i64()?, kind })
    }
}
