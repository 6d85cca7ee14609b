//! Access tokens: short-lived ES256 JWTs (RFC 9068's `at+jwt`), and the public keys to check them with.
//!
//! Invariant: a token is believed only with algorithm ES256, type `at+jwt`, a known key, our issuer and audience, and
//! before its end; nothing in the token chooses how it is checked (RFC 8725).

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode,
};
use p256::elliptic_curve::rand_core::OsRng;
use p256::elliptic_curve::sec1::ToEncodedPoint;
use p256::pkcs8::{DecodePrivateKey, EncodePrivateKey, LineEnding};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::clock;
use crate::config::AuthConfig;
use crate::domain::accounts::{AccountError, Roles};
use crate::domain::ids::{SessionId, UserId};
use crate::domain::time::Timestamp;

const TOKEN_TYPE: &str = "at+jwt";
const TOKEN_BYTES_MAX: usize = 4_096;
/// Clocks of nodes may differ by this much.
const LEEWAY: Duration = Duration::from_secs(5);

/// Whose tokens these are, for whom, and for how long.
#[derive(Debug, Clone)]
pub struct AccessTokenSettings {
    pub issuer: String,
    pub audience: String,
    pub ttl: Duration,
}

impl From<&AuthConfig> for AccessTokenSettings {
    fn from(config: &AuthConfig) -> Self {
        Self {
            issuer: config.issuer.clone(),
            audience: config.audience.clone(),
            ttl: config.access_token_ttl(),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("there is no signing key")]
    Missing,
    #[error("signing key `{0}` is not a P-256 private key in PKCS#8 PEM")]
    Malformed(String),
    #[error("there are two signing keys called `{0}`")]
    Repeated(String),
    #[error("a signing key could not be made")]
    Generation,
}

/// What a verified token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessClaims {
    pub user_id: UserId,
    pub session_id: SessionId,
    pub token_id: Uuid,
    pub roles: Roles,
    pub issued_at: Timestamp,
    pub expires_at: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: UserId,
    sid: SessionId,
    jti: Uuid,
    /// Seconds since the epoch.
    iat: i64,
    /// Seconds since the epoch.
    exp: i64,
    roles: Roles,
}

struct Key {
    id: String,
    encoding: EncodingKey,
    decoding: DecodingKey,
    x: String,
    y: String,
}

/// Signs access tokens with the newest key and verifies those of every key.
pub struct AccessTokens {
    settings: AccessTokenSettings,
    signing: Key,
    /// Still verified, no longer used to sign.
    retired: Vec<Key>,
    validation: Validation,
}

impl AccessTokens {
    /// Takes `(kid, PKCS#8 PEM)` pairs, oldest first: the last one signs, all verify.
    ///
    /// # Errors
    /// [`KeyError`] when there is none, or one of them is not a P-256 key of its own name.
    pub fn from_pems(
        pems: Vec<(String, SecretString)>,
        settings: AccessTokenSettings,
    ) -> Result<Self, KeyError> {
        let mut retired: Vec<Key> = Vec::with_capacity(pems.len());
        for (id, pem) in pems {
            if retired.iter().any(|key| key.id == id) {
                return Err(KeyError::Repeated(id));
            }
            retired.push(Key::from_pem(id, &pem)?);
        }
        let signing = retired.pop().ok_or(KeyError::Missing)?;
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.set_issuer(&[&settings.issuer]);
        validation.set_audience(&[&settings.audience]);
        // Checked below against the caller's clock.
        validation.validate_exp = false;
        Ok(Self { settings, signing, retired, validation })
    }

