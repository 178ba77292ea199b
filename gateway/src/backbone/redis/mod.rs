//! The engine on Redis: any number of gateways on one store.
//!
//! ```text
//! step, open_session → the room's node → a lane (many share a round trip) → function, atomic → answer
//!                                                            └→ log, shadows, ledger, and the live channel
//! subscribe → sharded Pub/Sub ──┐
//! reads ────→ one connection ───┴→ whatever Pub/Sub loses is in the log
//! ```
//!
//! Offsets are given, and steps compared and set, by functions that Redis runs one at a time. A step's entries
//! are one item of the log and one message: Redis does the same work for one entry and for a thousand.

mod attendance;
mod block_logic;
mod commands;
mod connector;
mod descriptions;
mod fitness_logic;
mod instances;
mod keys;
mod lane;
mod library;
mod line;
mod live;
mod log;
mod news_logic;
mod nodes;
mod options;
mod shadows;
mod slots_logic;
mod upkeep;

#[cfg(test)]
mod tests;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use lockgate_proto::attendance::{Present, Sheet};
use lockgate_proto::command::{CommandId, Kept};
use lockgate_proto::description::Description;
use lockgate_proto::ids::{AgentId, AgentName, DeviceName, RoomId, SessionId};
use lockgate_proto::ledger::Ledger;
use lockgate_proto::position::{Position, Stamp};
use lockgate_proto::seq::Epoch;
use lockgate_runtime::Supervisor;
use redis::{Cmd, Value, cmd};
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::warn;

use super::crowds::Crowds;
use super::prepare::PreparedEntry;
use super::stamps::Stamps;
use super::{
    Backbone, BackboneError, BookRead, BookWrite, BookWritten, CommandFeed, CommandPage, CommandsWanted, DeviceShadow,
    DeviceSummary, Feed, Health, Holder, Instance, LogRead, LoggedEntry, NewEntry, Opened, ReadLimit, Snapshot, Step,
    Stepped,
};
use crate::metrics::Counter;
use connector::Settings;
use keys::RoomKeys;
use library::{Function, Library};
use line::HealthBoard;
use nodes::Nodes;
use upkeep::Upkeep;

pub use connector::ConnectError;
pub use options::{Durability, RedisOptions};

/// Bytes in front of a stored ledger: session, claim, step.
const LEDGER_MARK_BYTES: usize = 24;

/// What an entry has beside its rest, at most, up to the 4,398,046,511,104th of a room.
const PLACE_BYTES: usize = 25;

/// Tries to open a session while others do; each failure means that another one has succeeded.
const OPEN_TRIES: usize = 16;

/// A handle; cheap to clone.
#[derive(Clone)]
pub struct RedisBackbone {
    shared: Arc<Shared>,
}

struct Shared {
    library: Library,
    nodes: Arc<Nodes>,
    health: HealthBoard,
    /// Held for a draw.
    stamps: Mutex<Stamps>,
    attendance_lease: Duration,
    devices_per_room_max: usize,
    /// Held for a look.
    crowds: Mutex<Crowds>,
    upkeep: Upkeep,
    /// When rooms in which commands wait were last searched for; held for a look.
    searched: tokio::sync::Mutex<Option<Instant>>,
}

impl RedisBackbone {
    /// Starts the engine's tasks under `supervisor`. A Redis that can't be reached may come later; one that is
    /// not fit for use is an error.
    pub async fn open(options: RedisOptions, supervisor: &Supervisor) -> Result<RedisBackbone, ConnectError> {
        let health = HealthBoard::new();
        let settings = Settings::new(&options)?;
        let library = settings.library.clone();
        let nodes = Arc::new(Nodes::open(settings, health.clone(), supervisor).await?);
        let upkeep = Upkeep::new(Arc::clone(&nodes), health.clone(), &options);
        let runner = upkeep.clone();
        supervisor.spawn("backbone upkeep", |stop| async move {
            runner.run(stop).await;
            Ok(())
        });
        let shared = Shared {
            library,
            nodes,
            health,
            stamps: Mutex::new(Stamps::new(options.random)),
            attendance_lease: options.attendance_lease,
            devices_per_room_max: options.devices_per_room_max,
            crowds: Mutex::new(Crowds::new(options.devices_per_room_max)),
            upkeep,
            searched: tokio::sync::Mutex::default(),
        };
        Ok(RedisBackbone { shared: Arc::new(shared) })
    }

    /// Drops all that retention wants dropped, now.
    pub async fn maintain(&self) -> Result<(), BackboneError> {
        self.shared.upkeep.trim_all().await
    }

