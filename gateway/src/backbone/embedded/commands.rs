//! Books of commands: rows that are read beside the writer, and written by it if the book is still as it was read.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use lockgate_proto::command::{Book, CommandId, Kept, Mark};
use lockgate_proto::convert::{
    command_mark_from_bytes, command_mark_to_bytes, kept_command_from_bytes, kept_command_to_bytes,
};
use lockgate_proto::ids::{AgentName, RoomId, Site, Tenant};
use lockgate_proto::time::UnixMicros;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};
use tokio::sync::broadcast;

use super::log::{self, damaged};
use super::state::{State, WriteError};
use crate::backbone::commands::over_at;
use crate::backbone::feed::FEED_ITEMS_MAX;
use crate::backbone::{
    BookRead, BookVersion, BookWrite, BookWritten, CommandFeed, CommandFeedItem, CommandNews, CommandPage,
    CommandsWanted, Holder, StateWanted,
};

/// Forgotten commands that one slice drops at most.
const SLICE_ROWS_MAX: i64 = 1_024;

/// How a holder stands in the tables.
fn column(holder: &Holder) -> &str {
    holder.as_ref().map_or("", AgentName::as_str)
}

fn holder(row: &Row<'_>, at: usize) -> rusqlite::Result<Holder> {
    let text: String = row.get(at)?;
    if text.is_empty() {
        return Ok(None);
    }
    AgentName::new(text).map(Some).map_err(|_| damaged(at, "a command's agent has no name"))
}

fn kept(row: &Row<'_>, at: usize) -> rusqlite::Result<Kept> {
    let bytes = row.get_ref(at)?.as_blob().map_err(|_| damaged(at, "a command is no bytes"))?;
    kept_command_from_bytes(bytes).map_err(|_| damaged(at, "a command is not readable"))
}

fn version(store: &Connection, room: i64, holder: &Holder) -> rusqlite::Result<BookVersion> {
    let found: Option<i64> = store
        .prepare_cached("SELECT version FROM command_books WHERE room = ?1 AND agent = ?2")?
        .query_row(params![room, column(holder)], |row| row.get(0))
        .optional()?;
    Ok(BookVersion(found.unwrap_or(0).cast_unsigned()))
}

/// What the book says, and what is known of `ids`.
pub(super) fn book(
    store: &Connection,
    room: &RoomId,
    asked: &Holder,
    ids: &[CommandId],
    now: UnixMicros,
) -> rusqlite::Result<BookRead> {
    let versions = BTreeMap::from([(asked.clone(), BookVersion::default())]);
    let mut read = BookRead { now, book: Book::default(), versions, elsewhere: BTreeMap::new() };
    let Some(room) = log::room_id(store, room)? else { return Ok(read) };
    read.versions.insert(asked.clone(), version(store, room, asked)?);
    read.book.mark = mark(store, room, asked)?;
    let mut open =
        store.prepare_cached("SELECT kept FROM commands WHERE room = ?1 AND agent = ?2 AND over_at IS NULL")?;
    for command in open.query_map(params![room, column(asked)], |row| kept(row, 0))? {
        let command = command?;
        read.book.commands.insert(command.command.id.clone(), command);
    }
    for id in ids.iter().filter(|id| !read.book.commands.contains_key(*id)).cloned().collect::<Vec<_>>() {
        let Some((stands, command)) = one(store, room, &id)? else { continue };
        read.book.commands.insert(id.clone(), command);
        if stands != *asked {
            read.versions.insert(stands.clone(), version(store, room, &stands)?);
            read.elsewhere.insert(id, stands);
        }
    }
    Ok(read)
}

fn mark(store: &Connection, room: i64, holder: &Holder) -> rusqlite::Result<Mark> {
    let found: Option<Vec<u8>> = store
        .prepare_cached("SELECT mark FROM command_books WHERE room = ?1 AND agent = ?2")?
        .query_row(params![room, column(holder)], |row| row.get(0))
        .optional()?;
    let readable = |bytes: Vec<u8>| command_mark_from_bytes(&bytes).map_err(|_| damaged(0, "a mark is not readable"));
    found.map_or(Ok(Mark::default()), readable)
}

fn one(store: &Connection, room: i64, id: &CommandId) -> rusqlite::Result<Option<(Holder, Kept)>> {
    store
        .prepare_cached("SELECT agent, kept FROM commands WHERE room = ?1 AND id = ?2")?
        .query_row(params![room, id.as_str()], |row| Ok((holder(row, 0)?, kept(row, 1)?)))
        .optional()
}

