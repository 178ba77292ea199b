//! Starts tasks, sees how they end, stops them all.
//!
//! A task that fails or panics stops the whole process: a silent dead task is the worst outage. Stopping
//! has three stages and one deadline: first the tasks that let new work in, then all others are told to
//! finish, then what is left is cut off and named.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use futures_util::FutureExt as _;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, error, info, info_span, warn};

use crate::words::{chain, span};

/// Why a process stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopCause {
    /// Somebody wants it to: a signal, a command, its own end.
    Wanted(String),
    /// A task failed or panicked.
    TaskFailed {
        /// The task.
        task: &'static str,
        /// What it said.
        error: String,
    },
}

impl fmt::Display for StopCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StopCause::Wanted(reason) => f.write_str(reason),
            StopCause::TaskFailed { task, error } => write!(f, "the task {task:?} failed: {error}"),
        }
    }
}

/// How a process stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Why.
    pub cause: StopCause,
    /// Tasks that did not finish in time and were cut off, with how many there were of each.
    pub stragglers: Vec<(&'static str, usize)>,
}

impl Stopped {
    /// An error for the program's exit status, unless it stopped because it should and all finished.
    pub fn into_result(self) -> anyhow::Result<()> {
        match self.cause {
            StopCause::TaskFailed { task, error } => Err(anyhow!("the task {task:?} failed: {error}")),
            StopCause::Wanted(_) if !self.stragglers.is_empty() => {
                Err(anyhow!("cut off before they were done: {}", names(&self.stragglers)))
            }
            StopCause::Wanted(_) => Ok(()),
        }
    }
}

/// Starts and stops the tasks of a process. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Supervisor {
    shared: Arc<Shared>,
}

struct Shared {
    /// The process is to stop.
    wanted: CancellationToken,
    /// Stage 1: nothing new is let in.
    closing: CancellationToken,
    /// Stage 2: finish what was begun.
    draining: CancellationToken,
    /// Stage 3: too late.
    abort: CancellationToken,
    acceptors: TaskTracker,
    tasks: TaskTracker,
    cause: OnceLock<StopCause>,
    /// Counted down where a task is dropped, which cannot wait for a task that would own this. Held for
    /// the count only.
    running: Mutex<BTreeMap<&'static str, usize>>,
}

impl Default for Supervisor {
    fn default() -> Supervisor {
        Supervisor::new()
    }
}

impl Supervisor {
    /// No tasks yet.
    pub fn new() -> Supervisor {
        let shared = Shared {
            wanted: CancellationToken::new(),
            closing: CancellationToken::new(),
            draining: CancellationToken::new(),
            abort: CancellationToken::new(),
            acceptors: TaskTracker::new(),
            tasks: TaskTracker::new(),
            cause: OnceLock::new(),
            running: Mutex::default(),
        };
        Supervisor { shared: Arc::new(shared) }
    }

    /// Starts a task. Its token is cancelled in the second stage: finish, tell the peer, return. An error
    /// or a panic stops the process.
    pub fn spawn<Fut>(&self, name: &'static str, task: impl FnOnce(CancellationToken) -> Fut)
    where
        Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let future = task(self.shared.draining.clone());
        self.shared.tasks.spawn(self.supervised(name, future));
    }

    /// Starts a task that lets new work in: a listener, a device. Its token is cancelled in the first
    /// stage, and the others are told to finish only when it has returned.
    pub fn spawn_acceptor<Fut>(&self, name: &'static str, task: impl FnOnce(CancellationToken) -> Fut)
    where
        Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let future = task(self.shared.closing.clone());
        self.shared.acceptors.spawn(self.supervised(name, future));
    }

