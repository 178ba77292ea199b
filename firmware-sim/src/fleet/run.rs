//! A run from its first connection to its report: connect, publish, wait until all has come, settle.

use std::fs;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::agent::Agent;
use super::args::Terms;
use super::bare;
use super::histogram_logic::Histogram;
use super::plan_logic::Plan;
use super::processes::{Process, SELF, Watched};
use super::reader::{Reader, ReaderEnd};
use super::report::Report;
use super::timeline_logic::storm;
use super::world::{AgentBoard, Stage, World};
use crate::files::raise_limit;

/// How often a run looks how far it has come.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// How often it looks at the memory of processes.
const MEMORY_INTERVAL: Duration = Duration::from_millis(500);

/// How often it says how far it has come.
const TELL_INTERVAL: Duration = Duration::from_secs(5);

/// From the order to publish to the first record: every agent has heard of it by then.
const HEAD_START: Duration = Duration::from_millis(50);

/// A run under way. Its connections are one task to the supervisor: what ends the run ends them all.
pub struct Run {
    world: Arc<World>,
    terms: Terms,
    processes: Vec<Process>,
    agents: JoinSet<anyhow::Result<()>>,
    readers: JoinSet<anyhow::Result<ReaderEnd>>,
    leave: CancellationToken,
    told_at: Instant,
    looked_at: Instant,
}

impl Run {
    /// Nothing is connected yet.
    pub(super) fn new(world: World, terms: Terms) -> anyhow::Result<Run> {
        raise_limit((world.plan.agents + world.plan.clients.len()) as u64)?;
        let this = Watched { name: SELF.to_owned(), pid: std::process::id() };
        let processes: Vec<Process> = terms.watched.iter().cloned().chain([this]).map(Process::new).collect();
        if let Some(gone) = processes.iter().find(|process| process.is_gone) {
            bail!("--pid {}={}: there is no such process", gone.watched.name, gone.watched.pid);
        }
        Ok(Run {
            world: Arc::new(world),
            processes,
            terms,
            agents: JoinSet::new(),
            readers: JoinSet::new(),
            leave: CancellationToken::new(),
            told_at: Instant::now(),
            looked_at: Instant::now(),
        })
    }

