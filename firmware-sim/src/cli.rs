//! The command line: what a user can ask for, and the doing of it.

use std::collections::BTreeMap;
use std::io::Write as _;
#[cfg(feature = "broker")]
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use clap::{ArgGroup, Args, Parser, Subcommand};
use jiff::SignedDuration;
use lockgate_runtime::Supervisor;
use lockgate_runtime::signals::stop_on_signals;
use serde_json::json;
use tokio::sync::oneshot;

use crate::account::{self, Account};
use crate::devices::{self, Plan};
use crate::faults::FaultRates;
use crate::fleet::FleetArgs;
use crate::models::Kind;
use crate::orders::{self, OrdersArgs};
use crate::publisher::BrokerUrl;
use crate::reference::{self, ReferenceArgs};
use crate::replay::{self, Chunk, MqttReplay, Pace, SerialReplay, Stage};

/// Samples of each fault that `account` names.
const NAMED_MAX: usize = 50;

const EXIT_CODES: &str = "Exit codes:
  0  done
  1  failed; of `account` and `fleet`: something was lost, doubled or invented
  2  the command line is wrong";

/// Simulated field devices on pseudo-terminals and MQTT, replay of captures, and load for gateways.
///
/// Every command but `fleet`, which ends with a table, prints JSON lines to standard output when it is ready. All log
/// to standard error, and end cleanly on SIGTERM or Ctrl-C.
#[derive(Debug, Parser)]
#[command(name = "lockgate-sim", version, after_help = EXIT_CODES, disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    /// What to log: a level, or target=level, with commas between.
    // The broker's router calls every client that leaves an error.
    #[arg(
        long,
        global = true,
        display_order = 1000,
        value_name = "FILTER",
        default_value = "info,rumqttd=warn,rumqttd::router=off"
    )]
    log: String,
}

impl Cli {
    /// What the user wants logged.
    pub fn log_filter(&self) -> &str {
        &self.log
    }

    /// Threads that the command wants. All but the fleet are content with one.
    pub fn threads(&self) -> usize {
        match &self.command {
            Command::Fleet(args) => args.threads(),
            _ => 1,
        }
    }
}

/// The command line asks for what makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(&'static str);

#[derive(Debug, Subcommand)]
enum Command {
    /// Play devices: pumps, thermostats and smart meters on serial ports, room sensors over MQTT.
    Devices(DevicesArgs),
    /// Play a capture onto a serial port or to a broker.
    Replay(ReplayArgs),
    /// Load gateways with thousands of agents and readers, and account for every record.
    Fleet(FleetArgs),
    /// Order commands of devices, and time them.
    Orders(OrdersArgs),
    /// Pass on bare messages: what a fleet's figures of a gateway are held against.
    Reference(ReferenceArgs),
    /// Hold a journal against what a store holds, and count what was lost or doubled.
    Account(AccountArgs),
    /// Run an MQTT broker in memory, for demos.
    #[cfg(feature = "broker")]
    Broker(BrokerArgs),
}

