//! Who is in a room: one row, replaced by every change, together with the entries that tell of it.

use lockgate_proto::attendance::{Book, Sheet};
use lockgate_proto::ids::{RoomId, Site, Tenant};
use lockgate_proto::time::UnixMicros;
use rusqlite::{Connection, OptionalExtension, params};

use super::log::{self, damaged};
use super::state::{State, WriteError};
use crate::backbone::NewEntry;
use crate::backbone::prepare::{PreparedEntry, turn_entries};

impl State {
    /// Takes in what the instance says.
    pub(super) fn attend(
        &mut self,
        store: &Connection,
        room: &RoomId,
        sheet: Sheet,
        now: UnixMicros,
    ) -> Result<(), WriteError> {
        let id = self.room_row(store, room)?;
        let mut book = read_book(store, id)?;
        let turns = book.say(now, sheet, self.attendance_lease);
        write_book(store, id, &book)?;
        self.append_all(store, room, &turn_entries(&turns, now))
    }

    /// Gives up what has expired, in all rooms.
    pub(super) fn expire_attendance(&mut self, store: &Connection, now: UnixMicros) -> Result<(), WriteError> {
        for (id, room) in rooms(store)? {
            let mut book = read_book(store, id)?;
            let before = book.clone();
            let turns = book.expire(now, self.attendance_lease);
            if book != before {
                write_book(store, id, &book)?;
                self.append_all(store, &room, &turn_entries(&turns, now))?;
            }
        }
        Ok(())
    }

    /// Adds entries to a room's log.
    pub(super) fn append_all(
        &mut self,
        store: &Connection,
        room: &RoomId,
        entries: &[NewEntry],
    ) -> Result<(), WriteError> {
        self.append_prepared(store, room, entries.iter().map(PreparedEntry::new))
    }
}

/// Who is in the room by what was last stored.
pub(super) fn read_book(store: &Connection, room: i64) -> rusqlite::Result<Book> {
    let row: Option<Vec<u8>> = store
        .prepare_cached("SELECT book FROM attendance WHERE room = ?1")?
        .query_row([room], |row| row.get(0))
        .optional()?;
    row.map_or(Ok(Book::default()), |bytes| {
        Book::from_bytes(&bytes).map_err(|_| damaged(0, "who is in a room is not readable"))
    })
}

fn write_book(store: &Connection, room: i64, book: &Book) -> rusqlite::Result<()> {
    if book.is_empty() {
        return store.prepare_cached("DELETE FROM attendance WHERE room = ?1")?.execute([room]).map(drop);
    }
    store
        .prepare_cached(
            "INSERT INTO attendance (room, book) VALUES (?1, ?2) \
             ON CONFLICT (room) DO UPDATE SET book = excluded.book",
        )?
        .execute(params![room, book.to_bytes()])
        .map(drop)
}

/// The rooms in which anyone was when it was last stored.
fn rooms(store: &Connection) -> rusqlite::Result<Vec<(i64, RoomId)>> {
    let room = |row: &rusqlite::Row<'_>| {
        let tenant = Tenant::new(row.get::<_, String>(1)?).map_err(|_| damaged(1, "a tenant has no name"))?;
        let site = Site::new(row.get::<_, String>(2)?).map_err(|_| damaged(2, "a site has no name"))?;
        Ok((row.get(0)?, RoomId { tenant, site }))
    };
    store
        .prepare_cached("SELECT id, tenant, site FROM rooms WHERE id IN (SELECT room FROM attendance)")?
        .query_map([], room)?
        .collect()
}

/// For readers.
pub(super) fn present(store: &Connection, room: &RoomId) -> rusqlite::Result<Book> {
    match log::room_id(store, room)? {
        Some(id) => read_book(store, id),
        None => Ok(Book::default()),
    }
}
