//! The embedded engine: SQLite in the data folder, fan-out within the process, one instance.
//!
//! ```text
//! step, open_session, subscribe → bounded queue → writer thread (group commit) → answer, publish
//! reads ──────────────────────→ a few read-only connections beside it
//! ```
//!
//! Write-ahead log with `synchronous=FULL`: what was answered is on the disk. Offsets, stamps and the steps'
//! compare-and-set are safe because one thread does them all. The queue is bounded; whoever finds it full waits.

mod attendance;
mod commands;
mod descriptions;
mod feeds;
mod log;
mod reader;
mod retention;
mod schema;
mod shadows;
mod state;
mod store;
mod writer;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use lockgate_proto::attendance::{Present, Sheet};
use lockgate_proto::command::{CommandId, Kept};
use lockgate_proto::description::Description;
use lockgate_proto::ids::{AgentId, AgentName, DeviceName, RoomId, SessionId};
use lockgate_proto::ledger::Ledger;
use lockgate_proto::limits::ATTENDANCE_LEASE;
use lockgate_proto::position::Position;
use lockgate_proto::seq::Epoch;
use tokio::sync::{Semaphore, oneshot, watch};

use super::stamps::Stamps;
use super::{
    Backbone, BackboneError, BookRead, BookWrite, BookWritten, Clock, CommandFeed, CommandPage, CommandsWanted,
    DevicePage, DeviceShadow, DeviceSummary, Feed, Health, Holder, LogRead, LoggedEntry, NewEntry, Opened, PageWanted,
    Random, ReadLimit, Retention, Selection, Snapshot, Step, Stepped, Wanted,
};
use crate::limits::DEVICES_PER_ROOM_MAX;
use crate::metrics::Counter;
use reader::Readers;
use state::{OpenRequest, State, StepRequest};
use store::Folder;
use writer::{Envelope, Reply, Request, Writer};

pub use store::OpenError;

/// LIMIT: places in the writer's queue. A request takes one, and one more for every [`PLACE_BYTES`] of its entries.
const QUEUE_PLACES: usize = 1_024;

/// See [`QUEUE_PLACES`].
const PLACE_BYTES: usize = 64 * 1024;

/// What a command takes in memory, about.
const COMMAND_BYTES: usize = 1_024;

/// What an embedded backbone needs.
pub struct EmbeddedOptions {
    /// Where the database is; made where it is missing. One gateway at a time.
    pub folder: PathBuf,
    /// What the logs keep.
    pub retention: Retention,
    /// How often old entries are dropped and the write-ahead log is moved into the database.
    pub maintenance_interval: Duration,
    /// How long a write waits for another program that holds the database.
    pub busy_timeout: Duration,
    /// How long what an instance says of who is in a room stands.
    pub attendance_lease: Duration,
    /// Devices of one room that get a shadow. What others tell is logged all the same.
    pub devices_per_room_max: usize,
    /// Tells what is too old.
    pub clock: Clock,
    /// Where stamps come from.
    pub random: Random,
}

impl EmbeddedOptions {
    /// The defaults: everything is kept.
    pub fn new(folder: PathBuf, clock: Clock, random: Random) -> EmbeddedOptions {
        EmbeddedOptions {
            folder,
            retention: Retention::default(),
            maintenance_interval: Duration::from_secs(10),
            busy_timeout: Duration::from_secs(5),
            attendance_lease: ATTENDANCE_LEASE,
            devices_per_room_max: DEVICES_PER_ROOM_MAX,
            clock,
            random,
        }
    }
}

/// A handle; cheap to clone. The writer ends when the last one is gone or one of them closes it.
#[derive(Clone)]
pub struct EmbeddedBackbone {
    requests: mpsc::Sender<Envelope>,
    places: Arc<Semaphore>,
    readers: Readers,
    health: watch::Receiver<Health>,
    clock: Clock,
}

