//! What a client is told, in domain words.

use std::time::Duration;

use lockgate_proto::entry::{AgentGap, Entry, EntryKind};
use lockgate_proto::ids::{AgentName, DeviceName, MetricName, Site, Tag};
use lockgate_proto::loss::Totals;
use lockgate_proto::position::Position;
use lockgate_proto::reading::Reading;
use lockgate_proto::time::UnixMicros;

use crate::error::ClientError;

/// What a subscription gives.
#[derive(Debug)]
pub enum Event {
    /// One item of the room's log. Each comes once, in the log's order.
    Entry(Box<Entry>),
    /// The last known values, where they were asked for, or where entries could not be had. None comes then where
    /// they do not fit into a message.
    Snapshot(Snapshot),
    /// What follows does not follow what came before: some entries can't be had.
    NotRecovered {
        /// Why.
        reason: NotRecovered,
        /// What comes next comes after this.
        position: Position,
    },
    /// All that the log has after one position and through another, in short: entries of it that are no telemetry
    /// came just before.
    Conflated {
        /// The last entry before.
        after: Position,
        /// The last entry that it stands for.
        through: Position,
        /// By device, the latest reading of each metric that was told.
        latest: Vec<DeviceShadow>,
        /// So many entries of telemetry are told so.
        left_out: u32,
    },
    /// This client reads too slowly: these entries were not sent. A new subscription since `after` gives them.
    Lagged {
        /// The last that was sent.
        after: Position,
        /// The last that was not.
        through: Position,
    },
    /// This client reads too slowly: these entries were not sent. They were asked for at once, and come next, so
    /// that none is missing. In place of `Lagged`, where [`SubscribeOptions::fetch_lagged`] is set.
    Fetching {
        /// The last that was sent.
        after: Position,
        /// The last that was not.
        through: Position,
    },
    /// The gateway can't reach its store; the connection stays, and nothing is lost.
    Degraded {
        /// What it can't do.
        reason: String,
    },
    /// The gateway reaches its store again.
    Restored,
    /// The connection is lost; the subscription connects again by itself.
    Disconnected {
        /// Why.
        error: ClientError,
        /// When it tries again.
        retry_in: Duration,
    },
    /// The connection is back; entries go on after this position.
    Reconnected {
        /// Everything up to here came before.
        position: Position,
    },
    /// All that the log had when the subscription began has come. Given once.
    CaughtUp {
        /// Where the reader stands.
        position: Position,
    },
}

/// Why entries can't be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotRecovered {
    /// The log no longer reaches back so far.
    Trimmed,
    /// The log went back to an older state and grew anew.
    Diverged,
    /// A reason that this version does not know.
    Unknown,
}

impl NotRecovered {
    /// The word for output.
    pub fn as_str(self) -> &'static str {
        match self {
            NotRecovered::Trimmed => "trimmed",
            NotRecovered::Diverged => "diverged",
            NotRecovered::Unknown => "unknown",
        }
    }
}

/// The shadows of a site's devices.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// They are as of at least this position.
    pub position: Position,
    /// One for each device that the subscription lets pass.
    pub devices: Vec<DeviceShadow>,
}

/// The last known value of each metric of a device.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceShadow {
    /// Whose.
    pub device: DeviceName,
    /// The agent that it belongs to.
    pub agent: AgentName,
    /// In the gateway's order.
    pub metrics: Vec<ShadowMetric>,
    /// `None`: never told.
    pub online: Option<bool>,
    /// It is not online, and nobody said so but its silence.
    pub stale: bool,
    /// When a gateway last heard of it.
    pub last_seen: Option<UnixMicros>,
}

/// One metric's last known value.
#[derive(Clone, Debug, PartialEq)]
pub struct ShadowMetric {
    /// The value, since when, and how far to trust it.
    pub reading: Reading,
    /// When a gateway received it.
    pub received_at: UnixMicros,
}

/// One line of a site's list of devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceSummary {
    /// Its name.
    pub device: DeviceName,
    /// The agent that it belongs to.
    pub agent: AgentName,
    /// When a gateway last heard of it.
    pub last_seen: Option<UnixMicros>,
    /// How many metrics it has told.
    pub metrics: u32,
    /// `None`: never told.
    pub online: Option<bool>,
    /// It is not online, and nobody said so but its silence.
    pub stale: bool,
    /// Whether its agent is connected; `None`: the gateway does not say.
    pub agent_here: Option<bool>,
    /// By what it can be selected.
    pub tags: Vec<Tag>,
}

/// What became of an agent's records: `produced = stored + lost + pending`.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentLoss {
    /// Whose.
    pub agent: AgentName,
    /// The sums.
    pub totals: Totals,
    /// The gaps one by one, the oldest first; of very many, the newest.
    pub gaps: Vec<AgentGap>,
}

/// From where on entries are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// From now on.
    Live,
    /// Everything after this position; [`Position::START`] is before everything.
    Since(Position),
    /// The last so many, and then from now on.
    Last(u32),
}

/// What a subscription is to give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscribeOptions {
    /// The site.
    pub site: Site,
    /// Only these devices; empty: all.
    pub devices: Vec<DeviceName>,
    /// Only entries of these kinds; empty: all.
    pub kinds: Vec<EntryKind>,
    /// Of telemetry and of shadows only these metrics; empty: all.
    pub metrics: Vec<MetricName>,
    /// From where on.
    pub start: Start,
    /// The shadows first.
    pub snapshot: bool,
    /// Tell [`Event::CaughtUp`].
    pub tell_caught_up: bool,
    /// Fetch what the gateway left out because this client reads too slowly. Nothing is missing then, and what
    /// comes is as late as the client is slow.
    pub fetch_lagged: bool,
    /// Telemetry may come in short, as [`Event::Conflated`]. `None`: never. Zero: where this client reads too slowly.
    /// Else: always, and no more often than once in so long.
    pub conflate: Option<Duration>,
}

impl SubscribeOptions {
    /// Everything of a site, from now on.
    pub fn live(site: Site) -> SubscribeOptions {
        SubscribeOptions {
            site,
            devices: Vec::new(),
            kinds: Vec::new(),
            metrics: Vec::new(),
            start: Start::Live,
            snapshot: false,
            tell_caught_up: false,
            fetch_lagged: false,
            conflate: None,
        }
    }

    /// Whether not all entries are asked for.
    pub(crate) fn filters(&self) -> bool {
        !(self.devices.is_empty() && self.kinds.is_empty() && self.metrics.is_empty())
    }
}
