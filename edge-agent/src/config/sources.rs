//! `[[serial]]` and `[[mqtt]]`: the sources.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lockgate_codec::{Context, Input, MessageReader, Outgoing, Profile, StreamReader, WriteError, Written, Zone};
use lockgate_config::{Document, Item, Problems, ReadError, Table, nearest};
use lockgate_proto::description::{CommandDescription, MetricDescription};
use lockgate_proto::ids::{AgentName, DeviceName, Tag, is_printable};

use super::ConfigError;
use super::address::Address;
use super::secret::{self, Secret};
use crate::profiles;
use crate::source::mqtt_logic::Redelivery;

/// `[[serial]]`: one serial port.
#[derive(Clone, Debug, PartialEq)]
pub struct SerialConfig {
    /// Unique among the sources.
    pub name: String,
    /// The port; best a link below `/dev/serial/by-id`, which stays when the number changes.
    pub path: PathBuf,
    /// Bits per second.
    pub baud: u32,
    /// Bits per character.
    pub data_bits: DataBits,
    /// What the parity bit says.
    pub parity: Parity,
    /// Bits after each character.
    pub stop_bits: StopBits,
    /// How what is said there is read.
    pub profile: SourceProfile,
}

/// Bits per character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataBits {
    /// As most meters of old.
    Seven,
    /// As almost everything.
    Eight,
}

/// What the parity bit says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parity {
    /// There is none.
    None,
    /// An even number of ones.
    Even,
    /// An odd number of ones.
    Odd,
}

/// Bits after each character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopBits {
    /// One.
    One,
    /// Two.
    Two,
}

/// `[[mqtt]]`: one broker.
#[derive(Clone, Debug, PartialEq)]
pub struct MqttConfig {
    /// Unique among the sources.
    pub name: String,
    /// `mqtt://` or `mqtts://`.
    pub url: Address,
    /// What the broker keeps our session under: must stay the same, and be nobody else's.
    pub client_id: String,
    /// For brokers that ask for one.
    pub username: Option<String>,
    /// Goes with the user's name.
    pub password: Option<Secret>,
    /// Certificates to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// How often we show that we live.
    pub keep_alive: Duration,
    /// Largest message that is taken; a larger one ends the connection.
    pub message_bytes_max: usize,
    /// How many messages the broker sends before it wants an acknowledgement.
    pub window: usize,
    /// How the broker marks what it sends again.
    pub redelivery: Redelivery,
    /// How what is said there is read.
    pub profile: SourceProfile,
}

/// A compiled profile, with what the source and the site say of it.
#[derive(Clone, Debug)]
pub struct SourceProfile {
    /// What the configuration calls it; `None`: written into the source's block.
    pub name: Option<String>,
    /// The device of readings that do not tell theirs, where the source names one.
    pub device: Option<DeviceName>,
    time_zone: String,
    zone: Zone,
    profile: Arc<Profile>,
}

impl SourceProfile {
    /// A shipped profile by its name, or one of the user's by its path, for input that belongs to no configuration.
    pub fn by_name(name: &str, device: Option<DeviceName>, zone: Zone) -> Result<SourceProfile, ConfigError> {
        let text = match profile_text(name, Path::new("")) {
            Ok(text) => text,
            Err(ProfileError::Unknown { fix }) => {
                return Err(ConfigError::UnknownProfile { name: name.to_owned(), fix });
            }
            Err(ProfileError::Read(error)) => return Err(error.into()),
        };
        let problems = Problems::new();
        let profile = Profile::parse(name, &text, &problems);
        let profile = problems.into_result(profile).map_err(ConfigError::Faults)?;
        Ok(SourceProfile { name: Some(name.to_owned()), device, time_zone: String::new(), zone, profile })
    }

    /// What the profile reads.
    pub fn input(&self) -> Input {
        self.profile.input()
    }

    /// A reader for a stream of bytes.
    ///
    /// # Panics
    /// Where the profile reads messages; the check of a serial source has refused such a one.
    pub fn stream(&self) -> StreamReader {
        self.profile.stream(self.context()).expect("a serial source is only made of a profile for streams")
    }

    /// A reader for messages.
    pub fn messages(&self) -> MessageReader {
        self.profile.messages(self.context())
    }

    /// What to subscribe to at a broker.
    pub fn topics(&self) -> Vec<String> {
        self.profile.topics()
    }

    /// The device of all that does not name another one, where the source or its profile says which.
    pub fn own_device(&self) -> Option<DeviceName> {
        self.device.clone().or_else(|| self.profile.own_device())
    }

    /// The bytes of a command for one of its devices.
    pub fn write(&self, order: &Outgoing<'_>) -> Result<Written, WriteError> {
        self.profile.write(order)
    }

    /// What one of its devices can be told to do.
    pub fn commands_of(&self, device: &DeviceName) -> Vec<&CommandDescription> {
        self.profile.commands_of(device)
    }

