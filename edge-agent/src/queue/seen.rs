//! The digests of the last messages, so that a redelivered one is known again.

use std::collections::{HashMap, VecDeque};

use super::limits::DIGESTS_MAX;

/// LIMIT: the last [`DIGESTS_MAX`] digests; the oldest makes room.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    order: VecDeque<u64>,
    counts: HashMap<u64, u32>,
}

impl Seen {
    /// Starts with what stands in the queue's tail, oldest first.
    pub(crate) fn new(digests: Vec<u64>) -> Seen {
        let mut seen = Seen::default();
        for digest in digests {
            seen.insert(digest);
        }
        seen
    }

    /// Remembers one more.
    pub(crate) fn insert(&mut self, digest: u64) {
        if self.order.len() == DIGESTS_MAX
            && let Some(oldest) = self.order.pop_front()
            && let Some(count) = self.counts.get_mut(&oldest)
        {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&oldest);
            }
        }
        self.order.push_back(digest);
        *self.counts.entry(digest).or_default() += 1;
    }

    /// Whether it is among the last ones.
    pub(crate) fn contains(&self, digest: u64) -> bool {
        self.counts.contains_key(&digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_digest_makes_room_unless_it_came_again() {
        let mut seen = Seen::new(vec![7, 8, 7]);
        let fill = DIGESTS_MAX as u64 - 1;
        (0..fill).for_each(|more| seen.insert(1_000 + more));
        assert!(seen.contains(7) && !seen.contains(8));
        seen.insert(1);
        assert!(!seen.contains(7) && seen.contains(1_000));
    }
}