    /// Starts a thread for work that blocks. It cannot be cut off: it must end by itself when its token is
    /// cancelled, or when what feeds it is gone.
    pub fn spawn_thread(
        &self,
        name: &'static str,
        work: impl FnOnce(CancellationToken) -> anyhow::Result<()> + Send + 'static,
    ) {
        let token = self.shared.draining.clone();
        let (done, ended) = oneshot::channel();
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            // A receiver that is gone was cut off, and nobody asks any more.
            let _unheard = done.send(work(token));
        });
        self.spawn(name, |_| async move {
            thread.context("cannot start a thread")?;
            ended.await.unwrap_or_else(|_| Err(anyhow!("the thread panicked")))
        });
    }

    fn supervised(
        &self,
        name: &'static str,
        future: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        let running = Running::count(self.clone(), name);
        let abort = self.shared.abort.clone();
        // Boxed: a future that is moved within another takes its room twice, as long as that lasts.
        let future = Box::pin(AssertUnwindSafe(future).catch_unwind());
        async move {
            let ended = tokio::select! {
                biased;
                () = abort.cancelled() => return,
                // CANCEL-SAFE: it is dropped for good only when the process gives up on it.
                ended = future => ended,
            };
            match ended {
                Ok(Ok(())) => {}
                Ok(Err(failure)) => running.supervisor.task_failed(name, chain(&*failure)),
                Err(panic) => running.supervisor.task_failed(name, format!("panicked: {}", panic_text(&*panic))),
            }
        }
        .instrument(info_span!("task", name))
    }

    fn task_failed(&self, task: &'static str, error: String) {
        error!(task, error, "Task failed; the process stops.");
        self.stop_because(StopCause::TaskFailed { task, error });
    }

    /// Asks the process to stop; only the first reason is kept.
    pub fn stop(&self, reason: impl Into<String>) {
        self.stop_because(StopCause::Wanted(reason.into()));
    }

    fn stop_because(&self, cause: StopCause) {
        // The first cause is the one that explains the rest.
        let _later = self.shared.cause.set(cause);
        self.shared.wanted.cancel();
    }

    /// Returns when the process is to stop.
    pub async fn stop_wanted(&self) {
        self.shared.wanted.cancelled().await;
    }

    /// The token that is cancelled in the second stage, for what is no task.
    pub fn draining(&self) -> CancellationToken {
        self.shared.draining.clone()
    }

    /// Runs until the process is to stop, then stops it within `grace`.
    pub async fn run(&self, grace: Duration) -> Stopped {
        self.stop_wanted().await;
        let cause = self.shared.cause.get().cloned().unwrap_or(StopCause::Wanted("end".to_owned()));
        info!(%cause, grace = %span(grace), "Stopping.");
        let deadline = Instant::now() + grace;
        let shared = &self.shared;
        shared.closing.cancel();
        shared.acceptors.close();
        let closed = timeout_at(deadline, shared.acceptors.wait()).await;
        shared.draining.cancel();
        shared.tasks.close();
        let drained = timeout_at(deadline, shared.tasks.wait()).await;
        let stragglers = if closed.is_ok() && drained.is_ok() { Vec::new() } else { self.running() };
        shared.abort.cancel();
        if stragglers.is_empty() {
            info!("Stopped.");
        } else {
            warn!(tasks = names(&stragglers), "Stopped; cut off what was not done in time.");
        }
        Stopped { cause, stragglers }
    }

    fn running(&self) -> Vec<(&'static str, usize)> {
        let running = self.shared.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.iter().map(|(name, count)| (*name, *count)).collect()
    }
}

/// Counts a task as running for as long as it lives.
struct Running {
    supervisor: Supervisor,
    name: &'static str,
}

impl Running {
    fn count(supervisor: Supervisor, name: &'static str) -> Running {
        *supervisor.shared.running.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default() += 1;
        Running { supervisor, name }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut running = self.supervisor.shared.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = running.get_mut(self.name) {
            *count -= 1;
            if *count == 0 {
                running.remove(self.name);
            }
        }
    }
}

fn names(tasks: &[(&'static str, usize)]) -> String {
    let names: Vec<String> = tasks.iter().map(|(name, count)| format!("{name} ({count})")).collect();
    names.join(", ")
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").to_owned()
}

#[cfg(test)]
mod tests;