    /// What one of its devices measures, as far as the profile names it.
    pub fn metrics_of(&self, device: &DeviceName) -> Vec<MetricDescription> {
        self.profile.metrics_of(device)
    }

    /// By what all its devices can be selected.
    pub fn tags(&self) -> &[Tag] {
        self.profile.tags()
    }

    /// How many commands one device carries out at once.
    pub fn at_once(&self) -> u32 {
        self.profile.at_once()
    }

    /// How long a device may be silent before it is stale. `None`: for ever.
    pub fn stale_after(&self, device: &DeviceName) -> Option<Duration> {
        self.profile.stale_after(device)
    }

    /// Whether any of its devices can be stale.
    pub fn has_stale_after(&self) -> bool {
        self.profile.has_stale_after()
    }

    fn context(&self) -> Context {
        Context { device: self.device.clone(), zone: self.zone.clone() }
    }
}

/// Compiled profiles can't be compared; what was asked for can.
impl PartialEq for SourceProfile {
    fn eq(&self, other: &SourceProfile) -> bool {
        (&self.name, &self.device, &self.time_zone) == (&other.name, &other.device, &other.time_zone)
    }
}

/// What a source's check needs of the rest of the file.
pub(super) struct Surroundings<'a> {
    pub(super) problems: &'a Problems,
    pub(super) folder: &'a Path,
    pub(super) agent: Option<AgentName>,
    pub(super) time_zone: &'a str,
}

/// What of the sources must be theirs alone, so far.
#[derive(Default)]
pub(super) struct Taken {
    names: Vec<String>,
    /// Each with the name of its source.
    ports: Vec<(PathBuf, String)>,
}

impl Taken {
    fn name(&mut self, item: &Item<'_>) -> Option<String> {
        // The rules of a device's name: it is one, where the source does not say another.
        let name = item.parse(str::parse::<DeviceName>)?.as_str().to_owned();
        if self.names.contains(&name) {
            item.problem(format!("{name:?} is the name of another source"), "give each source a name of its own");
            return None;
        }
        self.names.push(name.clone());
        Some(name)
    }

    /// What is said on a port can be read once, under whatever path it is opened.
    fn port(&mut self, item: &Item<'_>, folder: &Path, source: Option<&str>) -> Option<PathBuf> {
        let path = folder.join(item.file()?);
        let device = path.canonicalize().unwrap_or_else(|_| path.clone());
        if let Some((_, other)) = self.ports.iter().find(|(known, _)| *known == device) {
            let by = if device == path { String::new() } else { format!(" (it leads to {})", device.display()) };
            item.problem(
                format!("is the port of the source {other:?} too{by}"),
                "keep one of the two; one profile can have routes for all that is said on a port",
            );
            return None;
        }
        self.ports.push((device, source.unwrap_or_default().to_owned()));
        Some(path)
    }
}

const BAUD: std::ops::RangeInclusive<u32> = 50..=4_000_000;
const BAUD_DEFAULT: u32 = 115_200;
const KEEP_ALIVE: std::ops::RangeInclusive<Duration> = Duration::from_secs(5)..=Duration::from_secs(3_600);
const KEEP_ALIVE_DEFAULT: Duration = Duration::from_secs(30);
const MESSAGE_BYTES: std::ops::RangeInclusive<u64> = 1_024..=16 * 1024 * 1024;
const MESSAGE_BYTES_DEFAULT: u64 = 256 * 1024;
const WINDOW: std::ops::RangeInclusive<u16> = 1..=u16::MAX;
/// Mosquitto's `max_inflight_messages`, the smallest default of the common brokers.
const WINDOW_DEFAULT: u16 = 20;

/// Why a profile that is named can't be had.
enum ProfileError {
    Unknown { fix: String },
    Read(ReadError),
}

/// A name with a slash or an end of `.toml` is a file, all else a shipped profile.
fn profile_text(name: &str, folder: &Path) -> Result<Cow<'static, str>, ProfileError> {
    if name.contains('/') || Path::new(name).extension().is_some_and(|end| end == "toml") {
        return lockgate_config::read(&folder.join(name)).map(Cow::Owned).map_err(ProfileError::Read);
    }
    profiles::find(name).map(Cow::Borrowed).map_err(|fix| ProfileError::Unknown { fix })
}

