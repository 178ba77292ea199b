//! What joins gateways and remembers: logs, live fan-out, shadows, ledgers. One trait, any engine.
//!
//! An engine keeps five promises, and the conformance suite tries to break each of them on every engine:
//!
//! * A **step** is one atomic write: ledger, log entries, shadows, publication. It is applied only where the
//!   ledger stands at (session, n-1); a repeat of the last one answers [`Stepped::Done`] and changes nothing.
//! * What was answered has reached the configured durability. An error leaves open whether the step was
//!   applied: asking the same again is always safe.
//! * A room's **log** has offsets without holes; each entry carries a random stamp and its predecessor's. An
//!   engine whose store went back and grew anew gives other stamps, so that everyone can see it.
//! * A **feed** carries what was committed, in the order of the log, after the commit, or says that it lagged.
//! * A **snapshot**'s position is never newer than its shadows.
//! * Who is in a room is one **book** of all instances' sheets: each coming and each leaving is one entry.
//! * The **commands** of an agent are a book as well: it is written as a whole, with the entries that tell of it, and
//!   only if it is still as it was read.

mod commands;
mod crowds;
pub mod embedded;
mod feed;
mod prepare;
pub mod redis;
mod selection;
pub(crate) mod shadow_logic;
mod stamps;
mod tags_logic;
mod types;

#[cfg(test)]
pub mod conformance;

use std::convert::Infallible;
use std::time::Duration;

use async_trait::async_trait;
use lockgate_proto::attendance::{Present, Sheet};
use lockgate_proto::command::{CommandId, Kept};
use lockgate_proto::description::Description;
use lockgate_proto::ids::{AgentId, AgentName, DeviceName, RoomId, SessionId, Tag};
use lockgate_proto::ledger::Ledger;
use lockgate_proto::position::Position;
use lockgate_proto::seq::Epoch;
use tokio::sync::watch;

pub use commands::{
    BookRead, BookVersion, BookWrite, BookWritten, CommandFeed, CommandFeedItem, CommandNews, CommandPage,
    CommandsWanted, HistoryPlace, Holder, StateWanted,
};
pub use feed::{Feed, FeedItem};
pub use lockgate_proto::entry::EntryKind;
pub use lockgate_proto::link::gateway::{NewEntry, ShadowUpdate, Step};
pub use selection::{DevicePage, DeviceTest, MetricTest, PageWanted, Selection, Wanted};
pub use stamps::{Random, RandomFailed};
pub use types::{
    BackboneError, Clock, DeviceShadow, DeviceSummary, Health, Instance, LogRead, LoggedEntry, Opened, ReadLimit,
    ReadingOrder, Retention, ShadowMetric, Snapshot, Stepped,
};

