//! The one thread that writes: gathers what waits, writes it as one transaction, then answers and publishes.
//!
//! While one commit waits for the disk, the next group gathers behind it; so the rate of steps does not hang
//! on the rate at which a disk can sync.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use lockgate_proto::attendance::Sheet;
use lockgate_proto::ids::RoomId;
use lockgate_proto::time::UnixMicros;
use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};
use tracing::{debug, error, info, warn};

use super::commands;
use super::retention::{self, Horizon};
use super::state::{OpenRequest, State, StepRequest, WriteError};
use super::store::{FileId, Folder, FolderLock, meaning};
use crate::backbone::commands::forgotten_before;
use crate::backbone::{
    BackboneError, BookWrite, BookWritten, Clock, CommandFeed, Feed, Health, NewEntry, Opened, Retention, Stepped,
};

/// LIMIT: one transaction takes at most so many requests; the others are the next one's.
const GROUP_REQUESTS_MAX: usize = 1_024;

/// LIMIT: one transaction is closed when it has so many entries.
const GROUP_ENTRIES_MAX: usize = 16_384;

/// While writes fail, they are tried so often without anyone's asking.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// Between two slices of retention, steps have this long to come.
const SLICE_PAUSE: Duration = Duration::from_millis(5);

/// A checkpoint waits so long for readers; steps wait with it.
const CHECKPOINT_PATIENCE: Duration = Duration::from_millis(50);

/// What a probe writes: enough to need room of its own.
const PROBE_BYTES: i64 = 64 * 1024;

pub(super) type Reply<T> = oneshot::Sender<Result<T, BackboneError>>;

/// What the writer is asked for.
pub(super) enum Request {
    Step(StepRequest, Reply<Stepped>),
    Open(OpenRequest, Reply<Opened>),
    Append(RoomId, Vec<NewEntry>, Reply<()>),
    Attend(RoomId, Sheet, Reply<()>),
    ExpireAttendance(Reply<()>),
    WriteBook(RoomId, BookWrite, Reply<BookWritten>),
    FollowCommands(RoomId, Reply<CommandFeed>),
    Subscribe(RoomId, Reply<Feed>),
    /// All retention that is due, and a checkpoint.
    Maintain(Reply<()>),
    Close(oneshot::Sender<()>),
    /// Lets a test break the store under the writer.
    #[cfg(test)]
    Tamper(Box<dyn FnOnce(&Connection) + Send>, oneshot::Sender<()>),
}

/// A request, and its place in the queue.
pub(super) struct Envelope {
    pub(super) request: Request,
    /// Given back when the writer has taken the request.
    pub(super) place: OwnedSemaphorePermit,
}

pub(super) struct Writer {
    pub(super) store: Connection,
    pub(super) state: State,
    pub(super) requests: Receiver<Envelope>,
    pub(super) health: watch::Sender<Health>,
    pub(super) retention: Retention,
    pub(super) clock: Clock,
    pub(super) maintenance_interval: Duration,
    pub(super) folder: Folder,
    /// The file that `store` writes.
    pub(super) file: Option<FileId>,
    /// Last, so that the folder is free only when the database is closed.
    #[expect(dead_code, reason = "held is all it has to be")]
    pub(super) lock: FolderLock,
}

/// An answer that waits for the commit.
enum Answer {
    Step(Reply<Stepped>, Result<Stepped, BackboneError>),
    Open(Reply<Opened>, Result<Opened, BackboneError>),
    Book(Reply<BookWritten>, Result<BookWritten, BackboneError>),
    Other(Reply<()>, Result<(), BackboneError>),
}

