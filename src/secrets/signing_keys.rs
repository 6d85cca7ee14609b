//! The ES256 keys that sign access tokens: the newest signs, all verify.
//!
//! Each is a PKCS#8 PEM file in `data.dir/secrets/jwt`; its name is the `kid`. Names made here are `UUIDv7`, so the
//! last in order is the newest.

use p256::SecretKey;
use p256::elliptic_curve::rand_core::OsRng;
use p256::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, EncodePublicKey as _, LineEnding};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

use super::folder::Folder;
use super::{SecretError, from_environment, variable};
use crate::clock;
use crate::config::Config;

pub(super) const NAME: &str = "jwt_key";
const FOLDER: &str = "jwt";
const EXTENSION: &str = "pem";
const KID_BYTES_MAX: usize = 64;

/// Key ids and PKCS#8 PEMs, oldest first; never empty. The last one signs.
pub type SigningKeys = Vec<(String, SecretString)>;

/// Gives the signing keys: the one in `MADANG_SECRET_JWT_KEY` (or `…_FILE`), else those in the data folder,
/// where development makes the first.
///
/// # Errors
/// [`SecretError::Missing`] in production when there is none; [`SecretError::Unusable`] for a file that holds
/// no P-256 key.
pub fn load_or_generate_signing_keys(config: &Config) -> Result<SigningKeys, SecretError> {
    let keys = load_signing_keys(config)?;
    if !keys.is_empty() {
        return Ok(keys);
    }
    if config.is_production() {
        return Err(SecretError::Missing {
            name: NAME.to_owned(),
            variable: variable(NAME),
            command: "madang secrets generate".to_owned(),
            path: folder(config).path("<kid>.pem"),
        });
    }

    rotate_signing_keys(config)?;
    load_folder(config)
}

/// Gives the signing keys that there are; none is no error.
///
/// # Errors
/// [`SecretError::Unusable`] for a value or file that holds no P-256 key.
pub fn load_signing_keys(config: &Config) -> Result<SigningKeys, SecretError> {
    match from_environment(NAME)? {
        Some(pem) => Ok(vec![(thumbprint(&variable(NAME), &pem)?, pem)]),
        None => load_folder(config),
    }
}

/// Makes the first signing key and gives its id, unless there is one.
///
/// # Errors
/// As [`load_signing_keys`], or when the folder cannot be written.
pub fn generate_missing_signing_key(config: &Config) -> Result<Option<String>, SecretError> {
    if load_signing_keys(config)?.is_empty() {
        rotate_signing_keys(config).map(Some)
    } else {
        Ok(None)
    }
}

/// Adds a key that signs from the next start on; the older ones go on verifying. Gives its id.
///
/// # Errors
/// When the folder cannot be written.
pub fn rotate_signing_keys(config: &Config) -> Result<String, SecretError> {
    let kid = clock::new_uuid().to_string();
    folder(config).write_new(&format!("{kid}.{EXTENSION}"), &generate_signing_key()?)?;

    Ok(kid)
}

/// A new P-256 key as PKCS#8 PEM.
fn generate_signing_key() -> Result<SecretString, SecretError> {
    let pem = SecretKey::random(&mut OsRng).to_pkcs8_pem(LineEnding::LF);
    let pem = pem.map_err(|error| unusable("the generator", &error))?;

    Ok(SecretString::from(pem.as_str()))
}

fn load_folder(config: &Config) -> Result<SigningKeys, SecretError> {
    let folder = folder(config);
    let mut keys = SigningKeys::new();
    for file in folder.names(EXTENSION)? {
        let path = folder.path(&file).display().to_string();
        let kid = file.trim_end_matches(".pem");
        let sane = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if kid.is_empty() || kid.len() > KID_BYTES_MAX || !kid.chars().all(sane) {
            return Err(unusable(
                &path,
                &"its name must be 1 to 64 letters, digits, `.`, `_` or `-`",
            ));
        }
        let Some(pem) = folder.read(&file, config.is_production())? else {
            continue;
        };
        parse(&path, &pem)?;
        keys.push((kid.to_owned(), pem));
    }

    Ok(keys)
}

fn folder(config: &Config) -> Folder {
    Folder::of(config).inner(FOLDER)
}

fn parse(origin: &str, pem: &SecretString) -> Result<SecretKey, SecretError> {
    let key = SecretKey::from_pkcs8_pem(pem.expose_secret());
    key.map_err(|error| {
        unusable(origin, &format_args!("it is no P-256 key in PKCS#8 PEM ({error})"))
    })
}

/// A key id that every node derives alike from a key that came without a name.
fn thumbprint(origin: &str, pem: &SecretString) -> Result<String, SecretError> {
    let public = parse(origin, pem)?
        .public_key()
        .to_public_key_der()
        .map_err(|error| unusable(origin, &error))?;
    let digest = Sha256::digest(public.as_bytes());

    Ok(digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect())
}

fn unusable(origin: &str, reason: &dyn std::fmt::Display) -> SecretError {
    SecretError::Unusable { origin: origin.to_owned(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::super::folder::tests::Scratch;
    use super::*;

    #[test]
    fn development_makes_the_first_key_and_keeps_it() {
        let scratch = Scratch::new();
        let config = scratch.config("development");

        let first = load_or_generate_signing_keys(&config).unwrap();
        let second = load_or_generate_signing_keys(&config).unwrap();

        assert_eq!(first.len(), 1);
        assert_eq!(first[0].0, second[0].0);
        assert_eq!(first[0].1.expose_secret(), second[0].1.expose_secret());
    }

    #[test]
    fn a_rotated_key_comes_last_and_the_older_one_stays() {
        let scratch = Scratch::new();
        let config = scratch.config("development");
        let old = load_or_generate_signing_keys(&config).unwrap();

        let kid = rotate_signing_keys(&config).unwrap();

        let keys = load_or_generate_signing_keys(&config).unwrap();
        assert_eq!(keys.iter().map(|(kid, _)| kid).collect::<Vec<_>>(), [&old[0].0, &kid]);
    }

    #[test]
    fn production_starts_only_with_a_key_that_was_made_for_it() {
        let scratch = Scratch::new();
        let config = scratch.config("production");

        let refusal = load_or_generate_signing_keys(&config).unwrap_err().to_string();
        assert!(refusal.contains("madang secrets generate"), "{refusal}");

        rotate_signing_keys(&config).unwrap();
        assert_eq!(load_or_generate_signing_keys(&config).unwrap().len(), 1);
    }

    #[test]
    fn a_file_that_is_no_key_is_refused_by_name() {
        let scratch = Scratch::new();
        let config = scratch.config("development");
        folder(&config).write_new("broken.pem", &"hunter2".into()).unwrap();

        let refusal = load_or_generate_signing_keys(&config).unwrap_err().to_string();
        assert!(refusal.contains("broken.pem") && !refusal.contains("hunter2"), "{refusal}");
    }

    #[test]
    fn the_id_of_a_nameless_key_depends_on_the_key_only() {
        let (one, other) = (generate_signing_key().unwrap(), generate_signing_key().unwrap());

        assert_eq!(thumbprint("X", &one).unwrap(), thumbprint("X", &one).unwrap());
        assert_ne!(thumbprint("X", &one).unwrap(), thumbprint("X", &other).unwrap());
    }
}
