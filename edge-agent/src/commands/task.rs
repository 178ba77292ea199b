//! The executor's shell: gathers what happens, and does what the executor wants done.

use std::path::Path;

use anyhow::Context as _;
use lockgate_proto::command::{
    Attempt, BootId, Command, CommandUpdates, Executor, ExecutorAction, ExecutorConfig, ExecutorInput, JournalMark,
};
use lockgate_proto::time::MonoTime;
use lockgate_runtime::Supervisor;
use lockgate_runtime::clock::Clock;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::journal::{JournalFile, JournalFileError, Write};
use super::{ANSWERS_WAITING_MAX, Answered, CommandsHandle, Hands, Job, REQUESTS_WAITING_MAX, Request};
use crate::queue::storage::Storage;
use crate::queue::storage::disk::DiskStorage;

/// LIMIT: writes that wait for the disk; the executor waits when there are more.
const WRITES_WAITING_MAX: usize = 16;

/// Why the journal can't be had.
#[derive(Debug, thiserror::Error)]
pub enum CommandsError {
    /// Its folder can't be made.
    #[error("cannot make a folder for the journal of commands")]
    Folder(#[source] std::io::Error),
    /// Its file can't be read, or another one begun.
    #[error(transparent)]
    File(#[from] JournalFileError),
}

/// The journal, read.
pub struct Opened {
    file: JournalFile,
    executor: Executor,
}

/// Reads the journal in this folder, or begins one. Whoever has the queue's lock has this folder too.
pub fn open(folder: &Path, config: ExecutorConfig) -> Result<Opened, CommandsError> {
    std::fs::create_dir_all(folder).map_err(CommandsError::Folder)?;
    Ok(Opened::on(Box::new(DiskStorage::look(folder)), config, lockgate_runtime::random)?)
}

impl Opened {
    pub(super) fn on(
        storage: Box<dyn Storage>,
        config: ExecutorConfig,
        random: fn() -> u64,
    ) -> Result<Opened, JournalFileError> {
        let (file, journal) = JournalFile::open(storage, random)?;
        Ok(Opened { file, executor: Executor::new(config, journal) })
    }

    /// Starts the thread that writes and the task that decides.
    pub fn start(self, supervisor: &Supervisor, clock: Clock, hands: Box<dyn Hands>) -> CommandsHandle {
        let Opened { mut file, executor } = self;
        let waiting = executor.journal().commands().filter(|held| !held.has_ended()).count();
        if waiting > 0 {
            info!(waiting, "Commands stand in the journal; they go on once a gateway has let the agent in.");
        }
        let (writes, mut to_write) = mpsc::channel::<(Write, u64)>(WRITES_WAITING_MAX);
        let (durable, stored) = watch::channel(executor.journal().length());
        supervisor.spawn_thread("journal", move |_| {
            while let Some((write, through)) = to_write.blocking_recv() {
                file.write(write).context("nobody knows what is on the disk; it is read anew at the next start")?;
                durable.send_replace(through);
            }
            Ok(())
        });
        let (requests, taken) = mpsc::channel(REQUESTS_WAITING_MAX);
        let (mark, told) = watch::channel(executor.mark());
        let (answers, answered) = mpsc::channel(ANSWERS_WAITING_MAX);
        let task = Task {
            executor,
            clock,
            hands,
            requests: taken,
            writes,
            stored,
            answers,
            answered,
            mark,
            updates: None,
            timer: None,
        };
        supervisor.spawn("executor", |stop| task.run(stop));
        CommandsHandle { mark: told, requests }
    }
}

struct Task {
    executor: Executor,
    clock: Clock,
    hands: Box<dyn Hands>,
    requests: mpsc::Receiver<Request>,
    writes: mpsc::Sender<(Write, u64)>,
    /// How far the disk is.
    stored: watch::Receiver<u64>,
    answers: mpsc::Sender<Answered>,
    answered: mpsc::Receiver<Answered>,
    mark: watch::Sender<JournalMark>,
    /// Of the present connection.
    updates: Option<mpsc::Sender<CommandUpdates>>,
    timer: Option<MonoTime>,
}

enum Woken {
    Stop,
    Stored,
    Answered(Answered),
    Request(Request),
    Timer,
}

impl Task {
    async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        loop {
            let deadline = self.timer.map(|at| self.clock.tokio_instant(at));
            let woken = tokio::select! {
                biased;
                () = stop.cancelled() => Woken::Stop,
                // CANCEL-SAFE: a watch holds nothing.
                changed = self.stored.changed() => match changed {
                    Ok(()) => Woken::Stored,
                    // The thread has failed, and the process ends of it.
                    Err(_) => Woken::Stop,
                },
                // CANCEL-SAFE: nothing is taken until `recv` completes.
                Some(answered) = self.answered.recv() => Woken::Answered(answered),
                // CANCEL-SAFE: as above.
                Some(request) = self.requests.recv() => Woken::Request(request),
                // CANCEL-SAFE: a timer holds nothing.
                () = sleep_or_never(deadline) => Woken::Timer,
            };
            let input = match woken {
                // What runs now, the next start finds in the journal as begun.
                Woken::Stop => return Ok(()),
                Woken::Stored => ExecutorInput::Stored { through: *self.stored.borrow_and_update() },
                Woken::Answered(Answered { id, attempt, answer }) => ExecutorInput::Answered { id, attempt, answer },
                Woken::Request(Request::Connected { updates }) => {
                    self.updates = Some(updates);
                    ExecutorInput::Disconnected
                }
                Woken::Request(Request::Input(input)) => input,
                Woken::Timer => {
                    self.timer = None;
                    ExecutorInput::TimerFired
                }
            };
            self.feed(input).await?;
        }
    }

    async fn feed(&mut self, input: ExecutorInput) -> anyhow::Result<()> {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let mut actions = Vec::new();
            self.executor.handle(self.clock.now(), input, &mut actions);
            for action in actions {
                match action {
                    ExecutorAction::Append(records) => {
                        let through = self.executor.journal().length();
                        self.write(Write::Append(records), through).await?;
                    }
                    ExecutorAction::Rewrite { records, through } => {
                        self.write(Write::Rewrite(records), through).await?;
                    }
                    ExecutorAction::Start { command, attempt } => inputs.extend(self.start(command, attempt)),
                    ExecutorAction::Send(updates) => self.tell(updates, &mut inputs),
                    ExecutorAction::ArmTimer(at) => self.timer = Some(at),
                }
            }
        }
        let mark = self.executor.mark();
        self.mark.send_if_modified(|told| std::mem::replace(told, mark) != mark);
        Ok(())
    }

