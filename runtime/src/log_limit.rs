//! Keeps a peer from filling the disk with log lines: a few at once, then one in a while, and in that how many were
//! left out.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lockgate_proto::time::MonoTime;

/// LIMIT: peers that are remembered. Where there are more, those go first that may write at once anyway, and then all.
const PEERS_MAX: usize = 10_000;

/// Lines of one kind, by the peer that provokes them. Held for a look only.
#[derive(Debug)]
pub struct LineLimit<Peer> {
    burst: u32,
    interval: Duration,
    peers: Mutex<HashMap<Peer, Account>>,
}

/// What a peer has used up.
#[derive(Debug)]
struct Account {
    /// When the lines so far are paid for, at one per interval.
    paid_at: MonoTime,
    left_out: u64,
}

impl<Peer: Clone + Eq + Hash> LineLimit<Peer> {
    /// `burst` lines of each peer at once, and one more for each `interval` that passes.
    pub fn new(burst: u32, interval: Duration) -> LineLimit<Peer> {
        LineLimit { burst, interval, peers: Mutex::default() }
    }

    /// Whether a line may be written about this peer: `Some` says how many were left out since the last one,
    /// `None` that this one is left out, too.
    pub fn pass(&self, peer: &Peer, now: MonoTime) -> Option<u64> {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if peers.len() >= PEERS_MAX && !peers.contains_key(peer) {
            make_room(&mut peers, now);
        }
        let account = peers.entry(peer.clone()).or_insert(Account { paid_at: now, left_out: 0 });
        let paid_at = account.paid_at.max(now) + self.interval;
        if paid_at.since(now) > self.interval.saturating_mul(self.burst) {
            account.left_out = account.left_out.saturating_add(1);
            return None;
        }
        account.paid_at = paid_at;
        Some(std::mem::take(&mut account.left_out))
    }
}

fn make_room<Peer>(peers: &mut HashMap<Peer, Account>, now: MonoTime) {
    peers.retain(|_, account| now < account.paid_at);
    if peers.len() > PEERS_MAX / 2 {
        peers.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u64) -> MonoTime {
        MonoTime(SECOND * u32::try_from(seconds).unwrap())
    }

    #[test]
    fn a_flood_becomes_a_few_lines_that_say_what_was_left_out() {
        let limit = LineLimit::new(3, 10 * SECOND);
        let told: Vec<u64> = (0..1_000).filter_map(|_| limit.pass(&"pi", at(100))).collect();
        assert_eq!(told, [0, 0, 0]);
        assert_eq!(limit.pass(&"pi", at(109)), None);
        assert_eq!(limit.pass(&"pi", at(110)), Some(998));
        assert_eq!(limit.pass(&"pi", at(111)), None);
        assert_eq!(limit.pass(&"other", at(111)), Some(0), "one peer does not silence another");
        let later: Vec<u64> = (0..10).filter_map(|_| limit.pass(&"pi", at(1_000))).collect();
        assert_eq!(later, [1, 0, 0], "quiet pays for no more than the burst");
    }

    #[test]
    fn however_many_peers_there_are_few_are_remembered() {
        let limit = LineLimit::new(1, 10 * SECOND);
        for peer in 0..3 * PEERS_MAX {
            assert_eq!(limit.pass(&peer, at(peer as u64 / 1_000)), Some(0));
            assert!(limit.peers.lock().unwrap().len() <= PEERS_MAX);
        }
        assert_eq!(limit.pass(&(3 * PEERS_MAX - 1), at(30)), None, "who came last is remembered");
    }
}