    /// Has a write done. `writer`: writes of the same one keep their order.
    async fn write(&self, writer: &impl Hash, keys: &RoomKeys, call: Cmd) -> Result<Value, BackboneError> {
        let mut lane = DefaultHasher::new();
        writer.hash(&mut lane);
        let answer = self.shared.nodes.write(keys, lane.finish(), call).await;
        answer.map_err(|error| match error {
            BackboneError::Damaged { what } => BackboneError::Damaged { what: format!("{what} (in {keys}*)") },
            unavailable @ BackboneError::Unavailable { .. } => unavailable,
        })
    }

    fn call(&self, function: Function, keys: &[String]) -> Cmd {
        let mut call = cmd("FCALL");
        call.arg(self.shared.library.name_of(function)).arg(keys.len()).arg(keys);
        call
    }

    fn draw_stamps(&self, count: usize) -> Result<Vec<Stamp>, BackboneError> {
        let mut stamps = self.shared.stamps.lock().unwrap_or_else(PoisonError::into_inner);
        let drawn: Result<Vec<_>, _> = (0..count).map(|_| stamps.draw()).collect();
        drawn.map_err(|error| BackboneError::Unavailable { reason: error.to_string() })
    }

    /// The ledger as it is stored; empty where there is none.
    async fn stored_ledger(&self, keys: &RoomKeys, agent: &AgentName) -> Result<Vec<u8>, BackboneError> {
        let asked = cmd("HGET").arg(keys.ledgers()).arg(agent.as_str()).take();
        let stored: Option<Vec<u8>> = self.shared.nodes.ask_one(keys, asked).await?;
        Ok(stored.unwrap_or_default())
    }

    fn step_call(&self, agent: &AgentId, step: &Step) -> Result<Cmd, BackboneError> {
        let keys = RoomKeys::new(&agent.room);
        let entries: Vec<PreparedEntry> = step.entries.iter().map(PreparedEntry::new).collect();
        let tellings = shadows::tellings(&entries);
        let mut names = vec![keys.ledgers(), keys.head(), keys.log(), keys.devices()];
        names.extend(tellings.iter().map(|telling| keys.shadow(&telling.device)));
        if tellings.iter().any(|telling| telling.shadow.described.is_some()) {
            names.extend([keys.described(), keys.descriptions()]);
        }
        let ledger = mark(&step.ledger);
        let mut call = self.call(Function::Step, &names);
        call.arg(agent.agent.as_str()).arg(&ledger[..16]).arg(&(step.n - 1).to_be_bytes()).arg(&step.n.to_be_bytes());
        call.arg(step.ledger.to_bytes());
        self.entry_args(&mut call, &keys, &entries)?;
        call.arg(self.shared.devices_per_room_max).arg(tellings.len());
        for telling in &tellings {
            for arg in telling.args() {
                call.arg(&arg[..]);
            }
        }
        Ok(call)
    }

    /// What the functions that give entries their places are told of them.
    fn entry_args(&self, call: &mut Cmd, keys: &RoomKeys, entries: &[PreparedEntry]) -> Result<(), BackboneError> {
        let stamps = self.draw_stamps(entries.len())?;
        call.arg(entries.len()).arg(&stamps.last().map_or(0, |stamp| stamp.0).to_be_bytes());
        call.arg(entries.iter().map(|entry| entry.received_at.0).max().unwrap_or(0));
        call.arg(entries.iter().map(|entry| PLACE_BYTES + entry.rest.len()).sum::<usize>());
        call.arg(block_logic::encode(entries, &stamps)).arg(keys.live());
        Ok(())
    }

    /// A step has been applied, and there is no shadow for some of its devices: the room is told, once.
    async fn crowded(&self, room: &RoomId, step: &Step, crowd: &[Value]) {
        let [_, Value::Int(left_out), Value::BulkString(first)] = crowd else { return };
        let first = std::str::from_utf8(first).ok().and_then(|first| DeviceName::new(first).ok());
        let at = step.entries.first().map(|entry| entry.received_at);
        let (Some(first), Some(at)) = (first, at) else { return };
        let alarm = {
            let mut crowds = self.shared.crowds.lock().unwrap_or_else(PoisonError::into_inner);
            crowds.note(room, first, u64::try_from(*left_out).unwrap_or(0), at);
            let alarm = crowds.alarm(room);
            crowds.committed();
            alarm
        };
        let Some(alarm) = alarm else { return };
        if let Err(error) = self.append(room, &[alarm]).await {
            warn!(%room, %error, "The room could not be told that it has too many devices.");
        }
    }

