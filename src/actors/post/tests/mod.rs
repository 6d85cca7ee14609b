//! The post with composers and couriers that fail in every way, and a clock that goes when it is told to.

mod nodes;
mod outages;
mod outcomes;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::{ComposeError, Composed, Composer, Composers, Couriers, Ended, Post, PostSettings};
use crate::actors::kit::permanent::OnEscalate;
use crate::actors::nodes::Nodes;
use crate::clock;
use crate::config::Config;
use crate::domain::accounts::EmailAddress;
use crate::domain::deliveries::{Delivery, DeliveryEnd, NewDelivery};
use crate::domain::ids::DeliveryId;
use crate::domain::letters::{
    Content, Letter, MailContent, PushContent, PushTarget, WebhookContent,
};
use crate::domain::media::Medium;
use crate::domain::time::Timestamp;
use crate::providers::couriers::{Courier, DeliveryError, Receipt};
use crate::store::dead_addresses::insert_dead_address;
use crate::store::deliveries::insert_all;
use crate::store::deliveries::log::{DeliveryFilter, LoggedDelivery};
use crate::store::{Db, Store, StoreError};

const START: Timestamp = Timestamp::from_millis(1_795_244_400_000);
const PATIENCE: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(5);
const WORKERS: usize = 8;

/// One database with everything that two nodes would have in common.
struct Office {
    store: Store,
    data: PathBuf,
    now: Arc<AtomicI64>,
    courier: Arc<Fake>,
    attempt_timeout: Duration,
    lease: Duration,
}

impl Drop for Office {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

/// What the courier does with letters on a way, whose name is the start of their kind: `way/…`; or with those of a kind.
#[derive(Clone)]
enum Manner {
    Takes,
    Fails(DeliveryError),
    Panics,
    Hangs,
    /// Takes as many as there are permits.
    Waits(Arc<Semaphore>),
}

/// Composer and courier at once.
#[derive(Default)]
struct Fake {
    manners: Mutex<HashMap<String, Manner>>,
    /// The ids of the letters that were handed over, in order, by way.
    calls: Mutex<Vec<(String, DeliveryId)>>,
    taken: Mutex<Vec<DeliveryId>>,
    /// What the composer was told.
    ends: Mutex<Vec<(DeliveryId, DeliveryEnd)>>,
    composing: Mutex<Option<Arc<Semaphore>>>,
}

impl Fake {
    fn set(&self, way: &str, manner: Manner) {
        self.manners.lock().unwrap().insert(way.to_owned(), manner);
    }

    fn manner(&self, kind: &str) -> Option<Manner> {
        let manners = self.manners.lock().unwrap();
        manners.get(kind).or_else(|| manners.get(way_of(kind))).cloned()
    }

    fn calls(&self, way: &str) -> usize {
        self.calls.lock().unwrap().iter().filter(|(called, _)| called == way).count()
    }

    fn taken(&self) -> Vec<DeliveryId> {
        self.taken.lock().unwrap().clone()
    }
}

fn way_of(kind: &str) -> &str {
    kind.split('/').next().unwrap_or_default()
}

fn unavailable() -> Manner {
    Manner::Fails(DeliveryError::Unavailable { cause: "down".to_owned(), retry_after: None })
}

#[async_trait]
impl Composer for Fake {
    async fn compose(&self, delivery: &Delivery) -> Result<Composed, ComposeError> {
        let gate = self.composing.lock().unwrap().clone();
        if let Some(gate) = gate {
            gate.acquire().await.unwrap().forget();
        }
        match way_of(&delivery.kind) {
            "poison" => return Err(ComposeError::Poison("no such template".to_owned())),
            "unreadable" => return Err(StoreError::Busy.into()),
            "explosive" => panic!("on purpose"),
            "endless" => std::future::pending().await,
            "unable" => {
                return Ok(Composed::Unable(delivery.due_at.plus(Duration::from_secs(3_600))));
            }
            "muted" => return Ok(Composed::Suppressed("muted".to_owned())),
            "quiet" if delivery.due_at < START.plus(Duration::from_secs(3_600)) => {
                return Ok(Composed::Later(START.plus(Duration::from_secs(3_600))));
            }
            _ => {}
        }
        let is_lie = way_of(&delivery.kind) == "lie";
        let id = if is_lie { clock::new_uuid().into() } else { delivery.id };
        let content = content(delivery.medium);
        Ok(Composed::Letter(Box::new(Letter { id, kind: delivery.kind.clone(), content })))
    }

