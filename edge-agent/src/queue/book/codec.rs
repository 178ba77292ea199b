//! The checkpoint's bytes: version, body, CRC-32 over both. Numbers are little-endian.

use lockgate_proto::gap::{Gap, GapReason, TimeSpan};
use lockgate_proto::ranges::{RangeSet, SeqRange};
use lockgate_proto::seq::{Epoch, Lane, Seq};
use lockgate_proto::time::UnixMicros;

use super::{Book, End, EpochEntry, LaneEntry, TailEntry};
use crate::queue::time::{Anchor, BootId, BootTime};

/// Version of the layout of the checkpoint.
const VERSION: u8 = 1;
const MAGIC: [u8; 7] = *b"LGCHECK";

/// The book as bytes.
pub(crate) fn encode(book: &Book) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    out.extend_from_slice(&MAGIC);
    out.push(VERSION);
    put_u64(&mut out, u64::from(book.next_order));
    put_time(&mut out, book.last_wall);
    put_count(&mut out, book.epochs.len());
    for epoch in &book.epochs {
        put_epoch(&mut out, epoch);
    }
    put_count(&mut out, book.gaps.len());
    for gap in &book.gaps {
        put_gap(&mut out, gap);
    }
    put_count(&mut out, book.boots.len());
    for boot in &book.boots {
        put_boot(&mut out, boot);
    }
    let crc = crc32fast::hash(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

/// The book that the bytes prove; `None` if they prove none.
pub(crate) fn decode(bytes: &[u8]) -> Option<Book> {
    let (body, crc) = bytes.split_last_chunk::<4>()?;
    if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
        return None;
    }
    let mut input = Input(body);
    if input.take::<7>()? != MAGIC || input.take::<1>()? != [VERSION] {
        return None;
    }
    let mut book = Book { next_order: u32::try_from(input.u64()?).ok()?, last_wall: input.time()?, ..Book::default() };
    for _ in 0..input.u64()? {
        book.epochs.push(input.epoch()?);
    }
    for _ in 0..input.u64()? {
        book.gaps.push(input.gap()?);
    }
    for _ in 0..input.u64()? {
        book.boots.push(input.boot()?);
    }
    input.0.is_empty().then_some(book)
}

fn put_u64(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    put_u64(out, count as u64);
}

fn put_time(out: &mut Vec<u8>, time: Option<UnixMicros>) {
    out.push(u8::from(time.is_some()));
    put_u64(out, time.unwrap_or(UnixMicros::ZERO).0.cast_unsigned());
}

fn put_ranges(out: &mut Vec<u8>, set: &RangeSet) {
    put_count(out, set.ranges().len());
    for range in set.ranges() {
        put_u64(out, range.first().get());
        put_u64(out, range.last().get());
    }
}

fn put_epoch(out: &mut Vec<u8>, entry: &EpochEntry) {
    put_u64(out, entry.epoch.0);
    put_u64(out, u64::from(entry.order));
    out.push(u8::from(entry.boot.is_some()));
    out.extend_from_slice(&entry.boot.map_or(0, |boot| boot.0).to_le_bytes());
    out.push(match entry.end {
        None => 0,
        Some(End::Clean) => 1,
        Some(End::Accounted) => 2,
    });
    out.push(u8::from(entry.is_told));
    for lane in &entry.lanes {
        put_u64(out, lane.last().get());
        let tail = lane.tail.map_or((0, None), |tail| (tail.first.get(), tail.bytes));
        put_u64(out, tail.0);
        put_u64(out, tail.1.unwrap_or(0));
        put_ranges(out, &lane.gone);
        put_ranges(out, &lane.settled);
    }
}

fn put_gap(out: &mut Vec<u8>, gap: &Gap) {
    put_u64(out, gap.epoch.0);
    out.push(lane_byte(gap.lane));
    out.push(reason_byte(gap.reason));
    put_u64(out, gap.range.first().get());
    put_u64(out, gap.range.last().get());
    put_time(out, gap.span.from);
    put_time(out, gap.span.to);
}

