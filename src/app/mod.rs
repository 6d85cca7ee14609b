//! Wiring: the order in which a node starts and, reversed, stops.

mod cluster;
pub mod fake_provider;
pub mod offline;
mod parts;
mod payments;
mod post;
pub(crate) mod seals;
pub(crate) mod wallets;

use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use actix_http::HttpService;
use actix_service::{fn_service, map_config};
use actix_web::dev::AppConfig;
use anyhow::Context;
use secrecy::SecretString;
use socket2::Socket;
use tokio::runtime::Runtime;

use self::cluster::{check_others, cut_revoked, learn_revocations, open_link, report_seats};
use self::fake_provider::open_providers;
use self::parts::{
    bind, io_runtime, keep_names, open_accounts, open_bus, open_images, open_store, open_words,
    tasks,
};
use self::payments::Money;
use self::post::{composers, open_post};
use self::seals::open_webhook_seal;
use crate::accounts::revocations::Revocations;
use crate::accounts::service_keys::ServiceKeys;
use crate::accounts::{Accounts, NewAccount, Registration};
use crate::actors::hub::directory::Directory;
use crate::actors::hub::{Hub, HubDeps};
use crate::actors::inbox::Inboxes;
use crate::actors::kit::registry::Settings;
use crate::actors::kit::vital::spawn_vital;
use crate::actors::link::Link;
use crate::actors::nodes::Nodes;
use crate::actors::notify::compose::LetterComposer;
use crate::actors::notify::subscriber::NotifySubscriber;
use crate::actors::notify::{Notify, NotifyDeps};
use crate::actors::post::Post;
use crate::actors::presence::{Herald, Presences};
use crate::actors::relay::figures::Figures;
use crate::actors::relay::webhooks::WebhookSubscriber;
use crate::actors::relay::{Relay, Subscriber};
use crate::actors::room::{RoomDeps, Rooms};
use crate::actors::schedule::Schedule;
use crate::actors::webhooks::Webhooks;
use crate::config::Config;
use crate::domain::accounts::{Role, Roles};
use crate::domain::rooms::RoomRules;
use crate::domain::settings::SettingsChange;
use crate::handover::{self, Place};
use crate::http::gateway::Limiters;
use crate::http::ops::Readiness;
use crate::http::server::load::Load;
use crate::http::server::seats::Seats;
use crate::http::server::workers::Workers;
use crate::http::server::{Server, WorkerSeat};
use crate::http::sse::StreamDeps;
use crate::http::{self, AppDeps};
use crate::providers::couriers;
use crate::providers::couriers::outward::guard::Guard;
use crate::providers::couriers::sandbox::Sandbox;
use crate::providers::redis::Redis;
use crate::providers::tokens::AccessTokens;
use crate::signals::{ShutdownRequest, ShutdownRequests};
use crate::store::Store;
use crate::telemetry;
use crate::ws::{SocketDeps, transport};

/// The exit code of a node whose supervision has given up: the orchestrator starts it anew.
const EXIT_ESCALATED: i32 = 70;
/// What a client that comes back costs, with some to spare for everybody else.
const DRAIN_INTERVAL: Duration = Duration::from_millis(5);
/// Several times as long as a hub needs to compare its heads.
const LAST_LOOKS: Duration = Duration::from_secs(2);
const PLACE_LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Runs a node in the foreground until it is told to stop.
///
/// # Errors
/// When the configuration cannot be served: no database, no port, no secrets.
pub fn serve(config: Config, take_over: bool) -> anyhow::Result<()> {
    let io = io_runtime()?;
    let place = io.block_on(Place::take(&config.data.dir, take_over))?;
    let socket = bind(&config, take_over)?;
    let served = actix_rt::System::new().block_on(run(config, socket, place, &io));
    io.shutdown_timeout(Duration::from_secs(5));
    served
}

async fn run(config: Config, socket: Socket, place: Place, io: &Runtime) -> anyhow::Result<()> {
    let mut requests = ShutdownRequests::listen().context("signals cannot be listened to")?;
    let mut node = Node::start(config, socket, io).await?;
    node.readiness.set(true);
    let (address, url) = (node.address, node.config.http.local_url(node.address));
    if node.config.is_production() {
        tracing::info!(%address, "madang is serving");
    } else {
        tracing::info!(%address, "madang is serving: open {url} in a browser");
    }
    node.directory.set_shared(place.is_shared());
    place.relieve();
    actix_rt::spawn(node.watch_place(place));
    tokio::select! {
        request = requests.recv() => {
            if matches!(request, ShutdownRequest::Immediate) {
                return Ok(());
            }
        }
        () = node.server.ended() => anyhow::bail!("the server has ended by itself"),
    }
    actix_rt::spawn(requests.exit_when_immediate());
    node.stop().await;
    Ok(())
}