    /// The name of the key that signs.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.signing.id
    }

    /// Whether tokens that were signed with that key are believed.
    #[must_use]
    pub fn knows(&self, key_id: &str) -> bool {
        self.keys().any(|key| key.id == key_id)
    }

    /// How long a token is good for.
    #[must_use]
    pub fn ttl(&self) -> Duration {
        self.settings.ttl
    }

    /// Signs a token for one session of one user, good from `now` for the configured time.
    ///
    /// # Errors
    /// [`AccountError::Crypto`] when signing fails.
    pub fn issue(
        &self,
        user: UserId,
        session: SessionId,
        roles: &Roles,
        now: Timestamp,
    ) -> Result<String, AccountError> {
        let claims = Claims {
            iss: self.settings.issuer.clone(),
            aud: self.settings.audience.clone(),
            sub: user,
            sid: session,
            jti: clock::new_uuid(),
            iat: now.millis().div_euclid(1_000),
            exp: now.plus(self.settings.ttl).millis().div_euclid(1_000),
            roles: roles.clone(),
        };
        let mut header = Header::new(Algorithm::ES256);
        header.typ = Some(TOKEN_TYPE.to_owned());
        header.kid = Some(self.signing.id.clone());
        encode(&header, &claims, &self.signing.encoding).map_err(|error| {
            tracing::error!(%error, "an access token could not be signed");
            AccountError::Crypto
        })
    }

    /// Reads a token, if every part of it is as it must be.
    ///
    /// # Errors
    /// [`AccountError::Unauthenticated`] for any other; which part was wrong is not told.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<AccessClaims, AccountError> {
        self.read(token, now).ok_or(AccountError::Unauthenticated)
    }

    /// The public keys as a JSON Web Key Set (RFC 7517), the signing one first.
    #[must_use]
    pub fn jwks(&self) -> Value {
        let keys: Vec<Value> = self.keys().map(Key::jwk).collect();
        json!({ "keys": keys })
    }

    fn keys(&self) -> impl Iterator<Item = &Key> {
        std::iter::once(&self.signing).chain(&self.retired)
    }

    fn read(&self, token: &str, now: Timestamp) -> Option<AccessClaims> {
        if token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let header = decode_header(token).ok()?;
        let is_access_token = header.alg == Algorithm::ES256
            && header.typ.as_deref() == Some(TOKEN_TYPE)
            && header.crit.is_none();
        if !is_access_token {
            return None;
        }
        let id = header.kid?;
        let key = self.keys().find(|key| key.id == id)?;
        let claims = decode::<Claims>(token, &key.decoding, &self.validation).ok()?.claims;
        let issued_at = Timestamp::from_millis(claims.iat.checked_mul(1_000)?);
        let expires_at = Timestamp::from_millis(claims.exp.checked_mul(1_000)?);
        if now >= expires_at.plus(LEEWAY) || issued_at > now.plus(LEEWAY) {
            return None;
        }
        Some(AccessClaims {
            user_id: claims.sub,
            session_id: claims.sid,
            token_id: claims.jti,
            roles: claims.roles,
            issued_at,
            expires_at,
        })
    }
}

impl Key {
    fn from_pem(id: String, pem: &SecretString) -> Result<Self, KeyError> {
        let Ok(secret) = p256::SecretKey::from_pkcs8_pem(pem.expose_secret()) else {
            return Err(KeyError::Malformed(id));
        };
        let Ok(der) = secret.to_pkcs8_der() else {
            return Err(KeyError::Malformed(id));
        };
        let (x, y) = coordinates(&secret);
        Ok(Self {
            encoding: EncodingKey::from_ec_der(der.as_bytes()),
            decoding: DecodingKey::from_ec_der(
                secret.public_key().to_encoded_point(false).as_bytes(),
            ),
            x,
            y,
            id,
        })
    }

    fn jwk(&self) -> Value {
        json!({
            "kty": "EC", "crv": "P-256", "x": self.x, "y": self.y,
            "use": "sig", "alg": "ES256", "kid": self.id,
        })
    }
}

