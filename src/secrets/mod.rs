//! Secrets: from the environment, from files that the environment names, or from the data folder.
//!
//! What an operator gives wins over what is kept in `data.dir/secrets` (folder 0700, files 0600). A missing
//! secret is made in development and refused in production.
//!
//! Invariant: a secret is never printed and never a default that another installation shares.

mod folder;
mod signing_keys;

use std::io;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::TryRngCore as _;
use rand::rngs::OsRng;
use secrecy::SecretString;

use crate::config::Config;

pub use signing_keys::{
    SigningKeys, generate_missing_signing_key, load_or_generate_signing_keys, load_signing_keys,
    rotate_signing_keys,
};

use folder::Folder;
use signing_keys::NAME as SIGNING_KEY;

/// Everything that may be kept as a secret.
pub const NAMES: [&str; 12] = [
    "bank_seal",
    "dkim_key",
    "fcm_service_account",
    SIGNING_KEY,
    "sms_key",
    "sms_secret",
    "smtp_password",
    "stripe_secret_key",
    "stripe_webhook_secret",
    "toss_secret_key",
    "vapid",
    "webhook_seal",
];

/// 256 bits: beyond guessing.
const SECRET_BYTES: usize = 32;

/// Why a secret cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Production never makes one up.
    #[error("the secret `{name}` is missing: set {variable} or {variable}_FILE, or run `{command}` to make {path}", path = path.display())]
    Missing { name: String, variable: String, command: String, path: PathBuf },
    /// Somebody else gives it, so that it cannot be made up.
    #[error("the secret `{name}` is missing: set {variable} or {variable}_FILE, or write it to {path}", path = path.display())]
    NotGiven { name: String, variable: String, path: PathBuf },
    /// Others on this machine could have read it.
    #[error("the secret file {path} can be read by other users: run `chmod 600 {path}`", path = path.display())]
    Exposed { path: PathBuf },
    /// It is there and cannot be used.
    #[error("the secret from {origin} cannot be used: {reason}")]
    Unusable { origin: String, reason: String },
    /// The file system refused.
    #[error("{path}: {cause}", path = path.display())]
    Io { path: PathBuf, cause: io::Error },
    /// The operating system gives no random numbers.
    #[error("the operating system gives no random numbers: {0}")]
    Random(String),
}

/// Gives the secret `name` (lower case letters, digits and `_`).
///
/// Looks at `MADANG_SECRET_<NAME>`, then at the file that `MADANG_SECRET_<NAME>_FILE` names, then at
/// `data.dir/secrets/<name>`, which it makes in development.
///
/// # Errors
/// [`SecretError::Missing`] in production when there is none; otherwise when it is empty or cannot be read.
pub fn load_or_generate(config: &Config, name: &str) -> Result<SecretString, SecretError> {
    check_name(name)?;
    if let Some(secret) = from_environment(name)? {
        return Ok(secret);
    }

    let folder = Folder::of(config);
    if let Some(secret) = folder.read(name, config.is_production())? {
        return Ok(secret);
    }
    if config.is_production() {
        return Err(SecretError::Missing {
            name: name.to_owned(),
            variable: variable(name),
            command: format!("madang secrets generate {name}"),
            path: folder.path(name),
        });
    }
    generate(config, name)
}

/// Gives the secret `name` that somebody else has made, such as a provider's password: from the places that
/// [`load_or_generate`] looks at, but it is made up in no mode.
///
/// # Errors
/// [`SecretError::NotGiven`] when there is none; otherwise when it is empty or cannot be read.
pub fn load(config: &Config, name: &str) -> Result<SecretString, SecretError> {
    check_name(name)?;
    if let Some(secret) = from_environment(name)? {
        return Ok(secret);
    }
    let folder = Folder::of(config);
    folder.read(name, config.is_production())?.ok_or_else(|| SecretError::NotGiven {
        name: name.to_owned(),
        variable: variable(name),
        path: folder.path(name),
    })
}

/// Whether there is a secret `name` that can be used; never what it is.
#[must_use]
pub fn is_set(config: &Config, name: &str) -> bool {
    if name == SIGNING_KEY {
        return load_signing_keys(config).is_ok_and(|keys| !keys.is_empty());
    }
    load(config, name).is_ok()
}

/// Makes the secret `name` in the data folder and gives it; one that is already there stays.
///
/// # Errors
/// When the folder cannot be written.
pub fn generate(config: &Config, name: &str) -> Result<SecretString, SecretError> {
    check_name(name)?;
    let mut bytes = [0; SECRET_BYTES];
    OsRng.try_fill_bytes(&mut bytes).map_err(|error| SecretError::Random(error.to_string()))?;
    let secret = SecretString::from(URL_SAFE_NO_PAD.encode(bytes));

    let folder = Folder::of(config);
    if folder.write_new(name, &secret)? {
        return Ok(secret);
    }
    // Another process was faster: both must use the same one.
    let path = folder.path(name);
    let unusable = || SecretError::Unusable {
        origin: path.display().to_string(),
        reason: "it vanished".to_owned(),
    };
    folder.read(name, false)?.ok_or_else(unusable)
}

/// A name is part of a path and of a variable, so it is plain.
fn check_name(name: &str) -> Result<(), SecretError> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if name.is_empty() || !name.chars().all(plain) {
        let reason = "its name must be lower case letters, digits and `_`".to_owned();
        return Err(SecretError::Unusable { origin: format!("{name:?}"), reason });
    }

    Ok(())
}

