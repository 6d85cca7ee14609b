//! The fake provider over the wire: the conformance suite through its adapter, its page, its faults, and its diary.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{ACCEPT_LANGUAGE, CONTENT_SECURITY_POLICY, LOCATION};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};

use super::{Manners, serve};
use crate::clock;
use crate::config::Config;
use crate::domain::money::{Amount, Currency};
use crate::domain::payments::disputes::DisputeStatus;
use crate::domain::workflows::EffectKey;
use crate::providers::couriers::outward::install_tls;
use crate::providers::payments::conformance::{Payer, Subject, conforms};
use crate::providers::payments::fake::faults::Faults;
use crate::providers::payments::fake::host::Host;
use crate::providers::payments::fake::host::teller::tell;
use crate::providers::payments::fake::{Clock, FORGETFUL, FakeClient, FakeProvider, SILENT, SOUND};
use crate::providers::payments::{
    Answer, Capabilities, Charge, ChargeStatus, Confirm, LookUp, PaymentProvider, Prepare,
    RawWebhook,
};

/// A server on a thread of its own, which ends with the test binary.
struct Street {
    host: Host,
    url: String,
    client: Arc<FakeClient>,
    browser: Client,
}

impl Street {
    fn new(capabilities: Capabilities) -> Self {
        let provider = FakeProvider::new(capabilities, Faults::by_amount(), Arc::new(clock::now));
        Self::of(Host::new(provider), capabilities, &[])
    }

    fn kept(diary: &Path) -> Self {
        let provider = FakeProvider::new(SOUND, Faults::by_amount(), Arc::new(clock::now));
        Self::of(Host::new(provider.kept(diary).unwrap()), SOUND, &[])
    }

    fn of(host: Host, capabilities: Capabilities, settings: &[(&str, &str)]) -> Self {
        install_tls();
        let (told, address) = mpsc::channel();
        let served = host.clone();
        std::thread::spawn(move || {
            actix_rt::System::new().block_on(async move {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                let manners = Manners { silence: Duration::from_secs(60) };
                let (address, server) = serve(listener, served, manners).unwrap();
                told.send(address).unwrap();
                server.await.unwrap();
            });
        });
        let url = format!("http://{}", address.recv().unwrap());
        let config = Config::read(None, settings.iter().copied()).unwrap();
        let client = Arc::new(FakeClient::new(&config, &url, capabilities).unwrap());
        let browser = Client::builder().redirect(Policy::none()).no_proxy().build().unwrap();
        Self { host, url, client, browser }
    }

    async fn prepare(&self, order: &str, minor: i64) -> Value {
        let answer = self.client.prepare(&prepared(order, minor)).await;
        let Answer::Done(parameters) = answer else { panic!("{answer:?}") };
        parameters.0
    }

    async fn press(&self, order: &str, action: &str) -> Response {
        let url = format!(
            "{}/checkout/{order}?success_url=https://app.example/paid&fail_url=https://app.example/not",
            self.url
        );
        self.browser.post(url).form(&[("action", action)]).send().await.unwrap()
    }

    async fn confirm(&self, order: &str, minor: i64) -> Answer<Charge> {
        let request = confirm(order, &format!("fake-{order}"), minor);
        self.client.confirm(&request, &EffectKey::of(order)).await
    }

    async fn find(&self, order: &str) -> LookUp<Charge> {
        self.client.find_charge(order, None).await
    }

    async fn bank(&self, does: &Value) -> Value {
        let url = format!("{}/admin/disputes", self.url);
        let done = self.browser.post(url).json(does).send().await.unwrap();
        assert_eq!(done.status(), StatusCode::OK);
        done.json().await.unwrap()
    }

    async fn movements(&self) -> Vec<Value> {
        let url = format!("{}/admin/movements", self.url);
        let page: Value = self.browser.get(url).send().await.unwrap().json().await.unwrap();
        page["items"].as_array().unwrap().clone()
    }
}

