//! Settings: what an operator may choose, read once at the start.
//!
//! The defaults are the repository's own `config.toml`, compiled in, so that they exist once. A file and then
//! `MADANG__SECTION__KEY` variables override them.
//!
//! Invariant: a [`Config`] that exists is valid; nothing that follows checks a setting again.

mod auth;
mod blobs;
mod bus;
mod chat;
mod cluster;
mod data;
mod database;
mod delivery;
mod friends;
mod http;
mod images;
mod in_force;
pub mod limits;
mod list;
mod log;
mod mail;
mod notifications;
mod outward;
mod payments;
mod phones;
mod presence;
mod problems;
mod push;
mod sms;
mod socket;
mod sources;
mod wallets;
mod webhooks;

use std::path::Path;

use serde::Deserialize;

pub use auth::AuthConfig;
pub use blobs::BlobsConfig;
pub use bus::{BusConfig, BusKind};
pub use chat::ChatConfig;
pub use cluster::{ClusterConfig, RedisMode};
pub use data::DataConfig;
pub use database::{Backend, DatabaseConfig};
pub use delivery::DeliveryConfig;
pub use friends::FriendsConfig;
pub use http::HttpConfig;
pub use images::ImagesConfig;
pub use in_force::{Setting, SettingOrigin, Shown};
pub use limits::LimitsConfig;
pub use log::{LogConfig, LogFormat};
pub use mail::{MailConfig, MailProvider, MailTls};
pub use notifications::NotificationsConfig;
pub use outward::OutwardConfig;
pub use payments::{FakeConfig, PaymentsConfig, Payouts, StripeConfig, TossConfig};
pub use phones::PhonesConfig;
pub use presence::PresenceConfig;
pub use push::PushConfig;
pub use sms::{SmsConfig, SmsProvider, TooLong};
pub use socket::SocketConfig;
pub use sources::ConfigError;
pub use webhooks::WebhooksConfig;

use problems::Problems;

/// Everything that can be set, valid as a whole.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub mode: Mode,
    pub node: NodeConfig,
    pub http: HttpConfig,
    pub data: DataConfig,
    pub blobs: BlobsConfig,
    pub database: DatabaseConfig,
    pub cluster: ClusterConfig,
    pub bus: BusConfig,
    pub outward: OutwardConfig,
    pub log: LogConfig,
    pub auth: AuthConfig,
    pub chat: ChatConfig,
    pub notifications: NotificationsConfig,
    pub friends: FriendsConfig,
    pub images: ImagesConfig,
    pub phones: PhonesConfig,
    pub presence: PresenceConfig,
    pub delivery: DeliveryConfig,
    pub socket: SocketConfig,
    pub limits: LimitsConfig,
    pub mail: MailConfig,
    pub sms: SmsConfig,
    pub push: PushConfig,
    pub webhooks: WebhooksConfig,
    pub payments: PaymentsConfig,
    /// All of these by name, as they may be shown, with where each is from.
    #[serde(skip)]
    pub settings: Vec<Setting>,
}

/// How strict the program is about what an operator must provide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Makes missing secrets by itself.
    Development,
    /// Refuses to start without them.
    Production,
}

/// This process among others.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    pub name: String,
}

