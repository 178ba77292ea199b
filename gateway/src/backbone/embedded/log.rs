//! A room's log: appending by the writer, reading by anyone, and what a position is worth.

use bytes::Bytes;
use lockgate_proto::ids::{DeviceName, RoomId};
use lockgate_proto::position::{Offset, Position, Stamp};
use rusqlite::types::Type;
use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, params};

use crate::backbone::{EntryKind, LogRead, LoggedEntry, ReadLimit};

/// The room's number in the tables; `None` where nothing was ever written for it.
pub(super) fn room_id(store: &Connection, room: &RoomId) -> rusqlite::Result<Option<i64>> {
    store
        .prepare_cached("SELECT id FROM rooms WHERE tenant = ?1 AND site = ?2")?
        .query_row([room.tenant.as_str(), room.site.as_str()], |row| row.get(0))
        .optional()
}

/// The newest entry's position and the bytes of all entries up to it.
pub(super) fn newest(store: &Connection, room: i64) -> rusqlite::Result<(Position, i64)> {
    let found = store
        .prepare_cached("SELECT offset, stamp, bytes_through FROM log WHERE room = ?1 ORDER BY offset DESC LIMIT 1")?
        .query_row([room], |row| Ok((position(row)?, row.get(2)?)))
        .optional()?;
    Ok(found.unwrap_or((Position::START, 0)))
}

/// Adds entries after the newest: the statement is looked up once for many.
pub(super) struct Appender<'store>(CachedStatement<'store>);

impl<'store> Appender<'store> {
    pub(super) fn new(store: &'store Connection) -> rusqlite::Result<Appender<'store>> {
        let statement = store.prepare_cached(
            "INSERT INTO log (room, offset, stamp, previous, received_at, bytes_through, kind, device, entry) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?;
        Ok(Appender(statement))
    }

    pub(super) fn append(
        &mut self,
        room: i64,
        entry: &LoggedEntry,
        received_at: i64,
        bytes_through: i64,
    ) -> rusqlite::Result<()> {
        self.0
            .execute(params![
                room,
                entry.position.offset.0.cast_signed(),
                entry.position.stamp.0.cast_signed(),
                entry.previous.0.cast_signed(),
                received_at,
                bytes_through,
                entry.kind.number(),
                entry.device.as_ref().map(DeviceName::as_str),
                &entry.bytes[..],
            ])
            .map(drop)
    }
}

/// What follows a position, and whether that is everything.
pub(super) fn read_after(
    store: &Connection,
    room: &RoomId,
    after: Position,
    limit: ReadLimit,
) -> rusqlite::Result<LogRead> {
    let Some(room) = room_id(store, room)? else {
        return Ok(if after.offset == Offset(0) { LogRead::Entries(Vec::new()) } else { LogRead::Diverged });
    };
    match standing(store, room, after)? {
        Standing::Here => read_from(store, room, after, limit).map(LogRead::Entries),
        Standing::Trimmed => Ok(LogRead::Trimmed),
        Standing::Diverged => Ok(LogRead::Diverged),
    }
}

/// The newest entries, oldest first.
pub(super) fn read_last(store: &Connection, room: &RoomId, limit: ReadLimit) -> rusqlite::Result<Vec<LoggedEntry>> {
    let Some(room) = room_id(store, room)? else { return Ok(Vec::new()) };
    let mut statement = store.prepare_cached(
        "SELECT offset, stamp, previous, kind, device, entry FROM log WHERE room = ?1 ORDER BY offset DESC LIMIT ?2",
    )?;
    let rows = statement.query_map(params![room, limit.entries_max], logged)?;
    let mut entries = within(rows, limit)?;
    entries.reverse();
    Ok(entries)
}

enum Standing {
    Here,
    Trimmed,
    Diverged,
}

/// Whether the log is still the one that the position was taken from, and reaches back to it.
fn standing(store: &Connection, room: i64, after: Position) -> rusqlite::Result<Standing> {
    let Ok(offset) = i64::try_from(after.offset.0) else { return Ok(Standing::Diverged) };
    if offset > 0 {
        let stamp = store
            .prepare_cached("SELECT stamp FROM log WHERE room = ?1 AND offset = ?2")?
            .query_row([room, offset], |row| row.get(0))
            .optional()?;
        if let Some(stamp) = stamp {
            return Ok(same_history(stamp, after.stamp));
        }
    }
    let oldest: Option<(i64, i64)> = store
        .prepare_cached("SELECT offset, previous FROM log WHERE room = ?1 ORDER BY offset LIMIT 1")?
        .query_row([room], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    // The newest entry always stays. So a log without entries is a new one, and its first is still to come.
    let (oldest, previous) = oldest.unwrap_or((1, 0));
    Ok(if offset == 0 && oldest == 1 {
        Standing::Here
    } else if offset == oldest - 1 {
        same_history(previous, after.stamp)
    } else if offset < oldest {
        Standing::Trimmed
    } else {
        Standing::Diverged
    })
}

fn same_history(stored: i64, claimed: Stamp) -> Standing {
    if stored.cast_unsigned() == claimed.0 { Standing::Here } else { Standing::Diverged }
}

fn read_from(store: &Connection, room: i64, after: Position, limit: ReadLimit) -> rusqlite::Result<Vec<LoggedEntry>> {
    let mut statement = store.prepare_cached(
        "SELECT offset, stamp, previous, kind, device, entry FROM log \
         WHERE room = ?1 AND offset > ?2 ORDER BY offset LIMIT ?3",
    )?;
    let rows = statement.query_map(params![room, after.offset.0.cast_signed(), limit.entries_max.max(1)], logged)?;
    within(rows, limit)
}

/// As many rows as fit; the first always does.
fn within(
    rows: impl Iterator<Item = rusqlite::Result<LoggedEntry>>,
    limit: ReadLimit,
) -> rusqlite::Result<Vec<LoggedEntry>> {
    let mut entries = Vec::new();
    let mut bytes = 0;
    for entry in rows {
        let entry = entry?;
        bytes += entry.bytes.len();
        if bytes > limit.bytes_max && !entries.is_empty() {
            break;
        }
        entries.push(entry);
    }
    Ok(entries)
}

fn position(row: &Row<'_>) -> rusqlite::Result<Position> {
    let (offset, stamp): (i64, i64) = (row.get(0)?, row.get(1)?);
    Ok(Position { offset: Offset(offset.cast_unsigned()), stamp: Stamp(stamp.cast_unsigned()) })
}

fn logged(row: &Row<'_>) -> rusqlite::Result<LoggedEntry> {
    let previous: i64 = row.get(2)?;
    let kind = u8::try_from(row.get::<_, i64>(3)?).ok().and_then(EntryKind::from_number);
    let kind = kind.ok_or_else(|| damaged(3, "an entry is of no known kind"))?;
    let device = match row.get_ref(4)?.as_str_or_null() {
        Ok(None) => None,
        Ok(Some(text)) => Some(DeviceName::new(text).map_err(|_| damaged(4, "an entry's device has no name"))?),
        Err(_) => return Err(damaged(4, "an entry's device is no text")),
    };
    let bytes = row.get_ref(5)?.as_blob().map_err(|_| damaged(5, "an entry is no bytes"))?;
    Ok(LoggedEntry {
        position: position(row)?,
        previous: Stamp(previous.cast_unsigned()),
        device,
        kind,
        bytes: Bytes::copy_from_slice(bytes),
    })
}

/// A column that holds what nobody stored there.
pub(super) fn damaged(column: usize, what: &'static str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Blob, what.into())
}
