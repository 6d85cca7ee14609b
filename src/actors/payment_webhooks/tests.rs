//! Webhooks from a provider that may be anybody, looked into by somebody who may fail, on both databases.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::{Inspection, LookAgain, Looked, NotTaken, PaymentWebhooks};
use crate::clock;
use crate::config::Config;
use crate::domain::money::{Amount, Currency};
use crate::domain::payments::webhooks::ChargeName;
use crate::providers::payments::fake::faults::Faults;
use crate::providers::payments::fake::payer::Method;
use crate::providers::payments::fake::{FORGETFUL, FakeProvider, SOUND};
use crate::providers::payments::{
    Capabilities, Confirm, PaymentProvider as _, Prepare, Providers, RawWebhook,
};
use crate::store::Store;
use crate::store::testing::database_urls;

const PATIENCE: Duration = Duration::from_secs(60);
const FOREIGN: &str = "somebody_elses";

/// Counts who was asked about, and fails as often as it is told to.
#[derive(Default)]
struct Looker {
    asked: Mutex<BTreeMap<String, usize>>,
    fails: AtomicUsize,
    changed: Notify,
}

#[async_trait]
impl LookAgain for Looker {
    async fn look_again(&self, provider: &str, charge: &ChargeName) -> Result<Looked, String> {
        assert_eq!(provider, "fake");
        let order = charge.order.clone().unwrap();
        let is_foreign = order == FOREIGN;
        *self.asked.lock().unwrap().entry(order).or_default() += 1;
        self.changed.notify_one();
        let fails = |left: usize| left.checked_sub(1);
        if self.fails.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fails).is_ok() {
            return Err("the provider does not answer".to_owned());
        }
        Ok(if is_foreign { Looked::NotOurs } else { Looked::Seen })
    }
}

struct Ground {
    store: Store,
    fake: Arc<FakeProvider>,
    webhooks: PaymentWebhooks,
    looker: Arc<Looker>,
    inspection: Inspection,
    data: PathBuf,
}

impl Drop for Ground {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

async fn grounds(capabilities: Capabilities) -> Vec<Ground> {
    let mut grounds = Vec::new();
    for url in database_urls().await {
        let data = std::env::temp_dir().join(format!("madang-inbox-{}", clock::new_uuid()));
        std::fs::create_dir_all(&data).unwrap();
        let settings =
            [("MADANG__DATA__DIR", data.to_str().unwrap()), ("MADANG__DATABASE__URL", &url)];
        let config = Config::read(None, settings).unwrap();
        let store = Store::connect(&config, Handle::current()).await.unwrap();
        store.migrate("test".to_owned()).await.unwrap();
        let fake = FakeProvider::new(capabilities, Faults::by_amount(), Arc::new(clock::now));
        let fake = Arc::new(fake);
        let webhooks = PaymentWebhooks::new(store.clone(), Providers::of(fake.clone()));
        let looker = Arc::new(Looker::default());
        let on_escalate = Arc::new(|cause: &str| panic!("{cause}"));
        let inspection = Inspection::start(&Handle::current(), &store, looker.clone(), on_escalate);
        grounds.push(Ground { store, fake, webhooks, looker, inspection, data });
    }
    grounds
}

impl Ground {
    /// What the provider sends when an order was paid.
    async fn paid(&self, order: &str) -> RawWebhook {
        let (amount, currency) = (Amount::new(1_000).unwrap(), Currency::KRW);
        let prepare = Prepare {
            order: order.to_owned(),
            amount,
            currency,
            name: "화단".to_owned(),
            is_captured_later: false,
        };
        self.fake.prepare(&prepare).await;
        let provider_key = self.fake.pay(order, Method::Card).unwrap();
        let confirm = Confirm { provider_key, order: order.to_owned(), amount, currency };
        self.fake.confirm(&confirm, &crate::domain::workflows::EffectKey::of(order)).await;
        self.fake.take_webhooks().pop().unwrap()
    }

    fn asked(&self) -> BTreeMap<String, usize> {
        self.looker.asked.lock().unwrap().clone()
    }

