//! Everything that a run is played with: nodes, the provider, people with their wallets, and who kills whom.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures_util::future::try_join_all;
use reqwest::Client;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until};
use uuid::Uuid;

use super::oracle::Shown;
use super::provider::{PATIENCE_MS, Provider};
use super::schedule::{Schedule, Stroke, Target};
use super::secrecy::{Secret, leaks};
use super::shoppers::{Shopper, take_out};
use super::till::{Account, Till};
use super::{NAME, NODES, SHOPPERS_STREAM, Strokes, funds, truth};
use crate::api::{Api, Person};
use crate::chance::Chance;
use crate::database::{Database, execute};
use crate::folder::Folder;
use crate::plan::Plan;
use crate::report::Report;
use crate::servers::cluster::{Node, Settings};
use crate::servers::house::{ADMIN, House, PASSWORD};
use crate::servers::postgres::Postgres;

const PAYERS: usize = 3;
const PAYEES: usize = 2;
/// What each payee has before the run, in won.
const OPENING: i64 = 20_000_000;
const WITHDRAWAL_PAUSE_MS: (i64, i64) = (50, 700);
/// What waits for another attempt waits for minutes. The run does not: this often, all of it is due.
const HURRY_INTERVAL: Duration = Duration::from_secs(2);
/// Longer than the leases of whoever was killed, and than anything stays wrong at the provider.
const SETTLE_LIMIT: Duration = Duration::from_secs(480);
const SETTLE_LOOK: Duration = Duration::from_millis(500);
/// The bank, the number and the holder.
const BANK_ACCOUNT: (&str, &str, &str) = ("004", "110-123-456789", "Kim Minho of the Zelkova");

pub struct Stage {
    house: House,
    pub provider: Provider,
    pub till: Till,
    /// Places of payees at the till, and their bank accounts.
    payees: Vec<(usize, String)>,
    /// What nobody is to read.
    secrets: Vec<Secret>,
    // Dropped after those who write there.
    _folder: Folder,
}

impl Stage {
    /// Starts provider and nodes, and has everybody there with an account.
    pub async fn set(plan: &Plan, is_sqlite: bool, faults: u32, seed: u32) -> anyhow::Result<Self> {
        let folder = Folder::new(&plan.folder())?;
        let mut provider = Provider::new(plan, folder.path(), faults, seed)?;
        let seal = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        let settings = settings(&provider.url(), &seal);
        let house = if is_sqlite {
            House::alone(plan, settings).await?
        } else {
            House::of_nodes(plan, NODES, |_| settings.clone()).await?
        };
        let first = house.first()?.address();
        provider.tell(first);
        provider.start().await?;

        let api = Api::new(first)?;
        let admin = api.log_in(ADMIN, PASSWORD).await?;
        let people = api.register(PAYERS + PAYEES).await?;
        let mut payees = Vec::with_capacity(PAYEES);
        let mut users: Vec<Uuid> = Vec::with_capacity(PAYEES);
        for (place, person) in (1..).zip(&people).skip(PAYERS) {
            payees.push((place, open_bank_account(first, person, &admin).await?));
            users.push(person.id.parse()?);
        }
        let mut db = house.database().open().await?;
        funds::give(&mut db, &users, OPENING).await?;
        db.close().await?;

        let mut accounts = vec![Account::new(ADMIN.to_owned(), &admin)?];
        for (number, person) in people.iter().enumerate() {
            accounts.push(Account::new(format!("bench{number:03}"), person)?);
        }
        let mut house = house;
        let nodes = house.nodes().iter().map(Node::address).collect();
        let till = Till::new(nodes, accounts, provider.url())?;
        let secrets = secrets(seal);
        Ok(Self { house, provider, till, payees, secrets, _folder: folder })
    }

    /// What stands where it must not.
    pub async fn leaks(&self) -> anyhow::Result<Vec<String>> {
        leaks(self.house.folder(), &self.database(), &self.secrets).await
    }

    pub fn database(&self) -> Database {
        self.house.database()
    }

    pub fn nodes(&mut self) -> &mut [Node] {
        self.house.nodes()
    }

    /// Stops everything that runs; whoever was stopped before stays so.
    pub async fn close(self) -> anyhow::Result<()> {
        match self.house {
            House::Alone { mut node, .. } => node.stop().await,
            House::Cluster(cluster) => cluster.stop().await,
        }
    }

