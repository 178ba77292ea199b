//! What is done without anyone's asking: dropping old entries, and looking whether Redis is there again.

use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, Pipeline, RedisResult, Value, cmd};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::keys::{self, PROBE, log_keys};
use super::lane::durable;
use super::library::Function;
use super::line::{HealthBoard, Line, is_function_missing, read};
use super::options::RedisOptions;
use crate::backbone::{BackboneError, Clock, Retention};

/// Redis is asked so often what it is like, and to take a write.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// How long a probe's key lives: nobody reads it.
const PROBE_LIFE_SECONDS: u64 = 60;

/// Steps of a log that one call drops; others have their turn between two.
const SLICE_STEPS: usize = 32;

/// Keys that one round trip of a search passes by.
const SEARCH_STRIDE: usize = 1_000;

/// See the module.
#[derive(Clone)]
pub(super) struct Upkeep {
    line: Arc<Line>,
    health: HealthBoard,
    retention: Retention,
    maintenance_interval: Duration,
    clock: Clock,
}

impl Upkeep {
    pub(super) fn new(line: Arc<Line>, health: HealthBoard, options: &RedisOptions) -> Upkeep {
        let (retention, maintenance_interval) = (options.retention, options.maintenance_interval);
        Upkeep { line, health, retention, maintenance_interval, clock: Arc::clone(&options.clock) }
    }

    /// Works until the gateway stops.
    pub(super) async fn run(self, stop: CancellationToken) {
        let mut tick = interval(PROBE_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut trim_at = Instant::now() + self.maintenance_interval;
        while stop.run_until_cancelled(tick.tick()).await.is_some() {
            self.probe().await;
            if trim_at <= Instant::now() {
                // Also while writes are refused: it may be for want of the memory that this frees.
                // Others trim as well; that one is cut off by the end of the process harms nobody.
                match stop.run_until_cancelled(self.trim_all()).await {
                    Some(Ok(())) => {}
                    Some(Err(error)) if self.health.is_up() => {
                        warn!(%error, "Cannot drop old entries; trying again.");
                    }
                    Some(Err(error)) => debug!(%error, "Cannot drop old entries; trying again."),
                    None => return,
                }
                trim_at = Instant::now() + self.maintenance_interval;
            }
        }
    }

    /// Notes when Redis goes away, is set up or placed differently, and when it takes writes again.
    async fn probe(&self) {
        match self.try_probe().await {
            Ok(()) => self.health.up(),
            Err(error) => self.health.down(&error),
        }
    }

    async fn try_probe(&self) -> Result<(), BackboneError> {
        self.line.judge_anew().await?;
        let write = cmd("SET").arg(PROBE).arg(1).arg("EX").arg(PROBE_LIFE_SECONDS).take();
        let answer = durable(&self.line, std::iter::once(&write)).await?.pop().unwrap_or(Ok(Value::Nil));
        read::<Value>(answer).map(drop)
    }

    /// Drops all that retention wants dropped, in all rooms: nobody may be in them any more.
    pub(super) async fn trim_all(&self) -> Result<(), BackboneError> {
        if self.retention == Retention::default() {
            return Ok(());
        }
        let mut cursor = Some(0);
        while let Some(at) = cursor {
            let (next, logs) = search(&self.line, at, &log_keys()).await?;
            for log in logs {
                self.trim(&log).await?;
            }
            cursor = next;
        }
        Ok(())
    }

    async fn trim(&self, log: &str) -> Result<(), BackboneError> {
        let Some(head) = keys::head_of(log) else { return Ok(()) };
        let age = self.retention.age.map(|age| i64::try_from(age.as_micros()).unwrap_or(i64::MAX));
        let horizon = age.map(|age| (self.clock)().offset_by(age.saturating_neg()).0.to_string());
        let most = self.retention.room_bytes_max.map(|bytes| bytes.to_string());
        loop {
            let mut call = cmd("FCALL");
            call.arg(self.line.connector().library.name_of(Function::Trim)).arg(2).arg(&head).arg(log);
            call.arg(horizon.as_deref().unwrap_or("")).arg(most.as_deref().unwrap_or("")).arg(SLICE_STEPS);
            let answer = match self.call(&call).await? {
                Err(error) if is_function_missing(&error) => {
                    self.line.load_functions().await?;
                    self.call(&call).await?
                }
                answer => answer,
            };
            if read::<u32>(answer)? == 0 {
                return Ok(());
            }
        }
    }

    async fn call(&self, call: &Cmd) -> Result<RedisResult<Value>, BackboneError> {
        let mut pipeline = Pipeline::with_capacity(1);
        pipeline.add_command(call.clone()).ignore_errors();
        Ok(self.line.ask(&pipeline).await?.pop().unwrap_or(Ok(Value::Nil)))
    }
}

/// The next keys of a kind, and where to go on; `None`: that was all.
pub(super) async fn search(line: &Line, at: u64, keys: &str) -> Result<(Option<u64>, Vec<String>), BackboneError> {
    let mut scan = cmd("SCAN");
    scan.arg(at).arg("MATCH").arg(keys).arg("COUNT").arg(SEARCH_STRIDE);
    let (next, found): (u64, Vec<String>) = line.ask_one(scan).await?;
    Ok(((next != 0).then_some(next), found))
}
