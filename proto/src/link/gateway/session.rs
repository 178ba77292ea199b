//! The machine of the gateway's end.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::intake::{Found, Intake};
use super::{Action, Alarm, EdgeConfig, Input, Now, Step};
use crate::command::JournalHeard;
use crate::ids::SessionId;
use crate::ledger::{HearError, Ledger};
use crate::limits::{HELLO_TIMEOUT, PUBLISH_RECORDS_MAX, STEP_ENTRIES_TARGET};
use crate::link::close::CloseCode;
use crate::link::frame::{
    Ack, AgentFrame, EpochSettled, GatewayFrame, GoAway, Hello, LinkLimits, Publish, Reject, Welcome,
};
use crate::link::load::Load;
use crate::seq::{Epoch, Lane};

/// First wait before the backbone is asked the same again; doubles up to [`RETRY_MAX`].
const RETRY_BASE: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// One connection of one agent, from its Hello to its end.
#[derive(Clone, Debug)]
pub struct EdgeSession {
    config: EdgeConfig,
    phase: Phase,
    hello: Option<Hello>,
    /// As of the last step that is known to be stored.
    ledger: Ledger,
    /// LIMIT: the window and one message, checked when a Publish comes.
    gathered: VecDeque<Publish>,
    gathered_load: Load,
    flight: Option<Flight>,
    found: Found,
    retries: u32,
    /// How the agent's tale of its journal goes on, once the backbone has said so.
    journal_heard: Option<JournalHeard>,
    /// All is ready for the Welcome but that.
    welcome_waits: bool,
    /// The most credit that was ever given: what is under way may still rely on it.
    window: Load,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Hello,
    Opening,
    Open,
    Closed,
}

/// The step that the backbone has, and what is said when it is done.
#[derive(Clone, Debug)]
struct Flight {
    step: Step,
    load: Load,
    reply: Reply,
}

#[derive(Clone, Debug)]
enum Reply {
    Welcome,
    Ack { touched: Vec<(Epoch, Lane)>, rejects: Vec<Reject> },
}

impl EdgeSession {
    /// A session that waits for its Hello; arms the timer for it.
    pub fn new(config: EdgeConfig, now: Now, actions: &mut Vec<Action>) -> EdgeSession {
        actions.push(Action::ArmTimer(now.mono + HELLO_TIMEOUT));
        EdgeSession {
            window: Load::window(&config.limits),
            config,
            phase: Phase::Hello,
            hello: None,
            ledger: Ledger::new(),
            gathered: VecDeque::new(),
            gathered_load: Load::default(),
            flight: None,
            found: Found::default(),
            retries: 0,
            journal_heard: None,
            welcome_waits: false,
        }
    }

    /// The session's id.
    pub fn session(&self) -> SessionId {
        self.config.session
    }

    /// What the Hello said, once it came.
    pub fn hello(&self) -> Option<&Hello> {
        self.hello.as_ref()
    }

    /// The ledger as of the last step that is known to be stored.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Whether the session has ended.
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// Feeds one input; appends what the shell must now do. After a `Close` nothing more comes.
    pub fn handle(&mut self, now: Now, input: Input, actions: &mut Vec<Action>) {
        if self.is_closed() {
            return;
        }
        match input {
            Input::Frame(AgentFrame::Hello(hello)) => self.on_hello(hello, actions),
            Input::Frame(AgentFrame::Publish(publish)) => self.on_publish(now, publish, actions),
            Input::Frame(AgentFrame::Ping { id }) => {
                actions.push(Action::Send(GatewayFrame::Pong { id, server_time: now.wall }));
            }
            // The courier's; it stands beside the session.
            Input::Frame(AgentFrame::CommandUpdates(_)) => {}
            Input::BadFrame(why) => self.close(CloseCode::BadFrame, why, actions),
            Input::Opened(ledger) => self.on_opened(now, ledger, actions),
            Input::Superseded => self.agent_twice("its current epoch has been superseded".to_owned(), actions),
            Input::OpenUnknown | Input::StepUnknown => self.retry_later(now, actions),
            Input::JournalHeard(heard) => {
                self.journal_heard = Some(heard);
                if std::mem::take(&mut self.welcome_waits) {
                    self.welcome(now, actions);
                }
            }
            Input::StepDone => self.on_step_done(now, actions),
            Input::StepRefused => {
                let why = "another session writes, or the store went back".to_owned();
                self.close(CloseCode::SessionLost, why, actions);
            }
            Input::TimerFired => self.on_timer(actions),
            Input::Throttle { retry_after } => {
                let ack = Ack { retry_after: Some(retry_after), ..Ack::default() };
                self.send_if_open(GatewayFrame::Ack(ack), actions);
            }
            Input::Limits(limits) => self.on_limits(limits, actions),
            Input::DrainRequested { reconnect_after, gateways } => {
                let reason = CloseCode::ShuttingDown.as_str().to_owned();
                actions.push(Action::Send(GatewayFrame::GoAway(GoAway { reason, reconnect_after, gateways })));
            }
        }
    }

