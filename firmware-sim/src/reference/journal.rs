//! The one promise that can be asked of the reference: what it acknowledges is on the disk.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, mpsc};

use anyhow::Context as _;
use lockgate_runtime::Supervisor;

use super::hub::{Hub, Outlet};
use crate::websocket_logic::Kind;

/// LIMIT: messages that wait for the disk.
const WAITING_MAX: usize = 100_000;

/// LIMIT: messages that one sync covers.
const GROUP_MAX: usize = 10_000;

/// A message that its publisher wants to know on the disk.
pub(super) struct Asked {
    pub(super) room: usize,
    pub(super) message: Vec<u8>,
    pub(super) number: u64,
    pub(super) publisher: Arc<Outlet>,
}

/// A handle to the thread that writes.
#[derive(Clone)]
pub(super) struct Journal {
    asked: mpsc::SyncSender<Asked>,
}

impl Journal {
    pub(super) fn start(path: &Path, hub: &Arc<Hub>, supervisor: &Supervisor) -> anyhow::Result<Journal> {
        let file = File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
        let (asked, received) = mpsc::sync_channel(WAITING_MAX);
        let hub = Arc::clone(hub);
        supervisor.spawn_thread("journal", move |_| write(file, &received, &hub));
        Ok(Journal { asked })
    }

    /// A journal that is full makes the whole server wait: there is nothing better to do with what comes.
    pub(super) fn ask(&self, asked: Asked) {
        // The thread ends only with the process.
        let _gone = self.asked.send(asked);
    }
}

/// Everything that came while the last group was being synced is the next group.
fn write(mut file: File, received: &mpsc::Receiver<Asked>, hub: &Hub) -> anyhow::Result<()> {
    let mut bytes = Vec::new();
    while let Ok(first) = received.recv() {
        let group: Vec<Asked> = std::iter::once(first).chain(received.try_iter().take(GROUP_MAX - 1)).collect();
        bytes.clear();
        for asked in &group {
            bytes.extend_from_slice(&u32::try_from(asked.message.len()).unwrap_or(u32::MAX).to_le_bytes());
            bytes.extend_from_slice(&asked.message);
        }
        file.write_all(&bytes).and_then(|()| file.sync_data()).context("cannot write the log file")?;
        for asked in group {
            hub.send(&asked.publisher, Kind::Binary, &asked.number.to_le_bytes());
            hub.publish(asked.room, &asked.message);
        }
    }
    Ok(())
}
