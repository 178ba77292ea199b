//! The bytes on disk: names of segments, their headers, and the headers of records.
//!
//! Pure. Numbers are little-endian. A record's checksum is seeded with the identity of its segment
//! and covers its place in the file: a record proves not only its bytes but that it belongs exactly
//! there, so a payload that looks like a record, or a block that landed in the wrong file, proves
//! nothing. The golden tests fix the layout; a change of it is a new [`VERSION`].

#[cfg(test)]
mod tests;

use lockgate_proto::limits::RECORD_BYTES_MAX;
use lockgate_proto::ranges::SeqRange;
use lockgate_proto::seq::{Epoch, Lane, Seq};
use lockgate_proto::time::{MonoTime, UnixMicros};

use super::time::{BootId, RecordTime, TakenAt};

/// Version of the layout of segments.
pub(crate) const VERSION: u8 = 1;

/// Bytes before the first record of a segment.
pub(crate) const SEGMENT_HEADER_BYTES: usize = 64;

/// Bytes before a payload, without the digest.
pub(crate) const RECORD_HEADER_BYTES: usize = 20;

/// Bytes before a payload that has all that a header can have.
pub(crate) const RECORD_HEADER_BYTES_MAX: usize = RECORD_HEADER_BYTES + DIGEST_BYTES + HOLE_BYTES;

const DIGEST_BYTES: usize = 8;
const HOLE_BYTES: usize = 4;
const MAGIC: [u8; 7] = *b"LGQUEUE";
const SUFFIX: &str = ".seg";

const FLAG_BOOT_TIME: u8 = 1;
const FLAG_DIGEST: u8 = 2;
const FLAG_CONTINUED: u8 = 4;
const FLAG_DATED: u8 = 8;
const FLAG_HOLE: u8 = 16;
const FLAGS_KNOWN: u8 = FLAG_BOOT_TIME | FLAG_DIGEST | FLAG_CONTINUED | FLAG_DATED | FLAG_HOLE;

const MILLIS_MIN: i64 = -(1 << 47);
const MILLIS_MAX: i64 = (1 << 47) - 1;

/// Which segment: part of its name and of every checksum in it. Sorts in the order of age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SegmentId {
    /// Place of the epoch among those of this folder.
    pub(crate) order: u32,
    /// The start of the agent.
    pub(crate) epoch: Epoch,
    /// The numbering.
    pub(crate) lane: Lane,
    /// Its first record's number.
    pub(crate) first: Seq,
}

impl SegmentId {
    /// The name of the segment's file.
    pub(crate) fn name(self) -> String {
        let SegmentId { order, epoch, lane, first } = self;
        format!("{order:08x}-{epoch}-{lane}-{:016x}{SUFFIX}", first.get())
    }

    /// The segment that a file name stands for.
    pub(crate) fn parse(name: &str) -> Option<SegmentId> {
        let mut parts = name.strip_suffix(SUFFIX)?.split('-');
        let order = u32::from_str_radix(parts.next()?, 16).ok()?;
        let epoch = Epoch(u64::from_str_radix(parts.next()?, 16).ok()?);
        let lane_word = parts.next()?;
        let lane = Lane::ALL.into_iter().find(|lane| lane.as_str() == lane_word)?;
        let first = Seq::new(u64::from_str_radix(parts.next()?, 16).ok()?);
        let id = SegmentId { order, epoch, lane, first };
        // Only the one spelling: `+5` and `005` parse as numbers too.
        (first > Seq::NONE && id.name() == name).then_some(id)
    }

    /// What every checksum in the segment starts from.
    pub(crate) fn seed(self) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.epoch.0.to_le_bytes());
        hasher.update(&[lane_byte(self.lane)]);
        hasher.update(&self.first.get().to_le_bytes());
        hasher.finalize()
    }
}

fn lane_byte(lane: Lane) -> u8 {
    match lane {
        Lane::Events => 0,
        Lane::Telemetry => 1,
    }
}

/// What a segment says of itself beyond its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    /// The segment.
    pub(crate) id: SegmentId,
    /// First number of the segment before it in its epoch and lane, so that a missing file shows.
    pub(crate) previous: Option<Seq>,
    /// The boot in which it was written.
    pub(crate) boot: BootId,
}

