//! What people's and agents' sessions ask of commands.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::{join_all, try_join_all};
use lockgate_proto::command::{AcceptError, Ask, Command, CommandId, CourierInput, Group, GroupError, Kept, Report};
use lockgate_proto::ids::{AgentId, AgentName, DeviceName, RoomId};
use lockgate_proto::time::UnixMicros;
use lockgate_runtime::Supervisor;
use lockgate_runtime::clock::Clock;

use super::book_logic::{Done, OPEN_MAX, Work};
use super::hub::{Follow, Hub, Nudges};
use super::line::Lines;
use super::time::BackboneClock;
use crate::backbone::{Backbone, BackboneError, CommandPage, CommandsWanted, Holder};

/// Of so many devices of a group, the list of all devices is read, and not each one's shadow.
const LIST_FROM: usize = 8;

/// Why a command was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AcceptFailed {
    /// It can't be a command, or no longer.
    #[error(transparent)]
    Refused(#[from] AcceptError),
    /// Its group can't be one.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// The agent has not taken those that wait.
    #[error("{OPEN_MAX} commands of the device's agent wait already; cancel some, or try again later")]
    Full,
    /// It may have been accepted or not; asking the same again is safe.
    #[error(transparent)]
    Backbone(#[from] BackboneError),
}

/// The handle of sessions; cheap to clone.
#[derive(Clone)]
pub(crate) struct Desk {
    pub(super) backbone: Arc<dyn Backbone>,
    lines: Arc<Lines>,
    hub: Hub,
}

impl Desk {
    /// A desk over this backbone; the tasks that follow rooms run under the supervisor.
    pub(crate) fn new(backbone: Arc<dyn Backbone>, supervisor: Supervisor, clock: Clock) -> Desk {
        let lines = Arc::new(Lines::new(BackboneClock::new(clock)));
        Desk { hub: Hub::new(Arc::clone(&backbone), supervisor), backbone, lines }
    }

    /// Stores a command, and gives back what is stored. The same command again is the same command.
    pub(crate) async fn accept(&self, room: &RoomId, command: Command) -> Result<Kept, AcceptFailed> {
        let holder = self.holder_of(room, &command.device).await?;
        self.accept_at(room, holder, command).await
    }

    /// Stores a command for each of the devices; `command` says all but the device, and its id is the group's.
    ///
    /// After an error some may have been accepted. The same group again is the same group.
    pub(crate) async fn accept_group(
        &self,
        room: &RoomId,
        command: Command,
        devices: Vec<DeviceName>,
    ) -> Result<Vec<Kept>, AcceptFailed> {
        let (_, commands) = Group::order(&command, devices)?;
        let holders = self.holders_of(room, &commands).await?;
        let accept = |command: Command| {
            let holder = holders.get(&command.device).cloned();
            self.accept_at(room, holder, command)
        };
        // All are tried, also where one fails: who repeats the group then has fewer to wait for.
        join_all(commands.into_iter().map(accept)).await.into_iter().collect()
    }

    /// Takes a command back; `None`: there is none of this id. Its agent may still have to be asked.
    pub(crate) async fn cancel(&self, room: &RoomId, id: &CommandId) -> Result<Option<Kept>, BackboneError> {
        let read = self.backbone.book(room, &None, std::slice::from_ref(id)).await?;
        if !read.book.commands.contains_key(id) {
            return Ok(None);
        }
        let holder = read.elsewhere.get(id).cloned().unwrap_or_default();
        match self.work(room, &holder, Work::Cancel(id.clone())).await? {
            Done::Kept(kept) => Ok(Some(*kept)),
            Done::Unknown | Done::Refused(_) | Done::Full | Done::Answer(_) | Done::Nothing => Ok(None),
        }
    }

    /// One command; `None`: there is none of this id.
    pub(crate) async fn get(&self, room: &RoomId, id: &CommandId) -> Result<Option<Kept>, BackboneError> {
        self.backbone.command(room, id).await
    }

    /// The commands of a room, the newest first.
    pub(crate) async fn list(&self, room: &RoomId, wanted: &CommandsWanted) -> Result<CommandPage, BackboneError> {
        self.backbone.commands(room, wanted).await
    }

    /// What becomes of the room's commands from now on.
    pub(crate) fn follow(&self, room: &RoomId) -> Follow {
        self.hub.follow(room)
    }

    /// Tells an agent's session when to look into its book.
    pub(crate) fn nudges(&self, agent: &AgentId) -> Nudges {
        self.hub.nudges(agent)
    }

    /// The backbone's time, by which deadlines go.
    pub(crate) fn now(&self) -> UnixMicros {
        self.lines.time.now()
    }

    /// Asks what a courier asks.
    pub(crate) async fn ask(&self, agent: &AgentId, mut ask: Ask) -> Result<CourierInput, BackboneError> {
        if let Ask::Told { updates, .. } = &mut ask {
            self.keep_own(agent, &mut updates.reports).await?;
        }
        match self.work(&agent.room, &Some(agent.agent.clone()), Work::Ask(ask)).await? {
            Done::Answer(answer) => Ok(answer),
            Done::Kept(_) | Done::Unknown | Done::Refused(_) | Done::Full | Done::Nothing => Ok(CourierInput::Refused),
        }
    }

    /// Leaves out reports of commands that the backbone does not know, of devices that are another agent's: they would
    /// become history that nobody made.
    async fn keep_own(&self, agent: &AgentId, reports: &mut Vec<Report>) -> Result<(), BackboneError> {
        let mut kept = Vec::with_capacity(reports.len());
        for report in reports.drain(..) {
            let is_others = match &report.command {
                Some(command) if self.get(&agent.room, &report.id).await?.is_none() => {
                    self.holder_of(&agent.room, &command.device).await?.is_some_and(|holder| holder != agent.agent)
                }
                Some(_) | None => false,
            };
            if !is_others {
                kept.push(report);
            }
        }
        *reports = kept;
        Ok(())
    }

    pub(super) async fn work(&self, room: &RoomId, holder: &Holder, work: Work) -> Result<Done, BackboneError> {
        self.lines.at(room, holder).work(&*self.backbone, work).await
    }

    async fn accept_at(&self, room: &RoomId, holder: Holder, command: Command) -> Result<Kept, AcceptFailed> {
        let (id, device) = (command.id.clone(), command.device.clone());
        let kept = match self.work(room, &holder, Work::Accept(command)).await? {
            Done::Kept(kept) => *kept,
            Done::Refused(refused) => return Err(refused.into()),
            Done::Full => return Err(AcceptFailed::Full),
            Done::Unknown | Done::Answer(_) | Done::Nothing => {
                let what = "a command was accepted and is not there".to_owned();
                return Err(BackboneError::Damaged { what }.into());
            }
        };
        // The device may have been announced while we wrote, by one who did not see the command.
        if holder.is_none()
            && let Some(agent) = self.holder_of(room, &device).await?
        {
            self.work(room, &Some(agent), Work::Claim(vec![id.clone()])).await?;
            return Ok(self.get(room, &id).await?.unwrap_or(kept));
        }
        Ok(kept)
    }

    /// In whose book a command for the device belongs.
    pub(super) async fn holder_of(&self, room: &RoomId, device: &DeviceName) -> Result<Holder, BackboneError> {
        let (_, shadow) = self.backbone.shadow(room, device).await?;
        Ok(shadow.map(|shadow| shadow.agent))
    }

    async fn holders_of(
        &self,
        room: &RoomId,
        commands: &[Command],
    ) -> Result<HashMap<DeviceName, AgentName>, BackboneError> {
        if commands.len() >= LIST_FROM {
            let devices = self.backbone.devices(room).await?;
            return Ok(devices.into_iter().map(|summary| (summary.device, summary.agent)).collect());
        }
        let holder = async |command: &Command| {
            let holder = self.holder_of(room, &command.device).await?;
            Ok::<_, BackboneError>(holder.map(|agent| (command.device.clone(), agent)))
        };
        Ok(try_join_all(commands.iter().map(holder)).await?.into_iter().flatten().collect())
    }
}