    async fn shadows(
        &self,
        keys: &RoomKeys,
        rows: Vec<(DeviceName, shadows::DeviceRow)>,
    ) -> Result<Vec<DeviceShadow>, BackboneError> {
        shadows::read(&self.shared.nodes, keys, rows).await
    }
}

/// Session, claim and step, as they stand in front of a stored ledger.
fn mark(ledger: &Ledger) -> [u8; LEDGER_MARK_BYTES] {
    let (session, claim, step) = ledger.mark();
    let mut bytes = [0; LEDGER_MARK_BYTES];
    for (place, number) in bytes.chunks_mut(8).zip([session, claim, step]) {
        place.copy_from_slice(&number.to_be_bytes());
    }
    bytes
}

fn stored(ledger: &Ledger) -> Vec<u8> {
    [&mark(ledger)[..], &ledger.to_bytes()].concat()
}

fn ledger_from(agent: &AgentName, stored: &[u8]) -> Result<Ledger, BackboneError> {
    let ledger = stored.get(LEDGER_MARK_BYTES..).and_then(|bytes| Ledger::from_bytes(bytes).ok());
    ledger.ok_or_else(|| BackboneError::Damaged { what: format!("the ledger of {agent} is not readable") })
}

/// Whether a function says that it has done what it was asked for.
fn is_done(answer: &Value) -> bool {
    match answer {
        Value::BulkString(word) => word == b"done",
        Value::Array(said) => said.first().is_some_and(is_done),
        _ => false,
    }
}

#[async_trait]
impl Backbone for RedisBackbone {
    async fn open_session(
        &self,
        agent: &AgentId,
        session: SessionId,
        epochs: &[Epoch],
    ) -> Result<Opened, BackboneError> {
        let keys = RoomKeys::new(&agent.room);
        for _ in 0..OPEN_TRIES {
            let seen = self.stored_ledger(&keys, &agent.agent).await?;
            let mut ledger = if seen.is_empty() { Ledger::new() } else { ledger_from(&agent.agent, &seen)? };
            // A second request for the same session, whose first was not heard of: what it has done stays, and
            // is written once more only to be waited for.
            let is_repeat = ledger.session() == Some(session);
            if !is_repeat && ledger.open_session(session, epochs).is_err() {
                return Ok(Opened::Superseded);
            }
            let new = if is_repeat { seen.clone() } else { stored(&ledger) };
            let mut call = self.call(Function::Open, &[keys.ledgers()]);
            call.arg(agent.agent.as_str()).arg(seen).arg(new);
            if is_done(&self.write(agent, &keys, call).await?) {
                return Ok(Opened::Granted(Box::new(ledger)));
            }
        }
        Err(BackboneError::Unavailable { reason: "too many sessions of one agent at once".to_owned() })
    }

    async fn step(&self, agent: &AgentId, step: &Step) -> Result<Stepped, BackboneError> {
        if step.n == 0 {
            return Ok(Stepped::Refused);
        }
        let call = self.step_call(agent, step)?;
        let answer = self.write(agent, &RoomKeys::new(&agent.room), call).await?;
        if let Value::Array(crowd) = &answer {
            self.crowded(&agent.room, step, crowd).await;
        }
        Ok(if is_done(&answer) { Stepped::Done } else { Stepped::Refused })
    }

    async fn head(&self, room: &RoomId) -> Result<Position, BackboneError> {
        log::head(&self.shared.nodes, &RoomKeys::new(room)).await
    }

    async fn read_after(&self, room: &RoomId, after: Position, limit: ReadLimit) -> Result<LogRead, BackboneError> {
        Counter::LogReads.tick();
        log::read_after(&self.shared.nodes, &RoomKeys::new(room), after, limit).await
    }

    async fn read_last(&self, room: &RoomId, limit: ReadLimit) -> Result<Vec<LoggedEntry>, BackboneError> {
        Counter::LogReads.tick();
        log::read_last(&self.shared.nodes, &RoomKeys::new(room), limit).await
    }

    async fn snapshot(&self, room: &RoomId) -> Result<Snapshot, BackboneError> {
        let keys = RoomKeys::new(room);
        // In this order: what is stored meanwhile makes the shadows newer than the position, never older.
        let position = log::head(&self.shared.nodes, &keys).await?;
        let rows = shadows::rows(&self.shared.nodes, &keys).await?;
        Ok(Snapshot { position, devices: self.shadows(&keys, rows).await? })
    }

