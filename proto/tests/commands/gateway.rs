//! The gateways' side of the world: sessions, the wire, and what is asked of the backbone.

use std::collections::VecDeque;
use std::time::Duration;

use lockgate_proto::command::{
    Ask, CommandUpdates, Confirm, Courier, CourierAction, CourierInput, Dispatch, JournalHeard, JournalMark,
};
use lockgate_proto::convert::{
    command_mark_from_bytes, command_mark_to_bytes, decode_agent_frame, decode_gateway_frame, encode_agent_frame,
    encode_gateway_frame, kept_command_from_bytes, kept_command_to_bytes,
};
use lockgate_proto::ids::SessionId;
use lockgate_proto::link::frame::{AgentFrame, GatewayFrame};
use lockgate_proto::time::UnixMicros;

use crate::world::{Event, World};

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Gateway {
    session: Option<Session>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Session {
    courier: Courier,
    /// Asked of the backbone, which has not answered.
    ask: Option<Ask>,
    /// No answer came, and it will ask again.
    waits: bool,
    up: VecDeque<CommandUpdates>,
    down: VecDeque<Down>,
    /// The agent has left: what it sent still arrives, and then nothing.
    left: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Down {
    Welcome { heard: JournalHeard, server: UnixMicros },
    Dispatch(Dispatch),
    Confirm(Confirm),
}

impl Down {
    /// As it arrives after having been bytes.
    fn by_wire(self) -> Down {
        let frame = match &self {
            Down::Welcome { .. } => return self,
            Down::Dispatch(dispatch) => GatewayFrame::Dispatch(dispatch.clone()),
            Down::Confirm(confirm) => GatewayFrame::CommandConfirm(*confirm),
        };
        match decode_gateway_frame(encode_gateway_frame(&frame)) {
            Ok(Some(GatewayFrame::Dispatch(dispatch))) => Down::Dispatch(dispatch),
            Ok(Some(GatewayFrame::CommandConfirm(confirm))) => Down::Confirm(confirm),
            other => panic!("a gateway sent {other:?}"),
        }
    }
}

fn updates_by_wire(updates: CommandUpdates) -> CommandUpdates {
    match decode_agent_frame(encode_agent_frame(&AgentFrame::CommandUpdates(updates))) {
        Ok(Some(AgentFrame::CommandUpdates(updates))) => updates,
        other => panic!("an agent sent {other:?}"),
    }
}

/// A request that got stuck on its way.
pub(crate) type Ghost = Ask;

impl Gateway {
    pub(crate) fn is_up(&self) -> bool {
        self.session.is_some()
    }

    pub(crate) fn has_ask(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.ask.is_some())
    }

    pub(crate) fn has_up(&self) -> bool {
        self.session.as_ref().is_some_and(|session| !session.up.is_empty())
    }

    pub(crate) fn has_down(&self) -> bool {
        self.session.as_ref().is_some_and(|session| !session.down.is_empty())
    }

    pub(crate) fn events(&self, at: u8, is_connected: bool) -> Vec<Event> {
        let Some(session) = &self.session else { return Vec::new() };
        let possible = [
            (session.ask.is_some(), Event::Answer(at)),
            (session.waits, Event::AskAgain(at)),
            (!session.up.is_empty(), Event::Up(at)),
            (is_connected && !session.down.is_empty(), Event::Down),
        ];
        possible.into_iter().filter_map(|(possible, event)| possible.then_some(event)).collect()
    }
}

impl World {
    fn session(&mut self, at: u8) -> Option<&mut Session> {
        self.gateways[usize::from(at)].session.as_mut()
    }

    pub(crate) fn open_session(&mut self, at: u8, journal: JournalMark) {
        self.end_gateway_session(at);
        self.sessions += 1;
        let mut actions = Vec::new();
        let courier = Courier::new(SessionId(self.sessions), journal, &mut actions);
        let (up, down) = (VecDeque::new(), VecDeque::new());
        self.gateways[usize::from(at)].session =
            Some(Session { courier, ask: None, waits: false, up, down, left: false });
        self.carry_out(at, actions);
    }

    /// The session ends; what it asked may still be done.
    pub(crate) fn end_gateway_session(&mut self, at: u8) {
        let session = self.gateways[usize::from(at)].session.take();
        let ask = session.and_then(|session| session.ask);
        self.ghost = self.ghost.take().or(ask);
    }

    pub(crate) fn crash_gateway(&mut self, at: u8) {
        self.end_gateway_session(at);
        if self.agent.connected == Some(at) {
            self.break_connection();
        }
    }

    /// What an agent that has left had sent has arrived: the session ends.
    pub(crate) fn gateways_notice(&mut self) {
        for gateway in &mut self.gateways {
            let is_over = |session: &mut Session| {
                session.left && session.up.is_empty() && session.ask.is_none() && !session.waits
            };
            gateway.session.take_if(is_over);
        }
    }

    /// The agent has closed its end, or died.
    pub(crate) fn agent_left(&mut self) {
        for session in self.gateways.iter_mut().filter_map(|gateway| gateway.session.as_mut()) {
            session.left = true;
            session.down.clear();
        }
    }

    pub(crate) fn send_up(&mut self, updates: CommandUpdates) {
        let updates = if self.rules.by_wire { updates_by_wire(updates) } else { updates };
        let at = self.agent.connected.expect("it tells only while it is connected");
        self.session(at).expect("a session that ends breaks the connection").up.push_back(updates);
    }

    pub(crate) fn deliver_up(&mut self, at: u8, again: bool) {
        let session = self.session(at).expect("it is there");
        let updates = if again { session.up.front().cloned() } else { session.up.pop_front() };
        self.feed_gateway(at, CourierInput::FromAgent(updates.expect("there is one")));
    }

    pub(crate) fn deliver_down(&mut self, again: bool) {
        let at = self.agent.connected.expect("it is connected");
        let session = self.session(at).expect("it is there");
        let down = if again { session.down.front().cloned() } else { session.down.pop_front() };
        self.hear(down.expect("there is one"));
    }

    /// The backbone does it: one transition of the book.
    fn apply(&mut self, ask: &Ask) -> CourierInput {
        if self.rules.by_wire {
            self.book.mark = command_mark_from_bytes(&command_mark_to_bytes(&self.book.mark)).expect("it is a mark");
            for kept in self.book.commands.values_mut() {
                *kept = kept_command_from_bytes(&kept_command_to_bytes(kept)).expect("it is a command");
            }
        }
        let now = self.backbone_time();
        match ask {
            Ask::Hello { session, journal } => {
                self.book.hello(now, *session, *journal);
                CourierInput::Heard(self.book.mark.welcome())
            }
            Ask::HandOver(wish) => match self.book.hand_over(now, wish) {
                Ok((orders, _)) => CourierInput::HandedOver(orders),
                Err(_) => CourierInput::Refused,
            },
            Ask::Told { session, updates } => match self.book.told(now, *session, updates) {
                Ok((confirm, _)) => CourierInput::Stored(confirm),
                Err(_) => CourierInput::Refused,
            },
        }
    }

    pub(crate) fn answer(&mut self, at: u8) {
        let ask = self.session(at).and_then(|session| session.ask.take()).expect("it asked");
        let answer = self.apply(&ask);
        self.feed_gateway(at, answer);
    }

    pub(crate) fn lose_answer(&mut self, at: u8) {
        let ask = self.session(at).and_then(|session| session.ask.take()).expect("it asked");
        self.apply(&ask);
        self.hears_nothing(at);
    }

    pub(crate) fn delay(&mut self, at: u8) {
        self.ghost = self.session(at).and_then(|session| session.ask.take());
        self.hears_nothing(at);
    }

    fn hears_nothing(&mut self, at: u8) {
        self.session(at).expect("it is there").waits = true;
        self.feed_gateway(at, CourierInput::AnswerUnknown);
    }

    pub(crate) fn ask_again(&mut self, at: u8) {
        self.session(at).expect("it is there").waits = false;
        self.feed_gateway(at, CourierInput::TimerFired);
    }

    pub(crate) fn run_ghost(&mut self) {
        let ghost = self.ghost.take().expect("there is one");
        self.apply(&ghost);
    }

    /// The pending list may have changed.
    pub(crate) fn nudge(&mut self) {
        for at in 0..2 {
            self.feed_gateway(at, CourierInput::Nudged);
        }
    }

    pub(crate) fn time_passes_for_gateways(&mut self) {
        for at in 0..2 {
            if let Some(session) = self.session(at) {
                session.waits = false;
                self.feed_gateway(at, CourierInput::TimerFired);
            }
        }
    }

    fn feed_gateway(&mut self, at: u8, input: CourierInput) {
        // A retry's time has come whenever the world says so; it is shorter than a step of time.
        let early = if input == CourierInput::TimerFired { Duration::from_secs(6) } else { Duration::ZERO };
        let now = self.now() + early;
        let Some(session) = self.session(at) else { return };
        let mut actions = Vec::new();
        session.courier.handle(now, input, &mut actions);
        self.carry_out(at, actions);
    }

    fn carry_out(&mut self, at: u8, actions: Vec<CourierAction>) {
        let (server, by_wire) = (self.backbone_time(), self.rules.by_wire);
        for action in actions {
            let Some(session) = self.session(at) else { return };
            let down = match action {
                CourierAction::Ask(ask) => {
                    session.ask = Some(ask);
                    continue;
                }
                CourierAction::Welcome(heard) => Down::Welcome { heard, server },
                CourierAction::Dispatch(dispatch) => Down::Dispatch(dispatch),
                CourierAction::Confirm(confirm) => Down::Confirm(confirm),
                CourierAction::ArmTimer(_) => continue,
                CourierAction::Close { .. } => return self.crash_gateway(at),
            };
            if !session.left {
                session.down.push_back(if by_wire { down.by_wire() } else { down });
            }
        }
    }
}
