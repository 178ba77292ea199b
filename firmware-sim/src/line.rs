//! Plays one serial device on a pseudo-terminal and journals what was said and who heard it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use lockgate_runtime::words::span;
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::device::{Device, Sample};
use crate::hearing::{Hearing, Ruling, TRANSIT, UNREAD_BYTES_MAX, Verdict};
use crate::journal::{JournalError, JournalHandle, Via};
use crate::pty::{Port, PortError, ReaderEvent};

/// How often unread bytes are counted while samples wait for a verdict.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// A port that takes no bytes for so long, with room in it, is pulled out and made anew.
const WRITE_PATIENCE: Duration = Duration::from_secs(1);

/// What a line is made of.
pub struct LineSetup {
    /// The device's name, as the journal has it.
    pub name: Arc<str>,
    /// Where the link to the port stands.
    pub link: PathBuf,
    /// Between two samples.
    pub interval: Duration,
    /// Into the first interval, so that devices do not speak all at once.
    pub phase: Duration,
    /// How long a reader must live on after taking a sample.
    pub grace: Duration,
}

/// A line ended badly.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// The pseudo-terminal failed.
    #[error("device {device}: its port failed")]
    Port {
        /// The device.
        device: Arc<str>,
        /// Why.
        source: PortError,
    },
    /// The journal cannot be kept.
    #[error("device {device}: cannot journal")]
    Journal {
        /// The device.
        device: Arc<str>,
        /// Why.
        source: JournalError,
    },
}

/// All that can wake a line.
enum Input {
    Stop,
    Readers(Result<Vec<ReaderEvent>, PortError>),
    Incoming(Result<usize, PortError>),
    Look,
    Speak,
    PlugIn,
    Deadline,
}

/// A serial device with its port open.
pub struct Line {
    setup: LineSetup,
    device: Device,
    journal: JournalHandle,
    started: Instant,
    port: Option<Port>,
    readers: usize,
    hearing: Hearing,
    rulings: Vec<Ruling>,
    held_up: bool,
    plug_in_at: Instant,
    /// Set once the line is to stop: when it gives up waiting for verdicts.
    deadline: Option<Instant>,
}

impl Line {
    /// Opens the port, so that whoever is told of the device can open it too.
    pub fn open(setup: LineSetup, device: Device, journal: JournalHandle) -> Result<Line, LineError> {
        let port = Port::open(&setup.link);
        let port = port.map_err(|source| LineError::Port { device: setup.name.clone(), source })?;
        let started = Instant::now();
        Ok(Line {
            hearing: Hearing::new(setup.grace),
            setup,
            device,
            journal,
            started,
            port: Some(port),
            readers: 0,
            rulings: Vec::new(),
            held_up: false,
            plug_in_at: started,
            deadline: None,
        })
    }

