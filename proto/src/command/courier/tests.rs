//! What the gateway's part does with each answer; what it does in every order, proto/tests/commands explores.

use super::*;
use crate::command::book::tests::command;
use crate::command::{BootId, JournalId, Outcome, Report, State};

struct Desk {
    courier: Courier,
    actions: Vec<CourierAction>,
}

impl Desk {
    fn new() -> Desk {
        let mut actions = Vec::new();
        let journal = JournalMark { id: JournalId(1), boot: BootId(1), length: 5, forgotten: 0 };
        Desk { courier: Courier::new(SessionId(1), journal, &mut actions), actions }
    }

    fn open() -> Desk {
        let mut desk = Desk::new();
        desk.feed(0, CourierInput::Heard(JournalHeard { through: 3, put_back: false }));
        desk.feed(0, CourierInput::HandedOver(Vec::new()));
        desk.actions.clear();
        desk
    }

    fn feed(&mut self, seconds: u64, input: CourierInput) {
        self.courier.handle(MonoTime(Duration::from_secs(seconds)), input, &mut self.actions);
    }

    fn last_wish(&self) -> HandOver {
        let wish = self.actions.iter().rev().find_map(|action| match action {
            CourierAction::Ask(Ask::HandOver(wish)) => Some(wish.clone()),
            _ => None,
        });
        wish.expect("it asked")
    }
}

fn orders(count: usize) -> Vec<Order> {
    (0..count).map(|at| Order { command: command(&format!("c{at}")), cancel: false }).collect()
}

fn told(through: u64, id: &str, state: State) -> CommandUpdates {
    let id = CommandId::new(id).unwrap();
    let reports = vec![Report { id, position: through, state, command: None }];
    CommandUpdates { after: through - 1, through, reports, ..CommandUpdates::default() }
}

#[test]
fn an_agent_is_welcomed_once_the_backbone_knows_of_it_and_then_gets_what_waits() {
    let mut desk = Desk::new();
    assert!(matches!(desk.actions[..], [CourierAction::Ask(Ask::Hello { .. })]));
    let heard = JournalHeard { through: 3, put_back: true };
    desk.feed(0, CourierInput::Heard(heard));
    assert_eq!(desk.actions[1], CourierAction::Welcome(heard));
    assert_eq!((desk.last_wish().heard, desk.last_wish().max), (3, DISPATCH_WINDOW));
    desk.feed(0, CourierInput::HandedOver(orders(1)));
    assert!(desk.actions.contains(&CourierAction::Dispatch(Dispatch { orders: orders(1) })));
}

#[test]
fn what_was_sent_is_not_asked_for_again_and_makes_room_once_it_is_told_of() {
    let mut desk = Desk::open();
    desk.feed(1, CourierInput::Nudged);
    desk.feed(1, CourierInput::HandedOver(orders(DISPATCH_WINDOW)));
    desk.actions.clear();
    desk.feed(2, CourierInput::Nudged);
    assert_eq!((desk.last_wish().have.len(), desk.last_wish().max), (DISPATCH_WINDOW, 1), "for a wish to withdraw");
    desk.feed(2, CourierInput::HandedOver(Vec::new()));
    desk.actions.clear();
    desk.feed(3, CourierInput::FromAgent(told(4, "c0", State::Executing)));
    desk.feed(3, CourierInput::Stored(Confirm { through: 4 }));
    assert_eq!(desk.actions[1], CourierAction::Confirm(Confirm { through: 4 }));
    assert_eq!((desk.last_wish().have.len(), desk.last_wish().heard), (DISPATCH_WINDOW - 1, 4));
}

#[test]
fn a_wish_to_withdraw_is_told_once_until_the_end() {
    let mut desk = Desk::open();
    desk.feed(1, CourierInput::Nudged);
    desk.feed(1, CourierInput::HandedOver(vec![Order { command: command("c"), cancel: true }]));
    desk.feed(2, CourierInput::FromAgent(told(4, "c", State::Executing)));
    desk.feed(2, CourierInput::Stored(Confirm { through: 4 }));
    desk.feed(3, CourierInput::Nudged);
    assert_eq!(desk.last_wish().have.len(), 1);
    desk.feed(3, CourierInput::HandedOver(Vec::new()));
    desk.feed(4, CourierInput::FromAgent(told(5, "c", State::Ended(Outcome::Interrupted))));
    desk.feed(4, CourierInput::Stored(Confirm { through: 5 }));
    desk.feed(5, CourierInput::Nudged);
    assert!(desk.last_wish().have.is_empty());
}

#[test]
fn an_unknown_answer_is_asked_for_again_less_and_less_often() {
    let mut desk = Desk::new();
    let question = desk.actions.clone();
    let mut now = MonoTime::ZERO;
    let mut waits = Vec::new();
    for _ in 0..8 {
        desk.actions.clear();
        desk.courier.handle(now, CourierInput::AnswerUnknown, &mut desk.actions);
        let [CourierAction::ArmTimer(at)] = desk.actions[..] else { panic!("{:?}", desk.actions) };
        waits.push(at.since(now).as_millis());
        desk.actions.clear();
        desk.courier.handle(at, CourierInput::TimerFired, &mut desk.actions);
        assert_eq!(desk.actions[..1], question);
        now = at;
    }
    assert_eq!(waits, [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
}

#[test]
fn an_agent_whose_journal_is_full_is_asked_again_later() {
    let mut desk = Desk::open();
    desk.feed(1, CourierInput::Nudged);
    desk.feed(1, CourierInput::HandedOver(orders(1)));
    let full = CommandUpdates { after: 3, through: 3, full: vec![command("c0").id], ..CommandUpdates::default() };
    desk.feed(1, CourierInput::FromAgent(full));
    desk.feed(1, CourierInput::Stored(Confirm { through: 3 }));
    desk.feed(2, CourierInput::Nudged);
    assert_eq!(desk.last_wish().have.len(), 1);
    desk.feed(2, CourierInput::HandedOver(Vec::new()));
    desk.feed(6, CourierInput::TimerFired);
    assert!(desk.last_wish().have.is_empty());
}

#[test]
fn a_lost_nudge_and_a_store_gone_back_are_found_by_looking() {
    let mut desk = Desk::open();
    desk.feed(4, CourierInput::TimerFired);
    assert!(!desk.actions.iter().any(|action| matches!(action, CourierAction::Ask(_))));
    desk.feed(5, CourierInput::TimerFired);
    assert_eq!(desk.last_wish().heard, 3);
    desk.feed(5, CourierInput::Refused);
    assert!(matches!(desk.actions.last(), Some(CourierAction::Close { .. })) && desk.courier.is_closed());
}

#[test]
fn an_agent_that_tells_before_it_is_welcomed_or_without_end_is_sent_away() {
    let mut early = Desk::new();
    early.feed(0, CourierInput::FromAgent(told(1, "c", State::Delivered)));
    assert!(early.courier.is_closed());
    let mut flood = Desk::open();
    for through in 4..4 + GATHERED_MAX as u64 {
        flood.feed(1, CourierInput::FromAgent(told(through, "c", State::Delivered)));
    }
    assert!(!flood.courier.is_closed());
    for through in [1_000, 1_001] {
        flood.feed(1, CourierInput::FromAgent(told(through, "c", State::Delivered)));
    }
    assert!(flood.courier.is_closed());
}
