//! The backbone's end: what it knows of one agent's commands.
//!
//! Each method is one transition, which a backbone applies as a whole: it loads the mark and the commands concerned,
//! calls, and stores what changed together with the updates as entries of the room. A book need hold no more commands
//! than a transition looks at: those named, or for [`Book::hello`], [`Book::told`] and [`Book::hand_over`] those that
//! have not ended. All transitions may be repeated, and may run late: what they did stays as it was.

mod from_agent;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::{
    BootId, Command, CommandId, CommandUpdate, JournalHeard, JournalId, JournalMark, Order, Outcome, Progress,
    Standing, State,
};
use crate::ids::SessionId;
use crate::limits::COMMAND_TTL_MAX;
use crate::time::UnixMicros;

/// What a backbone knows of one agent's commands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Book {
    /// Of the agent itself.
    pub mark: Mark,
    /// The commands.
    pub commands: BTreeMap<CommandId, Kept>,
}

/// Who speaks for the agent, and how much of its journal was heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Mark {
    /// The session that may hand over and tell.
    pub session: Option<SessionId>,
    /// What its Hello said.
    pub journal: Option<JournalMark>,
    /// Changes of that journal up to here are in the book.
    pub heard: u64,
    /// That journal is on a card that was put back, and has not ended yet what it should not begin.
    pub put_back: bool,
}

impl Mark {
    /// What the agent's Welcome says.
    pub fn welcome(&self) -> JournalHeard {
        JournalHeard { through: self.heard, put_back: self.put_back }
    }
}

/// A command as a backbone stores it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Kept {
    /// The command.
    pub command: Command,
    /// When it was stored first.
    pub accepted_at: UnixMicros,
    /// Where it stands.
    pub standing: Standing,
    /// Since when it stands there.
    pub since: UnixMicros,
    /// Where its bytes may have gone.
    pub bound: Option<Bound>,
    /// The change of the agent's journal that this rests on.
    pub told: Option<u64>,
    /// Its sender wants it back; the agent is to be asked.
    pub cancel: bool,
}

/// The journal that a command was dispatched to, and the boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bound {
    /// The journal.
    pub journal: JournalId,
    /// The boot.
    pub boot: BootId,
}

/// What a session wants for its agent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HandOver {
    /// Who asks.
    pub session: SessionId,
    /// What it was told last: changes of the agent's journal up to here are in the book.
    pub heard: u64,
    /// What it has already; `true`: with the wish that it be withdrawn.
    pub have: BTreeSet<(CommandId, bool)>,
    /// At most so many orders.
    pub max: usize,
}

/// Why a command is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AcceptError {
    /// Another command has its id.
    #[error("id is that of another command; take a new one")]
    IdTaken,
    /// It could not begin in time any more.
    #[error("deadline has passed; give a later one")]
    DeadlinePassed,
    /// Nobody could remember it for so long.
    #[error("deadline is more than {} days ahead; give an earlier one", COMMAND_TTL_MAX.as_secs() / 86_400)]
    DeadlineTooFar,
}

/// Another session speaks for the agent, or the store went back: the next Hello reads the truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("another session speaks for the agent, or the store went back")]
pub struct SessionOver;

impl Book {
    /// Stores a command; `announced`: an agent has announced its device. The same command again is the same command.
    pub fn accept(
        &mut self,
        now: UnixMicros,
        command: Command,
        announced: bool,
    ) -> Result<Option<CommandUpdate>, AcceptError> {
        if let Some(kept) = self.commands.get(&command.id) {
            return if kept.command == command { Ok(None) } else { Err(AcceptError::IdTaken) };
        }
        let ttl_max = i64::try_from(COMMAND_TTL_MAX.as_micros()).unwrap_or(i64::MAX);
        if command.deadline <= now {
            return Err(AcceptError::DeadlinePassed);
        }
        if now.offset_by(ttl_max) < command.deadline {
            return Err(AcceptError::DeadlineTooFar);
        }
        let state = if announced { State::Queued } else { State::Accepted };
        let kept = Kept::new(now, command, Standing::by_gateway(state));
        let update = kept.update();
        self.commands.insert(kept.command.id.clone(), kept);
        Ok(Some(update))
    }

    /// Puts a command on the pending list: an agent has announced its device.
    pub fn announced(&mut self, now: UnixMicros, id: &CommandId) -> Option<CommandUpdate> {
        let kept = self.commands.get_mut(id).filter(|kept| kept.standing.state == State::Accepted)?;
        Some(kept.stand(now, Standing::by_gateway(State::Queued)))
    }

