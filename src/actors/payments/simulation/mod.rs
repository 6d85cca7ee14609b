//! The simulation of payments: the flows that serve, on the tables that serve, against the fake provider, under nodes
//! that die and sleep at every point.
//!
//! The scheduler is that of the workflows. [`ground`] is the database and the provider of a run, [`audit`] what is wrong
//! after it; [`later`] plays what is not taken at once, and [`withdrawals`] what is taken out; [`apart`] is a control.
//! Invariant: what the provider has moved is what the ledger and the payment say, and every change is told once.

mod apart;
mod audit;
mod ground;
mod later;
mod tests;
mod withdrawals;
