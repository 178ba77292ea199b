//! What each transition of the book does and refuses.

use super::*;
use crate::command::{CommandUpdates, Fields, Priority, Progress, ProgressReport, Report, Witness};
use crate::ids::{CommandName, DeviceName, UserName};

pub(crate) fn device(name: &str) -> DeviceName {
    DeviceName::new(name).unwrap()
}

/// One with its deadline at 30 seconds.
pub(crate) fn command(id: &str) -> Command {
    Command {
        id: CommandId::new(id).unwrap(),
        device: device("pump"),
        name: CommandName::new("open").unwrap(),
        arguments: Fields::default(),
        idempotent: false,
        priority: Priority::Normal,
        deadline: at(30),
        sender: UserName::new("ann").unwrap(),
    }
}

fn at(seconds: i64) -> UnixMicros {
    UnixMicros(seconds * 1_000_000)
}

fn mark(id: u64, boot: u64, length: u64) -> JournalMark {
    JournalMark { id: JournalId(id), boot: BootId(boot), length, forgotten: 0 }
}

fn report(id: &str, position: u64, state: State) -> Report {
    let command = state.outcome().map(|_| command(id));
    Report { id: CommandId::new(id).unwrap(), position, state, command }
}

const SUCCESS: State = State::Ended(Outcome::Succeeded(Fields(Vec::new())));

/// A book, and the session that speaks for the agent.
struct Desk {
    book: Book,
    session: SessionId,
}

impl Desk {
    fn new(commands: &[Command]) -> Desk {
        let mut book = Book::default();
        for command in commands {
            book.accept(at(1), command.clone(), true).unwrap();
        }
        Desk { book, session: SessionId(0) }
    }

    fn hello(&mut self, mark: JournalMark) {
        self.session = SessionId(self.session.0 + 1);
        self.book.hello(at(2), self.session, mark);
    }

    fn wish(&self) -> HandOver {
        HandOver { session: self.session, heard: self.book.mark.heard, have: BTreeSet::new(), max: 9 }
    }

    fn hand_over(&mut self) -> Vec<String> {
        let (orders, _) = self.book.hand_over(at(3), &self.wish()).unwrap();
        orders.iter().map(|order| order.command.id.to_string()).collect()
    }

    fn told(&mut self, after: u64, through: u64, reports: Vec<Report>) -> Result<(), SessionOver> {
        let updates = CommandUpdates { after, through, reports, ..CommandUpdates::default() };
        self.book.told(at(4), self.session, &updates).map(|_| ())
    }

    fn standing(&self, id: &str) -> (&'static str, Witness) {
        let standing = &self.book.commands[&CommandId::new(id).unwrap()].standing;
        (standing.state.as_str(), standing.witness)
    }
}

#[test]
fn the_same_command_again_is_one_command_and_another_of_its_id_is_refused() {
    let mut desk = Desk::new(&[command("c")]);
    assert_eq!(desk.book.accept(at(5), command("c"), true), Ok(None));
    let other = Command { idempotent: true, ..command("c") };
    assert_eq!(desk.book.accept(at(5), other, true), Err(AcceptError::IdTaken));
    assert_eq!(desk.book.accept(at(40), command("c"), true), Ok(None), "a late retry learns what became of it");
    assert_eq!(desk.book.accept(at(40), command("d"), true), Err(AcceptError::DeadlinePassed));
    let far = Command { deadline: at(8 * 86_400), ..command("d") };
    assert_eq!(desk.book.accept(at(5), far, true), Err(AcceptError::DeadlineTooFar));
    assert_eq!(desk.book.commands.len(), 1);
}

#[test]
fn a_command_for_an_unknown_device_waits_for_it() {
    let mut desk = Desk::new(&[]);
    desk.book.accept(at(1), command("c"), false).unwrap();
    desk.hello(mark(1, 1, 0));
    assert!(desk.hand_over().is_empty());
    let id = CommandId::new("c").unwrap();
    assert!(desk.book.announced(at(2), &id).is_some());
    assert!(desk.book.announced(at(2), &id).is_none());
    assert_eq!(desk.hand_over(), ["c"]);
}

#[test]
fn the_urgent_go_first_then_the_old() {
    let mut desk = Desk::new(&[command("b")]);
    for (seconds, id, priority) in [(2, "a", Priority::Normal), (3, "high", Priority::High), (0, "low", Priority::Low)]
    {
        desk.book.accept(at(seconds), Command { priority, ..command(id) }, true).unwrap();
    }
    desk.hello(mark(1, 1, 0));
    let (first, _) = desk.book.hand_over(at(3), &HandOver { max: 1, ..desk.wish() }).unwrap();
    assert_eq!(first[0].command.id.as_str(), "high");
    assert_eq!(desk.hand_over(), ["high", "b", "a", "low"]);
}

