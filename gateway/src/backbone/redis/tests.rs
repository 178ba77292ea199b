//! The engine on Redis through the conformance suite, and what only a server beyond the process can do to it.

mod cluster;
mod durability;
mod faults;
mod fitness;
mod instances;
mod large;
mod live;
mod tls;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use lockgate_proto::time::UnixMicros;
use lockgate_runtime::Supervisor;
use lockgate_tests::redis::Redis;
use lockgate_tests::wait;
use tempfile::TempDir;

use super::keys::RoomKeys;
use super::{ConnectError, RedisBackbone, RedisOptions};
use crate::backbone::conformance::agent::{Agent, room};
use crate::backbone::conformance::{DEVICES_MAX, Keep, LEASE, World, conformance_suite};
use crate::backbone::{Backbone, BackboneError, Health, NewEntry, Retention, Stepped};

/// Distinct stamps for all stores of the test process: no history repeats another's.
static DRAWN: AtomicU64 = AtomicU64::new(1);

fn options(url: &str, keep: Keep, now: &Arc<AtomicI64>) -> RedisOptions {
    let now = Arc::clone(now);
    let random = Box::new(|buffer: &mut [u8]| {
        for stamp in buffer.chunks_mut(8) {
            let drawn = DRAWN.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
            stamp.copy_from_slice(&drawn[..stamp.len()]);
        }
        Ok(())
    });
    RedisOptions {
        retention: Retention { age: keep.age, room_bytes_max: keep.room_bytes_max, commands: keep.commands },
        // Tests say themselves when it is time.
        maintenance_interval: Duration::from_secs(3_600),
        attendance_lease: LEASE,
        ..RedisOptions::new(url, Arc::new(move || UnixMicros(now.load(Ordering::Relaxed))), random)
    }
}

struct RedisWorld {
    place: TempDir,
    redis: Redis,
    keep: Keep,
    now: Arc<AtomicI64>,
    backbone: RedisBackbone,
}

impl RedisWorld {
    async fn make(keep: Keep) -> Box<dyn World> {
        let place = TempDir::new().unwrap();
        let redis = start(place.path());
        let now = Arc::new(AtomicI64::new(0));
        let backbone = open(&redis, keep, &now).await;
        Box::new(RedisWorld { place, redis, keep, now, backbone })
    }

    async fn open_anew(&mut self) {
        self.backbone = open(&self.redis, self.keep, &self.now).await;
    }
}

/// By Redis's own clock, which nobody can move.
async fn pass(backbone: &RedisBackbone, span: Duration) {
    let keys = RoomKeys::new(&room("clock"));
    let begun = backbone.attendance(&keys).await.unwrap().now;
    while backbone.attendance(&keys).await.unwrap().now.0 - begun.0 < i64::try_from(span.as_micros()).unwrap() {
        tokio::task::yield_now().await;
    }
}

fn start(folder: &Path) -> Redis {
    Redis::start(&folder.join("redis")).unwrap()
}

async fn open(redis: &Redis, keep: Keep, now: &Arc<AtomicI64>) -> RedisBackbone {
    let options = RedisOptions { devices_per_room_max: DEVICES_MAX, ..options(&redis.url(), keep, now) };
    RedisBackbone::open(options, &Supervisor::new()).await.unwrap()
}

/// An engine with what a test sets.
async fn open_with(url: &str, set: impl FnOnce(&mut RedisOptions)) -> Result<RedisBackbone, ConnectError> {
    let mut options = options(url, Keep::default(), &Arc::new(AtomicI64::new(0)));
    set(&mut options);
    RedisBackbone::open(options, &Supervisor::new()).await
}

async fn connect(url: &str) -> Arc<dyn Backbone> {
    Arc::new(open_with(url, |_| {}).await.unwrap())
}

/// Looks again and again until there is something to see.
async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let seen = tokio::time::timeout(wait::PATIENCE, async {
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        loop {
            if let Some(seen) = look().await {
                return seen;
            }
            tick.tick().await;
        }
    });
    seen.await.unwrap_or_else(|_| panic!("waited in vain: {what}"))
}

/// Asks for the step as a session does: the same again, until its outcome is known.
async fn stepped(agent: &Agent, n: u64, entries: &[NewEntry]) -> Stepped {
    let ask = || async {
        match agent.ask(n, entries.to_vec()).await {
            Ok(stepped) => Some(stepped),
            Err(error) if error.may_retry() => None,
            Err(error) => panic!("{error}"),
        }
    };
    eventually("the step's outcome", ask).await
}

/// Waits until the replica has what the master has now.
fn has_all_of(replica: &Redis, master: &Redis) {
    let offset = |redis: &Redis, field| redis.info("replication", field).ok();
    wait::until("the replica has all", wait::PATIENCE, || {
        (offset(master, "master_repl_offset")? == offset(replica, "slave_repl_offset")?).then_some(())
    })
    .unwrap();
}

async fn down(backbone: &dyn Backbone, why: &str) {
    let health = backbone.health();
    // Another reason may stand there first, and a change of reason alone wakes nobody.
    let is_down = |health: &Health| matches!(health, Health::Down { reason } if reason.contains(why));
    eventually(why, || std::future::ready(is_down(&health.borrow()).then_some(()))).await;
}

async fn up(backbone: &dyn Backbone) {
    let mut health = backbone.health();
    tokio::time::timeout(wait::PATIENCE, health.wait_for(|health| *health == Health::Up)).await.unwrap().unwrap();
}

fn reason(outcome: &Result<Stepped, BackboneError>) -> &str {
    match outcome {
        Err(BackboneError::Unavailable { reason }) => reason,
        other => panic!("expected a step that may be asked again, got {other:?}"),
    }
}

#[async_trait]
impl World for RedisWorld {
    fn backbone(&self) -> Arc<dyn Backbone> {
        Arc::new(self.backbone.clone())
    }

    async fn crash(&mut self) {
        self.redis.kill().unwrap();
        self.redis.restart().unwrap();
        self.open_anew().await;
    }

    async fn keep_copy(&mut self) {
        self.redis.copy_to(&self.place.path().join("copy")).unwrap();
    }

    async fn put_back_copy(&mut self) {
        self.redis.put_back(&self.place.path().join("copy")).unwrap();
        self.open_anew().await;
    }

    async fn break_store(&mut self) {
        self.redis.ask("CONFIG SET maxmemory 1").unwrap();
    }

    async fn mend_store(&mut self) {
        self.redis.ask("CONFIG SET maxmemory 0").unwrap();
    }

    async fn pass(&mut self, span: Duration) {
        pass(&self.backbone, span).await;
    }

    async fn trim(&mut self, now: UnixMicros) {
        self.now.store(now.0, Ordering::Relaxed);
        self.backbone.maintain().await.unwrap();
    }
}

conformance_suite!(RedisWorld::make);
