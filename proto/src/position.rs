//! Places in a room's log.

use std::fmt;
use std::str::FromStr;

/// Place of an entry in its room's log, from 1, without holes; 0 is before the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub u64);

impl Offset {
    /// The place of the entry after this one.
    #[must_use]
    pub const fn next(self) -> Offset {
        Offset(self.0.saturating_add(1))
    }
}

/// Random mark of an entry: the same offset in another history has another stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stamp(pub u64);

/// Where a reader stands: the last entry that is settled for it. Written `OFFSET.STAMP`, the stamp in hex.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// The entry's place.
    pub offset: Offset,
    /// The entry's mark.
    pub stamp: Stamp,
}

impl Position {
    /// Before the first entry of any log.
    pub const START: Position = Position { offset: Offset(0), stamp: Stamp(0) };
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:016x}", self.offset.0, self.stamp.0)
    }
}

/// A text that is no position.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no position; one looks like 1042.8f3a5c0012ab77e9")]
pub struct PositionError {
    text: String,
}

impl FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Position, PositionError> {
        let parse = || {
            let (offset, stamp) = text.split_once('.')?;
            let offset = offset.parse().ok()?;
            let stamp = u64::from_str_radix(stamp, 16).ok()?;
            Some(Position { offset: Offset(offset), stamp: Stamp(stamp) })
        };
        parse().ok_or_else(|| PositionError { text: text.to_owned() })
    }
}
