//! Pure types and rules: no I/O, no actix, no clock. Times and ids come in as arguments.

pub mod accounts;
pub mod audit;
pub mod backoff;
pub mod bank_accounts;
pub mod breaker;
pub mod calendar;
pub mod cloud_events;
pub mod deliveries;
pub mod devices;
pub mod digests;
pub mod events;
pub mod follows;
pub mod friends;
pub mod gcra;
pub mod idempotency;
pub mod ids;
pub mod images;
pub mod inbox;
pub mod journal;
pub mod ledger;
pub mod letters;
pub mod locales;
pub mod masking;
pub mod media;
pub mod message_reports;
pub mod messages;
pub mod money;
pub mod names;
pub mod notifications;
pub mod passwords;
pub mod payments;
pub mod payouts;
pub mod phones;
pub mod preferences;
pub mod presence;
pub mod privacy;
pub mod profiles;
pub mod pushes;
pub mod quiet_hours;
pub mod reconciliation;
pub mod rooms;
pub mod service_keys;
pub mod settings;
pub mod settlements;
pub mod sms;
pub mod templates;
pub mod throttles;
pub mod time;
pub mod unsubscribe;
pub mod wallets;
pub mod webhook_signatures;
pub mod webhooks;
pub mod withdrawals;
pub mod workflows;

macro_rules! stored_as {
    ($name:ident { $($variant:ident = $text:literal),+ }) => {
        impl $name {
            /// The word for it in the store and in JSON.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            /// Reads the word back; `None` for any other.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

pub(crate) use stored_as;
