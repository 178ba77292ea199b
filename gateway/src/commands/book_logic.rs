//! What several works make of one book: which rows to write, what to tell, and what each of them is answered.

use std::collections::BTreeMap;

use lockgate_proto::command::{
    AcceptError, Ask, Book, Command, CommandId, CommandUpdate, CourierInput, Kept, SessionOver, State,
};
use lockgate_proto::time::UnixMicros;

use crate::backbone::{BookRead, BookWrite, CommandNews, Holder};

/// LIMIT: open commands of one book: all of them are looked at with each transition.
pub(super) const OPEN_MAX: usize = 4_096;

/// Something to be done with a book. Doing it twice does no more.
#[derive(Clone, Debug)]
pub(super) enum Work {
    /// A new command, or one whose sender does not know whether it was accepted.
    Accept(Command),
    /// Its sender wants it back.
    Cancel(CommandId),
    /// An agent has announced their devices: what has not been dispatched comes into its book.
    Claim(Vec<CommandId>),
    /// Deadlines have passed.
    PassTime,
    /// What an agent's courier asks.
    Ask(Ask),
}

impl Work {
    /// The commands that must be looked at, open or not.
    pub(super) fn ids(&self) -> Vec<CommandId> {
        match self {
            Work::Accept(command) => vec![command.id.clone()],
            Work::Cancel(id) => vec![id.clone()],
            Work::Claim(ids) => ids.clone(),
            Work::Ask(Ask::Told { updates, .. }) => updates.reports.iter().map(|report| report.id.clone()).collect(),
            Work::PassTime | Work::Ask(Ask::Hello { .. } | Ask::HandOver(_)) => Vec::new(),
        }
    }
}

/// What became of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Done {
    /// The command as it is now.
    Kept(Box<Kept>),
    /// There is no such command.
    Unknown,
    /// It was not accepted.
    Refused(AcceptError),
    /// As many commands are open as may be.
    Full,
    /// For the courier.
    Answer(CourierInput),
    /// There is nothing to say.
    Nothing,
}

/// What is to be written before anyone is answered, and the answers, in the order of the works.
#[derive(Debug)]
pub(super) struct Applied {
    pub(super) write: Option<BookWrite>,
    pub(super) done: Vec<Done>,
}

/// Does all the works, one after the other.
pub(super) fn apply(read: &BookRead, holder: &Holder, works: &[Work]) -> Applied {
    let mut desk = Transition {
        now: read.now,
        holder,
        book: read.book.clone(),
        homes: read.elsewhere.clone(),
        updates: Vec::new(),
        says_stored: false,
    };
    let done = works.iter().map(|work| desk.one(work)).collect();
    Applied { write: desk.write(read), done }
}

struct Transition<'a> {
    now: UnixMicros,
    holder: &'a Holder,
    book: Book,
    /// Of commands that stand, or are to stand, elsewhere than in the holder's book.
    homes: BTreeMap<CommandId, Holder>,
    updates: Vec<CommandUpdate>,
    /// An answer says that something is stored, though nothing may have changed: what an earlier write of unknown
    /// outcome did may not have reached the configured durability.
    says_stored: bool,
}

impl Transition<'_> {
    fn one(&mut self, work: &Work) -> Done {
        match work {
            Work::Accept(command) => self.accept(command),
            Work::Cancel(id) => {
                self.updates.extend(self.book.cancel(self.now, id));
                self.kept(id)
            }
            Work::Claim(ids) => {
                for id in ids {
                    self.claim(id);
                }
                Done::Nothing
            }
            Work::PassTime => {
                self.updates.extend(self.book.pass_time(self.now));
                Done::Nothing
            }
            Work::Ask(ask) => Done::Answer(self.ask(ask).unwrap_or(CourierInput::Refused)),
        }
    }

    fn accept(&mut self, command: &Command) -> Done {
        let is_open = |kept: &&Kept| kept.standing.state.outcome().is_none();
        if !self.book.commands.contains_key(&command.id)
            && self.book.commands.values().filter(is_open).count() >= OPEN_MAX
        {
            return Done::Full;
        }
        match self.book.accept(self.now, command.clone(), self.holder.is_some()) {
            Ok(update) => {
                self.updates.extend(update);
                self.kept(&command.id)
            }
            Err(refused) => Done::Refused(refused),
        }
    }

    fn kept(&mut self, id: &CommandId) -> Done {
        let Some(kept) = self.book.commands.get(id) else { return Done::Unknown };
        self.says_stored = true;
        Done::Kept(Box::new(kept.clone()))
    }

    fn claim(&mut self, id: &CommandId) {
        let state = self.book.commands.get(id).map(|kept| kept.standing.state.clone());
        if matches!(state, Some(State::Accepted | State::Queued)) {
            self.updates.extend(self.book.announced(self.now, id));
            self.homes.remove(id);
        }
    }

    fn ask(&mut self, ask: &Ask) -> Result<CourierInput, SessionOver> {
        Ok(match ask {
            Ask::Hello { session, journal } => {
                self.updates.extend(self.book.hello(self.now, *session, *journal));
                self.says_stored = true;
                CourierInput::Heard(self.book.mark.welcome())
            }
            Ask::HandOver(wish) => {
                let (orders, updates) = self.book.hand_over(self.now, wish)?;
                self.updates.extend(updates);
                self.says_stored |= !orders.is_empty();
                CourierInput::HandedOver(orders)
            }
            Ask::Told { session, updates: told } => {
                let (confirm, updates) = self.book.told(self.now, *session, told)?;
                self.updates.extend(updates);
                self.says_stored = true;
                CourierInput::Stored(confirm)
            }
        })
    }

    fn home(&self, id: &CommandId) -> Holder {
        self.homes.get(id).unwrap_or(self.holder).clone()
    }

    fn write(self, read: &BookRead) -> Option<BookWrite> {
        let before = |id: &CommandId| read.elsewhere.get(id).unwrap_or(self.holder);
        let mut versions: BTreeMap<Holder, _> = BTreeMap::new();
        let mut touch = |holder: &Holder| {
            versions.extend(read.versions.get(holder).map(|version| (holder.clone(), *version)));
        };
        touch(self.holder);
        let (mut commands, mut silent) = (Vec::new(), Vec::new());
        for (id, kept) in &self.book.commands {
            let (home, old) = (self.home(id), read.book.commands.get(id));
            let has_moved = old.is_some() && home != *before(id);
            if old == Some(kept) && !has_moved {
                continue;
            }
            touch(before(id));
            let is_wish = kept.cancel && old.is_some_and(|old| !old.cancel);
            if (has_moved || is_wish) && !self.updates.iter().any(|update| update.id == *id) {
                silent.push(CommandNews { holder: home.clone(), update: None });
            }
            commands.push((home, kept.clone()));
        }
        let mark =
            self.holder.clone().filter(|_| self.book.mark != read.book.mark).map(|agent| (agent, self.book.mark));
        let told = self
            .updates
            .iter()
            .map(|update| CommandNews { holder: self.home(&update.id), update: Some(update.clone()) });
        let news: Vec<CommandNews> = told.chain(silent).collect();
        let is_needed = self.says_stored || !commands.is_empty() || mark.is_some() || !news.is_empty();
        is_needed.then_some(BookWrite { at: read.now, versions, mark, commands, news })
    }
}
