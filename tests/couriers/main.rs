//! The couriers against real servers and independent libraries, and against servers that fail in every way.
//!
//! Read [`house`] (settings and secrets of one's own), [`fake`] (an HTTP server that does as it is told) and [`tools`]
//! (what `scripts/require couriers` installs), then any suite.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "test code")]

mod fake;
mod house;
mod tools;

mod failures;
mod fcm;
mod guard;
mod sms;
mod smtp;
mod web_push;
mod webhook;
