//! The machine of the agent's end: connections, answers, settled sets. What is sent when: `pump`.

use super::flight::Flight;
use super::lanes::{EpochState, LaneState};
use super::pump::{Slot, Slots};
use super::{Action, AgentConfig, Holdings, Input};
use crate::command::{BackboneTime, ExecutorInput, JournalMark};
use crate::gap::Gap;
use crate::ids::{AgentName, Site};
use crate::limits::{EPOCHS_HELD_MAX, HELLO_TIMEOUT, LEAVE_TIMEOUT, READ_RETRY, TIME_INTERVAL};
use crate::link::close::CloseCode;
use crate::link::frame::{
    Ack, AgentFrame, EpochHeld, EpochSettled, GatewayFrame, GoAway, Hello, LaneHeld, LinkLimits, Welcome,
};
use crate::ranges::RangeSet;
use crate::seq::{Epoch, Lane, Seq};
use crate::time::{MonoTime, UnixMicros};

/// The agent's end, through all its connections.
#[derive(Clone, Debug)]
pub struct AgentLink {
    pub(super) config: AgentConfig,
    pub(super) phase: Phase,
    /// Those that the Hello named, oldest first, the current one last.
    pub(super) epochs: Vec<EpochState>,
    /// What the current epoch's lanes had reached when the connection came: above it is live.
    pub(super) marks: [Seq; 2],
    pub(super) flight: Flight,
    pub(super) slots: Slots,
    pub(super) limits: LinkLimits,
    pub(super) horizon: Option<UnixMicros>,
    /// More epochs are held than a Hello may name; they come with the next one.
    more_epochs: bool,
    /// Past epochs of which, by an earlier Welcome or Ack, nothing is open: the first to be left out of a Hello.
    done: Vec<Epoch>,
    pub(super) paused_until: Option<MonoTime>,
    pub(super) retry_at: Option<MonoTime>,
    leave_at: Option<MonoTime>,
    commands: Commands,
    draining: bool,
    ping: Option<(u64, MonoTime)>,
    ping_id: u64,
    ping_at: Option<MonoTime>,
    armed: Option<MonoTime>,
}

/// Whether this connection moves commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Commands {
    /// The agent has no journal, or the gateway does not know of such.
    No,
    /// The journal was named, and no Welcome has come.
    Offered,
    /// Both ends do.
    Yes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// No connection, or one that is being closed.
    Down,
    /// Hello is sent.
    Hello { asked: MonoTime },
    /// Welcome has come.
    Up,
}

impl AgentLink {
    /// A link without a connection.
    pub fn new(config: AgentConfig) -> AgentLink {
        AgentLink {
            config,
            phase: Phase::Down,
            epochs: Vec::new(),
            marks: [Seq::NONE; 2],
            flight: Flight::default(),
            slots: Slots::default(),
            limits: LinkLimits::default(),
            horizon: None,
            more_epochs: false,
            done: Vec::new(),
            paused_until: None,
            retry_at: None,
            leave_at: None,
            commands: Commands::No,
            draining: false,
            ping: None,
            ping_id: 0,
            ping_at: None,
            armed: None,
        }
    }

    /// The agent's name.
    pub fn agent(&self) -> &AgentName {
        &self.config.agent
    }

    /// The site that it is configured for.
    pub fn site(&self) -> &Site {
        &self.config.site
    }

    /// Whether a gateway has let this end in.
    pub fn is_up(&self) -> bool {
        self.phase == Phase::Up
    }

    /// Feeds one input; appends what the shell must now do. After a `Close` nothing more comes until
    /// the next `Connected`; answers to `Read`s of an earlier connection are ignored.
    pub fn handle(&mut self, now: MonoTime, input: Input, actions: &mut Vec<Action>) {
        match input {
            Input::Connected { holdings, clock, journal } => {
                self.on_connected(now, &holdings, (clock, journal), actions);
            }
            Input::LinkLost => self.phase = Phase::Down,
            Input::DrainRequested => self.draining = true,
            // Without a connection nothing else matters: the next one brings the holdings anew.
            _ if self.phase == Phase::Down => return,
            Input::Frame(frame) => self.on_frame(now, frame, actions),
            Input::BadFrame(why) => self.close(CloseCode::BadFrame, why, actions),
            Input::Appended { lane, seq } => {
                if let Some(current) = self.epochs.last_mut() {
                    current.lanes[lane.index()].appended(seq);
                }
            }
            Input::Records { request, records, missing } => self.on_records(now, request, records, &missing, actions),
            Input::QueueChanged { holdings } => self.on_queue_changed(&holdings, actions),
            Input::CommandUpdates(updates) => {
                if self.commands == Commands::Yes {
                    actions.push(Action::Send(AgentFrame::CommandUpdates(updates)));
                }
            }
            Input::TimerFired => self.on_timer(now, actions),
        }
        self.pump(now, actions);
        self.leave_when_done(actions);
        self.arm(actions);
    }

