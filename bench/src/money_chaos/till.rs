//! The till: how everybody asks for something that moves money. A request is repeated with its key, on any node, until it
//! is answered; some are sent twice at once.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::Client;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::journal::{Heard, Journal, Method, Request};
use crate::api::{Api, Person};
use crate::chance::Chance;
use crate::servers::house::PASSWORD;

/// Longer than a confirmation waits for its end.
const ANSWER_LIMIT: Duration = Duration::from_secs(12);
const AGAIN: Duration = Duration::from_millis(150);
/// A request that is not answered by then is a fault. A lone node that is killed every few seconds may not come to an answer
/// for as long as that goes on: each life waits for the leases of the one before.
const REQUEST_LIMIT: Duration = Duration::from_secs(900);
/// Whoever hears that nobody knows asks so often again, and then goes on.
const ASKED_AGAIN_MAX: u32 = 2;
const ACCEPTED: u16 = 202;
/// Of so many requests with a key, one is sent twice at once.
const TWICE_IN: i64 = 5;

/// Somebody who asks.
#[derive(Debug)]
pub struct Account {
    pub id: Uuid,
    handle: String,
    /// It does not last as long as a run may.
    token: RefCell<Rc<str>>,
}

#[derive(Debug)]
pub struct Till {
    http: Client,
    nodes: Vec<SocketAddr>,
    /// The administrator first.
    accounts: Vec<Account>,
    provider: String,
    pub journal: RefCell<Journal>,
    keys: Cell<u64>,
}

/// The place of the administrator.
pub const ADMIN: usize = 0;

impl Account {
    pub fn new(handle: String, person: &Person) -> anyhow::Result<Self> {
        let id = person.id.parse().context("a user without an id")?;
        Ok(Self { id, handle, token: RefCell::new(person.token.clone()) })
    }
}

impl Till {
    pub fn new(
        nodes: Vec<SocketAddr>,
        accounts: Vec<Account>,
        provider: String,
    ) -> anyhow::Result<Self> {
        let http = Client::builder().no_proxy().timeout(ANSWER_LIMIT).build()?;
        let (journal, keys) = (RefCell::default(), Cell::default());
        Ok(Self { http, nodes, accounts, provider, journal, keys })
    }

    pub fn account(&self, place: usize) -> anyhow::Result<&Account> {
        self.accounts.get(place).context("nobody")
    }

    /// A key that nobody has used.
    pub fn new_key(&self) -> String {
        self.keys.set(self.keys.get() + 1);
        format!("key-{:08}", self.keys.get())
    }

    /// Posts under a fresh key.
    pub async fn post(
        &self,
        chance: &mut Chance,
        account: usize,
        what: &str,
        body: Value,
    ) -> anyhow::Result<Heard> {
        let path = format!("/v1/payments/{what}");
        let key = Some(self.new_key());
        self.ask(chance, Request { account, method: Method::Post, path, key, body }).await
    }

    /// Asks until it is answered, or accepted and known not to be over; notes what is answered.
    pub async fn ask(&self, chance: &mut Chance, request: Request) -> anyhow::Result<Heard> {
        let request = Rc::new(request);
        let place = self.journal.borrow_mut().ask(Rc::clone(&request));
        if request.key.is_some() && chance.is_one_in(TWICE_IN) {
            let (one, other) = (self.node(chance)?, self.node(chance)?);
            let both = tokio::join!(self.send(one, &request), self.send(other, &request));
            for heard in [both.0?, both.1?].into_iter().flatten() {
                self.note(place, heard);
            }
        }
        let (began, mut accepted) = (Instant::now(), 0);
        loop {
            let heard = self.send(self.node(chance)?, &request).await?;
            if let Some(heard) = heard {
                let is_final = heard.is_final();
                accepted += u32::from(heard.status == ACCEPTED);
                let is_over =
                    is_final || accepted > ASKED_AGAIN_MAX || request.what() == "withdraw";
                let is_refused = (400..500).contains(&heard.status) && !is_put_off(&heard);
                self.note(place, heard.clone());
                if is_final || heard.status == ACCEPTED && is_over || is_refused {
                    return Ok(heard);
                }
            }
            if began.elapsed() > REQUEST_LIMIT {
                bail!("{request} was not answered within {REQUEST_LIMIT:?}");
            }
            sleep(AGAIN).await;
        }
    }