#[test]
fn what_was_handed_over_is_handed_over_again_unless_the_session_has_it() {
    let mut desk = Desk::new(&[command("c")]);
    desk.hello(mark(1, 1, 0));
    assert_eq!(desk.hand_over(), ["c"]);
    assert_eq!(desk.hand_over(), ["c"], "the answer may have been lost");
    let have = BTreeSet::from([(CommandId::new("c").unwrap(), false)]);
    let (orders, _) = desk.book.hand_over(at(3), &HandOver { have, ..desk.wish() }).unwrap();
    assert!(orders.is_empty());
    desk.hello(mark(1, 1, 0));
    assert_eq!(desk.hand_over(), ["c"], "in the same boot the journal shows that it never came");
    desk.told(0, 1, vec![report("c", 1, State::Delivered)]).unwrap();
    assert!(desk.hand_over().is_empty());
}

#[test]
fn an_older_session_can_neither_take_nor_tell() {
    let mut desk = Desk::new(&[command("c")]);
    desk.hello(mark(1, 1, 0));
    let old = desk.session;
    desk.hello(mark(1, 1, 0));
    assert_eq!(desk.book.hand_over(at(3), &HandOver { session: old, ..desk.wish() }), Err(SessionOver));
    desk.session = old;
    assert_eq!(desk.told(0, 1, vec![report("c", 1, State::Executing)]), Err(SessionOver));
    assert_eq!(desk.standing("c"), ("queued", Witness::Gateway));
}

#[test]
fn only_what_never_left_expires_or_is_cancelled_without_the_agent() {
    let mut desk = Desk::new(&[command("queued"), command("sent"), command("back")]);
    desk.book.cancel(at(2), &CommandId::new("back").unwrap());
    assert_eq!(desk.standing("back"), ("cancelled", Witness::Gateway));
    desk.hello(mark(1, 1, 0));
    let have = BTreeSet::from([(CommandId::new("queued").unwrap(), false)]);
    desk.book.hand_over(at(3), &HandOver { have, ..desk.wish() }).unwrap();
    assert_eq!(desk.book.cancel(at(3), &CommandId::new("sent").unwrap()), None);
    assert_eq!(desk.standing("sent"), ("dispatched", Witness::Gateway));
    assert!(desk.book.pass_time(at(29)).is_empty());
    assert_eq!(desk.book.pass_time(at(30)).len(), 2);
    assert_eq!(desk.standing("queued"), ("expired", Witness::Gateway));
    assert_eq!(desk.standing("sent"), ("unknown", Witness::Gateway));
    let (orders, _) = desk.book.hand_over(at(31), &desk.wish()).unwrap();
    assert_eq!(orders.len(), 1);
    assert!(orders[0].cancel, "the agent is asked what became of it, and not to begin");
}

#[test]
fn only_the_journal_replaces_unknown_and_only_by_an_outcome() {
    let mut desk = Desk::new(&[command("c")]);
    desk.hello(mark(1, 1, 0));
    desk.hand_over();
    desk.book.pass_time(at(30));
    desk.told(0, 1, vec![report("c", 1, State::Executing)]).unwrap();
    assert_eq!(desk.standing("c"), ("unknown", Witness::Gateway), "the wait has ended once");
    desk.told(1, 2, vec![report("c", 2, SUCCESS)]).unwrap();
    assert_eq!(desk.standing("c"), ("succeeded", Witness::Device));
    desk.told(2, 3, vec![report("c", 3, State::Ended(Outcome::Interrupted))]).unwrap();
    assert_eq!(desk.standing("c"), ("succeeded", Witness::Device), "what a device proved stays");
}

#[test]
fn what_the_backbone_concluded_gives_way_to_what_the_agent_knows() {
    let mut desk = Desk::new(&[command("c")]);
    desk.book.pass_time(at(30));
    assert_eq!(desk.standing("c"), ("expired", Witness::Gateway));
    desk.hello(mark(1, 1, 3));
    desk.told(0, 3, vec![report("c", 3, SUCCESS)]).unwrap();
    assert_eq!(desk.standing("c"), ("succeeded", Witness::Device));
}

#[test]
fn an_outcome_brings_back_a_command_that_was_lost_and_a_state_alone_does_not() {
    let mut desk = Desk::new(&[]);
    desk.hello(mark(1, 1, 3));
    desk.told(0, 2, vec![report("running", 2, State::Executing)]).unwrap();
    assert!(desk.book.commands.is_empty());
    desk.told(2, 3, vec![report("c", 3, SUCCESS)]).unwrap();
    assert_eq!(desk.standing("c"), ("succeeded", Witness::Device));
    assert_eq!(desk.book.accept(at(5), command("c"), true), Ok(None), "a retry finds it");
}