    /// Takes a command back. Where its bytes may have left, only the agent can: it will be asked.
    pub fn cancel(&mut self, now: UnixMicros, id: &CommandId) -> Option<CommandUpdate> {
        let kept = self.commands.get_mut(id)?;
        match kept.standing.state {
            State::Accepted | State::Queued => {
                Some(kept.stand(now, Standing::by_gateway(State::Ended(Outcome::Cancelled))))
            }
            State::Dispatched | State::Delivered | State::Executing | State::Unknown => {
                kept.cancel = true;
                None
            }
            State::Ended(_) => None,
        }
    }

    /// Ends every wait that is over: what never left expires, and of the rest only the agent knows.
    pub fn pass_time(&mut self, now: UnixMicros) -> Vec<CommandUpdate> {
        let over = self.commands.values_mut().filter(|kept| kept.command.deadline <= now);
        let updates = over.filter_map(|kept| match kept.standing.state {
            State::Accepted | State::Queued => {
                Some(kept.stand(now, Standing::by_gateway(State::Ended(Outcome::Expired))))
            }
            State::Dispatched | State::Delivered | State::Executing => {
                Some(kept.stand(now, Standing::by_gateway(State::Unknown)))
            }
            State::Unknown | State::Ended(_) => None,
        });
        updates.collect()
    }

    /// Gives a session what its agent shall have and has not told of, and marks it as dispatched; the most urgent first.
    /// Once this is stored, the bytes may leave.
    pub fn hand_over(
        &mut self,
        now: UnixMicros,
        wish: &HandOver,
    ) -> Result<(Vec<Order>, Vec<CommandUpdate>), SessionOver> {
        let bound = self.bound_of(wish.session)?;
        if self.mark.heard < wish.heard {
            // The store went back, in the midst of a session. Nobody else would notice: the agent need not say more.
            return Err(SessionOver);
        }
        let mut chosen: Vec<&mut Kept> = self
            .commands
            .values_mut()
            .filter(|kept| kept.is_wanted_by(bound) && !wish.have.contains(&(kept.command.id.clone(), kept.cancel)))
            .collect();
        chosen.sort_by_key(|kept| (Reverse(kept.command.priority), kept.accepted_at));
        let mut updates = Vec::new();
        let mut orders = Vec::new();
        for kept in chosen.into_iter().take(wish.max) {
            if kept.standing.state == State::Queued {
                if kept.command.deadline <= now {
                    updates.push(kept.stand(now, Standing::by_gateway(State::Ended(Outcome::Expired))));
                    continue;
                }
                kept.bound = Some(bound);
                updates.push(kept.stand(now, Standing::by_gateway(State::Dispatched)));
            }
            orders.push(Order { command: kept.command.clone(), cancel: kept.cancel });
        }
        Ok((orders, updates))
    }

    fn bound_of(&self, session: SessionId) -> Result<Bound, SessionOver> {
        let journal = self.mark.journal.filter(|_| self.mark.session == Some(session)).ok_or(SessionOver)?;
        Ok(Bound { journal: journal.id, boot: journal.boot })
    }
}

impl Kept {
    fn new(now: UnixMicros, command: Command, standing: Standing) -> Kept {
        Kept { command, accepted_at: now, standing, since: now, bound: None, told: None, cancel: false }
    }

    /// Whether the agent is to be told of it: it never was, as far as is known, or its sender wants it back. Who was
    /// told of it in another boot is not told again: a card that was put back may have forgotten what it did.
    fn is_wanted_by(&self, bound: Bound) -> bool {
        match self.standing.state {
            State::Queued => true,
            State::Dispatched | State::Delivered | State::Executing | State::Unknown => {
                (self.told.is_none() && self.bound == Some(bound)) || (self.told.is_some() && self.cancel)
            }
            State::Accepted | State::Ended(_) => false,
        }
    }

    fn stand(&mut self, now: UnixMicros, standing: Standing) -> CommandUpdate {
        (self.standing, self.since) = (standing, now);
        self.update()
    }

    /// What a room is told of where it stands.
    pub fn update(&self) -> CommandUpdate {
        CommandUpdate {
            id: self.command.id.clone(),
            device: self.command.device.clone(),
            name: self.command.name.clone(),
            standing: self.standing.clone(),
            progress: None,
            at: self.since,
        }
    }

    fn progress(&self, now: UnixMicros, progress: &Progress) -> CommandUpdate {
        CommandUpdate { progress: Some(progress.clone()), at: now, ..self.update() }
    }
}

#[cfg(test)]
pub(crate) mod tests;
