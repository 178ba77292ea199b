//! Who is in a room: one value, replaced as a whole if it still is what was seen, with the entries that tell of it.
//!
//! All leases run by Redis's clock: the only one that all instances share.

use lockgate_proto::attendance::{Book, Sheet};
use lockgate_proto::time::UnixMicros;
use redis::{Value, cmd};

use super::keys::{RoomKeys, attendance_keys};
use super::library::Function;
use super::line::read;
use super::upkeep::search;
use super::{RedisBackbone, is_done};
use crate::backbone::BackboneError;
use crate::backbone::prepare::{PreparedEntry, turn_entries};

/// Tries to change a book while others do; each failure means that another one has succeeded.
const TRIES: usize = 32;

/// A book as it was seen.
pub(super) struct Seen {
    /// Empty: there is none.
    stored: Vec<u8>,
    pub(super) book: Book,
    /// Redis's time.
    pub(super) now: UnixMicros,
}

impl RedisBackbone {
    pub(super) async fn attendance(&self, keys: &RoomKeys) -> Result<Seen, BackboneError> {
        let asked = [cmd("GET").arg(keys.attendance()).take(), cmd("TIME")];
        let answers: Vec<Value> = self.shared.nodes.ask(keys, &asked).await?;
        let damaged = |what: &str| BackboneError::Damaged { what: what.to_owned() };
        let [stored, time] = answers.try_into().map_err(|_| damaged("Redis does not answer all that was asked"))?;
        let stored: Vec<u8> = read::<Option<_>>(Ok(stored))?.unwrap_or_default();
        let (seconds, micros): (i64, i64) = read(Ok(time))?;
        let now = UnixMicros(seconds.saturating_mul(1_000_000).saturating_add(micros));
        let book = if stored.is_empty() {
            Book::default()
        } else {
            Book::from_bytes(&stored).map_err(|_| damaged("who is in a room is not readable"))?
        };
        Ok(Seen { stored, book, now })
    }

    pub(super) async fn attend_in(&self, keys: &RoomKeys, sheet: &Sheet) -> Result<(), BackboneError> {
        self.change_book(keys, |seen| {
            let turns = seen.book.say(seen.now, sheet.clone(), self.shared.attendance_lease);
            turn_entries(&turns, seen.now).iter().map(PreparedEntry::new).collect()
        })
        .await
    }

    /// Gives up what has expired, in every room in which anyone was.
    pub(super) async fn expire_all_attendance(&self) -> Result<(), BackboneError> {
        let mut expired = Ok(());
        for node in &self.shared.nodes.map().nodes {
            let mut cursor = Some(0);
            while let Some(at) = cursor {
                let (next, books) = search(&node.reader, at, &attendance_keys()).await?;
                for keys in books.iter().filter_map(|book| RoomKeys::of_attendance(book)) {
                    // A room that is damaged, or on its way to another node, keeps none of the others.
                    expired = expired.and(self.expire_in(&keys).await);
                }
                cursor = next;
            }
        }
        expired
    }

    async fn expire_in(&self, keys: &RoomKeys) -> Result<(), BackboneError> {
        self.change_book(keys, |seen| {
            let turns = seen.book.expire(seen.now, self.shared.attendance_lease);
            turn_entries(&turns, seen.now).iter().map(PreparedEntry::new).collect()
        })
        .await
    }

    /// Adds entries, whoever is in the room.
    pub(super) async fn append_to(&self, keys: &RoomKeys, entries: &[PreparedEntry]) -> Result<(), BackboneError> {
        let mut call = self.call(Function::Turn, &[keys.head(), keys.log()]);
        call.arg("").arg("");
        self.entry_args(&mut call, keys, entries)?;
        self.write(keys, keys, call).await.map(drop)
    }

    /// Changes a book as often as it takes until no other has come between.
    async fn change_book(
        &self,
        keys: &RoomKeys,
        change: impl Fn(&mut Seen) -> Vec<PreparedEntry>,
    ) -> Result<(), BackboneError> {
        for _ in 0..TRIES {
            let mut seen = self.attendance(keys).await?;
            let before = seen.book.clone();
            let entries = change(&mut seen);
            if seen.book == before {
                return Ok(());
            }
            let new = if seen.book.is_empty() { Vec::new() } else { seen.book.to_bytes() };
            if self.turn(keys, &seen.stored, &new, &entries).await? {
                return Ok(());
            }
        }
        Err(BackboneError::Unavailable { reason: "too many change at once who is in a room".to_owned() })
    }

    async fn turn(
        &self,
        keys: &RoomKeys,
        seen: &[u8],
        new: &[u8],
        entries: &[PreparedEntry],
    ) -> Result<bool, BackboneError> {
        let mut call = self.call(Function::Turn, &[keys.head(), keys.log(), keys.attendance()]);
        call.arg(seen).arg(new);
        self.entry_args(&mut call, keys, entries)?;
        Ok(is_done(&self.write(keys, keys, call).await?))
    }
}