    async fn shadow(
        &self,
        room: &RoomId,
        device: &DeviceName,
    ) -> Result<(Position, Option<DeviceShadow>), BackboneError> {
        let keys = RoomKeys::new(room);
        let position = log::head(&self.shared.nodes, &keys).await?;
        let row = shadows::row(&self.shared.nodes, &keys, device).await?;
        let rows = row.map(|row| (device.clone(), row)).into_iter().collect();
        Ok((position, self.shadows(&keys, rows).await?.pop()))
    }

    async fn description(&self, room: &RoomId, device: &DeviceName) -> Result<Option<Description>, BackboneError> {
        descriptions::read(&self.shared.nodes, &RoomKeys::new(room), device).await
    }

    async fn devices(&self, room: &RoomId) -> Result<Vec<DeviceSummary>, BackboneError> {
        shadows::list(&self.shared.nodes, &RoomKeys::new(room)).await
    }

    async fn ledgers(&self, room: &RoomId) -> Result<Vec<(AgentName, Ledger)>, BackboneError> {
        let keys = RoomKeys::new(room);
        let asked = cmd("HGETALL").arg(keys.ledgers()).take();
        let stored: Vec<(String, Vec<u8>)> = self.shared.nodes.ask_one(&keys, asked).await?;
        let ledger = |(agent, stored): (String, Vec<u8>)| {
            let agent = AgentName::new(&agent)
                .map_err(|_| BackboneError::Damaged { what: "an agent has no name".to_owned() })?;
            let ledger = ledger_from(&agent, &stored)?;
            Ok((agent, ledger))
        };
        let mut ledgers = stored.into_iter().map(ledger).collect::<Result<Vec<_>, BackboneError>>()?;
        ledgers.sort_by(|left, right| left.0.cmp(&right.0));
        Ok(ledgers)
    }

    async fn append(&self, room: &RoomId, entries: &[NewEntry]) -> Result<(), BackboneError> {
        let entries: Vec<PreparedEntry> = entries.iter().map(PreparedEntry::new).collect();
        self.append_to(&RoomKeys::new(room), &entries).await
    }

    async fn attend(&self, room: &RoomId, sheet: &Sheet) -> Result<(), BackboneError> {
        self.attend_in(&RoomKeys::new(room), sheet).await
    }

    async fn present(&self, room: &RoomId) -> Result<Vec<Present>, BackboneError> {
        Ok(self.attendance(&RoomKeys::new(room)).await?.book.present())
    }

    async fn expire_attendance(&self) -> Result<(), BackboneError> {
        self.expire_all_attendance().await
    }

    async fn book(&self, room: &RoomId, holder: &Holder, ids: &[CommandId]) -> Result<BookRead, BackboneError> {
        self.read_book(&RoomKeys::new(room), holder, ids).await
    }

    async fn write_book(&self, room: &RoomId, write: &BookWrite) -> Result<BookWritten, BackboneError> {
        self.write_books(&RoomKeys::new(room), write).await
    }

    async fn command(&self, room: &RoomId, id: &CommandId) -> Result<Option<Kept>, BackboneError> {
        self.read_command(&RoomKeys::new(room), id).await
    }

    async fn commands(&self, room: &RoomId, wanted: &CommandsWanted) -> Result<CommandPage, BackboneError> {
        self.read_history(&RoomKeys::new(room), wanted).await
    }

    async fn overdue(&self, max: usize) -> Result<Vec<(RoomId, Holder)>, BackboneError> {
        self.find_overdue(max).await
    }

    async fn command_feed(&self, room: &RoomId) -> Result<CommandFeed, BackboneError> {
        Ok(CommandFeed::new(self.shared.nodes.listen_to_commands(&RoomKeys::new(room)).await?))
    }

    async fn announce(&self, instance: &Instance, lease: Duration) -> Result<(), BackboneError> {
        instances::announce(&self.shared.nodes, instance, lease).await
    }

    async fn instances(&self) -> Result<Vec<Instance>, BackboneError> {
        instances::read_all(&self.shared.nodes).await
    }

    async fn subscribe(&self, room: &RoomId) -> Result<Feed, BackboneError> {
        let items = self.shared.nodes.listen(&RoomKeys::new(room)).await?;
        // Read after the subscription stands: what is not behind this position comes through the feed.
        Ok(Feed::new(self.head(room).await?, items))
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.shared.health.subscribe()
    }
}
