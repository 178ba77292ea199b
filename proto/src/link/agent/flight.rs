//! What is on its way and not yet acknowledged, and how much more may be.

use std::collections::VecDeque;
use std::time::Duration;

use super::lanes::LaneState;
use crate::limits::{
    BACKLOG_BATCH_BYTES, BACKLOG_BATCH_BYTES_MIN, BACKLOG_BATCH_TIME, BACKLOG_WINDOW, PUBLISH_BYTES_TARGET,
};
use crate::link::frame::LinkLimits;
use crate::link::load::Load;
use crate::ranges::RangeSet;
use crate::seq::{Epoch, Lane};
use crate::time::MonoTime;

#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) epoch: Epoch,
    pub(super) lane: Lane,
    pub(super) numbers: RangeSet,
    pub(super) load: Load,
    pub(super) what: What,
    pub(super) at: MonoTime,
}

/// What was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Live,
    Backlog,
    /// Too few bytes to say anything of what the link carries.
    Gaps,
}

#[derive(Clone, Debug)]
pub(super) struct Flight {
    sent: Vec<Sent>,
    /// When how many bytes were acknowledged, within the backlog's window of time.
    acked: VecDeque<(MonoTime, u64)>,
    acked_at: MonoTime,
    /// The shortest way there and back; what a batch takes beyond it, it waits in buffers.
    round_trip: Option<Duration>,
    /// Backlog that may be in flight however little was acknowledged: what the link carries in about a second.
    batch_bytes: u64,
}

impl Default for Flight {
    fn default() -> Flight {
        Flight {
            sent: Vec::new(),
            acked: VecDeque::new(),
            acked_at: MonoTime::default(),
            round_trip: None,
            batch_bytes: BACKLOG_BATCH_BYTES,
        }
    }
}

impl Flight {
    pub(super) fn add(&mut self, sent: Sent) {
        self.sent.push(sent);
    }

    /// An answer that waits for no storage shows how long the way is.
    pub(super) fn round_trip(&mut self, took: Duration) {
        self.round_trip = Some(self.round_trip.map_or(took, |shortest| shortest.min(took)));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    pub(super) fn has_gaps(&self) -> bool {
        self.sent.iter().any(|sent| sent.what == What::Gaps)
    }

    /// Takes out what the lane's gateway has settled.
    pub(super) fn acked(&mut self, now: MonoTime, lane: &LaneState) {
        let (mut bytes, mut began) = (0u64, now);
        let (batch_bytes, round_trip) = (&mut self.batch_bytes, self.round_trip.unwrap_or_default());
        self.sent.retain(|sent| {
            let mine = (sent.epoch, sent.lane) == (lane.epoch, lane.lane);
            let done = mine && sent.numbers.difference(&lane.told).is_empty();
            if done && sent.what != What::Gaps {
                bytes = bytes.saturating_add(sent.load.bytes);
                began = began.min(sent.at);
                *batch_bytes = batch_after(*batch_bytes, now.since(sent.at).saturating_sub(round_trip), sent);
            }
            !done
        });
        if bytes > 0 {
            // One answer for what took longer than the window: only a part of it was carried within.
            let took = now.since(began.max(self.acked_at)).max(BACKLOG_WINDOW).as_micros();
            let within = u128::from(bytes) * BACKLOG_WINDOW.as_micros() / took;
            self.acked.push_back((now, u64::try_from(within).unwrap_or(bytes)));
            self.acked_at = now;
        }
    }

    /// What the gateway's credit still allows.
    pub(super) fn credit(&self, limits: &LinkLimits) -> Load {
        let in_flight = self.sent.iter().fold(Load::default(), |sum, sent| sum.plus(sent.load));
        Load::window(limits).minus(in_flight)
    }

    /// Bytes of backlog that may be added. Never so much that it could hold up live records: no more in
    /// flight than was acknowledged in the window of time, or one batch, and a quarter of the credit
    /// stays free.
    pub(super) fn backlog_room(&mut self, now: MonoTime, limits: &LinkLimits) -> u64 {
        while self.acked.front().is_some_and(|(at, _)| now.since(*at) > BACKLOG_WINDOW) {
            self.acked.pop_front();
        }
        let in_flight: u64 =
            self.sent.iter().filter(|sent| sent.what == What::Backlog).map(|sent| sent.load.bytes).sum();
        let recent: u64 = self.acked.iter().map(|(_, bytes)| bytes).sum();
        let room = recent.max(self.batch_bytes).min(limits.window_bytes / 4 * 3).max(1);
        room.saturating_sub(in_flight)
    }
}

/// A batch that came through quickly lets the next one be larger, one that took long makes it smaller.
fn batch_after(batch_bytes: u64, took: Duration, sent: &Sent) -> u64 {
    let bytes = sent.load.bytes;
    if sent.what != What::Backlog || bytes == 0 {
        return batch_bytes;
    }
    if took > BACKLOG_BATCH_TIME {
        let carried = u128::from(bytes) * BACKLOG_BATCH_TIME.as_micros() / took.as_micros();
        return u64::try_from(carried).unwrap_or(batch_bytes).clamp(BACKLOG_BATCH_BYTES_MIN, batch_bytes);
    }
    let filled = bytes.saturating_mul(2) >= batch_bytes;
    if filled && took <= BACKLOG_BATCH_TIME / 2 {
        batch_bytes.saturating_mul(2).min(PUBLISH_BYTES_TARGET as u64)
    } else {
        batch_bytes
    }
}
