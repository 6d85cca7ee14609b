//! Gates: bounded entry to a mailbox, and the proof that it is empty.
//!
//! actix mailboxes do not bound what they accept, so a permit is taken before a message is sent and travels inside
//! it until its handling ends.
//!
//! Invariant: once a closed gate has drained, no message that entered it is waiting or being handled.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use metrics::Gauge;
use tokio::sync::{Notify, Semaphore};

use super::handle::CallError;

/// Bounded entry to one actor. Clones share the permits.
#[derive(Debug, Clone)]
pub struct Gate {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    permits: Semaphore,
    permits_max: u32,
    closed: AtomicBool,
    closing: Notify,
    depth: Gauge,
}

/// The right of one message to be in a mailbox or in handling. Dropping it gives the place back; dropped by a panic
/// it closes the gate, too.
#[derive(Debug)]
#[must_use = "a permit that is dropped at once protects nothing"]
pub struct Permit {
    inner: Arc<Inner>,
}

impl Gate {
    /// An open gate for `permits_max` messages at a time.
    #[must_use]
    pub fn new(permits_max: u32) -> Self {
        Self::measured(permits_max, Gauge::noop())
    }

    /// As [`Gate::new`]; `depth` follows the number of permits in use.
    #[must_use]
    pub fn measured(permits_max: u32, depth: Gauge) -> Self {
        let permits = usize::try_from(permits_max)
            .unwrap_or(Semaphore::MAX_PERMITS)
            .min(Semaphore::MAX_PERMITS);
        Self {
            inner: Arc::new(Inner {
                permits: Semaphore::new(permits),
                permits_max,
                closed: AtomicBool::new(false),
                closing: Notify::new(),
                depth,
            }),
        }
    }

    /// Takes a permit: [`CallError::Stopped`] once closed, [`CallError::Overloaded`] when all are in use.
    pub fn enter(&self) -> Result<Permit, CallError> {
        if self.is_closed() {
            return Err(CallError::Stopped);
        }
        match self.inner.permits.try_acquire() {
            Ok(permit) => permit.forget(),
            Err(_) if self.is_closed() => return Err(CallError::Stopped),
            Err(_) => return Err(CallError::Overloaded),
        }
        self.inner.depth.increment(1.0);
        let permit = Permit { inner: Arc::clone(&self.inner) };

        // Looked at again: a closer that did not see this permit is seen here, so none slips past the drain.
        if self.is_closed() {
            return Err(CallError::Stopped);
        }
        Ok(permit)
    }

    /// Refuses everyone from now on. What entered before keeps its permit.
    pub fn close(&self) {
        self.inner.close();
    }

    /// Whether the gate was closed. It never opens again.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.inner.closed.load(Ordering::SeqCst)
    }

    /// Resolves once the gate is closed.
    pub fn closed(&self) -> impl Future<Output = ()> + use<> {
        let inner = Arc::clone(&self.inner);
        async move {
            let closing = inner.closing.notified();
            if !inner.closed.load(Ordering::SeqCst) {
                closing.await;
            }
        }
    }

    /// Resolves once the gate is closed and every permit has come back.
    pub fn drained(&self) -> impl Future<Output = ()> + use<> {
        let (closed, inner) = (self.closed(), Arc::clone(&self.inner));
        async move {
            // Asking for all permits of an open gate would starve those who want one.
            closed.await;
            let _all = inner.permits.acquire_many(inner.permits_max).await;
        }
    }
}

impl Inner {
    fn close(&self) {
        if !self.closed.swap(true, Ordering::SeqCst) {
            self.closing.notify_waiters();
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        // The handler panics. The caller is about to hear of it and must not walk into the same actor again.
        if std::thread::panicking() {
            self.inner.close();
        }
        self.inner.depth.decrement(1.0);
        self.inner.permits.add_permits(1);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn one_more_than_the_limit_is_overloaded_until_a_permit_comes_back() {
        let gate = Gate::new(2);
        let first = gate.enter().unwrap();
        let _second = gate.enter().unwrap();

        assert_eq!(gate.enter().unwrap_err(), CallError::Overloaded);
        drop(first);
        assert!(gate.enter().is_ok());
    }

    #[test]
    fn a_closed_gate_says_stopped_even_when_full() {
        let gate = Gate::new(1);
        let _permit = gate.enter().unwrap();
        gate.close();

        assert_eq!(gate.enter().unwrap_err(), CallError::Stopped);
    }

    #[test]
    fn it_has_drained_when_it_is_closed_and_the_last_permit_is_back() {
        let gate = Gate::new(4);
        let permit = gate.enter().unwrap();
        let mut drained = Box::pin(gate.drained());

        assert!(drained.as_mut().now_or_never().is_none(), "open");
        assert!(gate.enter().is_ok(), "waiting for the drain takes nobody's place");
        gate.close();
        assert!(drained.as_mut().now_or_never().is_none(), "a permit is out");
        drop(permit);
        assert!(drained.as_mut().now_or_never().is_some());
    }

    #[test]
    fn a_panic_closes_the_gate_before_anybody_can_hear_of_it() {
        let gate = Gate::new(4);
        let permit = gate.enter().unwrap();

        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _permit = permit;
            std::panic::resume_unwind(Box::new("injected"));
        }));
        assert!(panic.is_err() && gate.is_closed());
        assert!(gate.drained().now_or_never().is_some(), "its place was given back");
    }

    #[test]
    fn nobody_is_inside_once_a_gate_has_drained_under_contention() {
        for _ in 0..200 {
            let (gate, inside) = (Gate::new(64), AtomicBool::new(false));
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    while let Ok(permit) = gate.enter() {
                        inside.store(true, Ordering::SeqCst);
                        std::hint::spin_loop();
                        inside.store(false, Ordering::SeqCst);
                        drop(permit);
                    }
                });
                gate.close();
                while gate.drained().now_or_never().is_none() {
                    std::hint::spin_loop();
                }
                assert!(!inside.load(Ordering::SeqCst));
            });
        }
    }
}
