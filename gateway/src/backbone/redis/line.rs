//! One connection that is made anew when it breaks, and what Redis's errors mean to those who ask.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use redis::{ErrorKind, FromRedisValue, Pipeline, RedisError, RedisResult, ServerErrorKind, Value};
use tokio::sync::{Mutex, watch};

use super::connector::{Connection, Connector};
use super::fitness_logic::Wait;
use super::lane::{Call, answers_to, pipeline};
use super::slots_logic::NodeName;
use crate::backbone::{BackboneError, Health};

/// Whether Redis takes writes, as far as anyone has seen: all of its nodes.
#[derive(Clone)]
pub(super) struct HealthBoard {
    told: watch::Sender<Health>,
    /// Why each node is down that is. Held for a note.
    down: Arc<std::sync::Mutex<BTreeMap<NodeName, String>>>,
    /// Whose part of the board this is.
    node: Option<NodeName>,
}

impl HealthBoard {
    pub(super) fn new() -> HealthBoard {
        HealthBoard { told: watch::Sender::new(Health::Up), down: Arc::default(), node: None }
    }

    /// The part of one node.
    pub(super) fn of_node(&self, node: &NodeName) -> HealthBoard {
        HealthBoard { node: Some(node.clone()), ..self.clone() }
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Health> {
        self.told.subscribe()
    }

    pub(super) fn is_up(&self) -> bool {
        *self.told.borrow() == Health::Up
    }

    pub(super) fn up(&self) {
        self.note(|down, node| {
            down.remove(node);
        });
    }

    pub(super) fn down(&self, error: &BackboneError) {
        self.note(|down, node| {
            down.insert(node.clone(), error.reason().to_owned());
        });
    }

    /// The node belongs to it no more.
    pub(super) fn forget(&self) {
        self.up();
    }

    fn note(&self, change: impl FnOnce(&mut BTreeMap<NodeName, String>, &NodeName)) {
        let Some(node) = &self.node else { return };
        let mut down = self.down.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        change(&mut down, node);
        let now = match down.first_key_value() {
            None => Health::Up,
            Some((node, reason)) if reason.contains(&node.to_string()) => Health::Down { reason: reason.clone() },
            Some((node, reason)) => Health::Down { reason: format!("{reason} ({node})") },
        };
        self.told.send_if_modified(|health| {
            // Whoever is told once need not hear each variation of it.
            let news = (*health == Health::Up) != (now == Health::Up);
            *health = now;
            news
        });
    }
}

/// A connection, or the place for one.
pub(super) struct Line {
    connector: Arc<Connector>,
    health: HealthBoard,
    held: Mutex<Option<Held>>,
    made: AtomicU64,
}

/// A connection that stands.
#[derive(Clone)]
struct Held {
    number: u64,
    /// As [`Connector::doubts`] when it was made.
    doubts: u64,
    connection: Connection,
}

impl Line {
    pub(super) fn new(connector: Arc<Connector>, health: HealthBoard) -> Line {
        Line { connector, health, held: Mutex::default(), made: AtomicU64::new(0) }
    }

    /// Sends commands at once that may run twice, and gives back each one's answer. A connection that turns out
    /// to be broken is made anew for them, once.
    pub(super) async fn ask(
        &self,
        calls: impl Iterator<Item = Call> + Clone,
    ) -> Result<Vec<RedisResult<Value>>, BackboneError> {
        let mut asked = self.try_ask(|_| pipeline(calls.clone())).await;
        if asked.as_ref().is_err_and(AskError::is_broken) {
            asked = self.try_ask(|_| pipeline(calls.clone())).await;
        }
        Ok(answers_to(calls, self.noted(asked)?))
    }

    /// Sends all commands at once and gives back each one's answer. They hang on what writes on this very
    /// connection are to be followed by. An error says that the connection broke, or could not be made: then
    /// nobody knows what became of the commands.
    pub(super) async fn ask_waiting(
        &self,
        commands: impl FnOnce(Wait) -> Pipeline,
    ) -> Result<Vec<RedisResult<Value>>, BackboneError> {
        let asked = self.try_ask(commands).await;
        self.noted(asked)
    }

    fn noted<T>(&self, asked: Result<T, AskError>) -> Result<T, BackboneError> {
        asked.map_err(|error| {
            let error = error.meaning();
            self.health.down(&error);
            error
        })
    }

    async fn try_ask(&self, commands: impl FnOnce(Wait) -> Pipeline) -> Result<Vec<RedisResult<Value>>, AskError> {
        let held = self.held().await.map_err(AskError::NoConnection)?;
        let mut connection = held.connection.connection;
        let answers = commands(held.connection.wait).query_async::<Vec<RedisResult<Value>>>(&mut connection).await;
        match answers {
            Ok(answers) => {
                if answers.iter().any(|answer| answer.as_ref().is_err_and(is_of_no_master)) {
                    self.connector.doubt();
                }
                Ok(answers)
            }
            Err(error) => {
                self.give_up(held.number).await;
                Err(AskError::Broken(error))
            }
        }
    }