    fn on_connected(
        &mut self,
        now: MonoTime,
        holdings: &Holdings,
        (clock, journal): (Option<UnixMicros>, Option<JournalMark>),
        actions: &mut Vec<Action>,
    ) {
        let named = self.choose_epochs(holdings);
        self.epochs = named.iter().map(|held| EpochState::new(held, &holdings.gaps)).collect();
        self.marks = named.last().map_or([Seq::NONE; 2], |held| Lane::ALL.map(|lane| held.lane(lane).last));
        self.flight = Flight::default();
        self.slots.forget();
        (self.paused_until, self.retry_at, self.leave_at, self.ping, self.ping_at) = (None, None, None, None, None);
        self.armed = None;
        self.commands = if journal.is_some() { Commands::Offered } else { Commands::No };
        self.phase = Phase::Hello { asked: now };
        let current = named.last().map(|held| held.epoch);
        let is_named = |gap: &&Gap| named.iter().any(|held| held.epoch == gap.epoch) && Some(gap.epoch) != current;
        actions.push(Action::Send(AgentFrame::Hello(Hello {
            agent: self.config.agent.clone(),
            site: Some(self.config.site.clone()),
            clock,
            build: self.config.build.clone(),
            capabilities: Vec::new(),
            gaps: holdings.gaps.iter().filter(|gap| gap.is_unbounded()).filter(is_named).copied().collect(),
            journal,
            epochs: named,
        })));
    }

    /// The epochs of the next Hello. Where there are too many, those go first of which nothing was open
    /// when last heard, then the youngest but the current one; they come when older ones are done.
    fn choose_epochs(&mut self, holdings: &Holdings) -> Vec<EpochHeld> {
        self.done.retain(|epoch| holdings.epochs.iter().any(|held| held.epoch == *epoch));
        let Some((current, held)) = holdings.epochs.split_last() else { return Vec::new() };
        let past = with_lost_epochs(held, current.epoch, &holdings.gaps);
        let mut excess = (past.len() + 1).saturating_sub(EPOCHS_HELD_MAX);
        let mut named: Vec<EpochHeld> = Vec::with_capacity(past.len() + 1 - excess);
        for held in past {
            let skip = excess > 0 && self.done.contains(&held.epoch);
            excess -= usize::from(skip);
            named.extend((!skip).then_some(held));
        }
        self.more_epochs = excess > 0;
        named.truncate(EPOCHS_HELD_MAX - 1);
        named.push(current.clone());
        named
    }

    fn on_frame(&mut self, now: MonoTime, frame: GatewayFrame, actions: &mut Vec<Action>) {
        match frame {
            GatewayFrame::Welcome(welcome) => self.on_welcome(now, welcome, actions),
            GatewayFrame::GoAway(go_away) => self.on_go_away(now, go_away, actions),
            GatewayFrame::Dispatch(_) | GatewayFrame::CommandConfirm(_) if self.commands != Commands::Yes => {
                self.close(CloseCode::BadFrame, "commands without a Welcome that moves them".to_owned(), actions);
            }
            GatewayFrame::Dispatch(dispatch) => actions.push(Action::Executor(ExecutorInput::Dispatched(dispatch))),
            GatewayFrame::CommandConfirm(confirm) => {
                actions.push(Action::Executor(ExecutorInput::Confirmed(confirm)));
            }
            GatewayFrame::Pong { id, server_time } => {
                if let Some((_, asked)) = self.ping.take_if(|(asked, _)| *asked == id) {
                    self.flight.round_trip(now.since(asked));
                    actions.push(Action::ServerTime { asked, answered: now, server: server_time });
                    if self.commands == Commands::Yes {
                        let time = BackboneTime { asked, answered: now, server: server_time };
                        actions.push(Action::Executor(ExecutorInput::TimeTold(time)));
                    }
                }
            }
            GatewayFrame::Ack(_) | GatewayFrame::Reject(_) if self.phase != Phase::Up => {
                self.close(CloseCode::BadFrame, "an answer before the Welcome".to_owned(), actions);
            }
            GatewayFrame::Ack(ack) => self.on_ack(now, ack, actions),
            GatewayFrame::Reject(reject) => {
                let sent =
                    self.lane_mut(reject.epoch, reject.lane).is_some_and(|lane| lane.accounted.contains(reject.seq));
                if sent {
                    let (epoch, lane, seq, reason) = (reject.epoch, reject.lane, reject.seq, reject.reason);
                    actions.push(Action::DeadLetter { epoch, lane, seq, reason });
                }
            }
        }
    }

