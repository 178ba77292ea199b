//! Books of commands: read by one function with Redis's time, written by another if they are as they were read.

use std::collections::BTreeMap;
use std::time::Duration;

use lockgate_proto::command::{Book, CommandId, Kept, Mark};
use lockgate_proto::convert::{command_mark_from_bytes, command_mark_to_bytes, kept_command_to_bytes};
use lockgate_proto::ids::RoomId;
use lockgate_proto::time::UnixMicros;
use redis::{Cmd, Value, cmd};
use tokio::time::Instant;

use super::keys::{RoomKeys, waits_keys};
use super::library::Function;
use super::line::{is_function_missing, read};
use super::news_logic::{self, BadNews, holder, name, stored};
use super::upkeep::search;
use super::{RedisBackbone, is_done};
use crate::backbone::commands::over_at;
use crate::backbone::prepare::PreparedEntry;
use crate::backbone::{
    BackboneError, BookRead, BookVersion, BookWrite, BookWritten, CommandPage, CommandsWanted, HistoryPlace, Holder,
};

/// Commands that one round trip of a search in the history brings.
const HISTORY_STRIDE: usize = 128;

/// LIMIT: commands that one page looks at. Where fewer are found than were wanted, the next page goes on from there.
const HISTORY_LOOK_MAX: usize = 16_384;

/// A room whose deadlines were not noted, as its gateway died right then, is found all the same after so long.
const SEARCH_INTERVAL: Duration = Duration::from_secs(60);

impl From<BadNews> for BackboneError {
    fn from(error: BadNews) -> BackboneError {
        BackboneError::Damaged { what: error.to_string() }
    }
}

/// What is stored of a book: its version and its mark.
fn book_from(stored: &[u8]) -> Result<(BookVersion, Mark), BadNews> {
    let Some((version, mark)) = stored.split_first_chunk() else { return Ok(Default::default()) };
    Ok((BookVersion(u64::from_be_bytes(*version)), command_mark_from_bytes(mark).map_err(|_| BadNews)?))
}

/// A version as it is stored; a book in which nothing was written has none.
fn version_bytes(version: BookVersion) -> Vec<u8> {
    if version == BookVersion::default() { Vec::new() } else { version.0.to_be_bytes().to_vec() }
}

impl RedisBackbone {
    pub(super) async fn read_book(
        &self,
        keys: &RoomKeys,
        asked: &Holder,
        ids: &[CommandId],
    ) -> Result<BookRead, BackboneError> {
        let mut call = cmd("FCALL_RO");
        call.arg(self.shared.library.name_of(Function::ReadBook)).arg(3);
        call.arg(keys.books()).arg(keys.commands()).arg(keys.open()).arg(name(asked));
        call.arg(ids.iter().map(CommandId::as_str).collect::<Vec<_>>());
        let answer: (i64, i64, Vec<Vec<u8>>, Vec<Vec<u8>>) = self.ask_function(keys, &call).await?;
        let (seconds, micros, books, found) = answer;
        let now = UnixMicros(seconds.saturating_mul(1_000_000).saturating_add(micros));
        let mut read = BookRead { now, book: Book::default(), versions: BTreeMap::new(), elsewhere: BTreeMap::new() };
        for pair in books.chunks_exact(2) {
            let (whose, (version, mark)) = (holder(&pair[0])?, book_from(&pair[1])?);
            if whose == *asked {
                read.book.mark = mark;
            }
            read.versions.insert(whose, version);
        }
        for bytes in found {
            let (whose, kept) = stored(bytes)?;
            if whose != *asked {
                read.elsewhere.insert(kept.command.id.clone(), whose);
            }
            read.book.commands.insert(kept.command.id.clone(), kept);
        }
        Ok(read)
    }

