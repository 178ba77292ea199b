//! Walks the records of one segment, and finds the next provable one where bytes are damaged.
//!
//! Memory is bounded: one chunk, and one record where it is larger than a chunk.

use bytes::Bytes;
use lockgate_proto::ranges::SeqRange;
use lockgate_proto::seq::Seq;

use super::layout::{
    RECORD_HEADER_BYTES, RECORD_HEADER_BYTES_MAX, RecordHeader, SEGMENT_HEADER_BYTES, SegmentId, decode_header,
    is_proven,
};
use super::storage::StorageFile;

const CHUNK_BYTES: usize = 64 * 1024;
const PAGE_BYTES: usize = 4096;

/// What stands at the walker's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A proven record.
    Record {
        /// Where its header begins.
        offset: u64,
        /// Its header.
        header: RecordHeader,
        /// Its payload.
        payload: Bytes,
    },
    /// Unprovable bytes before a proven record; that record is the next step. `None`: its number, or the
    /// hole before it, follows on, so that no record was lost in them.
    Damaged {
        /// The numbers that are lost.
        lost: Option<SeqRange>,
    },
    /// No more proven records.
    End(Tail),
}

/// What stands behind the last proven record of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tail {
    /// Nothing.
    Clean,
    /// The beginning of a record that was never finished: nobody was told that it was accepted.
    Torn {
        /// So many bytes.
        bytes: u64,
    },
    /// One whole record, and nothing behind it, that proves nothing.
    OneRecord,
    /// Bytes of any number of records.
    Garbled {
        /// So many bytes.
        bytes: u64,
    },
}

/// The walker. Starts at the first record.
pub(crate) struct Walker<'a> {
    file: &'a dyn StorageFile,
    id: SegmentId,
    seed: u32,
    /// Bytes of the file that count.
    end: u64,
    offset: u64,
    expected: Seq,
    chunk: Vec<u8>,
    chunk_at: u64,
}

impl<'a> Walker<'a> {
    /// A walker over the first `end` bytes of a segment.
    pub(crate) fn new(file: &'a dyn StorageFile, id: SegmentId, end: u64) -> Walker<'a> {
        Walker::from_point(file, id, end, SEGMENT_HEADER_BYTES as u64, id.first)
    }

    /// A walker that starts at a place where a record begins (or where the segment ends).
    pub(crate) fn from_point(
        file: &'a dyn StorageFile,
        id: SegmentId,
        end: u64,
        offset: u64,
        expected: Seq,
    ) -> Walker<'a> {
        Walker { file, id, seed: id.seed(), end, offset, expected, chunk: Vec::new(), chunk_at: 0 }
    }

    /// Where the next record begins.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// The number of the next record, if none is lost.
    pub(crate) fn expected(&self) -> Seq {
        self.expected
    }

    /// The next step; after [`Step::End`], the same again.
    pub(crate) fn step(&mut self) -> Step {
        if self.offset >= self.end {
            return Step::End(Tail::Clean);
        }
        if let Some((header, payload)) = self.proven_at(self.offset)
            && header.seq >= self.expected
        {
            if let Some(lost) = SeqRange::new(self.expected, header.covers_from().previous()) {
                self.expected = header.covers_from();
                return Step::Damaged { lost: Some(lost) };
            }
            let offset = self.offset;
            self.offset += header.record_bytes() as u64;
            self.expected = header.seq.next();
            return Step::Record { offset, header, payload };
        }
        match self.next_proven(self.offset + 1) {
            Some((offset, from)) => {
                let lost = SeqRange::new(self.expected, from.previous());
                self.offset = offset;
                self.expected = self.expected.max(from);
                Step::Damaged { lost }
            }
            None => Step::End(self.tail()),
        }
    }

    fn proven_at(&mut self, offset: u64) -> Option<(RecordHeader, Bytes)> {
        let (id, seed) = (self.id, self.seed);
        let header = decode_header(id, seed, offset, self.bytes_at(offset, RECORD_HEADER_BYTES_MAX))?;
        let wanted = header.record_bytes();
        let record = self.bytes_at(offset, wanted);
        (record.len() == wanted && is_proven(seed, offset, &header, record))
            .then(|| (header, Bytes::copy_from_slice(&record[header.bytes()..])))
    }

