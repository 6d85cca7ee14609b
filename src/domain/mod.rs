//! Pure types and rules: no I/O, no actix, no clock. Times and ids come in as arguments.

pub mod accounts;
pub mod backoff;
pub mod events;
pub mod ids;
pub mod messages;
pub mod passwords;
pub mod rooms;
pub mod time;
