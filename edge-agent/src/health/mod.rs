//! The agent as a device of its own: how it is, at intervals and whenever a source comes or goes.

mod figures_logic;

use std::fs;
use std::time::Duration;

use lockgate_proto::ids::DeviceName;
use lockgate_proto::time::MonoTime;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::error;

pub use figures_logic::{Figures, QueueFigures, SourceFigures};

use crate::ingest::{Ingest, Outage};
use crate::queue::QueueHandle;
use crate::source::status::{SourceView, StatusBoard, StatusReporter};
use crate::time::TimeHandle;
use crate::uplink::LinkStatus;

/// Sources that come and go many times a second are told of at most this often.
const CHANGE_INTERVAL_MIN: Duration = Duration::from_secs(1);

/// All that the agent's health is read from.
pub struct Health {
    /// Whose readings they are: named after the agent.
    pub device: DeviceName,
    /// How often.
    pub interval: Duration,
    /// The sources.
    pub board: StatusBoard,
    /// Where to queue what is told.
    pub ingest: Ingest,
    /// What it does with health's own readings is told here.
    pub status: StatusReporter,
    /// The queue, to ask how it is.
    pub queue: QueueHandle,
    /// The clock.
    pub time: TimeHandle,
    /// The connection.
    pub link: watch::Receiver<LinkStatus>,
}

impl Health {
    /// Tells until told to stop.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let start = self.time.now();
        let mut load = Load::new(start);
        let mut outage = Outage::default();
        loop {
            self.log_faults().await;
            let figures = self.figures(start, &mut load).await;
            let outputs = figures_logic::readings(&figures, &self.device);
            self.ingest.take_or_count(outputs, &self.status, &mut outage).await;
            if !self.wait(&stop).await {
                return Ok(());
            }
        }
    }

    /// Waits for the next occasion; `false`: there is none any more.
    async fn wait(&self, stop: &CancellationToken) -> bool {
        let changed = async {
            self.board.changed().await;
            tokio::time::sleep(CHANGE_INTERVAL_MIN).await;
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => false,
            // CANCEL-SAFE: a change that was seen and not told is in the figures of the next time.
            () = changed => true,
            // CANCEL-SAFE: a timer holds nothing.
            () = tokio::time::sleep(self.interval) => true,
        }
    }

    /// What went wrong with the queue's disk since the last look: a person is needed.
    async fn log_faults(&self) {
        for fault in self.queue.take_faults().await.unwrap_or_default() {
            error!(kind = fault.kind(), "The queue: {fault}.");
        }
    }

    async fn figures(&self, start: MonoTime, load: &mut Load) -> Figures {
        let now = self.time.now();
        let queue = self.queue.stats().await.ok().map(|stats| QueueFigures {
            bytes: stats.lanes.iter().map(|lane| lane.bytes).sum(),
            budget_bytes: stats.budget_bytes,
            waiting: stats.lanes.map(|lane| lane.unsettled),
            evicted: stats.lanes.iter().map(|lane| lane.evicted).sum(),
            compacted: stats.lanes.iter().map(|lane| lane.compacted).sum(),
            written_bytes: stats.written_bytes,
        });
        Figures {
            uptime: now.since(start),
            cpu_percent: load.percent(now),
            rss_bytes: rss_bytes(),
            queue,
            sources: self.board.sources().iter().map(source).collect(),
            dead_letters: self.ingest.dead_letter_counters().counts(),
            clock_offset_micros: self.time.offset_to_gateway(),
            clock_known: self.time.wall().is_some(),
            link_rtt: self.link.borrow().rtt(),
        }
    }
}

fn source(view: &SourceView) -> SourceFigures {
    SourceFigures {
        name: view.name.clone(),
        state: view.state().as_str(),
        readings: view.counters.readings.get(),
        dropped: view.counters.dropped.get(),
    }
}

/// The processor time between two looks.
struct Load {
    ticks: Option<u64>,
    at: MonoTime,
}

impl Load {
    fn new(now: MonoTime) -> Load {
        Load { ticks: ticks(), at: now }
    }

    fn percent(&mut self, now: MonoTime) -> Option<f64> {
        let (before, at) = (self.ticks, self.at);
        (self.ticks, self.at) = (ticks(), now);
        let spent = u32::try_from(self.ticks?.saturating_sub(before?)).ok()?;
        let passed = now.since(at).as_secs_f64();
        let per_second = rustix::param::clock_ticks_per_second();
        let per_second = u32::try_from(per_second).ok().filter(|ticks| *ticks > 0)?;
        (passed > 0.0).then(|| f64::from(spent) / f64::from(per_second) / passed * 100.0)
    }
}

fn ticks() -> Option<u64> {
    figures_logic::cpu_ticks(&fs::read_to_string("/proc/self/stat").ok()?)
}

fn rss_bytes() -> Option<u64> {
    let pages = figures_logic::rss_pages(&fs::read_to_string("/proc/self/statm").ok()?)?;
    Some(pages * rustix::param::page_size() as u64)
}
