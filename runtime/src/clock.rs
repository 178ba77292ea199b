//! The one place that reads clocks.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use lockgate_proto::time::{MonoTime, UnixMicros};
use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

/// A clock: the time since boot, suspend included, and the system's wall time. Cheap to clone.
#[derive(Clone)]
pub struct Clock(Arc<dyn Source>);

trait Source: Send + Sync {
    fn mono(&self) -> MonoTime;
    fn wall(&self) -> UnixMicros;
}

impl Clock {
    /// The machine's.
    pub fn system() -> Clock {
        Clock(Arc::new(System))
    }

    /// Follows tokio's clock from given times on, so that a test with paused time can move it.
    pub fn following_tokio(mono: MonoTime, wall: UnixMicros) -> Clock {
        Clock(Arc::new(FollowingTokio { origin: Instant::now(), mono, wall }))
    }

    /// Stands still until the handle moves it.
    pub fn manual(mono: MonoTime, wall: UnixMicros) -> (Clock, ManualClock) {
        let manual = ManualClock { times: Arc::new(Mutex::new((mono, wall))) };
        (Clock(Arc::new(manual.clone())), manual)
    }

    /// The time since boot. Never jumps.
    pub fn now(&self) -> MonoTime {
        self.0.mono()
    }

    /// The wall time as the system believes it. May be wrong, and may jump.
    pub fn wall(&self) -> UnixMicros {
        self.0.wall()
    }

    /// When a timer of tokio must ring for this instant. After a suspend it may ring late.
    pub fn tokio_instant(&self, at: MonoTime) -> Instant {
        let now = Instant::now();
        now.checked_add(at.since(self.now())).unwrap_or_else(|| now + FAR)
    }
}

/// A timer that is this far away rings in no program's life, and is within what tokio can hold.
const FAR: Duration = Duration::from_secs(10 * 365 * 86_400);

struct System;

impl Source for System {
    fn mono(&self) -> MonoTime {
        let at = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(at.tv_sec).unwrap_or_default();
        MonoTime(Duration::new(seconds, u32::try_from(at.tv_nsec).unwrap_or_default()))
    }

    fn wall(&self) -> UnixMicros {
        // By the standard library, which asks libc, and not by rustix, which asks the kernel: so that whoever
        // puts another clock under a program (libfaketime) puts it under this one too.
        match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => UnixMicros(micros(since)),
            Err(before) => UnixMicros(-micros(before.duration())),
        }
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

struct FollowingTokio {
    origin: Instant,
    mono: MonoTime,
    wall: UnixMicros,
}

impl Source for FollowingTokio {
    fn mono(&self) -> MonoTime {
        self.mono + self.origin.elapsed()
    }

    fn wall(&self) -> UnixMicros {
        self.wall.offset_by(micros(self.origin.elapsed()))
    }
}

/// Moves a clock of [`Clock::manual`].
#[derive(Clone)]
pub struct ManualClock {
    /// Shared with the clock, which is read from any thread; held for the copy only.
    times: Arc<Mutex<(MonoTime, UnixMicros)>>,
}

impl ManualClock {
    /// Time passes: both clocks go forward.
    pub fn advance(&self, by: Duration) {
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        times.0 = times.0 + by;
        times.1 = times.1.offset_by(micros(by));
    }

    /// Somebody sets the wall clock.
    pub fn set_wall(&self, wall: UnixMicros) {
        self.times.lock().unwrap_or_else(PoisonError::into_inner).1 = wall;
    }
}

impl Source for ManualClock {
    fn mono(&self) -> MonoTime {
        self.times.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    fn wall(&self) -> UnixMicros {
        self.times.lock().unwrap_or_else(PoisonError::into_inner).1
    }
}

/// The kernel's id of this boot, as 128 bits.
pub fn boot_id() -> io::Result<u128> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let digits: String = text.trim().chars().filter(|character| *character != '-').collect();
    u128::from_str_radix(&digits, 16).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_clock_goes_forward_and_knows_the_year() {
        let clock = Clock::system();
        let (before, after) = (clock.now(), clock.now());
        assert!(before <= after && before > MonoTime::default());
        assert!(clock.wall() > UnixMicros(1_500_000_000_000_000));
    }

    #[test]
    fn a_boot_has_one_id() {
        assert_eq!(boot_id().unwrap(), boot_id().unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_follows_tokio_moves_with_paused_time() {
        let clock = Clock::following_tokio(MonoTime(Duration::from_secs(5)), UnixMicros(1_000_000));
        let rings = clock.tokio_instant(MonoTime(Duration::from_secs(8)));
        tokio::time::sleep_until(rings).await;
        assert_eq!(clock.now(), MonoTime(Duration::from_secs(8)));
        assert_eq!(clock.wall(), UnixMicros(4_000_000));
        assert!(clock.tokio_instant(MonoTime(Duration::MAX)) > rings);
    }

    #[test]
    fn a_manual_clock_moves_only_by_hand() {
        let (clock, hand) = Clock::manual(MonoTime::default(), UnixMicros(7));
        hand.advance(Duration::from_micros(3));
        assert_eq!((clock.now(), clock.wall()), (MonoTime(Duration::from_micros(3)), UnixMicros(10)));
        hand.set_wall(UnixMicros(1));
        assert_eq!((clock.now(), clock.wall()), (MonoTime(Duration::from_micros(3)), UnixMicros(1)));
    }
}
