//! A reader's connection: TCP, the handshake, and frames out of one buffer that all readers of a thread share.
//!
//! Thousands of these live in one process beside the gateway that they measure, so each wake-up costs one `read` and
//! no allocation. Without TLS: what encryption costs is measured at other places.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lockgate_proto::limits::SERVER_MESSAGE_BYTES_MAX;
use lockgate_runtime::dial::GatewayUrl;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpSocket, TcpStream, lookup_host};

use crate::websocket_logic::{Kind, Violation, closing, cut, put};

/// What one `read` may bring.
const SCRATCH_BYTES: usize = 64 * 1024;

/// LIMIT: head of the gateway's answer.
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// A slow reader takes so much in one go, and has no more room than this in the kernel (which doubles it).
const SLOW_READ_BYTES: usize = 1_000;
const SLOW_BUFFER_BYTES: u32 = 2_048;

thread_local! {
    /// Holds bytes only between a `read` and the cutting of its frames, within one poll.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; SCRATCH_BYTES]);
}

/// Why there is no connection, or no more.
#[derive(Debug, thiserror::Error)]
pub(super) enum SocketError {
    /// The system says so.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The gateway answered with something else than a WebSocket.
    #[error("the gateway refused: {status}")]
    Refused {
        /// The first line of its answer.
        status: String,
        /// It asks to be left alone so long.
        retry_after: Option<Duration>,
    },
    /// What came is not what a gateway sends.
    #[error(transparent)]
    Violation(#[from] Violation),
    /// It closed the connection in order.
    #[error("closed by the gateway ({number:?}): {reason:?}")]
    Closed {
        /// The number of the close.
        number: Option<u16>,
        /// Its words.
        reason: String,
    },
    /// It ended without a word.
    #[error("the connection was cut")]
    Cut,
}

/// A connection of which only messages are seen.
pub(super) struct Socket {
    stream: TcpStream,
    /// The beginning of a frame whose end has not come.
    rest: Vec<u8>,
    /// Frames to send; pongs go here by themselves.
    out: Vec<u8>,
    read_bytes_max: usize,
}

impl Socket {
    /// Connects and shakes hands.
    pub(super) async fn connect(
        url: &GatewayUrl,
        path: &str,
        subprotocol: Option<&str>,
        is_slow: bool,
    ) -> Result<Socket, SocketError> {
        let (host, port, prefix) = url.parts();
        let stream = if is_slow { connect_slow(host, port).await? } else { TcpStream::connect((host, port)).await? };
        stream.set_nodelay(true)?;
        let read_bytes_max = if is_slow { SLOW_READ_BYTES } else { SCRATCH_BYTES };
        let mut socket = Socket { stream, rest: Vec::new(), out: Vec::new(), read_bytes_max };
        let key = STANDARD.encode(lockgate_runtime::random().to_le_bytes().repeat(2));
        let subprotocol = subprotocol.map(|name| format!("Sec-WebSocket-Protocol: {name}\r\n")).unwrap_or_default();
        let request = format!(
            "GET {prefix}{path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n{subprotocol}\r\n"
        );
        socket.stream.write_all(request.as_bytes()).await?;
        socket.read_head().await?;
        Ok(socket)
    }

    async fn read_head(&mut self) -> Result<(), SocketError> {
        let end = loop {
            if let Some(at) = self.rest.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            if self.rest.len() > HEAD_BYTES_MAX {
                return Err(SocketError::Refused { status: "an answer without end".to_owned(), retry_after: None });
            }
            if self.stream.read_buf(&mut self.rest).await? == 0 {
                return Err(SocketError::Cut);
            }
        };
        let head = String::from_utf8_lossy(&self.rest[..end]);
        let status = head.lines().next().unwrap_or_default();
        if status.split(' ').nth(1) != Some("101") {
            return Err(SocketError::Refused { status: status.to_owned(), retry_after: retry_after(&head) });
        }
        self.rest.drain(..end);
        Ok(())
    }

    /// Takes a message for the next [`Socket::flush`].
    pub(super) fn feed(&mut self, message: &[u8]) {
        put(&mut self.out, Kind::Binary, message);
    }

    /// Sends what was fed. Not cancel-safe.
    pub(super) async fn flush(&mut self) -> Result<(), SocketError> {
        if !self.out.is_empty() {
            self.stream.write_all(&self.out).await?;
            self.out.clear();
        }
        Ok(())
    }

    /// Whether something waits for [`Socket::flush`].
    pub(super) fn has_to_flush(&self) -> bool {
        !self.out.is_empty()
    }

    /// Reads once and hands on every message that is whole. Ready when something came.
    pub(super) fn poll_messages(
        &mut self,
        context: &mut Context<'_>,
        mut take: impl FnMut(&[u8]),
    ) -> Poll<Result<(), SocketError>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(&mut scratch[..self.read_bytes_max]);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
            let read = buffer.filled();
            if read.is_empty() {
                return Poll::Ready(Err(SocketError::Cut));
            }
            if self.rest.is_empty() {
                let used = self.take_frames(read, &mut take)?;
                self.rest.extend_from_slice(&read[used..]);
            } else {
                let mut rest = std::mem::take(&mut self.rest);
                rest.extend_from_slice(read);
                let used = self.take_frames(&rest, &mut take)?;
                rest.drain(..used);
                // A large frame's room is not kept for the small ones after it.
                self.rest = if rest.is_empty() { Vec::new() } else { rest };
            }
            Poll::Ready(Ok(()))
        })
    }

    /// Cuts frames; tells how many bytes they took.
    fn take_frames(&mut self, bytes: &[u8], take: &mut impl FnMut(&[u8])) -> Result<usize, SocketError> {
        let mut used = 0;
        while let Some(frame) = cut(&bytes[used..])? {
            used += frame.bytes;
            match frame.kind {
                Kind::Binary => take(frame.payload),
                Kind::Ping => put(&mut self.out, Kind::Pong, frame.payload),
                Kind::Pong => {}
                Kind::Close => {
                    let (number, reason) = closing(frame.payload);
                    return Err(SocketError::Closed { number, reason });
                }
            }
        }
        Ok(used)
    }

    /// Ends the connection in order.
    pub(super) async fn close(mut self) {
        put(&mut self.out, Kind::Close, &1000_u16.to_be_bytes());
        // Whatever fails here, the connection ends; nobody is left to be told.
        let _told = self.flush().await;
        let _shut = self.stream.shutdown().await;
    }
}

fn retry_after(head: &str) -> Option<Duration> {
    let mut headers = head.lines().filter_map(|line| line.split_once(':'));
    let (_, seconds) = headers.find(|(name, _)| name.eq_ignore_ascii_case("retry-after"))?;
    seconds.trim().parse().ok().map(Duration::from_secs)
}

async fn connect_slow(host: &str, port: u16) -> io::Result<TcpStream> {
    let address = lookup_host((host, port)).await?.next().ok_or(io::ErrorKind::NotFound)?;
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_recv_buffer_size(SLOW_BUFFER_BYTES)?;
    socket.connect(address).await
}

const _: () = assert!(SCRATCH_BYTES < SERVER_MESSAGE_BYTES_MAX);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_how_long_to_stay_away() {
        let head = "HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\nconnection: close\r\n\r\n";
        assert_eq!(retry_after(head), Some(Duration::from_secs(5)));
        assert_eq!(retry_after("HTTP/1.1 404 Not Found\r\n\r\n"), None);
    }
}
