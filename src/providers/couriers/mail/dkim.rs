//! DKIM: signs mails so that receivers know whose they are (RFC 6376, RFC 8463).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lettre::message::Message;
use lettre::message::dkim::{
    DkimCanonicalization, DkimCanonicalizationType, DkimConfig, DkimSigningAlgorithm,
    DkimSigningKey,
};
use lettre::message::header::HeaderName;
use p256::pkcs8::der::Decode as _;
use p256::pkcs8::der::asn1::OctetStringRef;
use p256::pkcs8::der::pem::{LineEnding, encode_string};
use p256::pkcs8::{ObjectIdentifier, PrivateKeyInfo, SecretDocument};
use secrecy::{ExposeSecret as _, SecretString};

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// What is signed. RFC 8058 asks for the two that end a mailing; one that a mail does not have cannot be added later.
/// `Content-Type` is left out: the library writes that of a mail with parts after it has signed.
const HEADERS: [&str; 10] = [
    "From",
    "To",
    "Subject",
    "Date",
    "Message-ID",
    "Reply-To",
    "MIME-Version",
    "Auto-Submitted",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
];

/// Signs in the name of one domain.
pub(super) struct Dkim(DkimConfig);

impl Dkim {
    /// `key` is an RSA key in PEM (PKCS#1 or PKCS#8), an Ed25519 key in PEM (PKCS#8), or its 32 bytes in base64.
    pub(super) fn new(selector: &str, domain: &str, key: &SecretString) -> Result<Self, String> {
        // Relaxed: servers on the way fold lines and drop spaces at their ends.
        let canonicalization = DkimCanonicalization {
            header: DkimCanonicalizationType::Relaxed,
            body: DkimCanonicalizationType::Relaxed,
        };
        let headers = HEADERS.map(HeaderName::new_from_ascii_str).into();
        Ok(Self(DkimConfig::new(
            selector.to_owned(),
            domain.to_owned(),
            signing_key(key.expose_secret())?,
            headers,
            canonicalization,
        )))
    }

    pub(super) fn sign(&self, message: &mut Message) {
        message.sign(&self.0);
    }
}

fn signing_key(text: &str) -> Result<DkimSigningKey, String> {
    use DkimSigningAlgorithm::{Ed25519, Rsa};

    let made = |text: &str, algorithm| {
        DkimSigningKey::new(text, algorithm).map_err(|error| error.to_string())
    };
    if text.contains("BEGIN RSA PRIVATE KEY") {
        return made(text, Rsa);
    }
    if !text.contains("-----BEGIN") {
        return made(text, Ed25519);
    }
    let unusable = "it is no RSA or Ed25519 key in PEM";
    let (_, document) = SecretDocument::from_pem(text).map_err(|_| unusable.to_owned())?;
    let info = PrivateKeyInfo::from_der(document.as_bytes()).map_err(|_| unusable.to_owned())?;
    match info.algorithm.oid {
        RSA => {
            let pem = encode_string("RSA PRIVATE KEY", LineEnding::LF, info.private_key);
            made(&pem.map_err(|_| unusable.to_owned())?, Rsa)
        }
        ED25519 => {
            let seed = OctetStringRef::from_der(info.private_key);
            made(&STANDARD.encode(seed.map_err(|_| unusable.to_owned())?.as_bytes()), Ed25519)
        }
        _ => Err(unusable.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519_PEM: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n\
        -----END PRIVATE KEY-----\n";
    const ED25519_SEED: &str = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";

    #[test]
    fn an_ed25519_key_is_taken_in_both_its_forms() {
        for key in [ED25519_PEM, ED25519_SEED] {
            assert!(Dkim::new("mail", "example.com", &key.into()).is_ok());
        }
    }

    #[test]
    fn what_is_no_key_is_refused_without_being_shown() {
        let ec = "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----";
        for key in ["hunter2", ec, "-----BEGIN RSA PRIVATE KEY-----\nhunter2"] {
            let refusal = Dkim::new("mail", "example.com", &key.into()).err().unwrap();
            assert!(!refusal.contains("hunter2"), "{refusal}");
        }
    }
}
