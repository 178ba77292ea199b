//! Plays many devices in one process.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use lockgate_runtime::Supervisor;

use crate::device::Device;
use crate::faults::FaultRates;
use crate::journal::{self, JournalError, JournalHandle};
use crate::line::{Line, LineError, LineSetup};
use crate::models::Kind;
use crate::publisher::BrokerUrl;
use crate::random::Random;
use crate::room::{self, RoomDevice, RoomSetup};

/// Beyond the grace time of the plan.
const STOP_GRACE: Duration = Duration::from_secs(6);

/// Which devices to play, and how.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many of each kind. They are named `pump-1`, `pump-2` and so on.
    pub counts: BTreeMap<Kind, u32>,
    /// Where the links to serial devices stand: `<dir>/<name>`.
    pub dir: PathBuf,
    /// Links that stand elsewhere, by device name.
    pub links: BTreeMap<String, PathBuf>,
    /// For rooms.
    pub broker: Option<BrokerUrl>,
    /// Between two samples of a device.
    pub interval: Duration,
    /// How long a reader must live on after taking a sample, for the sample to count as heard.
    pub grace: Duration,
    /// The same seed gives the same run.
    pub seed: u64,
    /// What goes wrong.
    pub rates: FaultRates,
    /// How wrong the devices' clocks are.
    pub clock_error: SignedDuration,
    /// Where to write what was said.
    pub journal: Option<PathBuf>,
}

/// One device of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub name: Arc<str>,
    /// Where its port's link stands, if it has one.
    pub link: Option<PathBuf>,
    /// The topic it publishes to, if it does.
    pub topic: Option<String>,
}

/// A plan cannot be carried out.
#[derive(Debug, thiserror::Error)]
pub enum DevicesError {
    /// Rooms without a broker.
    #[error("rooms publish over MQTT: a broker is needed")]
    NoBroker,
    /// A link for a device that is not in the plan, or has no port.
    #[error("there is no serial device {name:?} in this plan")]
    NoSuchDevice {
        /// As given.
        name: String,
    },
    /// The journal cannot be kept.
    #[error("cannot keep the journal")]
    Journal(#[from] JournalError),
    /// The folder for the links.
    #[error("cannot make {dir:?}")]
    MakeDir {
        /// As given.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A serial device has no port.
    #[error("cannot start a serial device")]
    Line(#[from] LineError),
}

impl Plan {
    /// The devices, by kind and number.
    pub fn devices(&self) -> Result<Vec<Planned>, DevicesError> {
        let numbered = self.counts.iter().flat_map(|(&kind, &count)| (1..=count).map(move |number| (kind, number)));
        let planned: Vec<Planned> = numbered
            .map(|(kind, number)| {
                let name = format!("{}-{number}", kind.word());
                let over_mqtt = kind == Kind::Room;
                let link = self.links.get(&name).cloned().unwrap_or_else(|| self.dir.join(&name));
                Planned {
                    kind,
                    link: (!over_mqtt).then_some(link),
                    topic: over_mqtt.then(|| format!("sim/{name}")),
                    name: name.into(),
                }
            })
            .collect();
        let has_port = |name: &str| planned.iter().any(|device| device.link.is_some() && *device.name == *name);
        if let Some(name) = self.links.keys().find(|name| !has_port(name)) {
            return Err(DevicesError::NoSuchDevice { name: name.clone() });
        }
        if self.broker.is_none() && planned.iter().any(|device| device.kind == Kind::Room) {
            return Err(DevicesError::NoBroker);
        }
        Ok(planned)
    }
}

/// Starts all devices of `plan`. When it returns, their ports are open.
pub fn start(plan: &Plan, supervisor: &Supervisor) -> Result<Vec<Planned>, DevicesError> {
    let planned = plan.devices()?;
    std::fs::create_dir_all(&plan.dir).map_err(|source| DevicesError::MakeDir { dir: plan.dir.clone(), source })?;
    let (journal, writer) = journal::create(plan.journal.as_deref())?;
    // The writer ends when the last device lets go of its handle, so nothing that was said is left out.
    supervisor.spawn("journal", |_stop| async { Ok(writer.run().await?) });
    for device in &planned {
        start_device(plan, device, journal.clone(), supervisor)?;
    }
    Ok(planned)
}

fn start_device(
    plan: &Plan,
    device: &Planned,
    journal: JournalHandle,
    supervisor: &Supervisor,
) -> Result<(), DevicesError> {
    let mut random = Random::named(plan.seed, &device.name);
    let phase = plan.interval.mul_f64(random.unit());
    let name = device.name.clone();
    if let (Some(model), Some(link)) = (device.kind.serial_model(&mut random), &device.link) {
        let setup = LineSetup { name, link: link.clone(), interval: plan.interval, phase, grace: plan.grace };
        let device = Device::new(model, random, plan.interval).with_faults(plan.rates, plan.clock_error);
        let line = Line::open(setup, device, journal)?;
        supervisor.spawn_acceptor("serial device", |stop| async { Ok(line.play(stop).await?) });
    } else {
        let broker = plan.broker.clone().ok_or(DevicesError::NoBroker)?;
        let setup = RoomSetup { name, broker, interval: plan.interval, phase };
        let device = RoomDevice::new(random, plan.interval, plan.rates, plan.clock_error);
        supervisor.spawn_acceptor("room sensor", |stop| async { Ok(room::play(setup, device, journal, stop).await?) });
    }
    Ok(())
}

/// How long devices may take to stop: the last verdicts, the last confirmations.
pub fn stop_grace(plan: &Plan) -> Duration {
    plan.grace + STOP_GRACE
}
