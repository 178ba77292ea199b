//! A serial port: opened, read, fed to the profile's reader, and opened again when it went away.
//!
//! The only file that knows `tokio_serial`. A device that is unplugged reads as an end of file for
//! ever, so an end of file closes the port; it is opened again by the same path with backoff. What is
//! said on a wire is said once: readings for which the queue has no room are counted and told, and
//! reading goes on.

use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::time::Duration;

use lockgate_codec::{Outgoing, Output};
use lockgate_proto::backoff::Backoff;
use lockgate_proto::time::MonoTime;
use lockgate_runtime::clock::Clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_serial::{ErrorKind, SerialPortBuilder, SerialStream};
use tokio_util::sync::CancellationToken;

use super::orders_logic::{Orders, Settled, away, not_sent, unwritable};
use super::rest_logic::Rest;
use super::status::StatusReporter;
use crate::account;
use crate::commands::{Job, SourceOrders};
use crate::config::{DataBits, Parity, SerialConfig, StopBits};
use crate::ingest::{Ingest, Outage, Watcher};

/// Bytes taken from the port at once. A kernel's buffer for one is 4 KiB.
const CHUNK_BYTES: usize = 4096;

/// First and longest wait before the port is opened again.
const REOPEN_BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// A port that takes no byte of a command for so long does not take it.
const WRITE_PATIENCE: Duration = Duration::from_secs(5);

/// Why a port is not open, or no longer.
#[derive(Debug, thiserror::Error)]
enum PortError {
    /// Nothing is there under this path.
    #[error("{path} is not there; is the device plugged in?")]
    Absent { path: String },
    /// Someone else has it open for himself.
    #[error("{path} is busy: another program has it open; `fuser {path}` tells which")]
    Busy { path: String },
    /// This user may not open it.
    #[error("{user} may not open {path}; {}", forbidden_fix(user, group.as_deref()))]
    Forbidden { path: String, user: String, group: Option<String> },
    /// Something else is there under this path.
    #[error("{path} is no serial port but {what}; correct `path`, `ls /dev/serial/by-id` shows what is plugged in")]
    NoPort { path: String, what: &'static str },
    /// The port, or its driver, does not take the settings, or anything else.
    #[error("cannot open {path}: {source}")]
    Open { path: String, source: tokio_serial::Error },
    /// The device is gone.
    #[error("{path} was unplugged")]
    Unplugged { path: String },
    /// Somebody wants the source to begin anew.
    #[error("{path} was closed, to begin anew")]
    Restarted { path: String },
    /// The device does not take what it is to be told.
    #[error("cannot write to {path}: {source}")]
    Write { path: String, source: io::Error },
    /// The device is there and can't be read.
    #[error("cannot read {path}: {source}")]
    Read { path: String, source: io::Error },
}

/// One serial port with all that reads it.
pub struct SerialSource {
    config: SerialConfig,
    ingest: Ingest,
    status: StatusReporter,
    clock: Clock,
    backoff: Backoff,
    outage: Outage,
    rest: Rest,
    watcher: Watcher,
    incoming: SourceOrders,
    orders: Orders<Job>,
}

/// What woke the source.
enum Woken {
    Stop,
    Read(io::Result<usize>),
    Silence,
    Job(Job),
    Restart,
    Overdue,
}

impl SerialSource {
    /// Opens nothing yet.
    pub fn new(
        config: SerialConfig,
        ingest: Ingest,
        status: StatusReporter,
        clock: Clock,
        incoming: SourceOrders,
    ) -> SerialSource {
        let backoff = Backoff::new(REOPEN_BACKOFF.0, REOPEN_BACKOFF.1);
        let watcher = ingest.watcher(&config.name, &config.profile);
        let (outage, rest) = (Outage::default(), Rest::default());
        let orders = Orders::new(lockgate_runtime::random());
        SerialSource { config, ingest, status, clock, backoff, outage, rest, watcher, incoming, orders }
    }

    /// Reads until told to stop.
    pub async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        while !stop.is_cancelled() {
            let error = match open(&self.config) {
                Ok(port) => {
                    self.status.up();
                    let end = self.read(port, &stop).await;
                    let Err(error) = end else { break };
                    self.status.counters().lost.add(1);
                    error
                }
                Err(error) => error,
            };
            self.status.retrying(error);
            let wait = self.backoff.next_delay(lockgate_runtime::random());
            if self.rest_without_port(wait, &stop).await {
                break;
            }
        }
        // Who stops it while the disk is full shall know what that has cost.
        self.ingest.end_outage(&mut self.outage, &self.status);
        Ok(())
    }

