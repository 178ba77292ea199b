//! Decides who may come in at the door: how many connections at all, and how many that have not shown who they are,
//! from one address and from all.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::ServerConfig;
use crate::metrics::{Gauge, GaugeGuard, RefusedReason};

/// Bytes of an IPv6 address that are a provider's to give: its owner has all addresses that begin with them.
const IPV6_PREFIX_BYTES: usize = 8;

/// How many may be in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Connections of any kind.
    pub(crate) connections: usize,
    /// Connections that have not shown who they are.
    pub(crate) strangers: usize,
    /// The same from one address.
    pub(crate) strangers_per_address: usize,
}

impl Bounds {
    /// Those of the listener for agents and clients.
    pub(crate) fn of(server: &ServerConfig) -> Bounds {
        Bounds {
            connections: server.connections_max,
            strangers: server.unauthenticated_max,
            strangers_per_address: server.unauthenticated_per_address_max,
        }
    }

    /// So many of any kind.
    pub(crate) fn all(connections: usize) -> Bounds {
        Bounds { connections, strangers: connections, strangers_per_address: connections }
    }
}

/// The bounds, shared by all connections.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    connections: Arc<Semaphore>,
    strangers: Arc<Strangers>,
}

/// Who has not shown who it is.
#[derive(Debug)]
struct Strangers {
    bounds: Bounds,
    /// A mutex and no task: it is held to count, never while waiting.
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    all: usize,
    /// INVARIANT: no zeroes; so never more than there are strangers.
    by_address: HashMap<IpAddr, usize>,
}

impl Admission {
    pub(crate) fn new(bounds: Bounds) -> Admission {
        Admission {
            connections: Arc::new(Semaphore::new(bounds.connections.min(Semaphore::MAX_PERMITS))),
            strangers: Arc::new(Strangers { bounds, inside: Mutex::default() }),
        }
    }

    /// LIMIT: at a bound the answer is no, at once; nobody waits in here.
    pub(crate) fn admit(&self, address: IpAddr) -> Result<Slot, RefusedReason> {
        let connection = Arc::clone(&self.connections).try_acquire_owned().map_err(|_| RefusedReason::Connections)?;
        let owner = owner(address);
        self.strangers.enter(owner)?;
        Ok(Slot {
            _connection: connection,
            strangers: Arc::clone(&self.strangers),
            owner,
            known: AtomicBool::new(false),
            _open: Gauge::ConnectionsOpen.hold(),
        })
    }
}

impl Strangers {
    fn enter(&self, owner: IpAddr) -> Result<(), RefusedReason> {
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        let of_owner = inside.by_address.get(&owner).copied().unwrap_or_default();
        if of_owner >= self.bounds.strangers_per_address {
            return Err(RefusedReason::Address);
        }
        if inside.all >= self.bounds.strangers {
            return Err(RefusedReason::Unauthenticated);
        }
        inside.all += 1;
        inside.by_address.insert(owner, of_owner + 1);
        Ok(())
    }

    fn leave(&self, owner: IpAddr) {
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        inside.all = inside.all.saturating_sub(1);
        if let Some(of_owner) = inside.by_address.get_mut(&owner) {
            *of_owner -= 1;
            if *of_owner == 0 {
                inside.by_address.remove(&owner);
            }
        }
    }
}

/// What stands for all addresses of one owner.
fn owner(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let mut bytes = address.octets();
            bytes[IPV6_PREFIX_BYTES..].fill(0);
            Ipv6Addr::from(bytes).into()
        }
    }
}

/// A connection's place among the others. Kept as long as the connection lives.
#[derive(Debug)]
pub(crate) struct Slot {
    _connection: OwnedSemaphorePermit,
    strangers: Arc<Strangers>,
    owner: IpAddr,
    known: AtomicBool,
    _open: GaugeGuard,
}

impl Slot {
    /// The peer has shown who it is: its place among the unknown is free for the next.
    pub(crate) fn authenticated(&self) {
        if !self.known.swap(true, Ordering::AcqRel) {
            self.strangers.leave(self.owner);
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

    fn admission(connections: usize, strangers: usize, strangers_per_address: usize) -> Admission {
        Admission::new(Bounds { connections, strangers, strangers_per_address })
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn is_empty(admission: &Admission) -> bool {
        let inside = admission.strangers.inside.lock().unwrap();
        inside.all == 0 && inside.by_address.is_empty()
    }

    #[test]
    fn the_unknown_are_bounded_and_make_room_when_they_are_known_or_gone() {
        let admission = admission(10, 2, 9);
        let first = admission.admit(ip("10.0.0.1")).unwrap();
        let second = admission.admit(ip("10.0.0.2")).unwrap();
        assert_eq!(admission.admit(ip("10.0.0.3")).unwrap_err(), RefusedReason::Unauthenticated);
        first.authenticated();
        first.authenticated();
        let third = admission.admit(ip("10.0.0.3")).unwrap();
        assert_eq!(admission.admit(ip("10.0.0.4")).unwrap_err(), RefusedReason::Unauthenticated);
        drop(second);
        let fourth = admission.admit(ip("10.0.0.4")).unwrap();
        drop((first, third, fourth));
        assert!(is_empty(&admission));
        assert_eq!(admission.connections.available_permits(), 10);
    }

    #[test]
    fn all_connections_together_are_bounded() {
        let admission = admission(2, 10, 10);
        let slots: Vec<Slot> = (0..2).map(|_| admission.admit(ip("10.0.0.1")).unwrap()).collect();
        assert_eq!(admission.admit(ip("10.0.0.2")).unwrap_err(), RefusedReason::Connections);
        drop(slots);
        assert!(admission.admit(ip("10.0.0.1")).is_ok());
        assert!(is_empty(&admission));
    }

    #[test]
    fn one_owner_of_addresses_takes_no_more_than_its_share() {
        let admission = admission(10, 10, 1);
        for (one, same, other) in [
            ("10.0.0.1", "::ffff:10.0.0.1", "10.0.0.2"),
            ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", "2001:db8:1:3::1"),
        ] {
            let first = admission.admit(ip(one)).unwrap();
            assert_eq!(admission.admit(ip(same)).unwrap_err(), RefusedReason::Address);
            let _other = admission.admit(ip(other)).unwrap();
            first.authenticated();
            assert!(admission.admit(ip(same)).is_ok(), "who is known takes no place");
        }
        assert!(is_empty(&admission));
    }
}
