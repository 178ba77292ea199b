//! What the writer knows of rooms and ledgers, and how a request changes them within the running transaction.
//!
//! All of it is a copy of rows, read when first needed. When a transaction fails, the copies are dropped.

use std::collections::HashMap;
use std::time::Duration;

use lockgate_proto::ids::{AgentId, AgentName, RoomId, SessionId};
use lockgate_proto::ledger::Ledger;
use lockgate_proto::position::Position;
use lockgate_proto::seq::Epoch;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::commands::CommandFeeds;
use super::feeds::Feeds;
use super::shadows::Shadows;
use super::{log, shadows, store};
use crate::backbone::crowds::Crowds;
use crate::backbone::prepare::PreparedEntry;
use crate::backbone::stamps::{RandomFailed, Stamps};
use crate::backbone::{BackboneError, Feed, Opened, Step, Stepped};

/// LIMIT: rooms, and agents, that are kept at hand; beyond, the writer starts afresh and reads those it needs again.
const KEPT_MAX: usize = 20_000;

/// Why the running transaction can't be committed.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    /// SQLite refused.
    #[error(transparent)]
    Sql(#[from] rusqlite::Error),
    /// The file that is written is no longer the one that will be read at the next start.
    #[error("the database file was moved or replaced under the gateway; put it back, or start the gateway anew")]
    Moved,
    /// There are no stamps to give.
    #[error(transparent)]
    Random(#[from] RandomFailed),
}

impl WriteError {
    pub(super) fn meaning(&self) -> BackboneError {
        match self {
            WriteError::Sql(failure) => store::meaning(failure),
            WriteError::Random(_) | WriteError::Moved => BackboneError::Unavailable { reason: self.to_string() },
        }
    }
}

/// A step as the writer takes it.
pub(super) struct StepRequest {
    pub(super) agent: AgentId,
    pub(super) session: SessionId,
    pub(super) n: u64,
    /// The ledger as it is stored.
    pub(super) ledger: Vec<u8>,
    pub(super) entries: Vec<PreparedEntry>,
}

impl StepRequest {
    pub(super) fn new(agent: &AgentId, step: &Step) -> StepRequest {
        StepRequest {
            agent: agent.clone(),
            session: step.session,
            n: step.n,
            ledger: step.ledger.to_bytes(),
            entries: step.entries.iter().map(PreparedEntry::new).collect(),
        }
    }

    /// What the request holds in memory, about.
    pub(super) fn bytes(&self) -> usize {
        self.entries.iter().fold(self.ledger.len(), |sum, entry| sum + entry.rest.len())
    }
}

pub(super) struct OpenRequest {
    pub(super) agent: AgentId,
    pub(super) session: SessionId,
    pub(super) epochs: Vec<Epoch>,
}

#[derive(Clone, Copy)]
struct Room {
    id: i64,
    head: Position,
    bytes_through: i64,
}

#[derive(Clone, Copy)]
struct LedgerRow {
    id: i64,
    session: SessionId,
    step: u64,
}

pub(super) struct State {
    rooms: HashMap<RoomId, Room>,
    ledgers: HashMap<AgentId, LedgerRow>,
    shadows: Shadows,
    pub(super) stamps: Stamps,
    feeds: Feeds,
    pub(super) command_feeds: CommandFeeds,
    crowds: Crowds,
    pub(super) attendance_lease: Duration,
}

impl State {
    pub(super) fn new(stamps: Stamps, attendance_lease: Duration, devices_max: usize) -> State {
        State {
            rooms: HashMap::new(),
            ledgers: HashMap::new(),
            shadows: Shadows::new(devices_max),
            stamps,
            feeds: Feeds::default(),
            command_feeds: CommandFeeds::default(),
            crowds: Crowds::new(devices_max),
            attendance_lease,
        }
    }

    /// Gives the agent's ledger to a new session.
    pub(super) fn open(
        &mut self,
        store: &Connection,
        request: &OpenRequest,
    ) -> Result<Result<Opened, BackboneError>, WriteError> {
        let room = self.room(store, &request.agent.room)?;
        let session = request.session.0.cast_signed();
        let found: Option<(i64, i64, Vec<u8>)> = store
            .prepare_cached("SELECT id, session, ledger FROM ledgers WHERE room = ?1 AND agent = ?2")?
            .query_row(params![room.id, request.agent.agent.as_str()], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .optional()?;
        let stored = found.as_ref().map(|(.., bytes)| Ledger::from_bytes(bytes)).transpose();
        let Ok(stored) = stored else {
            let what = format!("the ledger of {} is not readable", request.agent);
            return Ok(Err(BackboneError::Damaged { what }));
        };
        let mut ledger = stored.unwrap_or_default();
        // A second request for the same session, whose first was not heard of: what it has done stays.
        if found.as_ref().is_some_and(|(_, holder, _)| *holder == session) {
            return Ok(Ok(Opened::Granted(Box::new(ledger))));
        }
        if ledger.open_session(request.session, &request.epochs).is_err() {
            return Ok(Ok(Opened::Superseded));
        }
        let id = if let Some((id, ..)) = found {
            write_ledger(store, id, session, 0, &ledger.to_bytes())?;
            id
        } else {
            store
                .prepare_cached("INSERT INTO ledgers (room, agent, session, step, ledger) VALUES (?1, ?2, ?3, 0, ?4)")?
                .execute(params![room.id, request.agent.agent.as_str(), session, ledger.to_bytes()])?;
            store.last_insert_rowid()
        };
        let row = LedgerRow { id, session: request.session, step: 0 };
        self.ledgers.insert(request.agent.clone(), row);
        Ok(Ok(Opened::Granted(Box::new(ledger))))
    }

    /// Applies a step if it is the next one of the session that writes.
    pub(super) fn step(
        &mut self,
        store: &Connection,
        request: StepRequest,
    ) -> Result<Result<Stepped, BackboneError>, WriteError> {
        let Some(row) = self.ledger_row(store, &request.agent)? else { return Ok(Ok(Stepped::Refused)) };
        let n = request.n;
        if row.session != request.session || n == 0 {
            return Ok(Ok(Stepped::Refused));
        }
        if row.step == n {
            return Ok(Ok(Stepped::Done));
        }
        if row.step.checked_add(1) != Some(n) {
            return Ok(Ok(Stepped::Refused));
        }
        write_ledger(store, row.id, row.session.0.cast_signed(), n.cast_signed(), &request.ledger)?;
        self.ledgers.insert(request.agent.clone(), LedgerRow { step: n, ..row });
        self.append_prepared(store, &request.agent.room, request.entries.into_iter())?;
        Ok(Ok(Stepped::Done))
    }

    /// Adds entries after the newest of a room.
    pub(super) fn append_prepared(
        &mut self,
        store: &Connection,
        room_id: &RoomId,
        entries: impl Iterator<Item = PreparedEntry>,
    ) -> Result<(), WriteError> {
        let mut room = self.room(store, room_id)?;
        let mut appender = log::Appender::new(store)?;
        for entry in entries {
            self.append(&mut appender, store, room_id, &mut room, entry)?;
        }
        if let Some(alarm) = self.crowds.alarm(room_id) {
            self.append(&mut appender, store, room_id, &mut room, PreparedEntry::new(&alarm))?;
        }
        self.rooms.insert(room_id.clone(), room);
        Ok(())
    }

    /// The room's number; its row is made where it is missing.
    pub(super) fn room_row(&mut self, store: &Connection, room: &RoomId) -> Result<i64, WriteError> {
        Ok(self.room(store, room)?.id)
    }

    /// The room's live entries from now on.
    pub(super) fn subscribe(&mut self, store: &Connection, room: &RoomId) -> rusqlite::Result<Feed> {
        let head = match self.rooms.get(room) {
            Some(room) => room.head,
            None => match log::room_id(store, room)? {
                Some(id) => log::newest(store, id)?.0,
                None => Position::START,
            },
        };
        Ok(self.feeds.subscribe(room, head))
    }

    /// Writes what is written once per transaction.
    pub(super) fn before_commit(&mut self, store: &Connection) -> Result<(), WriteError> {
        Ok(self.shadows.write(store)?)
    }

    pub(super) fn committed(&mut self) {
        self.feeds.publish();
        self.command_feeds.publish();
        self.crowds.committed();
        if self.rooms.len() > KEPT_MAX {
            self.rooms.clear();
        }
        if self.ledgers.len() > KEPT_MAX {
            self.ledgers.clear();
        }
    }

    pub(super) fn rolled_back(&mut self) {
        self.feeds.drop_held();
        self.command_feeds.drop_held();
        self.crowds.rolled_back();
        self.rooms.clear();
        self.ledgers.clear();
        self.shadows.forget();
    }

    fn append(
        &mut self,
        appender: &mut log::Appender<'_>,
        store: &Connection,
        room_id: &RoomId,
        room: &mut Room,
        entry: PreparedEntry,
    ) -> Result<(), WriteError> {
        let position = Position { offset: room.head.offset.next(), stamp: self.stamps.draw()? };
        let logged = entry.placed(room.head, position);
        room.head = position;
        room.bytes_through += i64::try_from(logged.bytes.len()).unwrap_or(i64::MAX);
        appender.append(room.id, &logged, entry.received_at.0, room.bytes_through)?;
        self.feeds.hold(room_id, logged);
        if let (Some(mut says), Some(device)) = (entry.says, entry.device) {
            let told = std::mem::take(&mut says.told);
            let (key, received_at) = ((room.id, device), entry.received_at);
            if let Some((_, device)) = self.shadows.tell(store, key, &says.teller(received_at), told)? {
                self.crowds.note(room_id, device, 1, received_at);
            }
        }
        Ok(())
    }

    /// The room as it stands; its row is made where it is missing.
    fn room(&mut self, store: &Connection, room: &RoomId) -> Result<Room, WriteError> {
        if let Some(known) = self.rooms.get(room) {
            return Ok(*known);
        }
        let id = if let Some(id) = log::room_id(store, room)? {
            id
        } else {
            store
                .prepare_cached("INSERT INTO rooms (tenant, site) VALUES (?1, ?2)")?
                .execute([room.tenant.as_str(), room.site.as_str()])?;
            store.last_insert_rowid()
        };
        let (head, bytes_through) = log::newest(store, id)?;
        let known = Room { id, head, bytes_through };
        self.rooms.insert(room.clone(), known);
        Ok(known)
    }

    fn ledger_row(&mut self, store: &Connection, agent: &AgentId) -> Result<Option<LedgerRow>, WriteError> {
        if let Some(known) = self.ledgers.get(agent) {
            return Ok(Some(*known));
        }
        let room = self.room(store, &agent.room)?;
        let found = store
            .prepare_cached("SELECT id, session, step FROM ledgers WHERE room = ?1 AND agent = ?2")?
            .query_row(params![room.id, agent.agent.as_str()], |row| {
                let (session, step): (i64, i64) = (row.get(1)?, row.get(2)?);
                Ok(LedgerRow {
                    id: row.get(0)?,
                    session: SessionId(session.cast_unsigned()),
                    step: step.cast_unsigned(),
                })
            })
            .optional()?;
        if let Some(row) = found {
            self.ledgers.insert(agent.clone(), row);
        }
        Ok(found)
    }
}

fn write_ledger(store: &Connection, id: i64, session: i64, step: i64, ledger: &[u8]) -> rusqlite::Result<()> {
    store
        .prepare_cached("UPDATE ledgers SET session = ?2, step = ?3, ledger = ?4 WHERE id = ?1")?
        .execute(params![id, session, step, ledger])
        .map(drop)
}

/// All ledgers of a room by name of the agent, for readers.
pub(super) fn ledgers(store: &Connection, room: i64) -> rusqlite::Result<Vec<(AgentName, Ledger)>> {
    let ledger = |row: &Row<'_>| {
        let agent = shadows::agent_name(row, 0)?;
        let bytes = row.get_ref(1)?.as_blob().ok();
        let ledger = bytes.and_then(|bytes| Ledger::from_bytes(bytes).ok());
        Ok((agent, ledger.ok_or_else(|| log::damaged(1, "a ledger is not readable"))?))
    };
    store
        .prepare_cached("SELECT agent, ledger FROM ledgers WHERE room = ?1 ORDER BY agent")?
        .query_map([room], ledger)?
        .collect()
}
