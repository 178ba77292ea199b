//! Commands in a backbone: books, how they are written, and their history.
//!
//! Every transition is decided by the pure [`Book`]. An engine gives a part of a book with the version that it has,
//! and takes back what became of it if no book that was looked at has changed since. So it knows nothing of commands
//! but whose they are, whether they are open, and until when.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lockgate_proto::command::{Book, CommandId, CommandUpdate, Kept, Mark};
use lockgate_proto::convert::encode_command_body;
use lockgate_proto::ids::{AgentName, DeviceName, UserName};
use lockgate_proto::limits::COMMAND_KEPT_AFTER;
use lockgate_proto::time::UnixMicros;
use tokio::sync::broadcast;

use super::{EntryKind, NewEntry};

/// In whose book a command stands; `None`: in that of the devices that no agent has announced.
pub type Holder = Option<AgentName>;

/// Names one state of one book. Random, so that a store that went back does not look unchanged; 0 is a book in which
/// nothing was ever written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BookVersion(pub u64);

/// What was asked of a book, all of one instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookRead {
    /// The backbone's time.
    pub now: UnixMicros,
    /// The mark, the open commands, and those that were asked for by name, wherever they stand.
    pub book: Book,
    /// Those of the book, and of each other one in which a command stands that was asked for.
    pub versions: BTreeMap<Holder, BookVersion>,
    /// Of the commands, those that stand in another book, and in which.
    pub elsewhere: BTreeMap<CommandId, Holder>,
}

/// What became of books: written as a whole, or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookWrite {
    /// The backbone's time when they were read.
    pub at: UnixMicros,
    /// As they were read. Every book that is written, and each that a command leaves, is among them.
    pub versions: BTreeMap<Holder, BookVersion>,
    /// The mark of an agent's book, where it has changed.
    pub mark: Option<(AgentName, Mark)>,
    /// Those that are new or have changed, and in whose book they stand now.
    pub commands: Vec<(Holder, Kept)>,
    /// For those who follow, and for the room's log.
    pub news: Vec<CommandNews>,
}

impl BookWrite {
    /// What the room's log gets.
    pub(super) fn entries(&self) -> Vec<NewEntry> {
        let entry = |update: &CommandUpdate| NewEntry {
            received_at: self.at,
            origin: None,
            kind: EntryKind::Command,
            device: Some(update.device.clone()),
            body: encode_command_body(update),
            shadow: Vec::new(),
        };
        self.news.iter().filter_map(|news| news.update.as_ref()).map(entry).collect()
    }
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BookWritten {
    /// All of it is stored.
    Done,
    /// Nothing is: one of the books has changed since it was read. Read it again.
    Changed,
}

/// Something has changed in a book.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandNews {
    /// In whose.
    pub holder: Holder,
    /// What; `None`: an open command is wanted back, of which only its agent needs to hear.
    pub update: Option<CommandUpdate>,
}

/// Which commands of a room are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandsWanted {
    /// Of this device alone.
    pub device: Option<DeviceName>,
    /// That stand there.
    pub state: Option<StateWanted>,
    /// Of this group alone.
    pub group: Option<CommandId>,
    /// Of this sender alone.
    pub sender: Option<UserName>,
    /// Older than this one; the newest where nothing is said.
    pub before: Option<HistoryPlace>,
    /// At most so many, at least one.
    pub max: usize,
}

impl CommandsWanted {
    /// Whether the command is among them.
    pub(super) fn holds(&self, kept: &Kept) -> bool {
        let (command, state) = (&kept.command, &kept.standing.state);
        let in_state = match &self.state {
            Some(StateWanted::Open) => state.outcome().is_none(),
            Some(StateWanted::Word(word)) => state.as_str() == word.as_ref(),
            None => true,
        };
        let rest = |group: &CommandId| command.id.as_str().strip_prefix(group.as_str());
        let is_member = |group: &CommandId| rest(group).is_some_and(|rest| rest.starts_with('/'));
        in_state
            && self.device.as_ref().is_none_or(|device| *device == command.device)
            && self.sender.as_ref().is_none_or(|sender| *sender == command.sender)
            && self.group.as_ref().is_none_or(is_member)
            && self.before.as_ref().is_none_or(|before| HistoryPlace::of(kept) < *before)
    }
}

/// Where commands stand that are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateWanted {
    /// Those that have not ended.
    Open,
    /// By the word of [`State`](lockgate_proto::command::State).
    Word(Arc<str>),
}

/// A command's place in the history of its room. It stays where it is, whatever comes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HistoryPlace {
    /// When it was accepted.
    pub accepted_at: UnixMicros,
    /// Of those that were accepted at once, the greater id is taken for the newer one.
    pub id: CommandId,
}

impl HistoryPlace {
    /// Where the command stands.
    pub fn of(kept: &Kept) -> HistoryPlace {
        HistoryPlace { accepted_at: kept.accepted_at, id: kept.command.id.clone() }
    }
}

/// Commands of a room, the newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandPage {
    /// As many as were asked for, or all that there are, or those that one look has found.
    pub commands: Vec<Kept>,
    /// Where the next page begins; `None`: this was the last.
    pub next: Option<HistoryPlace>,
}

impl CommandPage {
    /// Of up to `max + 1` commands that there are, the first `max`.
    pub(super) fn cut(mut commands: Vec<Kept>, max: usize) -> CommandPage {
        let more = commands.len() > max;
        commands.truncate(max);
        let next = commands.last().filter(|_| more).map(HistoryPlace::of);
        CommandPage { commands, next }
    }
}

/// From when on a command may be forgotten, some time later: it has ended, and its deadline has passed. `None`: it is
/// open.
pub(super) fn over_at(kept: &Kept) -> Option<UnixMicros> {
    kept.standing.state.outcome().map(|_| kept.since.max(kept.command.deadline))
}

/// Those that were over before are forgotten. Whoever repeats one then hears that its deadline has passed, and no
/// agent remembers it any more.
pub(super) fn forgotten_before(now: UnixMicros, kept_for: Duration) -> UnixMicros {
    now.offset_by(-i64::try_from(kept_for.max(COMMAND_KEPT_AFTER).as_micros()).unwrap_or(i64::MAX))
}

/// What a feed of commands tells.
#[derive(Clone, Debug)]
pub enum CommandFeedItem {
    /// In the order in which it was stored.
    News(Arc<[CommandNews]>),
    /// Something did not come, or may not have: look into the books.
    Lagged,
    /// The engine has stopped; nothing comes any more.
    Closed,
}

/// What changes in the books of a room from now on. It may lose, and then says that it lagged: the books are the truth.
#[derive(Debug)]
pub struct CommandFeed(broadcast::Receiver<CommandFeedItem>);

impl CommandFeed {
    /// A feed of what `items` carries.
    pub fn new(items: broadcast::Receiver<CommandFeedItem>) -> CommandFeed {
        CommandFeed(items)
    }

    /// The next item. Cancel safe: an item that was not returned comes at the next call.
    pub async fn next(&mut self) -> CommandFeedItem {
        match self.0.recv().await {
            Ok(item) => item,
            Err(broadcast::error::RecvError::Lagged(_)) => CommandFeedItem::Lagged,
            Err(broadcast::error::RecvError::Closed) => CommandFeedItem::Closed,
        }
    }
}
