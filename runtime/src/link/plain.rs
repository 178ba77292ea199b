//! What a server's end writes: payloads that many links share, each behind a header of a few bytes.
//!
//! The library copies every message into a buffer of its link, which grows to the largest one and stays so. But a
//! server's frames are not masked (RFC 6455, 5.1): the same payload can go out to thousands as it is.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::OpCode;

use super::options::WRITE_BUFFER_BYTES;

/// Longest header without a mask: two bytes, and eight for the length.
const HEADER_BYTES_MAX: usize = 10;

/// Frames that one write hands to the system.
const FRAMES_PER_WRITE: usize = 32;

/// Frames that wait to be written, and the place in the first of them.
#[derive(Debug, Default)]
pub(super) struct PlainFrames {
    queue: VecDeque<Frame>,
    /// INVARIANT: of all frames, what is written already included.
    bytes: usize,
    /// INVARIANT: less than the first frame has.
    written: usize,
}

#[derive(Debug)]
struct Frame {
    header: [u8; HEADER_BYTES_MAX],
    header_bytes: u8,
    payload: Bytes,
}

impl Frame {
    fn header(&self) -> &[u8] {
        &self.header[..usize::from(self.header_bytes)]
    }

    fn len(&self) -> usize {
        self.header().len() + self.payload.len()
    }
}

impl PlainFrames {
    pub(super) fn push(&mut self, opcode: OpCode, payload: Bytes) {
        let head = FrameHeader { opcode, ..FrameHeader::default() };
        let mut header = [0; HEADER_BYTES_MAX];
        let mut rest = &mut header[..];
        head.format(payload.len() as u64, &mut rest).expect("a header without mask has at most ten bytes");
        let left = rest.len();
        let header_bytes = u8::try_from(HEADER_BYTES_MAX - left).expect("at most ten");
        let frame = Frame { header, header_bytes, payload };
        self.bytes += frame.len();
        self.queue.push_back(frame);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// LIMIT: who feeds waits until it is written.
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= WRITE_BUFFER_BYTES
    }

    /// Part of a frame is written: nothing else may be, before the rest of it is.
    pub(super) fn is_midway(&self) -> bool {
        self.written > 0
    }

    /// Writes all frames; pending while the peer takes nothing.
    pub(super) fn poll_write(
        &mut self,
        stream: &mut (impl AsyncWrite + Unpin),
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.queue.is_empty() {
            let mut slices = [IoSlice::new(&[]); 2 * FRAMES_PER_WRITE];
            let used = self.slices(&mut slices);
            let written = ready!(Pin::new(&mut *stream).poll_write_vectored(context, &slices[..used]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(written);
        }
        Pin::new(stream).poll_flush(context)
    }

    /// What is to be written next, and in how many pieces.
    fn slices<'f>(&'f self, slices: &mut [IoSlice<'f>; 2 * FRAMES_PER_WRITE]) -> usize {
        let mut skip = self.written;
        let parts = self.queue.iter().flat_map(|frame| [frame.header(), &frame.payload[..]]);
        let rest = parts.filter_map(|part| {
            let skipped = skip.min(part.len());
            skip -= skipped;
            (skipped < part.len()).then(|| &part[skipped..])
        });
        let mut used = 0;
        for (slice, part) in slices.iter_mut().zip(rest) {
            *slice = IoSlice::new(part);
            used += 1;
        }
        used
    }

    fn advance(&mut self, written: usize) {
        self.written += written;
        while let Some(first) = self.queue.front()
            && first.len() <= self.written
        {
            self.written -= first.len();
            self.bytes -= first.len();
            self.queue.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use proptest::prelude::*;
    use tokio::io::AsyncReadExt as _;
    use tokio_tungstenite::tungstenite::protocol::frame::Frame as WsFrame;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::Data;

    use super::*;

    fn payloads() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let sizes = prop_oneof![Just(0_usize), 1_usize..200, Just(65_535), Just(65_536), 60_000_usize..70_000];
        prop::collection::vec(sizes.prop_map(|bytes| (0..=255).cycle().take(bytes).collect()), 1..50)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn what_goes_out_is_what_the_library_would_have_written(payloads in payloads(), pipe in 1_usize..5_000) {
            let mut frames = PlainFrames::default();
            let mut expected = Vec::new();
            for payload in payloads {
                frames.push(OpCode::Data(Data::Binary), payload.clone().into());
                WsFrame::message(payload, OpCode::Data(Data::Binary), true).format(&mut expected).unwrap();
            }
            let (mut near, mut far) = tokio::io::duplex(pipe);
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let got = runtime.block_on(async {
                let mut got = vec![0; expected.len()];
                let (wrote, read) = tokio::join!(
                    poll_fn(|context| frames.poll_write(&mut near, context)),
                    far.read_exact(&mut got)
                );
                wrote.and(read).unwrap();
                got
            });
            prop_assert!(got == expected);
            prop_assert!(frames.is_empty() && !frames.is_midway() && frames.bytes == 0);
        }
    }
}
