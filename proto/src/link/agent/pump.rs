//! Which record is read and sent next: events before telemetry, live before backlog, the oldest
//! backlog first; within credit, and backlog within what could be acknowledged.

use super::flight::{Sent, What};
use super::machine::{AgentLink, Phase};
use super::{Action, ReadId, ReadRecord};
use crate::gap::{Gap, GapReason, TimeSpan};
use crate::limits::{
    GAP_BYTES, PUBLISH_BYTES_TARGET, PUBLISH_GAPS_MAX, PUBLISH_OVERHEAD_BYTES, PUBLISH_RECORDS_MAX,
    RECORD_OVERHEAD_BYTES,
};
use crate::link::frame::{AgentFrame, Publish, SequencedRecord};
use crate::link::load::Load;
use crate::ranges::{RangeSet, SeqRange};
use crate::seq::{Epoch, Lane, Seq};
use crate::time::MonoTime;

/// Less than this is not read while there are acknowledgements to wait for.
const READ_BYTES_MIN: u64 = 4 * 1024;

/// What a `Read` is for; at most one of each is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    LiveEvents,
    LiveTelemetry,
    Backlog,
}

impl Slot {
    pub(super) const LIVE: [Slot; 2] = [Slot::LiveEvents, Slot::LiveTelemetry];

