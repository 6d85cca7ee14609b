//! Parts: what a node is made of, each opened as the settings say.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::FutureExt as _;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::runtime::{Builder, Runtime};

use crate::accounts::Accounts;
use crate::accounts::revocations::Revocations;
use crate::actors::nodes::Nodes;
use crate::actors::presence::Herald;
use crate::actors::relay::bus::BusSubscriber;
use crate::actors::relay::{self, Subscriber};
use crate::actors::schedule::Task;
use crate::clock;
use crate::config::Config;
use crate::providers::bus;
use crate::providers::hasher::Hasher;
use crate::providers::mail::FileMailer;
use crate::providers::tokens::AccessTokens;
use crate::secrets;
use crate::store::Store;

const EPOCH_CHARS: usize = 8;
const EXPIRED_INTERVAL: Duration = Duration::from_secs(600);
/// Longer than a node of the release before takes to stop.
const STRAYS_INTERVAL: Duration = Duration::from_secs(600);
const CLEAR_INTERVAL: Duration = Duration::from_secs(300);

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
) -> anyhow::Result<(Accounts, Arc<AccessTokens>, Revocations)> {
    let keys = secrets::load_or_generate_signing_keys(config)?;
    let tokens = Arc::new(AccessTokens::from_pems(keys, (&config.auth).into())?);
    let hasher = Hasher::new((&config.auth).into(), io.handle().clone())
        .map_err(|error| anyhow::anyhow!("the password hasher cannot be set up: {error}"))?;
    let revocations = Revocations::new(config.auth.access_token_ttl());
    let mailer = Arc::new(FileMailer::new(&config.data.dir, io.handle().clone()));
    let accounts = Accounts::new(
        store.clone(),
        hasher,
        Arc::clone(&tokens),
        mailer,
        revocations.clone(),
        (&config.auth).into(),
        io.handle().clone(),
    );
    Ok((accounts, tokens, revocations))
}

/// What is done every so often, on one node at a time.
pub(super) fn tasks(
    accounts: &Accounts,
    store: &Store,
    nodes: &Nodes,
    herald: &Herald,
) -> Vec<Task> {
    let (accounts, store) = (accounts.clone(), store.clone());
    let (nodes, herald) = (nodes.clone(), herald.clone());
    let delete_expired = move || {
        let accounts = accounts.clone();
        async move { accounts.delete_expired().await.map(|_| ()).map_err(|error| error.to_string()) }
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
    vec![
        Task { name: "strays", every: STRAYS_INTERVAL, run: Arc::new(correct_strays) },
        Task { name: "expired", every: EXPIRED_INTERVAL, run: Arc::new(delete_expired) },
        Task { name: "outbox", every: CLEAR_INTERVAL, run: Arc::new(clear_outbox) },
    ]
}
