//! Load: how many connections a worker carries, from the moment they are given to it until they are gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The connections of one worker. Clones count the same ones.
#[derive(Debug, Clone, Default)]
pub struct Load(Arc<AtomicUsize>);

impl Load {
    /// Counts one in, until the guard is dropped.
    #[must_use]
    pub fn enter(&self) -> Carried {
        self.0.fetch_add(1, Ordering::Relaxed);
        Carried(self.clone())
    }

    /// How many there are at this moment.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// One counted connection; dropping it counts it out.
#[derive(Debug)]
pub struct Carried(Load);

impl Drop for Carried {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}