fn prepared(order: &str, minor: i64) -> Prepare {
    Prepare {
        order: order.to_owned(),
        amount: Amount::new(minor).unwrap(),
        currency: Currency::KRW,
        name: "<b>a lamp</b>".to_owned(),
        is_captured_later: false,
    }
}

fn confirm(order: &str, provider_key: &str, minor: i64) -> Confirm {
    Confirm {
        provider_key: provider_key.to_owned(),
        order: order.to_owned(),
        amount: Amount::new(minor).unwrap(),
        currency: Currency::KRW,
    }
}

fn header(response: &Response, name: reqwest::header::HeaderName) -> String {
    response.headers().get(name).unwrap().to_str().unwrap().to_owned()
}

/// A file that goes with its test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("madang-fake-{}", clock::new_uuid())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Pays with a browser.
struct Browser(Arc<Street>);

#[async_trait]
impl Payer for Browser {
    async fn pay(&self, order: &str) -> String {
        let paid = self.0.press(order, "pay").await;
        assert_eq!(paid.status(), StatusCode::SEE_OTHER);
        let to: reqwest::Url = header(&paid, LOCATION).parse().unwrap();
        to.query_pairs().find(|(name, _)| name == "paymentKey").unwrap().1.into_owned()
    }

    async fn promise(&self, order: &str) -> Option<String> {
        let paid = self.0.press(order, "transfer").await;
        assert_eq!(paid.status(), StatusCode::SEE_OTHER);
        Some(format!("fake-{order}"))
    }

    async fn deposit(&self, order: &str) {
        assert_eq!(self.0.press(order, "deposit").await.status(), StatusCode::OK);
    }

    async fn give_up(&self, order: &str) -> String {
        assert_eq!(self.0.press(order, "decline").await.status(), StatusCode::SEE_OTHER);
        format!("fake-{order}")
    }

    async fn dispute(&self, order: &str) -> Option<String> {
        let opened = self.0.bank(&json!({ "open": { "order": order } })).await;
        Some(opened["dispute"].as_str().unwrap().to_owned())
    }

    async fn decide(&self, dispute: &str, status: DisputeStatus) {
        self.0.bank(&json!({ "decide": { "dispute": dispute, "status": status } })).await;
    }

    async fn take_webhooks(&self) -> Vec<RawWebhook> {
        self.0.host.provider().unwrap().take_webhooks()
    }

    fn day(&self) -> String {
        let now = jiff::Timestamp::from_millisecond(clock::now().millis()).unwrap();
        jiff::tz::offset(9).to_datetime(now).date().to_string()
    }
}

fn subject(capabilities: Capabilities) -> Subject {
    let street = Arc::new(Street::new(capabilities));
    let provider = Arc::clone(&street.client);
    Subject { provider, payer: Arc::new(Browser(street)) }
}

mod a_sound_one_over_the_wire {
    use super::{SOUND, conforms, subject};

    conforms!((|| subject(SOUND)));
}

mod a_forgetful_one_over_the_wire {
    use super::{FORGETFUL, conforms, subject};

    conforms!((|| subject(FORGETFUL)));
}

mod a_silent_one_over_the_wire {
    use super::{SILENT, conforms, subject};

    conforms!((|| subject(SILENT)));
}

#[tokio::test]
async fn whoever_pays_goes_to_where_the_app_waits_with_what_it_needs() {
    let street = Street::new(SOUND);
    let parameters = street.prepare("order-1", 12_340).await;
    assert_eq!(parameters["checkout_url"], format!("{}/checkout/order-1", street.url));

    let paid = street.press("order-1", "pay").await;
    assert_eq!(paid.status(), StatusCode::SEE_OTHER);
    let to = "https://app.example/paid?paymentKey=fake-order-1&orderId=order-1&amount=12340";
    assert_eq!(header(&paid, LOCATION), to);
    assert!(matches!(street.confirm("order-1", 12_340).await, Answer::Done(_)));
    assert_eq!(street.press("order-1", "pay").await.status(), StatusCode::CONFLICT, "it is paid");
}

