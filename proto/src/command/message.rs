//! What an agent and a gateway tell each other of commands.

use super::{BootId, Command, CommandId, JournalId, Progress, State};

/// Of an agent's Hello: which journal it has, and how much is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct JournalMark {
    /// Which journal.
    pub id: JournalId,
    /// In which boot of the machine it is read.
    pub boot: BootId,
    /// Changes that were ever written to it, those that it has forgotten included.
    pub length: u64,
    /// No command that it has forgotten had a change behind this one.
    pub forgotten: u64,
}

/// Of a Welcome: where the agent's tale goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct JournalHeard {
    /// Behind this change.
    pub through: u64,
    /// The card was put back: it does not know what became of what it holds. Nothing of an earlier boot may begin.
    pub put_back: bool,
}

/// Commands that the agent shall have. Sent only once they are stored as dispatched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Dispatch {
    /// In the order in which they are to be taken up.
    pub orders: Vec<Order>,
}

/// A command, or the wish that it be withdrawn.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Order {
    /// The command; told whole each time, so that the order of messages does not matter.
    pub command: Command,
    /// Do not begin it, if it has not begun.
    pub cancel: bool,
}

/// What the agent tells: all that its journal says of the changes behind `after`, up to and with `through`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct CommandUpdates {
    /// Changes up to here were told before.
    pub after: u64,
    /// Changes up to here are told now.
    pub through: u64,
    /// Each command that changed in between, as it is now; and those that were asked for.
    pub reports: Vec<Report>,
    /// How far running commands have come. Not in the journal.
    pub progress: Vec<ProgressReport>,
    /// Dispatched, and not taken: the journal is full. To be dispatched again later.
    pub full: Vec<CommandId>,
}

/// What the journal says of one command.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Report {
    /// Which command.
    pub id: CommandId,
    /// Number of the change that brought it there.
    pub position: u64,
    /// `Delivered`, `Executing` or `Ended`.
    pub state: State,
    /// Told with an outcome, so that a backbone that lost the command can store both.
    pub command: Option<Command>,
}

/// How far one command has come.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProgressReport {
    /// Which command.
    pub id: CommandId,
    /// How far.
    pub progress: Progress,
}

/// What was told is stored, as durably as is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Confirm {
    /// Changes up to here.
    pub through: u64,
}
