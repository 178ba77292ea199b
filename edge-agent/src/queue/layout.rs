//! The bytes on disk: names of segments, their headers, and the headers of records.
//!
//! Pure. Numbers are little-endian. A record's checksum is seeded with the identity of its segment
//! and covers its place in the file: a record proves not only its bytes but that it belongs exactly
//! there, so a payload that looks like a record, or a block that landed in the wrong file, proves
//! nothing. The golden tests fix the layout; a change of it is a new [`VERSION`].

use lockgate_proto::limits::RECORD_BYTES_MAX;
use lockgate_proto::seq::{Epoch, Lane, Seq};
use lockgate_proto::time::{MonoTime, UnixMicros};

use super::time::{BootId, RecordTime, TakenAt};

/// Version of the layout of segments.
pub(crate) const VERSION: u8 = 1;

/// Bytes before the first record of a segment.
pub(crate) const SEGMENT_HEADER_BYTES: usize = 64;

/// Bytes before a payload, without the digest.
pub(crate) const RECORD_HEADER_BYTES: usize = 20;

/// Bytes before a payload that has a digest.
pub(crate) const RECORD_HEADER_BYTES_MAX: usize = RECORD_HEADER_BYTES + DIGEST_BYTES;

const DIGEST_BYTES: usize = 8;
const MAGIC: [u8; 7] = *b"LGQUEUE";
const SUFFIX: &str = ".seg";

const FLAG_BOOT_TIME: u8 = 1;
const FLAG_DIGEST: u8 = 2;
const FLAG_CONTINUED: u8 = 4;
const FLAG_DATED: u8 = 8;
const FLAGS_KNOWN: u8 = FLAG_BOOT_TIME | FLAG_DIGEST | FLAG_CONTINUED | FLAG_DATED;

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
    /// Length of the payload.
    pub(crate) payload_bytes: usize,
}

impl RecordHeader {
    /// Bytes of the header.
    pub(crate) fn bytes(&self) -> usize {
        RECORD_HEADER_BYTES + if self.digest.is_some() { DIGEST_BYTES } else { 0 }
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
        | (if header.continued { FLAG_CONTINUED } else { 0 });
    let length = u32::try_from(payload.len()).expect("append bounds the payload");
    out.extend_from_slice(&length.to_le_bytes()[..3]);
    out.push(flags);
    let from_first = u32::try_from(header.seq.get() - id.first.get()).expect("a segment is cut before 4 GiB");
    out.extend_from_slice(&from_first.to_le_bytes());
    out.extend_from_slice(&header.millis.to_le_bytes()[..6]);
    if let Some(digest) = header.digest {
        out.extend_from_slice(&digest.to_le_bytes());
    }
    let seed = id.seed();
    let check = header_check(seed, offset, &out[start + 6..start + RECORD_HEADER_BYTES]);
    out[start + 4..start + 6].copy_from_slice(&check.to_le_bytes());
    let crc = record_crc(seed, offset, &out[start + 4..], payload);
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
    let digest = if flags & FLAG_DIGEST == 0 {
        None
    } else {
        Some(u64::from_le_bytes(array(bytes.get(RECORD_HEADER_BYTES..RECORD_HEADER_BYTES_MAX)?)))
    };
    Some(RecordHeader {
        seq,
        millis: i64::from_le_bytes(millis) >> 16,
        clock: HeaderClock::from_flags(flags)?,
        digest,
        continued: flags & FLAG_CONTINUED != 0,
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

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("the caller cuts the bytes to size")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id() -> SegmentId {
        SegmentId { order: 3, epoch: Epoch(0x0123_4567_89ab_cdef), lane: Lane::Telemetry, first: Seq::new(100) }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
    }

    #[test]
    fn the_layout_of_a_segment_header_stays() {
        let header = SegmentHeader { id: id(), previous: Some(Seq::new(42)), boot: BootId(0x1122) };
        assert_eq!(
            hex(&header.encode()),
            "4c47515545554501efcdab8967452301030000000100000064000000000000002a00000000000000\
             221100000000000000000000000000000000000027aa9066"
        );
        assert_eq!(SegmentHeader::decode(id(), &header.encode()), Some(header));
        assert_eq!(id().name(), "00000003-0123456789abcdef-telemetry-0000000000000064.seg");
    }

    #[test]
    fn the_layout_of_a_record_stays() {
        let header = RecordHeader {
            seq: Seq::new(103),
            millis: 1_700_000_000_123,
            clock: HeaderClock::Boot,
            digest: Some(0xfeed),
            continued: false,
            payload_bytes: 2,
        };
        let mut bytes = Vec::new();
        encode_record(id(), 64, &header, b"hi", &mut bytes);
        assert_eq!(hex(&bytes), "9f2aedc0a1ab02000003030000007b68e5cf8b01edfe0000000000006869");
        let dated = RecordHeader { clock: HeaderClock::BootDated, digest: None, continued: true, ..header };
        bytes.clear();
        encode_record(id(), 64, &dated, b"hi", &mut bytes);
        assert_eq!(hex(&bytes), "40b64dcad1d20200000d030000007b68e5cf8b016869");
    }

    #[test]
    fn a_name_has_one_spelling() {
        assert_eq!(SegmentId::parse(&id().name()), Some(id()));
        for name in ["lock", "checkpoint", "3-0123456789abcdef-telemetry-64.seg", "x.seg"] {
            assert_eq!(SegmentId::parse(name), None, "{name}");
        }
        assert_eq!(SegmentId::parse("00000003-0123456789abcdef-telemetry-0000000000000000.seg"), None);
    }

    proptest! {
        #[test]
        fn a_record_proves_itself_only_where_it_was_written(
            seq in 100u64..5_000, millis in MILLIS_MIN..=MILLIS_MAX, continued: bool,
            clock in prop::sample::select(vec![HeaderClock::World, HeaderClock::Boot, HeaderClock::BootDated]),
            digest in prop::option::of(any::<u64>()), payload in prop::collection::vec(any::<u8>(), 1..300),
            offset in 64u64..1_000_000, bit in 0usize..8 * 128,
        ) {
            let seq = Seq::new(seq);
            let header = RecordHeader { seq, millis, clock, digest, continued, payload_bytes: payload.len() };
            let mut bytes = Vec::new();
            encode_record(id(), offset, &header, &payload, &mut bytes);
            let seed = id().seed();
            prop_assert_eq!(decode_header(id(), seed, offset, &bytes), Some(header));
            prop_assert!(is_proven(seed, offset, &header, &bytes));
            prop_assert!(!is_proven(seed, offset + 1, &header, &bytes));
            let bit = bit % (bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            let flipped = decode_header(id(), seed, offset, &bytes);
            prop_assert!(flipped.is_none_or(|flipped| flipped == header && !is_proven(seed, offset, &header, &bytes)
                || flipped.digest != header.digest));
        }
    }
}
