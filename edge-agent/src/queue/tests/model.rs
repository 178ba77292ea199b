//! The model test: whatever happens, each accepted record can be read, is settled, or is told as a gap
//! with the right reason; and nothing is read that was not written.

use std::collections::BTreeMap;

use bytes::Bytes;
use lockgate_proto::convert::decode_record;
use lockgate_proto::gap::GapReason;
use lockgate_proto::ranges::{RangeSet, SeqRange};
use lockgate_proto::record::Record;
use lockgate_proto::seq::{Epoch, Lane, Seq};
use proptest::prelude::*;

use super::support::{batch, presence, read_all, start};
use crate::queue::limits::QueueLimits;
use crate::queue::storage::fake::FakeDisk;
use crate::queue::{Queue, SyncError};

#[derive(Clone, Debug)]
enum Step {
    Append {
        lane: Lane,
        records: usize,
        bytes: usize,
    },
    /// A device that comes and goes, or one that says the same over and over.
    Flap {
        records: usize,
        devices: u64,
    },
    Sync,
    Settle {
        lane: Lane,
        epochs_back: usize,
        part: u64,
    },
    EpochClosed {
        epochs_back: u64,
    },
    Renew,
    Close,
    Kill,
    LosePower,
    StopSoon {
        operations: u64,
    },
    DiskFull {
        room: u64,
    },
    DiskHasRoom,
    FailSync {
        count: u64,
    },
    Flip {
        segment: usize,
        byte: usize,
        bit: u8,
    },
    DeleteByHand {
        segment: usize,
    },
    ReadAll,
}

fn arb_step() -> impl Strategy<Value = Step> {
    let lane = || prop::sample::select(Lane::ALL.to_vec());
    prop_oneof![
        12 => (lane(), 1usize..4, 1usize..600).prop_map(|(lane, records, bytes)| Step::Append { lane, records, bytes }),
        6 => (1usize..40, 1u64..4).prop_map(|(records, devices)| Step::Flap { records, devices }),
        4 => Just(Step::Sync),
        3 => (lane(), 0usize..3, 0u64..101).prop_map(|(lane, epochs_back, part)| Step::Settle { lane, epochs_back, part }),
        1 => (0u64..4).prop_map(|epochs_back| Step::EpochClosed { epochs_back }),
        1 => Just(Step::Renew),
        1 => Just(Step::Close),
        1 => Just(Step::Kill),
        1 => Just(Step::LosePower),
        1 => (0u64..12).prop_map(|operations| Step::StopSoon { operations }),
        1 => (0u64..3_000).prop_map(|room| Step::DiskFull { room }),
        2 => Just(Step::DiskHasRoom),
        1 => (1u64..4).prop_map(|count| Step::FailSync { count }),
        1 => (any::<usize>(), any::<usize>(), 0u8..8).prop_map(|(segment, byte, bit)| Step::Flip { segment, byte, bit }),
        1 => any::<usize>().prop_map(|segment| Step::DeleteByHand { segment }),
        1 => Just(Step::ReadAll),
    ]
}

/// What the model knows of one lane of one epoch.
#[derive(Default)]
struct Numbers {
    accepted: Vec<Bytes>,
    /// The last append, of which the end was not seen: all of it is there, or nothing.
    unsure: Vec<Bytes>,
    durable: u64,
    settled: RangeSet,
    /// Power was lost while this was the current epoch.
    lost_power: bool,
}

struct Model {
    disk: FakeDisk,
    queue: Option<Queue>,
    epoch: u64,
    /// Epochs after it that were tried and may be in the queue or not.
    tried: u64,
    boot: u128,
    seed: u64,
    lanes: BTreeMap<(u64, Lane), Numbers>,
    /// Somebody has flipped bits or deleted files: records may be corrupt.
    is_tampered: bool,
    /// The disk has refused flushes. A start that ends on this leaves what only the next start can find
    /// missing: the disk gives back other bytes than it was given.
    has_refused: bool,
}

impl Model {
    fn new() -> Model {
        let mut model = Model {
            disk: FakeDisk::default(),
            queue: None,
            epoch: 0,
            tried: 0,
            boot: 1,
            seed: 1,
            lanes: BTreeMap::new(),
            is_tampered: false,
            has_refused: false,
        };
        model.reopen();
        model
    }

