//! The fake provider as others see it: what its HTTP API answers, whoever carries that.
//!
//! Read [`FakeProvider`] first; [`teller`] sends its webhooks. Invariant: what is answered has been
//! written down before, and what is not answered may have been.

pub mod teller;

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::diary::DiaryError;
use super::faults::{Fault, Faults, Operation};
use super::payer::PayerError;
use super::wire::{NOT_FOUND, Reply, Request};
use super::{Clock, FakeProvider, SOUND};
use crate::domain::money::Amount;
use crate::domain::payments::disputes::DisputeStatus;
use crate::domain::time::Timestamp;
use crate::domain::workflows::EffectKey;
use crate::providers::payments::LookUp;

/// How soon a diary is looked at again that another process has open.
const TAKEN_WAIT: Duration = Duration::from_millis(100);

/// What is answered.
pub enum Said {
    Json(u16, Value),
    /// Nothing, in time.
    Silence,
}

/// A provider that may not be there yet: the process that served it before has not gone.
#[derive(Clone, Default)]
pub struct Host(Arc<OnceLock<FakeProvider>>);

impl Host {
    /// One that is there.
    #[must_use]
    pub fn new(provider: FakeProvider) -> Self {
        Self(Arc::new(OnceLock::from(provider)))
    }

    /// Opens the diary. `fee_bps` is what is kept of a charge, in hundredths of a percent.
    ///
    /// # Errors
    /// [`DiaryError`].
    pub fn open(&self, diary: &Path, clock: &Clock, fee_bps: u16) -> Result<(), DiaryError> {
        let provider = FakeProvider::new(SOUND, Faults::by_amount(), Arc::clone(clock));
        let provider = provider.with_fee(fee_bps).kept(diary)?;
        // It is opened once: the diary is locked from then on.
        let _ = self.0.set(provider);
        Ok(())
    }

    /// Opens the diary, once nobody else has it open.
    ///
    /// # Errors
    /// [`DiaryError`], but not [`DiaryError::Taken`].
    pub async fn open_once_free(
        &self,
        diary: &Path,
        clock: &Clock,
        fee_bps: u16,
    ) -> Result<(), DiaryError> {
        loop {
            match self.open(diary, clock, fee_bps) {
                Err(DiaryError::Taken) => tokio::time::sleep(TAKEN_WAIT).await,
                opened => return opened,
            }
        }
    }

    /// The provider, if it is there.
    #[must_use]
    pub fn provider(&self) -> Option<&FakeProvider> {
        self.0.get()
    }

    /// Does what a body asks for, once for its key. `fault` strikes it, or else what is planned.
    #[must_use]
    pub fn call(&self, body: &[u8], key: Option<&str>, fault: Option<&[u8]>) -> Said {
        let Some(provider) = self.provider() else { return absent() };
        let Some(key) = key.and_then(EffectKey::parse) else { return wrong("INVALID_KEY") };
        let Ok(request) = serde_json::from_slice::<Request>(body) else {
            return wrong("INVALID_REQUEST");
        };
        let Ok(fault) = fault.map(serde_json::from_slice::<Fault>).transpose() else {
            return wrong("INVALID_FAULT");
        };
        let now = provider.now();
        let reply = provider.desk().serve(&request, &key, fault, now);
        match reply {
            Reply::Fact(fact) => json_of(&fact),
            Reply::Refused(code) => wrong(code),
            Reply::Unauthorized => Said::Json(401, json!({ "code": "UNAUTHORIZED_KEY" })),
            Reply::ServerError => Said::Json(500, json!({ "code": "FAILED_INTERNAL_PROCESSING" })),
            Reply::Silence => Said::Silence,
        }
    }