    fn on_welcome(&mut self, now: MonoTime, welcome: Welcome, actions: &mut Vec<Action>) {
        let Phase::Hello { asked } = self.phase else {
            return self.close(CloseCode::BadFrame, "a second Welcome".to_owned(), actions);
        };
        self.phase = Phase::Up;
        self.limits = welcome.limits;
        self.horizon = welcome.retention_horizon;
        actions.push(Action::ServerTime { asked, answered: now, server: welcome.server_time });
        self.commands = match (self.commands, welcome.journal_heard) {
            (Commands::Offered, Some(heard)) => {
                let time = BackboneTime { asked, answered: now, server: welcome.server_time };
                actions.push(Action::Executor(ExecutorInput::Welcomed { heard, time }));
                Commands::Yes
            }
            (Commands::No | Commands::Offered | Commands::Yes, _) => Commands::No,
        };
        for EpochSettled { epoch, lanes } in welcome.epochs {
            for (lane, set) in lanes {
                if let Some(state) = self.lane_mut(epoch, lane) {
                    state.welcomed(set);
                }
            }
        }
        let Some((current, past)) = self.epochs.split_last() else { return };
        if let Some(lane) = current.lanes.iter().find(|lane| lane.last < lane.told.last()) {
            let why = format!("settles {} of the current epoch, whose last is {}", lane.told.last(), lane.last);
            return self.close(CloseCode::BadFrame, why, actions);
        }
        actions.extend(past.iter().map(|past| Action::EpochClosed(past.epoch)));
        for lane in self.epochs.iter_mut().flat_map(|epoch| &mut epoch.lanes) {
            actions.push(Action::Settled { epoch: lane.epoch, lane: lane.lane, set: lane.told.clone() });
            actions.extend(lane.find_missing().into_iter().map(Action::Gap));
        }
        self.ping_at = Some(now);
        self.send_ping(now, actions);
    }

    fn on_ack(&mut self, now: MonoTime, ack: Ack, actions: &mut Vec<Action>) {
        for EpochSettled { epoch, lanes } in ack.epochs {
            for (lane, set) in lanes {
                if let Err(why) = self.settle(now, epoch, lane, &set, actions) {
                    return self.close(CloseCode::BadFrame, why, actions);
                }
            }
        }
        self.limits = ack.limits.unwrap_or(self.limits);
        if let Some(wait) = ack.retry_after {
            self.paused_until = Some(now + wait);
        }
        self.slots.credit_came();
    }

    fn settle(
        &mut self,
        now: MonoTime,
        epoch: Epoch,
        lane: Lane,
        set: &RangeSet,
        actions: &mut Vec<Action>,
    ) -> Result<(), String> {
        let state = self
            .epochs
            .iter_mut()
            .find(|state| state.epoch == epoch)
            .map(|state| &mut state.lanes[lane.index()])
            .ok_or_else(|| format!("acknowledges epoch {epoch}, which was not in the Hello"))?;
        let beyond = state.beyond(set);
        if !beyond.is_empty() {
            return Err(format!("acknowledges {beyond:?} of epoch {epoch}, lane {lane}, which was not sent"));
        }
        // Within a session the set only grows; one that was too long to be told whole must not shrink it.
        state.told.union_with(set);
        state.accounted.union_with(set);
        self.flight.acked(now, state);
        actions.push(Action::Settled { epoch, lane, set: state.told.clone() });
        Ok(())
    }

    fn on_go_away(&mut self, now: MonoTime, go_away: GoAway, actions: &mut Vec<Action>) {
        let GoAway { reason, reconnect_after, gateways } = go_away;
        self.leave_at = Some(now + LEAVE_TIMEOUT);
        actions.push(Action::GoAway { reason, reconnect_after, gateways });
    }

    fn on_queue_changed(&mut self, holdings: &Holdings, actions: &mut Vec<Action>) {
        self.retry_at = None;
        let up = self.phase == Phase::Up;
        for lane in self.epochs.iter_mut().flat_map(|epoch| &mut epoch.lanes) {
            lane.learn_gaps(&holdings.gaps);
            if let Some(held) = holdings.epochs.iter().find(|held| held.epoch == lane.epoch) {
                lane.queue_changed(held.lane(lane.lane));
                if up {
                    actions.extend(lane.find_missing().into_iter().map(Action::Gap));
                }
            }
        }
    }

