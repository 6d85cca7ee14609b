//! The outside world and its arts, each behind a small surface: couriers, password hashing, tokens, pictures and where they
//! are kept, payments, Redis, the event bus.

pub mod blobs;
pub mod bus;
pub mod codes;
pub mod couriers;
pub mod hasher;
pub mod opaque;
pub mod painter;
pub mod payments;
pub mod redis;
pub mod seal;
pub mod tokens;
