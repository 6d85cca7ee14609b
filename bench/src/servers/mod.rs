//! The processes that a run owns, on loopback and in its own folder: PostgreSQL, Redis, and madang nodes on both.
//!
//! Read `process` and `ports` (what each stands on), `postgres` and `redis`, `proxy` (what lies between), then `cluster`
//! (all together). Invariant: whatever ends a run ends them too, and none of them was there before.

pub mod cluster;
pub mod house;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod redis;