    /// What the nodes have in memory, in KiB.
    pub fn memory(&mut self) -> anyhow::Result<f64> {
        let mut sum = 0.0;
        for node in self.house.nodes() {
            sum += node.server()?.usage()?.resident_kib;
        }
        Ok(sum)
    }

    /// Has everybody buy and take out while whoever is to be killed is killed.
    pub async fn play(
        &mut self,
        schedule: &Schedule,
        duration: Duration,
        shoppers: usize,
        seed: u32,
        report: &mut Report,
    ) -> anyhow::Result<Strokes> {
        ensure!(shoppers > 0, "at least one buyer");
        let started = Instant::now();
        let until = started + duration;
        let database = self.database();
        let Self { house, provider, till, payees, .. } = self;
        let (till, payees) = (&*till, &*payees);
        let chance = |nth: usize| {
            let nth = u64::try_from(nth).unwrap_or_default();
            Chance::new(seed.into(), SHOPPERS_STREAM + nth)
        };
        let shopping = try_join_all((0..shoppers).map(|number| async move {
            let (payer, payee) = (1 + number % PAYERS, 1 + PAYERS + number % PAYEES);
            let shopper = Shopper { payer, payee, number };
            shopper.shop(till, &mut chance(number), until).await
        }));
        let taking = try_join_all(payees.iter().map(|(place, account)| async move {
            let mut chance = chance(shoppers + place);
            take_out(till, *place, account, WITHDRAWAL_PAUSE_MS, &mut chance, until).await
        }));
        let (nodes, postgres) = house.parts();
        let playing = async {
            tokio::try_join!(
                strike(nodes, postgres, &schedule.strokes, started, report),
                strike_provider(provider, &schedule.of_provider, started),
                shopping,
                taking,
            )
        };
        let (strokes, provider_kills, _, _) = tokio::select! {
            played = playing => played?,
            never = hurry(&database) => match never {},
        };
        Ok(Strokes { provider_kills, ..strokes })
    }

    /// Has the provider be well, and waits until nothing is on its way; whatever is, is a fault.
    pub async fn settle(&mut self, report: &mut Report) -> anyhow::Result<()> {
        self.provider.worsen(0).await?;
        let database = self.database();
        let waiting = async {
            let started = Instant::now();
            loop {
                let left = truth::left(&database).await?;
                if left.is_nothing() {
                    return anyhow::Ok(None);
                }
                if started.elapsed() > SETTLE_LIMIT {
                    return Ok(Some(left));
                }
                sleep(SETTLE_LOOK).await;
            }
        };
        let left = tokio::select! {
            left = waiting => left?,
            never = hurry(&database) => match never {},
        };
        if let Some(left) = left {
            report.fault(format!("{NAME}: after {SETTLE_LIMIT:?}, this was left: {left}"));
        }
        for node in self.house.nodes() {
            if let Err(ended) = node.check() {
                report.fault(format!("{NAME}: {ended:#}"));
            }
        }
        Ok(())
    }

    /// Sends everything once more that has a key.
    pub async fn repeat_all(&self, chance: &mut Chance) -> anyhow::Result<()> {
        let places: Vec<usize> = {
            let journal = self.till.journal.borrow();
            let keyed = journal.entries.iter().enumerate();
            keyed.filter(|(_, entry)| entry.request.key.is_some()).map(|(place, _)| place).collect()
        };
        for place in places {
            self.till.repeat(place, chance).await?;
        }
        Ok(())
    }

    /// What payees are shown.
    pub async fn wallets(&self, chance: &mut Chance) -> anyhow::Result<Vec<Shown>> {
        let mut wallets = Vec::with_capacity(self.payees.len());
        for (place, _) in &self.payees {
            let wallet = self.till.wallet(*place, chance).await?;
            let sum = |name: &str| wallet[name].as_i64().with_context(|| format!("no {name}"));
            wallets.push(Shown {
                user: self.till.account(*place)?.id,
                available: sum("available")?,
                pending: sum("pending")?,
                held: sum("held")?,
                debt: sum("debt")?,
                opening: OPENING,
            });
        }
        Ok(wallets)
    }

    /// Stops everything; where there were faults, data and logs of the nodes stay.
    pub async fn leave(self, report: &mut Report) -> anyhow::Result<()> {
        self.house.leave(NAME, report).await
    }
}