    fn index(self) -> usize {
        match self {
            Slot::LiveEvents => 0,
            Slot::LiveTelemetry => 1,
            Slot::Backlog => 2,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Read {
    request: ReadId,
    epoch: Epoch,
    lane: Lane,
    range: SeqRange,
    bytes_max: u64,
}

/// An answer to a `Read`: when it came, and what was asked.
#[derive(Clone, Copy, Debug)]
struct Answered {
    slot: Slot,
    read: Read,
    now: MonoTime,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Slots {
    reads: [Option<Read>; 3],
    /// The last answer had nothing that fits the credit: no use in reading it again before an Ack.
    starved: [bool; 3],
    next_request: u64,
}

impl Slots {
    /// The connection is another one; answers to its reads find no place.
    pub(super) fn forget(&mut self) {
        *self = Slots { next_request: self.next_request, ..Slots::default() };
    }

    pub(super) fn is_empty(&self) -> bool {
        self.reads.iter().all(Option::is_none)
    }

    pub(super) fn credit_came(&mut self) {
        self.starved = [false; 3];
    }

    fn take(&mut self, request: ReadId) -> Option<(Slot, Read)> {
        let slots = [Slot::LiveEvents, Slot::LiveTelemetry, Slot::Backlog];
        slots
            .into_iter()
            .find_map(|slot| self.reads[slot.index()].take_if(|read| read.request == request).map(|read| (slot, read)))
    }

    fn reserved(&self) -> u64 {
        self.reads.iter().flatten().map(|read| read.bytes_max).sum()
    }
}

/// What one answer of the queue becomes.
#[derive(Debug, Default)]
struct Sorted {
    records: Vec<SequencedRecord>,
    /// The rest did not fit the credit.
    cut: bool,
}

impl AgentLink {
    /// Asks for what is to be sent next, as far as credit allows.
    pub(super) fn pump(&mut self, now: MonoTime, actions: &mut Vec<Action>) {
        if !self.may_send(now) {
            return;
        }
        self.tell_gaps(now, actions);
        for slot in [Slot::LiveEvents, Slot::LiveTelemetry, Slot::Backlog] {
            if self.slots.reads[slot.index()].is_some() {
                continue;
            }
            let Some((epoch, lane, range)) = self.candidate(slot) else { continue };
            let bytes_max = self.room(now, slot);
            if bytes_max == 0 || self.slots.starved[slot.index()] {
                // What is more urgent waits for credit: nothing less urgent may take it.
                return;
            }
            self.read(slot, (epoch, lane, range), bytes_max, actions);
        }
    }

    fn read(&mut self, slot: Slot, what: (Epoch, Lane, SeqRange), bytes_max: u64, actions: &mut Vec<Action>) {
        let (epoch, lane, range) = what;
        self.slots.next_request += 1;
        let request = ReadId(self.slots.next_request);
        self.slots.reads[slot.index()] = Some(Read { request, epoch, lane, range, bytes_max });
        let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        actions.push(Action::Read { request, epoch, lane, range, bytes_max });
    }

    /// The lowest records of a slot that are to be sent.
    pub(super) fn candidate(&self, slot: Slot) -> Option<(Epoch, Lane, SeqRange)> {
        let (current, past) = self.epochs.split_last()?;
        let live = |lane: Lane| {
            let state = &current.lanes[lane.index()];
            let above = SeqRange::new(self.marks[lane.index()].next(), state.last)?;
            state.to_send(above).map(|range| (current.epoch, lane, range))
        };
        let backlog = |lane: Lane| {
            let past = past.iter().map(|epoch| (&epoch.lanes[lane.index()], epoch.lanes[lane.index()].last));
            let present = (&current.lanes[lane.index()], self.marks[lane.index()]);
            past.chain([present]).find_map(|(state, last)| {
                let range = state.to_send(SeqRange::new(Seq::FIRST, last)?)?;
                Some((state.epoch, lane, range))
            })
        };
        match slot {
            Slot::LiveEvents => live(Lane::Events),
            Slot::LiveTelemetry => live(Lane::Telemetry),
            Slot::Backlog if self.may_send_backlog() => Lane::ALL.into_iter().find_map(backlog),
            Slot::Backlog => None,
        }
    }

    fn room(&mut self, now: MonoTime, slot: Slot) -> u64 {
        let Load { bytes, records } = self.flight.credit(&self.limits);
        let credit = if self.flight.is_empty() && self.slots.is_empty() {
            // However small the window is, one record always goes.
            bytes.max(1)
        } else if records == 0 {
            0
        } else {
            bytes.saturating_sub(self.slots.reserved())
        };
        let room = match slot {
            Slot::LiveEvents | Slot::LiveTelemetry => credit,
            Slot::Backlog => credit.min(self.flight.backlog_room(now, &self.limits)),
        };
        // A small read in the shadow of what is in flight would cost more than it brings.
        if room < READ_BYTES_MIN && !self.flight.is_empty() { 0 } else { room.min(PUBLISH_BYTES_TARGET as u64) }
    }

    /// The queue's answer to a `Read`.
    pub(super) fn on_records(
        &mut self,
        now: MonoTime,
        request: ReadId,
        records: Vec<ReadRecord>,
        missing: &RangeSet,
        actions: &mut Vec<Action>,
    ) {
        let Some((slot, read)) = self.slots.take(request) else { return };
        let missing = missing.intersection(&read.range.into());
        if missing.is_empty() && !records.iter().any(|record| read.range.contains(record.seq)) {
            return self.block(now, read.epoch, read.lane);
        }
        if let Some(state) = self.lane_mut(read.epoch, read.lane) {
            for range in missing.ranges() {
                actions.extend(state.add_gap(&state.evicted(*range)).into_iter().map(Action::Gap));
            }
        }
        let sorted = self.sort(&read, records, actions);
        self.slots.starved[slot.index()] = sorted.cut && sorted.records.is_empty();
        self.publish(Answered { slot, read, now }, sorted.records, actions);
    }

    /// Parts an answer into what is sent, what nobody wants any more and what nobody can take.
    fn sort(&mut self, read: &Read, records: Vec<ReadRecord>, actions: &mut Vec<Action>) -> Sorted {
        let Load { bytes: mut bytes_left, records: mut records_left } = self.flight.credit(&self.limits);
        let must_go = self.flight.is_empty();
        let record_bytes_max = self.record_bytes_max();
        let horizon = self.horizon;
        let mut sorted = Sorted::default();
        let mut lost: Vec<Gap> = Vec::new();
        let Some(state) = self.lane_mut(read.epoch, read.lane) else { return sorted };
        for record in records {
            let Some(one) = SeqRange::one(record.seq).filter(|_| read.range.contains(record.seq)) else { continue };
            if state.accounted.contains(record.seq) {
                continue;
            }
            let bytes = record.record.len();
            let span = record.taken_at.map_or_else(TimeSpan::default, TimeSpan::at);
            let is_aged = horizon.zip(record.taken_at).is_some_and(|(horizon, taken_at)| taken_at < horizon);
            if is_aged {
                lost.extend(state.add_gap(&state.gap(one, GapReason::Aged, span)));
            } else if bytes > record_bytes_max {
                lost.extend(state.add_gap(&state.gap(one, GapReason::Rejected, span)));
                let reason = format!("has {bytes} bytes; the gateway takes {record_bytes_max}");
                actions.push(Action::DeadLetter { epoch: read.epoch, lane: read.lane, seq: record.seq, reason });
            } else if !(must_go && sorted.records.is_empty()) && (records_left == 0 || bytes as u64 > bytes_left) {
                sorted.cut = true;
                break;
            } else {
                bytes_left = bytes_left.saturating_sub(bytes as u64);
                records_left = records_left.saturating_sub(1);
                sorted.records.push(SequencedRecord { seq: record.seq, record: record.record });
            }
        }
        actions.extend(lost.into_iter().map(Action::Gap));
        sorted
    }

    fn record_bytes_max(&self) -> usize {
        let overhead = PUBLISH_OVERHEAD_BYTES + RECORD_OVERHEAD_BYTES;
        self.limits.record_bytes_max.min(self.limits.message_bytes_max.saturating_sub(overhead))
    }

    /// Sends records in as many frames as the bound of a message asks for.
    fn publish(&mut self, answered: Answered, records: Vec<SequencedRecord>, actions: &mut Vec<Action>) {
        let room = self.limits.message_bytes_max.saturating_sub(PUBLISH_OVERHEAD_BYTES).min(PUBLISH_BYTES_TARGET);
        let mut batch: Vec<SequencedRecord> = Vec::new();
        let mut batch_bytes = 0;
        for record in records {
            let bytes = record.record.len() + RECORD_OVERHEAD_BYTES;
            if !batch.is_empty() && (batch_bytes + bytes > room || batch.len() >= PUBLISH_RECORDS_MAX) {
                self.send_batch(answered, std::mem::take(&mut batch), actions);
                batch_bytes = 0;
            }
            batch_bytes += bytes;
            batch.push(record);
        }
        if !batch.is_empty() {
            self.send_batch(answered, batch, actions);
        }
    }

    fn send_batch(&mut self, answered: Answered, records: Vec<SequencedRecord>, actions: &mut Vec<Action>) {
        let Answered { slot, read, now } = answered;
        let backlog = slot == Slot::Backlog;
        let Some(state) = self.lane_mut(read.epoch, read.lane) else { return };
        let numbers: RangeSet = records.iter().filter_map(|record| SeqRange::one(record.seq)).collect();
        state.accounted.union_with(&numbers);
        let last = state.last;
        let publish = Publish { epoch: read.epoch, lane: read.lane, records, backlog, gaps: Vec::new(), last };
        self.flight.add(Sent {
            epoch: read.epoch,
            lane: read.lane,
            numbers,
            load: Load::of(&publish),
            what: if backlog { What::Backlog } else { What::Live },
            at: now,
        });
        actions.push(Action::Send(AgentFrame::Publish(publish)));
    }

    /// Tells losses, one frame of them at a time, and no more than credit allows; however small that is, one always goes.
    fn tell_gaps(&mut self, now: MonoTime, actions: &mut Vec<Action>) {
        if self.flight.has_gaps() || self.phase != Phase::Up {
            return;
        }
        let credit = self.flight.credit(&self.limits);
        let allowed = usize::try_from(credit.records.min(credit.bytes / GAP_BYTES)).unwrap_or(usize::MAX);
        let most = allowed.max(usize::from(self.flight.is_empty())).min(PUBLISH_GAPS_MAX);
        let mut gaps: Vec<Gap> = Vec::new();
        let mut sent = Vec::new();
        for lane in self.lanes_mut() {
            let taken = lane.take_gaps(most.saturating_sub(gaps.len()));
            if !taken.is_empty() {
                let numbers = taken.iter().map(|gap| gap.range).collect();
                let load = Load::of_gaps(taken.len());
                sent.push(Sent { epoch: lane.epoch, lane: lane.lane, numbers, load, what: What::Gaps, at: now });
                gaps.extend(taken);
            }
        }
        let Some(current) = self.epochs.last().filter(|_| !gaps.is_empty()) else { return };
        let (epoch, lane, last) = (current.epoch, Lane::Telemetry, current.lanes[Lane::Telemetry.index()].last);
        for sent in sent {
            self.flight.add(sent);
        }
        let publish = Publish { epoch, lane, records: Vec::new(), backlog: true, gaps, last };
        actions.push(Action::Send(AgentFrame::Publish(publish)));
    }
}