    /// Waits before the port is opened again; what is to be told meanwhile is put off. Whether to stop.
    async fn rest_without_port(&mut self, wait: Duration, stop: &CancellationToken) -> bool {
        let until = tokio::time::Instant::now() + wait;
        loop {
            let job = tokio::select! {
                biased;
                () = stop.cancelled() => return true,
                // CANCEL-SAFE: nothing is taken until `recv` completes.
                Some(job) = self.incoming.jobs.recv() => job,
                // CANCEL-SAFE: what rings unheard is kept for the next one.
                () = self.incoming.restart.notified() => return false,
                // CANCEL-SAFE: a timer holds nothing.
                () = tokio::time::sleep_until(until) => return false,
            };
            job.answer(away(job.attempts_before())).await;
        }
    }

    /// Writes a command to the device.
    async fn tell(&mut self, port: &mut SerialStream, job: Job) -> Result<(), PortError> {
        let (command, id) = (job.command.clone(), self.orders.next_id());
        let order = Outgoing {
            device: &command.device,
            name: &command.name,
            arguments: &command.arguments,
            command_id: command.id.as_str(),
            id,
        };
        let written = match self.config.profile.write(&order) {
            Ok(written) => written,
            Err(error) => {
                job.answer(unwritable(&error)).await;
                return Ok(());
            }
        };
        let failed = match tokio::time::timeout(WRITE_PATIENCE, port.write_all(&written.bytes)).await {
            Ok(Ok(())) => {
                let settled = self.orders.written(self.clock.now(), job, &command, id, &written);
                self.settle(settled).await;
                return Ok(());
            }
            Ok(Err(error)) => error,
            Err(_) => io::ErrorKind::TimedOut.into(),
        };
        // A part of it may be on the line: opened anew, so that the next one is not glued to it.
        let failed = PortError::Write { path: self.path(), source: failed };
        job.answer(not_sent(&failed.to_string())).await;
        Err(failed)
    }

    async fn settle(&mut self, settled: impl IntoIterator<Item = Settled<Job>>) {
        for Settled { job, answer } in settled {
            job.answer(answer).await;
        }
    }

