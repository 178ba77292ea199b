//! The queue as the rest of the agent sees it: cloneable, async, and with a bound on what waits.

use std::time::Duration;

use lockgate_proto::gap::Gap;
use lockgate_proto::link::agent::Holdings;
use lockgate_proto::ranges::{RangeSet, SeqRange};
use lockgate_proto::seq::{Epoch, Lane};
use lockgate_proto::time::UnixMicros;
use tokio::sync::{mpsc, oneshot, watch};

use super::error::{AppendError, QueueClosed, ReadError, RenewError, SyncError};
use super::time::{Anchor, BootTime};
use super::types::{Batch, Fault, Progress, ReadBatch, Stats};

/// How the queue's thread works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueSettings {
    /// What was appended is flushed at the latest after so long.
    pub sync_interval: Duration,
}

/// Why an append by the handle failed.
#[derive(Debug, thiserror::Error)]
pub enum EnqueueError {
    /// The batch was not accepted.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// Accepted, but not on the disk for sure: do not acknowledge it to its source.
    #[error(transparent)]
    Sync(#[from] SyncError),
    /// The queue is closed.
    #[error(transparent)]
    Closed(#[from] QueueClosed),
}

/// Why a read by the handle failed.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The disk.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The queue is closed.
    #[error(transparent)]
    Closed(#[from] QueueClosed),
}

/// One thing that the thread is asked for.
pub(super) enum Request {
    Append { batch: Batch, reply: oneshot::Sender<Result<SeqRange, AppendError>> },
    AppendDurable { batch: Batch, reply: oneshot::Sender<Result<SeqRange, EnqueueError>> },
    WasSeen { digest: u64, reply: oneshot::Sender<Result<bool, SyncError>> },
    Sync { reply: oneshot::Sender<Result<Progress, SyncError>> },
    Read { epoch: Epoch, lane: Lane, range: SeqRange, bytes_max: usize, reply: ReadReply },
    SetSettled { epoch: Epoch, lane: Lane, settled: RangeSet },
    SetEpochClosed { epoch: Epoch },
    AddGap { gap: Gap },
    SetAnchor { anchor: Anchor },
    NoteTime { wall: UnixMicros },
    Held { reply: oneshot::Sender<Holdings> },
    Renew { epoch: Epoch, reply: oneshot::Sender<Result<(), RenewError>> },
    Boots { reply: oneshot::Sender<Vec<BootTime>> },
    Stats { reply: oneshot::Sender<Stats> },
    TakeFaults { reply: oneshot::Sender<Vec<Fault>> },
    Close { reply: oneshot::Sender<Result<(), SyncError>> },
}

pub(super) type ReadReply = oneshot::Sender<Result<ReadBatch, ReadError>>;

/// Asks the queue's thread.
///
/// LIMIT: at most [`super::limits::REQUESTS_WAITING_MAX`] requests wait; beyond them the callers do.
#[derive(Clone)]
pub struct QueueHandle {
    pub(super) requests: mpsc::Sender<Request>,
    pub(super) progress: watch::Receiver<Progress>,
    pub(super) epoch: Epoch,
}

impl QueueHandle {
    /// The epoch that this start began with.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Accepts all records of a batch, or none. A kill -9 does not lose them, a loss of power may for as
    /// long as [`QueueSettings::sync_interval`].
    pub async fn append(&self, batch: Batch) -> Result<SeqRange, EnqueueError> {
        Ok(self.ask(|reply| Request::Append { batch, reply }).await??)
    }

    /// As `append`, and waits until a loss of power does not lose them either.
    pub async fn append_durable(&self, batch: Batch) -> Result<SeqRange, EnqueueError> {
        self.ask(|reply| Request::AppendDurable { batch, reply }).await?
    }

    /// Whether a source's message is among the last ones that were appended. If so, it is on the disk for
    /// sure when this returns, and may be acknowledged.
    pub async fn was_seen(&self, digest: u64) -> Result<bool, EnqueueError> {
        Ok(self.ask(|reply| Request::WasSeen { digest, reply }).await??)
    }

    /// Flushes now, and not only when the interval has passed.
    pub async fn sync_now(&self) -> Result<Progress, EnqueueError> {
        Ok(self.ask(|reply| Request::Sync { reply }).await??)
    }

    /// See [`super::Queue::read`].
    pub async fn read(
        &self,
        epoch: Epoch,
        lane: Lane,
        range: SeqRange,
        bytes_max: usize,
    ) -> Result<ReadBatch, FetchError> {
        Ok(self.ask(|reply| Request::Read { epoch, lane, range, bytes_max, reply }).await??)
    }

    /// See [`super::Queue::set_settled`].
    pub async fn set_settled(&self, epoch: Epoch, lane: Lane, settled: RangeSet) -> Result<(), QueueClosed> {
        self.tell(Request::SetSettled { epoch, lane, settled }).await
    }

    /// See [`super::Queue::epoch_closed`].
    pub async fn epoch_closed(&self, epoch: Epoch) -> Result<(), QueueClosed> {
        self.tell(Request::SetEpochClosed { epoch }).await
    }

    /// See [`super::Queue::add_gap`].
    pub async fn add_gap(&self, gap: Gap) -> Result<(), QueueClosed> {
        self.tell(Request::AddGap { gap }).await
    }

    /// See [`super::Queue::set_anchor`].
    pub async fn set_anchor(&self, anchor: Anchor) -> Result<(), QueueClosed> {
        self.tell(Request::SetAnchor { anchor }).await
    }

    /// See [`super::Queue::note_time`]. To be called about once a minute while the time is known.
    pub async fn note_time(&self, wall: UnixMicros) -> Result<(), QueueClosed> {
        self.tell(Request::NoteTime { wall }).await
    }

    /// See [`super::Queue::held`].
    pub async fn held(&self) -> Result<Holdings, QueueClosed> {
        self.ask(|reply| Request::Held { reply }).await
    }

    /// See [`super::Queue::renew`]. The inner error: the epoch goes on.
    pub async fn renew(&self, epoch: Epoch) -> Result<Result<(), RenewError>, QueueClosed> {
        self.ask(|reply| Request::Renew { epoch, reply }).await
    }

    /// See [`super::Queue::boots`].
    pub async fn boots(&self) -> Result<Vec<BootTime>, QueueClosed> {
        self.ask(|reply| Request::Boots { reply }).await
    }

    /// Counters and sizes.
    pub async fn stats(&self) -> Result<Stats, QueueClosed> {
        self.ask(|reply| Request::Stats { reply }).await
    }

    /// Faults since the last call.
    pub async fn take_faults(&self) -> Result<Vec<Fault>, QueueClosed> {
        self.ask(|reply| Request::TakeFaults { reply }).await
    }

    /// How far the epoch has come; changes after every append, flush and drop.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    /// Flushes everything, marks the stop as clean, and ends the thread. Requests behind it are refused.
    pub async fn close(&self) -> Result<(), EnqueueError> {
        Ok(self.ask(|reply| Request::Close { reply }).await??)
    }

    async fn tell(&self, request: Request) -> Result<(), QueueClosed> {
        self.requests.send(request).await.map_err(|_| QueueClosed)
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, QueueClosed> {
        let (reply, answer) = oneshot::channel();
        self.tell(request(reply)).await?;
        answer.await.map_err(|_| QueueClosed)
    }
}
