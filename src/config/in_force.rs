//! Settings in force: each with its value and where that is from, for whoever looks after an installation.
//!
//! Invariant: what may hold a password is not shown, only whether it is set; and an address is shown without what logs in.

use std::collections::BTreeSet;

use config::{Map, Value, ValueKind};
use serde_json::Value as Json;

use super::sources::PREFIX;

/// Addresses with logins in them.
const SECRET: [&str; 3] = ["database.url", "cluster.redis_url", "bus.url"];
/// What stands in the place of a login.
const MASK: &str = "***";

/// A setting as it is in force.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// Such as `http.listen`.
    pub name: String,
    pub shown: Shown,
    pub origin: SettingOrigin,
}

/// What may be seen of a setting.
#[derive(Debug, Clone, PartialEq)]
pub enum Shown {
    Value(Json),
    /// It is not shown; whether it is set.
    Secret {
        is_set: bool,
    },
}

/// Who has the last word about a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettingOrigin {
    Default,
    File,
    Environment,
}

impl SettingOrigin {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::File => "file",
            Self::Environment => "environment",
        }
    }
}

/// Every setting, by name: `defaults` has all of them, with the types that they have; `merged` what is in force.
pub(super) fn list(
    defaults: &Map<String, Value>,
    merged: &Map<String, Value>,
    in_file: &BTreeSet<String>,
    variables: &Map<String, String>,
) -> Vec<Setting> {
    let in_environment: BTreeSet<String> = variables.keys().map(|name| key_of(name)).collect();
    let mut settings: Vec<Setting> = super::sources::leaves(defaults)
        .into_iter()
        .filter_map(|name| {
            let (default, value) = (find(defaults, &name)?, find(merged, &name)?);
            let origin = if in_environment.contains(&name) {
                SettingOrigin::Environment
            } else if in_file.contains(&name) {
                SettingOrigin::File
            } else {
                SettingOrigin::Default
            };
            let shown = shown(&name, typed(value, default));
            Some(Setting { name, shown, origin })
        })
        .collect();
    settings.sort_by(|one, other| one.name.cmp(&other.name));
    settings
}

/// The setting that a variable is meant for.
pub(super) fn key_of(variable: &str) -> String {
    variable.strip_prefix(PREFIX).unwrap_or(variable).to_lowercase().replace("__", ".")
}

fn find<'v>(table: &'v Map<String, Value>, name: &str) -> Option<&'v Value> {
    match name.split_once('.') {
        None => table.get(name),
        Some((section, rest)) => match &table.get(section)?.kind {
            ValueKind::Table(inner) => find(inner, rest),
            _ => None,
        },
    }
}

/// The value as the default has it: variables are texts, whatever they are read as.
fn typed(value: &Value, default: &Value) -> Json {
    let value = value.clone();
    match &default.kind {
        ValueKind::Boolean(_) => value.into_bool().map_or(Json::Null, Json::from),
        ValueKind::I64(_) | ValueKind::U64(_) | ValueKind::I128(_) | ValueKind::U128(_) => {
            value.into_int().map_or(Json::Null, Json::from)
        }
        ValueKind::Float(_) => value.into_float().map_or(Json::Null, Json::from),
        ValueKind::Array(_) => listed(value),
        ValueKind::Nil | ValueKind::String(_) | ValueKind::Table(_) => {
            value.into_string().map_or(Json::Null, Json::from)
        }
    }
}

fn listed(value: Value) -> Json {
    if let ValueKind::String(text) = &value.kind {
        let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        return entries.map(Json::from).collect();
    }
    let entries = value.into_array().unwrap_or_default();
    entries.into_iter().filter_map(|entry| entry.into_string().ok()).collect()
}