    /// Finds a charge, a refund, a dispute, a payout, or lists a day or the disputes since a time.
    #[must_use]
    pub fn ask(&self, what: &str, query: &Query) -> Said {
        let Some(provider) = self.provider() else { return absent() };
        let (now, mut desk) = (provider.now(), provider.desk());
        let Query { order, key, effect, reference, day, since, cursor } = query;
        match what {
            "charges" => {
                let key = key.as_deref();
                found(desk.look_up(now, |books| books.find_charge(order, key, now)))
            }
            "cancels" => {
                let Some(effect) = EffectKey::parse(effect) else { return wrong("INVALID_KEY") };
                let key = key.clone().unwrap_or_default();
                found(desk.look_up(now, |books| books.find_cancel(order, &key, &effect, now)))
            }
            "disputes" => {
                let key = key.clone().unwrap_or_default();
                found(desk.look_up(now, |books| books.disputes.find(&key)))
            }
            "payouts" => found(desk.look_up(now, |books| books.payouts.find(reference, now))),
            "transactions" => {
                desk.catch_up(now);
                if desk.faults.next(Operation::List, None).is_some() {
                    return absent();
                }
                match desk.books.journal.page(Some(day), cursor.as_deref()) {
                    Ok(page) => json_of(&page),
                    Err(_) => wrong("INVALID_CURSOR"),
                }
            }
            "opened-disputes" => {
                desk.catch_up(now);
                if desk.faults.next(Operation::List, None).is_some() {
                    return absent();
                }
                let since = Timestamp::from_millis(*since);
                json_of(&desk.books.disputes.list(since, cursor.as_deref()))
            }
            "settlements" => match desk.settle(day, cursor.as_deref(), now) {
                Ok(page) => json_of(&page),
                Err(_) => absent(),
            },
            _ => Said::Json(404, json!({ "code": "NO_SUCH_ROUTE" })),
        }
    }

    /// Plans what goes wrong.
    #[must_use]
    pub fn plan(&self, body: &[u8]) -> Said {
        let Some(provider) = self.provider() else { return absent() };
        match serde_json::from_slice(body) {
            Ok(Plan::Next { operation, next }) => provider.plan(operation, next),
            Ok(Plan::Chance { percent, seed }) => provider.set_chance(percent, seed),
            Err(_) => return wrong("INVALID_PLAN"),
        }
        Said::Json(200, json!({}))
    }

    /// Disputes an order, or decides a dispute, as a payer's bank does. Gives the dispute's key.
    #[must_use]
    pub fn dispute(&self, body: &[u8]) -> Said {
        let Some(provider) = self.provider() else { return absent() };
        let done = match serde_json::from_slice(body) {
            Ok(Bank::Open { order, amount }) => provider.dispute(&order, amount),
            Ok(Bank::Decide { dispute, status }) => {
                provider.decide(&dispute, status).map(|()| dispute)
            }
            Err(_) => return wrong("INVALID_DISPUTE"),
        };
        match done {
            Ok(dispute) => Said::Json(200, json!({ "dispute": dispute })),
            Err(PayerError::UnknownOrder) => Said::Json(404, json!({ "code": NOT_FOUND })),
            Err(PayerError::NotAwaited) => Said::Json(409, json!({ "code": "NOT_AWAITED" })),
            Err(PayerError::Unwritten) => absent(),
        }
    }

    /// Every movement of money there was, also what nobody asked for: what books elsewhere are held against.
    #[must_use]
    pub fn movements(&self, cursor: Option<&str>) -> Said {
        let Some(provider) = self.provider() else { return absent() };
        provider.all_movements(cursor).map_or_else(|_| wrong("INVALID_CURSOR"), |it| json_of(&it))
    }
}

/// What is asked for; each question needs some of it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Query {
    order: String,
    key: Option<String>,
    effect: String,
    reference: String,
    day: String,
    since: i64,
    cursor: Option<String>,
}

/// What is to go wrong.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Plan {
    /// The next calls of an operation; `null` goes well.
    Next { operation: Operation, next: Vec<Option<Fault>> },
    /// So many calls of a hundred.
    Chance { percent: u32, seed: u64 },
}

/// What a payer's bank does.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Bank {
    /// It wants so much of an order back, or all that is left.
    Open {
        order: String,
        amount: Option<Amount>,
    },
    Decide {
        dispute: String,
        status: DisputeStatus,
    },
}

fn json_of(it: &impl Serialize) -> Said {
    serde_json::to_value(it).map_or_else(|_| absent(), |value| Said::Json(200, value))
}

fn wrong(code: &str) -> Said {
    Said::Json(400, json!({ "code": code }))
}

/// It says nothing about what was asked for.
fn absent() -> Said {
    Said::Json(503, json!({ "code": "NOT_AVAILABLE" }))
}

fn found<T: Serialize>(found: LookUp<T>) -> Said {
    match found {
        LookUp::Found(it) => json_of(&it),
        LookUp::Absent => Said::Json(404, json!({ "code": NOT_FOUND })),
        LookUp::Unknown(_) => absent(),
    }
}