    pub(super) async fn write_books(&self, keys: &RoomKeys, write: &BookWrite) -> Result<BookWritten, BackboneError> {
        let entries: Vec<PreparedEntry> = write.entries().iter().map(PreparedEntry::new).collect();
        let names = [
            keys.head(),
            keys.log(),
            keys.books(),
            keys.commands(),
            keys.open(),
            keys.waits(),
            keys.history(),
            keys.over(),
        ];
        let mut call = self.call(Function::WriteBook, &names);
        call.arg(write.versions.len());
        for (whose, version) in &write.versions {
            call.arg(name(whose)).arg(version_bytes(*version));
        }
        let version = self.draw_stamps(1)?;
        call.arg(&version.first().map_or(0, |version| version.0).to_be_bytes());
        match &write.mark {
            Some((agent, mark)) => call.arg(agent.as_str()).arg(command_mark_to_bytes(mark)),
            None => call.arg("").arg(""),
        };
        call.arg(write.commands.len());
        for (whose, kept) in &write.commands {
            command_args(&mut call, whose, kept);
        }
        self.entry_args(&mut call, keys, &entries)?;
        call.arg(keys.told()).arg(news_logic::encode(&write.news));
        if !is_done(&self.write(keys, keys, call).await?) {
            return Ok(BookWritten::Changed);
        }
        let waits = write.commands.iter().filter(|(_, kept)| !kept.standing.state.ends_the_wait());
        if let Some(deadline) = waits.map(|(_, kept)| kept.command.deadline).min() {
            self.note_deadline(keys, deadline).await;
        }
        Ok(BookWritten::Done)
    }

    /// Asks one of our functions that only reads; makes it known where Redis has lost it.
    async fn ask_function<T: redis::FromRedisValue>(&self, keys: &RoomKeys, call: &Cmd) -> Result<T, BackboneError> {
        let mut answer = self.shared.nodes.follow(keys, call, None).await?;
        if answer.as_ref().is_err_and(is_function_missing) {
            self.shared.nodes.load_functions(keys).await?;
            answer = self.shared.nodes.follow(keys, call, None).await?;
        }
        read(answer)
    }

    pub(super) async fn read_command(&self, keys: &RoomKeys, id: &CommandId) -> Result<Option<Kept>, BackboneError> {
        let asked = cmd("HGET").arg(keys.commands()).arg(id.as_str()).take();
        let found: Option<Vec<u8>> = self.shared.nodes.ask_one(keys, asked).await?;
        Ok(found.map(stored).transpose()?.map(|(_, kept)| kept))
    }

    pub(super) async fn read_history(
        &self,
        keys: &RoomKeys,
        wanted: &CommandsWanted,
    ) -> Result<CommandPage, BackboneError> {
        let newest =
            wanted.before.as_ref().map_or_else(|| "+inf".to_owned(), |before| before.accepted_at.0.to_string());
        let (mut found, mut last) = (Vec::new(), None);
        for skipped in (0..HISTORY_LOOK_MAX).step_by(HISTORY_STRIDE) {
            let mut range = cmd("ZREVRANGEBYSCORE");
            range.arg(keys.history()).arg(&newest).arg("-inf").arg("LIMIT").arg(skipped).arg(HISTORY_STRIDE);
            let ids: Vec<String> = self.shared.nodes.ask_one(keys, range).await?;
            if ids.is_empty() {
                return Ok(CommandPage::cut(found, wanted.max.max(1)));
            }
            let asked = cmd("HMGET").arg(keys.commands()).arg(&ids).take();
            // One that was forgotten meanwhile is gone.
            let kept: Vec<Option<Vec<u8>>> = self.shared.nodes.ask_one(keys, asked).await?;
            for bytes in kept.into_iter().flatten() {
                let (_, kept) = stored(bytes)?;
                let place = HistoryPlace::of(&kept);
                // What came meanwhile has pushed the older ones on: they come a second time.
                if last.as_ref().is_none_or(|last| place < *last) {
                    last = Some(place);
                    found.extend(Some(kept).filter(|kept| wanted.holds(kept)));
                }
            }
            if found.len() > wanted.max.max(1) {
                return Ok(CommandPage::cut(found, wanted.max.max(1)));
            }
        }
        Ok(CommandPage { commands: found, next: last })
    }

    /// Notes that in a room a deadline passes then. A failure is made good by the search for such rooms.
    async fn note_deadline(&self, keys: &RoomKeys, deadline: UnixMicros) {
        let index = RoomKeys::of_no_room();
        let note = cmd("ZADD").arg(index.waits()).arg("LT").arg(deadline.0).arg(keys.to_string()).take();
        drop(self.shared.nodes.ask_one::<Value>(&index, note).await);
    }

