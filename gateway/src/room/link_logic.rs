//! Decides how entries of a room go on from a position, by the stamps that link them.

use std::collections::VecDeque;

use lockgate_proto::position::Position;

use crate::backbone::LoggedEntry;

/// How entries go on from a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// The entries from this index on are the next ones.
    Next {
        /// How many at the front are behind the position already.
        skip: usize,
    },
    /// All of them are at or before the position.
    Old,
    /// Entries are missing between the position and these.
    Hole,
    /// They are of another history than the position.
    Diverged,
}

/// How `entries`, which are in order and without holes, go on from `position`.
pub fn fit(position: Position, entries: &[LoggedEntry]) -> Fit {
    for (index, entry) in entries.iter().enumerate() {
        let offset = entry.position.offset;
        if offset < position.offset {
            continue;
        }
        if offset == position.offset {
            if entry.position.stamp != position.stamp {
                return Fit::Diverged;
            }
            continue;
        }
        if offset > position.offset.next() {
            return Fit::Hole;
        }
        return if entry.previous == position.stamp { Fit::Next { skip: index } } else { Fit::Diverged };
    }
    Fit::Old
}

/// How many of the entries, from the first on, are linked without a break.
pub(super) fn linked(entries: &[LoggedEntry]) -> usize {
    let breaks = entries.windows(2).position(|pair| {
        let [before, after] = pair else { return false };
        after.position.offset != before.position.offset.next() || after.previous != before.position.stamp
    });
    breaks.map_or(entries.len(), |index| index + 1)
}

/// The last places that a room has told, by which it knows what comes twice.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    /// INVARIANT: without holes; the last one is the newest.
    places: VecDeque<Position>,
}

impl Told {
    /// LIMIT: places that are remembered. What is older is looked up in the log.
    const PLACES_MAX: usize = 1_024;

    /// Entries were told; they follow what was told before, or begin anew.
    pub(super) fn tell(&mut self, entries: &[LoggedEntry]) {
        let follows =
            |first: &LoggedEntry| self.places.back().is_some_and(|last| last.offset.next() == first.position.offset);
        if !entries.first().is_some_and(follows) {
            self.places.clear();
        }
        self.places.extend(entries.iter().map(|entry| entry.position));
        let surplus = self.places.len().saturating_sub(Self::PLACES_MAX);
        self.places.drain(..surplus);
    }

    /// Whether all these entries are known to have been told.
    pub(super) fn knows(&self, entries: &[LoggedEntry]) -> bool {
        let Some(oldest) = self.places.front() else { return false };
        entries.iter().all(|entry| {
            let place = entry.position.offset.0.checked_sub(oldest.offset.0);
            let told = place.and_then(|place| self.places.get(usize::try_from(place).ok()?));
            told == Some(&entry.position)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::tests::{chain, position};

    #[test]
    fn what_follows_is_next_and_what_overlaps_is_skipped() {
        let entries = chain(1, 5..=9);
        assert_eq!(fit(position(1, 4), &entries), Fit::Next { skip: 0 });
        assert_eq!(fit(position(1, 6), &entries), Fit::Next { skip: 2 });
        assert_eq!(fit(position(1, 9), &entries), Fit::Old);
        assert_eq!(fit(position(1, 12), &entries), Fit::Old);
        assert_eq!(fit(Position::START, &chain(1, 1..=2)), Fit::Next { skip: 0 });
    }

    #[test]
    fn missing_entries_are_a_hole() {
        assert_eq!(fit(position(1, 3), &chain(1, 5..=9)), Fit::Hole);
        assert_eq!(fit(Position::START, &chain(1, 2..=2)), Fit::Hole);
    }

    #[test]
    fn another_history_shows_at_the_seam_and_at_the_position_itself() {
        assert_eq!(fit(position(1, 4), &chain(2, 5..=9)), Fit::Diverged);
        assert_eq!(fit(position(1, 6), &chain(2, 5..=9)), Fit::Diverged);
    }

    #[test]
    fn a_break_inside_a_batch_is_found() {
        let mut entries = chain(1, 1..=5);
        assert_eq!(linked(&entries), 5);
        entries.remove(3);
        assert_eq!(linked(&entries), 3);
        assert_eq!(linked(&[]), 0);
        let mut mixed = chain(1, 1..=2);
        mixed.extend(chain(2, 3..=4));
        assert_eq!(linked(&mixed), 2);
    }

    #[test]
    fn what_was_told_is_known_and_what_looks_like_it_is_not() {
        let mut told = Told::default();
        told.tell(&chain(1, 3..=5));
        told.tell(&chain(1, 6..=6));
        assert!(told.knows(&chain(1, 3..=6)));
        assert!(!told.knows(&chain(2, 4..=4)), "another history");
        assert!(!told.knows(&chain(1, 2..=3)), "older than what is remembered");
        assert!(!told.knows(&chain(1, 6..=7)));
        told.tell(&chain(1, 20..=20));
        assert!(!told.knows(&chain(1, 5..=5)), "forgotten, because it stands elsewhere now");
        told.tell(&chain(1, 21..=2_000));
        assert!(told.knows(&chain(1, 1_990..=2_000)) && !told.knows(&chain(1, 21..=21)));
    }
}
