//! A queue on a disk that forgets what was not synced.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use lockgate_proto::gap::{Gap, GapReason, TimeSpan};
use lockgate_proto::link::agent::{Holdings, ReadRecord};
use lockgate_proto::link::frame::{EpochHeld, LaneHeld};
use lockgate_proto::ranges::{RangeSet, SeqRange};
use lockgate_proto::seq::{Epoch, Lane, Seq};

#[derive(Clone, Default)]
pub(crate) struct LaneFile {
    pub(crate) records: BTreeMap<Seq, ReadRecord>,
    last: Seq,
    durable: Seq,
    pub(crate) settled: RangeSet,
    gaps: Vec<Gap>,
}

#[derive(Clone)]
pub(crate) struct EpochFile {
    pub(crate) epoch: Epoch,
    pub(crate) lanes: [LaneFile; 2],
}

/// The whole folder: cloned, it is a copied card.
#[derive(Clone)]
pub(crate) struct Queue {
    pub(crate) epochs: Vec<EpochFile>,
    pub(crate) dead_letters: BTreeSet<(Epoch, Lane, Seq)>,
}

/// What a start finds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Before {
    /// The machine ran on: what was written is there.
    Kill,
    /// The machine went off, or this is another one: what was not synced is gone.
    PowerLoss,
}

impl Queue {
    pub(crate) fn empty(epoch: Epoch) -> Queue {
        let mut queue = Queue { epochs: Vec::new(), dead_letters: BTreeSet::new() };
        queue.open_epoch(epoch);
        queue
    }

    fn open_epoch(&mut self, epoch: Epoch) {
        self.epochs.push(EpochFile { epoch, lanes: [LaneFile::default(), LaneFile::default()] });
    }

    pub(crate) fn start(&mut self, epoch: Epoch, before: Before) {
        if before == Before::PowerLoss {
            let last = self.epochs.last_mut().expect("a queue has a current epoch");
            for lane in Lane::ALL {
                let file = &mut last.lanes[lane.index()];
                file.records.retain(|seq, _| *seq <= file.durable);
                file.last = file.durable;
                // Known only by what the gateway said, and told again at the next Welcome.
                file.settled = RangeSet::new();
                let range = SeqRange::new(file.durable.next(), Seq::MAX).expect("nothing is numbered MAX");
                let span = TimeSpan::default();
                file.gaps.push(Gap { epoch: last.epoch, lane, range, reason: GapReason::Power, span });
            }
        }
        self.sync();
        self.open_epoch(epoch);
    }

    pub(crate) fn current(&self) -> Epoch {
        self.epochs.last().expect("a queue has a current epoch").epoch
    }

    pub(crate) fn append(&mut self, lane: Lane, taken_at: lockgate_proto::time::UnixMicros, record: Bytes) -> Seq {
        let file = &mut self.epochs.last_mut().expect("a queue has a current epoch").lanes[lane.index()];
        let seq = file.last.next();
        file.last = seq;
        file.records.insert(seq, ReadRecord { seq, taken_at: Some(taken_at), record });
        seq
    }

    pub(crate) fn last(&self, lane: Lane) -> Seq {
        self.epochs.last().expect("a queue has a current epoch").lanes[lane.index()].last
    }

    pub(crate) fn sync(&mut self) {
        for file in self.epochs.iter_mut().flat_map(|epoch| &mut epoch.lanes) {
            file.durable = file.last;
        }
    }

    /// Makes room: the oldest settled telemetry goes without a word, else the oldest one with a gap.
    pub(crate) fn evict(&mut self) {
        let lane = Lane::Telemetry;
        let index = lane.index();
        let settled = self.epochs.iter_mut().find_map(|file| {
            let lane = &file.lanes[index];
            let oldest = lane.records.keys().copied().find(|seq| lane.settled.contains(*seq))?;
            Some((file, oldest))
        });
        if let Some((file, oldest)) = settled {
            file.lanes[index].records.remove(&oldest);
            return;
        }
        let oldest = self.epochs.iter().find_map(|file| Some((file.epoch, *file.lanes[index].records.keys().next()?)));
        if let Some((epoch, seq)) = oldest {
            self.lose(epoch, lane, seq, GapReason::Evicted);
        }
    }

    pub(crate) fn corrupt(&mut self, choice: u8) {
        let all: Vec<(Epoch, Lane, Seq)> = self.records().collect();
        if let Some((epoch, lane, seq)) = all.get(usize::from(choice) % all.len().max(1)).copied() {
            self.lose(epoch, lane, seq, GapReason::Corrupt);
        }
    }

    fn lose(&mut self, epoch: Epoch, lane: Lane, seq: Seq, reason: GapReason) {
        let file = self.lane_mut(epoch, lane);
        file.records.remove(&seq);
        let range = SeqRange::one(seq).expect("records are numbered from 1");
        file.gaps.push(Gap { epoch, lane, range, reason, span: TimeSpan::default() });
    }

    pub(crate) fn remember_gap(&mut self, gap: Gap) {
        self.lane_mut(gap.epoch, gap.lane).gaps.push(gap);
    }

    pub(crate) fn settled(&mut self, epoch: Epoch, lane: Lane, set: RangeSet) {
        let file = self.lane_mut(epoch, lane);
        // An open end is told again to a store that went back: the disk shows no trace of what was lost.
        file.gaps.retain(|gap| gap.is_unbounded() || !set.contains_range(gap.range));
        file.settled = set;
    }

    fn lane_mut(&mut self, epoch: Epoch, lane: Lane) -> &mut LaneFile {
        let file = self.epochs.iter_mut().find(|file| file.epoch == epoch).expect("the link names only our epochs");
        &mut file.lanes[lane.index()]
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = (Epoch, Lane, Seq)> {
        let lanes = self.epochs.iter().flat_map(|file| Lane::ALL.map(|lane| (file, lane)));
        lanes.flat_map(|(file, lane)| file.lanes[lane.index()].records.keys().map(move |seq| (file.epoch, lane, *seq)))
    }

    pub(crate) fn holdings(&self) -> Holdings {
        let held = |file: &LaneFile| LaneHeld {
            held: file.records.keys().filter_map(|seq| SeqRange::one(*seq)).collect(),
            last: file.last,
        };
        let epochs = self
            .epochs
            .iter()
            .map(|file| EpochHeld { epoch: file.epoch, lanes: [held(&file.lanes[0]), held(&file.lanes[1])] });
        let gaps = self.epochs.iter().flat_map(|file| file.lanes.iter().flat_map(|lane| lane.gaps.clone()));
        Holdings { epochs: epochs.collect(), gaps: gaps.collect() }
    }

    /// At least one record, at most about so many bytes, and what is missing before the last of them.
    pub(crate) fn read(
        &self,
        epoch: Epoch,
        lane: Lane,
        range: SeqRange,
        bytes_max: usize,
    ) -> (Vec<ReadRecord>, RangeSet) {
        let file = self.epochs.iter().find(|file| file.epoch == epoch).expect("the link names only our epochs");
        let mut bytes = 0;
        let mut records = Vec::new();
        let mut through = range.last();
        for record in file.lanes[lane.index()].records.range(range.first()..=range.last()).map(|(_, record)| record) {
            bytes += record.record.len();
            records.push(record.clone());
            if bytes >= bytes_max {
                through = record.seq;
                break;
            }
        }
        let read: RangeSet = records.iter().filter_map(|record| SeqRange::one(record.seq)).collect();
        let missing = SeqRange::new(range.first(), through).map(|answered| read.missing_in(answered));
        (records, missing.unwrap_or_default())
    }
}