/// What the environment gives for `name`, itself or through a file.
fn from_environment(name: &str) -> Result<Option<SecretString>, SecretError> {
    let variable = variable(name);
    let file_variable = format!("{variable}_FILE");
    from_values(
        &variable,
        std::env::var(&variable).ok(),
        std::env::var_os(file_variable).map(PathBuf::from),
    )
}

fn from_values(
    variable: &str,
    value: Option<String>,
    file: Option<PathBuf>,
) -> Result<Option<SecretString>, SecretError> {
    if let Some(value) = value {
        return usable(&value, || variable.to_owned()).map(Some);
    }
    let Some(path) = file else {
        return Ok(None);
    };

    let text = std::fs::read_to_string(&path)
        .map_err(|cause| SecretError::Io { path: path.clone(), cause })?;
    usable(&text, || format!("{} ({variable}_FILE)", path.display())).map(Some)
}

/// `text` without the line end that editors add, unless nothing is left.
fn usable(text: &str, origin: impl FnOnce() -> String) -> Result<SecretString, SecretError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(SecretError::Unusable { origin: origin(), reason: "it is empty".to_owned() });
    }

    Ok(SecretString::from(text))
}

fn variable(name: &str) -> String {
    format!("MADANG_SECRET_{}", name.to_uppercase())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use secrecy::ExposeSecret as _;

    use super::folder::tests::Scratch;
    use super::*;

    #[test]
    fn development_makes_a_secret_once_and_keeps_it_private() {
        let scratch = Scratch::new();
        let config = scratch.config("development");

        let first = load_or_generate(&config, "cursor").unwrap();
        let second = load_or_generate(&config, "cursor").unwrap();

        assert_eq!(first.expose_secret(), second.expose_secret());
        assert_eq!(first.expose_secret().len(), 43);
        let mode =
            |path: &str| scratch.path().join(path).metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode("secrets"), 0o700);
        assert_eq!(mode("secrets/cursor"), 0o600);
    }

    #[test]
    fn two_secrets_are_never_the_same() {
        let scratch = Scratch::new();
        let config = scratch.config("development");

        let (one, other) = (
            load_or_generate(&config, "one").unwrap(),
            load_or_generate(&config, "other").unwrap(),
        );
        assert_ne!(one.expose_secret(), other.expose_secret());
    }

    #[test]
    fn production_refuses_a_missing_secret_and_says_how_to_make_it() {
        let scratch = Scratch::new();
        let config = scratch.config("production");

        let refusal = load_or_generate(&config, "cursor").unwrap_err().to_string();

        assert!(refusal.contains("MADANG_SECRET_CURSOR_FILE"), "{refusal}");
        assert!(refusal.contains("madang secrets generate cursor"), "{refusal}");
        assert!(!scratch.path().join("secrets").exists());
    }

    #[test]
    fn production_takes_a_secret_that_was_made_for_it() {
        let scratch = Scratch::new();
        let config = scratch.config("production");

        let made = generate(&config, "cursor").unwrap();
        assert_eq!(
            load_or_generate(&config, "cursor").unwrap().expose_secret(),
            made.expose_secret()
        );
    }

    #[test]
    fn what_only_others_can_make_is_made_up_in_no_mode() {
        let scratch = Scratch::new();
        for mode in ["development", "production"] {
            let refusal = load(&scratch.config(mode), "smtp_password").unwrap_err().to_string();
            assert!(refusal.contains("MADANG_SECRET_SMTP_PASSWORD_FILE"), "{refusal}");
        }
        assert!(!scratch.path().join("secrets").exists());

        let given = generate(&scratch.config("development"), "smtp_password").unwrap();
        let loaded = load(&scratch.config("production"), "smtp_password").unwrap();
        assert_eq!(loaded.expose_secret(), given.expose_secret());
    }

    #[test]
    fn production_refuses_a_file_that_others_can_read() {
        let scratch = Scratch::new();
        let config = scratch.config("production");
        generate(&config, "cursor").unwrap();
        let file = scratch.path().join("secrets/cursor");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();

        assert!(matches!(load_or_generate(&config, "cursor"), Err(SecretError::Exposed { .. })));
    }

    #[test]
    fn a_name_cannot_leave_the_folder() {
        let scratch = Scratch::new();
        let config = scratch.config("development");

        for name in ["", "../cursor", "a/b", "A", "a.pem"] {
            assert!(generate(&config, name).is_err(), "{name}");
            assert!(load_or_generate(&config, name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_value_wins_over_a_file_and_an_empty_one_is_refused() {
        let scratch = Scratch::new();
        let file = scratch.path().join("mounted");
        std::fs::write(&file, "from file\n").unwrap();

        let both =
            from_values("X", Some("from value".to_owned()), Some(file.clone())).unwrap().unwrap();
        assert_eq!(both.expose_secret(), "from value");
        let mounted = from_values("X", None, Some(file)).unwrap().unwrap();
        assert_eq!(mounted.expose_secret(), "from file");
        assert!(from_values("X", None, None).unwrap().is_none());
        assert!(from_values("X", Some(" ".to_owned()), None).is_err());
    }

    #[test]
    fn an_error_never_shows_the_secret() {
        let error =
            SecretError::Unusable { origin: "X".to_owned(), reason: "it is no key".to_owned() };
        assert_eq!(error.to_string(), "the secret from X cannot be used: it is no key");
        assert!(!format!("{:?}", SecretString::from("hunter2")).contains("hunter2"));
    }
}
