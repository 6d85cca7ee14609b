//! Live things: each owns a state, an order or a queue that nobody else touches.
//!
//! Calls go down the tree, events go up; nobody awaits a call to itself or its parent.

pub mod hub;
pub mod inbox;
pub mod kit;
pub mod ledger_check;
pub mod link;
pub mod nodes;
pub mod notify;
pub mod payment_webhooks;
pub mod payments;
pub mod post;
pub mod presence;
pub mod relay;
pub mod room;
pub mod schedule;
pub mod webhooks;
pub mod workflow;
