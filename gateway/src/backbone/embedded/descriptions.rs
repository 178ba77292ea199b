//! What devices were last described as: one row for each.

use lockgate_proto::convert::description_from_bytes;
use lockgate_proto::description::Description;
use lockgate_proto::ids::DeviceName;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::log::damaged;
use super::shadows::Key;

/// Writes one in the place of an older one. Which is the older, the shadow knows.
pub(super) fn put(store: &Connection, key: &Key, description: &[u8]) -> rusqlite::Result<()> {
    let sql = "INSERT INTO descriptions (room, device, description) VALUES (?1, ?2, ?3) \
         ON CONFLICT (room, device) DO UPDATE SET description = excluded.description";
    store.prepare_cached(sql)?.execute(params![key.0, key.1.as_str(), description]).map(drop)
}

/// One device's, for readers.
pub(super) fn read(store: &Connection, room: i64, device: &DeviceName) -> rusqlite::Result<Option<Description>> {
    let description = |row: &Row<'_>| {
        let bytes = row.get_ref(0)?.as_blob().ok();
        let read = bytes.and_then(|bytes| description_from_bytes(bytes).ok());
        read.ok_or_else(|| damaged(0, "a description is not readable"))
    };
    let sql = "SELECT description FROM descriptions WHERE room = ?1 AND device = ?2";
    store.prepare_cached(sql)?.query_row(params![room, device.as_str()], description).optional()
}
