//! A gateway's part in one connection of one agent: it asks the backbone, and moves what it gets.
//!
//! Pure, and forgetful on purpose: all that must outlive the connection is in the book. One question is under way at a
//! time; where its outcome is unknown it is asked again, which no transition of the book minds.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::{CommandId, CommandUpdates, Confirm, Dispatch, HandOver, JournalHeard, JournalMark, Order};
use crate::ids::SessionId;
use crate::limits::{DISPATCH_WINDOW, JOURNAL_FULL_RETRY};
use crate::time::MonoTime;

/// First wait before the backbone is asked the same again; doubles up to [`RETRY_MAX`].
const RETRY_BASE: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// The book is looked at so often, should a nudge be lost, or the store go back.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// Messages of the agent that wait for the backbone, at most.
const GATHERED_MAX: usize = 256;

/// What the backbone is asked: one transition of the [book](super::Book) each.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Ask {
    /// [`Book::hello`](super::Book::hello).
    Hello {
        /// Who asks.
        session: SessionId,
        /// What the agent said.
        journal: JournalMark,
    },
    /// [`Book::hand_over`](super::Book::hand_over).
    HandOver(HandOver),
    /// [`Book::told`](super::Book::told).
    Told {
        /// Who asks.
        session: SessionId,
        /// What the agent said.
        updates: CommandUpdates,
    },
}

/// What happens to a courier.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CourierInput {
    /// Answer to `Hello`: how the agent's tale goes on.
    Heard(JournalHeard),
    /// Answer to `HandOver`, stored as durably as is configured.
    HandedOver(Vec<Order>),
    /// Answer to `Told`, likewise.
    Stored(Confirm),
    /// Answer to any: another session speaks for the agent, or the store went back.
    Refused,
    /// Answer to any: nobody knows what the backbone did.
    AnswerUnknown,
    /// The pending list may have changed.
    Nudged,
    /// The agent said something.
    FromAgent(CommandUpdates),
    /// The time of the last `ArmTimer` has come.
    TimerFired,
}

/// What the shell must do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CourierAction {
    /// Ask the backbone.
    Ask(Ask),
    /// Tell the agent in its Welcome how its tale goes on.
    Welcome(JournalHeard),
    /// Send commands.
    Dispatch(Dispatch),
    /// Send a confirmation.
    Confirm(Confirm),
    /// Close the connection: the next Hello reads the truth.
    Close {
        /// What happened, for the log.
        why: &'static str,
    },
    /// Feed `TimerFired` at this time. Replaces the time before.
    ArmTimer(MonoTime),
}

/// One connection's errands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Courier {
    session: SessionId,
    /// Changes of the agent's journal up to here are in the book, as far as it has answered.
    heard: u64,
    asked: Option<Ask>,
    /// LIMIT: [`GATHERED_MAX`]; an agent that says more before it is heard breaks the protocol.
    gathered: VecDeque<CommandUpdates>,
    nudged: bool,
    is_welcomed: bool,
    is_closed: bool,
    /// Sent in this connection, and not told of yet; `true`: with the wish that it be withdrawn.
    have: BTreeSet<(CommandId, bool)>,
    /// Not taken because the journal is full.
    full: BTreeSet<CommandId>,
    retry_at: Option<MonoTime>,
    full_until: Option<MonoTime>,
    look_at: Option<MonoTime>,
    retries: u32,
}

impl Courier {
    /// A courier for an agent that has said Hello.
    pub fn new(session: SessionId, journal: JournalMark, actions: &mut Vec<CourierAction>) -> Courier {
        let mut courier = Courier {
            session,
            heard: 0,
            asked: None,
            gathered: VecDeque::new(),
            nudged: true,
            is_welcomed: false,
            is_closed: false,
            have: BTreeSet::new(),
            full: BTreeSet::new(),
            retry_at: None,
            full_until: None,
            look_at: None,
            retries: 0,
        };
        courier.ask(Ask::Hello { session, journal }, actions);
        courier
    }

    /// Whether it has given up its connection.
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Feeds one input; appends what the shell must now do. After a `Close` nothing more comes.
    pub fn handle(&mut self, now: MonoTime, input: CourierInput, actions: &mut Vec<CourierAction>) {
        if self.is_closed {
            return;
        }
        match input {
            CourierInput::Heard(heard) => {
                if let Some(Ask::Hello { .. }) = self.answered() {
                    (self.is_welcomed, self.heard) = (true, heard.through);
                    actions.push(CourierAction::Welcome(heard));
                }
            }
            CourierInput::HandedOver(orders) => self.on_handed_over(now, orders, actions),
            CourierInput::Stored(confirm) => self.on_stored(now, confirm, actions),
            CourierInput::Refused => {
                self.close("another session speaks for the agent, or the store went back", actions);
            }
            CourierInput::AnswerUnknown => self.retry_later(now, actions),
            CourierInput::Nudged => self.nudged = true,
            CourierInput::FromAgent(updates) => self.on_updates(updates, actions),
            CourierInput::TimerFired => self.on_timer(now, actions),
        }
        self.next(actions);
    }

