//! Loopback addresses that nobody has.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::Context as _;

/// Below the ports that connections take for themselves.
const LASTING_PORT_MIN: u16 = 20_000;
const LASTING_PORTS: u16 = 10_000;
/// Ports that one process counts as its own: another run beside it begins elsewhere.
const EACH: u16 = 100;

/// An address that is free now.
pub fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// An address below the ports that connections take for themselves, another one each time: nobody sits on it between a
/// kill and a restart, and whoever calls it meanwhile does not reach themselves.
pub fn lasting_address() -> anyhow::Result<SocketAddr> {
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    let runs = u32::from(LASTING_PORTS / EACH);
    let start = u16::try_from(std::process::id() % runs)? * EACH;
    for _ in 0..LASTING_PORTS {
        let given = GIVEN.fetch_add(1, Ordering::Relaxed) % LASTING_PORTS;
        let port = LASTING_PORT_MIN + (start + given) % LASTING_PORTS;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    None.context("no port is free")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_address_is_given_twice() {
        let (one, other) = (lasting_address().unwrap(), lasting_address().unwrap());

        assert_ne!(one, other);
        assert!(one.port() >= LASTING_PORT_MIN && other.port() >= LASTING_PORT_MIN);
    }
}
