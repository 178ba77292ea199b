//! The agent's journal: what it has been ordered, and what became of it.
//!
//! Every change has a number, the *position*; the *length* is the number of the last one. What is on the disk is a
//! header and changes, and [`Journal::apply`] is the one way in which they become a journal: when the file is read, and
//! while it is written. A file is written anew, with only what still matters, when it has grown; positions go on.

use std::collections::BTreeMap;

use super::{BootId, Command, CommandId, JournalId, Outcome, State};

/// All that an agent remembers of commands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Journal {
    id: JournalId,
    length: u64,
    forgotten: u64,
    commands: BTreeMap<CommandId, Held>,
}

/// A command that an agent remembers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Held {
    /// The command.
    pub command: Command,
    /// The boot in which it arrived, which alone may begin it unless it is idempotent.
    pub boot: BootId,
    /// Where it stands in the journal.
    pub place: Place,
    /// How far it has come.
    pub phase: Phase,
    /// How often it has begun.
    pub attempts: u32,
    /// An attempt was cut off, so that it may have taken effect.
    pub doubt: bool,
}

/// Numbers of changes to one command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The change by which it arrived: who arrived first is older.
    pub arrived: u64,
    /// The latest change.
    pub changed: u64,
}

/// How far a command has come at the agent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// It waits.
    Delivered,
    /// It has begun.
    Executing,
    /// It has ended.
    Ended(Outcome),
}

impl Phase {
    /// The same as a state.
    pub fn state(&self) -> State {
        match self {
            Phase::Delivered => State::Delivered,
            Phase::Executing => State::Executing,
            Phase::Ended(outcome) => State::Ended(outcome.clone()),
        }
    }
}

/// One record of the file. The first is `Opened`, and no other is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum JournalRecord {
    /// Which journal this is, and what the file was written anew without.
    Opened {
        /// The journal.
        id: JournalId,
        /// Its length when the file was begun.
        length: u64,
        /// No command that was forgotten had a change behind this one.
        forgotten: u64,
    },
    /// A command as it was when the file was written anew.
    Kept(Held),
    /// A change.
    Step {
        /// Its number: one more than that of the change before.
        position: u64,
        /// What changed.
        step: JournalStep,
    },
}

/// What can happen to a command.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum JournalStep {
    /// It has come.
    Arrived {
        /// The command.
        command: Command,
        /// In this boot.
        boot: BootId,
    },
    /// It has begun, has been put off by the device, or has ended.
    Moved {
        /// Which command.
        id: CommandId,
        /// To where.
        phase: Phase,
    },
    /// The numbers up to this one were used by changes that are lost: a card was put back. None is used twice.
    Skipped,
}

/// Why records are no journal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// The first record is not the header, or a later one is.
    #[error("record {record} is out of place; begin a new journal")]
    OutOfPlace {
        /// From 0.
        record: usize,
    },
    /// A number does not follow the one before it.
    #[error("change {position} follows change {length}; begin a new journal")]
    Skipped {
        /// The number found.
        position: u64,
        /// The number before it.
        length: u64,
    },
    /// A change of a command that is not there, has ended, or has come already.
    #[error("change {position} is of a command that can't change so; begin a new journal")]
    Impossible {
        /// The number of the change.
        position: u64,
    },
}

impl Journal {
    /// A journal that was never written to.
    pub fn new(id: JournalId) -> Journal {
        Journal { id, length: 0, forgotten: 0, commands: BTreeMap::new() }
    }

    /// The journal that the records of a file make.
    pub fn replay(records: impl IntoIterator<Item = JournalRecord>) -> Result<Journal, JournalError> {
        let mut records = records.into_iter();
        let Some(JournalRecord::Opened { id, length, forgotten }) = records.next() else {
            return Err(JournalError::OutOfPlace { record: 0 });
        };
        let mut journal = Journal { id, length, forgotten, commands: BTreeMap::new() };
        for (at, record) in records.enumerate() {
            match record {
                JournalRecord::Kept(held) if journal.length == length => {
                    journal.commands.insert(held.command.id.clone(), held);
                }
                JournalRecord::Kept(_) | JournalRecord::Opened { .. } => {
                    return Err(JournalError::OutOfPlace { record: at + 1 });
                }
                JournalRecord::Step { position, step } => journal.apply(position, step)?,
            }
        }
        Ok(journal)
    }

    /// The records of a file that holds no more than this journal.
    pub fn records(&self) -> Vec<JournalRecord> {
        let opened = JournalRecord::Opened { id: self.id, length: self.length, forgotten: self.forgotten };
        std::iter::once(opened).chain(self.commands.values().cloned().map(JournalRecord::Kept)).collect()
    }

