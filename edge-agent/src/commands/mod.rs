//! Commands: taken from the gateway, kept in a journal on disk, carried out once, told of.
//!
//! Whether and when a command begins, `Executor` of `proto` decides. Here is its shell: `layout_logic` are the bytes
//! of the journal and `journal` its file, `task` runs the executor, `directory` knows which source has a device, and a
//! `Job` is what that source gets. `own` is what the agent itself can be told, `describe` tells people what there is. The
//! journal is written by a thread of its own, so that a slow disk holds up no device.

mod describe;
mod directory;
mod journal;
mod layout_logic;
mod own;
mod task;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
pub(crate) mod testing;

use lockgate_proto::command::{Answer, Attempt, Command, CommandId, CommandUpdates, ExecutorInput, JournalMark};
use tokio::sync::{mpsc, watch};

pub use describe::Describer;
pub use directory::{Directory, Roster, SourceOrders};
pub use journal::JournalFileError;
pub use own::OwnCommands;
pub use task::{CommandsError, Opened, boot_of, open};

/// LIMIT: words of the gateway that wait for the executor; the uplink waits when there are more.
const REQUESTS_WAITING_MAX: usize = 64;

/// LIMIT: messages that wait for the uplink. All that a journal can have to say at once fits; a connection that does
/// not take it is given up.
const UPDATES_WAITING_MAX: usize = 256;

/// LIMIT: answers that wait for the executor; writers wait when there are more.
const ANSWERS_WAITING_MAX: usize = 64;

/// One attempt at a command, for the writer of its device.
#[derive(Clone, Debug)]
pub struct Job {
    /// What to do.
    pub command: Command,
    attempt: Attempt,
    answers: mpsc::Sender<Answered>,
}

/// What a device said to one attempt, or its writer in its place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answered {
    id: CommandId,
    attempt: Attempt,
    pub(crate) answer: Answer,
}

impl Job {
    /// Tells what the device said. Nothing is lost but with the process.
    pub async fn answer(&self, answer: Answer) {
        let answered = Answered { id: self.command.id.clone(), attempt: self.attempt, answer };
        // An executor that is gone has ended with the process.
        drop(self.answers.send(answered).await);
    }

    /// How many attempts at this command came before.
    pub fn attempts_before(&self) -> u32 {
        self.attempt.0.saturating_sub(1)
    }
}

/// Who brings commands to their devices.
pub trait Hands: Send {
    /// Takes a job, without waiting; an error is the answer to it.
    fn take(&mut self, job: Job) -> Result<(), Answer>;
}

/// The uplink's way to the executor. Cheap to clone.
#[derive(Clone, Debug)]
pub struct CommandsHandle {
    mark: watch::Receiver<JournalMark>,
    requests: mpsc::Sender<Request>,
}

/// One connection's part of the executor.
#[derive(Debug)]
pub struct CommandsLink {
    requests: mpsc::Sender<Request>,
    /// What is to be told. Ends where too much of it waited: then the connection is to be given up.
    pub updates: mpsc::Receiver<CommandUpdates>,
}

#[derive(Debug)]
enum Request {
    /// There is a fresh connection, and what is told in it goes here.
    Connected {
        updates: mpsc::Sender<CommandUpdates>,
    },
    Input(ExecutorInput),
}

/// The executor has ended, as the agent is about to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the executor of commands has ended")]
pub struct CommandsClosed;

impl CommandsHandle {
    /// What the next Hello says of the journal.
    pub fn mark(&self) -> JournalMark {
        *self.mark.borrow()
    }

    /// Begins a connection; an earlier one is over.
    pub async fn connect(&self) -> Result<CommandsLink, CommandsClosed> {
        let (sender, updates) = mpsc::channel(UPDATES_WAITING_MAX);
        self.requests.send(Request::Connected { updates: sender }).await.map_err(|_| CommandsClosed)?;
        Ok(CommandsLink { requests: self.requests.clone(), updates })
    }
}

impl CommandsLink {
    /// Passes on what the link has for the executor.
    pub async fn feed(&self, input: ExecutorInput) -> Result<(), CommandsClosed> {
        self.requests.send(Request::Input(input)).await.map_err(|_| CommandsClosed)
    }
}
