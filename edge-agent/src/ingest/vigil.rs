//! Watches over devices: told when one falls silent for too long, and when it is heard again.
//!
//! A device is known while its last word was not that it is gone. Those are kept in a file, so that one that fell
//! silent while no agent ran is told stale all the same: when its time is over, counted from the agent's start.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lockgate_codec::{Input, Output};
use lockgate_proto::ids::DeviceName;
use lockgate_proto::time::MonoTime;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::known::KnownDevices;
use super::vigil_logic::{DEVICES_MAX, LOOK_INTERVAL, Of, Turn, Vigil};
use super::{Ingest, NoRoom};
use crate::config::SourceProfile;
use crate::source::status::StatusReporter;

/// What the disk has not taken is tried again after so long: sooner than a look counts as late.
const RETRY: Duration = Duration::from_secs(2);

/// The file of known devices is written at most so often: flash bears only so many writes.
const WRITE_INTERVAL: Duration = Duration::from_secs(60);

/// The vigil, for the sources and its own task.
///
/// A watch for the reasons that the time has one: each call is short and awaits nothing, and one of them wakes the task.
#[derive(Clone, Default)]
pub(super) struct VigilHandle(watch::Sender<Vigil>);

impl VigilHandle {
    fn change<T>(&self, change: impl FnOnce(&mut Vigil) -> T) -> T {
        let mut changed = None;
        self.0.send_if_modified(|vigil| {
            changed = Some(change(vigil));
            false
        });
        changed.expect("the change was made")
    }

    /// As above; wakes the task where the change gives it something to tell.
    fn wake(&self, change: impl FnOnce(&mut Vigil) -> bool) {
        self.0.send_if_modified(change);
    }
}

/// One source's part in the vigil.
#[derive(Clone)]
pub struct Watcher {
    vigil: VigilHandle,
    source: Arc<str>,
    profile: SourceProfile,
}

impl Watcher {
    pub(super) fn new(vigil: VigilHandle, source: &str, profile: &SourceProfile) -> Watcher {
        Watcher { vigil, source: source.into(), profile: profile.clone() }
    }

    /// Takes in the signs of life among what was read. A retained message is none.
    pub fn heard(&self, outputs: &[Output], now: MonoTime) {
        if !self.profile.has_stale_after() {
            return;
        }
        self.vigil.wake(|vigil| {
            let mut before = None;
            let mut is_due = false;
            for device in outputs.iter().filter_map(sign_of_life) {
                // Of the many readings of one device the first says it all.
                if before != Some(device) {
                    is_due |= self.of(device).is_some_and(|of| vigil.heard(&of, now));
                }
                before = Some(device);
            }
            is_due
        });
    }

    /// Takes in what devices and their broker say of presence, in records of their own.
    pub fn said(&self, outputs: &[Output], now: MonoTime) {
        if !self.profile.has_stale_after() {
            return;
        }
        for output in outputs {
            let Output::Presence { device, online, .. } = output else { continue };
            let Some(of) = self.of(device) else { continue };
            self.vigil.change(|vigil| vigil.said(&of, *online, now));
        }
    }

    /// Waits for a device that is known of.
    fn expect(&self, device: &DeviceName, now: MonoTime) {
        if let Some(of) = self.of(device) {
            self.vigil.change(|vigil| vigil.expect(&of, now));
        }
    }

    fn of<'a>(&'a self, device: &'a DeviceName) -> Option<Of<'a>> {
        let stale_after = self.profile.stale_after(device)?;
        Some(Of { device, source: &self.source, stale_after })
    }
}

fn sign_of_life(output: &Output) -> Option<&DeviceName> {
    match output {
        Output::Reading(reading) => (!reading.retained).then_some(&reading.device),
        Output::Presence { device, online: true, retained: false, .. } => Some(device),
        Output::Reply(reply) => reply.device.as_ref(),
        Output::Presence { .. } | Output::DeadLetter(_) => None,
    }
}

/// Tells what is due.
pub struct VigilTask {
    ingest: Ingest,
    status: StatusReporter,
    known: KnownDevices,
    /// When the file was written last.
    written_at: Option<MonoTime>,
}

impl VigilTask {
    /// Waits for the devices that `file` tells of, and for those that the configuration names: what is on a broker
    /// is known when it is heard.
    pub fn new(ingest: Ingest, status: StatusReporter, file: PathBuf, watchers: &[Watcher]) -> VigilTask {
        let now = ingest.now();
        let known = KnownDevices::read(file);
        for (source, device) in known.devices() {
            if let Some(watcher) = watchers.iter().find(|watcher| watcher.source == *source) {
                watcher.expect(device, now);
            }
        }
        for watcher in watchers {
            if let Some(device) = watcher.profile.own_device().filter(|_| watcher.profile.input() == Input::Stream) {
                watcher.expect(&device, now);
            }
        }
        VigilTask { ingest, status, known, written_at: None }
    }

    /// Watches until told to stop.
    pub async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let vigil = self.ingest.vigil.clone();
        let mut woken = vigil.0.subscribe();
        loop {
            woken.mark_unchanged();
            let wait = match self.tell(&vigil).await {
                Ok(()) => LOOK_INTERVAL,
                Err(no_room) => {
                    self.status.paused(no_room);
                    woken.mark_unchanged();
                    RETRY
                }
            };
            self.write_known(&vigil, false).await;
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                // CANCEL-SAFE: a watch holds nothing.
                Ok(()) = woken.changed(), if wait == LOOK_INTERVAL => {}
                // CANCEL-SAFE: a timer holds nothing.
                () = tokio::time::sleep(wait) => {}
            }
        }
        self.write_known(&vigil, true).await;
        Ok(())
    }

    async fn tell(&self, vigil: &VigilHandle) -> Result<(), NoRoom> {
        loop {
            let turns = vigil.change(|vigil| vigil.take_due(self.ingest.now()));
            if turns.is_empty() {
                return Ok(());
            }
            for Turn { device, online } in &turns {
                let word = if *online { "heard" } else { "stale: nothing was heard of it for too long" };
                info!(%device, "The device is {word}.");
            }
            if let Err(no_room) = self.ingest.tell(turns.clone(), &self.status).await {
                vigil.change(|vigil| vigil.failed(&turns));
                return Err(no_room);
            }
            self.status.up();
        }
    }

    async fn write_known(&mut self, vigil: &VigilHandle, is_last: bool) {
        let left_out = vigil.change(Vigil::take_left_out);
        if left_out > 0 {
            warn!(left_out, "Only {DEVICES_MAX} devices are watched; others are never told to be stale.");
        }
        let now = self.ingest.now();
        let is_early = self.written_at.is_some_and(|written_at| now.since(written_at) < WRITE_INTERVAL);
        if is_early && !is_last {
            return;
        }
        let known = vigil.change(|vigil| vigil.known());
        if self.known.write(known).await {
            self.written_at = Some(now);
        }
    }
}

#[cfg(test)]
mod tests;