    fn chance(&mut self, below: usize) -> usize {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.seed >> 33).unwrap() % below.max(1)
    }

    fn limits() -> QueueLimits {
        QueueLimits::tiny(24_000, 8_000, 2_000)
    }

    fn reopen(&mut self) {
        self.epoch = self.next_epoch();
        self.tried = 0;
        let storage = Box::new(self.disk.clone());
        let (queue, _) = Queue::open(storage, Self::limits(), start(self.epoch, self.boot)).unwrap();
        self.queue = Some(queue);
    }

    fn next_epoch(&mut self) -> u64 {
        self.tried += 1;
        let epoch = self.epoch + self.tried;
        for lane in Lane::ALL {
            self.lanes.insert((epoch, lane), Numbers::default());
        }
        epoch
    }

    fn renew(&mut self) {
        let next = self.next_epoch();
        let renewed = self.queue.as_mut().unwrap().renew(Epoch(next));
        if renewed.is_ok() {
            self.note_sync(&Ok(()));
            (self.epoch, self.tried) = (next, 0);
        }
        self.note_durable();
    }

    fn apply(&mut self, step: &Step) {
        match *step {
            Step::Append { lane, records, bytes } => {
                self.seed += 1;
                let (epoch, seed) = (self.epoch, self.seed);
                self.append(lane, records, |number| {
                    let name = format!("{epoch}/{lane}/{number}/{seed}/");
                    name.bytes().cycle().take(bytes.max(name.len())).collect()
                });
            }
            Step::Flap { records, devices } => {
                self.seed += 1;
                let said = self.seed << 8;
                self.append(Lane::Events, records, |number| {
                    let number = number as u64;
                    presence(&format!("d{}", number % devices), number.is_multiple_of(3), (said >> 2) + number)
                });
            }
            Step::Sync => {
                let result = self.queue.as_mut().unwrap().sync();
                self.note_sync(&result.map(drop));
            }
            Step::Settle { lane, epochs_back, part } => self.settle(lane, epochs_back, part),
            Step::EpochClosed { epochs_back } => {
                let epoch = Epoch(self.epoch.saturating_sub(epochs_back).max(1));
                self.queue.as_mut().unwrap().epoch_closed(epoch);
            }
            Step::Renew => self.renew(),
            Step::Close => {
                let result = self.queue.take().unwrap().close();
                self.note_sync(&result);
                self.disk.heal();
                self.reopen();
            }
            Step::Kill => self.kill(),
            Step::LosePower => self.lose_power(),
            Step::StopSoon { operations } => self.disk.stop_after(operations),
            Step::DiskFull { room } => self.disk.set_room(Some(room)),
            Step::DiskHasRoom => self.disk.set_room(None),
            Step::FailSync { count } => {
                self.has_refused = true;
                self.disk.fail_syncs(count);
            }
            Step::Flip { segment, byte, bit } => {
                let segments = self.disk.segments();
                if let Some((name, bytes)) = segments.get(segment % segments.len().max(1))
                    && *bytes > 0
                {
                    self.is_tampered = true;
                    self.disk.flip(name, byte % bytes, bit);
                }
            }
            Step::DeleteByHand { segment } => self.delete_by_hand(segment),
            Step::ReadAll => {
                self.disk.heal();
                self.check();
            }
        }
        if self.disk.has_stopped() {
            if self.chance(2) == 0 { self.kill() } else { self.lose_power() }
        }
    }

    fn kill(&mut self) {
        self.queue = None;
        self.disk.heal();
        self.reopen();
        self.check();
    }

    fn lose_power(&mut self) {
        self.queue = None;
        for lane in Lane::ALL {
            self.lanes.get_mut(&(self.epoch, lane)).unwrap().lost_power = true;
        }
        let disk = self.disk.clone();
        disk.lose_power(|below| self.chance(below));
        self.boot += 1;
        self.reopen();
        self.check();
    }

    /// Only of what is on disk for sure: of the rest nobody could say afterwards that it was there.
    fn delete_by_hand(&mut self, segment: usize) {
        if self.queue.as_mut().unwrap().sync().is_err() {
            return self.note_sync(&Err(SyncError::Flush(std::io::ErrorKind::Other.into())));
        }
        self.note_sync(&Ok(()));
        let queue_knows = !self.queue.as_ref().unwrap().needs_sync();
        let segments = self.disk.segments();
        if let Some((name, bytes)) = segments.get(segment % segments.len().max(1))
            && queue_knows
            && *bytes > 0
        {
            self.is_tampered = true;
            self.disk.delete_by_hand(name);
        }
    }

    fn append(&mut self, lane: Lane, records: usize, payload: impl Fn(usize) -> Bytes) {
        let numbers = self.lanes.get_mut(&(self.epoch, lane)).unwrap();
        let first = numbers.accepted.len();
        let payloads: Vec<Bytes> = (first..first + records).map(payload).collect();
        match self.queue.as_mut().unwrap().append(&batch(lane, payloads.clone(), Some(self.seed))) {
            Ok(range) => {
                assert_eq!(range.first().get(), first as u64 + 1);
                numbers.accepted.extend(payloads);
            }
            Err(_) if self.disk.has_stopped() => numbers.unsure = payloads,
            Err(_) => {}
        }
        self.note_durable();
    }

    fn note_sync(&mut self, result: &Result<(), SyncError>) {
        if result.is_ok() {
            for lane in Lane::ALL {
                let numbers = self.lanes.get_mut(&(self.epoch, lane)).unwrap();
                numbers.durable = numbers.accepted.len() as u64;
            }
        }
    }

    fn note_durable(&mut self) {
        let progress = self.queue.as_ref().unwrap().progress();
        for lane in Lane::ALL {
            self.lanes.get_mut(&(self.epoch, lane)).unwrap().durable = progress.durable[lane.index()].get();
        }
    }

    fn settle(&mut self, lane: Lane, epochs_back: usize, part: u64) {
        let epoch = self.epoch.saturating_sub(epochs_back as u64).max(1);
        let numbers = self.lanes.get_mut(&(epoch, lane)).unwrap();
        let through = numbers.accepted.len() as u64 * part / 100;
        if let Some(range) = SeqRange::new(Seq::FIRST, Seq::new(through)) {
            numbers.settled.insert(range);
            let settled = numbers.settled.clone();
            self.queue.as_mut().unwrap().set_settled(Epoch(epoch), lane, settled);
        }
    }

    fn check(&mut self) {
        let keys: Vec<_> = self.lanes.keys().copied().collect();
        for (epoch, lane) in keys {
            self.check_lane(epoch, lane);
        }
    }

    fn check_lane(&mut self, epoch: u64, lane: Lane) {
        let queue = self.queue.as_mut().unwrap();
        let numbers = self.lanes.get_mut(&(epoch, lane)).unwrap();
        let most = (numbers.accepted.len() + numbers.unsure.len()) as u64;
        let (records, _) = read_all(queue, epoch, lane, most);
        if records.last().is_some_and(|(last, _)| *last > numbers.accepted.len() as u64) {
            assert_eq!(records.last().unwrap().0, most, "a batch is there as a whole or not at all");
            numbers.accepted.append(&mut numbers.unsure);
        }
        if epoch < self.epoch {
            numbers.unsure.clear();
        }
        let mut readable = RangeSet::new();
        for (seq, payload) in records {
            let written = &numbers.accepted[usize::try_from(seq).unwrap() - 1];
            assert_eq!(&payload, written, "{epoch} {lane} {seq}");
            readable.insert_one(Seq::new(seq));
        }
        let gaps: Vec<_> =
            queue.gaps().into_iter().filter(|gap| (gap.epoch, gap.lane) == (Epoch(epoch), lane)).collect();
        for seq in (1..=numbers.accepted.len() as u64).map(Seq::new) {
            if readable.contains(seq) || numbers.settled.contains(seq) {
                continue;
            }
            let reasons: Vec<_> = gaps.iter().filter(|gap| gap.range.contains(seq)).map(|gap| gap.reason).collect();
            let is_right = |reason: &GapReason| match reason {
                GapReason::Evicted => true,
                GapReason::Power => numbers.lost_power && (seq.get() > numbers.durable || self.is_tampered),
                GapReason::Corrupt => self.is_tampered || self.has_refused,
                GapReason::Compacted => lane == Lane::Events && is_between_repeats(&numbers.accepted, seq),
                GapReason::Wiped | GapReason::Aged | GapReason::Rejected => false,
            };
            assert!(
                reasons.iter().any(is_right),
                "{epoch} {lane} {seq} of {}: {reasons:?} {:?}",
                numbers.accepted.len(),
                queue.held()
            );
        }
    }
}

/// Whether the same was said of the same device before and after.
fn is_between_repeats(accepted: &[Bytes], seq: Seq) -> bool {
    let kind = |payload: &Bytes| match decode_record(payload.clone()) {
        Ok(Record::Presence(presence)) => Some((presence.device, presence.online)),
        Ok(Record::Telemetry(_) | Record::Description(_)) | Err(_) => None,
    };
    let at = usize::try_from(seq.get()).unwrap() - 1;
    let it = kind(&accepted[at]);
    let is_repeat = |payload: &Bytes| kind(payload) == it;
    it.is_some() && accepted[..at].iter().any(is_repeat) && accepted[at + 1..].iter().any(is_repeat)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn every_accepted_record_is_readable_settled_or_told(steps in prop::collection::vec(arb_step(), 0..80)) {
        let mut model = Model::new();
        for step in &steps {
            model.apply(step);
        }
        model.kill();
        model.lose_power();
        model.check();
    }
}
