//! A WebSocket as both links use it: messages of one kind in and out, bounded, with keepalive and a clean end.
//!
//! The same [`Link`] works at both ends: `dial` makes the client's, the gateway wraps an upgraded stream
//! by [`Link::over`]. Messages that were fed leave while [`Link::receive`] waits, so that a loop which
//! selects on it needs no task for writing.

mod accept;
mod end;
mod options;
mod plain;
mod vitals;

use std::fmt;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use lockgate_proto::link::close::CloseCode;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{CapacityError, Error as WsError, ProtocolError};

pub use end::Link;
pub use options::{LinkOptions, MessageKind};
pub(crate) use vitals::Watched;

/// Anything that carries bytes: TCP, TLS, an upgraded HTTP connection, a pipe in memory.
pub trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

pub(crate) type Socket = WebSocketStream<Watched>;

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
    /// The peer sent nothing, not even an answer to a ping, and took nothing for which there was no room.
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

#[cfg(test)]
mod tests;
