//! The one thread that owns the queue: takes a request, or flushes when that is due.
//!
//! A thread and not a task, because a flush may take a second on a bad card, and devices must be heard
//! meanwhile.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use lockgate_proto::ranges::SeqRange;
use tokio::sync::{mpsc, oneshot, watch};

use super::Queue;
use super::error::{QueueClosed, RenewError, SyncError};
use super::handle::{EnqueueError, QueueHandle, QueueSettings, Request};
use super::limits::REQUESTS_WAITING_MAX;
use super::types::Progress;

/// The end of the queue's thread, to be awaited by whoever must know of it.
#[must_use = "a queue whose thread has died must end the agent"]
pub struct QueueThread {
    ended: oneshot::Receiver<()>,
}

impl QueueThread {
    /// Returns when the queue was closed, or every handle is gone; `Err` if the thread has died.
    pub async fn ended(self) -> Result<(), QueueClosed> {
        self.ended.await.map_err(|_| QueueClosed)
    }
}

/// Gives the queue to a thread of its own.
pub fn start(queue: Queue, settings: QueueSettings) -> io::Result<(QueueHandle, QueueThread)> {
    let (requests, waiting) = mpsc::channel(REQUESTS_WAITING_MAX);
    let (progress_sender, progress) = watch::channel(queue.progress());
    let (end, ended) = oneshot::channel();
    let epoch = queue.epoch();
    thread::Builder::new().name("queue".to_owned()).spawn(move || {
        let worker = Worker { queue, settings, progress: progress_sender, sync_due: None, unanswered: Vec::new() };
        worker.run(waiting);
        // Nobody may be left who wants to know.
        end.send(()).ok();
    })?;
    Ok((QueueHandle { requests, progress, epoch }, QueueThread { ended }))
}

struct Worker {
    queue: Queue,
    settings: QueueSettings,
    progress: watch::Sender<Progress>,
    /// When the oldest unflushed append has waited for long enough.
    sync_due: Option<Instant>,
    /// Who waits for the next flush.
    unanswered: Vec<Unanswered>,
}

enum Unanswered {
    Append { accepted: SeqRange, reply: oneshot::Sender<Result<SeqRange, EnqueueError>> },
    WasSeen { reply: oneshot::Sender<Result<bool, SyncError>> },
}

impl Worker {
    fn run(mut self, mut waiting: mpsc::Receiver<Request>) {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        loop {
            match next_request(&mut waiting, &waker, self.sync_due) {
                Next::Request(Request::Close { reply }) => {
                    waiting.close();
                    let result = self.sync().map(drop).and_then(|()| self.queue.close());
                    drop(reply.send(result));
                    return;
                }
                Next::Request(request) => self.serve(request),
                Next::SyncDue => drop(self.sync()),
                Next::Closed => {
                    drop(self.queue.close());
                    return;
                }
            }
            self.after_each();
        }
    }

    /// A reply that nobody waits for any more is dropped: the work is done all the same.
    fn serve(&mut self, request: Request) {
        let queue = &mut self.queue;
        match request {
            Request::Append { batch, reply } => drop(reply.send(queue.append(&batch))),
            Request::AppendDurable { batch, reply } => match queue.append(&batch) {
                Ok(accepted) => self.unanswered.push(Unanswered::Append { accepted, reply }),
                Err(error) => drop(reply.send(Err(error.into()))),
            },
            Request::WasSeen { digest, reply } => {
                if queue.was_seen(digest) {
                    self.unanswered.push(Unanswered::WasSeen { reply });
                } else {
                    drop(reply.send(Ok(false)));
                }
            }
            Request::Sync { reply } => drop(reply.send(self.sync())),
            Request::Read { epoch, lane, range, bytes_max, reply } => {
                drop(reply.send(queue.read(epoch, lane, range, bytes_max)));
            }
            Request::SetSettled { epoch, lane, settled } => queue.set_settled(epoch, lane, settled),
            Request::SetEpochClosed { epoch } => queue.epoch_closed(epoch),
            Request::AddGap { gap } => queue.add_gap(gap),
            Request::SetAnchor { anchor } => queue.set_anchor(anchor),
            Request::NoteTime { wall } => queue.note_time(wall),
            Request::Held { reply } => drop(reply.send(queue.held())),
            Request::Renew { epoch, reply } => {
                // Who waits for a flush of the old epoch has it with this.
                let result = self.sync().map_err(RenewError::from).and_then(|_| self.queue.renew(epoch));
                drop(reply.send(result));
            }
            Request::Boots { reply } => drop(reply.send(queue.boots())),
            Request::Stats { reply } => drop(reply.send(queue.stats())),
            Request::TakeFaults { reply } => drop(reply.send(queue.take_faults())),
            // The loop takes a close for itself; an answer of "closed" would be right all the same.
            Request::Close { reply } => drop(reply),
        }
    }

    /// Flushes, and answers those who waited for it.
    fn sync(&mut self) -> Result<Progress, SyncError> {
        self.sync_due = None;
        let result = self.queue.sync();
        for waiting in self.unanswered.drain(..) {
            match (waiting, &result) {
                (Unanswered::Append { accepted, reply }, Ok(_)) => drop(reply.send(Ok(accepted))),
                (Unanswered::Append { reply, .. }, Err(error)) => drop(reply.send(Err(error.again().into()))),
                (Unanswered::WasSeen { reply }, Ok(_)) => drop(reply.send(Ok(true))),
                (Unanswered::WasSeen { reply }, Err(error)) => drop(reply.send(Err(error.again()))),
            }
        }
        result
    }

    fn after_each(&mut self) {
        if self.sync_due.is_none() && (self.queue.needs_sync() || !self.unanswered.is_empty()) {
            self.sync_due = Some(Instant::now() + self.settings.sync_interval);
        }
        let now = self.queue.progress();
        self.progress.send_if_modified(|before| std::mem::replace(before, now) != now);
    }
}

enum Next {
    Request(Request),
    SyncDue,
    Closed,
}

/// Waits for a request, but not longer than until the flush is due. A due flush goes first.
fn next_request(waiting: &mut mpsc::Receiver<Request>, waker: &Waker, sync_due: Option<Instant>) -> Next {
    loop {
        let left = sync_due.map(|due| due.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            return Next::SyncDue;
        }
        match waiting.poll_recv(&mut Context::from_waker(waker)) {
            Poll::Ready(Some(request)) => return Next::Request(request),
            Poll::Ready(None) => return Next::Closed,
            Poll::Pending => left.map_or_else(thread::park, thread::park_timeout),
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