#[test]
fn a_hole_in_the_tale_ends_the_session() {
    let mut desk = Desk::new(&[command("c")]);
    desk.hello(mark(1, 1, 5));
    assert_eq!(desk.told(1, 5, Vec::new()), Err(SessionOver));
    desk.told(0, 5, Vec::new()).unwrap();
    let wish = HandOver { heard: 6, ..desk.wish() };
    assert_eq!(desk.book.hand_over(at(3), &wish), Err(SessionOver), "the store went back");
}

#[test]
fn another_journal_or_a_shorter_one_interrupts_what_the_agent_had() {
    for (card, put_back) in [(mark(2, 2, 0), false), (mark(2, 2, 4), true), (mark(1, 2, 1), true)] {
        let mut desk = Desk::new(&[command("told"), command("sent"), command("queued")]);
        desk.hello(mark(1, 1, 0));
        let have = BTreeSet::from([(CommandId::new("queued").unwrap(), false)]);
        desk.book.hand_over(at(3), &HandOver { have, ..desk.wish() }).unwrap();
        desk.told(0, 2, vec![report("told", 2, State::Executing)]).unwrap();
        desk.hello(card);
        assert_eq!(desk.standing("told"), ("interrupted", Witness::Gateway), "{card:?}");
        assert_eq!(desk.standing("sent"), ("interrupted", Witness::Gateway), "{card:?}");
        assert_eq!(desk.hand_over(), ["queued"]);
        assert_eq!(desk.book.mark.welcome().put_back, put_back);
        desk.hello(card);
        assert_eq!(desk.book.mark.welcome().put_back, put_back, "as often as it is asked");
        let heard = desk.book.mark.heard;
        desk.told(heard, heard.max(card.length) + 1, Vec::new()).unwrap();
        assert!(!desk.book.mark.welcome().put_back, "the agent has acted upon it");
    }
}

#[test]
fn what_was_sent_to_an_earlier_boot_and_never_came_is_interrupted_once_the_journal_is_told() {
    let mut desk = Desk::new(&[command("a"), command("b")]);
    desk.hello(mark(1, 1, 0));
    desk.hand_over();
    desk.hello(mark(1, 2, 1));
    assert_eq!(desk.standing("b"), ("dispatched", Witness::Gateway), "the journal may know it");
    assert!(desk.hand_over().is_empty(), "a card that was put back may have forgotten that it ran");
    desk.told(0, 1, vec![report("a", 1, State::Delivered)]).unwrap();
    assert_eq!(desk.standing("a"), ("delivered", Witness::Agent));
    assert_eq!(desk.standing("b"), ("interrupted", Witness::Gateway));
}

#[test]
fn a_store_gone_back_past_what_was_forgotten_does_not_wait_for_it() {
    let mut desk = Desk::new(&[command("c")]);
    desk.hello(mark(1, 1, 0));
    desk.hand_over();
    desk.told(0, 1, vec![report("c", 1, State::Executing)]).unwrap();
    let journal = JournalMark { forgotten: 2, ..mark(1, 1, 3) };
    desk.book.hello(at(29), SessionId(8), journal);
    assert_eq!(desk.standing("c"), ("executing", Witness::Agent), "nothing is forgotten before its deadline");
    desk.book.hello(at(31), SessionId(9), journal);
    assert_eq!(desk.standing("c"), ("interrupted", Witness::Gateway));
}

#[test]
fn a_command_whose_id_the_agent_holds_for_another_one_fails() {
    let mut desk = Desk::new(&[Command { device: device("valve"), ..command("c") }]);
    desk.hello(mark(1, 1, 0));
    desk.hand_over();
    desk.told(0, 0, vec![report("c", 1, SUCCESS)]).unwrap();
    assert_eq!(desk.standing("c"), ("failed", Witness::Agent));
}

#[test]
fn progress_is_told_of_what_runs() {
    let mut desk = Desk::new(&[command("c")]);
    desk.hello(mark(1, 1, 0));
    desk.hand_over();
    let progress = Progress { percent: Some(40), text: "heating".into() };
    let progress = vec![ProgressReport { id: CommandId::new("c").unwrap(), progress }];
    let mut updates = CommandUpdates { progress, ..CommandUpdates::default() };
    let (_, before) = desk.book.told(at(4), desk.session, &updates).unwrap();
    assert!(before.is_empty());
    (updates.through, updates.reports) = (1, vec![report("c", 1, State::Executing)]);
    let (confirm, told) = desk.book.told(at(5), desk.session, &updates).unwrap();
    assert_eq!(confirm.through, 1);
    let percent = told.iter().map(|update| update.progress.as_ref().and_then(|progress| progress.percent));
    assert_eq!(percent.collect::<Vec<_>>(), [None, Some(40)]);
}