fn shown(name: &str, value: Json) -> Shown {
    if SECRET.contains(&name) {
        return Shown::Secret { is_set: value.as_str().is_some_and(|text| !text.is_empty()) };
    }
    Shown::Value(match value {
        Json::String(text) => Json::String(without_login(&text)),
        Json::Array(entries) => entries
            .into_iter()
            .map(|entry| entry.as_str().map_or(entry.clone(), |text| without_login(text).into()))
            .collect(),
        other => other,
    })
}

/// An address without what stands before its host; any other text as it is.
fn without_login(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{MASK}@{host}{path}"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::Config;

    fn found(config: &Config, name: &str) -> (Shown, SettingOrigin) {
        let setting = config.settings.iter().find(|setting| setting.name == name).unwrap();
        (setting.shown.clone(), setting.origin)
    }

    #[test]
    fn each_is_told_with_its_type_and_where_it_is_from() {
        let file = std::env::temp_dir().join(format!("madang-{}.toml", crate::clock::new_uuid()));
        std::fs::write(&file, "[http]\nworkers = 5\n[node]\nname = \"a\"\n").unwrap();
        let variables = [
            ("MADANG__NODE__NAME", "b"),
            ("MADANG__LIMITS__ENABLED", "false"),
            ("MADANG__CHAT__PINS_MAX", "7"),
            ("MADANG__HTTP__TRUSTED_PROXIES", "10.0.0.0/8, fd00::/8"),
        ];

        let config = Config::read(Some(&file), variables).unwrap();

        std::fs::remove_file(file).unwrap();
        for (name, value, origin) in [
            ("http.workers", json!(5), SettingOrigin::File),
            ("node.name", json!("b"), SettingOrigin::Environment),
            ("limits.enabled", json!(false), SettingOrigin::Environment),
            ("chat.pins_max", json!(7), SettingOrigin::Environment),
            ("chat.body_chars_max", json!(4_000), SettingOrigin::Default),
            ("http.trusted_proxies", json!(["10.0.0.0/8", "fd00::/8"]), SettingOrigin::Environment),
            ("payments.fake.fee_bps", json!(300), SettingOrigin::Default),
            ("mode", json!("development"), SettingOrigin::Default),
        ] {
            assert_eq!(found(&config, name), (Shown::Value(value), origin), "{name}");
        }
        assert!(config.settings.len() > 150, "{}", config.settings.len());
        assert!(config.settings.is_sorted_by(|one, other| one.name < other.name));
    }

    #[test]
    fn no_password_is_told() {
        let variables = [
            ("MADANG__DATABASE__URL", "postgres://app:hunter2@db/madang?password=hunter2"),
            ("MADANG__CLUSTER__REDIS_MODE", "cluster"),
            ("MADANG__CLUSTER__REDIS_URL", "redis://:hunter2@one, redis://:hunter2@two"),
            ("MADANG__BUS__KIND", "redis"),
            ("MADANG__BUS__URL", "redis://:hunter2@bus"),
            ("MADANG__PAYMENTS__FAKE__URL", "http://me:hunter2@127.0.0.1:8090/x"),
        ];

        let config = Config::read(None, variables).unwrap();

        let told = format!("{:?}", config.settings);
        assert!(!told.contains("hunter2"), "{told}");
        for name in SECRET {
            assert_eq!(found(&config, name).0, Shown::Secret { is_set: true }, "{name}");
        }
        let fake = found(&config, "payments.fake.url").0;
        assert_eq!(fake, Shown::Value(json!("http://***@127.0.0.1:8090/x")));
        let none = Config::read(None, [("MADANG__NODE__NAME", "a")]).unwrap();
        assert_eq!(found(&none, "bus.url").0, Shown::Secret { is_set: false });
    }

    #[test]
    fn only_a_login_is_taken_out_of_an_address() {
        for text in ["", "a@b", "https://a.example/@b", "https://a.example?q=@", "mailto:a@b"] {
            assert_eq!(without_login(text), text);
        }
        assert_eq!(without_login("nats://a:b@c@d:4222"), "nats://***@d:4222");
    }
}
