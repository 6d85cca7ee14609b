//! How long it took each of many clients to be live, from when all were sent on their way.

use std::cell::{Cell, RefCell};

use hdrhistogram::Histogram;
use tokio::time::Instant;

use crate::report::figure;
use crate::tally::histogram;

#[derive(Debug)]
pub struct Arrivals {
    since: Cell<Instant>,
    took_us: RefCell<Histogram<u64>>,
}

impl Arrivals {
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self { since: Cell::new(Instant::now()), took_us: RefCell::new(histogram()?) })
    }

    /// Forgets who has arrived and counts from now on.
    pub fn begin_anew(&self) {
        self.since.set(Instant::now());
        self.took_us.borrow_mut().reset();
    }

    pub fn since(&self) -> Instant {
        self.since.get()
    }

    pub fn add(&self) {
        let took_us = u64::try_from(self.since.get().elapsed().as_micros()).unwrap_or(u64::MAX);
        self.took_us.borrow_mut().saturating_record(took_us);
    }

    pub fn count(&self) -> usize {
        usize::try_from(self.took_us.borrow().len()).unwrap_or(usize::MAX)
    }

    pub fn seconds(&self, quantile: f64) -> f64 {
        figure(self.took_us.borrow().value_at_quantile(quantile)) / 1_000_000.0
    }
}
