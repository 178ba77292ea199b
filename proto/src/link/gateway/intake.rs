//! What a Publish does to the ledger, and which entries it becomes.

use std::collections::HashMap;

use bytes::Bytes;

use super::{EdgeConfig, NewEntry, ShadowUpdate};
use crate::convert::{decode_record, encode_gap_body};
use crate::entry::{EntryKind, Origin};
use crate::gap::{Gap, GapReason, TimeSpan};
use crate::ids::{AgentName, MetricName};
use crate::ledger::{Heard, Ledger, Stored};
use crate::limits::LEDGER_RANGES_MAX;
use crate::link::frame::{EpochHeld, Hello, Publish, Reject, SequencedRecord};
use crate::ranges::{RangeSet, SeqRange};
use crate::reading::Reading;
use crate::record::Record;
use crate::seq::{Epoch, Lane};
use crate::time::UnixMicros;

/// The next step in the making.
#[derive(Debug)]
pub(super) struct Intake {
    pub(super) ledger: Ledger,
    pub(super) entries: Vec<NewEntry>,
    pub(super) rejects: Vec<Reject>,
    /// Lanes whose settled set the agent is told when the step is done.
    pub(super) touched: Vec<(Epoch, Lane)>,
    /// Lost by the ledger's account, held by the agent's: not settled for this agent until it has spoken.
    pub(super) found: Found,
    lost: Vec<Gap>,
    withdrawn: Vec<Gap>,
    received_at: UnixMicros,
}

/// Records told as lost that the agent's Hello says it holds.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    lanes: Vec<(Epoch, Lane, RangeSet)>,
}

impl Found {
    pub(super) fn new(ledger: &Ledger, hello: &Hello) -> Found {
        let lanes = hello.epochs.iter().flat_map(|held| Lane::ALL.map(|lane| (held, lane)));
        let found = |(held, lane): (&EpochHeld, Lane)| {
            let found = held.lane(lane).held.intersection(&ledger.missed(held.epoch, lane));
            (!found.is_empty()).then_some((held.epoch, lane, found))
        };
        Found { lanes: lanes.filter_map(found).collect() }
    }

    fn spoken_of(&mut self, epoch: Epoch, lane: Lane, range: SeqRange) {
        for (_, _, found) in self.lanes.iter_mut().filter(|found| (found.0, found.1) == (epoch, lane)) {
            found.remove(range);
        }
    }

    /// What the agent is told of a lane's settled set.
    pub(super) fn settled(&self, ledger: &Ledger, epoch: Epoch, lane: Lane) -> RangeSet {
        let settled = ledger.settled(epoch, lane);
        match self.lanes.iter().find(|found| (found.0, found.1) == (epoch, lane)) {
            Some((_, _, found)) => settled.difference(found),
            None => settled,
        }
    }
}

/// The agent has made more holes than a ledger keeps; an honest one closes them first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {LEDGER_RANGES_MAX} ranges in epoch {epoch}, lane {lane}")]
pub(super) struct TooManyRanges {
    epoch: Epoch,
    lane: Lane,
}

impl Intake {
    pub(super) fn new(ledger: Ledger, found: Found, received_at: UnixMicros) -> Intake {
        Intake {
            ledger,
            entries: Vec::new(),
            rejects: Vec::new(),
            touched: Vec::new(),
            found,
            lost: Vec::new(),
            withdrawn: Vec::new(),
            received_at,
        }
    }

    /// What the ledger has taken in of a Hello.
    pub(super) fn heard(&mut self, heard: Heard) {
        self.lost(heard.lost);
        for gap in heard.withdrawn {
            add_merged(&mut self.withdrawn, gap);
        }
    }

    /// Gaps that the ledger has taken in already.
    fn lost(&mut self, gaps: Vec<Gap>) {
        for gap in gaps {
            add_merged(&mut self.lost, gap);
        }
    }

    pub(super) fn publish(&mut self, config: &EdgeConfig, publish: Publish) -> Result<(), TooManyRanges> {
        let (epoch, lane) = (publish.epoch, publish.lane);
        self.ledger.note_last(epoch, lane, publish.last);
        self.touch(epoch, lane);
        for gap in &publish.gaps {
            let news = self.ledger.lose(gap);
            self.lost(news);
            self.found.spoken_of(gap.epoch, gap.lane, gap.range);
            self.touch(gap.epoch, gap.lane);
            self.check_ranges(gap.epoch, gap.lane)?;
        }
        for record in publish.records {
            if let Some(one) = SeqRange::one(record.seq) {
                self.found.spoken_of(epoch, lane, one);
            }
            // Told before, by this connection or an earlier one.
            if !self.ledger.wants(epoch, lane, record.seq) {
                continue;
            }
            let origin = Origin {
                agent: config.agent.clone(),
                epoch,
                epoch_order: self.ledger.order(epoch).unwrap_or(0),
                lane,
                seq: record.seq,
                backlog: publish.backlog,
            };
            self.record(origin, record, config.limits.record_bytes_max);
        }
        self.check_ranges(epoch, lane)
    }