/// A running node.
struct Node {
    config: Arc<Config>,
    address: std::net::SocketAddr,
    store: Store,
    relay: Relay,
    schedule: Schedule,
    nodes: Nodes,
    link: Link,
    herald: Herald,
    rooms: Rooms,
    presences: Presences,
    notify: Notify,
    post: Post,
    money: Money,
    directory: Directory,
    seats: Seats,
    accounts: Accounts,
    readiness: Readiness,
    accepting: Arc<AtomicBool>,
    server: Server,
    workers: Workers,
}

impl Node {
    /// Starts store, providers, actors, then the listener.
    async fn start(config: Config, socket: Socket, io: &Runtime) -> anyhow::Result<Self> {
        let config = Arc::new(config);
        let metrics = telemetry::install_metrics()?;
        config.data.create()?;
        let store = open_store(&config, io).await?;
        let (accounts, tokens, revocations, codes) = open_accounts(&config, &store, io)?;
        accounts.load_revocations().await.map_err(anyhow::Error::msg)?;
        let images = open_images(&config, &store, io)?;
        let service_keys = ServiceKeys::new(store.clone(), io.handle().clone());
        let webhooks = Webhooks::new(store.clone(), open_webhook_seal(&config, &store).await?);
        let own = socket.local_addr()?.as_socket().context("the port is none of the Internet")?;
        let providers = open_providers(&config, own)?;

        if store.is_networked() {
            check_others(&store.list_living_nodes().await?, &config, &tokens)?;
        }
        let nodes = Nodes::join(&store, &config.node.name, tokens.key_id()).await?;

        let epoch: Arc<str> = store.epoch().await?.into();
        let (directory, redis) = (Directory::default(), Redis::default());
        let link = open_link(&config, io, &directory, &revocations, &redis, &epoch)?;
        let inboxes =
            Inboxes::new(directory.clone(), link.clone(), store.clone(), Arc::clone(&epoch));
        let workers = Workers::start(config.http.worker_count())?;
        let rooms = Rooms::start(
            &workers.handles(),
            RoomDeps {
                store: store.clone(),
                directory: directory.clone(),
                inboxes: inboxes.clone(),
                link: link.clone(),
                epoch: Arc::clone(&epoch),
                rules: RoomRules {
                    member_count_max: i64::try_from(config.chat.group_members_max)?,
                    requirement: config.chat.direct_requires_friendship,
                },
            },
            Settings::new(Arc::new(escalate)),
        );
        let large = config.presence.large_room_members;
        let herald = Herald::new(store.clone(), directory.clone(), link.clone(), large);
        let presences = Presences::start(
            &workers.handles(),
            store.clone(),
            nodes.clone(),
            herald.clone(),
            config.presence.grace(),
            Settings::new(Arc::new(escalate)),
        );
        nodes.keep(io.handle(), herald.clone(), Arc::new(escalate));
        let words = Arc::new(open_words(&config, &store));
        let sandbox = Sandbox::new(&config.data.dir, io.handle().clone());
        let couriers = couriers::open(&config, |_| Arc::new(sandbox.clone()))?;
        let letters =
            LetterComposer::new(store.clone(), Arc::clone(&words), codes, config.http.base_url());
        let composers = composers(letters, &webhooks);
        let post = open_post(&config, io, &store, &nodes, &couriers, composers);
        let notify = Notify::start(
            io.handle(),
            NotifyDeps {
                store: store.clone(),
                nodes: nodes.clone(),
                inboxes: inboxes.clone(),
                words: Arc::clone(&words),
                policy: config.notifications.policy(),
                workers: config.notifications.fanouts,
            },
            Arc::new(escalate),
        );
        let to_people = NotifySubscriber::new(
            store.clone(),
            notify.desk(),
            inboxes.clone(),
            config.notifications.disabled_types.clone(),
        );
        let to_webhooks = WebhookSubscriber::new(
            store.clone(),
            config.node.name.clone(),
            config.webhooks.queued_max,
        );
        let mut subscribers: Vec<Arc<dyn Subscriber>> =
            vec![Arc::new(Figures), Arc::new(to_people), Arc::new(to_webhooks)];
        subscribers.extend(open_bus(&config, &store).await?);
        let relay = Relay::start(
            io.handle(),
            &store,
            &nodes,
            &config.node.name,
            subscribers,
            Arc::new(escalate),
        )
        .await?;
        let money = Money::open(&config, io, &store, &nodes, providers).await?;
        let mut scheduled = tasks(&config, &accounts, &images, &webhooks, &store, &nodes, &herald);
        scheduled.extend(money.tasks(&store));
        let schedule = Schedule::start(io.handle(), &store, &nodes, scheduled);
        spawn_vital(io.handle(), "names", Arc::new(escalate), keep_names(store.clone()));
        spawn_vital(
            io.handle(),
            "ended logins",
            Arc::new(escalate),
            cut_revoked(revocations.clone(), directory.clone(), link.clone()),
        );
        if store.is_networked() {
            spawn_vital(
                io.handle(),
                "logins ended elsewhere",
                Arc::new(escalate),
                learn_revocations(accounts.clone()),
            );
        }

        let readiness = Readiness::default();
        let accepting = Arc::new(AtomicBool::new(true));
        let shared = (!link.is_alone()).then_some(redis);
        let limiters = Limiters::new(&config.limits, io.handle(), shared.clone());
        let seats = match shared {
            Some(redis) => Seats::of_cluster(&config.limits, redis, nodes.all(), io.handle()),
            None => Seats::new(&config.limits),
        };
        let reporting = report_seats(link.clone(), nodes.all(), seats.clone());
        spawn_vital(io.handle(), "seats", Arc::new(escalate), reporting);
        let sockets = SocketSettings {
            config: Arc::clone(&config),
            accounts: Arc::new(accounts.clone()),
            tokens: Arc::clone(&tokens),
            revocations: revocations.clone(),
            hub: HubDeps {
                directory: directory.clone(),
                link: link.clone(),
                rooms: rooms.clone(),
                presences: presences.clone(),
                store: store.clone(),
                epoch,
            },
            accepting: Arc::clone(&accepting),
            seats: seats.clone(),
            limiters: limiters.clone(),
        };
        let deps = AppDeps {
            config: Arc::clone(&config),
            store: store.clone(),
            accounts: accounts.clone(),
            images,
            tokens,
            revocations,
            service_keys,
            webhooks,
            rooms: rooms.clone(),
            inboxes,
            link: link.clone(),
            nodes: nodes.clone(),
            post: post.clone(),
            payments: money.payments.clone(),
            wallets: money.wallets.clone(),
            settlements: money.settlements.clone(),
            reconciliation: money.reconciliation.clone(),
            payment_webhooks: money.webhooks.clone(),
            sandbox,
            guard: Guard::new(&config.outward)?,
            words,
            push_key: couriers.web_push_key().map(str::to_owned),
            readiness: readiness.clone(),
            limiters,
            metrics,
        };
        // Not before: connections go to whoever listens.
        socket.listen(i32::try_from(config.limits.accept_backlog)?)?;
        let listener: TcpListener = socket.into();
        let address = listener.local_addr()?;
        let server = start_server(&config, listener, &workers, deps, sockets)?;
        Ok(Self {
            config,
            address,
            store,
            relay,
            schedule,
            nodes,
            link,
            herald,
            rooms,
            presences,
            notify,
            post,
            money,
            directory,
            seats,
            accounts,
            readiness,
            accepting,
            server,
            workers,
        })
    }