    /// Asks one thing that may be asked twice, of this very node.
    pub(super) async fn ask_one<T: FromRedisValue>(&self, command: redis::Cmd) -> Result<T, BackboneError> {
        let answers = self.ask(std::iter::once(Call { command, asking: false })).await;
        read(answers?.pop().unwrap_or(Ok(Value::Nil)))
    }

    /// Looks whether Redis is what it was when the connections to it were made; if not, all are made anew.
    pub(super) async fn judge_anew(&self) -> Result<(), BackboneError> {
        let held = self.held().await?;
        let mut connection = held.connection.connection;
        let judged = self.connector.judge(&mut connection).await;
        if !matches!(&judged, Ok(wait) if *wait == held.connection.wait) {
            self.connector.doubt();
        }
        judged.map(drop).map_err(BackboneError::from)
    }

    /// Makes the functions known again, where Redis has lost them.
    pub(super) async fn load_functions(&self) -> Result<(), BackboneError> {
        let mut connection = self.held().await?.connection.connection;
        self.connector.load(&mut connection).await.map_err(|error| meaning(&error))
    }

    async fn held(&self) -> Result<Held, BackboneError> {
        let mut place = self.held.lock().await;
        let doubts = self.connector.doubts();
        if let Some(held) = place.as_ref().filter(|held| held.doubts == doubts) {
            return Ok(held.clone());
        }
        *place = None;
        let connection = self.connector.connect().await?;
        let held = Held { number: self.made.fetch_add(1, Ordering::Relaxed), doubts, connection };
        *place = Some(held.clone());
        Ok(held)
    }

    /// Lets go of a connection, unless that has been done.
    async fn give_up(&self, number: u64) {
        let mut place = self.held.lock().await;
        if place.as_ref().is_some_and(|held| held.number == number) {
            *place = None;
        }
    }
}

/// Why there are no answers.
enum AskError {
    NoConnection(BackboneError),
    Broken(RedisError),
}

impl AskError {
    fn is_broken(&self) -> bool {
        matches!(self, AskError::Broken(error) if error.is_connection_dropped())
    }

    fn meaning(&self) -> BackboneError {
        match self {
            AskError::NoConnection(error) => error.clone(),
            AskError::Broken(error) => meaning(error),
        }
    }
}

/// Whether an error says that there is no master at the other end, or not the one that was there.
fn is_of_no_master(error: &RedisError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown | ServerErrorKind::BusyLoading)
    )
}

/// Whether an error says something of the store, and not of a room alone or of who was asked.
pub(super) fn is_of_store(error: &RedisError) -> bool {
    let of_room = matches!(
        error.kind(),
        ErrorKind::Server(ServerErrorKind::Moved | ServerErrorKind::Ask | ServerErrorKind::TryAgain)
    );
    !of_room && meaning(error).may_retry()
}

/// Whether an error says that Redis does not have our functions: nothing was done then.
pub(super) fn is_function_missing(error: &RedisError) -> bool {
    error.to_string().contains("Function not found")
}

/// An answer as the type that it must be of.
pub(super) fn read<T: FromRedisValue>(answer: RedisResult<Value>) -> Result<T, BackboneError> {
    let value = answer.map_err(|error| meaning(&error))?;
    T::from_redis_value(value)
        .map_err(|error| BackboneError::Damaged { what: format!("Redis answers what nobody asked for: {error}") })
}

/// What one of Redis's errors means to those who asked.
pub(super) fn meaning(error: &RedisError) -> BackboneError {
    let text = error.to_string();
    let reason = match error.code() {
        Some("OOM") => "Redis has no memory left; raise its maxmemory, or keep less (retention)".to_owned(),
        Some("MISCONF") => "Redis can't save to its disk and refuses writes; see its log".to_owned(),
        Some("READONLY") => "Redis has become a replica; waiting for a master".to_owned(),
        Some("TRYAGAIN") => "the room is on its way to another node of the cluster".to_owned(),
        Some("WRONGTYPE") => return foreign(&text),
        // Our functions read before they write, and fail only over what they did not write.
        _ if text.contains("@user_function") => return foreign(&text),
        _ if error.is_timeout() => "Redis does not answer".to_owned(),
        _ => format!("Redis: {text}"),
    };
    BackboneError::Unavailable { reason }
}

fn foreign(text: &str) -> BackboneError {
    BackboneError::Damaged { what: format!("another program has changed our keys in Redis: {text}") }
}