    fn on_hello(&mut self, hello: Hello, actions: &mut Vec<Action>) {
        if self.phase != Phase::Hello {
            return self.close(CloseCode::BadFrame, "a second Hello".to_owned(), actions);
        }
        if let Some(why) = self.other_than_token(&hello) {
            return self.close(CloseCode::Unauthorized, why, actions);
        }
        self.phase = Phase::Opening;
        self.hello = Some(hello);
        self.open_session(actions);
    }

    /// In what the agent's configuration and its token differ; short, as it is told in a close frame.
    fn other_than_token(&self, hello: &Hello) -> Option<String> {
        let EdgeConfig { agent, site, .. } = &self.config;
        if hello.agent != *agent {
            let (said, ours) = (hello.agent.as_str(), agent.as_str());
            return Some(format!("agent.name is {said:?}, but the token is for {ours:?}"));
        }
        let said = hello.site.as_ref().filter(|said| *said != site)?.as_str();
        Some(format!(
            "agent.site is {said:?}, but the token is for site {:?}; correct it, or make a token with --site {said}",
            site.as_str()
        ))
    }

    fn open_session(&self, actions: &mut Vec<Action>) {
        let held = self.hello.iter().flat_map(|hello| &hello.epochs);
        actions
            .push(Action::OpenSession { session: self.config.session, epochs: held.map(|held| held.epoch).collect() });
    }

    fn on_opened(&mut self, now: Now, ledger: Ledger, actions: &mut Vec<Action>) {
        let Some(hello) = self.hello.as_ref().filter(|_| self.phase == Phase::Opening) else { return };
        self.phase = Phase::Open;
        self.retries = 0;
        let mut intake = Intake::new(ledger.clone(), Found::default(), now.wall);
        match intake.ledger.hear(&hello.epochs, &hello.gaps, now.wall) {
            Ok(heard) => intake.heard(heard),
            Err(error @ HearError::WentBack { .. }) => return self.agent_twice(error.to_string(), actions),
            Err(error @ HearError::OpenEnd) => return self.close(CloseCode::BadFrame, error.to_string(), actions),
        }
        intake.found = Found::new(&intake.ledger, hello);
        actions.extend(hello.journal.map(Action::OpenJournal));
        if intake.ledger == ledger {
            self.found = intake.found;
            self.ledger = ledger;
            return self.welcome(now, actions);
        }
        self.ledger = ledger;
        self.start_step(intake, Load::default(), true, actions);
    }

    fn on_publish(&mut self, now: Now, publish: Publish, actions: &mut Vec<Action>) {
        if !self.is_welcomed() {
            return self.close(CloseCode::BadFrame, "a Publish before the Welcome".to_owned(), actions);
        }
        if let Err(why) = self.check_publish(&publish) {
            return self.close(CloseCode::BadFrame, why, actions);
        }
        self.gathered_load = self.gathered_load.plus(Load::of(&publish));
        self.gathered.push_back(publish);
        self.step_if_idle(now, actions);
    }

    fn check_publish(&self, publish: &Publish) -> Result<(), String> {
        let in_flight = self.flight.as_ref().map_or(Load::default(), |flight| flight.load);
        let load = self.gathered_load.plus(in_flight).plus(Load::of(publish));
        let message = Load { bytes: self.config.limits.message_bytes_max as u64, records: PUBLISH_RECORDS_MAX as u64 };
        if !load.fits(self.window.plus(message)) {
            let Load { bytes, records } = load;
            return Err(format!("beyond its credit: {bytes} bytes, {records} records and gaps in flight"));
        }
        let mut named = std::iter::once(publish.epoch).chain(publish.gaps.iter().map(|gap| gap.epoch));
        if let Some(epoch) = named.find(|epoch| !self.ledger.knows(*epoch)) {
            return Err(format!("epoch {epoch} was not in the Hello"));
        }
        let current = self.hello.as_ref().and_then(Hello::current);
        if publish.gaps.iter().any(|gap| gap.is_unbounded() && Some(gap.epoch) == current) {
            return Err(HearError::OpenEnd.to_string());
        }
        Ok(())
    }

    fn step_if_idle(&mut self, now: Now, actions: &mut Vec<Action>) {
        if self.flight.is_some() || self.gathered.is_empty() {
            return;
        }
        let mut intake = Intake::new(self.ledger.clone(), std::mem::take(&mut self.found), now.wall);
        let mut load = Load::default();
        while intake.entries() < STEP_ENTRIES_TARGET {
            let Some(publish) = self.gathered.pop_front() else { break };
            load = load.plus(Load::of(&publish));
            if let Err(error) = intake.publish(&self.config, publish) {
                return self.close(CloseCode::BadFrame, error.to_string(), actions);
            }
        }
        self.gathered_load = self.gathered_load.minus(load);
        self.start_step(intake, load, false, actions);
    }

