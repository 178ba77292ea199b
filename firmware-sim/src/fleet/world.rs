//! What all connections of a run share: clock, tokens, gateways, figures.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use lockgate_proto::ids::{AgentName, Site, Tenant};
use lockgate_proto::seq::Epoch;
use lockgate_proto::time::MonoTime;
use lockgate_runtime::clock::Clock;
use lockgate_runtime::dial::GatewayUrl;
use lockgate_token::{Identity, NewToken, Scope, SigningKey};
use tokio::sync::{Semaphore, watch};

use super::histogram_logic::Histogram;
use super::plan_logic::Plan;
use super::timeline_logic::Timeline;

/// Tokens outlive every run that somebody waits for.
const TOKEN_TTL: Duration = Duration::from_secs(7 * 86_400);

/// At a higher rate nobody asks how long one record takes to the last of its readers.
const SPREAD_RATE_MAX: u64 = 1_000;

/// Shared by all agents and readers.
pub(super) struct World {
    pub(super) plan: Plan,
    /// Random; tells this run's records from those of earlier ones.
    pub(super) run: u64,
    /// Against the reference, not against gateways.
    pub(super) is_bare: bool,
    pub(super) clock: Clock,
    origin: MonoTime,
    pub(super) gateways: Vec<GatewayUrl>,
    /// `None`: against the reference, which asks nobody who he is.
    key: Option<SigningKey>,
    tenant: Tenant,
    pub(super) stage: watch::Sender<Stage>,
    /// Who connects for the first time waits for one of these.
    pub(super) doors: Arc<Semaphore>,
    pub(super) figures: Figures,
    pub(super) agents: Box<[AgentBoard]>,
    pub(super) readers: Box<[ReaderBoard]>,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Everybody connects; nothing is published.
    Connecting,
    /// Records are published between these two instants of the run's clock.
    Publishing { from_us: u64, until_us: u64 },
    /// Everybody leaves.
    Leaving,
}

/// What is counted over all connections.
#[derive(Debug, Default)]
pub(super) struct Figures {
    /// Publication to receipt, of live records.
    pub(super) live: Histogram,
    /// The same of records that were taken before their agent's connection.
    pub(super) backlog: Histogram,
    /// Publication to acknowledgement.
    pub(super) acknowledged: Histogram,
    /// From the schedule to publication: how far the fleet itself is behind.
    pub(super) late: Histogram,
    /// From the first packet to the last subscription, or to the Welcome.
    pub(super) connected: Histogram,
    /// Readers: from the loss of a connection until all rooms are subscribed again.
    pub(super) away: Histogram,
    /// Readers that lost their connection, that were turned away, that are back.
    pub(super) lost_at: Timeline,
    pub(super) turned_away_at: Timeline,
    pub(super) back_at: Timeline,
    pub(super) told_to_wait: AtomicU64,
    pub(super) connects: AtomicU64,
    pub(super) agent_reconnects: AtomicU64,
    pub(super) reader_reconnects: AtomicU64,
    attempts_failed: AtomicU64,
    /// Why the last of them failed. Held for the text only.
    failure: Mutex<String>,
    pub(super) go_aways: AtomicU64,
    pub(super) published_bytes: AtomicU64,
    pub(super) rejected: AtomicU64,
    /// Found lost by an agent's link: acknowledged once and no longer known to the gateway, or never to be sent.
    pub(super) forgotten: AtomicU64,
    pub(super) agents_up: AtomicUsize,
    pub(super) readers_up: AtomicUsize,
    /// Agents that will publish no more.
    pub(super) agents_done: AtomicUsize,
}

impl Figures {
    /// An attempt to connect was in vain.
    pub(super) fn failed(&self, why: &impl std::fmt::Display) {
        count(&self.attempts_failed, 1);
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = why.to_string();
    }

    pub(super) fn attempts_failed(&self) -> u64 {
        self.attempts_failed.load(Ordering::Relaxed)
    }

    pub(super) fn last_failure(&self) -> String {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        if failure.is_empty() { "none; the gateway does not answer".to_owned() } else { failure.clone() }
    }
}

/// Adds to a figure.
pub(super) fn count(figure: &AtomicU64, more: u64) {
    figure.fetch_add(more, Ordering::Relaxed);
}