    /// Makes one change.
    pub fn apply(&mut self, position: u64, step: JournalStep) -> Result<(), JournalError> {
        let follows = position == self.length + 1 || (step == JournalStep::Skipped && self.length < position);
        if !follows {
            return Err(JournalError::Skipped { position, length: self.length });
        }
        match step {
            JournalStep::Arrived { command, boot } => {
                if self.commands.contains_key(&command.id) {
                    return Err(JournalError::Impossible { position });
                }
                let place = Place { arrived: position, changed: position };
                let id = command.id.clone();
                let held = Held { command, boot, place, phase: Phase::Delivered, attempts: 0, doubt: false };
                self.commands.insert(id, held);
            }
            JournalStep::Moved { id, phase } => {
                let held = self.commands.get_mut(&id).filter(|held| !held.has_ended());
                held.ok_or(JournalError::Impossible { position })?.move_to(position, phase);
            }
            JournalStep::Skipped => {}
        }
        self.length = position;
        Ok(())
    }

    /// Drops a command that has ended.
    pub(super) fn forget(&mut self, id: &CommandId) {
        if let Some(held) = self.commands.remove(id) {
            self.forgotten = self.forgotten.max(held.place.changed);
        }
    }

    /// Which journal it is.
    pub fn id(&self) -> JournalId {
        self.id
    }

    /// Number of the last change.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// No command that was forgotten had a change behind this one.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// What is remembered of a command.
    pub fn get(&self, id: &CommandId) -> Option<&Held> {
        self.commands.get(id)
    }

    /// All that is remembered.
    pub fn commands(&self) -> impl Iterator<Item = &Held> {
        self.commands.values()
    }

    /// How many commands are remembered.
    pub fn count(&self) -> usize {
        self.commands.len()
    }
}

impl Held {
    /// Whether nothing more will happen to it.
    pub fn has_ended(&self) -> bool {
        match self.phase {
            Phase::Ended(_) => true,
            Phase::Delivered | Phase::Executing => false,
        }
    }

    fn move_to(&mut self, position: u64, phase: Phase) {
        if phase == Phase::Executing {
            // Begun again without having ended: a crash lies between.
            self.doubt |= self.phase == Phase::Executing;
            self.attempts = self.attempts.saturating_add(1);
        }
        self.phase = phase;
        self.place.changed = position;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Fields;
    use crate::command::book::tests::command;

    fn step(position: u64, step: JournalStep) -> JournalRecord {
        JournalRecord::Step { position, step }
    }

    fn arrived(position: u64, id: &str) -> JournalRecord {
        step(position, JournalStep::Arrived { command: command(id), boot: BootId(1) })
    }

    fn moved(position: u64, id: &str, phase: Phase) -> JournalRecord {
        step(position, JournalStep::Moved { id: CommandId::new(id).unwrap(), phase })
    }

    fn opened() -> JournalRecord {
        JournalRecord::Opened { id: JournalId(1), length: 0, forgotten: 0 }
    }

    fn some() -> Vec<JournalRecord> {
        let success = Phase::Ended(Outcome::Succeeded(Fields::default()));
        vec![
            opened(),
            arrived(1, "a"),
            arrived(2, "b"),
            moved(3, "a", Phase::Executing),
            moved(4, "a", Phase::Executing),
            moved(5, "a", success),
            step(9, JournalStep::Skipped),
            moved(10, "b", Phase::Executing),
        ]
    }

    #[test]
    fn every_beginning_of_a_file_is_a_journal_and_so_is_what_it_is_written_anew_as() {
        for length in 1..=some().len() {
            let journal = Journal::replay(some().into_iter().take(length)).unwrap();
            assert_eq!(Journal::replay(journal.records()), Ok(journal));
        }
        let journal = Journal::replay(some()).unwrap();
        let first = journal.get(&CommandId::new("a").unwrap()).unwrap();
        assert!(first.doubt && first.has_ended(), "it began a second time without having ended");
        assert_eq!((first.attempts, first.place), (2, Place { arrived: 1, changed: 5 }));
        assert_eq!(journal.length(), 10);
    }

    #[test]
    fn records_that_contradict_each_other_are_no_journal() {
        let without = |left_out: usize| {
            let rest = some().into_iter().enumerate().filter(move |(at, _)| *at != left_out);
            Journal::replay(rest.map(|(_, record)| record))
        };
        assert_eq!(without(0), Err(JournalError::OutOfPlace { record: 0 }));
        assert_eq!(without(3), Err(JournalError::Skipped { position: 4, length: 2 }));
        let then = |record: JournalRecord| Journal::replay(some().into_iter().chain([record]));
        assert_eq!(then(opened()), Err(JournalError::OutOfPlace { record: 8 }));
        assert_eq!(
            then(moved(11, "a", Phase::Executing)),
            Err(JournalError::Impossible { position: 11 }),
            "it has ended"
        );
        assert_eq!(then(moved(11, "c", Phase::Executing)), Err(JournalError::Impossible { position: 11 }));
        assert_eq!(then(arrived(11, "b")), Err(JournalError::Impossible { position: 11 }));
        assert_eq!(then(step(10, JournalStep::Skipped)), Err(JournalError::Skipped { position: 10, length: 10 }));
    }
}