impl Writer {
    /// Works until it is told to close or nobody can ask any more.
    pub(super) fn run(mut self) {
        let mut maintenance_due = Instant::now() + self.maintenance_interval;
        loop {
            let patience = maintenance_due.saturating_duration_since(Instant::now());
            match self.requests.recv_timeout(patience) {
                Ok(first) => {
                    if let Some(closed) = self.serve(first) {
                        self.checkpoint_and_cut();
                        // The database is closed before the answer, so that the folder can be used at once.
                        drop(self);
                        // An error says that nobody waits for the end, which comes all the same.
                        closed.send(()).unwrap_or_default();
                        return;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    self.checkpoint_and_cut();
                    return;
                }
            }
            if matches!(*self.health.borrow(), Health::Down { .. }) {
                maintenance_due = maintenance_due.min(Instant::now() + PROBE_INTERVAL);
            }
            if maintenance_due <= Instant::now() {
                maintenance_due = Instant::now() + self.look_after();
            }
        }
    }

    /// Serves one request and all writes that wait behind it; returns whom to tell where it was told to close.
    fn serve(&mut self, first: Envelope) -> Option<oneshot::Sender<()>> {
        let mut next = Some(first.request);
        drop(first.place);
        while let Some(request) = next.take() {
            match request {
                Request::Step(..)
                | Request::Open(..)
                | Request::Append(..)
                | Request::Attend(..)
                | Request::WriteBook(..)
                | Request::ExpireAttendance(..) => next = self.write_group(request),
                Request::Subscribe(room, reply) => {
                    let feed = self.state.subscribe(&self.store, &room).map_err(|failure| meaning(&failure));
                    drop(reply.send(feed));
                }
                Request::FollowCommands(room, reply) => {
                    drop(reply.send(Ok(self.state.command_feeds.subscribe(&room))));
                }
                Request::Maintain(reply) => {
                    let done = self.trim_all().map_err(|failure| meaning(&failure));
                    self.checkpoint_and_cut();
                    drop(reply.send(done));
                }
                Request::Close(closed) => return Some(closed),
                #[cfg(test)]
                Request::Tamper(tamper, done) => {
                    tamper(&self.store);
                    done.send(()).unwrap_or_default();
                }
            }
        }
        None
    }

    /// Writes a group as one transaction; returns the request that came behind it and is no write.
    fn write_group(&mut self, first: Request) -> Option<Request> {
        let changes_before = self.store.total_changes();
        let mut answers = Vec::new();
        let mut behind = None;
        let mut outcome = self.store.execute_batch("BEGIN IMMEDIATE").map_err(WriteError::Sql);
        let mut next = Some(first);
        let mut entries = 0;
        while let Some(request) = next.take() {
            match request {
                Request::Step(step, reply) => {
                    entries += step.entries.len();
                    let result = self.attempt(&mut outcome, |state, store| state.step(store, step));
                    answers.push(Answer::Step(reply, result));
                }
                Request::Open(open, reply) => {
                    let result = self.attempt(&mut outcome, |state, store| state.open(store, &open));
                    answers.push(Answer::Open(reply, result));
                }
                Request::Append(room, added, reply) => {
                    entries += added.len();
                    let result =
                        self.attempt(&mut outcome, |state, store| state.append_all(store, &room, &added).map(Ok));
                    answers.push(Answer::Other(reply, result));
                }
                Request::Attend(room, sheet, reply) => {
                    let now = (self.clock)();
                    let result =
                        self.attempt(&mut outcome, |state, store| state.attend(store, &room, sheet, now).map(Ok));
                    answers.push(Answer::Other(reply, result));
                }
                Request::ExpireAttendance(reply) => {
                    let now = (self.clock)();
                    let result = self.attempt(&mut outcome, |state, store| state.expire_attendance(store, now).map(Ok));
                    answers.push(Answer::Other(reply, result));
                }
                Request::WriteBook(room, write, reply) => {
                    entries += write.news.len();
                    let result =
                        self.attempt(&mut outcome, |state, store| state.write_book(store, &room, write).map(Ok));
                    answers.push(Answer::Book(reply, result));
                }
                other => {
                    behind = Some(other);
                    break;
                }
            }
            if answers.len() < GROUP_REQUESTS_MAX && entries < GROUP_ENTRIES_MAX {
                next = self.requests.try_recv().ok().map(|envelope| envelope.request);
            }
        }
        let committed = outcome.and_then(|()| self.commit());
        self.finish(changes_before, committed, answers);
        behind
    }

    /// Does one request's part, unless an earlier one has already spoilt the transaction.
    fn attempt<T>(
        &mut self,
        outcome: &mut Result<(), WriteError>,
        part: impl FnOnce(&mut State, &Connection) -> Result<Result<T, BackboneError>, WriteError>,
    ) -> Result<T, BackboneError> {
        let spoilt = || Err(BackboneError::Unavailable { reason: "the transaction failed".to_owned() });
        if outcome.is_err() {
            return spoilt();
        }
        match part(&mut self.state, &self.store) {
            Ok(result) => result,
            Err(failure) => {
                *outcome = Err(failure);
                spoilt()
            }
        }
    }

    fn commit(&mut self) -> Result<(), WriteError> {
        self.state.before_commit(&self.store)?;
        if self.folder.file_in_place() != self.file {
            return Err(WriteError::Moved);
        }
        self.store.prepare_cached("COMMIT")?.execute([])?;
        Ok(())
    }

    /// DURABILITY: nothing is published or answered before the commit is on the disk.
    fn finish(&mut self, changes_before: u64, committed: Result<(), WriteError>, answers: Vec<Answer>) {
        let failed = match committed {
            Ok(()) => {
                self.state.committed();
                // A group that wrote nothing, all of it being refused, says nothing of the disk.
                if self.store.total_changes() != changes_before {
                    self.set_health(Health::Up);
                }
                None
            }
            Err(failure) => {
                self.roll_back();
                let meaning = failure.meaning();
                self.set_health(Health::Down { reason: meaning.reason().to_owned() });
                Some(meaning)
            }
        };
        for answer in answers {
            // Who no longer waits has lost its connection and asks anew on the next one.
            match answer {
                Answer::Step(reply, result) => drop(reply.send(failed.clone().map_or(result, Err))),
                Answer::Open(reply, result) => drop(reply.send(failed.clone().map_or(result, Err))),
                Answer::Book(reply, result) => drop(reply.send(failed.clone().map_or(result, Err))),
                Answer::Other(reply, result) => drop(reply.send(failed.clone().map_or(result, Err))),
            }
        }
    }

    fn roll_back(&mut self) {
        self.state.rolled_back();
        // After some failures SQLite has rolled back by itself.
        if !self.store.is_autocommit()
            && let Err(failure) = self.store.execute_batch("ROLLBACK")
        {
            error!(%failure, "Cannot roll back.");
        }
    }

    fn set_health(&self, health: Health) {
        let changed = self.health.send_if_modified(|known| {
            let changed = *known != health;
            known.clone_from(&health);
            changed
        });
        if changed {
            match health {
                Health::Up => info!("The backbone takes writes again."),
                Health::Down { reason } => error!(reason, "The backbone takes no writes; agents keep their records."),
            }
        }
    }

    /// What is due without anyone's asking; says when to come again.
    fn look_after(&mut self) -> Duration {
        if matches!(*self.health.borrow(), Health::Down { .. }) {
            self.probe();
            return PROBE_INTERVAL;
        }
        match self.trim_slices() {
            Ok(true) => return SLICE_PAUSE,
            Ok(false) => {}
            Err(failure) => warn!(%failure, "Cannot drop old entries; trying again."),
        }
        self.checkpoint();
        self.maintenance_interval
    }

    fn probe(&mut self) {
        let fill = "INSERT OR REPLACE INTO probe (id, filler) VALUES (1, zeroblob(?1))";
        let probed = self.store.execute(fill, [PROBE_BYTES]).and_then(|_| self.store.execute("DELETE FROM probe", []));
        match probed {
            Ok(_) => self.set_health(Health::Up),
            Err(failure) => self.set_health(Health::Down { reason: meaning(&failure).reason().to_owned() }),
        }
    }

    fn horizon(&self) -> Horizon {
        let age_micros = self.retention.age.map(|age| i64::try_from(age.as_micros()).unwrap_or(i64::MAX));
        let UnixMicros(now) = (self.clock)();
        Horizon {
            received_before: age_micros.map(|age| now.saturating_sub(age)),
            bytes_max: self.retention.room_bytes_max.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
        }
    }

    /// One slice of every room, and one of the commands; says whether any has more to drop.
    fn trim_slices(&mut self) -> rusqlite::Result<bool> {
        let horizon = self.horizon();
        let mut more = false;
        for room in retention::rooms(&self.store)? {
            more |= retention::trim_slice(&self.store, room, horizon)?;
        }
        if let Some(kept_for) = self.retention.commands {
            more |= commands::forget_slice(&self.store, forgotten_before((self.clock)(), kept_for))?;
        }
        Ok(more)
    }

    fn trim_all(&mut self) -> rusqlite::Result<()> {
        while self.trim_slices()? {}
        Ok(())
    }

    /// Moves the write-ahead log into the database as far as no reader is in the way, and waits for nobody.
    ///
    /// The file keeps its size: a disk syncs faster what overwrites than what makes a file longer.
    fn checkpoint(&self) {
        note(self.store.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get(0)));
    }

    /// As `checkpoint`, waits a little for readers, and gives the file's room back.
    fn checkpoint_and_cut(&self) {
        note(self.store.busy_timeout(CHECKPOINT_PATIENCE).and_then(|()| {
            let busy = self.store.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0));
            self.store.busy_timeout(self.folder.busy_timeout).and(busy)
        }));
    }
}

fn note(checkpointed: rusqlite::Result<bool>) {
    match checkpointed {
        Ok(false) => {}
        Ok(true) => debug!("A reader keeps the write-ahead log from being moved as a whole."),
        Err(failure) => warn!(%failure, "Cannot move the write-ahead log into the database; trying again."),
    }
}
