//! One peer's link as the sessions see it: frames in and out, and every way in which it ends.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::poll_immediate;
use lockgate_proto::link::close::CloseCode;
use lockgate_runtime::link::{Link, LinkError, Received};
use tokio_util::sync::CancellationToken;

use crate::limits::SEND_PATIENCE_IN_DRAIN;

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

impl From<LinkError> for End {
    fn from(error: LinkError) -> End {
        match error {
            LinkError::Cut | LinkError::Broken(_) | LinkError::Closed => End::Gone(error.to_string()),
            LinkError::Idle { .. }
            | LinkError::Stalled { .. }
            | LinkError::Unwanted { .. }
            | LinkError::WrongKind { .. }
            | LinkError::Protocol(_)
            | LinkError::TooLarge { .. }
            | LinkError::NotText => End::close(error.close_code(), error.to_string()),
        }
    }
}

/// A peer's link.
pub(crate) struct Peer {
    link: Link,
    drain: CancellationToken,
}

impl Peer {
    /// `drain`: when it is cancelled, nobody waits long any more for a peer that does not read.
    pub(crate) fn new(link: Link, drain: CancellationToken) -> Peer {
        Peer { link, drain }
    }

    /// The next frame. Cancel safe: one that is half read stays in the link. Pings go on meanwhile.
    pub(crate) async fn hear(&mut self) -> Result<Bytes, End> {
        poll_fn(|context| self.poll_hear(context)).await
    }

    /// [`Peer::hear`], for those who wait for several things.
    pub(crate) fn poll_hear(&mut self, context: &mut Context<'_>) -> Poll<Result<Bytes, End>> {
        self.link.poll_receive(context).map(|received| match received? {
            Received::Message(frame) => Ok(frame),
            Received::Closed(closed) => Err(End::Gone(closed.to_string())),
        })
    }

    /// Takes a frame for sending; waits while the send buffer is full.
    pub(crate) async fn feed(&mut self, frame: Bytes) -> Result<(), End> {
        patiently(&self.drain, self.link.feed(frame)).await
    }

    /// Takes a frame at once, for those who have looked whether there is room.
    pub(crate) fn put(&mut self, frame: Bytes) -> Result<(), End> {
        Ok(self.link.put(frame)?)
    }

    /// Whether a frame can be taken at once.
    pub(crate) fn has_room(&self) -> bool {
        self.link.has_room()
    }

    /// Sends what was fed: who does not read is waited for here, and nowhere else.
    pub(crate) async fn flush(&mut self) -> Result<(), End> {
        patiently(&self.drain, self.link.flush()).await
    }

    /// Takes and sends.
    pub(crate) async fn send(&mut self, frame: Bytes) -> Result<(), End> {
        self.feed(frame).await?;
        self.flush().await
    }

    /// Says goodbye as far as the peer listens, and ends the connection.
    pub(crate) async fn close(self, end: &End) {
        if let End::Close { code, reason } = end {
            self.link.close_with(code.code(), reason).await;
        }
    }
}

/// Waits for the peer to take something; only shortly while the gateway stops. Mostly the system takes it at once.
async fn patiently(drain: &CancellationToken, taken: impl Future<Output = Result<(), LinkError>>) -> Result<(), End> {
    let mut taken = pin!(taken);
    if let Some(taken) = poll_immediate(taken.as_mut()).await {
        return Ok(taken?);
    }
    tokio::select! {
        biased;
        // CANCEL-SAFE: it is not cancelled but given up, and the connection with it.
        taken = taken => Ok(taken?),
        () = out_of_patience(drain) => Err(too_slow()),
    }
}

async fn out_of_patience(drain: &CancellationToken) {
    drain.cancelled().await;
    tokio::time::sleep(SEND_PATIENCE_IN_DRAIN).await;
}

fn too_slow() -> End {
    End::close(CloseCode::SlowConsumer, "the gateway is stopping, and the peer does not take what it is sent")
}
