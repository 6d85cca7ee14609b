//! Parts: what a node is made of, each opened as the settings say.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::FutureExt as _;
use rand::Rng as _;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::runtime::{Builder, Runtime};

use crate::accounts::revocations::Revocations;
use crate::accounts::{Accounts, Images};
use crate::actors::nodes::Nodes;
use crate::actors::notify::{self, words::Words};
use crate::actors::post;
use crate::actors::presence::Herald;
use crate::actors::relay::bus::BusSubscriber;
use crate::actors::relay::{self, Subscriber};
use crate::actors::schedule::Task;
use crate::actors::webhooks::Webhooks;
use crate::clock;
use crate::config::Config;
use crate::domain::templates::context::AppContext;
use crate::providers::blobs::FolderBlobs;
use crate::providers::bus;
use crate::providers::codes::Codes;
use crate::providers::hasher::Hasher;
use crate::providers::painter::Painter;
use crate::providers::tokens::AccessTokens;
use crate::secrets;
use crate::store::Store;

const EPOCH_CHARS: usize = 8;
const EXPIRED_INTERVAL: Duration = Duration::from_secs(600);
/// Longer than a node of the release before takes to stop.
const STRAYS_INTERVAL: Duration = Duration::from_secs(600);
const CLEAR_INTERVAL: Duration = Duration::from_secs(300);
const LETTERS_INTERVAL: Duration = Duration::from_secs(3_600);
/// What a crash or a folder that was away for a while left behind.
const IMAGES_INTERVAL: Duration = Duration::from_secs(600);
/// How soon a picture is gone whose message was deleted over a socket.
const MESSAGE_IMAGES_INTERVAL: Duration = Duration::from_secs(60);
/// How soon somebody is found whom a node of the release before has let in or renamed.
const NAMES_INTERVAL: Duration = Duration::from_secs(60);
/// Between some hundred accounts and the next: others want to write as well.
const NAMES_PAUSE: Duration = Duration::from_millis(20);
/// Nobody waits for an endpoint to be given up.
const FAILING_INTERVAL: Duration = Duration::from_secs(3_600);

/// Takes the port. Whoever takes over may share it with its predecessor; anybody else finds it in use.
pub(super) fn bind(config: &Config, take_over: bool) -> anyhow::Result<Socket> {
    let address = config.http.listen;
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_port(take_over)?;
    socket.bind(&address.into()).with_context(|| format!("{address} cannot be bound"))?;
    socket.set_reuse_port(true)?;
    Ok(socket)
}

pub(super) fn io_runtime() -> anyhow::Result<Runtime> {
    Builder::new_multi_thread()
        .thread_name("madang-io")
        .enable_all()
        .build()
        .context("the I/O runtime cannot be started")
}

pub(super) async fn open_store(config: &Config, io: &Runtime) -> anyhow::Result<Store> {
    let store = Store::connect(config, io.handle().clone()).await?;
    store.migrate(new_epoch()).await?;
    Ok(store)
}

/// The external bus as a subscriber, if there is to be one. One that was taken away leaves no cursor that would keep the
/// outbox for it.
pub(super) async fn open_bus(
    config: &Config,
    store: &Store,
) -> anyhow::Result<Option<Arc<dyn Subscriber>>> {
    let Some(bus) = bus::open(&config.bus, &config.node.name)? else {
        store.delete_outbox_cursor(relay::bus::NAME).await?;
        return Ok(None);
    };
    Ok(Some(Arc::new(BusSubscriber::new(bus, config.node.name.clone()))))
}

/// A mark for a database that has none yet.
pub(super) fn new_epoch() -> String {
    // The random half of a UUIDv7 is its end.
    let id = clock::new_uuid().simple().to_string();
    id.chars().rev().take(EPOCH_CHARS).collect()
}

pub(super) fn open_accounts(
    config: &Config,
    store: &Store,
    io: &Runtime,
) -> anyhow::Result<(Accounts, Arc<AccessTokens>, Revocations, Arc<Codes>)> {
    let keys = secrets::load_or_generate_signing_keys(config)?;
    let codes = Arc::new(Codes::new(&keys));
    let tokens = Arc::new(AccessTokens::from_pems(keys, (&config.auth).into())?);
    let hasher = Hasher::new((&config.auth).into(), io.handle().clone())
        .map_err(|error| anyhow::anyhow!("the password hasher cannot be set up: {error}"))?;
    let revocations = Revocations::new(config.auth.access_token_ttl());
    let accounts = Accounts::new(
        store.clone(),
        hasher,
        Arc::clone(&tokens),
        Arc::clone(&codes),
        revocations.clone(),
        (&config.auth).into(),
        io.handle().clone(),
    );
    Ok((accounts, tokens, revocations, codes))
}