impl EmbeddedBackbone {
    /// Takes the folder, proves and updates the database, and starts the writer. Blocks.
    pub fn open(options: EmbeddedOptions) -> Result<EmbeddedBackbone, OpenError> {
        let (folder, lock) = Folder::take(&options.folder, options.busy_timeout)?;
        let store = folder.open_writer()?;
        let readers = Readers::open(folder.clone()).map_err(|source| folder.refusal(source))?;
        let (requests, queue) = mpsc::channel();
        let clock = Arc::clone(&options.clock);
        let (health_told, health) = watch::channel(Health::Up);
        let writer = Writer {
            store,
            state: State::new(Stamps::new(options.random), options.attendance_lease, options.devices_per_room_max),
            requests: queue,
            health: health_told,
            retention: options.retention,
            clock: options.clock,
            maintenance_interval: options.maintenance_interval,
            file: folder.file_in_place(),
            folder,
            lock,
        };
        thread::Builder::new()
            .name("backbone-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(|source| OpenError::Thread { source })?;
        Ok(EmbeddedBackbone { requests, places: Arc::new(Semaphore::new(QUEUE_PLACES)), readers, health, clock })
    }

    /// Finishes what is queued, moves everything into the database file and frees the folder.
    ///
    /// Requests from now on find the backbone not available.
    pub async fn close(&self) {
        let (closed, done) = oneshot::channel();
        self.readers.close().await;
        if self.ask(Request::Close(closed), 0).await.is_ok() {
            // An error says that the writer has ended already.
            drop(done.await);
        }
    }

    /// Returns when the writer has ended, by [`EmbeddedBackbone::close`] or by a fault in it.
    pub async fn ended(&self) {
        let mut health = self.health.clone();
        while health.changed().await.is_ok() {}
    }

    /// Drops all that retention wants dropped and moves the write-ahead log into the database, now.
    pub async fn maintain(&self) -> Result<(), BackboneError> {
        self.call(0, Request::Maintain).await
    }

    async fn call<T>(&self, bytes: usize, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, BackboneError> {
        let (reply, answer) = oneshot::channel();
        self.ask(request(reply), bytes).await?;
        answer.await.map_err(|_| stopped())?
    }

    async fn ask(&self, request: Request, bytes: usize) -> Result<(), BackboneError> {
        let places = (1 + bytes / PLACE_BYTES).min(QUEUE_PLACES);
        let places = u32::try_from(places).expect("the queue has far fewer places");
        let place = Arc::clone(&self.places).acquire_many_owned(places).await.map_err(|_| stopped())?;
        self.requests.send(Envelope { request, place }).map_err(|_| stopped())
    }
}

fn stopped() -> BackboneError {
    BackboneError::Unavailable { reason: "the gateway stops".to_owned() }
}

#[async_trait]
impl Backbone for EmbeddedBackbone {
    async fn open_session(
        &self,
        agent: &AgentId,
        session: SessionId,
        epochs: &[Epoch],
    ) -> Result<Opened, BackboneError> {
        let request = OpenRequest { agent: agent.clone(), session, epochs: epochs.to_vec() };
        self.call(0, |reply| Request::Open(request, reply)).await
    }

    async fn step(&self, agent: &AgentId, step: &Step) -> Result<Stepped, BackboneError> {
        let request = StepRequest::new(agent, step);
        self.call(request.bytes(), |reply| Request::Step(request, reply)).await
    }

    async fn head(&self, room: &RoomId) -> Result<Position, BackboneError> {
        let room = room.clone();
        self.readers
            .read(move |store| match log::room_id(store, &room)? {
                Some(id) => Ok(log::newest(store, id)?.0),
                None => Ok(Position::START),
            })
            .await
    }

    async fn read_after(&self, room: &RoomId, after: Position, limit: ReadLimit) -> Result<LogRead, BackboneError> {
        Counter::LogReads.tick();
        let room = room.clone();
        self.readers.read(move |store| log::read_after(store, &room, after, limit)).await
    }

    async fn read_last(&self, room: &RoomId, limit: ReadLimit) -> Result<Vec<LoggedEntry>, BackboneError> {
        Counter::LogReads.tick();
        let room = room.clone();
        self.readers.read(move |store| log::read_last(store, &room, limit)).await
    }

    async fn snapshot(&self, room: &RoomId) -> Result<Snapshot, BackboneError> {
        let room = room.clone();
        self.readers
            .read(move |store| match log::room_id(store, &room)? {
                Some(id) => {
                    Ok(Snapshot { position: log::newest(store, id)?.0, devices: shadows::read_all(store, id)? })
                }
                None => Ok(Snapshot { position: Position::START, devices: Vec::new() }),
            })
            .await
    }

    async fn shadow(
        &self,
        room: &RoomId,
        device: &DeviceName,
    ) -> Result<(Position, Option<DeviceShadow>), BackboneError> {
        let (room, device) = (room.clone(), device.clone());
        self.readers
            .read(move |store| match log::room_id(store, &room)? {
                Some(id) => Ok((log::newest(store, id)?.0, shadows::read_one(store, id, &device)?)),
                None => Ok((Position::START, None)),
            })
            .await
    }

    async fn description(&self, room: &RoomId, device: &DeviceName) -> Result<Option<Description>, BackboneError> {
        let (room, device) = (room.clone(), device.clone());
        self.readers
            .read(move |store| match log::room_id(store, &room)? {
                Some(id) => descriptions::read(store, id, &device),
                None => Ok(None),
            })
            .await
    }

    async fn devices(&self, room: &RoomId) -> Result<Vec<DeviceSummary>, BackboneError> {
        let room = room.clone();
        self.readers
            .read(move |store| match log::room_id(store, &room)? {
                Some(id) => shadows::list(store, id),
                None => Ok(Vec::new()),
            })
            .await
    }

    async fn select(&self, room: &RoomId, wanted: Wanted) -> Result<Selection, BackboneError> {
        let room = room.clone();
        self.readers
            .read(move |store| match log::room_id(store, &room)? {
                Some(id) => {
                    let position = log::newest(store, id)?.0;
                    Ok(Selection { position, devices: shadows::read_some(store, id, &wanted)? })
                }
                None => Ok(Selection { position: Position::START, devices: Some(Vec::new()) }),
            })
            .await
    }

    async fn page(&self, room: &RoomId, wanted: PageWanted) -> Result<DevicePage, BackboneError> {
        let room = room.clone();
        self.readers
            .read(move |store| match log::room_id(store, &room)? {
                Some(id) => shadows::page(store, id, &wanted),
                None => Ok(DevicePage { devices: Vec::new(), more: false }),
            })
            .await
    }

    async fn ledgers(&self, room: &RoomId) -> Result<Vec<(AgentName, Ledger)>, BackboneError> {
        let room = room.clone();
        self.readers
            .read(move |store| match log::room_id(store, &room)? {
                Some(id) => state::ledgers(store, id),
                None => Ok(Vec::new()),
            })
            .await
    }

    async fn append(&self, room: &RoomId, entries: &[NewEntry]) -> Result<(), BackboneError> {
        let bytes = entries.iter().map(|entry| entry.body.len()).sum();
        self.call(bytes, |reply| Request::Append(room.clone(), entries.to_vec(), reply)).await
    }

    async fn attend(&self, room: &RoomId, sheet: &Sheet) -> Result<(), BackboneError> {
        self.call(0, |reply| Request::Attend(room.clone(), sheet.clone(), reply)).await
    }

    async fn present(&self, room: &RoomId) -> Result<Vec<Present>, BackboneError> {
        let room = room.clone();
        Ok(self.readers.read(move |store| attendance::present(store, &room)).await?.present())
    }

    async fn expire_attendance(&self) -> Result<(), BackboneError> {
        self.call(0, Request::ExpireAttendance).await
    }

    async fn book(&self, room: &RoomId, holder: &Holder, ids: &[CommandId]) -> Result<BookRead, BackboneError> {
        let (room, holder, ids, clock) = (room.clone(), holder.clone(), ids.to_vec(), Arc::clone(&self.clock));
        self.readers.read(move |store| commands::book(store, &room, &holder, &ids, clock())).await
    }

    async fn write_book(&self, room: &RoomId, write: &BookWrite) -> Result<BookWritten, BackboneError> {
        // The bytes of a command are bounded, and each makes an entry at most.
        let bytes = (write.commands.len() + write.news.len()) * COMMAND_BYTES;
        self.call(bytes, |reply| Request::WriteBook(room.clone(), write.clone(), reply)).await
    }

    async fn command(&self, room: &RoomId, id: &CommandId) -> Result<Option<Kept>, BackboneError> {
        let (room, id) = (room.clone(), id.clone());
        self.readers.read(move |store| commands::command(store, &room, &id)).await
    }

    async fn commands(&self, room: &RoomId, wanted: &CommandsWanted) -> Result<CommandPage, BackboneError> {
        let (room, wanted) = (room.clone(), wanted.clone());
        self.readers.read(move |store| commands::page(store, &room, &wanted)).await
    }

    async fn overdue(&self, max: usize) -> Result<Vec<(RoomId, Holder)>, BackboneError> {
        let now = (self.clock)();
        self.readers.read(move |store| commands::overdue(store, now, max)).await
    }

    async fn command_feed(&self, room: &RoomId) -> Result<CommandFeed, BackboneError> {
        self.call(0, |reply| Request::FollowCommands(room.clone(), reply)).await
    }

    async fn subscribe(&self, room: &RoomId) -> Result<Feed, BackboneError> {
        let room = room.clone();
        self.call(0, |reply| Request::Subscribe(room, reply)).await
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.health.clone()
    }
}
