//! What each node is told of the providers: where they are, and with which secrets they are called.

use std::net::SocketAddr;

use anyhow::Context as _;
use rsa::RsaPrivateKey;
use rsa::pkcs8::{EncodePrivateKey as _, LineEnding};
use rsa::rand_core::OsRng;
use serde_json::json;
use uuid::Uuid;

use crate::servers::cluster::Settings;

/// The least that is accepted as an RSA key.
const KEY_BITS: usize = 2_048;

/// The providers of one run.
#[derive(Debug)]
pub struct Providers {
    http: SocketAddr,
    smtp: SocketAddr,
    /// As Google hands it out, in JSON.
    service_account: String,
    /// The same on every node.
    secret: String,
}

/// Letters of one medium that a node has on their way at once.
pub const WORKERS: usize = 8;

impl Providers {
    /// Makes the secrets.
    pub fn new(http: SocketAddr, smtp: SocketAddr) -> anyhow::Result<Self> {
        let key = RsaPrivateKey::new(&mut OsRng, KEY_BITS).context("make an RSA key")?;
        let key = key.to_pkcs8_pem(LineEnding::LF).context("write an RSA key")?;
        let service_account = json!({
            "type": "service_account",
            "project_id": "bench",
            "client_email": "bench@bench.iam.gserviceaccount.com",
            "private_key_id": "bench",
            "private_key": key.as_str(),
            "token_uri": format!("http://{http}/token"),
        });
        let secret = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        Ok(Self { http, smtp, service_account: service_account.to_string(), secret })
    }

    /// The settings of a node, by its number from 1. What it calls says which node it is.
    pub fn settings(&self, node: usize) -> Settings {
        let Self { http, smtp, service_account, secret } = self;
        let workers = WORKERS.to_string();
        let settings = [
            ("MADANG__MAIL__PROVIDER", "smtp".to_owned()),
            ("MADANG__MAIL__HOST", smtp.ip().to_string()),
            ("MADANG__MAIL__PORT", smtp.port().to_string()),
            ("MADANG__MAIL__TLS", "none".to_owned()),
            ("MADANG__MAIL__FROM", "Madang <madang@example.com>".to_owned()),
            ("MADANG__MAIL__HELLO_NAME", format!("node-{node}")),
            // Shorter than a provider hangs.
            ("MADANG__MAIL__TIMEOUT_MS", "5000".to_owned()),
            ("MADANG__MAIL__CONNECTIONS_MAX", workers.clone()),
            ("MADANG__SMS__PROVIDER", "http".to_owned()),
            ("MADANG__SMS__BASE_URL", format!("http://{http}/sms/{node}")),
            ("MADANG__SMS__SENDER", "+15005550006".to_owned()),
            ("MADANG_SECRET_SMS_KEY", "bench".to_owned()),
            ("MADANG_SECRET_SMS_SECRET", secret.clone()),
            ("MADANG__PUSH__FCM", "true".to_owned()),
            ("MADANG__PUSH__FCM_URL", format!("http://{http}/fcm/{node}")),
            ("MADANG_SECRET_FCM_SERVICE_ACCOUNT", service_account.clone()),
            ("MADANG__OUTWARD__ALLOWED_NETWORKS", "127.0.0.0/8".to_owned()),
            ("MADANG__OUTWARD__TIMEOUT_MS", "5000".to_owned()),
            ("MADANG_SECRET_WEBHOOK_SEAL", secret.clone()),
            // Everybody is sent everything, one by one.
            ("MADANG__NOTIFICATIONS__MAIL_PER_HOUR", "0".to_owned()),
            ("MADANG__NOTIFICATIONS__SMS_PER_HOUR", "0".to_owned()),
            ("MADANG__NOTIFICATIONS__PUSH_PER_HOUR", "0".to_owned()),
            ("MADANG__DELIVERY__WORKERS_MAIL", workers.clone()),
            ("MADANG__DELIVERY__WORKERS_SMS", workers.clone()),
            ("MADANG__DELIVERY__WORKERS_PUSH", workers.clone()),
            ("MADANG__DELIVERY__WORKERS_WEBHOOK", workers),
        ];
        settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_share_every_secret_and_say_who_they_are() {
        let address = SocketAddr::from(([127, 0, 0, 1], 2_525));
        let providers = Providers::new(address, address).unwrap();

        let (one, other) = (providers.settings(1), providers.settings(2));

        let differing: Vec<_> =
            one.iter().zip(&other).filter(|(one, other)| one != other).collect();
        let names: Vec<_> = differing.iter().map(|((name, _), _)| name.as_str()).collect();
        assert_eq!(
            names,
            ["MADANG__MAIL__HELLO_NAME", "MADANG__SMS__BASE_URL", "MADANG__PUSH__FCM_URL"]
        );
        let account: serde_json::Value = serde_json::from_str(&providers.service_account).unwrap();
        let key = account["private_key"].as_str().unwrap();
        assert!(key.starts_with("-----BEGIN PRIVATE KEY-----\n"), "as Google writes it");
        assert!(providers.secret.len() >= 32);
    }
}
