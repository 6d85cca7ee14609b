//! Workflows: work of many steps, such as a payment, that goes on where it stopped, whatever dies meanwhile.
//!
//! Read [`flow`] (what a workflow consists of) and [`engine`] (how it is moved on).

pub mod engine;
pub mod flow;
#[cfg(test)]
mod simulation;
