//! What a gateway can be told: a TOML file, checked once, every fault at once; flags win over the file.
//!
//! `gateway.example.toml` spells out every key with its default; a test holds it to that.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use lockgate_config::{Document, Item, Problems, Table};
use lockgate_proto::limits::{GATEWAYS_MAX, PING_INTERVAL, PUBLISH_BYTES_TARGET, WINDOW_BYTES, WINDOW_RECORDS};
use lockgate_runtime::dial::GatewayUrl;
use lockgate_runtime::listen_address;

use crate::limits::{COALESCE, COALESCE_MAX, DEVICES_PER_ROOM_MAX};

mod redis;
mod serve;
mod tls;

#[cfg(test)]
mod tests;

pub use self::redis::RedisConfig;
pub use self::serve::{Service, Services};
pub use self::tls::TlsConfig;

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const MIB: u64 = 1024 * 1024;

/// Both ends count on a ping at least twice within their idle timeout; so no interval may be longer.
const PING_RANGE: RangeInclusive<Duration> = SECOND..=PING_INTERVAL;

/// A checked configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The folder that holds all that must outlive the process, where the backbone is the embedded one.
    pub data: PathBuf,
    /// The listener for agents and clients.
    pub server: ServerConfig,
    /// The certificate of that listener; without one, anyone on the way can read what goes over it.
    pub tls: Option<TlsConfig>,
    /// The listener for metrics.
    pub metrics: MetricsConfig,
    /// Who may come in.
    pub auth: AuthConfig,
    /// Terms for agents.
    pub edge: EdgeConfig,
    /// Terms for clients.
    pub client: ClientConfig,
    /// Who is told of.
    pub presence: PresenceConfig,
    /// What one site may take up.
    pub limits: LimitsConfig,
    /// How long the backbone keeps entries and commands.
    pub retention: RetentionConfig,
    /// The backbone that gateways share; without one, the embedded one.
    pub redis: Option<RedisConfig>,
}

/// `[server]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// Where agents and clients connect. Port 0: any free one.
    pub listen: SocketAddr,
    /// It may be reached from other machines without TLS: something in front of it speaks it, or nobody needs it.
    pub insecure: bool,
    /// Connections that the system may keep for us before we take them.
    pub backlog: u32,
    /// Most open connections.
    pub connections_max: usize,
    /// Most open connections that have not shown who they are.
    pub unauthenticated_max: usize,
    /// The same from one address; in IPv6, from one /64.
    pub unauthenticated_per_address_max: usize,
    /// The first request must have come whole within this time.
    pub first_request_timeout: Duration,
    /// What is served here.
    pub serve: Services,
    /// Where peers reach this gateway; told to those that others send here.
    pub advertise: Option<GatewayUrl>,
    /// Where they reach the gateways that share the backbone. This one may be among them.
    pub peers: Vec<GatewayUrl>,
    /// Sessions have so long to end when the gateway stops.
    pub drain_timeout: Duration,
    /// Those who are sent away then come back over so long, and not all at once.
    pub drain_spread: Duration,
}

/// `[metrics]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricsConfig {
    /// Where `/metrics` is served. Port 0: any free one.
    pub listen: SocketAddr,
}

/// `[auth]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthConfig {
    /// The key that tokens are signed with; relative to the data folder. Made at the first start.
    pub key_file: PathBuf,
    /// A client must have shown its token within this time.
    pub timeout: Duration,
}

/// `[edge]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EdgeConfig {
    /// Bytes of records that an agent may have sent and not yet got acknowledged.
    pub window_bytes: u64,
    /// The same in records.
    pub window_records: u64,
    /// Agents are pinged at this interval.
    pub ping_interval: Duration,
}

/// `[client]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// Clients are told their positions at this interval.
    pub ping_interval: Duration,
    /// Most subscriptions of one connection.
    pub subscriptions_max: usize,
    /// A reader that is farther behind than this, and did not ask to be, is told what it does not get.
    pub lag_entries_max: u64,
    /// How long an entry may wait for others, in rooms where they come fast.
    pub coalesce: Duration,
}

/// `[presence]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PresenceConfig {
    /// Agents that come and go are entries of their room.
    pub agents: bool,
    /// People who come and go are.
    pub users: bool,
}

