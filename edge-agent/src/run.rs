//! The running agent: opens what it keeps, starts its tasks, and closes the queue when it is told to stop.
//!
//! Nothing here ends the agent because a device, a broker or a gateway is not there. A queue that can't
//! be opened does: without it, what is read could not be kept.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use lockgate_proto::command::ExecutorConfig;
use lockgate_proto::ids::DeviceName;
use lockgate_proto::link::agent::{AgentConfig as LinkConfig, AgentLink};
use lockgate_proto::seq::Epoch;
use lockgate_runtime::clock::{Clock, boot_id};
use lockgate_runtime::words::chain;
use lockgate_runtime::{Supervisor, random, signals, tls};
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{error, info, warn};

use crate::commands::{self, Directory, OwnCommands};
use crate::config::{self, Config};
use crate::data::{self, COMMANDS_FOLDER, DEAD_LETTERS_FOLDER, DEVICES_FILE, QUEUE_FOLDER};
use crate::dead_letters::{self, DeadLetterHandle};
use crate::health::Health;
use crate::ingest::{Ingest, VigilTask};
use crate::queue::limits::QueueLimits;
use crate::queue::storage::disk::DiskStorage;
use crate::queue::{self, BootId, BootTime, PreviousEnd, Queue, QueueHandle, QueueSettings, Recovery, Start};
use crate::source::mqtt::MqttSource;
use crate::source::serial::SerialSource;
use crate::source::status::StatusBoard;
use crate::time::TimeHandle;
use crate::uplink::{LinkStatus, Uplink, UplinkParts};

/// From SIGTERM to the end of the last task.
const GRACE: Duration = Duration::from_secs(8);

/// For the last flush of the queue.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(10);

/// Runs until SIGTERM, SIGINT or the failure of a task.
pub fn run(config: Config) -> anyhow::Result<()> {
    tls::install();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    runtime.block_on(agent(config))
}

async fn agent(config: Config) -> anyhow::Result<()> {
    let supervisor = Supervisor::new();
    signals::stop_on_signals(&supervisor).context("cannot listen for signals")?;
    let clock = Clock::system();
    // First of all: what ends the agent here need not be warned of before.
    data::prepare(&config.agent.data)?;
    for warning in config::warnings(&config, clock.wall()) {
        warn!("{warning}");
    }
    let (config_name, config_site) = (config.agent.name.clone(), config.agent.site.clone());
    let kept = Kept::open(&config, clock, &supervisor).await?;
    info!(agent = %config_name, site = %config_site, epoch = %kept.queue.epoch(), "The agent runs.");
    let queue = kept.queue.clone();
    start(config, kept, &supervisor)?;
    let stopped = supervisor.run(GRACE).await;
    match timeout(CLOSE_TIME_MAX, queue.close()).await {
        Ok(Ok(())) => info!("The queue is flushed and closed."),
        Ok(Err(error)) => {
            error!(
                error = chain(&error),
                "The queue could not be closed cleanly; it is looked over at the next start."
            );
        }
        Err(_) => bail!("the disk did not take the last flush within {CLOSE_TIME_MAX:?}"),
    }
    stopped.into_result()
}

/// What outlives a start, opened.
struct Kept {
    queue: QueueHandle,
    commands: commands::Opened,
    dead_letters: DeadLetterHandle,
    time: TimeHandle,
    boot: BootId,
}

impl Kept {
    async fn open(config: &Config, clock: Clock, supervisor: &Supervisor) -> anyhow::Result<Kept> {
        let boot = BootId(boot_id().context("cannot tell which boot of the machine this is")?);
        let folder = config.agent.data.join(QUEUE_FOLDER);
        let queue =
            open_queue(config, &folder, Start { epoch: Epoch(random()), boot, mono: clock.now(), anchor: None })
                .with_context(|| format!("the queue in {}", folder.display()))?;
        let settings = QueueSettings { sync_interval: config.queue.sync_interval };
        let (queue, thread) = queue::start(queue, settings).context("cannot start the queue's thread")?;
        supervisor.spawn("queue", |stop| async move {
            tokio::select! {
                biased;
                // CANCEL-SAFE: the thread goes on without being watched; it is closed last of all.
                () = stop.cancelled() => Ok(()),
                ended = thread.ended() => ended.context("the queue's thread has died"),
            }
        });
        let mut executor = ExecutorConfig::new(commands::boot_of(boot));
        executor.lanes = lanes(config);
        let commands = commands::open(&config.agent.data.join(COMMANDS_FOLDER), executor)?;
        let folder = config.agent.data.join(DEAD_LETTERS_FOLDER);
        let dead_letters =
            dead_letters::start(&folder).with_context(|| format!("the dead letters in {}", folder.display()))?;
        let time = TimeHandle::new(clock, known_time(&queue.boots().await?, boot));
        Ok(Kept { queue, commands, dead_letters, time, boot })
    }
}

/// What the queue remembers of the time: of this boot, if the agent has run in it before, else the bound
/// that earlier ones left.
fn known_time(boots: &[BootTime], boot: BootId) -> Option<BootTime> {
    boots.iter().find(|known| known.boot == boot).copied()
}