/// What each node is told of the provider, and what is let through.
fn settings(provider: &str, seal: &str) -> Settings {
    let settings = [
        ("MADANG__PAYMENTS__FAKE__URL", provider.to_owned()),
        ("MADANG__PAYMENTS__TIMEOUT_MS", PATIENCE_MS.to_owned()),
        ("MADANG__PAYMENTS__WITHDRAWALS__FIRST_WAIT_HOURS", "0".to_owned()),
        ("MADANG__PAYMENTS__WITHDRAWALS__PER_DAY_COUNT_MAX", "1000".to_owned()),
        ("MADANG__PAYMENTS__WITHDRAWALS__PER_DAY_SUM_MAX", OPENING.to_string()),
        ("MADANG_SECRET_BANK_SEAL", seal.to_owned()),
        ("MADANG_SECRET_WEBHOOK_SEAL", seal.to_owned()),
    ];
    settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn secrets(seal: String) -> Vec<Secret> {
    let (_, number, holder) = BANK_ACCOUNT;
    vec![
        ("an account number", number.to_owned()),
        ("an account number without its dashes", number.replace('-', "")),
        ("the holder of an account", holder.to_owned()),
        ("the key that seals bank accounts", seal),
        ("a password", PASSWORD.to_owned()),
    ]
}

/// A bank account that somebody has vouched for; gives its id.
async fn open_bank_account(
    node: SocketAddr,
    owner: &Person,
    admin: &Person,
) -> anyhow::Result<String> {
    let http = Client::builder().no_proxy().build()?;
    let url = format!("http://{node}/v1/payments/bank-accounts");
    let (bank, number, holder) = BANK_ACCOUNT;
    let body = json!({ "bank_code": bank, "account_number": number, "holder": holder });
    let answer = http.post(&url).bearer_auth(&owner.token).json(&body).send().await?;
    let account: Value = answer.error_for_status()?.json().await?;
    let id = account["bank_account_id"].as_str().context("no bank account")?.to_owned();
    let vouched = http.put(format!("{url}/{id}/verification")).bearer_auth(&admin.token);
    vouched.send().await?.error_for_status().context("nobody vouches")?;
    Ok(id)
}

/// Kills nodes and restarts PostgreSQL at each stroke. What a node did that it must not is a fault.
async fn strike(
    nodes: &mut [Node],
    mut postgres: Option<&mut Postgres>,
    strokes: &[Stroke],
    started: Instant,
    report: &mut Report,
) -> anyhow::Result<Strokes> {
    let mut done = Strokes::default();
    for (number, stroke) in (1_u32..).zip(strokes) {
        sleep_until(started + stroke.at).await;
        let at = started.elapsed().as_secs_f64();
        match stroke.target {
            Target::Node(place) => {
                let node = nodes.get_mut(place).context("no such node")?;
                if let Err(ended) = node.kill().await {
                    report.fault(format!("{NAME}: stroke {number}: {ended:#}"));
                }
                done.kills += 1;
                eprintln!("{NAME}: {at:.1} s: {number}. stroke, {}", node.name);
                sleep(stroke.lasts).await;
                node.start().await.with_context(|| format!("restart {number}"))?;
            }
            Target::Postgres => {
                let postgres = postgres.as_mut().context("there is no PostgreSQL")?;
                postgres.restart().await.with_context(|| format!("restart {number}"))?;
                done.restarts += 1;
                eprintln!("{NAME}: {at:.1} s: {number}. stroke, PostgreSQL");
            }
            Target::Provider => {}
        }
    }
    Ok(done)
}

async fn strike_provider(
    provider: &mut Provider,
    strokes: &[Stroke],
    started: Instant,
) -> anyhow::Result<usize> {
    for stroke in strokes {
        sleep_until(started + stroke.at).await;
        provider.kill().await?;
        sleep(stroke.lasts).await;
        provider.start().await?;
    }
    Ok(strokes.len())
}

/// Has everything that waits be due, again and again, as if time went faster; never ends.
async fn hurry(database: &Database) -> Infallible {
    loop {
        sleep(HURRY_INTERVAL).await;
        // A store that is not there, or is busy, is asked again soon.
        _ = bring_forward(database).await;
    }
}

/// Each time with a connection of its own: one that stayed would spare the server the recovery after a kill.
async fn bring_forward(database: &Database) -> anyhow::Result<()> {
    let mut db = database.open().await?;
    execute!(
        &mut db,
        "UPDATE workflows SET wake_at = updated_at
         WHERE status IN ('ready', 'waiting') AND wake_at > updated_at",
    );
    db.close().await
}
