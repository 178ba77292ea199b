//! Decides who may come in at the door: how many connections at all, and how many that have not shown who they are.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::metrics::{Gauge, GaugeGuard, RefusedReason};

/// The two bounds, shared by all connections.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    connections: Arc<Semaphore>,
    unauthenticated: Arc<Semaphore>,
}

impl Admission {
    pub(crate) fn new(connections_max: usize, unauthenticated_max: usize) -> Admission {
        Admission {
            connections: Arc::new(Semaphore::new(connections_max.min(Semaphore::MAX_PERMITS))),
            unauthenticated: Arc::new(Semaphore::new(unauthenticated_max.min(Semaphore::MAX_PERMITS))),
        }
    }

    /// LIMIT: at a bound the answer is no, at once; nobody waits in here.
    pub(crate) fn admit(&self) -> Result<Slot, RefusedReason> {
        let connection = Arc::clone(&self.connections).try_acquire_owned().map_err(|_| RefusedReason::Connections)?;
        let unauthenticated =
            Arc::clone(&self.unauthenticated).try_acquire_owned().map_err(|_| RefusedReason::Unauthenticated)?;
        unauthenticated.forget();
        Ok(Slot {
            _connection: connection,
            unauthenticated: Arc::clone(&self.unauthenticated),
            known: AtomicBool::new(false),
            _open: Gauge::ConnectionsOpen.hold(),
        })
    }
}

/// A connection's place among the others. Kept as long as the connection lives.
#[derive(Debug)]
pub(crate) struct Slot {
    _connection: OwnedSemaphorePermit,
    unauthenticated: Arc<Semaphore>,
    known: AtomicBool,
    _open: GaugeGuard,
}

impl Slot {
    /// The peer has shown who it is: its place among the unknown is free for the next.
    pub(crate) fn authenticated(&self) {
        if !self.known.swap(true, Ordering::AcqRel) {
            self.unauthenticated.add_permits(1);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.authenticated();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unknown_are_bounded_and_make_room_when_they_are_known_or_gone() {
        let admission = Admission::new(10, 2);
        let first = admission.admit().unwrap();
        let second = admission.admit().unwrap();
        assert_eq!(admission.admit().unwrap_err(), RefusedReason::Unauthenticated);
        first.authenticated();
        first.authenticated();
        let third = admission.admit().unwrap();
        assert_eq!(admission.admit().unwrap_err(), RefusedReason::Unauthenticated);
        drop(second);
        let fourth = admission.admit().unwrap();
        drop((first, third, fourth));
        assert_eq!(admission.unauthenticated.available_permits(), 2);
        assert_eq!(admission.connections.available_permits(), 10);
    }

    #[test]
    fn all_connections_together_are_bounded() {
        let admission = Admission::new(2, 10);
        let slots: Vec<Slot> = (0..2).map(|_| admission.admit().unwrap()).collect();
        assert_eq!(admission.admit().unwrap_err(), RefusedReason::Connections);
        drop(slots);
        assert!(admission.admit().is_ok());
        assert_eq!(admission.unauthenticated.available_permits(), 10);
    }
}
