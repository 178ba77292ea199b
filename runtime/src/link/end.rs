//! One end of a link: messages in and out.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::poll_immediate;
use futures_util::{SinkExt as _, StreamExt as _};
use lockgate_proto::link::close::CloseCode;
use tokio::io::AsyncWriteExt as _;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role as WsRole};

use super::plain::PlainFrames;
use super::{Closed, LinkError, LinkOptions, MessageKind, Received, Role, Socket, Transport, Watched, link_error};
use crate::timer::LazyTimer;

/// What fits a close frame beside its number (RFC 6455, 5.5).
const REASON_BYTES_MAX: usize = 123;

/// How long a peer gets to answer a close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// One end of an open WebSocket.
pub struct Link {
    socket: Socket,
    messages: MessageKind,
    send_bytes_max: usize,
    idle_timeout: Duration,
    ping_interval: Option<Duration>,
    heard_at: Instant,
    /// Signs of life by then.
    signs: u64,
    ping_at: Instant,
    /// For the next ping, or the end of a silence.
    timer: LazyTimer,
    /// What a server sends; a client's frames are masked, by the library.
    plain: Option<PlainFrames>,
    /// The library was fed something and did not yet flush it.
    dirty: bool,
    closed: bool,
}

impl Link {
    /// A link over a stream whose WebSocket handshake is done. `read`: what came right behind the
    /// handshake and was read already; without it the first message is lost.
    pub async fn over(stream: impl Transport + 'static, read: Vec<u8>, role: Role, options: &LinkOptions) -> Link {
        let ws_role = match role {
            Role::Client => WsRole::Client,
            Role::Server => WsRole::Server,
        };
        let stream = Watched::new(Box::new(stream));
        let socket = WebSocketStream::from_partially_read(stream, read, ws_role, Some(options.config())).await;
        Link::of(socket, role, options)
    }

    pub(crate) fn of(socket: Socket, role: Role, options: &LinkOptions) -> Link {
        let LinkOptions { messages, send_bytes_max, idle_timeout, ping_interval, .. } = *options;
        let ping_at = next_ping(ping_interval);
        let heard_at = Instant::now();
        let timer = LazyTimer::new(ping_at.min(heard_at + idle_timeout));
        Link {
            socket,
            messages,
            send_bytes_max,
            idle_timeout,
            ping_interval,
            heard_at,
            signs: 0,
            ping_at,
            timer,
            plain: (role == Role::Server).then(PlainFrames::default),
            dirty: false,
            closed: false,
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
        poll_fn(|context| self.poll_receive(context)).await
    }

    /// [`Link::receive`], for those who wait for several things.
    pub fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<Result<Received, LinkError>> {
        loop {
            // Pending is no reason to wait: the peer may say something before it takes anything. Only within a frame
            // nothing is read, as the library could answer it.
            if let Poll::Ready(Err(error)) = self.poll_drive(context) {
                return Poll::Ready(Err(error));
            }
            if !self.is_midway()
                && let Poll::Ready(received) = self.poll_message(context)
            {
                return Poll::Ready(received);
            }
            let silent_at = self.heard_at + self.idle_timeout;
            ready!(self.timer.poll(silent_at.min(self.ping_at), context));
            if silent_at <= Instant::now() {
                self.check_silence()?;
                continue;
            }
            match self.poll_ping(context) {
                Poll::Ready(fed) => fed?,
                // The peer takes nothing: now only its silence counts.
                Poll::Pending => ready!(self.timer.poll(silent_at, context)),
            }
        }
    }

    fn poll_message(&mut self, context: &mut Context<'_>) -> Poll<Result<Received, LinkError>> {
        loop {
            if self.closed {
                return Poll::Ready(Err(LinkError::Closed));
            }
            let message = match ready!(self.socket.poll_next_unpin(context)) {
                Some(Ok(message)) => message,
                Some(Err(error)) => return Poll::Ready(Err(link_error(error))),
                None => return Poll::Ready(Err(LinkError::Closed)),
            };
            self.heard();
            match message {
                Message::Binary(bytes) => return Poll::Ready(self.checked(MessageKind::Binary, bytes)),
                Message::Text(text) => return Poll::Ready(self.checked(MessageKind::Text, text.into())),
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
                Message::Close(frame) => {
                    self.closed = true;
                    // The answer to the close leaves with the next read; there is nothing more to be read.
                    let _end = self.socket.poll_next_unpin(context);
                    return Poll::Ready(Ok(Received::Closed(closed(frame))));
                }
            }
        }
    }

    fn heard(&mut self) {
        (self.heard_at, self.signs) = (Instant::now(), self.socket.get_ref().signs());
    }

    /// Whether nothing of the peer was seen for too long. A part of a message is something, and so is that it took a
    /// part of ours: neither side may have been able to say more in that time.
    fn check_silence(&mut self) -> Result<(), LinkError> {
        if self.socket.get_ref().signs() == self.signs {
            return Err(LinkError::Idle { after: self.idle_timeout });
        }
        self.heard();
        Ok(())
    }

    fn checked(&self, got: MessageKind, message: Bytes) -> Result<Received, LinkError> {
        let expected = self.messages;
        if got == expected { Ok(Received::Message(message)) } else { Err(LinkError::WrongKind { got, expected }) }
    }

    /// Goes on sending what was fed; pending while the peer takes nothing.
    fn poll_drive(&mut self, context: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        let waits = self.plain.as_ref().is_some_and(|plain| !plain.is_empty());
        // What the library has to say by itself, as an answer to a ping, it may have begun to say.
        if !self.is_midway() && (self.dirty || waits) {
            ready!(self.socket.poll_flush_unpin(context)).map_err(link_error)?;
            self.dirty = false;
        }
        if let Some(plain) = self.plain.as_mut().filter(|_| waits) {
            // Until it is flushed as well: a stream of TLS keeps what it could not pass on.
            self.dirty = true;
            ready!(plain.poll_write(self.socket.get_mut(), context)).map_err(|error| link_error(error.into()))?;
            self.dirty = false;
        }
        Poll::Ready(Ok(()))
    }

    fn is_midway(&self) -> bool {
        self.plain.as_ref().is_some_and(PlainFrames::is_midway)
    }

    /// Takes a ping for sending as soon as there is room for it.
    fn poll_ping(&mut self, context: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        ready!(self.poll_room(context))?;
        self.take(Message::Ping(Bytes::new()))?;
        self.ping_at = next_ping(self.ping_interval);
        Poll::Ready(Ok(()))
    }

    /// Ready when a message can be taken for sending.
    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        match &self.plain {
            Some(plain) if plain.is_full() => self.poll_drive(context),
            Some(_) => Poll::Ready(Ok(())),
            None => self.socket.poll_ready_unpin(context).map_err(link_error),
        }
    }

