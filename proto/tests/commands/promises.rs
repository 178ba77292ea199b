//! What must hold at every moment, and what must hold when all is quiet.

use lockgate_proto::command::{Held, Kept, Outcome, Phase, State, Witness};

use crate::world::{Event, World};

impl World {
    fn executions(&self, kept: &Kept) -> u32 {
        self.devices.executions.get(&kept.command.id).copied().unwrap_or(0)
    }

    /// Promise 2, its first half.
    pub(crate) fn takes_effect_at_most_once(&self) -> bool {
        !self.devices.twice
    }

    pub(crate) fn nothing_begins_late_or_unwritten(&self) -> bool {
        !self.devices.late && !self.devices.forged
    }

    /// Its second half: no state claims what is not so. What the backbone concluded by itself it may have to correct,
    /// if it went back to before it heard of more.
    pub(crate) fn what_is_said_is_true(&self) -> bool {
        self.book.commands.values().all(|kept| {
            let times = self.executions(kept);
            let may_err = self.went_back && kept.standing.witness == Witness::Gateway;
            match &kept.standing.state {
                State::Ended(Outcome::Expired | Outcome::Cancelled) | State::Accepted | State::Queued => {
                    times == 0 || may_err
                }
                State::Ended(Outcome::Succeeded(_)) => times > 0,
                State::Dispatched | State::Delivered | State::Executing | State::Unknown | State::Ended(_) => true,
            }
        })
    }

    /// Nothing happens any more but faults.
    pub(crate) fn is_quiet(&self) -> bool {
        self.progress().is_empty()
    }

    /// No state that can't end: once all is quiet, every command has ended.
    pub(crate) fn has_ended_where_quiet(&self) -> bool {
        !self.is_quiet() || self.book.commands.values().all(|kept| kept.standing.state.outcome().is_some())
    }

    /// No outcome is lost: once all is quiet, the backbone knows what the journal knows, also where it had lost the
    /// command itself. It may know more than a card that was put back.
    pub(crate) fn knows_the_journal_where_quiet(&self) -> bool {
        let knows = |held: &Held| {
            let Some(kept) = self.book.commands.get(&held.command.id) else { return false };
            let knows_more = held.phase == Phase::Ended(Outcome::Interrupted)
                && kept.standing.witness != Witness::Gateway
                && kept.standing.state.outcome().is_some();
            kept.standing.state == held.phase.state() || knows_more
        };
        !self.is_quiet() || self.agent.disk.commands().all(knows)
    }

    /// With no fault left, lets happen what happens by itself; time passes last.
    pub(crate) fn come_to_rest(&mut self) {
        self.faults_left = 0;
        while let Some(event) = self.progress().into_iter().min_by_key(|event| *event == Event::Tick) {
            self.happen(&event);
        }
    }
}
