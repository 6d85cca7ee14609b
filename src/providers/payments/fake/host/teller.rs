//! Tells of what happened at the fake provider: its webhooks, sent to one address.
//!
//! Each is sent until it is taken, a few times at most, and together with its neighbours: they arrive in any order, and
//! twice where the process died between sending and noting that.

use std::time::Duration;

use futures_util::StreamExt as _;
use reqwest::{Client, Url};

use super::Host;
use crate::providers::payments::RawWebhook;

const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// Webhooks that are on their way at once.
const TOGETHER_MAX: usize = 16;
/// Who does not take one by then has to ask.
const ATTEMPTS_MAX: u32 = 6;
const WAIT_FIRST: Duration = Duration::from_millis(500);
const TIMEOUT: Duration = Duration::from_secs(5);

/// Sends what there is to tell, for as long as it is polled.
pub async fn tell(host: Host, client: Client, url: Url) {
    loop {
        let waiting = host.provider().map(|it| it.waiting_webhooks(TOGETHER_MAX));
        let (count, webhooks) = waiting.unwrap_or_default();
        if count == 0 {
            tokio::time::sleep(LOOK_INTERVAL).await;
            continue;
        }
        let sending = futures_util::stream::iter(webhooks);
        sending.for_each_concurrent(TOGETHER_MAX, |it| send(&client, &url, it)).await;
        if let Some(provider) = host.provider() {
            provider.forget_webhooks(count);
        }
    }
}

async fn send(client: &Client, url: &Url, webhook: RawWebhook) {
    let mut wait = WAIT_FIRST;
    for attempt in 1..=ATTEMPTS_MAX {
        let mut request = client.post(url.clone()).timeout(TIMEOUT).body(webhook.body.clone());
        request = request.header("content-type", "application/json");
        for (name, value) in &webhook.headers {
            request = request.header(name, value);
        }
        match request.send().await {
            Ok(response) if response.status().is_success() => return,
            _ if attempt == ATTEMPTS_MAX => {
                tracing::warn!("a webhook of the fake provider was taken by nobody");
            }
            _ => tokio::time::sleep(wait).await,
        }
        wait = wait.saturating_mul(2);
    }
}
