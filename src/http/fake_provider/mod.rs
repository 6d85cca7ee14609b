//! The fake payment provider as a server of its own: its API, its checkout page, and what tests tell it to do wrong.
//!
//! It stands beside the application and shares nothing with it but the process, if that: whoever pays or asks comes over
//! the wire, as with a real one. Invariant: it lets anybody in, so that it belongs on a machine where nobody's money is at
//! stake; the settings refuse it in production.

mod checkout;
#[cfg(test)]
mod tests;
mod words;

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::HeaderValue;
use actix_web::middleware::DefaultHeaders;
use actix_web::web::{self, Bytes, Data, ServiceConfig};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, get, post};
use serde::Deserialize;

use crate::providers::payments::fake::host::{Host, Query, Said};

/// Longer than anybody waits for an answer.
pub const SILENCE: Duration = Duration::from_secs(30);
const BODY_BYTES_MAX: usize = 64 * 1_024;
const KEY_HEADER: &str = "Idempotency-Key";
/// A fault for this call alone, as JSON.
const FAULT_HEADER: &str = "Fake-Fault";

/// How the server behaves.
#[derive(Clone, Copy)]
pub struct Manners {
    /// How long a call that is not answered is held before it is told 504.
    pub silence: Duration,
}

/// Serves a host until the system ends. Gives the address.
///
/// # Errors
/// When the listener cannot be watched.
pub fn serve(
    listener: TcpListener,
    host: Host,
    manners: Manners,
) -> std::io::Result<(SocketAddr, actix_web::dev::Server)> {
    let address = listener.local_addr()?;
    let make = move || {
        App::new()
            .app_data(Data::new(host.clone()))
            .app_data(Data::new(manners))
            .app_data(web::PayloadConfig::new(BODY_BYTES_MAX))
            .wrap(
                DefaultHeaders::new()
                    .add(("X-Content-Type-Options", "nosniff"))
                    .add(("Referrer-Policy", "no-referrer"))
                    .add(("Cache-Control", "no-store")),
            )
            .configure(routes)
    };
    // Whoever started the process decides when it ends.
    let server = HttpServer::new(make).workers(1).disable_signals().shutdown_timeout(1);
    Ok((address, server.listen(listener)?.run()))
}

fn routes(cfg: &mut ServiceConfig) {
    cfg.service(call).service(ask).service(plan).service(dispute).service(list_movements);
    checkout::routes(cfg);
}

/// Does what is asked for, once for its key.
#[post("/v1/calls")]
async fn call(
    request: HttpRequest,
    body: Bytes,
    host: Data<Host>,
    manners: Data<Manners>,
) -> HttpResponse {
    let header = |name| request.headers().get(name);
    let key = header(KEY_HEADER).and_then(|key| key.to_str().ok());
    let fault = header(FAULT_HEADER).map(HeaderValue::as_bytes);
    answer(host.call(&body, key, fault), &manners).await
}

/// Finds `charges`, `cancels`, `disputes`, `payouts`, or lists `transactions`.
#[get("/v1/{what}")]
async fn ask(
    what: web::Path<String>,
    query: web::Query<Query>,
    host: Data<Host>,
    manners: Data<Manners>,
) -> HttpResponse {
    answer(host.ask(&what, &query), &manners).await
}

/// Plans what goes wrong: `{"next": {"operation": "confirm", "next": ["doubled", null]}}`, or
/// `{"chance": {"percent": 20, "seed": 7}}`.
#[post("/admin/faults")]
async fn plan(body: Bytes, host: Data<Host>, manners: Data<Manners>) -> HttpResponse {
    answer(host.plan(&body), &manners).await
}

#[derive(Deserialize)]
struct CursorQuery {
    cursor: Option<String>,
}

/// Disputes an order as its payer's bank does, `{"open": {"order": "…", "amount": null}}`, or decides:
/// `{"decide": {"dispute": "…", "status": "lost"}}`.
#[post("/admin/disputes")]
async fn dispute(body: Bytes, host: Data<Host>, manners: Data<Manners>) -> HttpResponse {
    answer(host.dispute(&body), &manners).await
}

/// Every movement of money there was: what books elsewhere are held against.
#[get("/admin/movements")]
async fn list_movements(
    query: web::Query<CursorQuery>,
    host: Data<Host>,
    manners: Data<Manners>,
) -> HttpResponse {
    answer(host.movements(query.cursor.as_deref()), &manners).await
}

async fn answer(said: Said, manners: &Manners) -> HttpResponse {
    match said {
        Said::Json(status, body) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            HttpResponse::build(status).json(body)
        }
        Said::Silence => {
            tokio::time::sleep(manners.silence).await;
            HttpResponse::GatewayTimeout().finish()
        }
    }
}
