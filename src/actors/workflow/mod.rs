//! Workflows: work of many steps, such as a payment, that goes on where it stopped, whatever dies meanwhile.
//!
//! Read [`flow`] (what a workflow consists of), [`engine`] (how one step is taken), [`driving`] (how a workflow goes from
//! step to step) and [`supervisor`] (what does so on a node). `compensating` turns one back that a person has given up.

mod compensating;
pub mod driving;
pub mod engine;
mod figures;
pub mod flow;
#[cfg(test)]
pub(super) mod simulation;
pub mod supervisor;
#[cfg(test)]
mod tests;
mod turn;
