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
                let mut told = told.clone();
                told.reports.retain(|report| self.may_tell(&report.id));
                told.progress.retain(|report| self.may_tell(&report.id));
                let (confirm, updates) = self.book.told(self.now, *session, &told)?;
                self.updates.extend(updates);
                self.says_stored = true;
                CourierInput::Stored(confirm)
            }
        })
    }

    /// Whether the holder can know of the command: it stands in its own book, or was dispatched to its own journal. What
    /// an agent says of others' commands is confirmed, so that it goes on, and counts for nothing.
    fn may_tell(&self, id: &CommandId) -> bool {
        let own = self.book.mark.journal.map(|journal| journal.id);
        let bound = || self.book.commands.get(id).and_then(|kept| kept.bound).map(|bound| bound.journal);
        !self.homes.contains_key(id) || (own.is_some() && bound() == own)
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

#[cfg(test)]
mod tests {
    use lockgate_proto::command::{
        BootId, Bound, CommandUpdates, Fields, JournalId, JournalMark, Outcome, Priority, Report,
    };
    use lockgate_proto::ids::{AgentName, CommandName, DeviceName, SessionId, UserName};

    use super::*;
    use crate::backbone::BookVersion;

    const NOW: UnixMicros = UnixMicros(1_000_000);

    fn of(agent: &str) -> Holder {
        AgentName::new(agent).ok()
    }

    fn command(id: &str) -> Command {
        Command {
            id: CommandId::new(id).unwrap(),
            device: DeviceName::new("pump").unwrap(),
            name: CommandName::new("open").unwrap(),
            arguments: Fields::default(),
            idempotent: false,
            priority: Priority::Normal,
            deadline: NOW.offset_by(30_000_000),
            sender: UserName::new("ann").unwrap(),
        }
    }

    fn read(holder: &Holder, book: Book) -> BookRead {
        let versions = BTreeMap::from([(holder.clone(), BookVersion(5))]);
        BookRead { now: NOW, book, versions, elsewhere: BTreeMap::new() }
    }

    /// As the next one reads it.
    fn after(read: &BookRead, write: &BookWrite) -> BookRead {
        let mut next = read.clone();
        next.book.commands.extend(write.commands.iter().map(|(_, kept)| (kept.command.id.clone(), kept.clone())));
        next.book.mark = write.mark.as_ref().map_or(next.book.mark, |(_, mark)| *mark);
        next
    }

    #[test]
    fn a_burst_is_one_write_and_each_is_answered_for_itself() {
        let (pi, empty) = (of("pi"), read(&of("pi"), Book::default()));
        let other = Command { idempotent: true, ..command("a") };
        let works = [command("a"), command("b"), command("a"), other].map(Work::Accept);
        let Applied { write, done } = apply(&empty, &pi, &works);
        let write = write.unwrap();
        assert_eq!((write.commands.len(), write.news.len(), write.mark), (2, 2, None));
        assert_eq!(write.versions, empty.versions);
        assert_eq!(done[0], done[2]);
        assert_eq!(done[3], Done::Refused(AcceptError::IdTaken));
    }

    #[test]
    fn what_is_said_to_be_stored_is_written_once_more_and_what_is_only_looked_at_is_not() {
        let (pi, empty) = (of("pi"), read(&of("pi"), Book::default()));
        let accept = [Work::Accept(command("a"))];
        let stored = after(&empty, &apply(&empty, &pi, &accept).write.unwrap());
        // The first answer was lost: whether the write is as durable as it is to be, only another write shows.
        let again = apply(&stored, &pi, &accept).write.unwrap();
        assert_eq!((again.commands, again.news), (Vec::new(), Vec::new()));
        assert_eq!(apply(&stored, &pi, &[Work::PassTime]).write, None);
        assert_eq!(apply(&stored, &pi, &[Work::Cancel(CommandId::new("z").unwrap())]).write, None);
        let stranger = Ask::Told { session: SessionId(1), updates: CommandUpdates::default() };
        let refused = apply(&stored, &pi, &[Work::Ask(stranger)]);
        assert_eq!((refused.write, &refused.done[..]), (None, &[Done::Answer(CourierInput::Refused)][..]));
    }

    #[test]
    fn a_command_that_another_agent_tells_of_stays_in_the_book_where_it_stands() {
        let (pi, hub) = (of("pi"), of("hub"));
        let mut book = Book::default();
        let journal = JournalMark { id: JournalId(7), boot: BootId(1), length: 0, forgotten: 0 };
        book.hello(NOW, SessionId(1), journal);
        book.accept(NOW, command("a"), true).unwrap();
        let mut at_pi = read(&pi, book);
        at_pi.versions.insert(hub.clone(), BookVersion(6));
        at_pi.elsewhere.insert(command("a").id, hub.clone());
        let state = State::Ended(Outcome::Succeeded(Fields::default()));
        let report = Report { id: command("a").id, position: 1, state: state.clone(), command: Some(command("a")) };
        let updates = CommandUpdates { through: 1, reports: vec![report], ..CommandUpdates::default() };
        let tells = [Work::Ask(Ask::Told { session: SessionId(1), updates })];
        // It never had it: what it says of it is no news.
        let told = apply(&at_pi, &pi, &tells).write.unwrap();
        assert!(told.commands.is_empty() && told.news.is_empty(), "{told:?}");
        // It had it, before its device went over.
        let had = Some(Bound { journal: journal.id, boot: journal.boot });
        at_pi.book.commands.values_mut().for_each(|kept| kept.bound = had);
        let told = apply(&at_pi, &pi, &tells).write.unwrap();
        assert_eq!(told.versions, at_pi.versions, "both are written");
        let [(holder, kept)] = &told.commands[..] else { panic!("{told:?}") };
        assert_eq!((holder, &kept.standing.state), (&hub, &state));
        assert_eq!(told.news[0].holder, hub);
        // One that has not left goes over to the agent that has its device now, whose session is told to look.
        let mut queued = at_pi.clone();
        queued.book.commands.values_mut().for_each(|kept| kept.standing.state = State::Queued);
        let claimed = apply(&queued, &pi, &[Work::Claim(vec![command("a").id])]).write.unwrap();
        assert_eq!(claimed.commands[0].0, pi);
        assert_eq!(claimed.news, [CommandNews { holder: pi, update: None }]);
    }

    #[test]
    fn a_book_that_is_full_takes_no_new_command_and_knows_those_that_it_has() {
        let pi = of("pi");
        let mut book = Book::default();
        for at in 0..OPEN_MAX {
            book.accept(NOW, command(&format!("c{at}")), true).unwrap();
        }
        let full = read(&pi, book);
        let works = [command("new"), command("c7")].map(Work::Accept);
        let done = apply(&full, &pi, &works).done;
        assert_eq!(done[0], Done::Full);
        assert!(matches!(done[1], Done::Kept(_)));
    }
}
