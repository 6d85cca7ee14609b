//! The checkout page of the fake provider: what a payer sees, and where they go from there.
//!
//! Whoever has paid goes to the success address with `paymentKey`, `orderId` and `amount`; whoever has not, to the other one
//! with `code`, `message` and `orderId`, as Toss does it. Invariant: GET changes nothing; no script runs; whatever comes
//! from outside is escaped.

use actix_web::http::header::{CONTENT_SECURITY_POLICY, ContentType, LOCATION};
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, get, post};
use minijinja::HtmlEscape;
use reqwest::Url;
use serde::Deserialize;

use super::words::{self, Words};
use crate::providers::payments::fake::FakeProvider;
use crate::providers::payments::fake::host::Host;
use crate::providers::payments::fake::payer::{Method, PayerError};
use crate::providers::payments::{Charge, ChargeStatus, DeclineCode, Prepare};

const URL_CHARS_MAX: usize = 2_048;
const STYLE: &str = "body{font:16px/1.6 system-ui,sans-serif;max-width:28rem;margin:3rem auto;padding:0 1rem}\
                     button{font:inherit;display:block;width:100%;margin:.5rem 0;padding:.6rem}\
                     .amount{font-size:2rem;margin:.5rem 0}.warning{padding:.5rem 1rem;border:1px solid}\
                     code{overflow-wrap:anywhere}";

pub(super) fn routes(cfg: &mut ServiceConfig) {
    cfg.service(show).service(style).service(act);
}

/// Where a payer goes afterwards. Empty: stays here.
#[derive(Deserialize)]
struct Ways {
    #[serde(default)]
    success_url: String,
    #[serde(default)]
    fail_url: String,
}

