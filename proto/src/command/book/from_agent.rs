//! What an agent's Hello and its journal make of the book.

use super::{Book, Bound, Kept, SessionOver};
use crate::command::{
    Command, CommandUpdate, CommandUpdates, Confirm, Failure, FailureKind, JournalMark, Outcome, Report, Standing,
    State, Witness,
};
use crate::ids::SessionId;
use crate::limits::COMMAND_TTL_MAX;
use crate::time::UnixMicros;

impl Book {
    /// Lets a session speak for the agent. [`Mark::welcome`](super::Mark::welcome) then says how its tale goes on.
    ///
    /// A journal that is unknown, or shorter than what was heard of it, is a card that was wiped or put back. Nobody
    /// can know any more what became of what the agent had: it is interrupted, and never repeated.
    pub fn hello(&mut self, now: UnixMicros, session: SessionId, journal: JournalMark) -> Vec<CommandUpdate> {
        let known = self.mark.journal.filter(|known| known.id == journal.id);
        let went_back = journal.length < known.map_or(0, |_| self.mark.heard);
        self.mark.heard = known.map_or(0, |_| self.mark.heard);
        // One that was never written to is new, and no old card.
        let is_other = self.mark.journal.is_some_and(|known| known.id != journal.id);
        self.mark.put_back = went_back || (is_other && journal.length > 0) || (known.is_some() && self.mark.put_back);
        self.mark.session = Some(session);
        self.mark.journal = Some(journal);
        let with_agent = self.commands.values_mut().filter(|kept| kept.is_with_agent());
        let lost = with_agent.filter(|kept| went_back || kept.bound.is_none_or(|bound| bound.journal != journal.id));
        let mut updates: Vec<CommandUpdate> = lost.map(|kept| kept.interrupt(now)).collect();
        if self.mark.heard < journal.forgotten {
            // The store went back to before what the agent has forgotten since; it forgets only what is past its deadline.
            let past = self.commands.values_mut().filter(|kept| kept.is_with_agent() && kept.command.deadline <= now);
            updates.extend(past.map(|kept| kept.interrupt(now)));
        }
        updates.extend(self.settle(now));
        updates
    }

    /// Takes in what the agent's journal says; gives back what may be confirmed.
    pub fn told(
        &mut self,
        now: UnixMicros,
        session: SessionId,
        told: &CommandUpdates,
    ) -> Result<(Confirm, Vec<CommandUpdate>), SessionOver> {
        let bound = self.bound_of(session)?;
        if self.mark.heard < told.after {
            // What lies between was told to a store that has gone back since.
            return Err(SessionOver);
        }
        let mut updates = Vec::new();
        for report in &told.reports {
            updates.extend(self.report(now, bound, report));
        }
        for report in &told.progress {
            let running = self.commands.get(&report.id).filter(|kept| kept.standing.state == State::Executing);
            updates.extend(running.map(|kept| kept.progress(now, &report.progress)));
        }
        // The first change that an agent makes after its Welcome ends what must not begin.
        let length = self.mark.journal.map_or(0, |journal| journal.length);
        self.mark.put_back &= told.through <= length.max(self.mark.heard);
        self.mark.heard = self.mark.heard.max(told.through);
        updates.extend(self.settle(now));
        Ok((Confirm { through: self.mark.heard }, updates))
    }

    fn report(&mut self, now: UnixMicros, bound: Bound, report: &Report) -> Option<CommandUpdate> {
        let standing = Standing::by_agent(report.state.clone());
        let Some(kept) = self.commands.get_mut(&report.id) else {
            // A backbone that lost the command learns of it by what became of it. One that nobody can have accepted, as
            // its deadline is too far, is none; twice as far leaves room for clocks that were set back.
            let ttl_max = i64::try_from(COMMAND_TTL_MAX.as_micros()).unwrap_or(i64::MAX);
            let can_be = |command: &Command| command.deadline <= now.offset_by(ttl_max.saturating_mul(2));
            let command = report.command.clone().filter(can_be).filter(|_| report.state.outcome().is_some())?;
            let kept = Kept { bound: Some(bound), told: Some(report.position), ..Kept::new(now, command, standing) };
            let update = kept.update();
            self.commands.insert(report.id.clone(), kept);
            return Some(update);
        };
        if report.command.as_ref().is_some_and(|command| *command != kept.command) {
            let reason = "the agent holds another command of this id; take a new one".into();
            let failure = Failure { kind: FailureKind::IdTaken, reason };
            let is_open = kept.standing.state.outcome().is_none();
            return is_open.then(|| kept.stand(now, Standing::by_agent(State::Ended(Outcome::Failed(failure)))));
        }
        match (&kept.standing.state, kept.standing.witness) {
            // What the backbone concluded gives way to what the agent knows.
            (State::Ended(_), Witness::Gateway) if report.state.outcome().is_some() => {}
            (State::Ended(_), _) => return None,
            _ if kept.told.is_some_and(|told| report.position <= told) => return None,
            _ => {}
        }
        (kept.told, kept.bound) = (Some(report.position), kept.bound.or(Some(bound)));
        // Whose wait has ended hears of nothing but the end.
        let is_news = kept.standing.state != State::Unknown || report.state.outcome().is_some();
        is_news.then(|| kept.stand(now, standing))
    }

    /// Once the agent has told all that was in its journal at the Hello: what was dispatched in an earlier boot and is
    /// not in it was lost on the way, or with a card that was put back since. Nobody knows which.
    fn settle(&mut self, now: UnixMicros) -> Vec<CommandUpdate> {
        let Some(journal) = self.mark.journal.filter(|journal| journal.length <= self.mark.heard) else {
            return Vec::new();
        };
        let untold = self.commands.values_mut().filter(|kept| kept.is_with_agent() && kept.told.is_none());
        let lost = untold.filter(|kept| kept.bound.is_none_or(|bound| bound.boot != journal.boot));
        lost.map(|kept| kept.interrupt(now)).collect()
    }
}

impl Kept {
    /// Its bytes may have left, and it has not ended.
    fn is_with_agent(&self) -> bool {
        match self.standing.state {
            State::Dispatched | State::Delivered | State::Executing | State::Unknown => true,
            State::Accepted | State::Queued | State::Ended(_) => false,
        }
    }

    fn interrupt(&mut self, now: UnixMicros) -> CommandUpdate {
        self.told = None;
        self.stand(now, Standing::by_gateway(State::Ended(Outcome::Interrupted)))
    }
}