/// One command.
pub(super) fn command(store: &Connection, room: &RoomId, id: &CommandId) -> rusqlite::Result<Option<Kept>> {
    let Some(room) = log::room_id(store, room)? else { return Ok(None) };
    Ok(one(store, room, id)?.map(|(_, command)| command))
}

/// The commands of a room, the newest first.
pub(super) fn page(store: &Connection, room: &RoomId, wanted: &CommandsWanted) -> rusqlite::Result<CommandPage> {
    let Some(room) = log::room_id(store, room)? else { return Ok(CommandPage::default()) };
    let max = wanted.max.max(1);
    let mut sql = "SELECT kept FROM commands WHERE room = ?".to_owned();
    let mut values = vec![Value::from(room)];
    let mut only = |test: &str, of: Vec<Value>| {
        sql.push_str(test);
        values.extend(of);
    };
    if let Some(device) = &wanted.device {
        only(" AND device = ?", vec![device.as_str().to_owned().into()]);
    }
    match &wanted.state {
        Some(StateWanted::Open) => only(" AND over_at IS NULL", Vec::new()),
        Some(StateWanted::Word(word)) => only(" AND state = ?", vec![word.as_ref().to_owned().into()]),
        None => {}
    }
    if let Some(group) = &wanted.group {
        // All that begin with the group's id and a slash: a zero is what follows the slash.
        only(" AND id > ? AND id < ?", vec![format!("{group}/").into(), format!("{group}0").into()]);
    }
    if let Some(sender) = &wanted.sender {
        only(" AND sender = ?", vec![sender.as_str().to_owned().into()]);
    }
    if let Some(before) = &wanted.before {
        let place = vec![before.accepted_at.0.into(), before.id.as_str().to_owned().into()];
        only(" AND (accepted_at, id) < (?, ?)", place);
    }
    only(" ORDER BY accepted_at DESC, id DESC LIMIT ?", vec![i64::try_from(max + 1).unwrap_or(i64::MAX).into()]);
    let mut statement = store.prepare_cached(&sql)?;
    let commands = statement.query_map(params_from_iter(values), |row| kept(row, 0))?;
    Ok(CommandPage::cut(commands.collect::<rusqlite::Result<_>>()?, max))
}

/// Books in which a command waits whose deadline has passed.
pub(super) fn overdue(store: &Connection, now: UnixMicros, max: usize) -> rusqlite::Result<Vec<(RoomId, Holder)>> {
    let book = |row: &Row<'_>| {
        let tenant = Tenant::new(row.get::<_, String>(0)?).map_err(|_| damaged(0, "a tenant has no name"))?;
        let site = Site::new(row.get::<_, String>(1)?).map_err(|_| damaged(1, "a site has no name"))?;
        Ok((RoomId { tenant, site }, holder(row, 2)?))
    };
    store
        .prepare_cached(
            "SELECT DISTINCT rooms.tenant, rooms.site, commands.agent FROM commands JOIN rooms \
             ON rooms.id = commands.room WHERE commands.waits AND commands.deadline <= ?1 LIMIT ?2",
        )?
        .query_map(params![now.0, i64::try_from(max).unwrap_or(i64::MAX)], book)?
        .collect()
}

/// Drops a slice of what may be forgotten, oldest first; says whether there may be more.
pub(super) fn forget_slice(store: &Connection, over_before: UnixMicros) -> rusqlite::Result<bool> {
    let dropped = store
        .prepare_cached(
            "DELETE FROM commands WHERE row IN \
             (SELECT row FROM commands WHERE over_at < ?1 ORDER BY over_at LIMIT ?2)",
        )?
        .execute(params![over_before.0, SLICE_ROWS_MAX])?;
    Ok(i64::try_from(dropped).is_ok_and(|dropped| dropped == SLICE_ROWS_MAX))
}

impl State {
    /// Writes what became of books, if they are as they were read.
    pub(super) fn write_book(
        &mut self,
        store: &Connection,
        room: &RoomId,
        write: BookWrite,
    ) -> Result<BookWritten, WriteError> {
        let id = self.room_row(store, room)?;
        if !is_as_read(store, id, &write)? {
            return Ok(BookWritten::Changed);
        }
        if let Some((agent, mark)) = &write.mark {
            self.write_version(store, id, &Some(agent.clone()), Some(mark))?;
        }
        for book in written_books(&write) {
            if write.mark.as_ref().is_none_or(|(agent, _)| book.as_ref() != Some(agent)) {
                self.write_version(store, id, &book, None)?;
            }
        }
        for (holder, command) in &write.commands {
            write_command(store, id, holder, command)?;
        }
        self.append_all(store, room, &write.entries())?;
        self.command_feeds.hold(room, write.news);
        Ok(BookWritten::Done)
    }