    /// Knows whether another process works on the same database, which then has to be looked at. Once alone, takes over
    /// what that one knew.
    fn watch_place(&self, mut place: Place) -> impl Future<Output = ()> + use<> {
        let (directory, accounts) = (self.directory.clone(), self.accounts.clone());
        let (nodes, herald) = (self.nodes.clone(), self.herald.clone());
        let grace = self.config.presence.grace();
        async move {
            if let Err(error) = place.inherit().await {
                tracing::error!(%error, "the place of the process before cannot be taken");
            }
            if directory.is_shared() {
                // What it committed last is looked for after it has gone.
                tokio::time::sleep(LAST_LOOKS).await;
            }
            directory.set_shared(place.is_shared());
            // Logins that ended there while both were serving.
            if let Err(error) = accounts.load_revocations().await {
                tracing::error!(%error, "logins that ended may still be believed");
            }
            actix_rt::spawn(async move { nodes.outlive_others(&herald, grace).await });
            loop {
                directory.set_shared(place.is_shared());
                tokio::time::sleep(PLACE_LOOK_INTERVAL).await;
            }
        }
    }

    /// Stops in the reverse order, altogether within `http.shutdown_timeout_s`; each step is timed in the log.
    async fn stop(self) {
        let deadline = tokio::time::Instant::now() + self.config.http.shutdown_timeout();
        self.readiness.set(false);
        self.accepting.store(false, Ordering::Relaxed);
        self.schedule.stop();
        self.presences.freeze();
        if handover::is_awaited(&self.config.data.dir) {
            self.directory.set_shared(true);
            // Somebody else listens on this port: every new connection is theirs.
            self.server.stop_accepting();
        }
        let window = drain_window(self.config.http.drain_window(), self.seats.taken());
        let connections = async {
            self.directory.drain(window).await;
            self.seats.empty().await;
        };
        step("connections", deadline, connections).await;
        step("http", deadline, self.server.stop()).await;
        step("payments", deadline, self.money.stop()).await;
        step("rooms", deadline, self.rooms.stop()).await;
        step("presences", deadline, self.presences.stop()).await;
        step("post", deadline, self.post.stop()).await;
        step("node", deadline, self.nodes.leave(self.config.presence.grace())).await;
        self.workers.stop();
        step("relay", deadline, self.relay.stop()).await;
        step("fan-outs", deadline, self.notify.stop()).await;
        self.link.stop();
        step("store", deadline, self.store.close()).await;
    }
}