    /// Asks once more, of a node that runs.
    pub async fn repeat(&self, place: usize, chance: &mut Chance) -> anyhow::Result<Heard> {
        let found = self.journal.borrow().entries.get(place).map(|entry| Rc::clone(&entry.request));
        let request = found.context("nothing was asked for there")?;
        let began = Instant::now();
        loop {
            if let Some(heard) = self.send(self.node(chance)?, &request).await?
                && !is_put_off(&heard)
            {
                self.note(place, heard.clone());
                return Ok(heard);
            }
            if began.elapsed() > REQUEST_LIMIT {
                bail!("{request} was not answered again within {REQUEST_LIMIT:?}");
            }
            sleep(AGAIN).await;
        }
    }

    /// Presses a button of the provider's page, which does no more when it is pressed again; `false` where it cannot be.
    pub async fn press(&self, checkout: &str, action: &str) -> anyhow::Result<bool> {
        let began = Instant::now();
        loop {
            let request = self.http.post(checkout).body(format!("action={action}"));
            let request = request.header("content-type", "application/x-www-form-urlencoded");
            match request.send().await.map(|answer| answer.status().as_u16()) {
                Ok(200) => return Ok(true),
                Ok(404 | 409) => return Ok(false),
                _ if began.elapsed() > REQUEST_LIMIT => bail!("the provider's page does not open"),
                _ => sleep(AGAIN).await,
            }
        }
    }

    /// The page at which an order of the provider's is paid.
    pub fn checkout(&self, order: &str) -> String {
        format!("{}/checkout/{order}", self.provider)
    }

    /// What somebody is shown of their wallet.
    pub async fn wallet(&self, account: usize, chance: &mut Chance) -> anyhow::Result<Value> {
        let account = self.account(account)?;
        let began = Instant::now();
        loop {
            let node = self.node(chance)?;
            let token = account.token.borrow().clone();
            let request = self.http.get(format!("http://{node}/v1/payments/wallet"));
            let answer = request.bearer_auth(&token).send().await;
            if let Ok(answer) = answer {
                match answer.status().as_u16() {
                    200 => return Ok(answer.json().await?),
                    401 => self.log_in(node, account).await,
                    _ => {}
                }
            }
            if began.elapsed() > REQUEST_LIMIT {
                bail!("no wallet is shown");
            }
            sleep(AGAIN).await;
        }
    }

    fn node(&self, chance: &mut Chance) -> anyhow::Result<SocketAddr> {
        chance.pick(&self.nodes).copied().context("nobody to ask")
    }

    fn note(&self, place: usize, heard: Heard) {
        let mut journal = self.journal.borrow_mut();
        journal.put_off += usize::from(is_put_off(&heard));
        journal.hear(place, heard);
    }

    /// Sends it once; `None` where nothing was heard, or the token was too old.
    pub async fn send(&self, node: SocketAddr, request: &Request) -> anyhow::Result<Option<Heard>> {
        let account = self.account(request.account)?;
        let token = account.token.borrow().clone();
        let url = format!("http://{node}{}", request.path);
        let mut sent = match request.method {
            Method::Post => self.http.post(url),
            Method::Put => self.http.put(url),
        };
        if let Some(key) = &request.key {
            sent = sent.header("idempotency-key", key);
        }
        let answered = async {
            let answer = sent.bearer_auth(&token).json(&request.body).send().await?;
            let status = answer.status().as_u16();
            let is_replayed =
                answer.headers().get("idempotent-replayed").is_some_and(|it| it == "true");
            let text = answer.text().await?;
            Ok::<_, reqwest::Error>(Heard { status, text, is_replayed })
        };
        match answered.await {
            Ok(heard) if heard.status == 401 => {
                self.log_in(node, account).await;
                Ok(None)
            }
            Ok(heard) => Ok(Some(heard)),
            Err(_) => {
                self.journal.borrow_mut().lost_answers += 1;
                Ok(None)
            }
        }
    }

    /// Gets a new token, if that node gives one; whoever needs it asks again.
    async fn log_in(&self, node: SocketAddr, account: &Account) {
        let Ok(api) = Api::new(node) else { return };
        if let Ok(person) = api.log_in(&account.handle, PASSWORD).await {
            *account.token.borrow_mut() = person.token;
        }
    }
}

/// Neither done nor refused.
fn is_put_off(heard: &Heard) -> bool {
    heard.status >= 500 || heard.status == 429 || heard.is_of_this_moment()
}

/// An order's address.
pub fn order_path(order: &str) -> String {
    format!("/v1/payments/orders/job/{order}")
}

/// What an order says.
pub fn order_body(payer: Uuid, payee: Uuid, amount: i64, fee_bps: i64) -> Value {
    json!({
        "payer_id": payer.to_string(), "payee_id": payee.to_string(), "amount": amount,
        "name": "A day in the garden", "fee_bps": fee_bps,
    })
}
