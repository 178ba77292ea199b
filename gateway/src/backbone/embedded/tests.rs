//! The embedded engine through the conformance suite, and the faults that only a file can have.

mod faults;

use std::fs;
use std::future::{Ready, ready};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use lockgate_proto::time::UnixMicros;
use rusqlite::Connection;
use tempfile::TempDir;

use super::{EmbeddedBackbone, EmbeddedOptions, OpenError};
use crate::backbone::conformance::{DEVICES_MAX, Keep, LEASE, World, conformance_suite};
use crate::backbone::{Backbone, Retention};

/// Distinct stamps for all stores of the test process: no history repeats another's.
static DRAWN: AtomicU64 = AtomicU64::new(1);

pub(super) fn options(folder: &Path, keep: Keep, now: &Arc<AtomicI64>) -> EmbeddedOptions {
    let now = Arc::clone(now);
    let clock = Arc::new(move || UnixMicros(now.load(Ordering::Relaxed)));
    let random = Box::new(|buffer: &mut [u8]| {
        for stamp in buffer.chunks_mut(8) {
            let drawn = DRAWN.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
            stamp.copy_from_slice(&drawn[..stamp.len()]);
        }
        Ok(())
    });
    EmbeddedOptions {
        retention: Retention { age: keep.age, room_bytes_max: keep.room_bytes_max, commands: keep.commands },
        // Tests say themselves when it is time.
        maintenance_interval: Duration::from_secs(3_600),
        busy_timeout: Duration::from_millis(20),
        attendance_lease: LEASE,
        devices_per_room_max: DEVICES_MAX,
        ..EmbeddedOptions::new(folder.to_owned(), clock, random)
    }
}

struct FileWorld {
    place: TempDir,
    folder: PathBuf,
    folders: usize,
    keep: Keep,
    now: Arc<AtomicI64>,
    backbone: EmbeddedBackbone,
    intruder: Option<Connection>,
}

impl FileWorld {
    fn make(keep: Keep) -> Ready<Box<dyn World>> {
        let place = TempDir::new().unwrap();
        let folder = place.path().join("0");
        let now = Arc::new(AtomicI64::new(0));
        let backbone = EmbeddedBackbone::open(options(&folder, keep, &now)).unwrap();
        ready(Box::new(FileWorld { place, folder, folders: 1, keep, now, backbone, intruder: None }))
    }

    /// Ends the engine and starts another one on a copy of what `from` holds at this instant.
    async fn move_to_copy(&mut self, from: &Path) {
        let folder = self.place.path().join(self.folders.to_string());
        self.folders += 1;
        copy_store(from, &folder);
        self.backbone.close().await;
        self.backbone = EmbeddedBackbone::open(options(&folder, self.keep, &self.now)).unwrap();
        self.folder = folder;
    }
}

/// What is left of a store when its process is killed: the files, without the index in shared memory.
pub(super) fn copy_store(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in ["gateway.db", "gateway.db-wal"] {
        if from.join(file).exists() {
            fs::copy(from.join(file), to.join(file)).unwrap();
        }
    }
}

#[async_trait]
impl World for FileWorld {
    fn backbone(&self) -> Arc<dyn Backbone> {
        Arc::new(self.backbone.clone())
    }

    async fn crash(&mut self) {
        self.move_to_copy(&self.folder.clone()).await;
    }

    async fn keep_copy(&mut self) {
        copy_store(&self.folder, &self.place.path().join("copy"));
    }

    async fn put_back_copy(&mut self) {
        self.move_to_copy(&self.place.path().join("copy")).await;
    }

    async fn break_store(&mut self) {
        let intruder = Connection::open(self.folder.join("gateway.db")).unwrap();
        intruder.execute_batch("BEGIN IMMEDIATE").unwrap();
        self.intruder = Some(intruder);
    }

    async fn mend_store(&mut self) {
        self.intruder = None;
    }

    async fn pass(&mut self, span: Duration) {
        self.now.fetch_add(i64::try_from(span.as_micros()).unwrap(), Ordering::Relaxed);
    }

    async fn trim(&mut self, now: UnixMicros) {
        self.now.store(now.0, Ordering::Relaxed);
        self.backbone.maintain().await.unwrap();
    }
}

pub(super) fn refused(result: Result<EmbeddedBackbone, OpenError>) -> OpenError {
    match result {
        Ok(_) => panic!("the store was opened"),
        Err(refused) => refused,
    }
}

conformance_suite!(FileWorld::make);
