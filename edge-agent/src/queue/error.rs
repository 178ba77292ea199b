//! What can go wrong with the queue, by operation.

use std::io;

/// Why the queue could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another agent has the folder open.
    #[error("another lockgate-agent{} uses this queue; two must never share one", holder.map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    Locked {
        /// Its process id, where it could be read.
        holder: Option<u32>,
    },
    /// The folder can't be made, locked, listed or read.
    #[error("cannot {operation} in the queue's folder")]
    Folder {
        /// What was tried.
        operation: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The checkpoint could not be written: the disk is full or read-only.
    #[error("cannot write the queue's checkpoint")]
    Checkpoint(#[source] io::Error),
    /// The epoch of this start is in the queue already; the random source repeats itself.
    #[error("the epoch of this start was used before")]
    EpochUsed,
}

/// Why a batch was not accepted. Nothing of it is in the queue.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Disk full, read-only or failing. Later appends may succeed.
    #[error("cannot write to the queue")]
    Write(#[source] io::Error),
    /// Room had to be made, but what is dropped could not be written down first.
    #[error("cannot make room in the queue")]
    MakeRoom(#[source] io::Error),
    /// No record, an empty one, or more than the limits allow.
    #[error("a batch of {records} records and {bytes} bytes can't be queued")]
    Size {
        /// Records in the batch.
        records: usize,
        /// Bytes of all payloads.
        bytes: usize,
    },
}

impl AppendError {
    /// Whether the disk has no room (as opposed to being broken or read-only).
    pub fn is_disk_full(&self) -> bool {
        match self {
            AppendError::Write(error) | AppendError::MakeRoom(error) => {
                matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            AppendError::Size { .. } => false,
        }
    }
}

/// Why accepted records are not on the disk for sure. They are kept, and the next flush tries again.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The disk refused the flush, and refused the records once more in a new segment.
    #[error("cannot flush the queue to the disk")]
    Flush(#[source] io::Error),
}

impl SyncError {
    /// The same error for one more of those who waited for the same flush.
    pub(super) fn again(&self) -> SyncError {
        let SyncError::Flush(error) = self;
        SyncError::Flush(io::Error::new(error.kind(), error.to_string()))
    }
}

/// Why no new epoch was begun in a running agent. The old one goes on.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    /// What the old epoch has accepted could not be flushed.
    #[error("cannot flush the queue to the disk")]
    Flush(#[source] io::Error),
    /// The checkpoint could not be written: the disk is full or read-only.
    #[error("cannot write the queue's checkpoint")]
    Checkpoint(#[source] io::Error),
    /// The random source repeats itself.
    #[error("the new epoch was used before")]
    EpochUsed,
    /// Too many epochs are held; a restart gives up the oldest ones.
    #[error("the queue holds too many epochs; restart the agent")]
    TooMany,
}

impl From<SyncError> for RenewError {
    fn from(SyncError::Flush(error): SyncError) -> RenewError {
        RenewError::Flush(error)
    }
}

/// Why records could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A segment can't be opened for want of something that may come back (memory, file descriptors).
    #[error("cannot open segment {name}")]
    Open {
        /// The segment.
        name: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// The queue's thread has ended; the agent is stopping, or has to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the queue is closed")]
pub struct QueueClosed;