/// The profile of a source: what it names, and over that the keys in its own block.
fn profile(table: &Table<'_>, around: &Surroundings<'_>, input: Input) -> Option<SourceProfile> {
    let device = table.optional("device", |item| item.parse(str::parse::<DeviceName>));
    let named = table.item("profile");
    if named.is_none()
        && let Some(misspelt) = table.unknown().into_iter().find(|key| nearest(key, ["profile"]).is_some())
    {
        // Only the misspelt key is told: what stands beside it can't be judged without the profile.
        for key in table.unknown().into_iter().filter(|key| *key != misspelt) {
            table.has(key);
        }
        return None;
    }
    let name = named.as_ref().map(|item| item.text().map(str::to_owned));
    let profile = match (&named, &name) {
        (None, _) | (_, None) => Profile::check(input, table, None),
        (Some(item), Some(Some(name))) => match profile_text(name, around.folder) {
            Ok(text) => {
                let document = Document::parse(name, &text, around.problems);
                let base = document.root();
                let reads = if base.has("framing") { Input::Stream } else { Input::Messages };
                if reads == input {
                    Profile::check(input, table, Some(&base))
                } else {
                    let (reads, wants) = (kind(reads), kind(input));
                    item.problem(format!("{name:?} is for {reads}"), format!("name a profile for {wants}"));
                    unread(table)
                }
            }
            Err(error) => {
                match error {
                    ProfileError::Unknown { fix } => item.problem(format!("{name:?} is no profile"), fix),
                    ProfileError::Read(error) => item.problem(error.to_string(), "name a file that can be read"),
                }
                unread(table)
            }
        },
        (Some(_), Some(None)) => unread(table),
    };
    let name = name.flatten();
    let zone = around.time_zone.parse().unwrap_or_default();
    Some(SourceProfile { name, device, time_zone: around.time_zone.to_owned(), zone, profile: profile? })
}

fn kind(input: Input) -> &'static str {
    match input {
        Input::Stream => "serial ports",
        Input::Messages => "MQTT brokers",
    }
}

/// Which keys stand beside a profile that can't be had can't be judged.
fn unread(table: &Table<'_>) -> Option<Arc<Profile>> {
    table.items();
    None
}

pub(super) fn serial(table: &Table<'_>, around: &Surroundings<'_>, taken: &mut Taken) -> Option<SerialConfig> {
    let name = table.required("name", |item| taken.name(item));
    let path = table.required("path", |item| taken.port(item, around.folder, name.as_deref()));
    let baud = table.or("baud", BAUD_DEFAULT, |item| item.integer(BAUD));
    let data_bits = table.or("data_bits", DataBits::Eight, |item| match item.integer(7u8..=8)? {
        7 => Some(DataBits::Seven),
        _ => Some(DataBits::Eight),
    });
    let parity = [("none", Parity::None), ("even", Parity::Even), ("odd", Parity::Odd)];
    let parity = table.or("parity", Parity::None, |item| item.word(&parity));
    let stop_bits = table.or("stop_bits", StopBits::One, |item| match item.integer(1u8..=2)? {
        1 => Some(StopBits::One),
        _ => Some(StopBits::Two),
    });
    let profile = profile(table, around, Input::Stream);
    Some(SerialConfig { name: name?, path: path?, baud, data_bits, parity, stop_bits, profile: profile? })
}

pub(super) fn mqtt(table: &Table<'_>, around: &Surroundings<'_>, taken: &mut Taken) -> Option<MqttConfig> {
    let name = table.required("name", |item| taken.name(item));
    let url = table.required("url", |item| item.parse(Address::parse));
    let client_id = table.optional("client_id", client_id);
    let username = table.optional("username", |item| item.text().map(str::to_owned));
    let password = secret::optional(table, "password", around.folder);
    let ca_file = table.optional("ca_file", Item::file).map(|file| around.folder.join(file));
    let keep_alive = table.or("keep_alive", KEEP_ALIVE_DEFAULT, |item| item.duration(KEEP_ALIVE));
    let message_bytes = table.or("message_max", MESSAGE_BYTES_DEFAULT, |item| item.bytes(MESSAGE_BYTES));
    let window = table.or("window", WINDOW_DEFAULT, |item| item.integer(WINDOW));
    let redelivery = [("marked", Redelivery::Marked), ("unmarked", Redelivery::Unmarked)];
    let redelivery = table.or("redelivery", Redelivery::Marked, |item| item.word(&redelivery));
    let profile = profile(table, around, Input::Messages);
    if (table.has("password") || table.has("password_file")) && !table.has("username") {
        table.missing("username", "a password needs a user's name beside it");
    }
    let url = url?;
    if let (Some(item), false) = (table.item("ca_file"), url.is_tls) {
        item.problem("is of no use without TLS", "write the address as mqtts://…, or remove the key");
    }
    let name = name?;
    let client_id = client_id.or_else(|| Some(format!("lockgate-{}-{name}", around.agent.as_ref()?)))?;
    Some(MqttConfig {
        name,
        url,
        client_id,
        username,
        password,
        ca_file,
        keep_alive,
        message_bytes_max: usize::try_from(message_bytes).expect("at most 16 MiB"),
        window: usize::from(window),
        redelivery,
        profile: profile?,
    })
}

fn client_id(item: &Item<'_>) -> Option<String> {
    let text = item.text()?;
    if text.len() > 128 || !is_printable(text) {
        item.problem("is no client id", "give at most 128 printable characters");
        return None;
    }
    Some(text.to_owned())
}
