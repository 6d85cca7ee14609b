//! The outside world and its arts, each behind a small surface: mail, password hashing, tokens.

pub mod hasher;
pub mod mail;
pub mod opaque;
pub mod tokens;