/// The words of notifications, in the name of the app.
pub(super) fn open_words(config: &Config, store: &Store) -> Words {
    let (name, url) = (config.notifications.app_name.clone(), config.http.base_url());
    Words::new(store.clone(), AppContext { name, url })
}

pub(super) fn open_images(config: &Config, store: &Store, io: &Runtime) -> anyhow::Result<Images> {
    let folder = config.blobs.folder_in(&config.data.dir);
    let blobs = FolderBlobs::open(&folder, io.handle().clone())
        .with_context(|| format!("the folder for blobs {} cannot be used", folder.display()))?;
    let painter = Painter::new(&config.images, io.handle().clone());
    Ok(Images::new(store.clone(), painter, Arc::new(blobs)))
}

/// Sees to it that people are found by the names they have, whoever wrote them: at the start those of before there was a
/// search, later those that a node of the release before has changed.
pub(super) async fn keep_names(store: Store) {
    loop {
        let wait = match store.name_again().await {
            Ok(0) => NAMES_INTERVAL,
            Ok(named) => {
                tracing::debug!(named, "people can be found by their names");
                NAMES_PAUSE
            }
            Err(error) => {
                tracing::warn!(%error, "some people cannot be found by their names yet");
                NAMES_INTERVAL
            }
        };
        // Outside the statement, a generator would be held over the wait.
        let wait = wait.mul_f64(rand::rng().random_range(0.9..1.1));
        tokio::time::sleep(wait).await;
    }
}

/// What is done every so often, on one node at a time.
pub(super) fn tasks(
    config: &Config,
    accounts: &Accounts,
    images: &Images,
    webhooks: &Webhooks,
    store: &Store,
    nodes: &Nodes,
    herald: &Herald,
) -> Vec<Task> {
    let (accounts, images, store) = (accounts.clone(), images.clone(), store.clone());
    let message_images = images.clone();
    let webhooks = webhooks.clone();
    let (nodes, herald) = (nodes.clone(), herald.clone());
    let (letters, keep) = (store.clone(), config.delivery.keep());
    let (told, keep_told) = (store.clone(), config.notifications.keep());
    let clear_told = move || {
        let told = told.clone();
        async move { notify::clear(&told, keep_told).await.map_err(|error| error.to_string()) }
            .boxed()
    };
    let clear_letters = move || {
        let letters = letters.clone();
        async move { post::clear(&letters, keep).await.map_err(|error| error.to_string()) }.boxed()
    };
    let delete_expired = move || {
        let accounts = accounts.clone();
        async move { accounts.delete_expired().await.map(|_| ()).map_err(|error| error.to_string()) }
            .boxed()
    };
    let clear_images = move || {
        let images = images.clone();
        async move {
            let cleared = images.clear(clock::now()).await;
            cleared.map(|_| ()).map_err(|error| error.to_string())
        }
        .boxed()
    };
    let clear_message_images = move || {
        let images = message_images.clone();
        async move {
            let cleared = images.clear_of_messages(clock::now()).await;
            cleared.map(|_| ()).map_err(|error| error.to_string())
        }
        .boxed()
    };
    let clear_outbox = move || {
        let store = store.clone();
        async move { relay::clear(&store).await.map_err(|error| error.to_string()) }.boxed()
    };
    // Whom a node of the release before showed, that noted nothing of its own, and has gone.
    let correct_strays = move || {
        let (nodes, herald) = (nodes.clone(), herald.clone());
        async move {
            let is_done = nodes.correct_strays(&herald).await;
            is_done.then_some(()).ok_or_else(|| "the next time will do".to_owned())
        }
        .boxed()
    };
    let disable_failing = move || {
        let webhooks = webhooks.clone();
        async move { webhooks.disable_failing().await.map_err(|error| error.to_string()) }.boxed()
    };
    vec![
        Task { name: "webhooks", every: FAILING_INTERVAL, run: Arc::new(disable_failing) },
        Task { name: "strays", every: STRAYS_INTERVAL, run: Arc::new(correct_strays) },
        Task { name: "expired", every: EXPIRED_INTERVAL, run: Arc::new(delete_expired) },
        Task { name: "images", every: IMAGES_INTERVAL, run: Arc::new(clear_images) },
        Task {
            name: "message images",
            every: MESSAGE_IMAGES_INTERVAL,
            run: Arc::new(clear_message_images),
        },
        Task { name: "outbox", every: CLEAR_INTERVAL, run: Arc::new(clear_outbox) },
        Task { name: "fanouts", every: LETTERS_INTERVAL, run: Arc::new(clear_told) },
        Task { name: "letters", every: LETTERS_INTERVAL, run: Arc::new(clear_letters) },
    ]
}