impl Config {
    /// Reads the defaults, then `file` (or `./config.toml`, if there is one), then the environment.
    ///
    /// # Errors
    /// A file that cannot be read, a key that does not exist, or a value that cannot be used: in a sentence that names it.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let found = Path::new("config.toml");
        let file = file.or_else(|| found.is_file().then_some(found));
        Self::read(file, sources::environment()?)
    }

    /// Reads the defaults, then `file`, then the given variables (`MADANG__SECTION__KEY` and its value).
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn read<K, V>(
        file: Option<&Path>,
        variables: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, ConfigError>
    where
        K: Into<String>,
        V: Into<String>,
    {
        let variables =
            variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        let (config, settings) = sources::merge::<Self>(file, variables)?;
        config.validate()?;

        Ok(Self { settings, ..config })
    }

    /// The database that `database.url` and `data.dir` choose.
    #[must_use]
    pub fn backend(&self) -> Backend {
        self.database.backend(&self.data.dir)
    }

    /// Whether the program may make up what an operator left out.
    #[must_use]
    pub fn is_production(&self) -> bool {
        self.mode == Mode::Production
    }

    fn validate(&self) -> Result<(), ConfigError> {
        let mut problems = Problems::default();

        self.validate_node(&mut problems);
        self.http.validate(&mut problems);
        self.database.validate(&mut problems);
        self.cluster.validate(&self.backend(), &mut problems);
        self.bus.validate(&mut problems);
        self.log.validate(&mut problems);
        self.auth.validate(self.mode, &mut problems);
        self.chat.validate(&mut problems);
        self.notifications.validate(&mut problems);
        self.friends.validate(&mut problems);
        self.images.validate(&mut problems);
        self.phones.validate(&mut problems);
        self.presence.validate(&mut problems);
        self.delivery.validate(&mut problems);
        self.socket.validate(&mut problems);
        self.limits.validate(&mut problems);
        self.outward.validate(&mut problems);
        self.mail.validate(&mut problems);
        self.sms.validate(&mut problems);
        self.push.validate(&mut problems);
        self.webhooks.validate(&mut problems);
        self.payments.validate(self.is_production(), &mut problems);
        self.validate_times(&mut problems);

        problems.into_result().map_err(ConfigError::Invalid)
    }

    /// What attempts at letters and those who make them may take has to fit together.
    fn validate_times(&self, problems: &mut Problems) {
        let attempt_ms = self.delivery.attempt_timeout_ms;
        let mut within_attempt = |key: &str, timeout_ms: u64| {
            if timeout_ms > attempt_ms {
                problems.add(format!(
                    "`delivery.attempt_timeout_ms` is {attempt_ms}, but must be at least `{key}`, which is {timeout_ms}: \
                     an attempt would be cut off while it may still succeed"
                ));
            }
        };
        within_attempt("outward.timeout_ms", self.outward.timeout_ms);
        if self.mail.provider != MailProvider::Smtp {
            return;
        }
        within_attempt("mail.timeout_ms", self.mail.timeout_ms);
        let (workers, connections) = (self.delivery.workers_mail, self.mail.connections_max);
        if workers > connections {
            problems.add(format!(
                "`delivery.workers_mail` is {workers}, but must be at most `mail.connections_max`, which is {connections}: \
                 mails would use up their attempts waiting for a connection"
            ));
        }
    }

    fn validate_node(&self, problems: &mut Problems) {
        let name = &self.node.name;
        let sane = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if name.is_empty() || name.len() > 64 || !name.chars().all(sane) {
            problems.add(format!(
                "`node.name` is {name:?}, but must be 1 to 64 letters, digits, `.`, `_` or `-`"
            ));
        }
        if self.data.dir.as_os_str().is_empty() {
            problems.add("`data.dir` is empty, but must name a folder");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [(&str, &str); 0] = [];

    fn refusal<const N: usize>(variables: [(&str, &str); N]) -> String {
        Config::read(None, variables).unwrap_err().to_string()
    }

    #[test]
    fn the_defaults_are_valid() {
        let config = Config::read(None, NONE).unwrap();

        assert_eq!(config.http.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(config.mode, Mode::Development);
        assert_eq!(config.data.dir, Path::new("./data"));
        assert_eq!(config.database.group_commit_max, 512);
        assert_eq!(config.socket.frame_bytes_max, 65_536);
    }

    #[test]
    fn a_variable_overrides_a_default_with_its_type() {
        let config = Config::read(
            None,
            [
                ("MADANG__HTTP__LISTEN", "[::]:0"),
                ("MADANG__HTTP__WORKERS", "3"),
                ("MADANG__HTTP__TRUSTED_PROXIES", "10.0.0.0/8, fd00::/8"),
                ("MADANG__LIMITS__ENABLED", "false"),
                ("MADANG__NODE__NAME", "007"),
                ("MADANG__MODE", "production"),
            ],
        )
        .unwrap();

        assert_eq!(config.http.listen.to_string(), "[::]:0");
        assert_eq!(config.http.workers, 3);
        assert_eq!(config.http.trusted_proxies.len(), 2);
        assert!(!config.limits.enabled);
        assert_eq!(config.node.name, "007");
        assert!(config.is_production());
    }

    #[test]
    fn a_file_overrides_a_default_and_a_variable_the_file() {
        let folder =
            std::env::temp_dir().join(format!("madang-config-{}", crate::clock::new_uuid()));
        std::fs::create_dir(&folder).unwrap();
        let file = folder.join("madang.toml");
        std::fs::write(
            &file,
            "[http]\nworkers = 5\ncors_origins = [\"https://a.example\"]\n[node]\nname = \"a\"\n",
        )
        .unwrap();

        let config = Config::read(Some(&file), [("MADANG__NODE__NAME", "b")]).unwrap();
        assert_eq!(config.http.workers, 5);
        assert_eq!(config.http.cors_origins, ["https://a.example"]);
        assert_eq!(config.node.name, "b");
        assert_eq!(config.chat.body_chars_max, 4_000);

        std::fs::write(&file, "[http]\nworkerz = 5\n").unwrap();
        let refusal = Config::read(Some(&file), NONE).unwrap_err().to_string();
        assert!(refusal.contains("`http.workerz`") && refusal.contains("madang.toml"), "{refusal}");

        std::fs::write(&file, "http = 5\n").unwrap();
        assert!(Config::read(Some(&file), NONE).is_err());

        std::fs::remove_dir_all(&folder).unwrap();
        assert!(Config::read(Some(&file), NONE).unwrap_err().to_string().contains("madang.toml"));
    }

    #[test]
    fn an_unknown_variable_is_refused_by_name() {
        for (name, key) in [
            ("MADANG__HTTP__LISTENN", "http.listenn"),
            ("MADANG__HTPP__LISTEN", "htpp.listen"),
            ("MADANG__HTTP", "http"),
            ("MADANG__HTTP__", "http."),
            ("MADANG__HTTP__LISTEN__PORT", "http.listen.port"),
        ] {
            let refusal = refusal([(name, "1")]);
            assert!(refusal.contains(name) && refusal.contains(&format!("`{key}`")), "{refusal}");
        }
    }

    #[test]
    fn a_value_of_the_wrong_type_is_refused_with_its_key() {
        for (name, key, value) in [
            ("MADANG__HTTP__WORKERS", "http.workers", "many"),
            ("MADANG__HTTP__LISTEN", "http.listen", "here"),
            ("MADANG__HTTP__TRUSTED_PROXIES", "http.trusted_proxies", "10.0.0.1/99"),
            ("MADANG__MODE", "mode", "staging"),
            ("MADANG__LOG__FORMAT", "log.format", "xml"),
            ("MADANG__SOCKET__OPS_PER_SECOND", "socket.ops_per_second", "0"),
        ] {
            let refusal = refusal([(name, value)]);
            assert!(refusal.contains(&format!("`{key}`")), "{refusal}");
        }
    }

    #[test]
    fn every_problem_is_told_at_once() {
        let refusal = refusal([
            ("MADANG__AUTH__ACCESS_TOKEN_TTL_S", "901"),
            ("MADANG__NODE__NAME", "two words"),
            ("MADANG__HTTP__CORS_ORIGINS", "*"),
            ("MADANG__DATABASE__URL", "mysql://x"),
        ]);

        for key in ["auth.access_token_ttl_s", "node.name", "http.cors_origins", "database.url"] {
            assert!(refusal.contains(&format!("`{key}`")), "{refusal}");
        }
    }

    #[test]
    fn an_attempt_has_the_time_and_the_connection_that_it_may_take() {
        let smtp = [
            ("MADANG__MAIL__PROVIDER", "smtp"),
            ("MADANG__MAIL__HOST", "mail.example.com"),
            ("MADANG__MAIL__FROM", "hello@example.com"),
        ];
        assert!(Config::read(None, smtp).is_ok());
        for (name, value, key) in [
            ("MADANG__MAIL__TIMEOUT_MS", "30001", "delivery.attempt_timeout_ms"),
            ("MADANG__OUTWARD__TIMEOUT_MS", "30001", "delivery.attempt_timeout_ms"),
            ("MADANG__MAIL__CONNECTIONS_MAX", "7", "delivery.workers_mail"),
        ] {
            let variables = smtp.into_iter().chain([(name, value)]);
            let refusal = Config::read(None, variables).unwrap_err().to_string();
            assert!(refusal.contains(&format!("`{key}`")), "{refusal}");
        }
        assert!(Config::read(None, [("MADANG__MAIL__CONNECTIONS_MAX", "1")]).is_ok(), "no mails");
    }

    #[test]
    fn a_printed_config_shows_no_password() {
        let config =
            Config::read(None, [("MADANG__DATABASE__URL", "postgres://app:hunter2@db/madang")])
                .unwrap();

        assert!(
            !format!("{config:?} {:?} {}", config.backend(), config.backend()).contains("hunter2")
        );
    }
}
