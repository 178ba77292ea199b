//! Commands on the link: moved only where both ends do, and never before the Welcome.

use std::time::Duration;

use super::*;
use crate::command::{BackboneTime, BootId, Confirm, Dispatch, JournalHeard, JournalId};
use crate::ids::SessionId;
use crate::link::frame::{LaneHeld, LinkLimits, Welcome};

const MARK: JournalMark = JournalMark { id: JournalId(1), boot: BootId(2), length: 3, forgotten: 0 };
const HEARD: JournalHeard = JournalHeard { through: 3, put_back: false };

fn at(seconds: u64) -> MonoTime {
    MonoTime(Duration::from_secs(seconds))
}

fn fed(link: &mut AgentLink, now: MonoTime, input: Input) -> Vec<Action> {
    let mut actions = Vec::new();
    link.handle(now, input, &mut actions);
    actions
}

/// A link that has said Hello, with this journal.
fn connected(journal: Option<JournalMark>) -> AgentLink {
    let (agent, site) = (AgentName::new("a").unwrap(), Site::new("plant").unwrap());
    let mut link = AgentLink::new(AgentConfig { agent, site, build: String::new() });
    let epochs = vec![EpochHeld { epoch: Epoch(1), lanes: [LaneHeld::default(), LaneHeld::default()] }];
    let holdings = Holdings { epochs, gaps: Vec::new() };
    let actions = fed(&mut link, at(1), Input::Connected { holdings, clock: None, journal });
    let told = actions
        .iter()
        .any(|action| matches!(action, Action::Send(AgentFrame::Hello(hello)) if hello.journal == journal));
    assert!(told, "the Hello names the journal: {actions:?}");
    link
}

fn welcome(journal_heard: Option<JournalHeard>) -> Input {
    Input::Frame(GatewayFrame::Welcome(Welcome {
        session: SessionId(1),
        epochs: Vec::new(),
        retention_horizon: None,
        server_time: UnixMicros(7),
        limits: LinkLimits::default(),
        journal_heard,
    }))
}

fn executor(actions: Vec<Action>) -> Vec<ExecutorInput> {
    let of_executor = |action| if let Action::Executor(input) = action { Some(input) } else { None };
    actions.into_iter().filter_map(of_executor).collect()
}

fn is_closed(actions: &[Action]) -> bool {
    actions.iter().any(|action| matches!(action, Action::Close { code: CloseCode::BadFrame, .. }))
}

#[test]
fn where_both_ends_move_commands_each_word_reaches_the_executor_with_its_time() {
    let mut link = connected(Some(MARK));
    let time = BackboneTime { asked: at(1), answered: at(2), server: UnixMicros(7) };
    let told = executor(fed(&mut link, at(2), welcome(Some(HEARD))));
    assert_eq!(told, [ExecutorInput::Welcomed { heard: HEARD, time }]);
    let pong = Input::Frame(GatewayFrame::Pong { id: 1, server_time: UnixMicros(9) });
    let time = BackboneTime { asked: at(2), answered: at(4), server: UnixMicros(9) };
    assert_eq!(executor(fed(&mut link, at(4), pong)), [ExecutorInput::TimeTold(time)]);
    let dispatch = Input::Frame(GatewayFrame::Dispatch(Dispatch::default()));
    assert_eq!(executor(fed(&mut link, at(4), dispatch)), [ExecutorInput::Dispatched(Dispatch::default())]);
    let confirm = Input::Frame(GatewayFrame::CommandConfirm(Confirm { through: 3 }));
    assert_eq!(executor(fed(&mut link, at(4), confirm)), [ExecutorInput::Confirmed(Confirm { through: 3 })]);
    let updates = CommandUpdates { after: 3, through: 4, ..CommandUpdates::default() };
    let sent = fed(&mut link, at(5), Input::CommandUpdates(updates.clone()));
    assert!(sent.contains(&Action::Send(AgentFrame::CommandUpdates(updates))));
}

#[test]
fn where_one_end_moves_none_the_other_is_not_bothered() {
    for (journal, heard) in [(None, Some(HEARD)), (Some(MARK), None)] {
        let mut link = connected(journal);
        assert_eq!(executor(fed(&mut link, at(2), welcome(heard))), []);
        let updates = Input::CommandUpdates(CommandUpdates::default());
        let said = fed(&mut link, at(3), updates);
        assert!(!said.iter().any(|action| matches!(action, Action::Send(AgentFrame::CommandUpdates(_)))));
        let actions = fed(&mut link, at(3), Input::Frame(GatewayFrame::Dispatch(Dispatch::default())));
        assert!(is_closed(&actions) && executor(actions).is_empty());
    }
}

#[test]
fn commands_before_the_welcome_end_the_connection() {
    let mut link = connected(Some(MARK));
    let actions = fed(&mut link, at(2), Input::Frame(GatewayFrame::Dispatch(Dispatch::default())));
    assert!(is_closed(&actions) && executor(actions).is_empty());
}