#[derive(Debug, Args)]
struct DevicesArgs {
    /// Where the links to the serial ports go, named after the devices: DIR/pump-1.
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Puts the link of one device elsewhere: --link pump-1=/tmp/pump.
    #[arg(long, value_name = "NAME=PATH", value_parser = named_path)]
    link: Vec<(String, PathBuf)>,
    /// Pumps: COBS frames with JSON and CRC-16/MODBUS.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pumps: u32,
    /// Thermostats: text lines with an XOR checksum.
    #[arg(long, value_name = "N", default_value_t = 0)]
    thermostats: u32,
    /// Smart meters: DSMR telegrams with CRC-16/ARC.
    #[arg(long, value_name = "N", default_value_t = 0)]
    meters: u32,
    /// Room sensors: JSON to sim/room-1, availability to sim/room-1/availability.
    #[arg(long, value_name = "N", default_value_t = 0)]
    rooms: u32,
    /// The broker for the rooms: mqtt://[user:password@]host[:port].
    #[arg(long, value_name = "URL")]
    mqtt: Option<BrokerUrl>,
    /// Between two samples of a device: 1s, 250ms.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = positive)]
    interval: Duration,
    /// The same seed gives the same run.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Writes each sample, and what became of it, to this file as JSON lines.
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    /// How long a reader must live on after it took a sample, for the sample to count as heard.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = positive)]
    grace: Duration,
    /// Ends by itself after this time.
    #[arg(long, value_name = "DURATION", value_parser = positive)]
    run_for: Option<Duration>,
    #[command(flatten)]
    faults: FaultArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Faults (probability per sample, 0 to 1)")]
struct FaultArgs {
    /// One bit of the frame flips (serial).
    #[arg(long, value_name = "P", default_value_t = 0.0)]
    bit_errors: f64,
    /// The frame, or the MQTT payload, breaks off.
    #[arg(long, value_name = "P", default_value_t = 0.0)]
    half_frames: f64,
    /// The device is silent for 3 to 10 samples.
    #[arg(long, value_name = "P", default_value_t = 0.0)]
    silence: f64,
    /// Up to 64 random bytes come before the frame (serial).
    #[arg(long, value_name = "P", default_value_t = 0.0)]
    babble: f64,
    /// The device restarts in mid-frame and greets; over MQTT it drops off for a second.
    #[arg(long, value_name = "P", default_value_t = 0.0)]
    reset: f64,
    /// The port vanishes, or the sensor drops off the network, for 1 to 3 seconds.
    #[arg(long, value_name = "P", default_value_t = 0.0)]
    unplug: f64,
    /// The device puts an order off (probability per order).
    #[arg(long, value_name = "P", default_value_t = 0.0)]
    busy: f64,
    /// How wrong the clocks of the devices are: -1h, 8760h. (Not a probability.)
    #[arg(long, value_name = "DURATION", default_value = "0s", allow_hyphen_values = true)]
    clock_error: SignedDuration,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("target").required(true).args(["pty", "mqtt"])))]
struct ReplayArgs {
    /// Serial bytes as they came, or for MQTT one JSON object a line: topic, payload or payload_base64, retain.
    file: PathBuf,
    /// Plays onto a pseudo-terminal; a link to it is put here. Waits for a reader.
    #[arg(long, value_name = "LINK")]
    pty: Option<PathBuf>,
    /// Plays to this broker, QoS 1: mqtt://[user:password@]host[:port].
    #[arg(long, value_name = "URL")]
    mqtt: Option<BrokerUrl>,
    /// Serial speed; a byte is ten bits. Without it, as fast as the reader reads.
    #[arg(long, value_name = "N", conflicts_with = "mqtt")]
    baud: Option<NonZeroU32>,
    /// Times as fast as --baud and --gap say.
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    speed: f64,
    /// Pause after each chunk (default none) or message (default 100ms).
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    gap: Option<Duration>,
    /// Bytes in one write, or "random" for 1 to 64.
    #[arg(long, value_name = "N", default_value = "64", value_parser = chunk, conflicts_with = "mqtt")]
    chunk: Chunk,
    /// For --chunk random.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Plays the capture again and again, until stopped.
    #[arg(long)]
    repeat: bool,
    /// Keeps the port open at the end, until stopped; without it the port vanishes when all is read.
    #[arg(long, conflicts_with = "mqtt")]
    hold: bool,
}

/// Prints one JSON object. Fails unless nothing was lost, doubled or invented.
#[derive(Debug, Args)]
struct AccountArgs {
    /// The journal of a run of `devices`.
    journal: PathBuf,
    /// What the store holds, as JSON lines with "device" and "n", one for each copy; standard input if left out.
    stored: Option<PathBuf>,
}

#[cfg(feature = "broker")]
#[derive(Debug, Args)]
struct BrokerArgs {
    /// Where to listen; port 0 takes a free one and tells which.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:1883", value_parser = address)]
    listen: SocketAddr,
}

#[cfg(feature = "broker")]
fn address(text: &str) -> Result<SocketAddr, String> {
    lockgate_runtime::listen_address(text).map_err(|error| format!("it {error}"))
}

fn duration(text: &str) -> Result<Duration, String> {
    let signed: SignedDuration = text.parse().map_err(|_| "expected a duration such as 1s or 250ms".to_owned())?;
    Duration::try_from(signed).map_err(|_| "expected a duration that is not negative".to_owned())
}

pub(crate) fn positive(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        // The kernel's timers tick in milliseconds; nothing below would be kept.
        short if short < Duration::from_millis(1) => Err("expected at least 1ms".to_owned()),
        long => Ok(long),
    }
}

