//! HTTP: thin handlers (extract, act, answer), the gateway in front of them, and the application that holds both.
//!
//! Everything clients use is below `/v1`; what operators use is at the root, and so are the pages of the web app.

pub mod admin;
pub mod admin_payments;
pub mod aliases;
mod alone;
pub mod auth;
pub mod caller;
pub mod client_ip;
mod conditional;
pub mod cookie;
pub mod deliveries;
pub mod dev_outbox;
pub mod dev_payments;
pub mod devices;
pub mod fake_provider;
pub mod follows;
pub mod friends;
pub mod gateway;
pub mod images;
pub mod messages;
pub mod multipart;
pub mod notifications;
pub mod openapi;
pub mod ops;
pub mod page;
pub mod payments;
pub mod phones;
pub mod preferences;
pub mod presence;
pub mod problem;
pub mod reconciliation;
pub mod room_members;
pub mod room_notifications;
pub mod rooms;
pub mod search;
pub mod server;
pub mod service;
pub mod service_keys;
pub mod settings;
pub mod sse;
pub mod templates;
pub mod unsubscribe;
pub mod users;
pub mod views;
pub mod wallet;
pub mod web_app;
pub mod webhooks;
pub mod whole_body;

use std::rc::Rc;
use std::sync::Arc;

use actix_web::body::BoxBody;
use actix_web::dev::{ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::middleware::from_fn;
use actix_web::web::{self, ServiceConfig};
use actix_web::{App, Error};
use metrics_exporter_prometheus::PrometheusHandle;

use self::devices::PushKey;
use self::gateway::{Gateway, Limiters};
use self::ops::Readiness;
use self::sse::StreamDeps;
use crate::accounts::revocations::Revocations;
use crate::accounts::service_keys::ServiceKeys;
use crate::accounts::{Accounts, Images};
use crate::actors::inbox::Inboxes;
use crate::actors::link::Link;
use crate::actors::nodes::Nodes;
use crate::actors::notify::words::Words;
use crate::actors::payment_webhooks::PaymentWebhooks;
use crate::actors::payments::Payments;
use crate::actors::payments::reconciliation::Reconciliation;
use crate::actors::payments::settlements::Settlements;
use crate::actors::payments::wallets::Wallets;
use crate::actors::post::Post;
use crate::actors::room::Rooms;
use crate::actors::webhooks::Webhooks;
use crate::config::Config;
use crate::providers::couriers::outward::guard::Guard;
use crate::providers::couriers::sandbox::Sandbox;
use crate::providers::tokens::AccessTokens;
use crate::store::Store;

/// Everything handlers work with, made once and shared by all workers. Cheap to clone.
#[derive(Clone)]
pub struct AppDeps {
    pub config: Arc<Config>,
    pub store: Store,
    pub accounts: Accounts,
    pub images: Images,
    pub tokens: Arc<AccessTokens>,
    pub revocations: Revocations,
    pub service_keys: ServiceKeys,
    pub webhooks: Webhooks,
    pub rooms: Rooms,
    pub inboxes: Inboxes,
    pub link: Link,
    pub nodes: Nodes,
    pub post: Post,
    pub payments: Payments,
    pub wallets: Wallets,
    pub settlements: Settlements,
    pub reconciliation: Reconciliation,
    pub payment_webhooks: PaymentWebhooks,
    /// What development letters are read from.
    pub sandbox: Sandbox,
    /// The public key of web push, where there is one.
    pub guard: Guard,
    pub words: Arc<Words>,
    pub push_key: Option<String>,
    pub readiness: Readiness,
    pub limiters: Limiters,
    pub metrics: PrometheusHandle,
}

/// Builds the application of one worker, with the gateway around it.
#[must_use]
pub fn app(
    deps: &AppDeps,
    streams: StreamDeps,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<BoxBody>,
        Error = Error,
        InitError = (),
    > + use<>,
> {
    let gateway = Arc::new(Gateway::new(&deps.config, deps.limiters.clone()));
    let deps = deps.clone();
    App::new()
        .app_data(Rc::new(streams))
        .configure(|cfg| configure(cfg, deps))
        .default_service(web::to(problem::no_route))
        .wrap(from_fn(move |request, next| Arc::clone(&gateway).pass(request, next)))
}

/// Mounts every route, with the state and the limits that they share.
pub fn configure(cfg: &mut ServiceConfig, deps: AppDeps) {
    problem::configure(cfg, deps.config.http.body_bytes_max);
    cfg.app_data(web::Data::from(deps.config))
        .app_data(web::Data::new(deps.store))
        .app_data(web::Data::new(deps.accounts))
        .app_data(web::Data::new(deps.images))
        .app_data(web::Data::from(deps.tokens))
        .app_data(web::Data::new(deps.revocations))
        .app_data(web::Data::new(deps.service_keys))
        .app_data(web::Data::new(deps.webhooks))
        .app_data(web::Data::new(deps.rooms))
        .app_data(web::Data::new(deps.inboxes))
        .app_data(web::Data::new(deps.link))
        .app_data(web::Data::new(deps.nodes))
        .app_data(web::Data::new(deps.post))
        .app_data(web::Data::new(deps.payments))
        .app_data(web::Data::new(deps.wallets))
        .app_data(web::Data::new(deps.settlements))
        .app_data(web::Data::new(deps.reconciliation))
        .app_data(web::Data::new(deps.payment_webhooks))
        .app_data(web::Data::new(deps.sandbox))
        .app_data(web::Data::new(PushKey(deps.push_key)))
        .app_data(web::Data::new(deps.guard))
        .app_data(web::Data::from(deps.words))
        .app_data(web::Data::new(deps.readiness))
        .app_data(web::Data::new(deps.limiters))
        .app_data(web::Data::new(deps.metrics))
        .configure(ops::routes)
        .configure(web_app::routes)
        .configure(auth::root_routes)
        .service(
            web::scope("/v1")
                .configure(auth::routes)
                .configure(users::routes)
                .configure(follows::routes)
                .configure(friends::routes)
                .configure(settings::routes)
                .configure(search::routes)
                .configure(images::routes)
                .configure(phones::routes)
                .configure(rooms::routes)
                .configure(messages::routes)
                .configure(preferences::routes)
                .configure(unsubscribe::routes)
                .configure(templates::routes)
                .configure(sse::routes)
                .configure(presence::routes)
                .configure(devices::routes)
                .configure(notifications::routes)
                .configure(deliveries::routes)
                .configure(dev_payments::routes)
                .configure(dev_outbox::routes)
                .configure(service_keys::routes)
                .configure(webhooks::routes)
                .configure(reconciliation::routes)
                .configure(wallet::routes)
                .configure(payments::routes)
                .configure(admin_payments::routes)
                .configure(admin::routes),
        );
}
