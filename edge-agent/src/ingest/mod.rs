//! From what a reader gave out to what is in the queue: sorted, dated, appended; the rest kept as dead letters.
//!
//! Sources share it by clone. What the queue can't take is the source's to decide: a broker keeps what is
//! not acknowledged, a serial device says it once.

mod known;
mod outage_logic;
mod sort_logic;
mod vigil;
mod vigil_logic;

use std::sync::Arc;

use lockgate_codec::{DeadLetter, DeadLetterReason, Output};
use lockgate_proto::description::Description;
use lockgate_proto::seq::{Lane, Seq};
use lockgate_proto::time::MonoTime;
use lockgate_runtime::words::chain;
use tokio::sync::watch;
use tracing::{debug, error, info, warn};

pub use outage_logic::Outage;
pub use sort_logic::{Arrival, Sorted, sort};
pub use vigil::{VigilTask, Watcher};

use vigil::VigilHandle;
use vigil_logic::Turn;

use crate::config::SourceProfile;
use crate::dead_letters::DeadLetterHandle;
use crate::queue::{AppendError, Batch, EnqueueError, Progress, QueueHandle};
use crate::source::status::{Counter, StatusReporter};
use crate::time::TimeHandle;

/// The queue can't take anything just now.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{why}")]
pub struct NoRoom {
    why: Arc<str>,
    disk_full: bool,
}

/// Dead letters since the start of the process, by reason.
#[derive(Debug, Default)]
pub struct DeadLetterCounters([Counter; DeadLetterReason::ALL.len()]);

impl DeadLetterCounters {
    fn add(&self, reason: DeadLetterReason) {
        if let Some(at) = DeadLetterReason::ALL.iter().position(|known| *known == reason) {
            self.0[at].add(1);
        }
    }

    /// The reasons that there were, with how many of each.
    pub fn counts(&self) -> Vec<(&'static str, u64)> {
        let counts = DeadLetterReason::ALL.iter().zip(&self.0).map(|(reason, count)| (reason.as_str(), count.get()));
        counts.filter(|(_, count)| *count > 0).collect()
    }
}

/// The way into the queue. Cheap to clone.
#[derive(Clone)]
pub struct Ingest {
    queue: QueueHandle,
    dead_letters: DeadLetterHandle,
    counters: Arc<DeadLetterCounters>,
    time: TimeHandle,
    vigil: VigilHandle,
}

impl Ingest {
    /// Into this queue, dated by this clock.
    pub fn new(queue: QueueHandle, dead_letters: DeadLetterHandle, time: TimeHandle) -> Ingest {
        Ingest { queue, dead_letters, counters: Arc::default(), time, vigil: VigilHandle::default() }
    }

    /// Dead letters of all sources.
    pub fn dead_letter_counters(&self) -> &Arc<DeadLetterCounters> {
        &self.counters
    }

    /// The time since boot.
    pub fn now(&self) -> MonoTime {
        self.time.now()
    }

    /// Watches over the devices of a source.
    pub fn watcher(&self, source: &str, profile: &SourceProfile) -> Watcher {
        Watcher::new(self.vigil.clone(), source, profile)
    }

