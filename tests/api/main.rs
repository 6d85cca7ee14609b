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
mod pictures;
mod raw;
mod rows;
mod service;
mod socket;
mod user;

mod accounts;
mod accounts_mail;
mod administration;
mod blocks;
mod browser;
mod cluster;
mod crash;
mod deliveries;
mod dev_payments;
mod devices;
mod errors;
mod fake_provider;
mod friends;
mod hostile;
mod images;
mod limits;
mod lost_answer;
mod message_images;
mod message_reports;
mod messages;
mod node_figures;
mod notifications;
mod operations;
mod payments;
mod payout_files;
mod phones;
mod preferences;
mod presence;
mod refresh_cookie;
mod resume;
mod rooms;
mod schemas;
mod search;
mod service_keys;
mod settings;
mod shutdown;
mod sockets;
mod strangers;
mod streams;
mod takeover;
mod templates;
mod tokens;
mod wallet;
mod web_app;
mod webhooks;
