//! Instants. Both are plain numbers that a shell read from a clock; nothing here reads one.

use std::ops::{Add, Sub};
use std::time::Duration;

/// An instant of the world's time: microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMicros(pub i64);

impl UnixMicros {
    /// 1970-01-01T00:00:00Z, and on the wire: "not known".
    pub const ZERO: UnixMicros = UnixMicros(0);

    /// This instant moved by a signed number of microseconds; stops at the ends of the range.
    #[must_use]
    pub const fn offset_by(self, micros: i64) -> UnixMicros {
        UnixMicros(self.0.saturating_add(micros))
    }
}

/// An instant of a clock that never jumps and runs through suspend: time since that clock's start.
///
/// Comparable only within one boot of one machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MonoTime(pub Duration);

impl MonoTime {
    /// The clock's start.
    pub const ZERO: MonoTime = MonoTime(Duration::ZERO);

    /// Later than any instant that comes.
    pub const MAX: MonoTime = MonoTime(Duration::MAX);

    /// Time since an earlier instant; zero if that instant is later.
    pub fn since(self, earlier: MonoTime) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// Microseconds since the clock's start.
    pub fn micros(self) -> i64 {
        i64::try_from(self.0.as_micros()).unwrap_or(i64::MAX)
    }
}

impl Add<Duration> for MonoTime {
    type Output = MonoTime;

    fn add(self, span: Duration) -> MonoTime {
        MonoTime(self.0.saturating_add(span))
    }
}

impl Sub<Duration> for MonoTime {
    type Output = MonoTime;

    fn sub(self, span: Duration) -> MonoTime {
        MonoTime(self.0.saturating_sub(span))
    }
}
