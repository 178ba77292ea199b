//! The least that any durable log costs: one file, one thread; whatever waits is appended and synced as a group.
//!
//! No shadows, ledgers, index, checks or feeds; nobody could read it back. It shows what the disk and the
//! threads take of the rate, whatever the engine.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::mpsc;
use std::thread;

use bytes::Bytes;
use tokio::sync::oneshot;

/// As the embedded backbone's groups.
const GROUP_REQUESTS_MAX: usize = 1_024;

struct Request {
    records: Vec<Bytes>,
    done: oneshot::Sender<()>,
}

/// A handle; the thread ends when the last one is gone.
#[derive(Clone)]
pub(crate) struct RawLog(mpsc::Sender<Request>);

impl RawLog {
    pub(crate) fn open(folder: &Path) -> RawLog {
        let file = File::create(folder.join("raw.log")).expect("the folder can be written");
        let (requests, waiting) = mpsc::channel();
        thread::spawn(move || write(file, &waiting));
        RawLog(requests)
    }

    /// Returns when the records are on the disk.
    pub(crate) async fn append(&self, records: Vec<Bytes>) {
        let (done, written) = oneshot::channel();
        self.0.send(Request { records, done }).expect("the writer lives as long as we");
        written.await.expect("the writer answers");
    }
}

fn write(mut file: File, waiting: &mpsc::Receiver<Request>) {
    let mut buffer = Vec::new();
    while let Ok(first) = waiting.recv() {
        let group: Vec<Request> = [first].into_iter().chain(waiting.try_iter()).take(GROUP_REQUESTS_MAX).collect();
        buffer.clear();
        for record in group.iter().flat_map(|request| &request.records) {
            let length = u32::try_from(record.len()).expect("a record is far smaller");
            buffer.extend_from_slice(&length.to_le_bytes());
            buffer.extend_from_slice(record);
        }
        file.write_all(&buffer).expect("the disk has room");
        file.sync_data().expect("the disk works");
        for request in group {
            request.done.send(()).expect("an agent waits");
        }
    }
}
