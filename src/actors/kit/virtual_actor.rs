//! Virtual actors: those that exist when somebody calls them.
//!
//! Each is loaded from the store before it exists, asks to be passivated when idle and is made again by the next
//! call; nothing of one life survives into the next.

use std::{
    cell::Cell,
    fmt::{Debug, Display},
    hash::Hash,
};

use actix::{Actor, Context, Message, Recipient};

use super::gate::Gate;

/// An actor made on demand for a key.
pub trait VirtualActor: Actor<Context = Context<Self>> {
    /// What names it.
    type Key: Copy + Eq + Hash + Send + Sync + Unpin + Debug + Display + 'static;
    /// What is loaded from the store before it exists.
    type Seed: Send + 'static;

    /// The label of this kind in figures and logs.
    const KIND: &'static str;
    /// Messages in its mailbox and in handling, at most.
    const MAILBOX_MAX: u32;

    /// Makes it. Runs on the arbiter of its shard.
    fn create(key: Self::Key, seed: Self::Seed, life: Life<Self>) -> Self;
}

/// Asks the shard to drain and stop one incarnation.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Passivate<K> {
    pub(super) key: K,
    pub(super) incarnation: u64,
}

/// A virtual actor's link to its own life.
pub struct Life<A: VirtualActor> {
    key: A::Key,
    incarnation: u64,
    gate: Gate,
    shard: Recipient<Passivate<A::Key>>,
    asked: Cell<bool>,
}

impl<A: VirtualActor> Life<A> {
    pub(super) fn new(
        key: A::Key,
        incarnation: u64,
        gate: Gate,
        shard: Recipient<Passivate<A::Key>>,
    ) -> Self {
        Self { key, incarnation, gate, shard, asked: Cell::new(false) }
    }

    /// Asks to be stopped without losing anything: new calls wait for the next incarnation, those that entered are
    /// handled first. Asking again changes nothing.
    pub fn passivate(&self) {
        if !self.asked.replace(true) {
            // Not through the shard's gate: a busy shard must still hear who wants to leave. Once per life.
            self.shard.do_send(Passivate { key: self.key, incarnation: self.incarnation });
        }
    }

    /// The key this life belongs to.
    #[must_use]
    pub fn key(&self) -> A::Key {
        self.key
    }

    /// The number of this life. Later ones of the same key are higher.
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// The actor's own gate. A permit taken here for work of its own holds the drain until it is dropped.
    #[must_use]
    pub fn gate(&self) -> &Gate {
        &self.gate
    }
}
