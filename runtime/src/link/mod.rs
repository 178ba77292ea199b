//! A WebSocket as both links use it: messages of one kind in and out, bounded, with keepalive and a clean end.
//!
//! The same [`Link`] works at both ends: `dial` makes the client's, the gateway wraps an upgraded stream
//! by [`Link::over`]. Messages that were fed leave while [`Link::receive`] waits, so that a loop which
//! selects on it needs no task for writing; where writing must not hold up reading, [`Link::split`].

mod accept;
mod halves;
mod options;

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use lockgate_proto::link::close::CloseCode;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{CapacityError, Error as WsError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::Role as WsRole;

pub use halves::{LinkReceiver, LinkSender};
pub use options::{LinkOptions, MessageKind};

/// Anything that carries bytes: TCP, TLS, an upgraded HTTP connection, a pipe in memory.
pub trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

pub(crate) type Socket = WebSocketStream<Box<dyn Transport>>;

/// How long a peer gets to answer a close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Which end of the handshake this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Asked for the connection.
    Client,
    /// Accepted it.
    Server,
}

/// What a link gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// A message. Its bytes may share the link's read buffer: copy small parts that are kept for long.
    Message(Bytes),
    /// The peer closed the link in order. Nothing follows.
    Closed(Closed),
}

/// How a peer closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The number that it gave, if it gave one.
    pub number: Option<u16>,
    /// Its words; at most 123 bytes, but anything at all.
    pub reason: String,
}

impl Closed {
    /// The row of the table of close codes; `None` for numbers that are not ours.
    pub fn code(&self) -> Option<CloseCode> {
        self.number.and_then(CloseCode::from_code)
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.number, self.reason.as_str()) {
            (None, _) => f.write_str("closed"),
            (Some(number), "") => write!(f, "closed ({number})"),
            (Some(number), reason) => write!(f, "closed ({number}): {reason:?}"),
        }
    }
}

/// Why a link broke.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The peer sent nothing, not even an answer to a ping.
    #[error("nothing heard for {after:?}")]
    Idle {
        /// The idle timeout.
        after: Duration,
    },
    /// The peer took nothing.
    #[error("nothing could be sent for {after:?}")]
    Stalled {
        /// The idle timeout.
        after: Duration,
    },
    /// The peer sent a message above the limit.
    #[error("the peer sent {what}")]
    Unwanted {
        /// What it sent.
        what: &'static str,
    },
    /// The peer sent text where bytes are spoken, or the other way round.
    #[error("the peer sent a {got} message; the subprotocol of this link has {expected} messages only")]
    WrongKind {
        /// What it sent.
        got: MessageKind,
        /// What the link's messages are.
        expected: MessageKind,
    },
    /// The peer does not speak WebSocket as RFC 6455 has it.
    #[error("the peer broke the WebSocket protocol: {0}")]
    Protocol(String),
    /// The connection ended without a word.
    #[error("the connection was cut")]
    Cut,
    /// The system says that the connection is broken.
    #[error("the connection is broken: {0}")]
    Broken(io::Error),
    /// A message to send is above the limit that both ends know. A fault of ours.
    #[error("a message of {bytes} bytes is above the link's limit")]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
    /// A message to send over a link of text is none. A fault of ours.
    #[error("a message for a link of text is not UTF-8")]
    NotText,
    /// The link was closed before.
    #[error("the link is closed")]
    Closed,
}

impl LinkError {
    /// What to tell the peer when the link is closed for this.
    pub fn close_code(&self) -> CloseCode {
        match self {
            LinkError::Idle { .. } | LinkError::Cut | LinkError::Broken(_) | LinkError::Closed => {
                CloseCode::IdleTimeout
            }
            LinkError::Stalled { .. } => CloseCode::SlowConsumer,
            LinkError::Unwanted { .. }
            | LinkError::WrongKind { .. }
            | LinkError::Protocol(_)
            | LinkError::TooLarge { .. }
            | LinkError::NotText => CloseCode::BadFrame,
        }
    }
}

pub(crate) fn link_error(error: WsError) -> LinkError {
    match error {
        WsError::ConnectionClosed | WsError::AlreadyClosed | WsError::Protocol(ProtocolError::SendAfterClosing) => {
            LinkError::Closed
        }
        WsError::Io(error) => match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => LinkError::Cut,
            _ => LinkError::Broken(error),
        },
        WsError::Capacity(CapacityError::MessageTooLong { .. }) => {
            LinkError::Unwanted { what: "a message above the link's limit" }
        }
        WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => LinkError::Cut,
        other => LinkError::Protocol(other.to_string()),
    }
}

/// One end of an open WebSocket.
pub struct Link {
    receiver: LinkReceiver,
    sender: LinkSender,
    ping_interval: Option<Duration>,
    ping_at: Instant,
}

