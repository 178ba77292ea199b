//! `agent.toml`, read and checked: every fault at once, each with its place and its cure.
//!
//! Only the checked [`Config`] travels. Paths in it are relative to the file's folder, whatever the
//! working directory is. What is named but does not exist (a port that is not plugged in, a token file
//! that is still to come) is no fault of the configuration: `lockgate-agent check` warns of it.

mod address;
mod secret;
mod sources;
mod token;
mod warnings;

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lockgate_codec::Zone;
use lockgate_config::{Document, Item, Problems, Table};
use lockgate_proto::ids::{AgentName, Site};
use lockgate_proto::limits::GATEWAYS_MAX;
use lockgate_runtime::dial::GatewayUrl;
use lockgate_runtime::tls::{IdentityFiles, Trust};

use crate::queue::limits::{BUDGET_BYTES_MIN, EVENTS_RESERVE_BYTES_MIN};

pub use address::{Address, AddressError};
pub use secret::{Secret, SecretError};
pub use sources::{DataBits, MqttConfig, Parity, SerialConfig, SourceProfile, StopBits};
pub use token::{TokenFault, look_at_token};
pub use warnings::warnings;

/// The agent's whole configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Who the agent is and where it keeps what it must not forget.
    pub agent: AgentConfig,
    /// The way to the gateway.
    pub uplink: UplinkConfig,
    /// The store-and-forward log on disk.
    pub queue: QueueConfig,
    /// What the agent tells of itself.
    pub health: HealthConfig,
    /// Serial ports.
    pub serial: Vec<SerialConfig>,
    /// MQTT brokers.
    pub mqtt: Vec<MqttConfig>,
}

/// `[agent]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentConfig {
    /// Unique in its site; also the device under which its own health is told.
    pub name: AgentName,
    /// The place that it serves.
    pub site: Site,
    /// The folder of the queue, the journal of commands and the dead letters.
    pub data: PathBuf,
    /// IANA name of the site's zone, for devices that tell local time.
    pub time_zone: String,
}

/// `[uplink]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UplinkConfig {
    /// `ws://` or `wss://`; the preferred one.
    pub url: GatewayUrl,
    /// Where to go when that one is not there, in this order.
    pub other_urls: Vec<GatewayUrl>,
    /// The agent's token; a file is read anew at each connection.
    pub token: Secret,
    /// Whom to trust, and what to show.
    pub trust: Trust,
}

impl UplinkConfig {
    /// All addresses, the preferred one first.
    pub fn urls(&self) -> impl Iterator<Item = &GatewayUrl> {
        std::iter::once(&self.url).chain(&self.other_urls)
    }
}

/// `[queue]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueConfig {
    /// Bytes on disk that the queue may use in all.
    pub budget_bytes: u64,
    /// What of the budget telemetry must leave to events.
    pub events_reserve_bytes: u64,
    /// Readings younger than this may be lost with the power.
    pub sync_interval: Duration,
}

/// `[health]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthConfig {
    /// How often the agent tells how it is; also at once when a source comes or goes.
    pub interval: Duration,
}

/// Why a configuration can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read at all.
    #[error(transparent)]
    Read(#[from] lockgate_config::ReadError),
    /// There is no profile of this name.
    #[error("{name:?} is no profile; {fix}")]
    UnknownProfile {
        /// What was asked for.
        name: String,
        /// What to do about it.
        fix: String,
    },
    /// It was read, and this is what is wrong with it.
    #[error("{0}")]
    Faults(Problems),
}

impl Config {
    /// Reads and checks a file.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let text = lockgate_config::read(path)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        Config::from_toml(&path.display().to_string(), &text, folder).map_err(ConfigError::Faults)
    }

    /// Checks a text; `folder` is what its paths are relative to, `file` what people know it as.
    pub fn from_toml(file: &str, text: &str, folder: &Path) -> Result<Config, Problems> {
        let problems = Problems::new();
        let config = Document::parse(file, text, &problems).check(|root| check(root, folder, &problems));
        problems.into_result(config)
    }
}

// `agent.example.toml` tells the defaults to people; a test keeps the two equal.
const DATA_DEFAULT: &str = "data";
const TIME_ZONE_DEFAULT: &str = "UTC";
const BUDGET: RangeInclusive<u64> = BUDGET_BYTES_MIN..=TIB;
const BUDGET_DEFAULT: u64 = MIB * 512;
const EVENTS_RESERVE_DEFAULT: u64 = MIB * 16;
const SYNC_INTERVAL: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(60);
/// `queue.sync_interval` where the file does not say.
pub(crate) const SYNC_INTERVAL_DEFAULT: Duration = Duration::from_secs(1);
const HEALTH_INTERVAL: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3_600);
const HEALTH_INTERVAL_DEFAULT: Duration = Duration::from_secs(30);