fn named_path(text: &str) -> Result<(String, PathBuf), String> {
    let (name, path) = text.split_once('=').ok_or("expected NAME=PATH")?;
    Ok((name.to_owned(), PathBuf::from(path)))
}

fn chunk(text: &str) -> Result<Chunk, String> {
    match text {
        "random" => Ok(Chunk::Random),
        number => number.parse().map(Chunk::Fixed).map_err(|_| "expected a number from 1, or \"random\"".to_owned()),
    }
}

/// Does what the command line asks for, until it is done or a signal comes.
pub async fn run(cli: Cli) -> anyhow::Result<()> {
    let supervisor = Supervisor::new();
    stop_on_signals(&supervisor).context("cannot wait for signals")?;
    let mut grace = Duration::from_secs(5);
    match cli.command {
        Command::Devices(args) => grace = play_devices(args, &supervisor)?,
        Command::Fleet(args) => return load(args, &supervisor).await,
        Command::Orders(args) => return orders::run(args).await,
        Command::Reference(args) => {
            let address = reference::start(&args, &supervisor)?;
            report(&json!({"event": "listening", "address": address.to_string(), "url": format!("ws://{address}")}))?;
        }
        // No task and nothing to wait for.
        Command::Account(args) => return settle(&args),
        Command::Replay(args) => {
            // Before a task is there to fail: a fault in the command is told once, not by the supervisor too.
            let bytes = args.check()?;
            let playing = supervisor.clone();
            supervisor.spawn("replay", |stop| async move {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => {}
                    // CANCEL-SAFE: nothing comes after it.
                    played = replay(args, bytes) => played?,
                }
                playing.stop("all is played");
                Ok(())
            });
        }
        #[cfg(feature = "broker")]
        Command::Broker(args) => run_broker(args.listen, &supervisor)?,
    }
    supervisor.run(grace).await.into_result()
}

/// A run that was stopped has shown nothing, and so has failed.
async fn load(args: FleetArgs, supervisor: &Supervisor) -> anyhow::Result<()> {
    const GRACE: Duration = Duration::from_secs(1);
    // Before a task is there to fail: a fault in the command is told once, not by the supervisor too.
    let run = args.prepare()?;
    let (over, outcome) = oneshot::channel();
    let running = supervisor.clone();
    supervisor.spawn("fleet", |stop| async move {
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            // CANCEL-SAFE: nothing comes after it.
            ended = run.whole() => {
                // Who asks lives as long as this task.
                let _heard = over.send(ended);
                running.stop("the run is over");
            }
        }
        Ok(())
    });
    supervisor.run(GRACE).await.into_result()?;
    outcome.await.unwrap_or_else(|_| Err(anyhow!("stopped before the end: nothing is accounted for")))
}

fn settle(args: &AccountArgs) -> anyhow::Result<()> {
    let read = |path: &Path| std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
    let account = Account::read(&read(&args.journal)?).context("cannot read the journal")?;
    let stored = match &args.stored {
        Some(path) => read(path)?,
        None => std::io::read_to_string(std::io::stdin()).context("cannot read standard input")?,
    };
    let stored = account::read_stored(&stored).context("cannot read what is stored")?;
    let summary = account.settle(stored.iter().map(|sample| (&*sample.device, sample.n)));
    report(&summary.to_json(NAMED_MAX))?;
    if !summary.is_clean() {
        bail!("the account does not balance");
    }
    Ok(())
}

impl DevicesArgs {
    fn plan(self) -> anyhow::Result<Plan> {
        let FaultArgs { bit_errors, half_frames, silence, babble, reset, unplug, busy, clock_error } = self.faults;
        let rates = FaultRates { bit_errors, half_frames, silence, babble, reset, unplug, busy };
        if !rates.are_sound() {
            bail!(UsageError("a probability lies between 0 and 1"));
        }
        let counts = BTreeMap::from([
            (Kind::Pump, self.pumps),
            (Kind::Thermostat, self.thermostats),
            (Kind::Meter, self.meters),
            (Kind::Room, self.rooms),
        ]);
        if counts.values().all(|&count| count == 0) {
            bail!(UsageError("no devices: ask for some with --pumps, --thermostats, --meters or --rooms"));
        }
        if self.rooms > 0 && self.mqtt.is_none() {
            bail!(UsageError("rooms publish over MQTT: name the broker with --mqtt mqtt://127.0.0.1:1883"));
        }
        Ok(Plan {
            counts,
            dir: self.dir,
            links: self.link.into_iter().collect(),
            broker: self.mqtt,
            interval: self.interval,
            grace: self.grace,
            seed: self.seed,
            rates,
            clock_error,
            journal: self.journal,
        })
    }
}