    fn on_handed_over(&mut self, now: MonoTime, orders: Vec<Order>, actions: &mut Vec<CourierAction>) {
        let Some(Ask::HandOver(HandOver { max, .. })) = self.answered() else { return };
        self.look_at = Some(now + LOOK_INTERVAL);
        self.arm(actions);
        if orders.is_empty() {
            return;
        }
        self.have.extend(orders.iter().map(|order| (order.command.id.clone(), order.cancel)));
        // As many as were asked for: there may be more.
        self.nudged |= orders.len() >= max && self.room() > 0;
        actions.push(CourierAction::Dispatch(Dispatch { orders }));
    }

    fn on_updates(&mut self, updates: CommandUpdates, actions: &mut Vec<CourierAction>) {
        if !self.is_welcomed || self.gathered.len() >= GATHERED_MAX {
            return self.close("the agent tells of commands before it may", actions);
        }
        self.gathered.push_back(updates);
    }

    fn on_stored(&mut self, now: MonoTime, confirm: Confirm, actions: &mut Vec<CourierAction>) {
        let Some(Ask::Told { updates, .. }) = self.answered() else { return };
        let was_full = self.room() == 0;
        for report in updates.reports {
            self.have.remove(&(report.id.clone(), false));
            if report.state.outcome().is_some() {
                self.have.remove(&(report.id, true));
            }
        }
        self.nudged |= was_full && self.room() > 0;
        if !updates.full.is_empty() {
            self.full.extend(updates.full);
            self.full_until = Some(now + JOURNAL_FULL_RETRY);
            self.arm(actions);
        }
        self.heard = confirm.through;
        actions.push(CourierAction::Confirm(confirm));
    }

    fn on_timer(&mut self, now: MonoTime, actions: &mut Vec<CourierAction>) {
        if self.retry_at.take_if(|at| *at <= now).is_some() {
            actions.extend(self.asked.clone().map(CourierAction::Ask));
        }
        if self.full_until.take_if(|at| *at <= now).is_some() {
            let full = std::mem::take(&mut self.full);
            self.have.retain(|(id, _)| !full.contains(id));
            self.nudged = true;
        }
        self.nudged |= self.look_at.take_if(|at| *at <= now).is_some();
        self.arm(actions);
    }

    /// Asks the next question, what the agent said first.
    fn next(&mut self, actions: &mut Vec<CourierAction>) {
        if self.is_closed || self.asked.is_some() {
            return;
        }
        let session = self.session;
        if let Some(updates) = self.gathered.pop_front() {
            return self.ask(Ask::Told { session, updates }, actions);
        }
        if std::mem::take(&mut self.nudged) {
            // With a full window there may still be something to take back.
            let max = self.room().max(1);
            let (heard, have) = (self.heard, self.have.clone());
            self.ask(Ask::HandOver(HandOver { session, heard, have, max }), actions);
        }
    }

    /// How many commands may be sent.
    fn room(&self) -> usize {
        DISPATCH_WINDOW.saturating_sub(self.have.iter().filter(|(_, cancel)| !cancel).count())
    }

    fn ask(&mut self, ask: Ask, actions: &mut Vec<CourierAction>) {
        actions.push(CourierAction::Ask(ask.clone()));
        self.asked = Some(ask);
    }

    fn answered(&mut self) -> Option<Ask> {
        (self.retries, self.retry_at) = (0, None);
        self.asked.take()
    }

    fn retry_later(&mut self, now: MonoTime, actions: &mut Vec<CourierAction>) {
        let wait = RETRY_BASE.saturating_mul(2u32.saturating_pow(self.retries)).min(RETRY_MAX);
        self.retries = self.retries.saturating_add(1);
        self.retry_at = Some(now + wait);
        self.arm(actions);
    }

    fn arm(&self, actions: &mut Vec<CourierAction>) {
        let next = [self.retry_at, self.full_until, self.look_at].into_iter().flatten().min();
        actions.extend(next.map(CourierAction::ArmTimer));
    }

    fn close(&mut self, why: &'static str, actions: &mut Vec<CourierAction>) {
        self.is_closed = true;
        actions.push(CourierAction::Close { why });
    }
}

#[cfg(test)]
mod tests;
