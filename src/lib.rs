//! Madang: people, rooms, presence, notifications and payments for an app, live, in one program.
//!
//! Reading order: [`domain`] (what is true and what is allowed), [`store`] (what is kept), [`providers`] (the outside
//! world), [`accounts`] (people and their logins), [`actors`] (what is alive), [`http`] and [`ws`] (how clients
//! reach it), [`app`] (how it is put together). Imports point one way along that list, never back.

pub mod accounts;
pub mod actors;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod domain;
pub mod error;
pub mod handover;
pub mod http;
pub mod origin;
pub mod providers;
pub mod secrets;
pub mod signals;
pub mod store;
pub mod telemetry;
pub mod ws;