/// `[limits]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitsConfig {
    /// Devices of a site whose last values are kept.
    pub devices_per_site: usize,
}

/// `[retention]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetentionConfig {
    /// Entries older than this are dropped from a room's log.
    pub age: Duration,
    /// The oldest entries are dropped when a room's log is larger than this.
    pub bytes: u64,
    /// Commands are forgotten so long after they have ended and their deadline has passed.
    pub commands: Duration,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            data: PathBuf::from("lockgate-data"),
            server: ServerConfig {
                listen: loopback(8080),
                insecure: false,
                backlog: 1_024,
                connections_max: 10_000,
                unauthenticated_max: 512,
                unauthenticated_per_address_max: 64,
                first_request_timeout: 10 * SECOND,
                serve: Services::default(),
                advertise: None,
                peers: Vec::new(),
                drain_timeout: 10 * SECOND,
                drain_spread: 2 * SECOND,
            },
            tls: None,
            metrics: MetricsConfig { listen: loopback(9464) },
            auth: AuthConfig { key_file: PathBuf::from("token.key"), timeout: 10 * SECOND },
            edge: EdgeConfig {
                window_bytes: WINDOW_BYTES,
                window_records: WINDOW_RECORDS,
                ping_interval: PING_INTERVAL,
            },
            client: ClientConfig {
                ping_interval: PING_INTERVAL,
                subscriptions_max: 64,
                lag_entries_max: 10_000,
                coalesce: COALESCE,
            },
            presence: PresenceConfig { agents: true, users: true },
            limits: LimitsConfig { devices_per_site: DEVICES_PER_ROOM_MAX },
            retention: RetentionConfig { age: 30 * DAY, bytes: 1_024 * MIB, commands: 30 * DAY },
            redis: None,
        }
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

impl Config {
    /// Reads and checks the text of a file; `file` is what people know it as.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn from_toml(file: &str, text: &str) -> Result<Config, Problems> {
        let problems = Problems::new();
        let config = Document::parse(file, text, &problems).check(Config::check);
        problems.into_result(config)
    }

    /// Whether others than programs of this machine can connect, and anyone on the way read what they say.
    pub fn is_open_to_all(&self) -> bool {
        self.tls.is_none() && !self.server.insecure && !self.server.listen.ip().is_loopback()
    }

    /// Where the key of tokens is.
    pub fn key_path(&self) -> PathBuf {
        self.data.join(&self.auth.key_file)
    }

    fn check(root: &Table<'_>) -> Option<Config> {
        let default = Config::default();
        let data = root.or("data", default.data, Item::file);
        let server = root.section("server", |table| Some(ServerConfig::check(table, default.server)));
        // An optional section: told apart from one that is written wrongly.
        let tls = root.has("tls").then(|| root.section("tls", TlsConfig::check));
        let metrics = root.section("metrics", |table| {
            Some(MetricsConfig { listen: table.or("listen", default.metrics.listen, address) })
        });
        let auth = root.section("auth", |table| {
            let key_file = table.or("key_file", default.auth.key_file, Item::file);
            let timeout = table.or("timeout", default.auth.timeout, |item| item.duration(SECOND..=5 * MINUTE));
            Some(AuthConfig { key_file, timeout })
        });
        let edge = root.section("edge", |table| Some(EdgeConfig::check(table, default.edge)));
        let client = root.section("client", |table| Some(ClientConfig::check(table, default.client)));
        let presence = root.section("presence", |table| {
            let agents = table.or("agents", default.presence.agents, Item::boolean);
            let users = table.or("users", default.presence.users, Item::boolean);
            Some(PresenceConfig { agents, users })
        });
        let limits = root.section("limits", |table| {
            let max = default.limits.devices_per_site;
            let devices_per_site = table.or("devices_per_site", max, |item| count(item, 1..=1_000_000));
            Some(LimitsConfig { devices_per_site })
        });
        let retention = root.section("retention", |table| {
            let age = table.or("age", default.retention.age, |item| item.duration(MINUTE..=36_500 * DAY));
            let bytes = table.or("bytes", default.retention.bytes, |item| item.bytes(MIB..=MIB * MIB));
            let commands =
                table.or("commands", default.retention.commands, |item| item.duration(60 * MINUTE..=36_500 * DAY));
            Some(RetentionConfig { age, bytes, commands })
        });
        let redis = root.has("redis").then(|| root.section("redis", RedisConfig::check));
        // Only now, when all others have been looked at, may a fault in one of these end the reading.
        if matches!(tls, Some(None)) || matches!(redis, Some(None)) {
            return None;
        }
        Some(Config {
            data,
            server: server?,
            tls: tls.flatten(),
            metrics: metrics?,
            auth: auth?,
            edge: edge?,
            client: client?,
            presence: presence?,
            limits: limits?,
            retention: retention?,
            redis: redis.flatten(),
        })
    }
}

