//! What each source is doing and has counted: told by the sources, read by health and logs.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Notify, watch};
use tracing::{info, warn};

/// What a source is doing just now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceState {
    /// Not tried yet.
    Starting,
    /// The port is open, the broker has accepted us: what is said there is heard.
    Up,
    /// The port, the device or the broker is not there; tried again and again.
    Retrying {
        /// What the last attempt failed of, for people.
        reason: Arc<str>,
    },
    /// There is no room for readings. They are left where they are, or counted as dropped where they can't be.
    Paused {
        /// What there is no room in, for people.
        reason: Arc<str>,
    },
}

impl SourceState {
    /// The state's word in health, logs and output.
    pub fn as_str(&self) -> &'static str {
        match self {
            SourceState::Starting => "starting",
            SourceState::Up => "up",
            SourceState::Retrying { .. } => "retrying",
            SourceState::Paused { .. } => "paused",
        }
    }

    /// Why it is not up, where there is a reason.
    pub fn reason(&self) -> Option<&str> {
        match self {
            SourceState::Starting | SourceState::Up => None,
            SourceState::Retrying { reason } | SourceState::Paused { reason } => Some(reason),
        }
    }
}

impl fmt::Display for SourceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason() {
            Some(reason) => write!(f, "{}: {reason}", self.as_str()),
            None => f.write_str(self.as_str()),
        }
    }
}

/// A number that only grows, from the start of the process.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it.
    pub fn add(&self, more: u64) {
        // Relaxed: a figure for people, which orders nothing.
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// The present figure.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What one source has counted since the start of the process.
#[derive(Debug, Default)]
pub struct SourceCounters {
    /// Bytes read from a port, or in the payloads of messages.
    pub bytes: Counter,
    /// Messages of a broker.
    pub messages: Counter,
    /// Readings and presences that are in the queue.
    pub readings: Counter,
    /// Input that could not be used.
    pub dead_letters: Counter,
    /// Readings that were heard and had no place to go.
    pub dropped: Counter,
    /// Records of redelivered messages that were in the queue already.
    pub duplicates: Counter,
    /// How often the port or the broker went away after it had been there.
    pub lost: Counter,
}

/// One source as the rest of the agent sees it.
#[derive(Clone, Debug)]
pub struct SourceView {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Its figures.
    pub counters: Arc<SourceCounters>,
    state: watch::Receiver<SourceState>,
}

impl SourceView {
    /// What it is doing just now.
    pub fn state(&self) -> SourceState {
        self.state.borrow().clone()
    }

    /// Waits until it is doing what is asked for; for ever, if the source has ended.
    pub async fn until(&self, wanted: impl FnMut(&SourceState) -> bool) {
        let mut state = self.state.clone();
        if state.wait_for(wanted).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// A source's own end: it tells here what it is doing.
#[derive(Clone, Debug)]
pub struct StatusReporter {
    name: Arc<str>,
    counters: Arc<SourceCounters>,
    state: watch::Sender<SourceState>,
    changed: Arc<Notify>,
}

impl StatusReporter {
    /// The source's name in the configuration.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The source's figures.
    pub fn counters(&self) -> &Arc<SourceCounters> {
        &self.counters
    }

    /// Tells what the source is doing. Says so in the log and wakes health, where it is news.
    fn set(&self, state: &SourceState) {
        let news = self.state.send_if_modified(|present| {
            let news = present != state;
            present.clone_from(state);
            news
        });
        if !news {
            return;
        }
        let source = &self.name;
        match state {
            SourceState::Starting | SourceState::Up => info!(%source, "The source is {state}."),
            SourceState::Retrying { reason } => warn!(%source, %reason, "The source is away; it is tried again."),
            SourceState::Paused { reason } => warn!(%source, %reason, "The disk takes no readings of the source."),
        }
        self.changed.notify_one();
    }

    /// [`SourceState::Up`].
    pub fn up(&self) {
        self.set(&SourceState::Up);
    }

    /// [`SourceState::Retrying`], with the reason.
    pub fn retrying(&self, reason: impl fmt::Display) {
        self.set(&SourceState::Retrying { reason: reason.to_string().into() });
    }

    /// [`SourceState::Paused`], with the reason.
    pub fn paused(&self, reason: impl fmt::Display) {
        self.set(&SourceState::Paused { reason: reason.to_string().into() });
    }
}

/// All sources of the agent.
#[derive(Clone, Debug, Default)]
pub struct StatusBoard {
    sources: Vec<SourceView>,
    changed: Arc<Notify>,
}

impl StatusBoard {
    /// A place for one more source.
    pub fn add(&mut self, name: &str) -> StatusReporter {
        let (sender, state) = watch::channel(SourceState::Starting);
        let name: Arc<str> = name.into();
        let counters = Arc::new(SourceCounters::default());
        self.sources.push(SourceView { name: name.clone(), counters: counters.clone(), state });
        StatusReporter { name, counters, state: sender, changed: self.changed.clone() }
    }

    /// The sources, in the order in which they were added.
    pub fn sources(&self) -> &[SourceView] {
        &self.sources
    }

    /// Completes when a source has come to do something else. Meant for one waiting task.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_change_of_state_wakes_the_board_and_a_repeat_does_not() {
        let mut board = StatusBoard::default();
        let reporter = board.add("meter");
        reporter.up();
        board.changed().await;
        reporter.up();
        assert!(futures_util::FutureExt::now_or_never(board.changed()).is_none());
        reporter.retrying("no such port");
        board.changed().await;
        assert_eq!(board.sources()[0].state().to_string(), "retrying: no such port");
    }
}
