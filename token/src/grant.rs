//! What a checked token says, and the one decision about what it allows.

use lockgate_proto::ids::{AgentId, AgentName, DeviceName, RoomId, Site, Tenant};
use lockgate_proto::time::UnixMicros;

use crate::scope::Scope;

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

impl Grant {
    /// Whether the holder may do this. Says nothing of the time: compare [`Grant::expires_at`].
    pub fn allows(&self, action: Action<'_>) -> bool {
        match (action, &self.identity) {
            (Action::ServeAs(agent), Identity::Agent { site, agent: name }) => {
                agent.room.tenant == self.tenant && agent.room.site == *site && agent.agent == *name
            }
            (Action::ReadRoom(room), Identity::User { scopes, .. }) => {
                self.reads(room, scopes, |Scope::TelemetryRead { device, .. }| device.is_any())
            }
            (Action::ReadDevice(room, name), Identity::User { scopes, .. }) => {
                self.reads(room, scopes, |Scope::TelemetryRead { device, .. }| device.matches(name.as_str()))
            }
            (Action::EnterRoom(room), Identity::User { scopes, .. }) => self.reads(room, scopes, |_| true),
            (Action::ServeAs(_), Identity::User { .. })
            | (Action::ReadRoom(_) | Action::ReadDevice(..) | Action::EnterRoom(_), Identity::Agent { .. }) => false,
        }
    }

    fn reads(&self, room: &RoomId, scopes: &[Scope], devices: impl Fn(&Scope) -> bool) -> bool {
        let here = |scope: &&Scope| match scope {
            Scope::TelemetryRead { site, .. } => site.matches(room.site.as_str()),
        };
        room.tenant == self.tenant && scopes.iter().filter(here).any(devices)
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