    /// Plays the device until `stop`, then waits for the last verdicts (a little longer than the grace time at most).
    pub async fn play(mut self, stop: CancellationToken) -> Result<(), LineError> {
        let mut speak = interval_at(Instant::now() + self.setup.phase, self.setup.interval);
        speak.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut look = interval(LOOK_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut scratch = [0; 1024];
        while self.deadline.is_none() || self.hearing.is_open() {
            let stopping = self.deadline.is_some();
            let deadline = self.deadline.unwrap_or(self.started);
            let port = self.port.as_ref();
            let input = tokio::select! {
                biased;
                () = stop.cancelled(), if !stopping => Input::Stop,
                () = sleep_until(deadline), if stopping => Input::Deadline,
                // CANCEL-SAFE: events stay in the kernel until they are returned.
                events = reader_events(port) => Input::Readers(events),
                // CANCEL-SAFE: bytes stay in the kernel until they are returned.
                read = incoming(port, &mut scratch) => Input::Incoming(read),
                // CANCEL-SAFE: a tick that is not returned comes again.
                _ = look.tick(), if self.hearing.is_open() => Input::Look,
                _ = speak.tick(), if !stopping => Input::Speak,
                () = sleep_until(self.plug_in_at), if port.is_none() && !stopping => Input::PlugIn,
            };
            self.handle(input, &scratch).await?;
            self.journal_rulings().await?;
        }
        self.plug_out().await
    }

    async fn handle(&mut self, input: Input, scratch: &[u8]) -> Result<(), LineError> {
        match input {
            Input::Stop => {
                self.deadline = Some(Instant::now() + self.setup.grace + TRANSIT + Duration::from_secs(1));
                Ok(())
            }
            Input::Deadline => self.plug_out().await,
            Input::Readers(events) => events.and_then(|events| self.note_readers(&events)).map_err(|e| self.failed(e)),
            Input::Incoming(read) => {
                let length = read.map_err(|error| self.failed(error))?;
                self.hear(&scratch[..length]).await
            }
            Input::Look => self.look().map(|_unread| ()).map_err(|error| self.failed(error)),
            Input::Speak => self.speak().await,
            Input::PlugIn => self.plug_in().map_err(|error| self.failed(error)),
        }
    }

    /// Takes what the device is sent. What it acts on is in the journal before it says so.
    async fn hear(&mut self, bytes: &[u8]) -> Result<(), LineError> {
        let heeded = self.device.hear(bytes, self.started.elapsed());
        for told in &heeded.executed {
            let noted = self.journal.executed(&self.setup.name, told, Timestamp::now()).await;
            noted.map_err(|source| self.cannot_journal(source))?;
        }
        if heeded.bytes.is_empty() { Ok(()) } else { self.put_out(&heeded.bytes, None).await }
    }

    fn note_readers(&mut self, events: &[ReaderEvent]) -> Result<(), PortError> {
        let Some(port) = &self.port else { return Ok(()) };
        let now = self.started.elapsed();
        for event in events {
            match event {
                ReaderEvent::Came => self.readers += 1,
                ReaderEvent::Left => {
                    // With two of them we cannot tell who took what: whoever leaves ends the account.
                    self.readers = self.readers.saturating_sub(1);
                    self.hearing.reader_left(port.unread()?, &mut self.rulings);
                    port.discard()?;
                }
            }
            if self.readers > 0 {
                self.hearing.reader_came(now);
            }
        }
        Ok(())
    }

    fn look(&mut self) -> Result<u64, PortError> {
        let Some(port) = &self.port else { return Ok(0) };
        // First the count, then the events: with none between, it is the present reader who took the bytes, and not
        // a successor who emptied the buffer of a dead one.
        let unread = port.unread()?;
        let events = port.reader_events_so_far()?;
        self.note_readers(&events)?;
        if events.is_empty() {
            self.hearing.looked(self.started.elapsed(), unread, &mut self.rulings);
        }
        Ok(unread)
    }

    async fn speak(&mut self) -> Result<(), LineError> {
        let unread = self.look().map_err(|error| self.failed(error))?;
        let listened_to = self.hearing.has_listener(self.started.elapsed());
        if listened_to && unread > UNREAD_BYTES_MAX {
            if !self.held_up {
                warn!(device = %self.setup.name, unread, "The reader does not read; the device waits.");
            }
            self.held_up = true;
            return Ok(());
        }
        self.held_up = false;

        let word = self.device.live_on(self.started.elapsed());
        if listened_to && !word.is_empty() {
            self.put_out(&word, None).await?;
        }
        let wall = Timestamp::now();
        let said = self.device.speak(wall);
        if let Some(sample) = said.sample {
            let produced = self.journal.produced(&self.setup.name, sample, wall, Via::Serial).await;
            produced.map_err(|source| self.cannot_journal(source))?;
        }
        if listened_to && !said.bytes.is_empty() {
            self.put_out(&said.bytes, said.sample).await?;
        } else if let Some(sample) = said.sample {
            self.rulings.push(Ruling { n: sample.n, verdict: Verdict::Unheard });
        }
        if let Some(away) = said.unplug
            && self.port.is_some()
        {
            info!(device = %self.setup.name, away = %span(away), "Unplugged.");
            self.plug_out().await?;
            self.plug_in_at = Instant::now() + away;
        }
        Ok(())
    }

    async fn put_out(&mut self, bytes: &[u8], sample: Option<Sample>) -> Result<(), LineError> {
        let Some(port) = &self.port else { return Ok(()) };
        let length = u64::try_from(bytes.len()).expect("a usize fits 64 bits");
        // Counted as out before it is: a reader that leaves meanwhile must find it in the account.
        self.hearing.spoke(self.started.elapsed(), length, sample.map(|sample| sample.n));
        match timeout(WRITE_PATIENCE, port.write_all(bytes)).await {
            Ok(written) => written.map_err(|error| self.failed(error)),
            Err(_elapsed) => {
                warn!(device = %self.setup.name, "The port takes no bytes; it is made anew.");
                self.plug_out().await?;
                self.plug_in_at = Instant::now() + WRITE_PATIENCE;
                Ok(())
            }
        }
    }

    /// Pulls the plug: what lies unread is gone with the port.
    async fn plug_out(&mut self) -> Result<(), LineError> {
        if let Some(port) = self.port.take() {
            let unread = port.unread().map_err(|error| self.failed(error))?;
            self.hearing.reader_left(unread, &mut self.rulings);
            self.readers = 0;
        }
        self.journal_rulings().await
    }

    fn plug_in(&mut self) -> Result<(), PortError> {
        self.port = Some(Port::open(&self.setup.link)?);
        info!(device = %self.setup.name, "Plugged in.");
        Ok(())
    }

    async fn journal_rulings(&mut self) -> Result<(), LineError> {
        for Ruling { n, verdict } in std::mem::take(&mut self.rulings) {
            let noted = self.journal.verdict(&self.setup.name, n, verdict).await;
            noted.map_err(|source| self.cannot_journal(source))?;
        }
        Ok(())
    }

    fn failed(&self, source: PortError) -> LineError {
        LineError::Port { device: self.setup.name.clone(), source }
    }

    fn cannot_journal(&self, source: JournalError) -> LineError {
        LineError::Journal { device: self.setup.name.clone(), source }
    }
}

async fn reader_events(port: Option<&Port>) -> Result<Vec<ReaderEvent>, PortError> {
    match port {
        Some(port) => port.reader_events().await,
        None => std::future::pending().await,
    }
}

async fn incoming(port: Option<&Port>, scratch: &mut [u8]) -> Result<usize, PortError> {
    match port {
        Some(port) => port.read(scratch).await,
        None => std::future::pending().await,
    }
}