impl SegmentHeader {
    /// The header's bytes.
    pub(crate) fn encode(self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        bytes[..7].copy_from_slice(&MAGIC);
        bytes[7] = VERSION;
        bytes[8..16].copy_from_slice(&self.id.epoch.0.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.id.order.to_le_bytes());
        bytes[20] = lane_byte(self.id.lane);
        bytes[24..32].copy_from_slice(&self.id.first.get().to_le_bytes());
        bytes[32..40].copy_from_slice(&self.previous.unwrap_or(Seq::NONE).get().to_le_bytes());
        bytes[40..56].copy_from_slice(&self.boot.0.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The header that the bytes prove to be that of `id`.
    pub(crate) fn decode(id: SegmentId, bytes: &[u8; SEGMENT_HEADER_BYTES]) -> Option<SegmentHeader> {
        let previous = Seq::new(u64::from_le_bytes(array(&bytes[32..40])));
        let boot = BootId(u128::from_le_bytes(array(&bytes[40..56])));
        let header = SegmentHeader { id, previous: (previous > Seq::NONE).then_some(previous), boot };
        (header.encode() == *bytes).then_some(header)
    }
}

/// By which clock a record was taken, and of which the times in its payload are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderClock {
    /// Both by the world's.
    World,
    /// Both by the boot's.
    Boot,
    /// Taken by the boot's; dated by the device.
    BootDated,
}

impl HeaderClock {
    fn flags(self) -> u8 {
        match self {
            HeaderClock::World => 0,
            HeaderClock::Boot => FLAG_BOOT_TIME,
            HeaderClock::BootDated => FLAG_BOOT_TIME | FLAG_DATED,
        }
    }

    /// `None` for what nobody writes: what was taken by the world's clock is always of the world's time.
    fn from_flags(flags: u8) -> Option<HeaderClock> {
        let clocks = [HeaderClock::World, HeaderClock::Boot, HeaderClock::BootDated];
        clocks.into_iter().find(|clock| clock.flags() == flags & (FLAG_BOOT_TIME | FLAG_DATED))
    }
}

/// What stands before a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordHeader {
    /// The record's number.
    pub(crate) seq: Seq,
    /// When the record was taken, cut to milliseconds.
    pub(crate) millis: i64,
    /// By which clock.
    pub(crate) clock: HeaderClock,
    /// Digest of the source's message, on the last record of its batch.
    pub(crate) digest: Option<u64>,
    /// The next record is of the same batch; this one counts only with it.
    pub(crate) continued: bool,
    /// On every record of a compacted segment: so many numbers just before this one were let go on purpose,
    /// so that a hole that was made can't be taken for damage, whatever else is lost.
    pub(crate) hole: Option<u32>,
    /// Length of the payload.
    pub(crate) payload_bytes: usize,
}

impl RecordHeader {
    /// Bytes of the header.
    pub(crate) fn bytes(&self) -> usize {
        RECORD_HEADER_BYTES
            + if self.digest.is_some() { DIGEST_BYTES } else { 0 }
            + if self.hole.is_some() { HOLE_BYTES } else { 0 }
    }

    /// The first number that is accounted for by this record: its own, or where the hole before it begins.
    pub(crate) fn covers_from(&self) -> Seq {
        Seq::new(self.seq.get() - u64::from(self.hole.unwrap_or(0)))
    }

    /// The numbers just before this record that were let go on purpose.
    pub(crate) fn let_go(&self) -> Option<SeqRange> {
        SeqRange::new(self.covers_from(), self.seq.previous())
    }

    /// Bytes of header and payload.
    pub(crate) fn record_bytes(&self) -> usize {
        self.bytes() + self.payload_bytes
    }

    /// The time as readers get it.
    pub(crate) fn time(&self, boot: BootId) -> RecordTime {
        let micros = self.millis.saturating_mul(1_000);
        let at = MonoTime(std::time::Duration::from_micros(u64::try_from(micros).unwrap_or(0)));
        match self.clock {
            HeaderClock::World => RecordTime::Wall { at: UnixMicros(micros) },
            HeaderClock::Boot => RecordTime::Boot { boot, at, dated: false },
            HeaderClock::BootDated => RecordTime::Boot { boot, at, dated: true },
        }
    }
}

/// A time as the header keeps it.
pub(crate) fn header_time(taken: TakenAt) -> (i64, HeaderClock) {
    let (micros, clock) = match taken {
        TakenAt::Wall(at) => (at.0, HeaderClock::World),
        TakenAt::Mono(at) => (at.micros(), HeaderClock::Boot),
        TakenAt::MonoDated(at) => (at.micros(), HeaderClock::BootDated),
    };
    (micros.div_euclid(1_000).clamp(MILLIS_MIN, MILLIS_MAX), clock)
}

