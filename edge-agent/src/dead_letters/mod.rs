//! Input that could not be used, kept with the reason, bounded, for people to look at.
//!
//! A few files of JSON lines; the oldest file goes when they are too large together. Keeping one never
//! blocks and never fails the readings: what is too much for the disk or comes too fast is counted and
//! dropped. Nothing here is flushed: a loss of power may take the last seconds.

mod list;
mod rate_logic;
mod store;

#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use bytes::Bytes;
use lockgate_codec::DeadLetter;
use lockgate_proto::seq::{Epoch, Lane, Seq};
use lockgate_proto::time::UnixMicros;

use rate_logic::Rate;
use store::Store;

pub use list::list;

/// All files together take at most this.
pub const BUDGET_BYTES: u64 = 4 * 1024 * 1024;

/// The oldest letters go in steps of this.
pub const FILE_BYTES_MAX: u64 = BUDGET_BYTES / 8;

/// Of the input, so much is kept.
pub const INPUT_BYTES_MAX: usize = 4 * 1024;

/// Of the words about it, so much is kept.
pub const DETAIL_BYTES_MAX: usize = 1_024;

/// The source of records that the gateway has refused.
const UPLINK: &str = "uplink";

/// Letters that wait for the disk; more are dropped.
pub const WAITING_MAX: usize = 64;

const _: () = assert!((INPUT_BYTES_MAX * 6 + DETAIL_BYTES_MAX * 6) as u64 * 4 < FILE_BYTES_MAX);

/// One letter, as it is kept and listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptLetter {
    /// When it came, if the time was known.
    pub at: Option<UnixMicros>,
    /// The name of the source that it came from.
    pub source: String,
    /// The reason, a word of a closed list.
    pub reason: String,
    /// What exactly was wrong.
    pub detail: String,
    /// The input, cut to [`INPUT_BYTES_MAX`].
    pub input: Bytes,
}

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeadLetterCounts {
    /// Written.
    pub kept: u64,
    /// Not written: they came too fast, or the disk did not take them.
    pub not_kept: u64,
    /// Written once, and dropped since to make room; counted in bytes.
    pub dropped_bytes: u64,
}

/// The letter was counted, but is not kept: too many came at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many dead letters at once; this one is only counted")]
pub struct NotKept;

/// Where dead letters go. Cheap to clone.
#[derive(Clone)]
pub struct DeadLetterHandle {
    letters: SyncSender<KeptLetter>,
    counters: Arc<Counters>,
    began: Instant,
    /// Shared by all who keep letters; held for a look-up. Asked before a letter is made, because a device that
    /// babbles makes thousands a second that are only counted.
    rate: Arc<Mutex<Rate>>,
}

#[derive(Default)]
struct Counters {
    kept: AtomicU64,
    not_kept: AtomicU64,
    dropped_bytes: AtomicU64,
}

/// Makes the folder where it is missing, and starts the thread that writes. It ends with the last handle.
pub fn start(folder: &Path) -> io::Result<DeadLetterHandle> {
    let store = Store::open(folder, BUDGET_BYTES, FILE_BYTES_MAX)?;
    let (letters, waiting) = sync_channel(WAITING_MAX);
    let counters = Arc::new(Counters::default());
    let (began, rate) = (Instant::now(), Arc::default());
    let handle = DeadLetterHandle { letters, counters: Arc::clone(&counters), began, rate };
    thread::Builder::new().name("dead-letters".to_owned()).spawn(move || write_all(store, &waiting, &counters))?;
    Ok(handle)
}

fn write_all(mut store: Store, waiting: &Receiver<KeptLetter>, counters: &Counters) {
    for letter in waiting {
        let counter = if store.append(&letter).is_ok() { &counters.kept } else { &counters.not_kept };
        counter.fetch_add(1, Ordering::Relaxed);
        counters.dropped_bytes.store(store.dropped_bytes(), Ordering::Relaxed);
    }
}

impl DeadLetterHandle {
    /// Keeps input that a codec could not use.
    pub fn keep(&self, source: &str, letter: &DeadLetter, at: Option<UnixMicros>) -> Result<(), NotKept> {
        self.send(source, || KeptLetter {
            at,
            source: source.to_owned(),
            reason: letter.reason.as_str().to_owned(),
            detail: letter.detail.clone(),
            input: letter.input.clone(),
        })
    }

    /// Keeps a record that the gateway has refused.
    pub fn keep_rejected(
        &self,
        record: (Epoch, Lane, Seq),
        reason: &str,
        payload: Bytes,
        at: Option<UnixMicros>,
    ) -> Result<(), NotKept> {
        let (epoch, lane, seq) = record;
        self.send(UPLINK, || KeptLetter {
            at,
            source: UPLINK.to_owned(),
            reason: "rejected".to_owned(),
            detail: format!("record {seq} of epoch {epoch}, {lane}: {reason}"),
            input: payload,
        })
    }

    /// Keeps word of readings that there was no place for: one letter for all of an outage, without them.
    pub fn keep_dropped(
        &self,
        source: &str,
        reason: &str,
        detail: String,
        at: Option<UnixMicros>,
    ) -> Result<(), NotKept> {
        self.send(source, || KeptLetter {
            at,
            source: source.to_owned(),
            reason: reason.to_owned(),
            detail,
            input: Bytes::new(),
        })
    }

    /// Counters since the start.
    pub fn counts(&self) -> DeadLetterCounts {
        let Counters { kept, not_kept, dropped_bytes } = &*self.counters;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        DeadLetterCounts { kept: get(kept), not_kept: get(not_kept), dropped_bytes: get(dropped_bytes) }
    }

    fn send(&self, source: &str, letter: impl FnOnce() -> KeptLetter) -> Result<(), NotKept> {
        let is_allowed = self.rate.lock().unwrap_or_else(PoisonError::into_inner).allows(source, self.began.elapsed());
        if !is_allowed {
            self.counters.not_kept.fetch_add(1, Ordering::Relaxed);
            return Err(NotKept);
        }
        let mut letter = letter();
        // Copied: a slice would keep the whole message alive for as long as the letter waits.
        letter.input = Bytes::copy_from_slice(&letter.input[..letter.input.len().min(INPUT_BYTES_MAX)]);
        let cut = (0..=DETAIL_BYTES_MAX).rev().find(|end| letter.detail.is_char_boundary(*end));
        letter.detail.truncate(cut.unwrap_or(0));
        self.letters.try_send(letter).map_err(|_| {
            self.counters.not_kept.fetch_add(1, Ordering::Relaxed);
            NotKept
        })
    }
}
