//! One peer's WebSocket as the sessions see it: whole binary frames in and out, a bound on every wait.

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use lockgate_proto::link::close::CloseCode;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode as WireCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::limits::{CLOSE_TIMEOUT, SEND_TIMEOUT};
use crate::server::Socket;

/// How a session ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum End {
    /// We close, and say why.
    #[error("{code}: {reason}")]
    Close {
        /// The row of the table.
        code: CloseCode,
        /// What a person can act on.
        reason: String,
    },
    /// The peer closed, or the line broke.
    #[error("the peer is gone: {0}")]
    Gone(String),
}

impl End {
    pub(crate) fn close(code: CloseCode, reason: impl Into<String>) -> End {
        End::Close { code, reason: reason.into() }
    }

    /// The word under which this end is counted.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            End::Close { code, .. } => code.as_str(),
            End::Gone(_) => "gone",
        }
    }
}

/// What was heard of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// A frame.
    Frame(Bytes),
    /// A sign of life without content.
    Sign,
}

/// A peer's WebSocket.
pub(crate) struct Peer {
    socket: Socket,
    drain: CancellationToken,
    heard_at: Instant,
}

impl Peer {
    /// `drain`: when it is cancelled, nobody waits long any more for a peer that does not read.
    pub(crate) fn new(socket: Socket, drain: CancellationToken) -> Peer {
        Peer { socket, drain, heard_at: Instant::now() }
    }

    /// When anything was last heard.
    pub(crate) fn heard_at(&self) -> Instant {
        self.heard_at
    }

    /// The next thing that is heard. Cancel safe: a frame that is half read stays in the socket's buffer.
    pub(crate) async fn hear(&mut self) -> Result<Heard, End> {
        let heard = match self.socket.next().await {
            Some(Ok(Message::Binary(frame))) => Heard::Frame(frame),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Heard::Sign,
            Some(Ok(Message::Text(_))) => {
                return Err(End::close(CloseCode::BadFrame, "a text message; this subprotocol is binary"));
            }
            Some(Ok(Message::Close(frame))) => {
                let text = frame.map_or_else(|| "closed".to_owned(), |frame| format!("closed, {frame}"));
                return Err(End::Gone(text));
            }
            Some(Err(error @ (Error::Capacity(_) | Error::Protocol(_) | Error::Utf8(_)))) => {
                return Err(bad_or_gone(&error));
            }
            Some(Err(error)) => return Err(End::Gone(error.to_string())),
            None => return Err(End::Gone("closed".to_owned())),
        };
        self.heard_at = Instant::now();
        Ok(heard)
    }

    /// Puts a frame into the write buffer, which is written out as far as it is over its size.
    pub(crate) async fn feed(&mut self, frame: Bytes) -> Result<(), End> {
        self.put(Message::Binary(frame)).await
    }

    /// Writes out all that was put in.
    pub(crate) async fn flush(&mut self) -> Result<(), End> {
        let patience = patience(&self.drain);
        tokio::select! {
            biased;
            // CANCEL-SAFE: it is not cancelled but given up, and the connection with it.
            flushed = self.socket.flush() => flushed.map_err(|error| End::Gone(error.to_string())),
            () = patience => Err(too_slow()),
        }
    }

    /// Puts in and writes out.
    pub(crate) async fn send(&mut self, frame: Bytes) -> Result<(), End> {
        self.feed(frame).await?;
        self.flush().await
    }

    /// Asks for a sign of life.
    pub(crate) async fn ping(&mut self) -> Result<(), End> {
        self.put(Message::Ping(Bytes::new())).await?;
        self.flush().await
    }

    async fn put(&mut self, message: Message) -> Result<(), End> {
        let patience = patience(&self.drain);
        tokio::select! {
            biased;
            // CANCEL-SAFE: it is not cancelled but given up, and the connection with it.
            put = self.socket.feed(message) => put.map_err(|error| End::Gone(error.to_string())),
            () = patience => Err(too_slow()),
        }
    }

    /// Says goodbye as far as the peer listens, and ends the connection.
    pub(crate) async fn close(mut self, end: &End) {
        if let End::Close { code, reason } = end {
            let frame = CloseFrame { code: WireCode::from(code.code()), reason: close_text(reason).into() };
            let goodbye = async {
                self.socket.close(Some(frame)).await?;
                // What still comes is not for us any more; the peer's half of the close ends it.
                while let Some(Ok(_)) = self.socket.next().await {}
                Ok::<(), Error>(())
            };
            match timeout(CLOSE_TIMEOUT, goodbye).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => debug!(%error, "The peer did not hear the goodbye."),
                Err(_) => debug!("The peer did not answer the goodbye."),
            }
        }
    }
}

/// A reset in the middle of a frame looks like a broken protocol, and is none.
fn bad_or_gone(error: &Error) -> End {
    use tokio_tungstenite::tungstenite::error::ProtocolError;
    match error {
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => End::Gone(error.to_string()),
        _ => End::close(CloseCode::BadFrame, error.to_string()),
    }
}

/// The reason of a close frame has at most 123 bytes.
fn close_text(reason: &str) -> String {
    let mut end = reason.len().min(123);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    reason[..end].to_owned()
}

async fn patience(drain: &CancellationToken) {
    let drained = async {
        drain.cancelled().await;
        tokio::time::sleep(CLOSE_TIMEOUT).await;
    };
    tokio::select! {
        biased;
        // CANCEL-SAFE: both only wait.
        () = drained => {}
        () = tokio::time::sleep(SEND_TIMEOUT) => {}
    }
}

fn too_slow() -> End {
    End::close(CloseCode::SlowConsumer, "the peer does not take what it is sent")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let text = close_text(&"ä".repeat(100));
        assert!(text.len() <= 123 && text.chars().all(|character| character == 'ä'));
        assert_eq!(close_text("short"), "short");
    }
}
