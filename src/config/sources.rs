//! Where settings come from, and the refusal of keys that nobody reads.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use config::{
    ConfigError as ReadError, Environment, File, FileFormat, Map, Source, Value, ValueKind,
};
use serde::de::DeserializeOwned;

use super::in_force::{self, Setting};

const DEFAULTS: &str = include_str!("../../config.toml");
pub(super) const PREFIX: &str = "MADANG__";

/// Why the program has no settings to start with.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is missing, not readable or not TOML.
    #[error("the settings file {path} cannot be used: {cause}", path = path.display())]
    File { path: PathBuf, cause: ReadError },
    /// Nobody reads this key: most likely a slip of the pen.
    #[error("`{key}` ({origin}) is not a setting; {known}")]
    Unknown { key: String, origin: String, known: String },
    /// The variable's value is not text.
    #[error("the environment variable {0} is not valid UTF-8")]
    NotText(String),
    /// A value has the wrong type.
    #[error("a setting cannot be used: {0}")]
    Value(ReadError),
    /// Values of the right type that make no sense, one sentence each.
    #[error("{}", .0.join("\n"))]
    Invalid(Vec<String>),
}

/// The variables of this process that are meant as settings.
pub(super) fn environment() -> Result<Vec<(String, String)>, ConfigError> {
    let named =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
    named
        .filter(|(name, _)| name.starts_with(PREFIX))
        .map(|(name, value)| match value.into_string() {
            Ok(value) => Ok((name, value)),
            Err(_) => Err(ConfigError::NotText(name)),
        })
        .collect()
}

/// Lays `file` and `variables` over the defaults and reads the result; gives every setting by name, too.
pub(super) fn merge<T: DeserializeOwned>(
    file: Option<&Path>,
    variables: Map<String, String>,
) -> Result<(T, Vec<Setting>), ConfigError> {
    let defaults = File::from_str(DEFAULTS, FileFormat::Toml);
    let all = defaults.collect().map_err(ConfigError::Value)?;
    let known = KnownKeys::of(&all);
    let mut builder = config::Config::builder().add_source(defaults);
    let mut in_file = BTreeSet::new();

    if let Some(path) = file {
        let source = File::from(path).format(FileFormat::Toml);
        let values =
            source.collect().map_err(|cause| ConfigError::File { path: path.to_owned(), cause })?;
        for key in leaves(&values) {
            known.check(&key, || format!("in {}", path.display()))?;
            in_file.insert(key);
        }
        builder = builder.add_source(source);
    }

    for name in variables.keys() {
        known.check(&in_force::key_of(name), || format!("the environment variable {name}"))?;
    }
    let environment = Environment::with_prefix("MADANG").prefix_separator("__").separator("__");
    builder = builder.add_source(environment.source(Some(variables.clone())));

    let merged = builder.build().map_err(ConfigError::Value)?;
    let values = merged.collect().map_err(ConfigError::Value)?;
    let settings = in_force::list(&all, &values, &in_file, &variables);
    Ok((merged.try_deserialize().map_err(ConfigError::Value)?, settings))
}

/// The keys of the default file, which has all of them.
struct KnownKeys(BTreeSet<String>);

impl KnownKeys {
    fn of(defaults: &Map<String, Value>) -> Self {
        Self(leaves(defaults).into_iter().collect())
    }

    fn check(&self, key: &str, origin: impl FnOnce() -> String) -> Result<(), ConfigError> {
        if self.0.contains(key) {
            return Ok(());
        }
        Err(ConfigError::Unknown { key: key.to_owned(), origin: origin(), known: self.near(key) })
    }

    /// The keys of the same section, or else the sections.
    fn near(&self, key: &str) -> String {
        let section = key.split('.').next().unwrap_or_default();
        let keys: Vec<&str> = self
            .0
            .iter()
            .filter_map(|known| known.strip_prefix(section)?.strip_prefix('.'))
            .collect();
        if !keys.is_empty() {
            return format!("section `{section}` has {}", keys.join(", "));
        }
        let sections: BTreeSet<&str> =
            self.0.iter().filter_map(|known| known.split('.').next()).collect();
        format!("the top level has {}", sections.into_iter().collect::<Vec<_>>().join(", "))
    }
}

/// The full names of all values below a table; an empty table names itself.
pub(super) fn leaves(table: &Map<String, Value>) -> Vec<String> {
    let mut names = Vec::new();
    for (key, value) in table {
        match &value.kind {
            ValueKind::Table(inner) => {
                names.extend(leaves(inner).into_iter().map(|name| format!("{key}.{name}")));
            }
            _ => names.push(key.clone()),
        }
    }

    names
}
