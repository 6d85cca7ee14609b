//! The outside world and its arts, each behind a small surface: mail, password hashing, tokens, Redis, the event bus.

pub mod bus;
pub mod hasher;
pub mod mail;
pub mod opaque;
pub mod redis;
pub mod tokens;
