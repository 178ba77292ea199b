//! Reading beside the writer: a few connections, each used by one short read at a time.

use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::store::{Folder, meaning};
use crate::backbone::BackboneError;

/// Reads that run at the same time; others wait for their turn.
const READERS: usize = 4;

/// The pool. Cheap to clone.
#[derive(Clone)]
pub(super) struct Readers {
    turns: Arc<Semaphore>,
    /// A mutex and no task: it is held only to take a connection out or put it back, never while reading.
    idle: Arc<Mutex<Vec<Connection>>>,
    folder: Folder,
}

impl Readers {
    pub(super) fn open(folder: Folder) -> rusqlite::Result<Readers> {
        let idle = (0..READERS).map(|_| folder.open_reader()).collect::<rusqlite::Result<Vec<_>>>()?;
        Ok(Readers { turns: Arc::new(Semaphore::new(READERS)), idle: Arc::new(Mutex::new(idle)), folder })
    }

    /// Runs one read on a thread that may block. All that `work` sees is of one instant.
    pub(super) async fn read<T, Work>(&self, work: Work) -> Result<T, BackboneError>
    where
        T: Send + 'static,
        Work: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let stopped = |_| BackboneError::Unavailable { reason: "the gateway stops".to_owned() };
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(stopped)?;
        let readers = self.clone();
        let read = tokio::task::spawn_blocking(move || {
            // Freed only here: a caller that stops waiting does not free the connection.
            let _turn = turn;
            readers.read_now(work)
        });
        match read.await {
            Ok(result) => result,
            Err(_) => Err(BackboneError::Unavailable { reason: "a read was given up".to_owned() }),
        }
    }

    fn read_now<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, BackboneError> {
        let reader = match self.take() {
            Some(reader) => reader,
            None => self.folder.open_reader().map_err(|failure| meaning(&failure))?,
        };
        let instant = reader.unchecked_transaction().map_err(|failure| meaning(&failure))?;
        let result = work(&instant).map_err(|failure| meaning(&failure));
        drop(instant);
        // One that failed is replaced by a fresh one when it is needed.
        if result.is_ok() {
            self.put_back(reader);
        }
        result
    }

    fn take(&self) -> Option<Connection> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn put_back(&self, reader: Connection) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
    }

    /// Waits for reads that are under way, closes all connections, and lets nobody read any more.
    pub(super) async fn close(&self) {
        let all = u32::try_from(READERS).expect("there are a few readers");
        if let Ok(turns) = self.turns.acquire_many(all).await {
            self.turns.close();
            drop(turns);
        }
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
