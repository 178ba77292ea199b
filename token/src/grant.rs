//! What a checked token says, and the one decision about what it allows.

use lockgate_proto::ids::{AgentId, AgentName, DeviceName, RoomId, Site, Tenant};
use lockgate_proto::time::UnixMicros;

use crate::scope::{Right, Scope};

/// Whom a token is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// An edge agent. It may feed its own site, as itself, and nothing else.
    Agent {
        /// The site that it serves.
        site: Site,
        /// Its name there.
        agent: AgentName,
    },
    /// A person, or a program of theirs.
    User {
        /// The name, for logs and people.
        name: String,
        /// What they may do.
        scopes: Vec<Scope>,
    },
}

/// Something that somebody wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action<'a> {
    /// Open an edge session as this agent.
    ServeAs(&'a AgentId),
    /// Read all that a room has, of whatever device.
    ReadRoom(&'a RoomId),
    /// Read what a room has of one device.
    ReadDevice(&'a RoomId, &'a DeviceName),
    /// Know that a room exists: something of it may be read.
    EnterRoom(&'a RoomId),
    /// Send commands to any device of a room, also to those that it has not yet.
    SendToRoom(&'a RoomId),
    /// Send commands to one device, and take them back.
    SendToDevice(&'a RoomId, &'a DeviceName),
    /// See what becomes of the commands of one device: who may read of it may, and who may send to it.
    SeeCommands(&'a RoomId, &'a DeviceName),
    /// Ask for commands of a room: those of some device may be seen.
    ListCommands(&'a RoomId),
}

/// A token that was found to be good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The owner. Nothing of another's is ever allowed.
    pub tenant: Tenant,
    /// Whom it is for.
    pub identity: Identity,
    /// The token's own id.
    pub id: String,
    /// When it was made.
    pub issued_at: UnixMicros,
    /// From then on it is worth nothing, also for sessions that it opened.
    pub expires_at: UnixMicros,
}

fn reads(scope: &Scope) -> bool {
    scope.right == Right::TelemetryRead
}

fn sends(scope: &Scope) -> bool {
    scope.right == Right::CommandSend
}

impl Grant {
    /// Whether the holder may do this. Says nothing of the time: compare [`Grant::expires_at`].
    pub fn allows(&self, action: Action<'_>) -> bool {
        match (action, &self.identity) {
            (Action::ServeAs(agent), Identity::Agent { site, agent: name }) => {
                agent.room.tenant == self.tenant && agent.room.site == *site && agent.agent == *name
            }
            (action, Identity::User { scopes, .. }) => match action {
                Action::ServeAs(_) => false,
                Action::ReadRoom(room) => self.holds(room, scopes, |scope| reads(scope) && scope.device.is_any()),
                Action::ReadDevice(room, device) => {
                    self.holds(room, scopes, |scope| reads(scope) && scope.device.matches(device.as_str()))
                }
                Action::EnterRoom(room) => self.holds(room, scopes, reads),
                Action::SendToRoom(room) => self.holds(room, scopes, |scope| sends(scope) && scope.device.is_any()),
                Action::SendToDevice(room, device) => {
                    self.holds(room, scopes, |scope| sends(scope) && scope.device.matches(device.as_str()))
                }
                Action::SeeCommands(room, device) => {
                    self.holds(room, scopes, |scope| scope.device.matches(device.as_str()))
                }
                Action::ListCommands(room) => self.holds(room, scopes, |_| true),
            },
            (_, Identity::Agent { .. }) => false,
        }
    }

    fn holds(&self, room: &RoomId, scopes: &[Scope], wanted: impl Fn(&Scope) -> bool) -> bool {
        room.tenant == self.tenant && scopes.iter().any(|scope| scope.site.matches(room.site.as_str()) && wanted(scope))
    }

    /// The agent that this is the token of.
    pub fn agent(&self) -> Option<AgentId> {
        match &self.identity {
            Identity::Agent { site, agent } => Some(AgentId { room: self.room(site.clone()), agent: agent.clone() }),
            Identity::User { .. } => None,
        }
    }

    /// The holder's name.
    pub fn subject(&self) -> &str {
        match &self.identity {
            Identity::Agent { agent, .. } => agent.as_str(),
            Identity::User { name, .. } => name,
        }
    }

    /// The room of a site of the token's owner.
    pub fn room(&self, site: Site) -> RoomId {
        RoomId { tenant: self.tenant.clone(), site }
    }

    /// Whether the token's time is over.
    pub fn is_expired(&self, now: UnixMicros) -> bool {
        self.expires_at <= now
    }
}