    /// Reads an open port until it is gone (`Err`) or the source is told to stop.
    async fn read(&mut self, mut port: SerialStream, stop: &CancellationToken) -> Result<(), PortError> {
        // A reader of its own for each opening: half a frame of before does not belong to what follows.
        let mut reader = self.config.profile.stream();
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut outputs = Vec::new();
        let end = loop {
            let deadline = reader.deadline().map(|deadline| self.clock.tokio_instant(deadline));
            let overdue = self.orders.deadline().map(|deadline| self.clock.tokio_instant(deadline));
            let woken = tokio::select! {
                biased;
                () = stop.cancelled() => Woken::Stop,
                // CANCEL-SAFE: nothing is taken until `recv` completes.
                Some(job) = self.incoming.jobs.recv() => Woken::Job(job),
                // CANCEL-SAFE: what rings unheard is kept for the next one.
                () = self.incoming.restart.notified() => Woken::Restart,
                // CANCEL-SAFE: no byte leaves the port until the read completes. Before the wait for a reply, which
                // may be among the bytes.
                taken = port.read(&mut chunk) => Woken::Read(taken),
                // CANCEL-SAFE: a timer holds nothing.
                () = sleep_until(overdue) => Woken::Overdue,
                // CANCEL-SAFE: as above.
                () = sleep_until(deadline) => Woken::Silence,
            };
            let now = self.clock.now();
            match woken {
                Woken::Stop => break Ok(()),
                Woken::Read(Ok(0)) => break Err(PortError::Unplugged { path: self.path() }),
                Woken::Read(Ok(count)) => {
                    self.backoff.reset();
                    self.status.counters().bytes.add(count as u64);
                    reader.push(&chunk[..count], now, &mut outputs);
                }
                Woken::Read(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Woken::Read(Err(error)) => break Err(self.gone(error)),
                Woken::Silence => reader.silence(&mut outputs),
                Woken::Job(job) => {
                    if let Err(error) = self.tell(&mut port, job).await {
                        break Err(error);
                    }
                }
                Woken::Restart => break Err(PortError::Restarted { path: self.path() }),
                Woken::Overdue => {
                    let overdue = self.orders.overdue(now);
                    self.settle(overdue).await;
                }
            }
            self.hand_over(&mut outputs, now).await;
        };
        // What the device had begun to say and will not end.
        reader.silence(&mut outputs);
        self.hand_over(&mut outputs, self.clock.now()).await;
        if let Err(error) = &end {
            let unheard = self.orders.give_up(&format!("{error} before the device replied"));
            self.settle(unheard).await;
        }
        end
    }

    /// `since`: when the bytes came that gave them.
    async fn hand_over(&mut self, outputs: &mut Vec<Output>, since: MonoTime) {
        if outputs.is_empty() {
            return;
        }
        self.watcher.heard(outputs, since);
        self.incoming.roster.heard(outputs);
        for output in outputs.iter() {
            if let Output::Reply(reply) = output {
                let settled = self.orders.replied(since, reply);
                self.settle(settled).await;
            }
        }
        self.watcher.said(outputs, since);
        let refused = outputs.iter().filter(|output| matches!(output, Output::DeadLetter(_))).count();
        let (used, refused) = ((outputs.len() - refused) as u64, refused as u64);
        self.ingest.take_or_count(std::mem::take(outputs), &self.status, &mut self.outage).await;
        if let Some(rest) = self.rest.after(self.clock.now().since(since), used, refused) {
            tokio::time::sleep(rest).await;
        }
    }

    fn path(&self) -> String {
        self.config.path.display().to_string()
    }

    /// A read that failed: EIO and ENXIO are what an unplugged device gives, or a pseudo-terminal whose other end is closed.
    fn gone(&self, source: io::Error) -> PortError {
        const EIO: i32 = 5;
        const ENXIO: i32 = 6;
        const ENODEV: i32 = 19;
        match source.raw_os_error() {
            Some(EIO | ENXIO | ENODEV) => PortError::Unplugged { path: self.path() },
            _ => PortError::Read { path: self.path(), source },
        }
    }
}

/// Never, where there is no deadline.
async fn sleep_until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn open(config: &SerialConfig) -> Result<SerialStream, PortError> {
    let path = config.path.display().to_string();
    let source = match SerialStream::open(&builder(config)) {
        Ok(port) => return Ok(port),
        Err(source) => source,
    };
    // Whether this user may open it is of no interest where it is something else.
    if let Some(what) = no_port(&config.path, &source) {
        return Err(PortError::NoPort { path, what });
    }
    Err(match source.kind() {
        ErrorKind::NoDevice if is_busy(&source) => PortError::Busy { path },
        ErrorKind::NoDevice | ErrorKind::Io(io::ErrorKind::NotFound) => absent_or_busy(&config.path, path),
        ErrorKind::Io(io::ErrorKind::PermissionDenied) => {
            let (user, group) = (account::user(), account::group_with_access(&config.path));
            PortError::Forbidden { path, user, group }
        }
        ErrorKind::Io(io::ErrorKind::ResourceBusy | io::ErrorKind::WouldBlock) => PortError::Busy { path },
        ErrorKind::InvalidInput | ErrorKind::Unknown | ErrorKind::Io(_) => PortError::Open { path, source },
    })
}

/// What is there, where it can't be a serial port; nothing is opened for it.
pub fn not_a_port(path: &Path) -> Option<&'static str> {
    let kind = path.metadata().ok()?.file_type();
    if kind.is_file() {
        Some("a plain file")
    } else if kind.is_dir() {
        Some("a folder")
    } else if !kind.is_char_device() {
        Some("a file of another kind")
    } else {
        None
    }
}

/// As above, with what opening it has shown.
fn no_port(path: &Path, error: &tokio_serial::Error) -> Option<&'static str> {
    // The library gives ENOTTY by its words alone.
    let is_other = || error.description == "Not a typewriter";
    not_a_port(path).or_else(|| is_other().then_some("a device of another kind"))
}

/// How a user comes to be let in.
fn forbidden_fix(user: &str, group: Option<&str>) -> String {
    match group {
        Some(group) => {
            format!("add this user to the group {group}: `sudo usermod -aG {group} {user}`, then start anew")
        }
        None => "its owner has to allow it".to_owned(),
    }
}

fn is_busy(error: &tokio_serial::Error) -> bool {
    error.description.contains("busy") || error.description.contains("lock")
}

fn absent_or_busy(port: &Path, path: String) -> PortError {
    if port.exists() { PortError::Busy { path } } else { PortError::Absent { path } }
}

fn builder(config: &SerialConfig) -> SerialPortBuilder {
    let data_bits = match config.data_bits {
        DataBits::Seven => tokio_serial::DataBits::Seven,
        DataBits::Eight => tokio_serial::DataBits::Eight,
    };
    let parity = match config.parity {
        Parity::None => tokio_serial::Parity::None,
        Parity::Even => tokio_serial::Parity::Even,
        Parity::Odd => tokio_serial::Parity::Odd,
    };
    let stop_bits = match config.stop_bits {
        StopBits::One => tokio_serial::StopBits::One,
        StopBits::Two => tokio_serial::StopBits::Two,
    };
    tokio_serial::new(config.path.to_string_lossy(), config.baud)
        .data_bits(data_bits)
        .parity(parity)
        .stop_bits(stop_bits)
        .flow_control(tokio_serial::FlowControl::None)
}

#[cfg(test)]
mod tests;