/// Starts the devices, and gives the time they may take to stop.
fn play_devices(args: DevicesArgs, supervisor: &Supervisor) -> anyhow::Result<Duration> {
    let run_for = args.run_for;
    let plan = args.plan()?;
    for device in devices::start(&plan, supervisor)? {
        let (name, kind) = (device.name, device.kind.word());
        report(&match (device.link, device.topic) {
            (Some(link), _) => json!({"event": "device", "kind": kind, "name": *name, "link": link}),
            (None, topic) => json!({"event": "device", "kind": kind, "name": *name, "topic": topic}),
        })?;
    }
    report(&json!({"event": "ready"}))?;
    if let Some(time) = run_for {
        let over = supervisor.clone();
        supervisor.spawn("timer", move |stop| async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                // CANCEL-SAFE: a timer holds nothing.
                () = tokio::time::sleep(time) => over.stop("the time is over"),
            }
            Ok(())
        });
    }
    Ok(devices::stop_grace(&plan))
}

impl ReplayArgs {
    /// The capture, if the rest makes sense.
    fn check(&self) -> anyhow::Result<Vec<u8>> {
        if !(self.speed.is_finite() && self.speed > 0.0) {
            bail!(UsageError("--speed is above 0"));
        }
        std::fs::read(&self.file).with_context(|| format!("cannot read {}", self.file.display()))
    }
}

async fn replay(args: ReplayArgs, bytes: Vec<u8>) -> anyhow::Result<()> {
    match (&args.pty, &args.mqtt) {
        (Some(link), _) => replay_serial(&args, link, &bytes).await,
        (None, Some(broker)) => replay_mqtt(&args, broker.clone(), bytes).await,
        (None, None) => bail!(UsageError("say where to play it: --pty or --mqtt")),
    }
}

async fn replay_serial(args: &ReplayArgs, link: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let pace = Pace {
        bytes_per_second: args.baud.map(|baud| f64::from(baud.get()) / 10.0 * args.speed),
        gap: args.gap.unwrap_or_default().div_f64(args.speed),
    };
    let replay = SerialReplay { pace, chunk: args.chunk, seed: args.seed };
    let mut stage = Stage::open(link)?;
    report(&json!({"event": "ready", "link": link}))?;
    loop {
        replay::play_bytes(&mut stage, bytes, replay).await?;
        report(&json!({"event": "played", "bytes": bytes.len()}))?;
        if args.repeat && !bytes.is_empty() {
            continue;
        }
        if args.hold {
            std::future::pending::<()>().await;
        }
        return Ok(());
    }
}

async fn replay_mqtt(args: &ReplayArgs, broker: BrokerUrl, bytes: Vec<u8>) -> anyhow::Result<()> {
    let text = String::from_utf8(bytes).context("a capture of MQTT messages is UTF-8 text")?;
    let messages = replay::messages(&text)?;
    let gap = args.gap.unwrap_or(Duration::from_millis(100)).div_f64(args.speed);
    let passes = if args.repeat && !messages.is_empty() { None } else { Some(1) };
    report(&json!({"event": "ready"}))?;
    replay::play_messages(&messages, MqttReplay { broker, gap, passes }).await;
    report(&json!({"event": "played", "messages": messages.len()}))
}

#[cfg(feature = "broker")]
fn run_broker(listen: SocketAddr, supervisor: &Supervisor) -> anyhow::Result<()> {
    let running = crate::broker::RunningBroker::start(listen)?;
    let address = running.address();
    report(&json!({"event": "listening", "address": address.to_string(), "url": format!("mqtt://{address}")}))?;
    supervisor.spawn("broker", |stop| async move {
        tokio::select! {
            biased;
            () = stop.cancelled() => Ok(()),
            // CANCEL-SAFE: it only waits.
            error = running.ended() => Err(error.into()),
        }
    });
    Ok(())
}

fn report(line: &serde_json::Value) -> anyhow::Result<()> {
    let mut out = anstream::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).context("cannot write to standard output")
}