/// An agent, as others see it.
#[derive(Debug, Default)]
pub(super) struct AgentBoard {
    pub(super) published: AtomicU64,
    pub(super) acknowledged: AtomicU64,
    /// Per record, how long it took to the last reader yet; empty where nobody asks.
    slowest: Box<[AtomicU64]>,
}

impl AgentBoard {
    /// A reader got a record after so long.
    pub(super) fn got(&self, number: u64, micros: u64) {
        if self.slowest.is_empty() {
            return;
        }
        let slowest = usize::try_from(number).ok().and_then(|number| self.slowest.get(number.checked_sub(1)?));
        if let Some(slowest) = slowest {
            slowest.fetch_max(micros, Ordering::Relaxed);
        }
    }

    /// How long each record took to the last of its readers.
    pub(super) fn spreads(&self) -> impl Iterator<Item = u64> {
        self.slowest.iter().map(|slowest| slowest.load(Ordering::Relaxed)).filter(|micros| *micros > 0)
    }
}

/// A reader, as others see it.
#[derive(Debug, Default)]
pub(super) struct ReaderBoard {
    /// Records got for the first time.
    pub(super) got: AtomicU64,
    /// Entries told as lagged.
    pub(super) lagged: AtomicU64,
    /// When the last record came.
    pub(super) last_us: AtomicU64,
}

impl World {
    pub(super) fn new(
        plan: Plan,
        gateways: Vec<GatewayUrl>,
        key: Option<SigningKey>,
        tenant: Tenant,
        doors: usize,
    ) -> World {
        let clock = Clock::system();
        let published: u64 = (0..plan.agents).map(|agent| plan.records_of(agent)).sum();
        let is_spread_asked = published <= SPREAD_RATE_MAX.saturating_mul(plan.time.as_secs().max(1));
        let board = |agent| {
            let records = if is_spread_asked { plan.records_of(agent) } else { 0 };
            AgentBoard { slowest: (0..records).map(|_| AtomicU64::new(0)).collect(), ..AgentBoard::default() }
        };
        World {
            run: lockgate_runtime::random(),
            is_bare: key.is_none(),
            origin: clock.now(),
            clock,
            gateways,
            key,
            tenant,
            stage: watch::Sender::new(Stage::Connecting),
            doors: Arc::new(Semaphore::new(doors)),
            figures: Figures::default(),
            agents: (0..plan.agents).map(board).collect(),
            readers: plan.clients.iter().map(|_| ReaderBoard::default()).collect(),
            plan,
        }
    }

    /// The run's clock.
    pub(super) fn now_us(&self) -> u64 {
        u64::try_from(self.clock.now().since(self.origin).as_micros()).unwrap_or(u64::MAX)
    }

    /// When a timer of tokio must ring.
    pub(super) fn instant(&self, at_us: u64) -> tokio::time::Instant {
        self.clock.tokio_instant(self.origin + Duration::from_micros(at_us))
    }

    /// The epoch of an agent in this run.
    pub(super) fn epoch(&self, agent: usize) -> Epoch {
        Epoch(self.run.wrapping_add(agent as u64))
    }

    /// Whether the epoch is one of this run.
    pub(super) fn is_own_epoch(&self, epoch: u64) -> bool {
        epoch.wrapping_sub(self.run) < self.plan.agents as u64
    }

    pub(super) fn agent_token(&self, site: &Site, agent: &AgentName) -> anyhow::Result<String> {
        self.mint(Identity::Agent { site: site.clone(), agent: agent.clone() })
    }

    pub(super) fn user_token<'s>(&self, user: usize, sites: impl Iterator<Item = &'s Site>) -> anyhow::Result<String> {
        let scopes = sites.map(|site| Scope::read_site(site.as_str())).collect();
        self.mint(Identity::User { name: format!("{}-user-{}", self.plan.name, user + 1), scopes })
    }

    fn mint(&self, identity: Identity) -> anyhow::Result<String> {
        let token = NewToken { tenant: self.tenant.clone(), identity, ttl: TOKEN_TTL };
        let key = self.key.as_ref().context("there is no key")?;
        key.mint(&token, self.clock.wall()).context("cannot make a token")
    }

    /// Records that an agent's room should have of it.
    pub(super) fn published(&self, agent: usize) -> u64 {
        self.agents.get(agent).map_or(0, |board| board.published.load(Ordering::Relaxed))
    }
}
