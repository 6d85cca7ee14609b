//! Simulation: the pure cores under a scheduler that drops, doubles, reorders and delays what they are told.
//!
//! A seed decides everything, so that a red one can be replayed. Read [`scheduler`] (what a seed is), [`model`] (the
//! world around a hub), then any suite. Controls take a safeguard away ([`sabotage`]) and have to be caught.
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "test code")]

mod model;
mod sabotage;
mod scheduler;

mod hub;
mod outbox;
mod presence;
mod slots;