/// Few connections need no window: nobody comes back in a crowd.
fn drain_window(max: Duration, connections: usize) -> Duration {
    let connections = u32::try_from(connections).unwrap_or(u32::MAX);
    max.min(DRAIN_INTERVAL.saturating_mul(connections))
}

/// What does not end in time is left to the end of the process: everything acknowledged is committed.
async fn step(name: &'static str, deadline: tokio::time::Instant, work: impl Future<Output = ()>) {
    let started = Instant::now();
    let in_time = tokio::time::timeout_at(deadline, work).await.is_ok();
    let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    tracing::info!(step = name, duration_ms, in_time, "shut down");
}

/// What every worker builds its socket dependencies from.
#[derive(Clone)]
struct SocketSettings {
    config: Arc<Config>,
    accounts: Arc<Accounts>,
    tokens: Arc<AccessTokens>,
    revocations: Revocations,
    hub: HubDeps,
    accepting: Arc<AtomicBool>,
    seats: Seats,
    limiters: Limiters,
}

impl SocketSettings {
    /// Called on the worker's own thread: its hub lives there.
    fn start(self, load: Load) -> (Hub, Rc<SocketDeps>) {
        let (rooms, store) = (self.hub.rooms.clone(), self.hub.store.clone());
        let hub = Hub::start(self.hub, Arc::new(escalate));
        let deps = SocketDeps {
            config: self.config,
            accounts: self.accounts,
            tokens: self.tokens,
            revocations: self.revocations,
            rooms,
            store,
            accepting: self.accepting,
            seats: self.seats,
            limiters: self.limiters,
            load,
        };
        (hub, Rc::new(deps))
    }
}

/// actix-web for HTTP; sockets take over the bare stream (see `ws::transport`).
fn start_server(
    config: &Config,
    listener: TcpListener,
    workers: &Workers,
    deps: AppDeps,
    sockets: SocketSettings,
) -> std::io::Result<Server> {
    let header_timeout = config.http.header_timeout();
    let keep_alive = config.http.keep_alive();
    // A little more than the sockets' own, which say goodbye first.
    let stall_timeout = config.socket.stall_timeout().mul_f32(1.5);
    let make = move |seat: WorkerSeat| {
        let (hub, socket_deps) = sockets.clone().start(seat.load.clone());
        let streams = StreamDeps {
            hub: hub.clone(),
            seats: sockets.seats.clone(),
            accepting: Arc::clone(&sockets.accepting),
        };
        let upgrade = fn_service(move |(request, framed)| {
            transport::upgrade(hub.clone(), Rc::clone(&socket_deps), request, framed)
        });
        HttpService::build()
            .keep_alive(keep_alive)
            .client_request_timeout(header_timeout)
            .graceful_shutdown_signal(move || seat.stopping())
            .upgrade(upgrade)
            .h1(map_config(http::app(&deps, streams), |_| AppConfig::default()))
            .tcp()
    };
    Server::start(listener, &workers.handles(), &config.limits, stall_timeout, make)
}

fn escalate(cause: &str) {
    tracing::error!(cause, "supervision has given up; the node exits");
    std::process::exit(EXIT_ESCALATED);
}

/// Somebody who will administer the node.
pub struct NewAdmin {
    pub handle: String,
    pub email: String,
    pub display_name: String,
    pub password: SecretString,
}

/// Creates an account with the role ADMIN.
///
/// # Errors
/// When the account is refused, in the words of the rule, or the database cannot be used.
pub fn create_admin(config: Config, admin: NewAdmin) -> anyhow::Result<()> {
    let io = io_runtime()?;
    let created = io.block_on(async {
        config.data.create()?;
        let store = open_store(&config, &io).await?;
        let (accounts, ..) = open_accounts(&config, &store, &io)?;
        let NewAdmin { handle, email, display_name, password } = admin;
        let settings = SettingsChange::default();
        let registration = Registration { handle, email, password, display_name, settings };
        let roles = Roles::from_iter([Role::User, Role::Admin]);
        accounts.create(NewAccount { registration, roles }).await?;
        store.close().await;
        anyhow::Ok(())
    });
    io.shutdown_timeout(Duration::from_secs(5));
    created
}