    async fn write(&mut self, write: Write, through: u64) -> anyhow::Result<()> {
        self.writes.send((write, through)).await.context("the journal is not written any more")
    }

    /// Hands a command to its device's writer; an answer where that is known at once.
    fn start(&mut self, command: Command, attempt: Attempt) -> Option<ExecutorInput> {
        let (id, device, name) = (command.id.clone(), command.device.clone(), command.name.clone());
        info!(%id, %device, command = %name, attempt = attempt.0, "A command begins.");
        let answer = self.hands.take(Job { command, attempt, answers: self.answers.clone() }).err()?;
        Some(ExecutorInput::Answered { id, attempt, answer })
    }

    fn tell(&mut self, updates: CommandUpdates, inputs: &mut Vec<ExecutorInput>) {
        for report in &updates.reports {
            if let Some(outcome) = report.state.outcome() {
                info!(id = %report.id, outcome = outcome.as_str(), "A command has ended.");
            }
        }
        let Some(sender) = &self.updates else { return };
        if sender.try_send(updates).is_err() {
            warn!("The gateway does not take what is told of commands; the connection is given up.");
            self.updates = None;
            inputs.push(ExecutorInput::Disconnected);
        }
    }
}

/// The boot as commands know it.
pub fn boot_of(boot: crate::queue::BootId) -> BootId {
    let bytes = boot.0.to_le_bytes();
    let half = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight of sixteen bytes"));
    BootId(half(0) ^ half(8))
}

async fn sleep_or_never(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
#[path = "task_tests.rs"]
mod tests;
