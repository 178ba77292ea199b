//! Who is in which room, and what is on its way to whom.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::websocket_logic::{Kind, put_bare};

/// LIMIT: what waits for one connection; who reads more slowly than that is cut off.
const WAITING_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Room for more than this is given back when all of it has been sent.
const KEPT_BYTES_MAX: usize = 4 * 1024;

/// All rooms.
#[derive(Debug, Default)]
pub(super) struct Hub {
    rooms: Mutex<HashMap<usize, Vec<Arc<Outlet>>>>,
    /// Those to whom something must be written.
    due: Mutex<Vec<Arc<Outlet>>>,
    is_due: Notify,
}

/// The sending end of one connection.
#[derive(Debug)]
pub(super) struct Outlet {
    stream: OwnedWriteHalf,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// Somebody will write it: it is among those due, or a task waits until the system takes more.
    is_taken_care_of: bool,
    is_over: bool,
}

impl Hub {
    pub(super) fn join(&self, room: usize, outlet: &Arc<Outlet>) {
        lock(&self.rooms).entry(room).or_default().push(Arc::clone(outlet));
    }

    pub(super) fn leave(&self, room: usize, outlet: &Arc<Outlet>) {
        if let Some(outlets) = lock(&self.rooms).get_mut(&room) {
            outlets.retain(|other| !Arc::ptr_eq(other, outlet));
        }
    }

    /// A message to everybody in a room; encoded once.
    pub(super) fn publish(&self, room: usize, message: &[u8]) {
        let mut frame = Vec::with_capacity(message.len() + 4);
        put_bare(&mut frame, Kind::Binary, message);
        let rooms = lock(&self.rooms);
        let Some(outlets) = rooms.get(&room) else { return };
        let mut due = lock(&self.due);
        due.extend(outlets.iter().filter(|outlet| outlet.take(&frame)).cloned());
        self.is_due.notify_one();
    }

    /// A frame for one.
    pub(super) fn send(&self, outlet: &Arc<Outlet>, kind: Kind, payload: &[u8]) {
        let mut frame = Vec::with_capacity(payload.len() + 4);
        put_bare(&mut frame, kind, payload);
        if outlet.take(&frame) {
            lock(&self.due).push(Arc::clone(outlet));
            self.is_due.notify_one();
        }
    }

    /// Writes what is due, after all tasks that are awake had their turn.
    pub(super) async fn flush(&self) {
        let mut slow = JoinSet::new();
        loop {
            self.is_due.notified().await;
            let due = std::mem::take(&mut *lock(&self.due));
            for outlet in due {
                if !outlet.write() {
                    slow.spawn(outlet.write_on());
                }
            }
            while slow.try_join_next().is_some() {}
        }
    }
}

impl Outlet {
    pub(super) fn new(stream: OwnedWriteHalf) -> Arc<Outlet> {
        Arc::new(Outlet { stream, waiting: Mutex::default() })
    }

    /// Takes a frame; `true`: somebody must now see to it.
    fn take(&self, frame: &[u8]) -> bool {
        let mut waiting = lock(&self.waiting);
        if waiting.is_over {
            return false;
        }
        if waiting.bytes.len() + frame.len() > WAITING_BYTES_MAX {
            waiting.end();
            return false;
        }
        waiting.bytes.extend_from_slice(frame);
        !std::mem::replace(&mut waiting.is_taken_care_of, true)
    }

    /// Whether nothing is sent any more.
    pub(super) fn is_over(&self) -> bool {
        lock(&self.waiting).is_over
    }

    /// Writes what waits; `false`: the system takes no more now.
    fn write(&self) -> bool {
        let mut waiting = lock(&self.waiting);
        while !waiting.bytes.is_empty() {
            match self.stream.try_write(&waiting.bytes) {
                Ok(written) if written == waiting.bytes.len() => waiting.bytes.clear(),
                Ok(written) => drop(waiting.bytes.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(_) => waiting.end(),
            }
        }
        if waiting.bytes.capacity() > KEPT_BYTES_MAX {
            waiting.bytes = Vec::new();
        }
        waiting.is_taken_care_of = false;
        true
    }

    async fn write_on(self: Arc<Outlet>) {
        while !self.write() {
            if self.stream.writable().await.is_err() {
                lock(&self.waiting).end();
            }
        }
    }
}

impl Waiting {
    fn end(&mut self) {
        self.is_over = true;
        self.bytes = Vec::new();
    }
}

/// Held to look something up or to write without waiting, never across an await.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
