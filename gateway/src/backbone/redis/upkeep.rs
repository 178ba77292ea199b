//! What is done without anyone's asking: dropping old entries, and looking whether Redis is there again.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use redis::{Cmd, cmd};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::keys::{self, RoomKeys, log_keys};
use super::lane::{Call, durable};
use super::library::Function;
use super::line::{HealthBoard, Line, is_function_missing, is_of_store, meaning, read};
use super::nodes::{Map, Node, Nodes};
use super::options::RedisOptions;
use crate::backbone::commands::forgotten_before;
use crate::backbone::{BackboneError, Clock, Retention};

/// Redis is asked so often what it is like, and to take a write.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// How long a probe's key lives: nobody reads it.
const PROBE_LIFE_SECONDS: u64 = 60;

/// Steps of a log that one call drops; others have their turn between two.
const SLICE_STEPS: usize = 32;

/// Commands that one call forgets.
const SLICE_COMMANDS: usize = 256;

/// Keys that one round trip of a search passes by.
const SEARCH_STRIDE: usize = 1_000;

/// See the module.
#[derive(Clone)]
pub(super) struct Upkeep {
    nodes: Arc<Nodes>,
    health: HealthBoard,
    retention: Retention,
    maintenance_interval: Duration,
    clock: Clock,
}

impl Upkeep {
    pub(super) fn new(nodes: Arc<Nodes>, health: HealthBoard, options: &RedisOptions) -> Upkeep {
        let (retention, maintenance_interval) = (options.retention, options.maintenance_interval);
        Upkeep { nodes, health, retention, maintenance_interval, clock: Arc::clone(&options.clock) }
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
        let map = self.nodes.map();
        let probes = map.nodes.iter().map(|node| probe(&map, node));
        let answers = join_all(probes).await;
        if answers.contains(&false) {
            // Another may be in its place; or it is a cluster, and nobody could be asked at the start.
            self.nodes.refresh().await;
        }
    }

    /// Drops all that retention wants dropped, in all rooms: nobody may be in them any more.
    pub(super) async fn trim_all(&self) -> Result<(), BackboneError> {
        if self.retention == Retention::default() {
            return Ok(());
        }
        let mut trimmed = Ok(());
        for node in &self.nodes.map().nodes {
            trimmed = trimmed.and(self.trim_node(node).await);
        }
        trimmed
    }

    async fn trim_node(&self, node: &Node) -> Result<(), BackboneError> {
        let (mut cursor, mut trimmed) = (Some(0), Ok(()));
        while let Some(at) = cursor {
            let (next, logs) = search(&node.reader, at, &log_keys()).await?;
            for log in logs {
                // A room that is damaged, or on its way to another node, keeps none of the others.
                trimmed = trimmed.and(self.trim(&log).await);
            }
            cursor = next;
        }
        trimmed
    }

    async fn trim(&self, log: &str) -> Result<(), BackboneError> {
        let Some(keys) = RoomKeys::of_log(log) else { return Ok(()) };
        let age = self.retention.age.map(|age| i64::try_from(age.as_micros()).unwrap_or(i64::MAX));
        let horizon = age.map(|age| (self.clock)().offset_by(age.saturating_neg()).0.to_string());
        let most = self.retention.room_bytes_max.map(|bytes| bytes.to_string());
        let name = |function| self.nodes.library().name_of(function);
        let mut trim = cmd("FCALL");
        trim.arg(name(Function::Trim)).arg(2).arg(keys.head()).arg(log);
        trim.arg(horizon.as_deref().unwrap_or("")).arg(most.as_deref().unwrap_or("")).arg(SLICE_STEPS);
        self.repeat(&keys, &trim).await?;
        let Some(kept_for) = self.retention.commands else { return Ok(()) };
        let mut forget = cmd("FCALL");
        forget.arg(name(Function::Forget)).arg(3).arg(keys.commands()).arg(keys.history()).arg(keys.over());
        forget.arg(forgotten_before((self.clock)(), kept_for).0).arg(SLICE_COMMANDS);
        self.repeat(&keys, &forget).await
    }

    /// Calls a function until it says that there is nothing more to do.
    async fn repeat(&self, keys: &RoomKeys, call: &Cmd) -> Result<(), BackboneError> {
        loop {
            let mut answer = self.nodes.follow(keys, call, None).await?;
            if answer.as_ref().is_err_and(is_function_missing) {
                self.nodes.load_functions(keys).await?;
                answer = self.nodes.follow(keys, call, None).await?;
            }
            if read::<u32>(answer)? == 0 {
                return Ok(());
            }
        }
    }
}

/// Whether the node takes writes; its health says why not.
async fn probe(map: &Map, node: &Node) -> bool {
    match try_probe(map, node).await {
        Ok(()) => node.health.up(),
        Err(error) => {
            node.health.down(&error);
            return false;
        }
    }
    true
}

async fn try_probe(map: &Map, node: &Node) -> Result<(), BackboneError> {
    node.reader.judge_anew().await?;
    let Some(key) = keys::probe(|slot| map.has(node, slot)) else { return Ok(()) };
    let write = Call::plain(cmd("SET").arg(key).arg(1).arg("EX").arg(PROBE_LIFE_SECONDS));
    match durable(&node.reader, std::iter::once(write)).await?.pop() {
        Some(Err(error)) if is_of_store(&error) => Err(meaning(&error)),
        // That slot is another node's by now: the map will tell.
        _ => Ok(()),
    }
}

/// The next keys of a kind, and where to go on; `None`: that was all.
pub(super) async fn search(line: &Line, at: u64, keys: &str) -> Result<(Option<u64>, Vec<String>), BackboneError> {
    let mut scan = cmd("SCAN");
    scan.arg(at).arg("MATCH").arg(keys).arg("COUNT").arg(SEARCH_STRIDE);
    let (next, found): (u64, Vec<String>) = line.ask_one(scan).await?;
    Ok(((next != 0).then_some(next), found))
}