    /// How far the queue has come.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.queue.progress()
    }

    /// Sorts what has just been heard.
    pub fn sort(&self, outputs: Vec<Output>, digest: Option<u64>) -> Sorted {
        sort(outputs, self.time.arrival(), digest)
    }

    /// Whether a batch with this digest is in the queue's tail. If so, it is on disk when this returns.
    pub async fn holds(&self, digest: u64) -> bool {
        // Asked in this order: the answer waits for a flush, which would else come with the interval.
        let (seen, _flushed) = tokio::join!(self.queue.was_seen(digest), self.queue.sync_now());
        // Where the disk does not say, it counts as new: twice is better than never.
        seen.unwrap_or(false)
    }

    /// Queues a batch of `count` readings; gives the number of its last record. A kill -9 does not lose it
    /// any more; a loss of power does, until the queue's progress says that it is durable.
    pub async fn append(&self, batch: &Batch, count: usize, status: &StatusReporter) -> Result<(Lane, Seq), NoRoom> {
        let lane = batch.lane;
        let seq = match self.queue.append(batch.clone()).await {
            Ok(range) => range.last(),
            Err(EnqueueError::Append(error @ AppendError::Size { .. })) => {
                // `sort` keeps the bounds; a batch that is beyond them never fits, so it must not be tried again.
                error!(source = %status.name(), %error, "Readings are lost.");
                status.counters().dropped.add(count as u64);
                return Ok((lane, Seq::NONE));
            }
            Err(EnqueueError::Append(error)) if error.is_disk_full() => {
                return Err(NoRoom { why: "the disk is full".into(), disk_full: true });
            }
            Err(error) => return Err(NoRoom { why: chain(&error).into(), disk_full: false }),
        };
        status.counters().readings.add(count as u64);
        Ok((lane, seq))
    }

    /// Queues what a device that says everything once has said. What does not fit is counted in `outage`,
    /// which is told when the disk takes something again.
    pub async fn take_or_count(&self, outputs: Vec<Output>, status: &StatusReporter, outage: &mut Outage) {
        let sorted = self.sort(outputs, None);
        for (batch, count) in sorted.batches.iter().zip(sorted.counts) {
            match self.append(batch, count, status).await {
                Ok(_) => {
                    status.up();
                    self.end_outage(outage, status);
                }
                Err(no_room) => {
                    status.counters().dropped.add(count as u64);
                    let at = Arrival { mono: self.time.now(), wall: self.time.wall() };
                    outage.dropped(count as u64, at, no_room.disk_full);
                    status.paused(no_room);
                }
            }
        }
        self.keep(sorted.dead_letters, status);
    }

    /// Queues what a device is.
    pub async fn describe(&self, description: &Description, status: &StatusReporter) -> Result<(), NoRoom> {
        let sorted = sort_logic::described(description.clone(), self.time.arrival());
        for (batch, count) in sorted.batches.iter().zip(sorted.counts) {
            self.append(batch, count, status).await?;
        }
        Ok(())
    }

    /// Queues what the agent itself tells of devices.
    async fn tell(&self, turns: Vec<Turn>, status: &StatusReporter) -> Result<(), NoRoom> {
        let sorted = sort_logic::tellings(turns, self.time.arrival());
        for (batch, count) in sorted.batches.iter().zip(sorted.counts) {
            self.append(batch, count, status).await?;
        }
        Ok(())
    }

    /// Tells what an outage has cost, if there was one: in the log, and among the dead letters.
    pub fn end_outage(&self, outage: &mut Outage, status: &StatusReporter) {
        let Some(over) = outage.end() else { return };
        let source = status.name();
        info!(%source, dropped = over.dropped, "The disk took no readings for a time; it is over: {}.", over.detail);
        if self.dead_letters.keep_dropped(source, over.reason, over.detail, self.time.wall()).is_err() {
            debug!(%source, "The outage is kept in the log only.");
        }
    }

    /// Keeps input that could not be used, and counts it.
    pub fn keep(&self, dead_letters: Vec<DeadLetter>, status: &StatusReporter) {
        for letter in dead_letters {
            status.counters().dead_letters.add(1);
            self.counters.add(letter.reason);
            if self.dead_letters.keep(status.name(), &letter, self.time.wall()).is_err() {
                debug!(source = %status.name(), reason = %letter.reason, "A dead letter is only counted.");
            }
        }
    }

    /// Returns when all that was appended so far is on disk, and says how far that is; `None`: the disk
    /// does not take it.
    pub async fn sync(&self) -> Option<Progress> {
        match self.queue.sync_now().await {
            Ok(progress) => Some(progress),
            Err(error) => {
                warn!(error = chain(&error), "The queue could not be flushed.");
                None
            }
        }
    }
}
