//! Pure types and rules: no I/O, no actix, no clock. Times and ids come in as arguments.

pub mod accounts;
pub mod backoff;
pub mod cloud_events;
pub mod events;
pub mod gcra;
pub mod ids;
pub mod inbox;
pub mod messages;
pub mod passwords;
pub mod presence;
pub mod rooms;
pub mod time;

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