    /// Waits until everything is settled.
    async fn settled(&self) {
        let all = async {
            while self.store.find_next_payment_webhook().await.unwrap().is_some() {
                let _ = timeout(Duration::from_millis(20), self.looker.changed.notified()).await;
            }
        };
        timeout(PATIENCE, all).await.expect("webhooks are settled");
    }
}

#[tokio::test]
async fn what_came_in_is_looked_into_once_however_often_it_is_sent() {
    for ground in grounds(SOUND).await {
        let webhook = ground.paid("md_1").await;
        for _ in 0..3 {
            ground.webhooks.receive("fake", webhook.clone()).await.unwrap();
        }
        ground.settled().await;
        for _ in 0..3 {
            ground.webhooks.receive("fake", webhook.clone()).await.unwrap();
        }
        ground.settled().await;
        assert_eq!(ground.asked(), BTreeMap::from([("md_1".to_owned(), 1)]));
    }
}

#[tokio::test]
async fn what_is_forged_makes_nobody_look_where_it_would_be_signed() {
    for ground in grounds(SOUND).await {
        let good = ground.paid("md_1").await;
        let text = String::from_utf8_lossy(&good.body).replace("md_1", "md_2");
        let forged = RawWebhook { body: Bytes::from(text.into_bytes()), ..good.clone() };
        let bare = RawWebhook { headers: Vec::new(), ..good };
        for webhook in [forged, bare] {
            let taken = ground.webhooks.receive("fake", webhook).await;
            assert!(matches!(taken, Err(NotTaken::Unsigned)), "{taken:?}");
        }
        assert_eq!(ground.store.find_next_payment_webhook().await.unwrap(), None);
        assert!(ground.asked().is_empty());
    }
}

#[tokio::test]
async fn what_is_unsigned_makes_somebody_look_and_changes_nothing_by_itself() {
    for ground in grounds(FORGETFUL).await {
        let good = ground.paid("md_1").await;
        let text = String::from_utf8_lossy(&good.body);
        let text = text.replace(r#""order":"md_1""#, &format!(r#""order":"{FOREIGN}""#));
        assert!(text.contains(FOREIGN), "{text}");
        let forged = RawWebhook { body: Bytes::from(text.into_bytes()), ..good.clone() };
        ground.webhooks.receive("fake", forged).await.unwrap();
        ground.settled().await;
        // The true one comes under the same name.
        ground.webhooks.receive("fake", good).await.unwrap();
        ground.settled().await;
        let once_each = BTreeMap::from([(FOREIGN.to_owned(), 1), ("md_1".to_owned(), 1)]);
        assert_eq!(ground.asked(), once_each);
    }
}

#[tokio::test]
async fn who_looks_and_fails_looks_again() {
    for ground in grounds(SOUND).await {
        ground.looker.fails.store(2, Ordering::SeqCst);
        let webhook = ground.paid("md_1").await;
        ground.webhooks.receive("fake", webhook).await.unwrap();
        ground.settled().await;
        assert_eq!(ground.asked(), BTreeMap::from([("md_1".to_owned(), 3)]));
    }
}

#[tokio::test]
async fn what_nobody_can_read_is_kept_and_nobody_looks() {
    for ground in grounds(FORGETFUL).await {
        let raw = |body: &'static [u8]| RawWebhook {
            headers: Vec::new(),
            body: Bytes::from_static(body),
            received_at: clock::now(),
        };
        for body in [&b""[..], b"\xff\0\xfe", b"{}"] {
            ground.webhooks.receive("fake", raw(body)).await.unwrap();
        }
        let unknown = ground.webhooks.receive("nobody", raw(b"{}")).await;
        assert!(matches!(unknown, Err(NotTaken::UnknownProvider)), "{unknown:?}");
        assert_eq!(ground.store.find_next_payment_webhook().await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_node_that_stops_leaves_what_comes_in_to_others() {
    for ground in grounds(SOUND).await {
        ground.inspection.stop().await;
        let webhook = ground.paid("md_1").await;
        ground.webhooks.receive("fake", webhook).await.unwrap();
        assert!(ground.store.find_next_payment_webhook().await.unwrap().is_some());
        let on_escalate = Arc::new(|cause: &str| panic!("{cause}"));
        let io = Handle::current();
        let other = Inspection::start(&io, &ground.store, ground.looker.clone(), on_escalate);
        ground.settled().await;
        other.stop().await;
        assert_eq!(ground.asked().len(), 1);
    }
}
