//! Epochs, lanes and the numbers of records.

use std::fmt;

/// One start of an agent. Random, so that two starts never share one, not even on a copied card.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Which of the queue's two numberings a record is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Alarms, outcomes, presence: few, and never dropped for telemetry.
    Events,
    /// Readings.
    Telemetry,
}

impl Lane {
    /// Both lanes, the more urgent first.
    pub const ALL: [Lane; 2] = [Lane::Events, Lane::Telemetry];

    /// Position in [`Lane::ALL`].
    pub fn index(self) -> usize {
        match self {
            Lane::Events => 0,
            Lane::Telemetry => 1,
        }
    }

    /// The lane's name in files, logs and output.
    pub fn as_str(self) -> &'static str {
        match self {
            Lane::Events => "events",
            Lane::Telemetry => "telemetry",
        }
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A record's number in its epoch and lane, from 1, without gaps.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(u64);

impl Seq {
    /// "Nothing yet": below every record's number.
    pub const NONE: Seq = Seq(0);
    /// The first record's number.
    pub const FIRST: Seq = Seq(1);
    /// The highest number that a record can have: more than any start of an agent gives, and so few that the sums of
    /// tens of thousands of lanes are exact.
    pub const LAST: Seq = Seq(1 << 48);
    /// Above every record's number; the end of a range whose end nobody knows.
    pub const MAX: Seq = Seq(u64::MAX);

    /// A number as it was read from a file or the wire; 0 is [`Seq::NONE`].
    pub const fn new(number: u64) -> Seq {
        Seq(number)
    }

    /// The plain number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number after this one; [`Seq::MAX`] stays.
    #[must_use]
    pub const fn next(self) -> Seq {
        Seq(self.0.saturating_add(1))
    }

    /// The number before this one; [`Seq::NONE`] stays.
    #[must_use]
    pub const fn previous(self) -> Seq {
        Seq(self.0.saturating_sub(1))
    }
}

impl fmt::Debug for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
