//! How much later the members on another node are given a message than those on its sender's own.
//!
//! All of them are read by one process, so there is one clock. The first to be given it there is compared with the first
//! here, the second with the second, and so on: what the reading costs, both sides pay.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Instant;

use hdrhistogram::Histogram;

use crate::stamp::{self, Stamp};
use crate::tally::histogram;

#[derive(Debug)]
pub struct Hops {
    /// By room and seat, the node that it is on.
    nodes: Vec<Vec<usize>>,
    /// The first number of each publisher that counts.
    from: u32,
    /// Messages that not everybody has been given, by room, publisher and number.
    open: RefCell<HashMap<(usize, u16, u32), Arrivals>>,
    took_us: RefCell<Histogram<u64>>,
}

/// When a message was given to each member, in nanoseconds.
#[derive(Debug, Default)]
struct Arrivals {
    here: Vec<u64>,
    there: Vec<u64>,
}

impl Hops {
    /// `nodes` tells, by room and seat, where a member is; the publishers are the first seats.
    pub fn new(nodes: Vec<Vec<usize>>, from: u32) -> anyhow::Result<Self> {
        Ok(Self { nodes, from, open: RefCell::default(), took_us: RefCell::new(histogram()?) })
    }

    /// The member on `seat` of `room` was given a message now.
    pub fn hear(&self, room: usize, seat: usize, stamp: Stamp) {
        self.hear_at(room, seat, stamp, stamp::nanos(Instant::now()));
    }

    fn hear_at(&self, room: usize, seat: usize, stamp: Stamp, now_ns: u64) {
        let Some(nodes) = self.nodes.get(room).filter(|_| stamp.number >= self.from) else {
            return;
        };
        let key = (room, stamp.publisher, stamp.number);
        let mut open = self.open.borrow_mut();
        let arrivals = open.entry(key).or_default();
        let is_here = nodes.get(seat) == nodes.get(usize::from(stamp.publisher));
        let side = if is_here { &mut arrivals.here } else { &mut arrivals.there };
        side.push(now_ns);
        if arrivals.here.len() + arrivals.there.len() < nodes.len() {
            return;
        }
        if let Some(Arrivals { here, there }) = open.remove(&key) {
            let mut took_us = self.took_us.borrow_mut();
            for (here, there) in here.iter().zip(there) {
                took_us.saturating_record(there.saturating_sub(*here) / 1_000);
            }
        }
    }

    pub fn count(&self) -> u64 {
        self.took_us.borrow().len()
    }

    pub fn quantile_ms(&self, quantile: f64) -> f64 {
        self.took_us.borrow().value_at_quantile(quantile) as f64 / 1_000.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(number: u32) -> Stamp {
        Stamp { sent_ns: 0, publisher: 1, number }
    }

    #[test]
    fn each_arrival_there_is_compared_with_one_here() {
        // The publisher has the second seat.
        let hops = Hops::new(vec![vec![0, 1, 0, 1]], 1).unwrap();

        for (seat, at_us) in [(3, 100), (1, 200), (0, 3_100), (2, 5_200)] {
            hops.hear_at(0, seat, stamp(0), at_us * 1_000);
            hops.hear_at(0, seat, stamp(1), at_us * 1_000);
        }

        assert_eq!(hops.count(), 2);
        assert_eq!((hops.quantile_ms(0.5).round(), hops.quantile_ms(1.0).round()), (3.0, 5.0));
    }

    #[test]
    fn what_came_earlier_there_took_no_time() {
        let hops = Hops::new(vec![vec![0, 1]], 0).unwrap();

        hops.hear_at(0, 0, stamp(0), 1_000);
        assert_eq!(hops.count(), 0);
        hops.hear_at(0, 1, stamp(0), 9_000_000);

        assert_eq!((hops.count(), hops.quantile_ms(1.0)), (1, 0.0));
    }
}