#[tokio::test]
async fn the_settings_say_where_payers_go_afterwards() {
    let provider = FakeProvider::new(SOUND, Faults::default(), Arc::new(clock::now));
    let settings = [("MADANG__PAYMENTS__SUCCESS_URL", "https://app.example/a?b=1&c")];
    let street = Street::of(Host::new(provider), SOUND, &settings);
    let parameters = street.prepare("order-1", 1_000).await;
    let expected = "?success_url=https%3A%2F%2Fapp.example%2Fa%3Fb%3D1%26c";
    assert!(parameters["checkout_url"].as_str().unwrap().ends_with(expected), "{parameters}");
}

#[tokio::test]
async fn whoever_closes_the_page_may_come_back_and_whose_card_is_declined_may_not() {
    let street = Street::new(SOUND);
    for (order, action, code, after) in [
        ("order-1", "cancel", "PAY_PROCESS_CANCELED", ChargeStatus::Open),
        ("order-2", "decline", "REJECT_CARD_COMPANY", ChargeStatus::Failed),
    ] {
        street.prepare(order, 1_000).await;
        let left = street.press(order, action).await;
        let to = header(&left, LOCATION);
        assert!(to.starts_with("https://app.example/not?code="), "{to}");
        assert!(to.contains(code) && to.ends_with(&format!("orderId={order}")), "{to}");
        let LookUp::Found(charge) = street.find(order).await else { panic!() };
        assert_eq!(charge.status, after);
    }
    assert_eq!(street.press("order-1", "pay").await.status(), StatusCode::SEE_OTHER);
    assert!(matches!(street.confirm("order-2", 1_000).await, Answer::Declined(_)));
}

#[tokio::test]
async fn a_transfer_arrives_when_the_payer_says_so() {
    let street = Street::new(SOUND);
    street.prepare("order-1", 1_000).await;
    street.press("order-1", "transfer").await;
    assert!(matches!(street.confirm("order-1", 1_000).await, Answer::Pending(_)));
    assert!(street.movements().await.is_empty());

    assert_eq!(street.press("order-1", "deposit").await.status(), StatusCode::OK);
    let LookUp::Found(charge) = street.find("order-1").await else { panic!() };
    assert_eq!(charge.status, ChargeStatus::Captured);
    assert_eq!(street.movements().await.len(), 1);
}

