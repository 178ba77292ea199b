//! Drops what is too old or too much, a slice at a time, so that steps never wait long for it.

use rusqlite::{Connection, params};

use super::log;

/// Rows that one slice drops at most.
const SLICE_ROWS_MAX: u32 = 4_096;

/// What may go. The newest entry of a room always stays: it carries the log's place in its history.
#[derive(Clone, Copy, Debug)]
pub(super) struct Horizon {
    /// Entries received before this, in microseconds since 1970.
    pub(super) received_before: Option<i64>,
    /// What is beyond so many bytes of entries, oldest first.
    pub(super) bytes_max: Option<i64>,
}

/// The rooms that there are.
pub(super) fn rooms(store: &Connection) -> rusqlite::Result<Vec<i64>> {
    store.prepare_cached("SELECT id FROM rooms")?.query_map([], |row| row.get(0))?.collect()
}

/// Drops one slice of a room's log; says whether there may be more to drop.
pub(super) fn trim_slice(store: &Connection, room: i64, horizon: Horizon) -> rusqlite::Result<bool> {
    let (newest, bytes_total) = log::newest(store, room)?;
    let mut through = None;
    let mut rows_counted = 0;
    {
        let mut statement = store.prepare_cached(
            "SELECT offset, received_at, bytes_through - length(entry) FROM log \
             WHERE room = ?1 AND offset < ?2 ORDER BY offset LIMIT ?3",
        )?;
        let mut rows = statement.query(params![room, newest.offset.0.cast_signed(), SLICE_ROWS_MAX])?;
        while let Some(row) = rows.next()? {
            let (offset, received_at, bytes_before): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let too_old = horizon.received_before.is_some_and(|before| received_at < before);
            let too_much = horizon.bytes_max.is_some_and(|max| bytes_total - bytes_before > max);
            if !too_old && !too_much {
                break;
            }
            through = Some(offset);
            rows_counted += 1;
        }
    }
    if let Some(through) = through {
        store.prepare_cached("DELETE FROM log WHERE room = ?1 AND offset <= ?2")?.execute([room, through])?;
    }
    Ok(rows_counted == SLICE_ROWS_MAX)
}
