//! The outbox of a connection: whatever a socket takes, and whenever, what arrives is what was taken in, in order.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};

use bytes::Bytes;
use madang::ws::outbox::{Outbox, Pushed, Sink};

use crate::sabotage::Sabotage;
use crate::scheduler::{Rng, is_caught, sweep};

const SEEDS: u64 = 40_000;
const BYTES_MAX: usize = 2_000;
/// What a waiting frame costs beside its bytes, and one frame that always fits.
const SLACK: usize = 64 + 400;

#[test]
fn what_arrives_is_what_was_taken_in_and_no_more_waits_than_may() {
    let test = "what_arrives_is_what_was_taken_in_and_no_more_waits_than_may";
    sweep(test, SEEDS, |seed| play(seed, Sabotage::Nothing));
}

#[test]
fn control_a_refusal_that_is_not_heeded_is_an_event_that_is_missed() {
    assert!(is_caught(|seed| play(seed, Sabotage::Repeats)));
}

/// A socket that takes as much as it likes.
struct Socket {
    space: Cell<usize>,
    arrived: RefCell<Vec<u8>>,
}

impl Sink for Socket {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.try_write_vectored(&[IoSlice::new(bytes)])
    }

    fn try_write_vectored(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut written = 0;
        for piece in pieces {
            let taken = piece.len().min(self.space.get());
            self.space.set(self.space.get() - taken);
            self.arrived.borrow_mut().extend_from_slice(&piece[..taken]);
            written += taken;
        }
        if written == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(written) }
    }
}

fn play(seed: u64, sabotage: Sabotage) -> Result<(), String> {
    let mut rng = Rng::new(seed);
    let socket = Socket { space: Cell::new(0), arrived: RefCell::default() };
    let mut outbox = Outbox::new(BYTES_MAX);
    let mut taken: Vec<u8> = Vec::new();

    for step in 0..60_u8 {
        match rng.below(3) {
            0 => socket.space.set(rng.below(600)),
            1 => {
                outbox.flush(&socket);
            }
            _ => {
                let frame = Bytes::from(vec![step; 1 + usize::from(step) * 6 % 400]);
                let at_once = rng.chance(50);
                let pushed = if at_once {
                    outbox.push(&socket, &frame)
                } else {
                    outbox.keep(&socket, &frame)
                };
                match pushed {
                    Pushed::Taken => taken.extend_from_slice(&frame),
                    // The sabotage: whoever gave it does not heed the refusal.
                    Pushed::Full if sabotage == Sabotage::Repeats => {
                        taken.extend_from_slice(&frame);
                    }
                    Pushed::Full => {}
                    Pushed::Gone => return Err("the socket was not gone".to_owned()),
                }
            }
        }
        let waiting = taken.len() - socket.arrived.borrow().len();
        if sabotage == Sabotage::Nothing && waiting > BYTES_MAX + SLACK {
            return Err(format!("{waiting} bytes wait"));
        }
    }
    socket.space.set(usize::MAX);
    outbox.flush(&socket);
    if !outbox.is_empty() || *socket.arrived.borrow() != taken {
        return Err("what arrived is not what was taken in".to_owned());
    }
    Ok(())
}