const MIB: u64 = 1024 * 1024;
const TIB: u64 = MIB * 1024 * 1024;

const _: () = assert!(EVENTS_RESERVE_DEFAULT * 2 <= BUDGET_DEFAULT);

fn check(root: &Table<'_>, folder: &Path, problems: &Problems) -> Option<Config> {
    let agent = root.section("agent", |table| agent(table, folder));
    let uplink = root.section("uplink", |table| uplink(table, folder));
    let queue = root.section("queue", |table| Some(queue(table)));
    let health = root.section("health", |table| Some(health(table)));
    let surroundings = sources::Surroundings {
        problems,
        folder,
        agent: agent.as_ref().map(|agent| agent.name.clone()),
        time_zone: agent.as_ref().map_or(TIME_ZONE_DEFAULT, |agent| &agent.time_zone),
    };
    let mut taken = sources::Taken::default();
    let serial = root.sections("serial", |table| sources::serial(table, &surroundings, &mut taken));
    let mqtt = root.sections("mqtt", |table| sources::mqtt(table, &surroundings, &mut taken));
    Some(Config { agent: agent?, uplink: uplink?, queue: queue?, health: health?, serial, mqtt })
}

fn agent(table: &Table<'_>, folder: &Path) -> Option<AgentConfig> {
    let name = table.required("name", |item| item.parse(str::parse::<AgentName>));
    let site = table.required("site", |item| item.parse(str::parse::<Site>));
    let data = table.or("data", PathBuf::from(DATA_DEFAULT), Item::file);
    let time_zone = table.or("time_zone", TIME_ZONE_DEFAULT.to_owned(), time_zone);
    Some(AgentConfig { name: name?, site: site?, data: folder.join(data), time_zone })
}

/// The name, where there is a zone of that name.
fn time_zone(item: &Item<'_>) -> Option<String> {
    let name = item.text()?;
    item.parse(str::parse::<Zone>).map(|_| name.to_owned())
}

fn uplink(table: &Table<'_>, folder: &Path) -> Option<UplinkConfig> {
    let urls = table.required("url", gateways);
    let (url, other_urls) = urls.and_then(|urls| Some((urls.first()?.clone(), urls.get(1..)?.to_vec()))).unzip();
    let token = secret::required(table, "token", folder);
    Some(UplinkConfig { url: url?, other_urls: other_urls?, token: token?, trust: trust(table, folder) })
}

fn trust(table: &Table<'_>, folder: &Path) -> Trust {
    let file = |key| table.optional(key, Item::file).map(|file| folder.join(file));
    let ca_file = file("ca_file");
    let file_alone = table.or("ca_file_alone", false, Item::boolean);
    if file_alone && ca_file.is_none() {
        table.problem("ca_file_alone, and there is no ca_file", "name the file, or leave ca_file_alone out");
    }
    let identity = match (file("cert_file"), file("key_file")) {
        (Some(cert_file), Some(key_file)) => Some(IdentityFiles { cert_file, key_file }),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => {
            table.problem("a certificate needs its key", "give both cert_file and key_file, or neither");
            None
        }
    };
    Trust { ca_file, file_alone, identity }
}

/// One address, or a list of them.
fn gateways(item: &Item<'_>) -> Option<Vec<GatewayUrl>> {
    let urls = item.one_or_many(|item| item.parse(str::parse::<GatewayUrl>))?;
    if urls.is_empty() {
        item.problem("names no gateway", "give at least one address: [\"wss://gateway.example.org\"]");
        return None;
    }
    if urls.len() > GATEWAYS_MAX {
        item.problem(format!("names more than {GATEWAYS_MAX} gateways"), "leave some out");
        return None;
    }
    Some(urls)
}

fn queue(table: &Table<'_>) -> QueueConfig {
    let budget_bytes = table.or("budget", BUDGET_DEFAULT, |item| item.bytes(BUDGET));
    let reserve_default = EVENTS_RESERVE_DEFAULT.min(budget_bytes / 4);
    let reserve = |item: &Item<'_>| item.bytes(EVENTS_RESERVE_BYTES_MIN..=budget_bytes / 2);
    let events_reserve_bytes = table.or("events_reserve", reserve_default, reserve);
    let sync_interval = table.or("sync_interval", SYNC_INTERVAL_DEFAULT, |item| item.duration(SYNC_INTERVAL));
    QueueConfig { budget_bytes, events_reserve_bytes, sync_interval }
}

fn health(table: &Table<'_>) -> HealthConfig {
    let interval = table.or("interval", HEALTH_INTERVAL_DEFAULT, |item| item.duration(HEALTH_INTERVAL));
    HealthConfig { interval }
}

#[cfg(test)]
mod tests;