    fn record(&mut self, origin: Origin, sequenced: SequencedRecord, record_bytes_max: usize) {
        // Copied: a slice would keep the whole message for as long as one entry is remembered.
        let body = Bytes::copy_from_slice(&sequenced.record);
        let decoded = if body.len() > record_bytes_max {
            Err(format!("has {} bytes; at most {record_bytes_max} are allowed", body.len()))
        } else {
            decode_record(sequenced.record).map_err(|error| error.to_string())
        };
        match decoded {
            Ok(record) => self.store(origin, &record, body),
            Err(reason) => self.reject(&origin, reason),
        }
    }

    fn store(&mut self, origin: Origin, record: &Record, body: Bytes) {
        match self.ledger.store(origin.epoch, origin.lane, origin.seq) {
            Stored::Known => return,
            Stored::Withdraws(gap) => add_merged(&mut self.withdrawn, gap),
            Stored::New => {}
        }
        self.entries.push(NewEntry {
            received_at: self.received_at,
            origin: Some(origin),
            kind: match record {
                Record::Telemetry(_) => EntryKind::Telemetry,
                Record::Presence(_) => EntryKind::Presence,
                Record::Description(_) => EntryKind::Description,
            },
            device: Some(record.device().clone()),
            body,
            shadow: shadow_updates(record),
        });
    }

    fn reject(&mut self, origin: &Origin, reason: String) {
        let (epoch, lane, seq) = (origin.epoch, origin.lane, origin.seq);
        if let Some(range) = SeqRange::one(seq) {
            let span = TimeSpan { from: None, to: Some(self.received_at) };
            let news = self.ledger.lose(&Gap { epoch, lane, range, reason: GapReason::Rejected, span });
            self.lost(news);
        }
        self.rejects.push(Reject { epoch, lane, seq, reason });
    }

    /// How many entries the step has by now.
    pub(super) fn entries(&self) -> usize {
        self.entries.len() + self.lost.len() + self.withdrawn.len()
    }

    /// Adds the entries that tell of gaps; to be called once, when all is taken in.
    pub(super) fn tell_gaps(&mut self, agent: &AgentName) {
        let told = [(EntryKind::GapWithdrawn, &mut self.withdrawn), (EntryKind::Gap, &mut self.lost)];
        for (kind, gaps) in told {
            for gap in std::mem::take(gaps) {
                self.entries.push(NewEntry {
                    received_at: self.received_at,
                    origin: None,
                    kind,
                    device: None,
                    body: encode_gap_body(agent, &gap, kind == EntryKind::GapWithdrawn),
                    shadow: Vec::new(),
                });
            }
        }
    }

    fn touch(&mut self, epoch: Epoch, lane: Lane) {
        if !self.touched.contains(&(epoch, lane)) {
            self.touched.push((epoch, lane));
        }
    }

    fn check_ranges(&self, epoch: Epoch, lane: Lane) -> Result<(), TooManyRanges> {
        if self.ledger.range_count(epoch, lane) > LEDGER_RANGES_MAX {
            return Err(TooManyRanges { epoch, lane });
        }
        Ok(())
    }
}

/// One entry tells of neighbours that are lost for the same reason.
fn add_merged(gaps: &mut Vec<Gap>, gap: Gap) {
    if let Some(last) = gaps.last_mut() {
        let same = (last.epoch, last.lane, last.reason) == (gap.epoch, gap.lane, gap.reason);
        let range = SeqRange::new(last.range.first(), gap.range.last());
        if let Some(range) = range.filter(|_| same && last.range.last().next() == gap.range.first()) {
            *last = Gap { range, span: last.span.hull(gap.span), ..*last };
            return;
        }
    }
    gaps.push(gap);
}

/// The newest reading of each metric; nothing of what a device tells of its past.
fn shadow_updates(record: &Record) -> Vec<ShadowUpdate> {
    let telemetry = match record {
        Record::Presence(presence) => {
            let (online, stale, at) = (presence.online, presence.is_stale(), presence.at);
            return vec![ShadowUpdate::Online { online, stale, at }];
        }
        Record::Description(description) => return vec![ShadowUpdate::Described(description.clone())],
        Record::Telemetry(telemetry) if telemetry.historical => return Vec::new(),
        Record::Telemetry(telemetry) => telemetry,
    };
    let mut newest: HashMap<&MetricName, usize> = HashMap::new();
    let mut readings: Vec<&Reading> = Vec::new();
    for reading in &telemetry.readings {
        let at = *newest.entry(&reading.metric).or_insert_with(|| {
            readings.push(reading);
            readings.len() - 1
        });
        readings[at] = reading;
    }
    readings.into_iter().cloned().map(ShadowUpdate::Metric).collect()
}