fn put_boot(out: &mut Vec<u8>, time: &BootTime) {
    out.extend_from_slice(&time.boot.0.to_le_bytes());
    out.push(u8::from(time.anchor.is_some()));
    let anchor = time.anchor.unwrap_or(Anchor { offset_micros: 0, error_micros: 0 });
    put_u64(out, anchor.offset_micros.cast_unsigned());
    put_u64(out, anchor.error_micros);
    put_time(out, time.not_before);
    put_time(out, time.not_after);
}

fn lane_byte(lane: Lane) -> u8 {
    match lane {
        Lane::Events => 0,
        Lane::Telemetry => 1,
    }
}

fn reason_byte(reason: GapReason) -> u8 {
    match reason {
        GapReason::Evicted => 1,
        GapReason::Power => 2,
        GapReason::Corrupt => 3,
        GapReason::Wiped => 4,
        GapReason::Aged => 5,
        GapReason::Rejected => 6,
        GapReason::Compacted => 7,
    }
}

struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.take().map(i64::from_le_bytes)
    }

    fn u128(&mut self) -> Option<u128> {
        self.take().map(u128::from_le_bytes)
    }

    #[allow(clippy::option_option, reason = "the outer one is the end of the input")]
    fn seq(&mut self) -> Option<Option<Seq>> {
        self.u64().map(|number| (number > 0).then_some(Seq::new(number)))
    }

    #[allow(clippy::option_option, reason = "the outer one is the end of the input")]
    fn time(&mut self) -> Option<Option<UnixMicros>> {
        let known = self.byte()? != 0;
        let time = UnixMicros(self.i64()?);
        Some(known.then_some(time))
    }

    fn range(&mut self) -> Option<SeqRange> {
        SeqRange::new(Seq::new(self.u64()?), Seq::new(self.u64()?))
    }

    fn ranges(&mut self) -> Option<RangeSet> {
        (0..self.u64()?).map(|_| self.range()).collect()
    }

    fn epoch(&mut self) -> Option<EpochEntry> {
        let (epoch, order) = (Epoch(self.u64()?), u32::try_from(self.u64()?).ok()?);
        let boot_known = self.byte()? != 0;
        let boot = BootId(self.u128()?);
        let end = match self.byte()? {
            0 => None,
            1 => Some(End::Clean),
            2 => Some(End::Accounted),
            _ => return None,
        };
        let is_told = self.byte()? != 0;
        let lanes = [self.lane_entry()?, self.lane_entry()?];
        Some(EpochEntry { epoch, order, boot: boot_known.then_some(boot), end, is_told, lanes })
    }

    fn lane_entry(&mut self) -> Option<LaneEntry> {
        let last = self.seq()?;
        let (first, bytes) = (self.seq()?, self.u64()?);
        let tail = first.map(|first| TailEntry { first, bytes: (bytes > 0).then_some(bytes) });
        Some(LaneEntry { last, tail, gone: self.ranges()?, settled: self.ranges()? })
    }

    fn gap(&mut self) -> Option<Gap> {
        let epoch = Epoch(self.u64()?);
        let lane_byte_read = self.byte()?;
        let lane = Lane::ALL.into_iter().find(|lane| lane_byte(*lane) == lane_byte_read)?;
        let reason_byte_read = self.byte()?;
        let reason = GapReason::ALL.into_iter().find(|reason| reason_byte(*reason) == reason_byte_read)?;
        let range = self.range()?;
        Some(Gap { epoch, lane, range, reason, span: TimeSpan { from: self.time()?, to: self.time()? } })
    }

    fn boot(&mut self) -> Option<BootTime> {
        let boot = BootId(self.u128()?);
        let anchored = self.byte()? != 0;
        let anchor = Anchor { offset_micros: self.i64()?, error_micros: self.u64()? };
        Some(BootTime { boot, anchor: anchored.then_some(anchor), not_before: self.time()?, not_after: self.time()? })
    }
}
