//! What is on its way and not yet acknowledged, and how much more may be.

use std::collections::VecDeque;

use super::lanes::LaneState;
use crate::limits::{BACKLOG_WINDOW, PUBLISH_BYTES_TARGET};
use crate::link::frame::LinkLimits;
use crate::ranges::RangeSet;
use crate::seq::{Epoch, Lane};
use crate::time::MonoTime;

#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) epoch: Epoch,
    pub(super) lane: Lane,
    pub(super) numbers: RangeSet,
    pub(super) bytes: u64,
    pub(super) records: u64,
    pub(super) backlog: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Flight {
    sent: Vec<Sent>,
    /// When how many bytes were acknowledged, within the backlog's window of time.
    acked: VecDeque<(MonoTime, u64)>,
}

impl Flight {
    pub(super) fn add(&mut self, sent: Sent) {
        self.sent.push(sent);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    pub(super) fn has_gaps(&self) -> bool {
        self.sent.iter().any(|sent| sent.records == 0)
    }

    /// Takes out what the lane's gateway has settled.
    pub(super) fn acked(&mut self, now: MonoTime, lane: &LaneState) {
        let mut bytes = 0u64;
        self.sent.retain(|sent| {
            let mine = (sent.epoch, sent.lane) == (lane.epoch, lane.lane);
            let done = mine && sent.numbers.difference(&lane.told).is_empty();
            if done {
                bytes = bytes.saturating_add(sent.bytes);
            }
            !done
        });
        if bytes > 0 {
            self.acked.push_back((now, bytes));
        }
    }

    fn bytes(&self) -> u64 {
        self.sent.iter().map(|sent| sent.bytes).sum()
    }

    /// Bytes and records that the gateway's credit still allows; with nothing in flight, one batch always.
    pub(super) fn credit(&self, limits: &LinkLimits) -> (u64, u64) {
        let records: u64 = self.sent.iter().map(|sent| sent.records).sum();
        let (bytes, records) =
            (limits.window_bytes.saturating_sub(self.bytes()), limits.window_records.saturating_sub(records));
        if self.is_empty() { (bytes.max(PUBLISH_BYTES_TARGET as u64), records.max(1)) } else { (bytes, records) }
    }

    /// Bytes of backlog that may be added. Never so much that it could hold up live records: no more in
    /// flight than was acknowledged in the window of time, and a quarter of the credit stays free.
    pub(super) fn backlog_room(&mut self, now: MonoTime, limits: &LinkLimits) -> u64 {
        while self.acked.front().is_some_and(|(at, _)| now.since(*at) > BACKLOG_WINDOW) {
            self.acked.pop_front();
        }
        let in_flight: u64 = self.sent.iter().filter(|sent| sent.backlog).map(|sent| sent.bytes).sum();
        if in_flight == 0 {
            return PUBLISH_BYTES_TARGET as u64;
        }
        let recent: u64 = self.acked.iter().map(|(_, bytes)| bytes).sum();
        recent.min(limits.window_bytes / 4 * 3).saturating_sub(in_flight)
    }
}
