//! Black-box tests: the real binary on a real port, over real HTTP and sockets, on both databases.
//!
//! Read [`app`] (a server of one's own), [`user`] and [`socket`] (clients that speak the domain), then any suite.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "test code")]

#[macro_use]
mod both;

mod answer;
mod app;
mod database;
mod event_stream;
mod raw;
mod socket;
mod user;

mod accounts;
mod accounts_mail;
mod browser;
mod cluster;
mod crash;
mod errors;
mod hostile;
mod limits;
mod lost_answer;
mod messages;
mod presence;
mod resume;
mod rooms;
mod schemas;
mod shutdown;
mod sockets;
mod streams;
mod takeover;
mod tokens;
