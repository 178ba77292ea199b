//! When records were taken, by which clock, and what is known of that clock.

use std::fmt;

use lockgate_proto::time::{MonoTime, UnixMicros};

/// One boot of the machine, as the kernel names it (`/proc/sys/kernel/random/boot_id`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootId(pub u128);

impl fmt::Debug for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// When the agent took a record, as it knows it at append, and of which clock the times in the payload are.
///
/// Never what a device says: its clock may be years off, and what is too old is judged by this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TakenAt {
    /// Wall time; the times in the payload are wall times.
    Wall(UnixMicros),
    /// The clock is not set: the times in the payload are microseconds of this boot's monotonic clock.
    Mono(MonoTime),
    /// The clock is not set, but the device has dated the payload: its times are wall times.
    MonoDated(MonoTime),
}

/// When a stored record was taken, and of which clock the times in its payload are.
///
/// `at` is when the agent took it, cut to milliseconds: for lists, bounds and retention. The times of
/// its readings stand in the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordTime {
    /// Wall time; the times in the payload are wall times.
    Wall {
        /// When it was taken, cut to milliseconds.
        at: UnixMicros,
    },
    /// Microseconds of the monotonic clock of a boot.
    Boot {
        /// Whose clock.
        boot: BootId,
        /// When it was taken, cut to milliseconds.
        at: MonoTime,
        /// The device has dated the payload: its times are wall times, else they are of the boot's clock.
        dated: bool,
    },
}

/// What makes wall time of a boot's monotonic time: `wall = mono + offset`, right to `error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// Microseconds to add to monotonic microseconds.
    pub offset_micros: i64,
    /// The sum is right to so many microseconds.
    pub error_micros: u64,
}

impl Anchor {
    /// The wall time of an instant of the anchored boot.
    pub fn wall(self, mono: MonoTime) -> UnixMicros {
        UnixMicros(mono.micros()).offset_by(self.offset_micros)
    }
}

/// What is known of the clock of one boot.
///
/// With no anchor, all that was taken in it was taken between `not_before` and `not_after`, as far as
/// these are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootTime {
    /// Which boot.
    pub boot: BootId,
    /// Its wall time, once it was learnt.
    pub anchor: Option<Anchor>,
    /// The last wall time that was known before this boot.
    pub not_before: Option<UnixMicros>,
    /// When a later boot began whose time is known.
    pub not_after: Option<UnixMicros>,
}

/// What is new about this start of the agent.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// Random, never used before.
    pub epoch: lockgate_proto::seq::Epoch,
    /// The boot that the machine is in.
    pub boot: BootId,
    /// Now, by this boot's monotonic clock.
    pub mono: MonoTime,
    /// The anchor of this boot, if the time is known already.
    pub anchor: Option<Anchor>,
}
