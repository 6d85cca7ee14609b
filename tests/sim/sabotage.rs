//! Sabotage: the safeguards that a control takes away, to see that the simulation misses them.

/// What is taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sabotage {
    Nothing,
    /// Whoever has the last page counts as live, whatever came in meanwhile.
    Gate,
    /// A subscription begins one event before what its client asked for.
    Start,
    /// A client keeps what it has already.
    Repeats,
    /// What the hub is sent goes to its clients as it is.
    Order,
    /// A stale exit is taken for that of the present life.
    Incarnation,
}
