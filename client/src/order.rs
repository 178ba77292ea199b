//! What a client orders, and what it is told of it, in domain words.

use std::time::Duration;

use lockgate_proto::command::{Command, CommandId, CommandUpdate, Fields, Priority};
use lockgate_proto::ids::{CommandName, DeviceName, Site, Tag};
use lockgate_proto::time::UnixMicros;

use crate::error::ClientError;

/// What somebody wants to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The site.
    pub site: Site,
    /// Who shall act.
    pub target: Target,
    /// What it shall do.
    pub name: CommandName,
    /// With what.
    pub arguments: Fields,
    /// Doing it twice does no more than doing it once: it may run again where nobody knows whether it ran.
    pub idempotent: bool,
    /// Who goes first where several wait for one device.
    pub priority: Priority,
    /// How long it is good.
    pub until: Until,
    /// One id is one command: who is not sure whether an order was sent sends it again with the same id and deadline.
    /// `None`: a random one.
    pub id: Option<CommandId>,
}

/// Who shall act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// This device.
    Device(DeviceName),
    /// Every device of the site that is known when the order is first sent.
    All,
    /// Every device of the site that has this tag then.
    Tagged(Tag),
}

/// How long a command is good: no effect begins later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// For so long, from when it is first sent; the gateway's clock counts.
    After(Duration),
    /// Up to this instant.
    At(UnixMicros),
}

impl Order {
    /// An order of one device, without arguments, good for so long.
    pub fn new(site: Site, device: DeviceName, name: CommandName, ttl: Duration) -> Order {
        Order {
            site,
            target: Target::Device(device),
            name,
            arguments: Fields::default(),
            idempotent: false,
            priority: Priority::Normal,
            until: Until::After(ttl),
            id: None,
        }
    }
}

/// What [`crate::Sent::next`] gives.
#[derive(Debug)]
pub enum OrderEvent {
    /// Where it stands now.
    Status(OrderStatus),
    /// The connection is lost, or the gateway can't answer now; the very same is sent again by itself.
    Disconnected {
        /// Why.
        error: ClientError,
        /// When.
        retry_in: Duration,
    },
    /// The connection is back.
    Reconnected,
}

/// Where something stands that was ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrderStatus {
    /// Of one device.
    Command(Box<CommandStatus>),
    /// Of several.
    Group(GroupStatus),
}

impl OrderStatus {
    /// Whether nobody need wait any longer.
    pub fn ends_the_wait(&self) -> bool {
        match self {
            OrderStatus::Command(status) => status.now.standing.state.ends_the_wait(),
            OrderStatus::Group(status) => status.over >= status.members,
        }
    }
}

/// Where a command stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandStatus {
    /// Its state, who proved it, and since when.
    pub now: CommandUpdate,
    /// As it was ordered, and when a gateway took it. Of what comes unasked: `None`.
    pub ordered: Option<(Command, UnixMicros)>,
    /// It is to be taken back, and its agent has not said yet what becomes of that.
    pub cancel_asked: bool,
}

/// How many commands of a group stand where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupStatus {
    /// The group.
    pub id: CommandId,
    /// All of them.
    pub members: u32,
    /// Those that have ended, and are known to have.
    pub ended: u32,
    /// Those that nobody waits for any more: unknown ones, too.
    pub over: u32,
    /// By the word of the state or outcome.
    pub counts: Vec<(String, u32)>,
}

impl GroupStatus {
    /// How many stand there.
    pub fn count(&self, word: &str) -> u32 {
        self.counts.iter().find(|(state, _)| state == word).map_or(0, |(_, commands)| *commands)
    }
}

/// Which commands of a site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandsWanted {
    /// The site.
    pub site: Site,
    /// Only of this device.
    pub device: Option<DeviceName>,
    /// Only those that stand there: the word of a state or outcome.
    pub state: Option<String>,
    /// Only those of this group.
    pub group: Option<CommandId>,
    /// The newest so many.
    pub count_max: usize,
}

impl CommandsWanted {
    /// All of a site.
    pub fn all(site: Site) -> CommandsWanted {
        CommandsWanted { site, device: None, state: None, group: None, count_max: usize::MAX }
    }
}