/// Makes a signing key; its name is the start of its thumbprint (RFC 7638), so equal names mean equal keys.
///
/// # Errors
/// [`KeyError::Generation`] when it cannot be encoded.
pub fn generate_pem() -> Result<(String, SecretString), KeyError> {
    let secret = p256::SecretKey::random(&mut OsRng);
    let (x, y) = coordinates(&secret);
    // The members in alphabetical order, without spaces: the form that is hashed.
    let thumbprint = Sha256::digest(format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#));
    let id = URL_SAFE_NO_PAD.encode(thumbprint).chars().take(16).collect();
    let pem = secret.to_pkcs8_pem(LineEnding::LF).map_err(|_| KeyError::Generation)?;
    Ok((id, pem.as_str().into()))
}

fn coordinates(secret: &p256::SecretKey) -> (String, String) {
    let point = secret.public_key().to_encoded_point(false);
    let encoded =
        |part: Option<&p256::FieldBytes>| URL_SAFE_NO_PAD.encode(part.map_or(&[][..], |part| part));
    (encoded(point.x()), encoded(point.y()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::accounts::Role;

    const NOW: Timestamp = Timestamp::from_millis(1_795_244_400_000);

    fn settings() -> AccessTokenSettings {
        AccessTokenSettings {
            issuer: "https://madang.example".to_owned(),
            audience: "madang".to_owned(),
            ttl: Duration::from_mins(15),
        }
    }

    fn tokens(pems: &[(String, SecretString)]) -> AccessTokens {
        AccessTokens::from_pems(pems.to_vec(), settings()).unwrap()
    }

    fn issue(tokens: &AccessTokens) -> String {
        let roles = Roles::from_iter([Role::User]);
        tokens.issue(clock::new_uuid().into(), clock::new_uuid().into(), &roles, NOW).unwrap()
    }

    /// Signs whatever header and claims a test wants with the key of `tokens`.
    fn forge(tokens: &AccessTokens, header: &Header, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = json!({
            "iss": "https://madang.example", "aud": "madang", "sub": clock::new_uuid(), "sid": clock::new_uuid(),
            "jti": clock::new_uuid(), "iat": 1_795_244_400, "exp": 1_795_245_300, "roles": ["USER"],
        });
        change(&mut claims);
        encode(header, &claims, &tokens.signing.encoding).unwrap()
    }

    fn header(tokens: &AccessTokens) -> Header {
        let mut header = Header::new(Algorithm::ES256);
        header.typ = Some(TOKEN_TYPE.to_owned());
        header.kid = Some(tokens.signing.id.clone());
        header
    }

    #[test]
    fn a_token_says_who_and_for_how_long() {
        let tokens = tokens(&[generate_pem().unwrap()]);
        let (user, session) = (UserId::from(clock::new_uuid()), SessionId::from(clock::new_uuid()));
        let roles = Roles::from_iter([Role::User, Role::Admin]);

        let token = tokens.issue(user, session, &roles, NOW).unwrap();
        let claims = tokens.verify(&token, NOW).unwrap();

        assert_eq!((claims.user_id, claims.session_id, claims.roles), (user, session, roles));
        assert_eq!(claims.expires_at, NOW.plus(Duration::from_mins(15)));
        let header = decode_header(&token).unwrap();
        assert_eq!((header.typ.as_deref(), header.alg), (Some("at+jwt"), Algorithm::ES256));
    }

    #[test]
    fn a_token_ends() {
        let tokens = tokens(&[generate_pem().unwrap()]);
        let token = issue(&tokens);
        let end = NOW.plus(Duration::from_mins(15));

        assert!(tokens.verify(&token, end).is_ok());
        assert!(tokens.verify(&token, end.plus(LEEWAY)).is_err());
        assert!(tokens.verify(&token, NOW.minus(Duration::from_mins(1))).is_err());
    }

    #[test]
    fn the_newest_key_signs_and_the_older_ones_still_verify() {
        let (old, new) = (generate_pem().unwrap(), generate_pem().unwrap());
        let before = tokens(std::slice::from_ref(&old));
        let after = tokens(&[old.clone(), new.clone()]);

        assert!(after.verify(&issue(&before), NOW).is_ok());
        assert_eq!(decode_header(issue(&after)).unwrap().kid, Some(new.0));
        assert!(before.verify(&issue(&after), NOW).is_err());
        assert_eq!(after.jwks()["keys"].as_array().unwrap().len(), 2);
        assert_eq!(after.jwks()["keys"][1]["kid"], old.0);
    }

    #[test]
    fn tokens_of_another_kind_audience_issuer_or_key_are_refused() {
        let tokens = tokens(&[generate_pem().unwrap()]);
        let sound = header(&tokens);
        assert!(tokens.verify(&forge(&tokens, &sound, |_| ()), NOW).is_ok());

        let plain_type = Header { typ: Some("JWT".to_owned()), ..sound.clone() };
        let no_type = Header { typ: None, ..sound.clone() };
        let no_key = Header { kid: None, ..sound.clone() };
        let other_key = Header { kid: Some("other".to_owned()), ..sound.clone() };
        let critical = Header { crit: Some(vec!["exp".to_owned()]), ..sound.clone() };
        for wrong in [plain_type, no_type, no_key, other_key, critical] {
            assert!(tokens.verify(&forge(&tokens, &wrong, |_| ()), NOW).is_err(), "{wrong:?}");
        }
        for (claim, value) in [
            ("aud", json!("else")),
            ("iss", json!("https://else.example")),
            ("exp", json!(null)),
            ("exp", json!("soon")),
            ("exp", json!(i64::MAX)),
            ("sub", json!("me")),
            ("sid", json!(null)),
            ("iat", json!(1_795_248_000)),
        ] {
            let token = forge(&tokens, &sound, |claims| claims[claim] = value.clone());
            assert!(tokens.verify(&token, NOW).is_err(), "{claim} = {value}");
        }
    }

    #[test]
    fn another_algorithm_is_refused_whatever_it_is_signed_with() {
        let tokens = tokens(&[generate_pem().unwrap()]);
        let token = issue(&tokens);
        let (_, rest) = token.split_once('.').unwrap();
        let kid = &tokens.signing.id;
        for alg in ["none", "HS256", "ES384"] {
            let header = URL_SAFE_NO_PAD
                .encode(json!({"alg": alg, "typ": TOKEN_TYPE, "kid": kid}).to_string());
            assert!(tokens.verify(&format!("{header}.{rest}"), NOW).is_err(), "{alg}");
        }
        // The public key as an HMAC secret: the classic confusion.
        let mut header = header(&tokens);
        header.alg = Algorithm::HS256;
        let secret = EncodingKey::from_secret(tokens.jwks().to_string().as_bytes());
        let token = encode(&header, &json!({"sub": "x"}), &secret).unwrap();
        assert!(tokens.verify(&token, NOW).is_err());
    }

    #[test]
    fn a_changed_or_cut_token_is_refused() {
        let tokens = tokens(&[generate_pem().unwrap()]);
        let token = issue(&tokens);
        let cut = token.get(..token.len() - 2).unwrap();

        for wrong in ["", ".", "..", "a.b.c", cut, &token.replace('.', ""), &"a".repeat(10_000)] {
            assert_eq!(tokens.verify(wrong, NOW), Err(AccountError::Unauthenticated));
        }
    }

    #[test]
    fn keys_must_be_there_sound_and_distinct() {
        let pem = generate_pem().unwrap();

        assert!(matches!(AccessTokens::from_pems(vec![], settings()), Err(KeyError::Missing)));
        assert!(matches!(
            AccessTokens::from_pems(vec![("a".to_owned(), "nonsense".into())], settings()),
            Err(KeyError::Malformed(_)),
        ));
        assert!(matches!(
            AccessTokens::from_pems(vec![pem.clone(), pem], settings()),
            Err(KeyError::Repeated(_)),
        ));
    }
}
