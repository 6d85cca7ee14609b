//! HTTP: thin handlers (extract, act, answer), the gateway in front of them, and the application that holds both.
//!
//! Everything clients use is below `/v1`; what operators use is at the root.

pub mod aliases;
mod alone;
pub mod auth;
pub mod caller;
pub mod client_ip;
pub mod cookie;
pub mod gateway;
pub mod messages;
pub mod openapi;
pub mod ops;
pub mod page;
pub mod presence;
pub mod problem;
pub mod room_members;
pub mod rooms;
pub mod server;
pub mod sse;
pub mod users;
pub mod views;

use std::rc::Rc;
use std::sync::Arc;

use actix_web::body::BoxBody;
use actix_web::dev::{ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::middleware::from_fn;
use actix_web::web::{self, ServiceConfig};
use actix_web::{App, Error};
use metrics_exporter_prometheus::PrometheusHandle;

use self::gateway::{Gateway, Limiters};
use self::ops::Readiness;
use self::sse::StreamDeps;
use crate::accounts::Accounts;
use crate::accounts::revocations::Revocations;
use crate::actors::inbox::Inboxes;
use crate::actors::link::Link;
use crate::actors::room::Rooms;
use crate::config::Config;
use crate::providers::tokens::AccessTokens;
use crate::store::Store;

/// Everything handlers work with, made once and shared by all workers. Cheap to clone.
#[derive(Clone)]
pub struct AppDeps {
    pub config: Arc<Config>,
    pub store: Store,
    pub accounts: Accounts,
    pub tokens: Arc<AccessTokens>,
    pub revocations: Revocations,
    pub rooms: Rooms,
    pub inboxes: Inboxes,
    pub link: Link,
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
        .app_data(web::Data::from(deps.tokens))
        .app_data(web::Data::new(deps.revocations))
        .app_data(web::Data::new(deps.rooms))
        .app_data(web::Data::new(deps.inboxes))
        .app_data(web::Data::new(deps.link))
        .app_data(web::Data::new(deps.readiness))
        .app_data(web::Data::new(deps.limiters))
        .app_data(web::Data::new(deps.metrics))
        .configure(ops::routes)
        .configure(auth::root_routes)
        .service(
            web::scope("/v1")
                .configure(auth::routes)
                .configure(users::routes)
                .configure(rooms::routes)
                .configure(messages::routes)
                .configure(sse::routes)
                .configure(presence::routes),
        );
}