    async fn ended(&self, db: &mut Db, ended: &Ended) -> Result<(), StoreError> {
        if way_of(&ended.delivery.kind) == "unforgettable" {
            return Err(StoreError::NotFound);
        }
        self.ends.lock().unwrap().push((ended.delivery.id, ended.end));
        if ended.end == DeliveryEnd::Gone {
            assert!(ended.letter.is_some());
            insert_dead_address(db, Medium::Push, "gone", "gone", ended.at).await?;
        }
        Ok(())
    }

    fn must_arrive(&self, delivery: &Delivery) -> bool {
        way_of(&delivery.kind) == "vital"
    }
}

#[async_trait]
impl Courier for Fake {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn route(&self, letter: &Letter) -> String {
        assert!(!letter.kind.starts_with("wayless"), "on purpose");
        if letter.medium() == Medium::Mail {
            return "smtp".to_owned();
        }
        way_of(&letter.kind).to_owned()
    }

    async fn deliver(&self, letter: &Letter) -> Result<Receipt, DeliveryError> {
        let way = way_of(&letter.kind).to_owned();
        self.calls.lock().unwrap().push((way.clone(), letter.id));
        let manner = self.manner(&letter.kind);
        match manner.unwrap_or(Manner::Takes) {
            Manner::Takes => {}
            Manner::Fails(error) => return Err(error),
            Manner::Panics => panic!("on purpose"),
            Manner::Hangs => std::future::pending().await,
            Manner::Waits(permits) => permits.acquire().await.unwrap().forget(),
        }
        self.taken.lock().unwrap().push(letter.id);
        Ok(Receipt { provider_id: Some("p-1".to_owned()) })
    }
}

impl Office {
    async fn open() -> Self {
        let data = std::env::temp_dir().join(format!("madang-post-{}", clock::new_uuid()));
        std::fs::create_dir_all(&data).unwrap();
        let config = Config::read(None, [("MADANG__DATA__DIR", data.to_str().unwrap())]).unwrap();
        let store = Store::connect(&config, Handle::current()).await.unwrap();
        store.migrate("test".to_owned()).await.unwrap();
        Self {
            store,
            data,
            now: Arc::new(AtomicI64::new(START.millis())),
            courier: Arc::default(),
            attempt_timeout: PATIENCE,
            lease: PATIENCE,
        }
    }

    /// The post of one more node, with couriers for `media`.
    async fn post(&self, media: &[Medium]) -> Post {
        let nodes = Nodes::join(&self.store, "node", "key").await.unwrap();
        let now = Arc::clone(&self.now);
        let settings = PostSettings {
            workers: Medium::OUTWARD.map(|medium| (medium, WORKERS)).into(),
            attempt_timeout: self.attempt_timeout,
            lease: self.lease,
            clock: Arc::new(move || Timestamp::from_millis(now.load(Ordering::SeqCst))),
        };
        let composer: Arc<dyn Composer> = self.courier.clone();
        let courier: Arc<dyn Courier> = self.courier.clone();
        let composers: Composers =
            Medium::OUTWARD.map(|medium| (medium, Arc::clone(&composer))).into();
        let couriers: Couriers =
            media.iter().map(|medium| (*medium, Arc::clone(&courier))).collect();
        let on_escalate: OnEscalate = Arc::new(|cause: &str| panic!("{cause}"));
        let (io, store) = (Handle::current(), &self.store);
        Post::start(&io, store, &nodes, composers, couriers, &settings, &on_escalate)
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.now.load(Ordering::SeqCst))
    }

