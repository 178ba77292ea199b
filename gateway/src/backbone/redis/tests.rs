//! The engine on Redis through the conformance suite, and what only a server beyond the process can do to it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use lockgate_proto::time::UnixMicros;
use lockgate_runtime::Supervisor;
use lockgate_tests::redis::Redis;
use tempfile::TempDir;

use super::keys::RoomKeys;
use super::{RedisBackbone, RedisOptions};
use crate::backbone::conformance::{Keep, LEASE, World, conformance_suite, room};
use crate::backbone::{Backbone, Retention};

/// Distinct stamps for all stores of the test process: no history repeats another's.
static DRAWN: AtomicU64 = AtomicU64::new(1);

pub(super) fn options(url: &str, keep: Keep, now: &Arc<AtomicI64>) -> RedisOptions {
    let now = Arc::clone(now);
    let random = Box::new(|buffer: &mut [u8]| {
        for stamp in buffer.chunks_mut(8) {
            let drawn = DRAWN.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
            stamp.copy_from_slice(&drawn[..stamp.len()]);
        }
        Ok(())
    });
    RedisOptions {
        retention: Retention { age: keep.age, room_bytes_max: keep.room_bytes_max },
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

pub(super) fn start(folder: &Path) -> Redis {
    Redis::start(&folder.join("redis")).unwrap()
}

pub(super) async fn open(redis: &Redis, keep: Keep, now: &Arc<AtomicI64>) -> RedisBackbone {
    RedisBackbone::open(options(&redis.url(), keep, now), &Supervisor::new()).await.unwrap()
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
        // By Redis's own clock, which nobody can move.
        let keys = RoomKeys::new(&room("clock"));
        let begun = self.backbone.book(&keys).await.unwrap().now;
        while self.backbone.book(&keys).await.unwrap().now.0 - begun.0 < i64::try_from(span.as_micros()).unwrap() {
            tokio::task::yield_now().await;
        }
    }

    async fn trim(&mut self, now: UnixMicros) {
        self.now.store(now.0, Ordering::Relaxed);
        self.backbone.maintain().await.unwrap();
    }
}

conformance_suite!(RedisWorld::make);
