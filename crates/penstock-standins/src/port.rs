//! Free loopback ports that stay ours: test binaries run side by side and each starts servers.

use std::fs::{File, OpenOptions};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

use crate::install;

/// Below the range from which the system takes the near ends of outgoing connections, so that none of those gets in
/// the way of a server that is started again on its port.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// A port that no other test process takes while this lives.
#[derive(Debug)]
pub(crate) struct Port {
    number: u16,
    /// Locked by us; the system unlocks it when this process ends in whatever way.
    _claim: File,
}

impl Port {
    /// Claims a port that nobody listens on.
    pub(crate) fn claim() -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let dir = install::run_dir("ports");
        // Processes start at different places, so that they seldom meet.
        let offset = u16::try_from(std::process::id() % u32::from(COUNT)).unwrap_or(0);
        for _ in 0..COUNT {
            let step = NEXT.fetch_add(1, Ordering::Relaxed);
            let number = FIRST + (offset.wrapping_mul(7).wrapping_add(step)) % COUNT;
            let path = dir.join(number.to_string());
            let claim = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)
                .unwrap_or_else(|error| panic!("cannot open {}: {error}", path.display()));
            if claim.try_lock().is_ok() && TcpListener::bind((Ipv4Addr::UNSPECIFIED, number)).is_ok() {
                return Self { number, _claim: claim };
            }
        }
        panic!("no free port from {FIRST} to {}", FIRST + COUNT - 1);
    }

    pub(crate) fn number(&self) -> u16 {
        self.number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claimed_port_is_given_to_nobody_else_until_it_is_dropped() {
        let first = Port::claim();
        let path = install::run_dir("ports").join(first.number().to_string());
        let rival = File::open(&path).unwrap();
        assert!(rival.try_lock().is_err(), "the claim on {} does not hold", first.number());
        drop(first);
        assert!(rival.try_lock().is_ok(), "the claim outlives its port");
    }

    #[test]
    fn a_port_in_use_is_passed_over() {
        let ports: Vec<_> = (0..20).map(|_| Port::claim()).collect();
        let mut numbers: Vec<_> = ports.iter().map(Port::number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 20);
    }
}