    fn write_version(
        &mut self,
        store: &Connection,
        room: i64,
        holder: &Holder,
        mark: Option<&Mark>,
    ) -> Result<(), WriteError> {
        let version = self.stamps.draw()?.0.cast_signed();
        store
            .prepare_cached(
                "INSERT INTO command_books (room, agent, version, mark) VALUES (?1, ?2, ?3, coalesce(?4, x'')) \
                 ON CONFLICT (room, agent) DO UPDATE SET version = ?3, mark = coalesce(?4, mark)",
            )?
            .execute(params![room, column(holder), version, mark.map(command_mark_to_bytes)])?;
        Ok(())
    }
}

/// Books that a write changes besides by their mark.
fn written_books(write: &BookWrite) -> Vec<Holder> {
    let into = write.commands.iter().map(|(holder, _)| holder.clone());
    let mut books: Vec<Holder> = into.chain(write.versions.keys().cloned()).collect();
    books.sort();
    books.dedup();
    books
}

fn is_as_read(store: &Connection, room: i64, write: &BookWrite) -> rusqlite::Result<bool> {
    for (holder, read) in &write.versions {
        if version(store, room, holder)? != *read {
            return Ok(false);
        }
    }
    let mut find = store.prepare_cached("SELECT agent FROM commands WHERE room = ?1 AND id = ?2")?;
    for (_, command) in &write.commands {
        let id = command.command.id.as_str();
        let stands = find.query_row(params![room, id], |row| holder(row, 0)).optional()?;
        if stands.is_some_and(|holder| !write.versions.contains_key(&holder)) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn write_command(store: &Connection, room: i64, holder: &Holder, kept: &Kept) -> rusqlite::Result<()> {
    let state = &kept.standing.state;
    store
        .prepare_cached(
            "INSERT INTO commands (room, id, agent, device, sender, state, accepted_at, deadline, waits, over_at, kept) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) ON CONFLICT (room, id) DO UPDATE SET \
             agent = excluded.agent, state = excluded.state, accepted_at = excluded.accepted_at, \
             waits = excluded.waits, over_at = excluded.over_at, kept = excluded.kept",
        )?
        .execute(params![
            room,
            kept.command.id.as_str(),
            column(holder),
            kept.command.device.as_str(),
            kept.command.sender.as_str(),
            state.as_str(),
            kept.accepted_at.0,
            kept.command.deadline.0,
            !state.ends_the_wait(),
            over_at(kept).map(|at| at.0),
            kept_command_to_bytes(kept),
        ])
        .map(drop)
}

/// Who follows the commands of which room, and what the running transaction has for them.
#[derive(Default)]
pub(super) struct CommandFeeds {
    rooms: HashMap<RoomId, broadcast::Sender<CommandFeedItem>>,
    held: Vec<(RoomId, Vec<CommandNews>)>,
}

impl CommandFeeds {
    pub(super) fn subscribe(&mut self, room: &RoomId) -> CommandFeed {
        self.rooms.retain(|_, items| items.receiver_count() > 0);
        let items = self.rooms.entry(room.clone()).or_insert_with(|| broadcast::Sender::new(FEED_ITEMS_MAX));
        CommandFeed::new(items.subscribe())
    }

    fn hold(&mut self, room: &RoomId, news: Vec<CommandNews>) {
        if self.rooms.contains_key(room) && !news.is_empty() {
            self.held.push((room.clone(), news));
        }
    }

    /// What was held has been committed.
    pub(super) fn publish(&mut self) {
        let mut gone = Vec::new();
        for (room, news) in self.held.drain(..) {
            let sent = self.rooms.get(&room).map(|items| items.send(CommandFeedItem::News(Arc::from(news))));
            if sent.is_some_and(|sent| sent.is_err()) {
                gone.push(room);
            }
        }
        for room in gone {
            self.rooms.remove(&room);
        }
    }

    /// What was held has not been committed.
    pub(super) fn drop_held(&mut self) {
        self.held.clear();
    }
}