#[derive(Deserialize)]
struct Form {
    action: Action,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum Action {
    Pay,
    Transfer,
    Decline,
    Cancel,
    Deposit,
}

#[get("/checkout.css")]
async fn style() -> HttpResponse {
    HttpResponse::Ok().content_type("text/css; charset=utf-8").body(STYLE)
}

#[get("/checkout/{order}")]
async fn show(
    request: HttpRequest,
    order: web::Path<String>,
    ways: web::Query<Ways>,
    host: Data<Host>,
) -> HttpResponse {
    let words = words::of(&request);
    let Some(provider) = host.provider() else {
        return HttpResponse::ServiceUnavailable().finish();
    };
    page(provider, words, &order, &ways)
}

#[post("/checkout/{order}")]
async fn act(
    request: HttpRequest,
    order: web::Path<String>,
    ways: web::Query<Ways>,
    form: web::Form<Form>,
    host: Data<Host>,
) -> HttpResponse {
    let words = words::of(&request);
    let Some(provider) = host.provider() else {
        return HttpResponse::ServiceUnavailable().finish();
    };
    let done = match form.action {
        Action::Pay => provider.pay(&order, Method::Card).map(Some),
        Action::Transfer => provider.pay(&order, Method::VirtualAccount).map(Some),
        Action::Decline => provider.refuse(&order, DeclineCode::CardDeclined).map(|_| None),
        Action::Deposit => {
            let arrived = provider.deposit(&order);
            return arrived.map_or_else(refusal, |()| page(provider, words, &order, &ways));
        }
        // The order stays open: whoever closes the page may come back.
        Action::Cancel => Ok(None),
    };
    let code = match form.action {
        Action::Cancel => "PAY_PROCESS_CANCELED",
        _ => "REJECT_CARD_COMPANY",
    };
    let to = match done {
        Ok(Some(key)) => {
            let amount = provider.find_order(&order).map(|charge| charge.amount.to_string());
            let amount = amount.unwrap_or_default();
            way(
                &ways.success_url,
                &[("paymentKey", &key), ("orderId", &order), ("amount", &amount)],
            )
        }
        Ok(None) => way(
            &ways.fail_url,
            &[
                ("code", code),
                ("message", words.status(ChargeStatus::Failed, false)),
                ("orderId", &order),
            ],
        ),
        Err(error) => return refusal(error),
    };
    match to {
        Some(to) => HttpResponse::SeeOther().insert_header((LOCATION, to.as_str())).finish(),
        None => page(provider, words, &order, &ways),
    }
}

fn refusal(error: PayerError) -> HttpResponse {
    let mut answer = match error {
        PayerError::UnknownOrder => HttpResponse::NotFound(),
        PayerError::NotAwaited => HttpResponse::Conflict(),
        PayerError::Unwritten => HttpResponse::ServiceUnavailable(),
    };
    answer.content_type(ContentType::plaintext()).body(error.to_string())
}

/// An address with what belongs to it; `None` for one that is none.
fn way(url: &str, query: &[(&str, &str)]) -> Option<Url> {
    let mut url = usable(url)?;
    url.query_pairs_mut().extend_pairs(query);
    Some(url)
}

fn usable(url: &str) -> Option<Url> {
    let url = Some(url).filter(|url| url.len() <= URL_CHARS_MAX)?.parse::<Url>().ok()?;
    matches!(url.scheme(), "http" | "https").then_some(url)
}

/// Where the form may lead: here, and where payers go afterwards.
fn policy(ways: &Ways) -> String {
    let mut policy =
        "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'; \
                      form-action 'self'"
            .to_owned();
    for url in [&ways.success_url, &ways.fail_url].into_iter().filter_map(|url| usable(url)) {
        policy.push(' ');
        policy.push_str(&url.origin().ascii_serialization());
    }
    policy
}

fn page(provider: &FakeProvider, words: &Words, order: &str, ways: &Ways) -> HttpResponse {
    let (mut answer, main) = match provider.find_agreed(order) {
        Some((agreed, charge, has_paid)) => {
            (HttpResponse::Ok(), checkout(words, &agreed, &charge, has_paid, ways))
        }
        None => (HttpResponse::NotFound(), format!("<p>{}</p>", words.unknown)),
    };
    let Words { language, title, warning, .. } = words;
    let html = format!(
        "<!doctype html>\n<html lang=\"{language}\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n\
         <link rel=\"stylesheet\" href=\"/checkout.css\">\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n\
         <p class=\"warning\">{warning}</p>\n{main}\n</main>\n</body>\n</html>\n"
    );
    answer
        .content_type(ContentType::html())
        .insert_header((CONTENT_SECURITY_POLICY, policy(ways)))
        .body(html)
}

fn checkout(
    words: &Words,
    agreed: &Prepare,
    charge: &Charge,
    has_paid: bool,
    ways: &Ways,
) -> String {
    let name = HtmlEscape(&agreed.name);
    let order = HtmlEscape(&agreed.order);
    let amount = words.amount(charge.amount, charge.currency);
    let status = words.status(charge.status, has_paid);
    let buttons: &[(&str, &str)] = match charge.status {
        ChargeStatus::Open if has_paid => &[],
        ChargeStatus::Open => &[
            ("pay", words.pay),
            ("transfer", words.transfer),
            ("decline", words.decline),
            ("cancel", words.cancel),
        ],
        ChargeStatus::AwaitingDeposit => &[("deposit", words.deposit)],
        _ => &[],
    };
    let buttons: String = buttons
        .iter()
        .map(|(value, label)| {
            format!("<button name=\"action\" value=\"{value}\">{label}</button>\n")
        })
        .collect();
    let query = form_query(ways);
    let action = HtmlEscape(&query);
    let key = if has_paid {
        let key = HtmlEscape(&charge.provider_key);
        format!("<p>{}: <code id=\"payment-key\">{key}</code></p>\n", words.key)
    } else {
        String::new()
    };
    format!(
        "<h2>{name}</h2>\n<p class=\"amount\">{amount}</p>\n<p>{}: <code>{order}</code></p>\n\
         <p id=\"status\">{status}</p>\n{key}<form method=\"post\" action=\"{action}\">\n{buttons}</form>",
        words.order
    )
}

/// The ways go on with the form.
fn form_query(ways: &Ways) -> String {
    let mut query = Url::parse("http://localhost/").ok();
    if let Some(query) = &mut query {
        query
            .query_pairs_mut()
            .append_pair("success_url", &ways.success_url)
            .append_pair("fail_url", &ways.fail_url);
    }
    let query = query.as_ref().and_then(Url::query).unwrap_or_default();
    format!("?{query}")
}