/// One engine. Any number of gateways may share one, as far as the engine itself can be shared.
#[async_trait]
pub trait Backbone: Send + Sync + 'static {
    /// Gives the agent's ledger to a new session; every older session's steps are refused from now on.
    ///
    /// `epochs` are those that the agent holds, the current one last.
    async fn open_session(
        &self,
        agent: &AgentId,
        session: SessionId,
        epochs: &[Epoch],
    ) -> Result<Opened, BackboneError>;

    /// Applies the session's step number `n`, counted from 1, or refuses it. All of it or nothing.
    async fn step(&self, agent: &AgentId, step: &Step) -> Result<Stepped, BackboneError>;

    /// The newest entry of the room; [`Position::START`] where there is none.
    async fn head(&self, room: &RoomId) -> Result<Position, BackboneError>;

    /// The entries that follow a position, oldest first.
    async fn read_after(&self, room: &RoomId, after: Position, limit: ReadLimit) -> Result<LogRead, BackboneError>;

    /// The newest `count` entries, oldest first; never more than fit in the limit.
    async fn read_last(&self, room: &RoomId, limit: ReadLimit) -> Result<Vec<LoggedEntry>, BackboneError>;

    /// The shadows of all devices, and a position of which they know everything.
    async fn snapshot(&self, room: &RoomId) -> Result<Snapshot, BackboneError>;

    /// One device's shadow, and a position as in [`Backbone::snapshot`]; `None` where the device is not known.
    async fn shadow(
        &self,
        room: &RoomId,
        device: &DeviceName,
    ) -> Result<(Position, Option<DeviceShadow>), BackboneError>;

    /// What a device was last described as; `None` where it never was.
    async fn description(&self, room: &RoomId, device: &DeviceName) -> Result<Option<Description>, BackboneError>;

    /// The devices of the room, by name.
    async fn devices(&self, room: &RoomId) -> Result<Vec<DeviceSummary>, BackboneError>;

    /// The shadows of some devices, and a position as in [`Backbone::snapshot`]. An engine that can does not read
    /// what is not wanted, and no more than is.
    async fn select(&self, room: &RoomId, wanted: Wanted) -> Result<Selection, BackboneError> {
        let Snapshot { position, devices } = self.snapshot(room).await?;
        let devices = devices.into_iter().filter(|shadow| wanted.devices.holds(&shadow.device));
        let Ok(devices) = wanted.take(devices.map(Ok::<_, Infallible>));
        Ok(Selection { position, devices })
    }

    /// A part of the list of devices. An engine that can does not read the rest.
    async fn page(&self, room: &RoomId, wanted: PageWanted) -> Result<DevicePage, BackboneError> {
        let devices = self.devices(room).await?;
        let Ok(page) = wanted.take(devices.into_iter().map(Ok::<_, Infallible>));
        Ok(page)
    }

    /// The names of the devices that have a tag, in order.
    async fn tagged(&self, room: &RoomId, tag: &Tag) -> Result<Vec<DeviceName>, BackboneError> {
        let tag = Some(tag.clone());
        let wanted = PageWanted { devices: DeviceTest::all(), tag, after: None, count_max: usize::MAX };
        Ok(self.page(room, wanted).await?.devices.into_iter().map(|summary| summary.device).collect())
    }

    /// The ledgers of the room's agents, by name: what was stored, what is lost, what is still to come.
    async fn ledgers(&self, room: &RoomId) -> Result<Vec<(AgentName, Ledger)>, BackboneError>;

    /// Adds entries that are made of no agent's record. After an error they may be there or not.
    async fn append(&self, room: &RoomId, entries: &[NewEntry]) -> Result<(), BackboneError>;

    /// Says who is in a room at one instance. Who comes or leaves by that, over all instances, becomes entries.
    async fn attend(&self, room: &RoomId, sheet: &Sheet) -> Result<(), BackboneError>;

    /// Who is in the room, at all instances.
    async fn present(&self, room: &RoomId) -> Result<Vec<Present>, BackboneError>;

    /// Gives up, in all rooms, what instances said that are heard of no more.
    async fn expire_attendance(&self) -> Result<(), BackboneError>;

    /// What the book says: its mark, its open commands, and `ids`, wherever they stand.
    async fn book(&self, room: &RoomId, holder: &Holder, ids: &[CommandId]) -> Result<BookRead, BackboneError>;

    /// Writes what became of books, the room's entries with it, if none of them has changed since it was read.
    async fn write_book(&self, room: &RoomId, write: &BookWrite) -> Result<BookWritten, BackboneError>;

    /// One command; `None` where there never was one of this id, or it was forgotten.
    async fn command(&self, room: &RoomId, id: &CommandId) -> Result<Option<Kept>, BackboneError>;

    /// The commands of the room, the newest first.
    async fn commands(&self, room: &RoomId, wanted: &CommandsWanted) -> Result<CommandPage, BackboneError>;

    /// Books of any room in which a command waits whose deadline has passed, `max` at most.
    async fn overdue(&self, max: usize) -> Result<Vec<(RoomId, Holder)>, BackboneError>;

    /// What changes in the room's books from now on.
    async fn command_feed(&self, room: &RoomId) -> Result<CommandFeed, BackboneError>;

    /// Says that an instance is there, for so long; without a lease, that it is there no more.
    async fn announce(&self, _instance: &Instance, _lease: Duration) -> Result<(), BackboneError> {
        Ok(())
    }

    /// The instances that are there. An engine that only one gateway can use knows of none.
    async fn instances(&self) -> Result<Vec<Instance>, BackboneError> {
        Ok(Vec::new())
    }

    /// Everything that is committed after [`Feed::start`].
    async fn subscribe(&self, room: &RoomId) -> Result<Feed, BackboneError>;

    /// Whether the store takes writes, now and from now on.
    fn health(&self) -> watch::Receiver<Health>;
}
