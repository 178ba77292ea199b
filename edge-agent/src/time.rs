//! What time it is, for all parts of the agent: one [`TimeKeeper`], fed by the system's clock and by gateways.
//!
//! Each boot's anchor (its wall time over its own clock) goes into the queue as soon as it is known, so
//! that what was taken before can be dated, in this run or after a restart.

use std::time::Duration;

use lockgate_proto::clock::TimeKeeper;
use lockgate_proto::time::{MonoTime, UnixMicros};
use lockgate_runtime::clock::Clock;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::ingest::Arrival;
use crate::queue::{Anchor, BootTime, QueueHandle};

/// How often the system's clock is looked at, so that drift is followed and a jump is seen as one.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// An anchor is written down anew when it has moved by more than this.
const ANCHOR_MOVE_MICROS: u64 = 5_000;

/// How often the queue is told what time it is.
const NOTE_INTERVAL: Duration = Duration::from_secs(60);

/// How wrong an anchor may be that only the system's clock vouches for.
const SYSTEM_ERROR_MICROS: u64 = 60_000_000;

/// Before the first release nobody can have started this program: 2025-11-01.
pub(crate) const FLOOR: UnixMicros = UnixMicros(1_761_955_200_000_000);

/// As `2025-02-11T06:20:00.5Z`; microseconds at the finest. Times that no calendar has stay numbers.
pub fn iso(time: UnixMicros) -> String {
    jiff::Timestamp::from_microsecond(time.0).map_or_else(|_| format!("{}us", time.0), |time| time.to_string())
}

/// Tells the time; cheap to clone, and all clones are one.
#[derive(Clone)]
pub struct TimeHandle {
    clock: Clock,
    /// Two tasks feed it (this module's own and the uplink) and many read it, each for one short call that
    /// awaits nothing: a watch is the smallest thing that allows that and wakes who waits for the time.
    keeper: watch::Sender<TimeKeeper>,
}

impl TimeHandle {
    /// `known`: what was written down of this boot. Where a gateway had told its time, that still holds;
    /// else it is at least not earlier than the last time that was written down.
    pub fn new(clock: Clock, known: Option<BootTime>) -> TimeHandle {
        let floor = known.and_then(|known| known.not_before).map_or(FLOOR, |before| before.max(FLOOR));
        let mut keeper = TimeKeeper::new(floor);
        let anchor = known.and_then(|known| known.anchor);
        if let Some(anchor) = anchor.filter(|anchor| anchor.error_micros < SYSTEM_ERROR_MICROS) {
            // As if a gateway had answered just now, with a round trip that gives the same error.
            let error = Duration::from_micros(anchor.error_micros);
            let answered = clock.now();
            let asked = answered - error * 2;
            keeper.gateway_time(asked, answered, anchor.wall(answered - error));
        }
        let time = TimeHandle { clock, keeper: watch::Sender::new(keeper) };
        time.look();
        time
    }

    /// The time since boot.
    pub fn now(&self) -> MonoTime {
        self.clock.now()
    }

    /// The clock itself.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The time of something that is heard just now. In the world's time only once a gateway has
    /// confirmed it: until then the boot's own clock dates it, and can be corrected.
    pub fn arrival(&self) -> Arrival {
        let mono = self.clock.now();
        let keeper = self.keeper.borrow();
        let wall = if keeper.is_anchored() { keeper.wall_at(mono) } else { None };
        Arrival { mono, wall }
    }

    /// The wall time, as far as it is known.
    pub fn wall(&self) -> Option<UnixMicros> {
        self.wall_at(self.clock.now())
    }

    /// The wall time of an instant of this boot.
    pub fn wall_at(&self, mono: MonoTime) -> Option<UnixMicros> {
        self.keeper.borrow().wall_at(mono)
    }

    /// How far the system's clock is ahead of the gateway's, in microseconds.
    pub fn offset_to_gateway(&self) -> Option<i64> {
        self.keeper.borrow().offset_to_gateway(self.clock.now()).map(|(offset, _)| offset)
    }

    /// A gateway's clock showed `server` at some instant between the two.
    pub fn gateway_time(&self, asked: MonoTime, answered: MonoTime, server: UnixMicros) {
        self.keeper.send_modify(|keeper| keeper.gateway_time(asked, answered, server));
    }

