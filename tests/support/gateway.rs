//! A gateway with a data folder of its own.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;

use crate::orders::Person;
use crate::program::{Program, ours};
use crate::wait;

/// The tenant of all tests.
pub const TENANT: &str = "acme";
/// The site of all tests.
pub const SITE: &str = "plant-1";

/// A running gateway, or one that was killed and can be started again at the same address.
#[derive(Debug)]
pub struct Gateway {
    name: String,
    data: PathBuf,
    log: PathBuf,
    config: Option<PathBuf>,
    /// It speaks TLS.
    tls: bool,
    /// Signs tokens; several gateways may share one.
    key: PathBuf,
    listen: SocketAddr,
    /// Where its figures are, once it runs.
    metrics: Option<SocketAddr>,
    program: Option<Program>,
}

impl Gateway {
    /// Starts a gateway in `folder` on a free port, or on the one given.
    pub fn start(folder: &Path, port: u16) -> Result<Gateway> {
        Gateway::prepare(folder, "gateway", port)?.started()
    }

    /// Starts one of several, which all use `key`, with lines of configuration.
    pub fn start_one(folder: &Path, name: &str, port: u16, key: &Path, config: &str) -> Result<Gateway> {
        let mut gateway = Gateway::prepare(folder, name, port)?;
        let path = folder.join(format!("{name}.toml"));
        std::fs::write(&path, format!("{config}\n[auth]\nkey_file = \"{}\"\n", key.display()))?;
        gateway.config = Some(path);
        gateway.tls = config.contains("[tls]");
        key.clone_into(&mut gateway.key);
        gateway.started()
    }

    fn prepare(folder: &Path, name: &str, port: u16) -> Result<Gateway> {
        std::fs::create_dir_all(folder)?;
        let data = folder.join(format!("{name}-data"));
        Ok(Gateway {
            name: name.to_owned(),
            key: data.join("token.key"),
            data,
            log: folder.join(format!("{name}.log")),
            config: None,
            tls: false,
            listen: SocketAddr::from(([127, 0, 0, 1], port)),
            metrics: None,
            program: None,
        })
    }

    fn started(mut self) -> Result<Gateway> {
        self.restart()?;
        Ok(self)
    }

    /// Starts it again, at the same address.
    pub fn restart(&mut self) -> Result<()> {
        let mut command = Command::new(ours("lockgate-gateway")?);
        command.arg("run").arg("--data").arg(&self.data).args(["--print-listen", "--metrics-listen", "127.0.0.1:0"]);
        command.arg("--listen").arg(self.listen.to_string());
        if let Some(config) = &self.config {
            command.arg("--config").arg(config);
        }
        let (mut program, lines) = Program::start_reading(&self.name, &mut command, &self.log)?;
        let line = wait::until("the gateway prints its address", wait::PATIENCE, || match lines.try_recv() {
            Ok(line) => Some(Some(line)),
            Err(_) if !program.is_running() => Some(None),
            Err(_) => None,
        });
        let Some(line) = line.with_context(|| program.log_tail())? else {
            bail!("the gateway ended at once\n{}", program.log_tail());
        };
        let printed: serde_json::Value = serde_json::from_str(&line).with_context(|| line.clone())?;
        self.listen = printed["listen"].as_str().with_context(|| line.clone())?.parse()?;
        self.metrics = Some(printed["metrics"].as_str().with_context(|| line.clone())?.parse()?);
        self.program = Some(program);
        Ok(())
    }

    /// One of its counters or gauges, all labels together.
    pub fn figure(&self, name: &str) -> Result<f64> {
        let address = self.metrics.context("the gateway has not run yet")?;
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: metrics\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let of_figure = answer.lines().filter_map(|line| {
            let (label, value) = line.rsplit_once(' ')?;
            (label.split('{').next() == Some(name)).then(|| value.parse::<f64>())
        });
        Ok(of_figure.sum::<Result<f64, _>>()?)
    }

    /// Its process, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.program.as_ref().map(Program::id)
    }

    /// The key that its tokens are signed with.
    pub fn key(&self) -> &Path {
        &self.key
    }

    /// `kill -9`.
    pub fn kill(&mut self) -> Result<()> {
        self.program.take().context("the gateway is not running")?.kill()
    }

    /// SIGTERM, and a clean end within the patience given.
    pub fn stop(&mut self, patience: Duration) -> Result<()> {
        let mut program = self.program.take().context("the gateway is not running")?;
        let status = program.terminate(patience)?;
        if status.success() { Ok(()) } else { bail!("the gateway ended with {status}\n{}", program.log_tail()) }
    }

    /// SIGSTOP: it keeps its connections and answers nobody.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on.
    pub fn go_on(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        self.program.as_ref().context("the gateway is not running")?.signal(signal)
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.listen
    }

    /// The folder of its store and keys.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The URL for agents and clients.
    pub fn url(&self) -> String {
        format!("{}://{}", if self.tls { "wss" } else { "ws" }, self.listen)
    }

    /// A token for a person who may read all.
    pub fn user_token(&self) -> Result<String> {
        self.token_of("tester")
    }

    /// A token for a person who may read all and order all.
    pub fn operator_token(&self) -> Result<String> {
        self.token(&["user", "operator", "--send"])
    }

    /// A token for a person of this name who may read all.
    pub fn token_of(&self, user: &str) -> Result<String> {
        self.token(&["user", user])
    }

    /// A person of this name who may read all and send to all; at this URL, or at several.
    pub fn sender(&self, user: &str, url: &str) -> Result<Person> {
        Ok(Person { url: url.to_owned(), token: self.token(&["user", user, "--send"])? })
    }

    /// A token for an agent of the tests' site.
    pub fn agent_token(&self, agent: &str) -> Result<String> {
        self.token(&["agent", agent, "--site", SITE])
    }

    fn token(&self, words: &[&str]) -> Result<String> {
        let mut command = Command::new(ours("lockgate")?);
        command.arg("token").args(words).args(["--tenant", TENANT, "--key"]).arg(&self.key);
        let output = command.output().context("cannot run lockgate token")?;
        if !output.status.success() {
            bail!("lockgate token failed: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    /// The end of its log, for a failure's message.
    pub fn log_tail(&self) -> String {
        self.program.as_ref().map(Program::log_tail).unwrap_or_default()
    }
}