    fn start_step(&mut self, mut intake: Intake, load: Load, welcome: bool, actions: &mut Vec<Action>) {
        intake.tell_gaps(&self.config.agent);
        // Told with the step's answer and not before: there is one step at a time.
        self.found = intake.found;
        let n = intake.ledger.advance();
        let step =
            Step { session: self.config.session, n, ledger: Arc::new(intake.ledger), entries: intake.entries.into() };
        if let Some(first) = intake.rejects.first() {
            let records = intake.rejects.len() as u64;
            actions.push(Action::Alarm(Alarm::Rejected { records, first: first.clone() }));
        }
        let reply =
            if welcome { Reply::Welcome } else { Reply::Ack { touched: intake.touched, rejects: intake.rejects } };
        actions.push(Action::Step(step.clone()));
        self.flight = Some(Flight { step, load, reply });
    }

    fn on_step_done(&mut self, now: Now, actions: &mut Vec<Action>) {
        let Some(flight) = self.flight.take() else { return };
        self.retries = 0;
        self.ledger = Ledger::clone(&flight.step.ledger);
        match flight.reply {
            Reply::Welcome => self.welcome(now, actions),
            Reply::Ack { touched, rejects } => {
                actions.extend(rejects.into_iter().map(|reject| Action::Send(GatewayFrame::Reject(reject))));
                let ack = Ack { epochs: self.settled(&touched), ..Ack::default() };
                actions.push(Action::Send(GatewayFrame::Ack(ack)));
            }
        }
        self.step_if_idle(now, actions);
    }

    fn welcome(&mut self, now: Now, actions: &mut Vec<Action>) {
        let has_journal = self.hello.as_ref().is_some_and(|hello| hello.journal.is_some());
        if has_journal && self.journal_heard.is_none() {
            self.welcome_waits = true;
            return;
        }
        let held = self.hello.iter().flat_map(|hello| &hello.epochs);
        let lanes: Vec<(Epoch, Lane)> = held.flat_map(|held| Lane::ALL.map(|lane| (held.epoch, lane))).collect();
        let retention = self.config.retention.map(|span| i64::try_from(span.as_micros()).unwrap_or(i64::MAX));
        actions.push(Action::Send(GatewayFrame::Welcome(Welcome {
            session: self.config.session,
            epochs: self.settled(&lanes),
            retention_horizon: retention.map(|micros| now.wall.offset_by(micros.saturating_neg())),
            server_time: now.wall,
            limits: self.config.limits,
            journal_heard: self.journal_heard,
        })));
    }

    fn settled(&self, lanes: &[(Epoch, Lane)]) -> Vec<EpochSettled> {
        let mut epochs: Vec<EpochSettled> = Vec::new();
        for (epoch, lane) in lanes {
            let set = (*lane, self.found.settled(&self.ledger, *epoch, *lane));
            match epochs.iter_mut().find(|settled| settled.epoch == *epoch) {
                Some(settled) => settled.lanes.push(set),
                None => epochs.push(EpochSettled { epoch: *epoch, lanes: vec![set] }),
            }
        }
        epochs
    }

    fn retry_later(&mut self, now: Now, actions: &mut Vec<Action>) {
        if self.phase == Phase::Opening || self.flight.is_some() {
            let wait = RETRY_BASE.saturating_mul(2u32.saturating_pow(self.retries)).min(RETRY_MAX);
            self.retries = self.retries.saturating_add(1);
            actions.push(Action::ArmTimer(now.mono + wait));
        }
    }

    fn on_timer(&mut self, actions: &mut Vec<Action>) {
        match (self.phase, &self.flight) {
            (Phase::Hello, _) => self.close(CloseCode::IdleTimeout, "no Hello came".to_owned(), actions),
            // The timer of the Hello may still run; only an unknown outcome makes it ask again.
            (Phase::Opening, _) if self.retries > 0 => self.open_session(actions),
            (Phase::Open, Some(flight)) if self.retries > 0 => actions.push(Action::Step(flight.step.clone())),
            (Phase::Opening | Phase::Open | Phase::Closed, _) => {}
        }
    }

    fn on_limits(&mut self, limits: LinkLimits, actions: &mut Vec<Action>) {
        self.config.limits = limits;
        self.window = self.window.max(Load::window(&limits));
        let ack = Ack { limits: Some(limits), ..Ack::default() };
        self.send_if_open(GatewayFrame::Ack(ack), actions);
    }

    /// Before the Welcome an agent expects nothing else.
    fn send_if_open(&self, frame: GatewayFrame, actions: &mut Vec<Action>) {
        if self.is_welcomed() {
            actions.push(Action::Send(frame));
        }
    }

    fn is_welcomed(&self) -> bool {
        let waits = self.welcome_waits || self.flight.as_ref().is_some_and(Flight::is_welcome);
        self.phase == Phase::Open && !waits
    }

    fn agent_twice(&mut self, why: String, actions: &mut Vec<Action>) {
        actions.push(Action::Alarm(Alarm::AgentTwice));
        self.close(CloseCode::AgentTwice, why, actions);
    }

    fn close(&mut self, code: CloseCode, why: String, actions: &mut Vec<Action>) {
        self.phase = Phase::Closed;
        self.flight = None;
        self.gathered.clear();
        actions.push(Action::Close { code, why });
    }
}

impl Flight {
    fn is_welcome(&self) -> bool {
        match self.reply {
            Reply::Welcome => true,
            Reply::Ack { .. } => false,
        }
    }
}