    /// The present anchor of this boot.
    pub fn anchor(&self) -> Option<Anchor> {
        let now = self.clock.now();
        let keeper = self.keeper.borrow();
        let offset_micros = keeper.wall_at(MonoTime::default())?.0;
        let error_micros = keeper.offset_to_gateway(now).map_or(SYSTEM_ERROR_MICROS, |(_, error)| error.unsigned_abs());
        let error_micros =
            if keeper.is_anchored() { error_micros.min(SYSTEM_ERROR_MICROS) } else { SYSTEM_ERROR_MICROS };
        Some(Anchor { offset_micros, error_micros })
    }

    /// Whenever the time may have become known, or better known.
    pub fn watch(&self) -> watch::Receiver<TimeKeeper> {
        self.keeper.subscribe()
    }

    fn look(&self) {
        let (mono, wall) = (self.clock.now(), self.clock.wall());
        self.keeper.send_if_modified(|keeper| {
            let before = keeper.clone();
            keeper.system_time(mono, wall);
            *keeper != before
        });
    }

    /// Looks at the system's clock and writes anchors down, until told to stop.
    pub async fn run(self, queue: QueueHandle, stop: CancellationToken) -> anyhow::Result<()> {
        let mut written: Option<Anchor> = None;
        let mut noted: Option<MonoTime> = None;
        let mut changes = self.keeper.subscribe();
        loop {
            self.look();
            changes.mark_unchanged();
            if let Some(anchor) = self.anchor().filter(|anchor| is_news(written, *anchor)) {
                queue.set_anchor(anchor).await?;
                written = Some(anchor);
            }
            let now = self.clock.now();
            if let Some(wall) = self.wall_at(now).filter(|_| noted.is_none_or(|noted| now.since(noted) > NOTE_INTERVAL))
            {
                queue.note_time(wall).await?;
                noted = Some(now);
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                // CANCEL-SAFE: a watch holds nothing.
                Ok(()) = changes.changed() => {}
                // CANCEL-SAFE: a timer holds nothing.
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
            }
        }
    }
}

/// Whether an anchor is worth a write: the first one, a gateway's after one of the system alone, or one that moved.
fn is_news(written: Option<Anchor>, anchor: Anchor) -> bool {
    written.is_none_or(|written| {
        written.offset_micros.abs_diff(anchor.offset_micros) > ANCHOR_MOVE_MICROS
            || anchor.error_micros.saturating_mul(2) < written.error_micros
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOTED: MonoTime = MonoTime(Duration::from_secs(10));
    const TODAY: UnixMicros = UnixMicros(1_764_000_000_000_000);

    #[test]
    fn a_clock_that_stands_in_1970_is_not_believed_and_a_gateway_is() {
        let (clock, hand) = Clock::manual(BOOTED, UnixMicros(3_000_000));
        let time = TimeHandle::new(clock, None);
        assert_eq!(time.arrival(), Arrival { mono: BOOTED, wall: None });
        assert_eq!(time.wall(), None);
        time.gateway_time(BOOTED, BOOTED + Duration::from_millis(20), TODAY);
        hand.advance(Duration::from_secs(1));
        let off = time.arrival().wall.unwrap().0 - TODAY.0;
        assert!((off - 1_000_000).abs() <= 10_000, "off by {off}");
    }

    #[test]
    fn a_jump_of_the_systems_clock_moves_nothing_once_a_gateway_has_told_the_time() {
        let (clock, hand) = Clock::manual(BOOTED, TODAY);
        let time = TimeHandle::new(clock, None);
        time.gateway_time(BOOTED, BOOTED, TODAY);
        hand.set_wall(TODAY.offset_by(3_600_000_000));
        time.look();
        assert_eq!(time.arrival().wall, Some(TODAY));
        assert_eq!(time.offset_to_gateway(), Some(3_600_000_000));
    }

    #[test]
    fn a_system_clock_that_nobody_confirmed_dates_nothing_for_good() {
        let (clock, _hand) = Clock::manual(BOOTED, TODAY);
        let time = TimeHandle::new(clock, None);
        assert_eq!(time.wall(), Some(TODAY));
        assert_eq!(time.arrival().wall, None);
        assert_eq!(time.anchor().unwrap().error_micros, SYSTEM_ERROR_MICROS);
    }

    #[test]
    fn an_anchor_is_written_when_it_moves_or_becomes_much_better() {
        let anchor = |offset_micros, error_micros| Anchor { offset_micros, error_micros };
        assert!(is_news(None, anchor(0, 100)));
        assert!(!is_news(Some(anchor(0, 100)), anchor(1_000, 90)));
        assert!(is_news(Some(anchor(0, 100)), anchor(10_000, 100)));
        assert!(is_news(Some(anchor(0, SYSTEM_ERROR_MICROS)), anchor(0, 5_000)));
    }
}
