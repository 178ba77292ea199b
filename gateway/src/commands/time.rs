//! The backbone's time, as far as reading books has shown it: deadlines go by it, and agents are told no other.

use std::sync::atomic::{AtomicI64, Ordering};

use lockgate_proto::time::UnixMicros;
use lockgate_runtime::clock::Clock;

/// Shared by all who read books, and by those who tell the time.
pub(super) struct BackboneClock {
    clock: Clock,
    /// Microseconds by which the backbone's clock is ahead of ours.
    ahead: AtomicI64,
}

impl BackboneClock {
    pub(super) fn new(clock: Clock) -> BackboneClock {
        BackboneClock { clock, ahead: AtomicI64::new(0) }
    }

    /// Ours: to be read before the backbone is asked.
    pub(super) fn ours(&self) -> UnixMicros {
        self.clock.wall()
    }

    /// The backbone said `told` to a question that left when ours was `asked`. That it took no time to come is the latest
    /// that it can be: whoever is told of it takes no deadline for farther away than it is.
    pub(super) fn heard(&self, asked: UnixMicros, told: UnixMicros) {
        self.ahead.store(told.0.saturating_sub(asked.0), Ordering::Relaxed);
    }

    /// What it is now.
    pub(super) fn now(&self) -> UnixMicros {
        self.clock.wall().offset_by(self.ahead.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lockgate_proto::time::MonoTime;

    use super::*;

    #[test]
    fn the_backbones_time_is_told_never_earlier_than_it_is() {
        let (clock, ours) = Clock::manual(MonoTime::ZERO, UnixMicros(1_000_000));
        let time = BackboneClock::new(clock);
        assert_eq!(time.now(), UnixMicros(1_000_000), "until the backbone is heard, ours");
        let asked = time.ours();
        // Two seconds ahead, said half a second after the question left.
        ours.advance(Duration::from_millis(500));
        time.heard(asked, UnixMicros(3_500_000));
        assert_eq!(time.now(), UnixMicros(4_000_000));
        ours.advance(Duration::from_secs(1));
        assert_eq!(time.now(), UnixMicros(5_000_000));
    }
}
