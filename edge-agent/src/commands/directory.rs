//! Which source has a device: who brings a command to it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use lockgate_codec::Output;
use lockgate_proto::command::{Answer, Failure, FailureKind};
use lockgate_proto::ids::DeviceName;
use tokio::sync::{Notify, mpsc, watch};

use super::{Describer, Hands, Job, OwnCommands};
use crate::config::SourceProfile;

/// LIMIT: jobs that wait for one source; more are put off.
const JOBS_WAITING_MAX: usize = 64;

/// LIMIT: devices of one source that are remembered as heard.
const DEVICES_MAX: usize = 4_096;

/// Where the source can't take a job at once.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The devices that a source has heard in this run. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Roster {
    devices: Arc<watch::Sender<BTreeSet<DeviceName>>>,
    /// Rings for whoever describes devices.
    news: Arc<Notify>,
}

impl Roster {
    /// Takes in what was heard.
    pub fn heard(&self, outputs: &[Output]) {
        let device = |output: &Output| match output {
            Output::Reading(reading) => Some(reading.device.clone()),
            Output::Presence { device, .. } => Some(device.clone()),
            Output::Reply(reply) => reply.device.clone(),
            Output::DeadLetter(_) => None,
        };
        let news: BTreeSet<DeviceName> = {
            let known = self.devices.borrow();
            outputs.iter().filter_map(device).filter(|device| !known.contains(device)).collect()
        };
        if !news.is_empty() {
            let is_more = self.devices.send_if_modified(|known| {
                let room = DEVICES_MAX.saturating_sub(known.len());
                known.extend(news.into_iter().take(room));
                room > 0
            });
            if is_more {
                self.news.notify_one();
            }
        }
    }

    /// Those heard so far.
    pub fn watch(&self) -> watch::Receiver<BTreeSet<DeviceName>> {
        self.devices.subscribe()
    }

    fn has(&self, device: &DeviceName) -> bool {
        self.devices.borrow().contains(device)
    }
}

/// A source's end: jobs for its devices come here, and what it hears it tells.
#[derive(Debug)]
pub struct SourceOrders {
    /// What its devices are to be told.
    pub jobs: mpsc::Receiver<Job>,
    /// Which devices it has heard.
    pub roster: Roster,
    /// Rings when it is to close what it has open, and to begin anew.
    pub restart: Arc<Notify>,
}

struct Source {
    name: String,
    restart: Arc<Notify>,
    profile: SourceProfile,
    jobs: mpsc::Sender<Job>,
    roster: Roster,
}

/// All sources whose devices can be told something.
#[derive(Default)]
pub struct Directory {
    sources: Vec<Source>,
    news: Arc<Notify>,
    /// The agent as a device.
    own: Option<(DeviceName, mpsc::Sender<Job>)>,
}

impl Directory {
    /// A source of this name, with this profile.
    pub fn add(&mut self, name: &str, profile: &SourceProfile) -> SourceOrders {
        let (sender, jobs) = mpsc::channel(JOBS_WAITING_MAX);
        let roster = Roster { devices: Arc::default(), news: Arc::clone(&self.news) };
        let restart = Arc::new(Notify::new());
        let (name, profile) = (name.to_owned(), profile.clone());
        let source = Source { name, restart: Arc::clone(&restart), profile, jobs: sender, roster: roster.clone() };
        self.sources.push(source);
        SourceOrders { jobs, roster, restart }
    }

    /// The sources by name, with what makes each begin anew.
    pub fn restarts(&self) -> Vec<(String, Arc<Notify>)> {
        self.sources.iter().map(|source| (source.name.clone(), Arc::clone(&source.restart))).collect()
    }

    /// The agent as a device; its jobs come here.
    pub fn add_own(&mut self, own: &OwnCommands) -> mpsc::Receiver<Job> {
        let (sender, jobs) = mpsc::channel(JOBS_WAITING_MAX);
        self.own = Some((own.device().clone(), sender));
        jobs
    }

    /// What describes all of them.
    pub fn describer(&self, own: &OwnCommands) -> Describer {
        Describer {
            sources: self.sources.iter().map(|source| (source.profile.clone(), source.roster.clone())).collect(),
            news: Arc::clone(&self.news),
            own: Some((own.device().clone(), own.commands().to_vec())),
        }
    }

    /// The source that has the device: the one that is of it alone, else the one that has heard it, else the only
    /// one that might.
    fn find(&self, device: &DeviceName) -> Result<&Source, &'static str> {
        let is_own = |source: &&Source| source.profile.own_device().as_ref() == Some(device);
        let has_heard = |source: &&Source| source.roster.has(device);
        if let Some(source) = self.sources.iter().find(is_own).or_else(|| self.sources.iter().find(has_heard)) {
            return Ok(source);
        }
        let might =
            |source: &&Source| source.profile.own_device().is_none() && !source.profile.commands_of(device).is_empty();
        let mut might = self.sources.iter().filter(might);
        match (might.next(), might.next()) {
            (Some(source), None) => Ok(source),
            (None, _) => Err("no source of this agent has such a device"),
            (Some(_), Some(_)) => Err("several sources might have the device, and none has heard it yet"),
        }
    }
}

impl Hands for Directory {
    fn take(&mut self, job: Job) -> Result<(), Answer> {
        if let Some((_, jobs)) = self.own.as_ref().filter(|(device, _)| *device == job.command.device) {
            return jobs.try_send(job).map_err(|_| Answer::Busy { retry_after: RETRY_AFTER });
        }
        let source = self
            .find(&job.command.device)
            .map_err(|why| Answer::Failed(Failure { kind: FailureKind::Unsupported, reason: why.into() }))?;
        // Full, or about to end with the agent: nothing was written.
        source.jobs.try_send(job).map_err(|_| Answer::Busy { retry_after: RETRY_AFTER })
    }
}