    /// Takes a message for which there is room.
    fn take(&mut self, message: Message) -> Result<(), LinkError> {
        let (opcode, payload) = match (&mut self.plain, message) {
            (Some(_), Message::Binary(payload)) => (OpCode::Data(Data::Binary), payload),
            (Some(_), Message::Text(text)) => (OpCode::Data(Data::Text), text.into()),
            (Some(_), Message::Ping(payload)) => (OpCode::Control(Control::Ping), payload),
            (_, message) => {
                self.dirty = true;
                return self.socket.start_send_unpin(message).map_err(link_error);
            }
        };
        if let Some(plain) = &mut self.plain {
            plain.push(opcode, payload);
        }
        Ok(())
    }

    /// Takes a message for sending; it leaves while [`Link::receive`] waits, or with [`Link::flush`]. Waits
    /// while the send buffer is full; a peer that takes nothing for the idle timeout is [`LinkError::Stalled`].
    ///
    /// Not cancel-safe: a cancelled feed may or may not have taken the message.
    pub async fn feed(&mut self, message: Bytes) -> Result<(), LinkError> {
        let message = self.message(message)?;
        self.feed_any(message).await
    }

    /// [`Link::feed`] without waiting, for those who have looked whether there is room.
    pub fn put(&mut self, message: Bytes) -> Result<(), LinkError> {
        let message = self.message(message)?;
        self.take(message)
    }

    /// Whether a message can be taken at once.
    pub fn has_room(&self) -> bool {
        self.plain.as_ref().is_some_and(|plain| !plain.is_full())
    }

    fn message(&self, message: Bytes) -> Result<Message, LinkError> {
        if self.closed {
            return Err(LinkError::Closed);
        }
        if self.send_bytes_max < message.len() {
            return Err(LinkError::TooLarge { bytes: message.len() });
        }
        match self.messages {
            MessageKind::Binary => Ok(Message::Binary(message)),
            MessageKind::Text => Ok(Message::Text(message.try_into().map_err(|_| LinkError::NotText)?)),
        }
    }

    /// Sends what was fed. Cancel-safe: what was not sent stays in the buffer.
    pub async fn flush(&mut self) -> Result<(), LinkError> {
        self.in_time(Link::poll_drive).await
    }

    /// [`Link::feed`] and [`Link::flush`].
    pub async fn send(&mut self, message: Bytes) -> Result<(), LinkError> {
        self.feed(message).await?;
        self.flush().await
    }

    async fn feed_any(&mut self, message: Message) -> Result<(), LinkError> {
        self.in_time(Link::poll_room).await?;
        self.take(message)
    }

    /// Nobody is waited for longer than the idle timeout without a sign of life. Mostly the system takes at once what
    /// it is given, and no timer is set.
    async fn in_time(
        &mut self,
        work: fn(&mut Link, &mut Context<'_>) -> Poll<Result<(), LinkError>>,
    ) -> Result<(), LinkError> {
        if let Some(done) = poll_immediate(poll_fn(|context| work(self, context))).await {
            return done;
        }
        let after = self.idle_timeout;
        loop {
            let signs = self.socket.get_ref().signs();
            match timeout(after, poll_fn(|context| work(self, context))).await {
                Ok(done) => return done,
                Err(_) if self.socket.get_ref().signs() == signs => return Err(LinkError::Stalled { after }),
                Err(_) => {}
            }
        }
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
            if !self.closed {
                // The goodbye is the library's, and comes last.
                self.flush().await?;
                let frame = CloseFrame { code: number.into(), reason: shortened(reason).into() };
                self.feed_any(Message::Close(Some(frame))).await?;
                self.flush().await?;
                while let Some(Ok(_late)) = self.socket.next().await {}
            }
            Ok::<(), LinkError>(())
        })
        .await;
        // TLS peers take a connection without this end for one that was cut.
        let _shut = tokio::time::timeout_at(deadline + CLOSE_TIMEOUT, async {
            let _flushed = self.socket.flush().await;
            self.socket.get_mut().shutdown().await
        })
        .await;
    }
}

fn closed(frame: Option<CloseFrame>) -> Closed {
    match frame {
        Some(frame) => Closed { number: Some(frame.code.into()), reason: frame.reason.as_str().to_owned() },
        None => Closed { number: None, reason: String::new() },
    }
}

fn next_ping(interval: Option<Duration>) -> Instant {
    // Without pings: further away than any silence is allowed to last.
    Instant::now() + interval.unwrap_or(Duration::from_secs(365 * 86_400))
}

fn shortened(reason: &str) -> &str {
    let mut end = reason.len().min(REASON_BYTES_MAX);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    &reason[..end]
}