#[tokio::test]
async fn the_page_speaks_two_languages_escapes_names_and_runs_no_script() {
    let street = Street::new(SOUND);
    street.prepare("order-1", 12_340).await;
    let url = format!(
        "{}/checkout/order-1?success_url=https://app.example/%22%3E%3Cscript%3E&fail_url=javascript:alert(1)",
        street.url
    );
    for (language, amount) in [("ko-KR,en;q=0.5", "12,340원"), ("en", "KRW 12,340")] {
        let request = street.browser.get(&url).header(ACCEPT_LANGUAGE, language);
        let page = request.send().await.unwrap();
        let policy = header(&page, CONTENT_SECURITY_POLICY);
        assert!(policy.contains("default-src 'none'") && !policy.contains("script"), "{policy}");
        assert!(policy.ends_with("form-action 'self' https://app.example"), "{policy}");
        let html = page.text().await.unwrap();
        assert!(html.contains(amount) && html.contains("&lt;b&gt;a lamp&lt;"), "{html}");
        assert!(!html.contains("<script") && !html.contains("<b>"), "{html}");
    }
    let unknown = street.browser.get(format!("{}/checkout/none", street.url)).send().await.unwrap();
    assert_eq!(unknown.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn nobody_is_sent_to_what_is_no_address_of_the_web() {
    let street = Street::new(SOUND);
    street.prepare("order-1", 1_000).await;
    let url = format!("{}/checkout/order-1?success_url=javascript:alert(1)", street.url);
    let paid = street.browser.post(url).form(&[("action", "pay")]).send().await.unwrap();
    assert_eq!(paid.status(), StatusCode::OK);
    assert!(paid.text().await.unwrap().contains("fake-order-1"), "the page shows the key instead");
}

#[tokio::test]
async fn what_goes_wrong_is_planned_from_afar_or_with_the_call() {
    let street = Street::new(SOUND);
    street.prepare("order-1", 1_000).await;
    street.press("order-1", "pay").await;
    let plan = json!({ "next": { "operation": "confirm", "next": [{ "lost": ["server_error", "after"] }] } });
    let planned = street.browser.post(format!("{}/admin/faults", street.url)).json(&plan);
    assert_eq!(planned.send().await.unwrap().status(), StatusCode::OK);

    let answer = street.confirm("order-1", 1_000).await;
    assert!(matches!(answer, Answer::Unknown(_)), "{answer:?}");
    assert!(matches!(street.find("order-1").await, LookUp::Found(_)));

    street.prepare("order-2", 1_000).await;
    street.press("order-2", "pay").await;
    let call = json!({ "confirm": confirm("order-2", "fake-order-2", 1_000) });
    let request = street.browser.post(format!("{}/v1/calls", street.url)).json(&call);
    let key = EffectKey::of("order-2");
    let request = request.header("idempotency-key", key.as_str());
    let struck = request.header("fake-fault", r#"{"declined":"insufficient_funds"}"#);
    assert_eq!(struck.send().await.unwrap().status(), StatusCode::BAD_REQUEST);
    let answer = street.confirm("order-2", 1_000).await;
    let Answer::Declined(decline) = answer else { panic!("{answer:?}") };
    assert_eq!(decline.provider_code, "NOT_ENOUGH_MONEY");
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_unknown() {
    let settings = [("MADANG__PAYMENTS__TIMEOUT_MS", "200")];
    let provider = FakeProvider::new(SOUND, Faults::by_amount(), Arc::new(clock::now));
    let street = Street::of(Host::new(provider), SOUND, &settings);
    street.prepare("order-1", 10_912).await;
    street.press("order-1", "pay").await;
    let answer = street.confirm("order-1", 10_912).await;
    assert_eq!(answer, Answer::Unknown("the provider did not answer in time".to_owned()));
    let LookUp::Found(charge) = street.find("order-1").await else { panic!() };
    assert_eq!(charge.status, ChargeStatus::Captured);
}

#[tokio::test]
async fn a_host_that_is_not_there_yet_or_no_more_says_nothing() {
    let street = Street::of(Host::default(), SOUND, &[]);
    assert!(matches!(street.find("order-1").await, LookUp::Unknown(_)));
    assert!(matches!(street.confirm("order-1", 1_000).await, Answer::Unknown(_)));

    let config = Config::read(None, [("MADANG__NODE__NAME", "a")]).unwrap();
    let nowhere = FakeClient::new(&config, "http://127.0.0.1:1", SOUND).unwrap();
    assert!(matches!(nowhere.find_charge("order-1", None).await, LookUp::Unknown(_)));
    assert!(matches!(nowhere.prepare(&prepared("a", 1)).await, Answer::Unknown(_)));
}

#[tokio::test]
async fn webhooks_arrive_signed_and_are_told_once() {
    let (sink, mut told) = tokio::sync::mpsc::unbounded_channel();
    let (address, served) = mpsc::channel();
    std::thread::spawn(move || {
        actix_rt::System::new().block_on(async move {
            let make = move || {
                let sink = sink.clone();
                actix_web::App::new().default_service(actix_web::web::to(
                    move |request: actix_web::HttpRequest, body: actix_web::web::Bytes| {
                        let headers = request.headers().iter();
                        let headers = headers.map(|(name, value)| {
                            (name.to_string(), value.to_str().unwrap().to_owned())
                        });
                        let received_at = clock::now();
                        let headers = headers.collect();
                        sink.send(RawWebhook { headers, body, received_at }).unwrap();
                        std::future::ready(actix_web::HttpResponse::Ok())
                    },
                ))
            };
            let server = actix_web::HttpServer::new(make).workers(1).disable_signals();
            let server = server.bind("127.0.0.1:0").unwrap();
            address.send(server.addrs()[0]).unwrap();
            server.run().await.unwrap();
        });
    });
    let street = Street::new(SOUND);
    street.prepare("order-1", 1_000).await;
    street.press("order-1", "pay").await;
    street.confirm("order-1", 1_000).await;

    let url = format!("http://{}/hook", served.recv().unwrap()).parse().unwrap();
    let telling = tokio::spawn(tell(street.host.clone(), street.browser.clone(), url));
    let mut statuses = Vec::new();
    // It was prepared, and captured; what its payer did changed nothing that is told.
    for _ in 0..2 {
        let webhook = told.recv().await.unwrap();
        let hint = street.client.read_webhook(&webhook).unwrap();
        assert_eq!(hint.order.as_deref(), Some("order-1"));
        statuses.push(hint.dedupe_key);
    }
    statuses.sort();
    assert_eq!(statuses, ["fake-order-1-Captured-0", "fake-order-1-Open-0"]);
    while street.host.provider().unwrap().waiting_webhooks(9).0 > 0 {
        tokio::task::yield_now().await;
    }
    telling.abort();
    assert!(told.try_recv().is_err());
}

#[tokio::test]
async fn a_diary_makes_the_same_books_again_and_its_torn_end_is_nothing() {
    let scratch = Scratch::new();
    let before = {
        let street = Street::kept(&scratch.0);
        for (order, minor) in [("order-1", 1_000), ("order-2", 10_921), ("order-3", 931)] {
            street.prepare(order, minor).await;
            street.press(order, "pay").await;
            street.confirm(order, minor).await;
        }
        (street.movements().await, street.find("order-1").await, street.find("order-3").await)
    };
    assert_eq!(before.0.len(), 3, "one is done twice, one is declined");

    // Whoever was there has not gone: its copy of the file is what a killed process leaves.
    let copy = Scratch::new();
    let mut text = std::fs::read(&scratch.0).unwrap();
    text.extend(b"{\"at\":1,\"call\":{\"req");
    std::fs::write(&copy.0, text).unwrap();
    let street = Street::kept(&copy.0);
    let after =
        (street.movements().await, street.find("order-1").await, street.find("order-3").await);
    assert_eq!(after, before);

    // Answers are remembered, and amounts strike no call twice.
    assert!(matches!(street.confirm("order-1", 1_000).await, Answer::Done(_)));
    assert!(matches!(street.confirm("order-3", 931).await, Answer::Declined(_)));
    assert_eq!(street.movements().await, before.0);
}

#[tokio::test]
async fn one_process_has_a_diary_and_a_spoilt_one_is_refused() {
    let scratch = Scratch::new();
    let open = || {
        let provider = FakeProvider::new(SOUND, Faults::default(), Arc::new(clock::now));
        provider.kept(&scratch.0).map(|_| ()).map_err(|error| error.to_string())
    };
    let first = FakeProvider::new(SOUND, Faults::default(), Arc::new(clock::now));
    let first = first.kept(&scratch.0).unwrap();
    assert_eq!(open(), Err("another process has it open".to_owned()));

    let host = Host::default();
    let clock: Clock = Arc::new(clock::now);
    let mut opening = Box::pin(host.open_once_free(&scratch.0, &clock, 300));
    assert!(futures_util::poll!(opening.as_mut()).is_pending());
    assert!(host.provider().is_none());
    drop(first);
    opening.await.unwrap();
    assert!(host.provider().is_some());

    let spoilt = Scratch::new();
    std::fs::write(&spoilt.0, "{\"at\":1,\"call\":3}\n").unwrap();
    let provider = FakeProvider::new(SOUND, Faults::default(), Arc::new(clock::now));
    let refused = provider.kept(&spoilt.0).map(|_| ()).unwrap_err();
    assert_eq!(refused.to_string(), "line 1 cannot be read");
}
