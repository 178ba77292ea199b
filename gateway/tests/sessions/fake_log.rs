//! A room's log in memory, whose feed says whatever a test wants, true or not.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use lockgate_gateway::backbone::{
    Backbone, BackboneError, BookRead, BookWrite, BookWritten, CommandFeed, CommandPage, CommandsWanted, DeviceShadow,
    DeviceSummary, EntryKind, Feed, FeedItem, Health, Holder, LogRead, LoggedEntry, NewEntry, Opened, ReadLimit,
    Snapshot, Step, Stepped,
};
use lockgate_proto::attendance::{Present, Sheet};
use lockgate_proto::command::{CommandId, Kept};
use lockgate_proto::description::Description;
use lockgate_proto::ids::{AgentId, AgentName, DeviceName, RoomId, SessionId};
use lockgate_proto::ledger::Ledger;
use lockgate_proto::position::{Offset, Position, Stamp};
use lockgate_proto::seq::Epoch;
use lockgate_proto::wire;
use prost::Message;
use tokio::sync::{broadcast, watch};

/// The stamp of an entry in one of several histories.
fn stamp(history: u64, offset: u64) -> u64 {
    if offset == 0 { 0 } else { (history << 32) | offset }
}

/// The position of an entry in a history.
pub(crate) fn position(history: u64, offset: u64) -> Position {
    Position { offset: Offset(offset), stamp: Stamp(stamp(history, offset)) }
}

/// Linked entries of a history.
pub(crate) fn chain(history: u64, offsets: std::ops::RangeInclusive<u64>) -> Vec<LoggedEntry> {
    let entry = |offset| {
        let (stamp, previous_stamp) = (stamp(history, offset), stamp(history, offset - 1));
        let entry = wire::Entry { offset, stamp, previous_stamp, ..wire::Entry::default() };
        LoggedEntry {
            position: position(history, offset),
            previous: Stamp(previous_stamp),
            device: DeviceName::new("pump").ok(),
            kind: EntryKind::Telemetry,
            bytes: Bytes::from(entry.encode_to_vec()),
        }
    };
    offsets.map(entry).collect()
}

pub(crate) struct FakeLog {
    /// A test and the gateway's tasks share it; held for a copy only.
    entries: Mutex<Vec<LoggedEntry>>,
    feed: broadcast::Sender<FeedItem>,
    health: watch::Sender<Health>,
    reads: AtomicUsize,
}

impl FakeLog {
    pub(crate) fn new(entries: Vec<LoggedEntry>) -> FakeLog {
        let (feed, _) = broadcast::channel(1_024);
        let (health, _) = watch::channel(Health::Up);
        FakeLog { entries: Mutex::new(entries), feed, health, reads: AtomicUsize::new(0) }
    }

    /// What the log has from now on.
    pub(crate) fn set(&self, entries: Vec<LoggedEntry>) {
        *self.entries.lock().expect("nobody panics with the lock") = entries;
    }

    /// What the feed tells now.
    pub(crate) fn tell(&self, entries: Vec<LoggedEntry>) {
        self.feed.send(FeedItem::Entries(entries.into())).expect("a room listens");
    }

    /// How often entries were read so far.
    pub(crate) fn reads(&self) -> usize {
        self.reads.load(Ordering::Relaxed)
    }

    /// Returns when no room listens any more.
    pub(crate) async fn unheard(&self) {
        self.feed.closed().await;
    }

    fn entries(&self) -> Vec<LoggedEntry> {
        self.entries.lock().expect("nobody panics with the lock").clone()
    }
}

fn nothing<T>() -> Result<T, BackboneError> {
    Err(BackboneError::Unavailable { reason: "only a log is here".to_owned() })
}

#[async_trait]
impl Backbone for FakeLog {
    async fn open_session(&self, _: &AgentId, _: SessionId, _: &[Epoch]) -> Result<Opened, BackboneError> {
        nothing()
    }

    async fn step(&self, _: &AgentId, _: &Step) -> Result<Stepped, BackboneError> {
        nothing()
    }

    async fn head(&self, _: &RoomId) -> Result<Position, BackboneError> {
        Ok(self.entries().last().map_or(Position::START, |last| last.position))
    }

    async fn read_after(&self, _: &RoomId, after: Position, limit: ReadLimit) -> Result<LogRead, BackboneError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let entries = self.entries();
        let known = after == Position::START || entries.iter().any(|entry| entry.position == after);
        if !known {
            return Ok(LogRead::Diverged);
        }
        let later = entries.into_iter().filter(|entry| entry.position.offset > after.offset);
        Ok(LogRead::Entries(later.take(limit.entries_max as usize).collect()))
    }

    async fn read_last(&self, _: &RoomId, limit: ReadLimit) -> Result<Vec<LoggedEntry>, BackboneError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let mut entries = self.entries();
        Ok(entries.split_off(entries.len().saturating_sub(limit.entries_max as usize)))
    }

    async fn snapshot(&self, room: &RoomId) -> Result<Snapshot, BackboneError> {
        Ok(Snapshot { position: self.head(room).await?, devices: Vec::new() })
    }

    async fn shadow(&self, _: &RoomId, _: &DeviceName) -> Result<(Position, Option<DeviceShadow>), BackboneError> {
        nothing()
    }

    async fn description(&self, _: &RoomId, _: &DeviceName) -> Result<Option<Description>, BackboneError> {
        nothing()
    }

    async fn devices(&self, _: &RoomId) -> Result<Vec<DeviceSummary>, BackboneError> {
        nothing()
    }

    async fn ledgers(&self, _: &RoomId) -> Result<Vec<(AgentName, Ledger)>, BackboneError> {
        nothing()
    }

    async fn append(&self, _: &RoomId, _: &[NewEntry]) -> Result<(), BackboneError> {
        nothing()
    }

    async fn attend(&self, _: &RoomId, _: &Sheet) -> Result<(), BackboneError> {
        Ok(())
    }

    async fn present(&self, _: &RoomId) -> Result<Vec<Present>, BackboneError> {
        nothing()
    }

    async fn expire_attendance(&self) -> Result<(), BackboneError> {
        Ok(())
    }

    async fn book(&self, _: &RoomId, _: &Holder, _: &[CommandId]) -> Result<BookRead, BackboneError> {
        nothing()
    }

    async fn write_book(&self, _: &RoomId, _: &BookWrite) -> Result<BookWritten, BackboneError> {
        nothing()
    }

    async fn command(&self, _: &RoomId, _: &CommandId) -> Result<Option<Kept>, BackboneError> {
        nothing()
    }

    async fn commands(&self, _: &RoomId, _: &CommandsWanted) -> Result<CommandPage, BackboneError> {
        nothing()
    }

    async fn overdue(&self, _: usize) -> Result<Vec<(RoomId, Holder)>, BackboneError> {
        Ok(Vec::new())
    }

    async fn command_feed(&self, _: &RoomId) -> Result<CommandFeed, BackboneError> {
        nothing()
    }

    async fn subscribe(&self, room: &RoomId) -> Result<Feed, BackboneError> {
        let items = self.feed.subscribe();
        Ok(Feed::new(self.head(room).await?, items))
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }
}
