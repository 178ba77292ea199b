//! How a reader of a room continues: on its side, entry by entry along the linked stamps, and on the
//! gateway's side, whether its position still is one.

use crate::entry::EntryHeader;
use crate::position::{Offset, Position, Stamp};

/// How an entry stands to a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follows {
    /// It is the very next one.
    Next,
    /// It is the position's own entry, or an earlier one.
    Seen,
    /// There are entries between; each of them is missing.
    Hole {
        /// The first that is missing.
        first: Offset,
        /// The last that is missing.
        last: Offset,
    },
    /// It is of another history of the log.
    Diverged,
}

/// Compares an entry with the position that a reader has reached.
pub fn follows(reached: Position, entry: &EntryHeader) -> Follows {
    let offset = entry.position.offset;
    if offset < reached.offset {
        return Follows::Seen;
    }
    if offset == reached.offset {
        return if entry.position.stamp == reached.stamp { Follows::Seen } else { Follows::Diverged };
    }
    if offset == reached.offset.next() {
        return if entry.previous == reached.stamp { Follows::Next } else { Follows::Diverged };
    }
    Follows::Hole { first: reached.offset.next(), last: Offset(offset.0 - 1) }
}

/// What a client does with an entry that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Show it: it is new, and nothing before it is missing.
    Take,
    /// It was seen before.
    Skip,
    /// Entries were left out without a word, or the log is another one: subscribe again, from the
    /// position reached.
    Resubscribe,
}

/// A client's place in one room, through all connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoomProgress {
    reached: Option<Position>,
    filtered: bool,
}

impl RoomProgress {
    /// Nothing reached yet, or a position that was remembered. With `filtered`, entries of others are
    /// left out on the way, and only the gateway's statements tell that this is why.
    pub fn new(reached: Option<Position>, filtered: bool) -> RoomProgress {
        RoomProgress { reached, filtered }
    }

    /// Everything up to here is settled; what the next subscription asks for with `since`.
    pub fn reached(&self) -> Option<Position> {
        self.reached
    }

    /// The gateway's answer to a subscription: from now on entries follow this position.
    pub fn subscribed(&mut self, position: Position) {
        self.reached = Some(position);
    }

    /// An entry came.
    pub fn entry(&mut self, entry: &EntryHeader) -> Verdict {
        let Some(reached) = self.reached else { return Verdict::Resubscribe };
        match follows(reached, entry) {
            Follows::Seen => return Verdict::Skip,
            Follows::Diverged => return Verdict::Resubscribe,
            Follows::Hole { .. } if !self.filtered => return Verdict::Resubscribe,
            Follows::Next | Follows::Hole { .. } => {}
        }
        self.reached = Some(entry.position);
        Verdict::Take
    }

    /// All after one position and through another was told in short.
    pub fn told_in_short(&mut self, after: Position, through: Position) -> Verdict {
        match self.reached {
            Some(reached) if reached == after => {
                self.reached = Some(through);
                Verdict::Take
            }
            Some(reached) if through.offset <= reached.offset => Verdict::Skip,
            Some(_) | None => Verdict::Resubscribe,
        }
    }

    /// The gateway says: up to here all was delivered, filtered out or told as lagged. A statement can
    /// only lead forward; one of the same place with another stamp shows another history.
    pub fn stated(&mut self, position: Position) -> Verdict {
        match self.reached {
            Some(reached) if position.offset < reached.offset => Verdict::Skip,
            Some(reached) if position.offset == reached.offset => {
                if position == reached {
                    Verdict::Skip
                } else {
                    Verdict::Resubscribe
                }
            }
            Some(_) | None => {
                self.reached = Some(position);
                Verdict::Take
            }
        }
    }
}

/// What a gateway knows of a room's log when a reader comes with a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogBounds {
    /// Place of the oldest entry that is still there; above `head.offset` where none is.
    pub oldest: Offset,
    /// The newest entry; [`Position::START`] where there was never one.
    pub head: Position,
}

/// How a resume goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// With the entry after this position; nothing is missing.
    After(Position),
    /// Some of what the reader has not seen is gone by age or size.
    Trimmed,
    /// The position is of another history: the log went back to an older state.
    Diverged,
}

/// Decides a resume. `stamp` is what the log knows as the stamp of the entry at `since.offset`: from
/// that entry, or from its successor's `previous`; `None` where neither is there.
pub fn decide_resume(since: Position, log: LogBounds, stamp: Option<Stamp>) -> Resume {
    if log.head.offset < since.offset {
        return Resume::Diverged;
    }
    let stamp = match since.offset {
        offset if offset == log.head.offset => Some(log.head.stamp),
        offset if offset == Position::START.offset => Some(Position::START.stamp),
        _ => stamp,
    };
    match stamp {
        Some(stamp) if stamp != since.stamp => Resume::Diverged,
        _ if since.offset.next() < log.oldest && since.offset < log.head.offset => Resume::Trimmed,
        Some(_) => Resume::After(since),
        None => Resume::Trimmed,
    }
}

#[cfg(test)]
mod tests;