impl ServerConfig {
    fn check(table: &Table<'_>, default: ServerConfig) -> ServerConfig {
        let listen = table.or("listen", default.listen, address);
        let insecure = table.or("insecure", default.insecure, Item::boolean);
        let backlog = table.or("backlog", default.backlog, |item| item.integer(1..=65_535));
        let connections_max = table.or("connections_max", default.connections_max, |item| count(item, 1..=1_000_000));
        let unauthenticated_max =
            table.or("unauthenticated_max", default.unauthenticated_max, |item| count(item, 1..=1_000_000));
        let unauthenticated_per_address_max =
            table.or("unauthenticated_per_address_max", default.unauthenticated_per_address_max, |item| {
                count(item, 1..=1_000_000)
            });
        let first_request_timeout =
            table.or("first_request_timeout", default.first_request_timeout, |item| item.duration(SECOND..=5 * MINUTE));
        let drain_timeout =
            table.or("drain_timeout", default.drain_timeout, |item| item.duration(SECOND..=10 * MINUTE));
        let drain_spread = table.or("drain_spread", default.drain_spread, |item| item.duration(MILLI..=10 * MINUTE));
        let serve = table.or("serve", default.serve, Services::check);
        let advertise = table.optional("advertise", |item| item.parse(str::parse::<GatewayUrl>));
        let peers = table.or("peers", default.peers, peers);
        ServerConfig {
            listen,
            insecure,
            backlog,
            connections_max,
            unauthenticated_max,
            unauthenticated_per_address_max,
            first_request_timeout,
            serve,
            advertise,
            peers,
            drain_timeout,
            drain_spread,
        }
    }
}

impl EdgeConfig {
    fn check(table: &Table<'_>, default: EdgeConfig) -> EdgeConfig {
        // Below this, an agent could not even send one batch of the usual size.
        let smallest = 2 * PUBLISH_BYTES_TARGET as u64;
        EdgeConfig {
            window_bytes: table.or("window_bytes", default.window_bytes, |item| item.bytes(smallest..=64 * MIB)),
            window_records: table.or("window_records", default.window_records, |item| item.integer(64..=1_000_000)),
            ping_interval: table.or("ping_interval", default.ping_interval, |item| item.duration(PING_RANGE)),
        }
    }
}

impl ClientConfig {
    fn check(table: &Table<'_>, default: ClientConfig) -> ClientConfig {
        ClientConfig {
            ping_interval: table.or("ping_interval", default.ping_interval, |item| item.duration(PING_RANGE)),
            subscriptions_max: table.or("subscriptions_max", default.subscriptions_max, |item| count(item, 1..=1_024)),
            lag_entries_max: table
                .or("lag_entries_max", default.lag_entries_max, |item| item.integer(1..=1_000_000_000)),
            coalesce: table.or("coalesce", default.coalesce, |item| item.duration(Duration::ZERO..=COALESCE_MAX)),
        }
    }
}

fn peers(item: &Item<'_>) -> Option<Vec<GatewayUrl>> {
    let peers = item.list(|item| item.parse(str::parse::<GatewayUrl>))?;
    if peers.len() > GATEWAYS_MAX {
        item.problem(format!("names more than {GATEWAYS_MAX} gateways"), "leave some out");
        return None;
    }
    Some(peers)
}

fn address(item: &Item<'_>) -> Option<SocketAddr> {
    item.parse(listen_address)
}

fn count(item: &Item<'_>, range: RangeInclusive<u32>) -> Option<usize> {
    item.integer(range).and_then(|count| usize::try_from(count).ok())
}
