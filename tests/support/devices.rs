//! Simulated devices, and replays of captures.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::Signal;

use crate::program::{Program, ours};
use crate::wait;

/// How many devices of which kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fleet {
    /// On serial ports.
    pub pumps: u32,
    /// On serial ports.
    pub thermostats: u32,
    /// On serial ports.
    pub meters: u32,
    /// Over MQTT.
    pub rooms: u32,
}

impl Fleet {
    /// The names of the devices that speak on serial ports, with the profile that reads each.
    pub fn serial(&self) -> Vec<(String, &'static str)> {
        let kinds = [
            ("pump", self.pumps, "lockgate-pump"),
            ("thermostat", self.thermostats, "lockgate-thermostat"),
            ("meter", self.meters, "dsmr5-p1"),
        ];
        let named = |(kind, count, profile): (&'static str, u32, &'static str)| {
            (1..=count).map(move |number| (format!("{kind}-{number}"), profile))
        };
        kinds.into_iter().flat_map(named).collect()
    }
}

/// Devices that play until they are stopped.
#[derive(Debug)]
pub struct Devices {
    folder: PathBuf,
    program: Program,
    events: mpsc::Receiver<String>,
}

impl Devices {
    /// Starts them, and waits until their ports are there. `words` are further arguments, such as faults.
    pub fn start(folder: &Path, fleet: Fleet, broker: &str, words: &[&str]) -> Result<Devices> {
        std::fs::create_dir_all(folder)?;
        let mut command = Command::new(ours("lockgate-sim")?);
        command.arg("devices").arg("--dir").arg(folder).arg("--journal").arg(folder.join("journal.jsonl"));
        let counts = [
            ("--pumps", fleet.pumps),
            ("--thermostats", fleet.thermostats),
            ("--meters", fleet.meters),
            ("--rooms", fleet.rooms),
        ];
        for (flag, count) in counts {
            command.arg(flag).arg(count.to_string());
        }
        if fleet.rooms > 0 {
            command.args(["--mqtt", broker]);
        }
        command.args(words);
        let (program, events) = Program::start_reading("devices", &mut command, &folder.join("devices.log"))?;
        let devices = Devices { folder: folder.to_owned(), program, events };
        devices.await_event("ready")?;
        Ok(devices)
    }

    /// The link to a device's serial port.
    pub fn port(&self, device: &str) -> PathBuf {
        self.folder.join(device)
    }

    /// What they said, and what became of it.
    pub fn journal(&self) -> PathBuf {
        self.folder.join("journal.jsonl")
    }

    /// SIGSTOP: their ports stay, and they fall silent.
    pub fn pause(&self) -> Result<()> {
        self.program.signal(Signal::STOP)
    }

    /// Lets them go on.
    pub fn go_on(&self) -> Result<()> {
        self.program.signal(Signal::CONT)
    }

    /// They say no more; the journal is complete afterwards.
    pub fn stop(mut self) -> Result<PathBuf> {
        let status = self.program.terminate(wait::PATIENCE)?;
        anyhow::ensure!(status.success(), "the devices ended with {status}\n{}", self.program.log_tail());
        Ok(self.journal())
    }

    fn await_event(&self, event: &str) -> Result<()> {
        await_event(&self.events, event).with_context(|| self.program.log_tail())
    }
}

/// A capture that is being played.
#[derive(Debug)]
pub struct Replay {
    program: Program,
    events: mpsc::Receiver<String>,
}

impl Replay {
    /// Plays serial bytes onto a pseudo-terminal, and keeps the port open at the end; `link` is where the port is found.
    pub fn onto_port(folder: &Path, capture: &Path, link: &Path) -> Result<Replay> {
        let mut command = Command::new(ours("lockgate-sim")?);
        command.arg("replay").arg(capture).arg("--pty").arg(link).args(["--hold", "--chunk", "random"]);
        Replay::start(folder, &mut command)
    }

    /// Plays serial bytes again and again, as fast as they are read, until it is stopped.
    pub fn again_and_again(folder: &Path, capture: &Path, link: &Path) -> Result<Replay> {
        let mut command = Command::new(ours("lockgate-sim")?);
        command.arg("replay").arg(capture).arg("--pty").arg(link).args(["--repeat", "--chunk", "1024"]);
        Replay::start(folder, &mut command)
    }

    /// Plays MQTT messages to a broker.
    pub fn to_broker(folder: &Path, capture: &Path, broker: &str) -> Result<Replay> {
        let mut command = Command::new(ours("lockgate-sim")?);
        command.arg("replay").arg(capture).args(["--mqtt", broker, "--gap", "20ms"]);
        Replay::start(folder, &mut command)
    }

    fn start(folder: &Path, command: &mut Command) -> Result<Replay> {
        let (program, events) = Program::start_reading("replay", command, &folder.join("replay.log"))?;
        let replay = Replay { program, events };
        await_event(&replay.events, "ready").with_context(|| replay.program.log_tail())?;
        Ok(replay)
    }

    /// No more bytes.
    pub fn stop(mut self) -> Result<()> {
        self.program.terminate(wait::PATIENCE).map(drop)
    }

    /// Waits until all has been played.
    pub fn played(&self, patience: Duration) -> Result<()> {
        await_event_within(&self.events, "played", patience).with_context(|| self.program.log_tail())
    }
}

fn await_event(events: &mpsc::Receiver<String>, event: &str) -> Result<()> {
    await_event_within(events, event, wait::PATIENCE)
}

fn await_event_within(events: &mpsc::Receiver<String>, event: &str, patience: Duration) -> Result<()> {
    wait::until(&format!("the simulator says {event:?}"), patience, || {
        let line: serde_json::Value = serde_json::from_str(&events.try_recv().ok()?).ok()?;
        (line["event"] == event).then_some(())
    })
}
