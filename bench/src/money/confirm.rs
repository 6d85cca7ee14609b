//! Confirmations as their callers see them: one after the other, with the node's own fake provider, which answers at once.
//!
//! The whole request is measured, and what the provider takes for the same by itself; the rest is ours.

use std::time::Instant;

use anyhow::{Context as _, ensure};
use hdrhistogram::Histogram;
use reqwest::Client;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::api::{Api, Person};
use crate::plan::Plan;
use crate::report::{Bound, Report};
use crate::servers::house::{ADMIN, House, PASSWORD};
use crate::tally::histogram;

/// What confirming may cost besides the provider, in milliseconds of the slowest of a hundred.
const SQLITE_MS_MAX: f64 = 80.0;
const POSTGRES_MS_MAX: f64 = 50.0;
const AMOUNT: i64 = 12_000;

/// Somebody who pays, and where.
struct Payer {
    http: Client,
    node: String,
    admin: Person,
    person: Person,
}

pub async fn run(plan: &Plan, is_sqlite: bool, report: &mut Report) -> anyhow::Result<()> {
    let (name, bound) =
        if is_sqlite { ("sqlite", SQLITE_MS_MAX) } else { ("postgres", POSTGRES_MS_MAX) };
    let house = if is_sqlite {
        House::alone(plan, Vec::new()).await?
    } else {
        House::of_nodes(plan, 1, |_| Vec::new()).await?
    };
    let address = house.first()?.address();
    let api = Api::new(address)?;
    let admin = api.log_in(ADMIN, PASSWORD).await?;
    let person = api.register(1).await?.pop().context("nobody")?;
    let http = Client::builder().no_proxy().build()?;
    let payer = Payer { http, node: format!("http://{address}/v1/payments"), admin, person };
    let count = plan.pick(400, 20);
    let (mut whole_us, mut provider_us) = (histogram()?, histogram()?);
    // The first of them warm up.
    for number in 0..count + count / 10 {
        let (whole, provider) = payer.buy(number).await?;
        if number >= count / 10 {
            whole_us.saturating_record(whole);
            provider_us.saturating_record(provider);
        }
    }
    for (part, quantile, bound) in [("p50", 0.5, Bound::None), ("p99", 0.99, Bound::AtMost(bound))]
    {
        // Of the provider only the middle is taken off: whatever else makes one of a hundred slow is ours.
        let ours = ms(&whole_us, quantile) - ms(&provider_us, 0.5);
        let figure = format!("money.{name}_confirm_{part}");
        report.measure(&figure, ours, Some(ms(&whole_us, quantile)), "ms", bound);
    }
    report.note(format!(
        "money, {name}: {count} confirmations one after the other over HTTP, less what the provider takes (p50 {:.1} ms); beside it the whole request.",
        ms(&provider_us, 0.5),
    ));
    house.leave("money", report).await
}

fn ms(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    histogram.value_at_quantile(quantile) as f64 / 1_000.0
}

impl Payer {
    /// Pays for a new order; gives what confirming took, and what the provider takes to say how the order stands, in
    /// microseconds.
    async fn buy(&self, number: u32) -> anyhow::Result<(u64, u64)> {
        let order = json!({ "payer_id": self.person.id, "amount": AMOUNT, "name": "A lamp" });
        let request = self.http.put(format!("{}/orders/job/b{number}", self.node));
        let put = request.bearer_auth(&self.admin.token).json(&order).send().await?;
        put.error_for_status().context("register an order")?;
        let body = json!({ "order_type": "job", "order_id": format!("b{number}") });
        let begun = self.post("create", &body).await?;
        let id = begun["payment_id"].as_str().context("no payment")?;
        let checkout = begun["client"]["checkout_url"].as_str().context("no page")?;
        let form = self.http.post(checkout).body("action=pay");
        let form = form.header("content-type", "application/x-www-form-urlencoded");
        form.send().await?.error_for_status().context("pay")?;
        let (host, order) = checkout.split_once("/checkout/").context("no page")?;
        let body = json!({
            "payment_id": id, "payment_key": format!("fake-{order}"), "amount": AMOUNT,
        });
        let began = Instant::now();
        let confirmed = self.post("confirm", &body).await?;
        let whole = began.elapsed();
        ensure!(confirmed["status"] == "captured", "it was not taken: {confirmed}");
        let began = Instant::now();
        let found = self.http.get(format!("{host}/v1/charges?order={order}")).send().await?;
        found.error_for_status().context("ask the provider")?.text().await?;
        let provider = began.elapsed();
        Ok((u64::try_from(whole.as_micros())?, u64::try_from(provider.as_micros())?))
    }

    async fn post(&self, what: &str, body: &Value) -> anyhow::Result<Value> {
        let request = self.http.post(format!("{}/{what}", self.node));
        let request = request.header("idempotency-key", Uuid::new_v4().to_string());
        let answer = request.bearer_auth(&self.person.token).json(body).send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status.is_success(), "{what} was answered {status}: {text}");
        Ok(serde_json::from_str(&text)?)
    }
}