    fn advance(&self, seconds: i64) {
        self.now.fetch_add(seconds * 1_000, Ordering::SeqCst);
    }

    /// Queues letters of these kinds, each for a party of its own.
    async fn queue(&self, medium: Medium, kinds: &[&str]) -> Vec<DeliveryId> {
        let letters = kinds.iter().map(|kind| letter(medium, kind, clock::new_uuid()));
        self.queue_all(letters.collect()).await
    }

    async fn queue_all(&self, letters: Vec<NewDelivery>) -> Vec<DeliveryId> {
        let ids = letters.iter().map(|letter| letter.id).collect();
        let now = self.now();
        let queued: Result<(), StoreError> = self
            .store
            .write(move |db| Box::pin(async move { insert_all(db, &letters, now).await }))
            .await;
        queued.unwrap();
        ids
    }

    async fn all(&self) -> Vec<LoggedDelivery> {
        let mut all =
            self.store.list_deliveries(DeliveryFilter::default(), None, 1_000).await.unwrap();
        all.reverse();
        all
    }

    /// How many letters stand where.
    async fn statuses(&self) -> BTreeMap<&'static str, usize> {
        let mut statuses = BTreeMap::new();
        for letter in self.all().await {
            *statuses.entry(letter.status.as_str()).or_default() += 1;
        }
        statuses
    }

    /// Lets the time come at which the next letter is due, again and again, until every letter has an end; gives them.
    async fn finished_as_due(&self, post: &Post) -> Vec<LoggedDelivery> {
        eventually("every letter has an end", async || {
            let all = self.all().await;
            let queued = all.iter().filter(|letter| letter.finished_at.is_none());
            let Some(due_at) = queued.map(|letter| letter.due_at).min() else { return Some(all) };
            self.now.fetch_max(due_at.millis(), Ordering::SeqCst);
            post.wake();
            None
        })
        .await
    }

    /// Lets the time pass in steps until every letter has an end; gives them.
    async fn finished(&self, post: &Post, seconds: i64) -> Vec<LoggedDelivery> {
        eventually("every letter has an end", async || {
            let all = self.all().await;
            if all.iter().all(|letter| letter.finished_at.is_some()) {
                return Some(all);
            }
            self.advance(seconds);
            post.wake();
            None
        })
        .await
    }

    async fn close(self, posts: &[Post]) {
        for post in posts {
            post.stop().await;
        }
        self.store.close().await;
    }
}

/// Nothing at all, in the form of a medium.
fn content(medium: Medium) -> Content {
    let nothing = String::new;
    match medium {
        Medium::Mail => Content::Mail(MailContent {
            to: EmailAddress::parse("jisoo@example.com").unwrap(),
            subject: nothing(),
            text: nothing(),
            html: None,
            unsubscribe_url: None,
        }),
        Medium::Webhook => Content::Webhook(WebhookContent {
            url: nothing(),
            keys: Vec::new(),
            at: START,
            body: nothing(),
        }),
        _ => Content::Push(PushContent {
            target: PushTarget::Fcm { token: SecretString::from(nothing()) },
            title: nothing(),
            body: nothing(),
            data: json!({}),
            collapse_key: None,
            ttl: Duration::ZERO,
            is_urgent: false,
        }),
    }
}

fn letter(medium: Medium, kind: &str, target: Uuid) -> NewDelivery {
    NewDelivery {
        id: clock::new_uuid().into(),
        medium,
        kind: kind.to_owned(),
        user: None,
        seq: None,
        target: Some(target),
        digest_key: None,
        data: None,
        due_at: START,
        suppressed: None,
    }
}

async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("never: {what}"))
}
