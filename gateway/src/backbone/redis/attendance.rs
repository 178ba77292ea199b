//! Who is in a room: one value, replaced as a whole if it still is what was seen, with the entries that tell of it.
//!
//! All leases run by Redis's clock: the only one that all instances share.

use lockgate_proto::attendance::{Book, Sheet};
use lockgate_proto::time::UnixMicros;
use redis::Pipeline;

use super::keys::{self, RoomKeys, attendance_keys};
use super::library::Function;
use super::line::read;
use super::upkeep::search;
use super::{RedisBackbone, is_done};
use crate::backbone::BackboneError;
use crate::backbone::prepare::{PreparedEntry, turn_entries};

/// Tries to change a book while others do; each failure means that another one has succeeded.
const TRIES: usize = 32;

/// Stands for a book that is not looked at.
const NO_BOOK: &str = "-";

/// A book as it was seen.
pub(super) struct Seen {
    /// Empty: there is none.
    stored: Vec<u8>,
    pub(super) book: Book,
    /// Redis's time.
    pub(super) now: UnixMicros,
}

impl RedisBackbone {
    pub(super) async fn book(&self, keys: &RoomKeys) -> Result<Seen, BackboneError> {
        let mut pipeline = Pipeline::with_capacity(2);
        pipeline.cmd("GET").arg(keys.attendance()).cmd("TIME").ignore_errors();
        let answers = self.shared.reader.ask(&pipeline).await?;
        let damaged = |what: &str| BackboneError::Damaged { what: what.to_owned() };
        let [stored, time] = answers.try_into().map_err(|_| damaged("Redis does not answer all that was asked"))?;
        let stored: Vec<u8> = read::<Option<_>>(stored)?.unwrap_or_default();
        let (seconds, micros): (i64, i64) = read(time)?;
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
        let mut cursor = Some(0);
        while let Some(at) = cursor {
            let (next, books) = search(&self.shared.reader, at, &attendance_keys()).await?;
            for keys in books.iter().filter_map(|book| keys::room_of(book)) {
                self.change_book(&keys, |seen| {
                    let turns = seen.book.expire(seen.now, self.shared.attendance_lease);
                    turn_entries(&turns, seen.now).iter().map(PreparedEntry::new).collect()
                })
                .await?;
            }
            cursor = next;
        }
        Ok(())
    }

    /// Adds entries, whatever is in the room.
    pub(super) async fn append_to(&self, keys: &RoomKeys, entries: &[PreparedEntry]) -> Result<(), BackboneError> {
        self.turn(keys, NO_BOOK.as_bytes(), &[], entries).await.map(drop)
    }

    /// Changes a book as often as it takes until no other has come between.
    async fn change_book(
        &self,
        keys: &RoomKeys,
        change: impl Fn(&mut Seen) -> Vec<PreparedEntry>,
    ) -> Result<(), BackboneError> {
        for _ in 0..TRIES {
            let mut seen = self.book(keys).await?;
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
        let names = [keys.attendance(), keys.head(), keys.log(), keys.live()];
        let mut call = self.call(Function::Turn, &names);
        call.arg(seen).arg(new);
        self.entry_args(&mut call, entries)?;
        Ok(is_done(&self.lane(&names[0]).write(call).await?))
    }
}