    /// Runs the fleet and prints its report. Fails where something was lost, doubled or out of order.
    pub async fn whole(mut self) -> anyhow::Result<()> {
        let connecting = self.connect().await?;
        self.processes.iter_mut().for_each(Process::connected);
        let from_us = self.publish().await?;
        self.await_all().await?;
        self.processes.iter_mut().for_each(Process::after);
        let ends = self.leave().await?;
        let report = self.report(connecting, from_us, &ends);
        if let Some(path) = &self.terms.json {
            fs::write(path, format!("{:#}\n", report.json()))
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        let mut out = anstream::stdout().lock();
        writeln!(out, "{}\n{}", report.table(), report.summary()).context("cannot write to standard output")?;
        let wrongs = report.wrongs();
        if wrongs.is_empty() { Ok(()) } else { bail!("not all is well: {}", wrongs.join(", ")) }
    }

    /// Everybody connects, readers first, so that they miss nothing. Gives the time that it took.
    async fn connect(&mut self) -> anyhow::Result<Duration> {
        let Plan { agents, ref clients, .. } = self.world.plan;
        let (readers, all) = (clients.len(), agents + clients.len());
        let began = Instant::now();
        for index in 0..readers {
            self.pace(began, index, all).await?;
            let (world, leave) = (Arc::clone(&self.world), self.leave.clone());
            if world.is_bare {
                self.readers.spawn(bare::read(world, index, leave));
            } else {
                self.readers.spawn(Reader::new(world, index)?.run(leave));
            }
        }
        self.until("readers are connected", |world| world.figures.readers_up.load(Ordering::Relaxed) == readers)
            .await?;
        for index in 0..agents {
            self.pace(began, readers + index, all).await?;
            let (world, leave) = (Arc::clone(&self.world), self.leave.clone());
            if world.is_bare {
                self.agents.spawn(bare::publish(world, index, leave));
            } else {
                self.agents.spawn(Agent::new(world, index)?.run(leave));
            }
        }
        self.until("agents are connected", |world| world.figures.agents_up.load(Ordering::Relaxed) == agents).await?;
        Ok(began.elapsed())
    }

    /// Waits for the place of a connection in the ramp.
    async fn pace(&mut self, began: Instant, index: usize, all: usize) -> anyhow::Result<()> {
        if !self.terms.ramp.is_zero() {
            let share = u32::try_from(index).unwrap_or(u32::MAX);
            sleep_until(began + self.terms.ramp * share / u32::try_from(all).unwrap_or(u32::MAX)).await;
        } else if index.is_multiple_of(100) {
            // Those that were started get a turn before a flood of others.
            tokio::task::yield_now().await;
        }
        self.check()
    }

    /// Records flow until the time is over. Gives the instant of the first.
    async fn publish(&mut self) -> anyhow::Result<u64> {
        let micros = |span: Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        let from_us = self.world.now_us() + micros(HEAD_START);
        let until_us = from_us.saturating_add(micros(self.world.plan.time));
        self.world.stage.send_replace(Stage::Publishing { from_us, until_us });
        info!(seconds = self.world.plan.time.as_secs(), "Publishing.");
        let agents = self.world.plan.agents;
        loop {
            self.check()?;
            self.tell();
            self.look();
            let is_over = until_us <= self.world.now_us();
            if is_over && self.world.figures.agents_done.load(Ordering::Relaxed) == agents {
                return Ok(from_us);
            }
            sleep(LOOK_INTERVAL).await;
        }
    }

    /// All is acknowledged and has come everywhere, or nothing has come for as long as we have patience.
    async fn await_all(&mut self) -> anyhow::Result<()> {
        info!("All is published; waiting until it has come everywhere.");
        let (mut progress, mut since) = (0, Instant::now());
        loop {
            self.check()?;
            self.tell();
            self.look();
            let (acknowledged, published) = (self.acknowledged(), self.published());
            let come: Vec<(u64, u64)> = self.owed().collect();
            let is_complete = come.iter().all(|(come, owed)| owed <= come);
            if is_complete && acknowledged == published {
                return Ok(());
            }
            let now = acknowledged + come.iter().map(|(come, _)| come).sum::<u64>();
            if now != progress {
                (progress, since) = (now, Instant::now());
            } else if since.elapsed() > self.terms.patience {
                info!("Nothing comes any more.");
                return Ok(());
            }
            sleep(LOOK_INTERVAL).await;
        }
    }

    /// What each reader has got or was told of, and what it should have. Slow readers are owed nothing.
    fn owed(&self) -> impl Iterator<Item = (u64, u64)> {
        let plan = &self.world.plan;
        let published = |room| plan.agents_of(room).map(|agent| self.world.published(agent)).sum();
        let rooms: Vec<u64> = (0..plan.rooms).map(published).collect();
        let readers = plan.clients.iter().zip(&self.world.readers).filter(|(client, _)| !client.is_slow);
        readers.map(move |(client, board)| {
            let come = board.got.load(Ordering::Relaxed) + board.lagged.load(Ordering::Relaxed);
            (come, client.rooms.iter().filter_map(|room| rooms.get(*room)).sum())
        })
    }

    /// Everybody leaves and tells what it got.
    async fn leave(&mut self) -> anyhow::Result<Vec<ReaderEnd>> {
        self.world.stage.send_replace(Stage::Leaving);
        self.leave.cancel();
        let mut ends = Vec::new();
        while let Some(ended) = self.readers.join_next().await {
            ends.push(ended.context("a reader panicked")??);
        }
        while let Some(ended) = self.agents.join_next().await {
            ended.context("an agent panicked")??;
        }
        Ok(ends)
    }

    /// Waits for a condition, as long as something moves.
    async fn until(&mut self, what: &str, is_met: impl Fn(&World) -> bool) -> anyhow::Result<()> {
        let (mut connects, mut since) = (0, Instant::now());
        while !is_met(&self.world) {
            self.check()?;
            self.tell();
            let now = self.world.figures.connects.load(Ordering::Relaxed);
            if now != connects {
                (connects, since) = (now, Instant::now());
            } else if since.elapsed() > self.terms.patience + self.terms.ramp {
                let last = self.world.figures.last_failure();
                bail!("waited in vain until all {what}; the last attempt that failed: {last}");
            }
            sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    /// A connection that ended by itself ends the run, with its reason.
    fn check(&mut self) -> anyhow::Result<()> {
        if let Some(ended) = self.readers.try_join_next() {
            ended.context("a reader panicked")??;
            bail!("a reader ended before the run");
        }
        if let Some(ended) = self.agents.try_join_next() {
            ended.context("an agent panicked")??;
            bail!("an agent ended before the run");
        }
        Ok(())
    }

    /// Memory is looked at less often than progress: it costs the servers' kernel more.
    fn look(&mut self) {
        if self.looked_at.elapsed() < MEMORY_INTERVAL {
            return;
        }
        self.looked_at = Instant::now();
        for process in &mut self.processes {
            process.look();
        }
    }

    fn tell(&mut self) {
        if self.told_at.elapsed() < TELL_INTERVAL {
            return;
        }
        self.told_at = Instant::now();
        let figures = &self.world.figures;
        let received: u64 = self.world.readers.iter().map(|board| board.got.load(Ordering::Relaxed)).sum();
        info!(
            readers = figures.readers_up.load(Ordering::Relaxed),
            agents = figures.agents_up.load(Ordering::Relaxed),
            published = self.published(),
            acknowledged = self.acknowledged(),
            received,
            "Under way."
        );
    }

    fn published(&self) -> u64 {
        self.world.agents.iter().map(|board| board.published.load(Ordering::Relaxed)).sum()
    }

    fn acknowledged(&self) -> u64 {
        self.world.agents.iter().map(|board| board.acknowledged.load(Ordering::Relaxed)).sum()
    }

    fn report(&self, connecting: Duration, from_us: u64, ends: &[ReaderEnd]) -> Report {
        let World { plan, figures, agents, readers, .. } = &*self.world;
        let users: std::collections::BTreeSet<usize> = plan.clients.iter().map(|client| client.user).collect();
        let last_us = readers.iter().map(|board| board.last_us.load(Ordering::Relaxed)).max().unwrap_or_default();
        let planned_us = u64::try_from(plan.time.as_micros()).unwrap_or(u64::MAX);
        let read = |figure: &std::sync::atomic::AtomicU64| figure.load(Ordering::Relaxed);
        let spreads = Histogram::default();
        agents.iter().flat_map(AgentBoard::spreads).for_each(|micros| spreads.add(micros));
        let mut report = Report {
            rooms: plan.rooms,
            agents: plan.agents,
            users: users.len(),
            readers: plan.clients.len(),
            slow_readers: plan.clients.iter().filter(|client| client.is_slow).count(),
            connecting,
            flow: Duration::from_micros(last_us.saturating_sub(from_us).max(planned_us)),
            scheduled: (0..plan.agents).map(|agent| plan.records_of(agent)).sum(),
            published: self.published(),
            published_bytes: read(&figures.published_bytes),
            acknowledged: self.acknowledged(),
            expected: self.owed().map(|(_, owed)| owed).sum(),
            live: figures.live.quantiles(),
            backlog: figures.backlog.quantiles(),
            to_last: spreads.quantiles(),
            acknowledgement: figures.acknowledged.quantiles(),
            connect: figures.connected.quantiles(),
            late: figures.late.quantiles(),
            away: figures.away.quantiles(),
            storm: storm([&figures.lost_at, &figures.turned_away_at, &figures.back_at]),
            told_to_wait: read(&figures.told_to_wait),
            connects: read(&figures.connects),
            attempts_failed: figures.attempts_failed(),
            agent_reconnects: read(&figures.agent_reconnects),
            reader_reconnects: read(&figures.reader_reconnects),
            go_aways: read(&figures.go_aways),
            rejected: read(&figures.rejected),
            forgotten: read(&figures.forgotten),
            processes: self.processes.clone(),
            ..Report::default()
        };
        for end in ends {
            report.add(end);
        }
        report
    }
}

impl Report {
    /// What a reader got. A slow one is owed nothing, but what it gets must be as good as anyone's.
    fn add(&mut self, end: &ReaderEnd) {
        let mut faults = end.faults;
        if end.is_slow {
            faults.lost = 0;
        }
        self.faults.add(faults);
        self.received += end.got;
        self.received_messages += end.messages;
        self.received_bytes += end.bytes;
        self.lagged_told += end.lagged_told;
        self.lagged_entries += end.lagged_entries;
        self.gaps_told += end.gaps_told;
        self.holes += end.holes;
        self.not_recovered += if end.is_slow { 0 } else { end.not_recovered };
    }
}