impl Link {
    /// A link over a stream whose WebSocket handshake is done. `read`: what came right behind the
    /// handshake and was read already; without it the first message is lost.
    pub async fn over(stream: impl Transport + 'static, read: Vec<u8>, role: Role, options: &LinkOptions) -> Link {
        let role = match role {
            Role::Client => WsRole::Client,
            Role::Server => WsRole::Server,
        };
        let stream: Box<dyn Transport> = Box::new(stream);
        let socket = WebSocketStream::from_partially_read(stream, read, role, Some(options.config())).await;
        Link::of(socket, options)
    }

    pub(crate) fn of(socket: Socket, options: &LinkOptions) -> Link {
        let (sink, stream) = socket.split();
        Link {
            receiver: LinkReceiver::new(stream, options),
            sender: LinkSender::new(sink, options),
            ping_interval: options.ping_interval,
            ping_at: next_ping(options.ping_interval),
        }
    }

    /// Two ends of one link, in memory: for tests of whatever speaks over a link.
    pub async fn pair(client: &LinkOptions, server: &LinkOptions) -> (Link, Link) {
        let (near, far) = tokio::io::duplex(64 * 1024);
        tokio::join!(
            Link::over(near, Vec::new(), Role::Client, client),
            Link::over(far, Vec::new(), Role::Server, server)
        )
    }

    /// The next message, or the peer's close. Sends what was fed and pings meanwhile; answers pings.
    ///
    /// Cancel-safe: a half-read message stays in the link.
    pub async fn receive(&mut self) -> Result<Received, LinkError> {
        loop {
            let wake = self.receiver.silent_at().min(self.ping_at);
            let received = tokio::select! {
                biased;
                // CANCEL-SAFE: what is half read or half written stays in the socket's buffers.
                received = poll_fn(|context| {
                    if let Poll::Ready(Err(error)) = self.sender.poll_drive(context) {
                        return Poll::Ready(Err(error));
                    }
                    self.receiver.poll_received(context)
                }) => Some(received),
                // CANCEL-SAFE: a timer holds nothing.
                () = sleep_until(wake) => None,
            };
            if let Some(received) = received {
                return received;
            }
            self.receiver.check_silence()?;
            if self.ping_at <= Instant::now() {
                self.ping_at = next_ping(self.ping_interval);
                self.sender.feed_ping().await?;
            }
        }
    }

    /// Takes a message for sending; it leaves while [`Link::receive`] waits, or with [`Link::flush`]. Waits
    /// while the send buffer is full; a peer that takes nothing for the idle timeout is [`LinkError::Stalled`].
    pub async fn feed(&mut self, message: Bytes) -> Result<(), LinkError> {
        self.sender.feed(message).await
    }

    /// Sends what was fed.
    pub async fn flush(&mut self) -> Result<(), LinkError> {
        self.sender.flush().await
    }

    /// [`Link::feed`] and [`Link::flush`].
    pub async fn send(&mut self, message: Bytes) -> Result<(), LinkError> {
        self.sender.feed(message).await?;
        self.sender.flush().await
    }

    /// Both directions apart, for two tasks. Pings are then up to the sender's owner.
    pub fn split(self) -> (LinkReceiver, LinkSender) {
        (self.receiver, self.sender)
    }

    /// Says why, waits shortly for the peer's answer, and ends the connection.
    pub async fn close(self, code: CloseCode) {
        self.close_with(code.code(), code.as_str()).await;
    }

    /// Ends the connection in order, at the wish of this end's user (1000, "done").
    pub async fn finish(self) {
        self.close_with(1000, "done").await;
    }

    /// [`Link::close`] with words of one's own, of which 123 bytes are sent.
    pub async fn close_with(mut self, number: u16, reason: &str) {
        let deadline = Instant::now() + CLOSE_TIMEOUT;
        // Whatever fails from here on, the connection ends; nobody is left to be told.
        let _told = timeout(CLOSE_TIMEOUT, async {
            if !self.receiver.is_closed() {
                self.sender.close(number, reason).await?;
                while let Some(Ok(_late)) = self.receiver.stream.next().await {}
            }
            Ok::<(), LinkError>(())
        })
        .await;
        let Ok(mut socket) = self.sender.sink.reunite(self.receiver.stream) else { return };
        // TLS peers take a connection without this end for one that was cut.
        let _shut = tokio::time::timeout_at(deadline + CLOSE_TIMEOUT, async {
            let _flushed = socket.flush().await;
            socket.get_mut().shutdown().await
        })
        .await;
    }
}

fn next_ping(interval: Option<Duration>) -> Instant {
    // Without pings: further away than any silence is allowed to last.
    Instant::now() + interval.unwrap_or(Duration::from_secs(365 * 86_400))
}

#[cfg(test)]
mod tests;