    /// Where the next proven record begins, and the first number that it accounts for.
    fn next_proven(&mut self, from: u64) -> Option<(u64, Seq)> {
        // A record has at least a header and a byte, which bounds what its number can be.
        let records_max = |offset: u64, start: u64| (offset - start) / (RECORD_HEADER_BYTES as u64 + 1) + 1;
        let (start, expected, id, seed) = (self.offset, self.expected, self.id, self.seed);
        for offset in from..self.end.saturating_sub(RECORD_HEADER_BYTES as u64) {
            let head = self.bytes_at(offset, RECORD_HEADER_BYTES_MAX);
            let Some(header) = decode_header(id, seed, offset, head) else { continue };
            // Where numbers were let go, nothing bounds how many of them the damaged bytes stood for.
            let is_near = || header.seq.get() - expected.get() <= records_max(offset, start);
            let plausible = expected <= header.seq && (header.hole.is_some() || is_near());
            if plausible && self.proven_at(offset).is_some() {
                return Some((offset, header.covers_from()));
            }
        }
        None
    }

    fn tail(&mut self) -> Tail {
        let bytes = self.end - self.offset;
        if bytes < RECORD_HEADER_BYTES as u64 {
            return Tail::Torn { bytes };
        }
        let offset = self.offset;
        let (id, seed) = (self.id, self.seed);
        // Where the end cuts off the digest, the fixed part still says how long the record was to be.
        let mut head = [0; RECORD_HEADER_BYTES_MAX];
        let there = self.bytes_at(offset, RECORD_HEADER_BYTES_MAX);
        head[..there.len()].copy_from_slice(there);
        let Some(header) = decode_header(id, seed, offset, &head) else { return Tail::Garbled { bytes } };
        if header.seq != self.expected {
            return Tail::Garbled { bytes };
        }
        match (header.record_bytes() as u64).cmp(&bytes) {
            std::cmp::Ordering::Greater => Tail::Torn { bytes },
            std::cmp::Ordering::Equal => Tail::OneRecord,
            std::cmp::Ordering::Less => Tail::Garbled { bytes },
        }
    }

    /// Up to `wanted` bytes from `offset`; fewer only at the end.
    fn bytes_at(&mut self, offset: u64, wanted: usize) -> &[u8] {
        let wanted = wanted.min(usize::try_from(self.end.saturating_sub(offset)).unwrap_or(usize::MAX));
        let held = self.chunk_at + self.chunk.len() as u64;
        if offset < self.chunk_at || offset + wanted as u64 > held {
            // A live reader wants one record, a backlog reader thousands: the chunk grows with the walk.
            let grown = if self.chunk.is_empty() { PAGE_BYTES } else { CHUNK_BYTES };
            let size = wanted.max(grown).min(usize::try_from(self.end - offset).unwrap_or(usize::MAX));
            self.chunk.resize(size, 0);
            self.chunk_at = offset;
            let read = read_what_can_be_read(self.file, offset, &mut self.chunk);
            self.chunk.truncate(read);
        }
        let start = usize::try_from(offset - self.chunk_at).expect("the chunk holds the offset");
        let start = start.min(self.chunk.len());
        &self.chunk[start..(start + wanted).min(self.chunk.len())]
    }
}

/// Fills the buffer; pages that the disk can't give back are zeros, which prove nothing.
pub(super) fn read_what_can_be_read(file: &dyn StorageFile, offset: u64, buffer: &mut [u8]) -> usize {
    if let Ok(read) = file.read_at(offset, buffer) {
        return read;
    }
    let total = buffer.len();
    let mut at = 0;
    while at < total {
        let to_page_end = PAGE_BYTES - usize::try_from((offset + at as u64) % PAGE_BYTES as u64).unwrap_or(0);
        let page = at..(at + to_page_end).min(total);
        match file.read_at(offset + at as u64, &mut buffer[page.clone()]) {
            Ok(read) if read < page.len() => return at + read,
            Ok(_) => {}
            Err(_) => buffer[page.clone()].fill(0),
        }
        at = page.end;
    }
    total
}