    fn on_timer(&mut self, now: MonoTime, actions: &mut Vec<Action>) {
        let due = |at: Option<MonoTime>| at.is_some_and(|at| at <= now);
        self.armed = None;
        if due(self.welcome_deadline()) {
            return self.close(CloseCode::IdleTimeout, "no Welcome came".to_owned(), actions);
        }
        if due(self.leave_at) {
            return self.close(CloseCode::ShuttingDown, "asked to leave".to_owned(), actions);
        }
        if due(self.retry_at) {
            self.retry_at = None;
            self.lanes_mut().for_each(|lane| lane.blocked = false);
        }
        if due(self.ping_at) {
            self.send_ping(now, actions);
        }
    }

    fn send_ping(&mut self, now: MonoTime, actions: &mut Vec<Action>) {
        self.ping_id += 1;
        self.ping = Some((self.ping_id, now));
        self.ping_at = Some(now + TIME_INTERVAL);
        actions.push(Action::Send(AgentFrame::Ping { id: self.ping_id }));
    }

    fn leave_when_done(&mut self, actions: &mut Vec<Action>) {
        if self.phase == Phase::Down || !self.flight.is_empty() || !self.slots.is_empty() {
            return;
        }
        if self.leave_at.is_some() {
            self.close(CloseCode::ShuttingDown, "asked to leave".to_owned(), actions);
        } else if self.draining && !self.has_live() {
            self.close(CloseCode::ShuttingDown, "stopping".to_owned(), actions);
        } else if self.more_epochs && self.phase == Phase::Up && self.past_is_settled() {
            let past = self.epochs.iter().rev().skip(1).map(|epoch| epoch.epoch);
            self.done.extend(past.collect::<Vec<_>>());
            self.close(CloseCode::HelloAgain, "more epochs are held than one Hello names".to_owned(), actions);
        }
    }

    fn past_is_settled(&self) -> bool {
        self.epochs.iter().rev().skip(1).flat_map(|epoch| &epoch.lanes).all(LaneState::is_settled)
    }

    /// Whether new records may be asked for: not while leaving, nor before a wait is over.
    pub(super) fn may_send(&mut self, now: MonoTime) -> bool {
        self.paused_until = self.paused_until.filter(|until| now < *until);
        self.phase == Phase::Up && self.leave_at.is_none() && self.paused_until.is_none()
    }

    pub(super) fn may_send_backlog(&self) -> bool {
        !self.draining
    }

    /// Where the queue had nothing to give: asked again after a while.
    pub(super) fn block(&mut self, now: MonoTime, slot_epoch: Epoch, lane: Lane) {
        if let Some(state) = self.lane_mut(slot_epoch, lane) {
            state.blocked = true;
        }
        self.retry_at.get_or_insert(now + READ_RETRY);
    }

    fn has_live(&self) -> bool {
        self.phase == Phase::Up && Slot::LIVE.into_iter().any(|slot| self.candidate(slot).is_some())
    }

    pub(super) fn lane_mut(&mut self, epoch: Epoch, lane: Lane) -> Option<&mut LaneState> {
        self.epochs.iter_mut().find(|state| state.epoch == epoch).map(|state| &mut state.lanes[lane.index()])
    }

    pub(super) fn lanes_mut(&mut self) -> impl Iterator<Item = &mut LaneState> {
        self.epochs.iter_mut().flat_map(|epoch| &mut epoch.lanes)
    }

    fn welcome_deadline(&self) -> Option<MonoTime> {
        match self.phase {
            Phase::Hello { asked } => Some(asked + HELLO_TIMEOUT),
            Phase::Down | Phase::Up => None,
        }
    }

    /// One timer for all that waits.
    fn arm(&mut self, actions: &mut Vec<Action>) {
        if self.phase == Phase::Down {
            return;
        }
        let waits = [self.welcome_deadline(), self.leave_at, self.retry_at, self.paused_until, self.ping_at];
        let next = waits.into_iter().flatten().min();
        if let Some(at) = next.filter(|_| next != self.armed) {
            self.armed = next;
            actions.push(Action::ArmTimer(at));
        }
    }

    pub(super) fn close(&mut self, code: CloseCode, why: String, actions: &mut Vec<Action>) {
        self.phase = Phase::Down;
        actions.push(Action::Close { code, why });
    }
}

/// The past epochs held, and before them those of which only gaps are left.
fn with_lost_epochs(held: &[EpochHeld], current: Epoch, gaps: &[Gap]) -> Vec<EpochHeld> {
    let mut past: Vec<EpochHeld> = Vec::with_capacity(held.len());
    for gap in gaps {
        let named = gap.epoch == current || held.iter().chain(&past).any(|held| held.epoch == gap.epoch);
        if !named {
            past.push(EpochHeld { epoch: gap.epoch, lanes: [LaneHeld::default(), LaneHeld::default()] });
        }
    }
    past.extend_from_slice(held);
    past
}
