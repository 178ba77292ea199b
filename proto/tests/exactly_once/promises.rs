//! Promise 4, as a watcher of what one agent asks for and sends: live first, credit kept, and the backlog
//! in flight within what was acknowledged in the last 300 ms.

use std::collections::VecDeque;

use lockgate_proto::gap::Gap;
use lockgate_proto::limits::{BACKLOG_WINDOW, GAP_BYTES, PUBLISH_BYTES_TARGET};
use lockgate_proto::link::agent::Action;
use lockgate_proto::link::frame::{Ack, AgentFrame, EpochSettled, LinkLimits, Publish};
use lockgate_proto::ranges::{RangeSet, SeqRange};
use lockgate_proto::seq::{Epoch, Lane, Seq};
use lockgate_proto::time::MonoTime;
use proptest::prelude::*;

/// One connection, seen from the agent's socket.
pub(crate) struct Watch {
    current: Epoch,
    marks: [Seq; 2],
    last: [Seq; 2],
    /// Live numbers that were asked for or sent.
    taken: [RangeSet; 2],
    /// Live numbers told as lost, or to be told so.
    lost: [RangeSet; 2],
    /// A `Read` of live records is on its way; what came after it goes with the next one.
    asked: [bool; 2],
    /// The queue had nothing to give for this lane.
    pub(crate) blocked: [bool; 2],
    in_flight: Vec<Publish>,
    acked: VecDeque<(MonoTime, u64)>,
    limits: LinkLimits,
}

impl Watch {
    pub(crate) fn new(current: Epoch, marks: [Seq; 2], limits: LinkLimits) -> Watch {
        Watch {
            current,
            marks,
            last: marks,
            taken: [RangeSet::new(), RangeSet::new()],
            lost: [RangeSet::new(), RangeSet::new()],
            asked: [false; 2],
            blocked: [false; 2],
            in_flight: Vec::new(),
            acked: VecDeque::new(),
            limits,
        }
    }

    pub(crate) fn appended(&mut self, lane: Lane, seq: Seq) {
        self.last[lane.index()] = seq;
    }

    /// Told as lost: nobody waits for it any more.
    pub(crate) fn lost(&mut self, gap: &Gap) {
        if gap.epoch == self.current {
            self.lost[gap.lane.index()].insert(gap.range);
        }
    }

    /// The answer to a `Read` has come: what of it is not sent now will be asked for again.
    pub(crate) fn answered(&mut self, epoch: Epoch, lane: Lane, range: SeqRange) {
        if epoch == self.current {
            self.taken[lane.index()].remove(range);
            self.asked[lane.index()] &= range.first() <= self.marks[lane.index()];
        }
    }

    pub(crate) fn acked(&mut self, now: MonoTime, ack: &Ack) {
        for EpochSettled { epoch, lanes } in &ack.epochs {
            for (lane, set) in lanes {
                let done = |publish: &Publish| {
                    (publish.epoch, publish.lane) == (*epoch, *lane)
                        && publish.records.iter().all(|record| set.contains(record.seq))
                };
                for publish in self.in_flight.extract_if(.., |publish| done(publish)) {
                    self.acked.push_back((now, bytes(&publish)));
                }
            }
        }
    }

    pub(crate) fn action(&mut self, now: MonoTime, action: &Action) -> Result<(), TestCaseError> {
        match action {
            Action::Read { epoch, lane, range, .. } => self.read(*epoch, *lane, *range),
            Action::Gap(gap) => {
                self.lost(gap);
                Ok(())
            }
            Action::Send(AgentFrame::Publish(publish)) if !publish.records.is_empty() => self.publish(now, publish),
            _ => Ok(()),
        }
    }

    fn read(&mut self, epoch: Epoch, lane: Lane, range: SeqRange) -> Result<(), TestCaseError> {
        let live = epoch == self.current && self.marks[lane.index()] < range.first();
        if live {
            self.taken[lane.index()].insert(range);
            self.asked[lane.index()] = true;
            return Ok(());
        }
        for lane in Lane::ALL.into_iter().filter(|lane| !self.blocked[lane.index()] && !self.asked[lane.index()]) {
            let Some(all) = SeqRange::new(self.marks[lane.index()].next(), self.last[lane.index()]) else { continue };
            let waiting = self.taken[lane.index()].missing_in(all).difference(&self.lost[lane.index()]);
            prop_assert!(waiting.is_empty(), "backlog before live {:?} of {}", waiting, lane);
        }
        Ok(())
    }

    fn publish(&mut self, now: MonoTime, publish: &Publish) -> Result<(), TestCaseError> {
        let live = publish.epoch == self.current
            && publish.records.iter().all(|record| self.marks[publish.lane.index()] < record.seq);
        prop_assert_eq!(publish.backlog, !live);
        if live {
            self.taken[publish.lane.index()]
                .extend(publish.records.iter().filter_map(|record| SeqRange::one(record.seq)));
        }
        if !self.in_flight.is_empty() {
            let all = self.in_flight.iter().chain([publish]).map(weight);
            let (bytes, records) = all.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
            prop_assert!(bytes <= self.limits.window_bytes, "beyond the credit of bytes");
            prop_assert!(records <= self.limits.window_records, "beyond the credit of records");
        }
        let backlog: u64 = self.in_flight.iter().filter(|publish| publish.backlog).map(bytes).sum();
        if publish.backlog && backlog > 0 {
            let recent = self
                .acked
                .iter()
                .filter(|(at, _)| now.since(*at) <= BACKLOG_WINDOW)
                .map(|(_, bytes)| bytes)
                .sum::<u64>();
            let one_batch = PUBLISH_BYTES_TARGET as u64;
            prop_assert!(backlog + bytes(publish) <= recent.max(one_batch), "too much backlog in flight");
        }
        self.in_flight.push(publish.clone());
        Ok(())
    }
}

/// What it costs of the credit, in bytes and in records.
fn weight(publish: &Publish) -> (u64, u64) {
    let gaps = publish.gaps.len() as u64;
    (bytes(publish) + gaps * GAP_BYTES, publish.records.len() as u64 + gaps)
}

fn bytes(publish: &Publish) -> u64 {
    publish.records.iter().map(|record| record.record.len() as u64).sum()
}
