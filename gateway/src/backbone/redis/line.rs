//! One connection that is made anew when it breaks, and what Redis's errors mean to those who ask.

use std::sync::Arc;

use redis::{FromRedisValue, Pipeline, RedisError, RedisResult, Value};
use tokio::sync::{Mutex, watch};

use super::connector::{Connection, Connector};
use super::fitness_logic::Wait;
use crate::backbone::{BackboneError, Health};

/// Whether Redis takes writes, as far as anyone has seen.
#[derive(Clone)]
pub(super) struct HealthBoard(watch::Sender<Health>);

impl HealthBoard {
    pub(super) fn new() -> HealthBoard {
        HealthBoard(watch::Sender::new(Health::Up))
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Health> {
        self.0.subscribe()
    }

    pub(super) fn is_up(&self) -> bool {
        *self.0.borrow() == Health::Up
    }

    pub(super) fn up(&self) {
        self.0.send_if_modified(|health| std::mem::replace(health, Health::Up) != Health::Up);
    }

    pub(super) fn down(&self, error: &BackboneError) {
        let down = Health::Down { reason: error.reason().to_owned() };
        self.0.send_if_modified(|health| {
            // Whoever is told once need not hear each variation of it.
            let news = *health == Health::Up;
            *health = down;
            news
        });
    }
}

/// A connection, or the place for one.
pub(super) struct Line {
    connector: Arc<Connector>,
    health: HealthBoard,
    held: Mutex<Option<(u64, Connection)>>,
    made: std::sync::atomic::AtomicU64,
}

impl Line {
    pub(super) fn new(connector: Arc<Connector>, health: HealthBoard) -> Line {
        Line { connector, health, held: Mutex::default(), made: std::sync::atomic::AtomicU64::new(0) }
    }

    pub(super) fn connector(&self) -> &Connector {
        &self.connector
    }

    /// Sends all commands at once and gives back each one's answer. An error says that the connection broke,
    /// or could not be made: then nobody knows what became of the commands.
    pub(super) async fn ask(&self, pipeline: &Pipeline) -> Result<Vec<RedisResult<Value>>, BackboneError> {
        let asked = self.try_ask(pipeline).await;
        if let Err(error) = &asked {
            self.health.down(error);
        }
        asked
    }

    async fn try_ask(&self, pipeline: &Pipeline) -> Result<Vec<RedisResult<Value>>, BackboneError> {
        let (number, mut held) = self.connection().await?;
        match pipeline.query_async(&mut held.connection).await {
            Ok(answers) => Ok(answers),
            Err(error) => {
                self.give_up(number).await;
                Err(meaning(&error))
            }
        }
    }

    /// Asks one thing.
    pub(super) async fn ask_one<T: FromRedisValue>(&self, command: redis::Cmd) -> Result<T, BackboneError> {
        let mut pipeline = Pipeline::with_capacity(1);
        pipeline.add_command(command).ignore_errors();
        let answer = self.ask(&pipeline).await?.pop().unwrap_or(Ok(Value::Nil));
        read(answer)
    }

    /// What writes on the connection that is there now are to be followed by.
    pub(super) async fn wait(&self) -> Result<Wait, BackboneError> {
        Ok(self.connection().await?.1.wait)
    }

    /// Makes the functions known again, where Redis has lost them.
    pub(super) async fn load_functions(&self) -> Result<(), BackboneError> {
        let (_, mut held) = self.connection().await?;
        self.connector.load(&mut held.connection).await.map_err(|error| meaning(&error))
    }

    async fn connection(&self) -> Result<(u64, Connection), BackboneError> {
        let mut held = self.held.lock().await;
        if let Some((number, connection)) = &*held {
            return Ok((*number, connection.clone()));
        }
        let connection = self.connector.connect().await?;
        let number = self.made.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        *held = Some((number, connection.clone()));
        Ok((number, connection))
    }

    /// Lets go of a connection, unless that has been done.
    async fn give_up(&self, number: u64) {
        let mut held = self.held.lock().await;
        if held.as_ref().is_some_and(|(held, _)| *held == number) {
            *held = None;
        }
    }
}

/// An answer as the type that it must be of.
pub(super) fn read<T: FromRedisValue>(answer: RedisResult<Value>) -> Result<T, BackboneError> {
    let value = answer.map_err(|error| meaning(&error))?;
    T::from_redis_value(value)
        .map_err(|error| BackboneError::Damaged { what: format!("Redis answers what nobody asked for: {error}") })
}

/// What one of Redis's errors means to those who asked.
pub(super) fn meaning(error: &RedisError) -> BackboneError {
    let reason = match error.code() {
        Some("OOM") => "Redis has no memory left; raise its maxmemory, or keep less (retention)".to_owned(),
        Some("MISCONF") => "Redis can't save to its disk and refuses writes; see its log".to_owned(),
        Some("READONLY") => "Redis has become a replica; waiting for a master".to_owned(),
        Some("WRONGTYPE") => {
            let what = "another program has written to our keys in Redis".to_owned();
            return BackboneError::Damaged { what };
        }
        _ if error.is_timeout() => "Redis does not answer".to_owned(),
        _ => format!("Redis: {error}"),
    };
    BackboneError::Unavailable { reason }
}
