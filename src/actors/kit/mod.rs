//! The actor kit: what actix leaves to its users.
//!
//! Read [`gate`] (bounded entry), [`handle`] (calls that say what happened), [`supervise`] (a life under
//! `catch_unwind`), [`restart`] (how often is too often), [`permanent`] (actors that must be there), then
//! [`virtual_actor`] and [`registry`] (actors made on demand; inside, the slot machine and its shard).
//!
//! Invariants: no raw address leaves this folder; a call learns either that it never ran or that nobody knows;
//! one key has at most one living incarnation.

pub mod gate;
pub mod handle;
#[cfg(test)]
mod lifecycle;
pub mod metrics;
pub mod permanent;
#[cfg(test)]
mod probe;
pub mod registry;
pub mod restart;
mod shard;
pub mod slots;
#[cfg(test)]
mod stress;
pub mod supervise;
pub mod virtual_actor;
pub mod vital;