    pub(super) async fn find_overdue(&self, max: usize) -> Result<Vec<(RoomId, Holder)>, BackboneError> {
        self.search_waits().await?;
        let index = RoomKeys::of_no_room();
        let now = self.time(&index).await?;
        let due = cmd("ZRANGEBYSCORE").arg(index.waits()).arg("-inf").arg(now.0).arg("LIMIT").arg(0).arg(max).take();
        let rooms: Vec<String> = self.shared.nodes.ask_one(&index, due).await?;
        let mut overdue = Vec::new();
        for prefix in rooms {
            let keys = RoomKeys::of_waits(&format!("{prefix}:waits"));
            let Some((keys, room)) = keys.and_then(|keys| keys.room().map(|room| (keys, room))) else { continue };
            let now = self.time(&keys).await?;
            let due = cmd("ZRANGEBYSCORE").arg(keys.waits()).arg("-inf").arg(now.0).arg("LIMIT").arg(0).arg(max).take();
            let members: Vec<Vec<u8>> = self.shared.nodes.ask_one(&keys, due).await?;
            if members.is_empty() {
                self.note_next(&index, &keys).await?;
            }
            for member in members {
                let agent = member.split(|byte| *byte == 0).next().unwrap_or_default();
                let book = (room.clone(), holder(agent)?);
                if !overdue.contains(&book) {
                    overdue.push(book);
                }
            }
        }
        overdue.truncate(max);
        Ok(overdue)
    }

    /// Nothing is due in a room any more: notes when something will be. What is written meanwhile is noted after that,
    /// or found by the second look.
    async fn note_next(&self, index: &RoomKeys, keys: &RoomKeys) -> Result<(), BackboneError> {
        let forget = cmd("ZREM").arg(index.waits()).arg(keys.to_string()).take();
        self.shared.nodes.ask_one::<Value>(index, forget).await?;
        if let Some(deadline) = self.next_deadline(keys).await? {
            self.note_deadline(keys, deadline).await;
        }
        Ok(())
    }

    async fn next_deadline(&self, keys: &RoomKeys) -> Result<Option<UnixMicros>, BackboneError> {
        let first = cmd("ZRANGE").arg(keys.waits()).arg(0).arg(0).arg("WITHSCORES").take();
        let first: Vec<(Vec<u8>, f64)> = self.shared.nodes.ask_one(keys, first).await?;
        // The one without a name is there for the key's sake.
        #[expect(clippy::cast_possible_truncation, reason = "it was written as a whole number of microseconds")]
        let deadline = first.first().filter(|(member, _)| !member.is_empty()).map(|(_, at)| UnixMicros(*at as i64));
        Ok(deadline)
    }

    async fn time(&self, keys: &RoomKeys) -> Result<UnixMicros, BackboneError> {
        let (seconds, micros): (i64, i64) = self.shared.nodes.ask_one(keys, cmd("TIME")).await?;
        Ok(UnixMicros(seconds.saturating_mul(1_000_000).saturating_add(micros)))
    }

    /// Once in a while, notes the rooms in which commands wait, whoever has forgotten to.
    async fn search_waits(&self) -> Result<(), BackboneError> {
        {
            let mut searched = self.shared.searched.lock().await;
            if searched.is_some_and(|at| at.elapsed() < SEARCH_INTERVAL) {
                return Ok(());
            }
            *searched = Some(Instant::now());
        }
        for node in &self.shared.nodes.map().nodes {
            let mut cursor = Some(0);
            while let Some(at) = cursor {
                let (next, waits) = search(&node.reader, at, &waits_keys()).await?;
                for keys in waits.iter().filter_map(|waits| RoomKeys::of_waits(waits)) {
                    if let Some(deadline) = self.next_deadline(&keys).await? {
                        self.note_deadline(&keys, deadline).await;
                    }
                }
                cursor = next;
            }
        }
        Ok(())
    }
}

/// What the function is told of a command.
fn command_args(call: &mut Cmd, whose: &Holder, kept: &Kept) {
    let state = &kept.standing.state;
    let deadline = (!state.ends_the_wait()).then(|| kept.command.deadline.0.to_string());
    call.arg(kept.command.id.as_str()).arg(name(whose)).arg(kept_command_to_bytes(kept)).arg(kept.accepted_at.0);
    call.arg(deadline.unwrap_or_default());
    call.arg(over_at(kept).map(|at| at.0.to_string()).unwrap_or_default());
}
