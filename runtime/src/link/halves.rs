//! The two directions of a link.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use super::{Closed, LinkError, LinkOptions, MessageKind, Received, Socket, link_error};

/// What fits a close frame beside its number (RFC 6455, 5.5).
const REASON_BYTES_MAX: usize = 123;

/// The receiving half.
pub struct LinkReceiver {
    pub(super) stream: SplitStream<Socket>,
    messages: MessageKind,
    idle_timeout: Duration,
    heard_at: Instant,
    closed: Option<Closed>,
}

impl LinkReceiver {
    pub(super) fn new(stream: SplitStream<Socket>, options: &LinkOptions) -> LinkReceiver {
        let LinkOptions { messages, idle_timeout, .. } = *options;
        LinkReceiver { stream, messages, idle_timeout, heard_at: Instant::now(), closed: None }
    }

    /// The next message, or the peer's close. Pings are answered. Cancel-safe.
    pub async fn receive(&mut self) -> Result<Received, LinkError> {
        loop {
            let silent_at = self.silent_at();
            let received = tokio::select! {
                biased;
                // CANCEL-SAFE: a half-read message stays in the socket's buffer.
                received = std::future::poll_fn(|context| self.poll_received(context)) => Some(received),
                // CANCEL-SAFE: a timer holds nothing.
                () = sleep_until(silent_at) => None,
            };
            match received {
                Some(received) => return received,
                None => self.check_silence()?,
            }
        }
    }

    pub(super) fn poll_received(&mut self, context: &mut Context<'_>) -> Poll<Result<Received, LinkError>> {
        loop {
            if self.closed.is_some() {
                return Poll::Ready(Err(LinkError::Closed));
            }
            let message = match ready!(self.stream.poll_next_unpin(context)) {
                Some(Ok(message)) => message,
                Some(Err(error)) => return Poll::Ready(Err(link_error(error))),
                None => return Poll::Ready(Err(LinkError::Closed)),
            };
            self.heard_at = Instant::now();
            match message {
                Message::Binary(bytes) => return Poll::Ready(self.take(MessageKind::Binary, bytes)),
                Message::Text(text) => return Poll::Ready(self.take(MessageKind::Text, text.into())),
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
                Message::Close(frame) => {
                    let closed = match frame {
                        Some(frame) => {
                            Closed { number: Some(frame.code.into()), reason: frame.reason.as_str().to_owned() }
                        }
                        None => Closed { number: None, reason: String::new() },
                    };
                    self.closed = Some(closed.clone());
                    // The answer to the close leaves with the next read; there is nothing more to be read.
                    let _end = self.stream.poll_next_unpin(context);
                    return Poll::Ready(Ok(Received::Closed(closed)));
                }
            }
        }
    }

    fn take(&self, got: MessageKind, message: Bytes) -> Result<Received, LinkError> {
        let expected = self.messages;
        if got == expected { Ok(Received::Message(message)) } else { Err(LinkError::WrongKind { got, expected }) }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.is_some()
    }

    pub(super) fn silent_at(&self) -> Instant {
        self.heard_at + self.idle_timeout
    }

    pub(super) fn check_silence(&self) -> Result<(), LinkError> {
        if self.silent_at() <= Instant::now() { Err(LinkError::Idle { after: self.idle_timeout }) } else { Ok(()) }
    }
}

/// The sending half.
pub struct LinkSender {
    pub(super) sink: SplitSink<Socket, Message>,
    messages: MessageKind,
    send_bytes_max: usize,
    idle_timeout: Duration,
    /// Something was fed and not yet flushed.
    dirty: bool,
}

impl LinkSender {
    pub(super) fn new(sink: SplitSink<Socket, Message>, options: &LinkOptions) -> LinkSender {
        let LinkOptions { messages, send_bytes_max, idle_timeout, .. } = *options;
        LinkSender { sink, messages, send_bytes_max, idle_timeout, dirty: false }
    }

    /// Takes a message for sending; waits while the send buffer is full. Not cancel-safe: a cancelled feed
    /// may or may not have taken the message.
    pub async fn feed(&mut self, message: Bytes) -> Result<(), LinkError> {
        if self.send_bytes_max < message.len() {
            return Err(LinkError::TooLarge { bytes: message.len() });
        }
        let message = match self.messages {
            MessageKind::Binary => Message::Binary(message),
            MessageKind::Text => Message::Text(message.try_into().map_err(|_| LinkError::NotText)?),
        };
        self.feed_any(message).await
    }

    /// Sends what was fed. Cancel-safe: what was not sent stays in the buffer.
    pub async fn flush(&mut self) -> Result<(), LinkError> {
        self.in_time(async |sender| sender.sink.flush().await.map_err(link_error)).await?;
        self.dirty = false;
        Ok(())
    }

    /// [`LinkSender::feed`] and [`LinkSender::flush`].
    pub async fn send(&mut self, message: Bytes) -> Result<(), LinkError> {
        self.feed(message).await?;
        self.flush().await
    }

    /// Asks the peer for a sign of life.
    pub async fn ping(&mut self) -> Result<(), LinkError> {
        self.feed_ping().await?;
        self.flush().await
    }

    pub(super) async fn feed_ping(&mut self) -> Result<(), LinkError> {
        self.feed_any(Message::Ping(Bytes::new())).await
    }

    /// Says that this end closes, and why. The receiving half then gets the peer's answer as
    /// [`Received::Closed`].
    pub async fn close(&mut self, number: u16, reason: &str) -> Result<(), LinkError> {
        let frame = CloseFrame { code: number.into(), reason: shortened(reason).into() };
        self.feed_any(Message::Close(Some(frame))).await?;
        self.flush().await
    }

    async fn feed_any(&mut self, message: Message) -> Result<(), LinkError> {
        self.dirty = true;
        self.in_time(async |sender| sender.sink.feed(message).await.map_err(link_error)).await
    }

    async fn in_time(
        &mut self,
        work: impl AsyncFnOnce(&mut LinkSender) -> Result<(), LinkError>,
    ) -> Result<(), LinkError> {
        let after = self.idle_timeout;
        timeout(after, work(self)).await.unwrap_or(Err(LinkError::Stalled { after }))
    }

    /// Goes on sending what was fed; pending while the peer takes nothing.
    pub(super) fn poll_drive(&mut self, context: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        if self.dirty {
            ready!(self.sink.poll_flush_unpin(context)).map_err(link_error)?;
            self.dirty = false;
        }
        Poll::Ready(Ok(()))
    }
}

fn shortened(reason: &str) -> &str {
    let mut end = reason.len().min(REASON_BYTES_MAX);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    &reason[..end]
}
