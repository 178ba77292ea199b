//! MQTT brokers: Mosquitto for tests, the simulator's own for the demo.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};

use crate::program::{PORTS_TRIED, Program, ours, until_up};
use crate::wait;

/// A Mosquitto that remembers sessions and messages over a restart.
#[derive(Debug)]
pub struct Mosquitto {
    config: PathBuf,
    log: PathBuf,
    address: SocketAddr,
    plain: SocketAddr,
    program: Option<Program>,
}

impl Mosquitto {
    /// Starts it in `folder` on a free port.
    pub fn start(folder: &Path) -> Result<Mosquitto> {
        Mosquitto::start_with(folder, "")
    }

    /// Starts it with further lines about its listener, such as certificates. A second listener has none of them.
    pub fn start_with(folder: &Path, listener: &str) -> Result<Mosquitto> {
        let data = folder.join("mosquitto");
        std::fs::create_dir_all(&data)?;
        let mut tried = Err(anyhow!("no port was tried"));
        for _ in 0..PORTS_TRIED {
            tried = Mosquitto::start_on_free_ports(folder, &data, listener);
            if tried.is_ok() {
                break;
            }
        }
        tried
    }

    fn start_on_free_ports(folder: &Path, data: &Path, listener: &str) -> Result<Mosquitto> {
        let [address, plain] = [TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?];
        let (address, plain) = (address.local_addr()?, plain.local_addr()?);
        let config = data.join("mosquitto.conf");
        let text = format!(
            "listener {} 127.0.0.1\n{listener}listener {} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {}/\n\
             autosave_interval 1\nmax_queued_messages 0\nmax_inflight_messages 20\nuser {}\n",
            address.port(),
            plain.port(),
            data.display(),
            current_user(),
        );
        std::fs::write(&config, text)?;
        let mut broker = Mosquitto { config, log: folder.join("mosquitto.log"), address, plain, program: None };
        broker.restart()?;
        Ok(broker)
    }

    /// Starts it again, at the same address and with what it remembers.
    pub fn restart(&mut self) -> Result<()> {
        let mut command = Command::new(mosquitto());
        command.arg("-c").arg(&self.config);
        let mut program = Program::start("mosquitto", &mut command, &self.log)?;
        until_up(&mut program, "mosquitto listens", || TcpStream::connect(self.address).is_ok())?;
        self.program = Some(program);
        Ok(())
    }

    /// SIGTERM: it saves what it remembers, and ends.
    pub fn stop(&mut self) -> Result<()> {
        self.program.take().context("mosquitto is not running")?.terminate(Duration::from_secs(10)).map(drop)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL for agents and devices.
    pub fn url(&self) -> String {
        format!("mqtt://{}", self.address)
    }

    /// The URL of the second listener.
    pub fn plain_url(&self) -> String {
        format!("mqtt://{}", self.plain)
    }
}

/// Debian installs it where a person's PATH may not reach.
fn mosquitto() -> &'static str {
    if Path::new("/usr/sbin/mosquitto").exists() { "/usr/sbin/mosquitto" } else { "mosquitto" }
}

/// Started by root, Mosquitto would else become a user who can't write into our folder.
fn current_user() -> String {
    std::env::var("USER").ok().filter(|user| !user.is_empty()).unwrap_or_else(|| "root".to_owned())
}

/// The broker inside the simulator; in memory only.
#[derive(Debug)]
pub struct SimBroker {
    address: SocketAddr,
    _program: Program,
}

impl SimBroker {
    /// Starts it on a free port.
    pub fn start(folder: &Path) -> Result<SimBroker> {
        let mut command = Command::new(ours("lockgate-sim")?);
        command.args(["broker", "--listen", "127.0.0.1:0"]);
        let (program, lines) = Program::start_reading("broker", &mut command, &folder.join("broker.log"))?;
        let line = wait::until("the broker prints its address", wait::PATIENCE, || lines.try_recv().ok())
            .with_context(|| program.log_tail())?;
        let printed: serde_json::Value = serde_json::from_str(&line).with_context(|| line.clone())?;
        let address = printed["address"].as_str().with_context(|| line.clone())?.parse()?;
        Ok(SimBroker { address, _program: program })
    }

    /// The URL for agents and devices.
    pub fn url(&self) -> String {
        format!("mqtt://{}", self.address)
    }
}
