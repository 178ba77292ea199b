//! Decides what a subscription does with what its room tells: deliver, skip, or read the log instead.
//!
//! Pure. A subscription either follows its room live, or catches up from the log because the room's ring did
//! not fit (it began in the past, was overrun, or the room stands anew). It goes from the log to live when the
//! log had no more; what the ring holds by then is partly old and fits by its links. So nothing is missed or doubled.

use lockgate_proto::position::{Offset, Position};

use crate::backbone::LoggedEntry;
use crate::room::{Fit, fit};

/// Where a subscription stands and what it does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    position: Position,
    phase: Phase,
}

/// How a subscription goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The room's ring has what comes next.
    Live,
    /// The log has. Up to `asked_through` it is the client's own wish to read so far back; beyond, it is slow.
    CatchUp { asked_through: Offset },
}

/// What to do with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnBatch {
    /// Deliver all but the first `skip` entries.
    Deliver {
        /// How many are behind the cursor already.
        skip: usize,
    },
    /// Nothing in it is new.
    Skip,
    /// It does not fit: read the log.
    CatchUp,
}

impl Cursor {
    /// A subscription that goes on from `position`, in a room whose log reaches to `head` now.
    pub(crate) fn new(position: Position, head: Position) -> Cursor {
        Cursor { position, phase: Phase::CatchUp { asked_through: head.offset } }
    }

    /// Everything up to here is settled.
    pub(crate) fn position(&self) -> Position {
        self.position
    }

    /// Whether the log is to be read next, and not the room's ring.
    pub(crate) fn is_catching_up(&self) -> bool {
        matches!(self.phase, Phase::CatchUp { .. })
    }

    /// Takes a batch of the room.
    pub(crate) fn on_batch(&mut self, entries: &[LoggedEntry]) -> OnBatch {
        match fit(self.position, entries) {
            Fit::Next { skip } => {
                self.settle(entries);
                OnBatch::Deliver { skip }
            }
            // The room itself watches for a log that went back, and stands anew when it did.
            Fit::Old => OnBatch::Skip,
            Fit::Hole | Fit::Diverged => {
                self.fall_back();
                OnBatch::CatchUp
            }
        }
    }

    /// The room stands at a position and goes on from there.
    pub(crate) fn on_standing(&mut self, at: Position) {
        if at != self.position {
            self.fall_back();
        }
    }

    /// The room's ring went over entries that this subscription had not taken.
    pub(crate) fn on_overrun(&mut self) {
        self.fall_back();
    }

    /// Takes what the log had after the cursor; `more`: the read was cut short, so that there is likely more.
    pub(crate) fn on_read(&mut self, entries: &[LoggedEntry], more: bool) {
        self.settle(entries);
        if !more {
            self.phase = Phase::Live;
        }
    }

    /// Goes on from elsewhere: the log is another one, or the client was told what it does not get.
    pub(crate) fn move_to(&mut self, position: Position) {
        *self = Cursor::new(position, position);
    }

    /// Whether the reader is too slow: more than `entries_max` behind the head, and not by its own wish.
    pub(crate) fn is_lagged(&self, head: Position, entries_max: u64) -> bool {
        match self.phase {
            Phase::Live => false,
            Phase::CatchUp { .. } => {
                self.is_slow() && head.offset.0.saturating_sub(self.position.offset.0) > entries_max
            }
        }
    }

    /// Whether the reader reads more slowly than the room speaks: it is behind, and not by its own wish.
    pub(crate) fn is_slow(&self) -> bool {
        match self.phase {
            Phase::Live => false,
            Phase::CatchUp { asked_through } => self.position.offset >= asked_through,
        }
    }

    /// All up to here was told in short.
    pub(crate) fn on_conflated(&mut self, through: Position) {
        self.position = through;
    }

    fn settle(&mut self, entries: &[LoggedEntry]) {
        if let Some(last) = entries.last() {
            self.position = last.position;
        }
    }

    fn fall_back(&mut self) {
        if self.phase == Phase::Live {
            self.phase = Phase::CatchUp { asked_through: self.position.offset };
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::room::tests::{chain, position};

    fn live_at(offset: u64) -> Cursor {
        let mut cursor = Cursor::new(position(1, offset), position(1, offset));
        cursor.on_read(&[], false);
        cursor
    }

    #[test]
    fn a_hole_an_overrun_and_another_standing_lead_to_the_log() {
        let mut cursor = live_at(4);
        assert_eq!(cursor.on_batch(&chain(1, 7..=8)), OnBatch::CatchUp);
        assert!(cursor.is_catching_up());
        assert_eq!(cursor.position(), position(1, 4));

        let mut cursor = live_at(4);
        cursor.on_standing(position(1, 4));
        assert!(!cursor.is_catching_up());
        cursor.on_standing(position(2, 4));
        assert!(cursor.is_catching_up());

        let mut cursor = live_at(4);
        cursor.on_overrun();
        assert!(cursor.is_catching_up());
    }

    #[test]
    fn only_who_is_behind_by_slowness_is_lagged() {
        let mut cursor = Cursor::new(position(1, 0), position(1, 1_000));
        assert!(!cursor.is_lagged(position(1, 1_000), 10), "the client asked for what it reads");
        cursor.on_read(&chain(1, 1..=1_000), true);
        assert!(!cursor.is_lagged(position(1, 1_010), 10));
        assert!(cursor.is_lagged(position(1, 1_011), 10));

        let mut cursor = live_at(4);
        assert!(!cursor.is_lagged(position(1, 1_000), 10), "the ring still has what comes next");
        cursor.on_overrun();
        assert!(cursor.is_lagged(position(1, 1_000), 10));
    }

    proptest! {
        /// A room tells batches of a log, with overruns anywhere; reads of the log are cut anywhere.
        #[test]
        fn every_entry_is_delivered_once_and_in_order(
            start in 0_u64..40,
            steps in prop::collection::vec((1_u64..6, any::<bool>(), 1_u64..9, any::<bool>()), 1..40),
        ) {
            let mut head = 20_u64;
            let mut cursor = Cursor::new(position(1, start.min(head)), position(1, head));
            let mut delivered = Vec::new();
            let first = cursor.position().offset.0;
            for (added, lost, cut, poll) in steps {
                let batch = chain(1, head + 1..=head + added);
                head += added;
                if cursor.is_catching_up() && poll {
                    let from = cursor.position().offset.0;
                    let read = chain(1, from + 1..=(from + cut).min(head));
                    delivered.extend(read.iter().map(|entry| entry.position.offset.0));
                    cursor.on_read(&read, from + cut < head);
                }
                if lost {
                    cursor.on_overrun();
                } else if !cursor.is_catching_up() {
                    if let OnBatch::Deliver { skip } = cursor.on_batch(&batch) {
                        delivered.extend(batch[skip..].iter().map(|entry| entry.position.offset.0));
                    }
                } else {
                    // The ring keeps it; here it is as if overrun, which is the harder case.
                    cursor.on_overrun();
                }
            }
            let expected: Vec<u64> = (first + 1..=cursor.position().offset.0).collect();
            prop_assert_eq!(delivered, expected);
        }
    }
}