fn open_queue(config: &Config, folder: &Path, start: Start) -> anyhow::Result<Queue> {
    let limits = QueueLimits::new(config.queue.budget_bytes, config.queue.events_reserve_bytes)?;
    let storage = DiskStorage::open(folder)?;
    let (queue, recovery) = Queue::open(Box::new(storage), limits, start)?;
    tell_recovery(&recovery);
    Ok(queue)
}

fn tell_recovery(recovery: &Recovery) {
    let Recovery { previous, faults, gaps, epochs, records_unsettled, bytes } = recovery;
    match previous {
        PreviousEnd::None | PreviousEnd::Clean => {
            info!(epochs, records_unsettled, bytes, "The queue is open.");
        }
        PreviousEnd::Killed => {
            warn!(
                epochs,
                records_unsettled, bytes, "The agent was killed the last time; nothing that it accepted is lost."
            );
        }
        PreviousEnd::PowerLost => {
            warn!(
                epochs,
                records_unsettled, bytes, "Power was lost the last time; what was not on disk is told as a gap."
            );
        }
    }
    for fault in faults {
        error!(kind = fault.kind(), "The queue: {fault}.");
    }
    for gap in gaps {
        warn!(epoch = %gap.epoch, lane = %gap.lane, range = %gap.range, reason = %gap.reason, "Readings are lost.");
    }
}

/// Starts all tasks. Those that hear devices stop first, so that what they heard is still sent.
fn start(config: Config, kept: Kept, supervisor: &Supervisor) -> anyhow::Result<()> {
    let Kept { queue, commands, dead_letters, time, boot } = kept;
    let ingest = Ingest::new(queue.clone(), dead_letters.clone(), time.clone());
    let mut board = StatusBoard::default();
    let vigil = vigil(&config, &ingest);
    supervisor.spawn_acceptor("vigil", |stop| vigil.run(stop));
    let mut directory = Directory::default();
    let serial_orders: Vec<_> =
        config.serial.iter().map(|serial| directory.add(&serial.name, &serial.profile)).collect();
    let mqtt_orders: Vec<_> = config.mqtt.iter().map(|mqtt| directory.add(&mqtt.name, &mqtt.profile)).collect();
    // The agent is a device of its own name: its health is told under it, and it can be told something.
    let device = DeviceName::new(config.agent.name.as_str()).context("the agent's name")?;
    let own = OwnCommands::new(device.clone(), &config, directory.restarts());
    let own_jobs = directory.add_own(&own);
    let describer = directory.describer(&own);
    let (into, status) = (ingest.clone(), StatusBoard::default().add("descriptions"));
    supervisor.spawn_acceptor("describer", |stop| describer.run(into, status, stop));
    supervisor.spawn("agent-commands", |stop| own.run(own_jobs, stop));
    for (serial, orders) in config.serial.into_iter().zip(serial_orders) {
        let status = board.add(&serial.name);
        let source = SerialSource::new(serial, ingest.clone(), status, time.clock().clone(), orders);
        supervisor.spawn_acceptor("serial", |stop| source.run(stop));
    }
    for (mqtt, orders) in config.mqtt.into_iter().zip(mqtt_orders) {
        let status = board.add(&mqtt.name);
        let source = MqttSource::new(mqtt, ingest.clone(), status, orders);
        supervisor.spawn_acceptor("mqtt", |stop| source.run(stop));
    }
    let status = watch::Sender::new(LinkStatus::default());
    let health = Health {
        device,
        interval: config.health.interval,
        board,
        ingest,
        status: StatusBoard::default().add("health"),
        queue: queue.clone(),
        time: time.clone(),
        link: status.subscribe(),
    };
    supervisor.spawn_acceptor("health", |stop| health.run(stop));
    let keeper = time.clone().run(queue.clone(), supervisor.draining());
    supervisor.spawn("time", |_| keeper);
    let commands = commands.start(supervisor, time.clock().clone(), Box::new(directory));
    let (agent, site) = (config.agent.name, config.agent.site);
    let link = AgentLink::new(LinkConfig { agent, site, build: env!("CARGO_PKG_VERSION").to_owned() });
    let uplink =
        Uplink::new(UplinkParts { config: config.uplink, link, queue, commands, dead_letters, time, boot, status });
    supervisor.spawn("uplink", |stop| uplink.run(stop));
    Ok(())
}

/// How many commands run at once at each device that the configuration names; all others do one after the other.
fn lanes(config: &Config) -> BTreeMap<DeviceName, usize> {
    let profiles = config.serial.iter().map(|serial| &serial.profile);
    let profiles = profiles.chain(config.mqtt.iter().map(|mqtt| &mqtt.profile));
    let lanes = profiles.filter_map(|profile| Some((profile.own_device()?, profile.at_once() as usize)));
    lanes.filter(|(_, lanes)| *lanes > 1).collect()
}

/// Watches over the devices of all sources.
fn vigil(config: &Config, ingest: &Ingest) -> VigilTask {
    let serial = config.serial.iter().map(|serial| ingest.watcher(&serial.name, &serial.profile));
    let mqtt = config.mqtt.iter().map(|mqtt| ingest.watcher(&mqtt.name, &mqtt.profile));
    let watchers: Vec<_> = serial.chain(mqtt).collect();
    let status = StatusBoard::default().add("presence");
    VigilTask::new(ingest.clone(), status, config.agent.data.join(DEVICES_FILE), &watchers)
}