/// Appends the bytes of a record that will stand at `offset` of the segment.
pub(crate) fn encode_record(id: SegmentId, offset: u64, header: &RecordHeader, payload: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; 6]);
    let flags = header.clock.flags()
        | (if header.digest.is_some() { FLAG_DIGEST } else { 0 })
        | (if header.continued { FLAG_CONTINUED } else { 0 })
        | (if header.hole.is_some() { FLAG_HOLE } else { 0 });
    let length = u32::try_from(payload.len()).expect("append bounds the payload");
    out.extend_from_slice(&length.to_le_bytes()[..3]);
    out.push(flags);
    let from_first = u32::try_from(header.seq.get() - id.first.get()).expect("a segment is cut before 4 GiB");
    out.extend_from_slice(&from_first.to_le_bytes());
    out.extend_from_slice(&header.millis.to_le_bytes()[..6]);
    if let Some(digest) = header.digest {
        out.extend_from_slice(&digest.to_le_bytes());
    }
    if let Some(hole) = header.hole {
        out.extend_from_slice(&hole.to_le_bytes());
    }
    let head_end = out.len();
    let seed = id.seed();
    let check = header_check(seed, offset, &out[start + 6..start + RECORD_HEADER_BYTES]);
    out[start + 4..start + 6].copy_from_slice(&check.to_le_bytes());
    let crc = record_crc(seed, offset, &out[start + 4..head_end], payload);
    out[start..start + 4].copy_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(payload);
}

/// The header at `offset`, as far as its own check and the bounds can tell. The payload is not proven.
///
/// `bytes` starts at the header; `None` also where it is too short for one.
pub(crate) fn decode_header(id: SegmentId, seed: u32, offset: u64, bytes: &[u8]) -> Option<RecordHeader> {
    let fixed = bytes.get(..RECORD_HEADER_BYTES)?;
    let check = u16::from_le_bytes(array(&fixed[4..6]));
    if check != header_check(seed, offset, &fixed[6..]) {
        return None;
    }
    let payload_bytes = usize::from(fixed[6]) | usize::from(fixed[7]) << 8 | usize::from(fixed[8]) << 16;
    let flags = fixed[9];
    if flags & !FLAGS_KNOWN != 0 || payload_bytes == 0 || payload_bytes > RECORD_BYTES_MAX {
        return None;
    }
    let from_first = u32::from_le_bytes(array(&fixed[10..14]));
    let seq = Seq::new(id.first.get().checked_add(u64::from(from_first))?);
    let mut millis = [0; 8];
    millis[2..].copy_from_slice(&fixed[14..20]);
    let mut extras = &bytes[RECORD_HEADER_BYTES..];
    let digest = if flags & FLAG_DIGEST == 0 { None } else { Some(u64::from_le_bytes(cut(&mut extras)?)) };
    let hole = if flags & FLAG_HOLE == 0 { None } else { Some(u32::from_le_bytes(cut(&mut extras)?)) };
    if hole.is_some_and(|hole| hole > from_first) {
        return None;
    }
    Some(RecordHeader {
        seq,
        millis: i64::from_le_bytes(millis) >> 16,
        clock: HeaderClock::from_flags(flags)?,
        digest,
        continued: flags & FLAG_CONTINUED != 0,
        hole,
        payload_bytes,
    })
}

/// Whether the bytes of a whole record prove it. They start at its header and end with its payload.
pub(crate) fn is_proven(seed: u32, offset: u64, header: &RecordHeader, record: &[u8]) -> bool {
    debug_assert_eq!(record.len(), header.record_bytes(), "the caller cuts the record out");
    let (head, payload) = record.split_at(header.bytes());
    u32::from_le_bytes(array(&head[..4])) == record_crc(seed, offset, &head[4..], payload)
}

/// Of the header alone: a flipped length must not pass for a record that was never finished.
fn header_check(seed: u32, offset: u64, fields: &[u8]) -> u16 {
    let crc = record_crc(seed, offset, fields, &[]);
    let [a, b, c, d] = crc.to_le_bytes();
    u16::from_le_bytes([a ^ c, b ^ d])
}

fn record_crc(seed: u32, offset: u64, head: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(&offset.to_le_bytes());
    hasher.update(head);
    hasher.update(payload);
    hasher.finalize()
}

fn cut<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*head)
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("the caller cuts the bytes to size")
}
