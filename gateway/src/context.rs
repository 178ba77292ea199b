//! What every session of this process shares.

use std::sync::Arc;

use lockgate_proto::attendance::Attendee;
use lockgate_proto::ids::{RoomId, UserName};
use lockgate_runtime::clock::Clock;
use lockgate_token::{Grant, SigningKey};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::attendance::{Attendance, Place};
use crate::backbone::Backbone;
use crate::commands::Desk;
use crate::config::Config;
use crate::edge_session::Alarms;
use crate::lines::Lines;
use crate::neighbours::Neighbours;
use crate::room::RoomsHandle;
use crate::server::Turnstiles;

/// Handles and settings; cheap to clone.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) config: Arc<Config>,
    pub(crate) backbone: Arc<dyn Backbone>,
    pub(crate) rooms: RoomsHandle,
    pub(crate) attendance: Attendance,
    pub(crate) desk: Desk,
    pub(crate) neighbours: Neighbours,
    pub(crate) alarms: Alarms,
    pub(crate) lines: Arc<Lines>,
    pub(crate) turnstiles: Turnstiles,
    pub(crate) key: Arc<SigningKey>,
    pub(crate) clock: Clock,
    /// Sessions shall end and peers go elsewhere.
    pub(crate) drain: CancellationToken,
    /// Those that have not ended: the listener stays for as long.
    pub(crate) sessions: TaskTracker,
}

impl Context {
    /// Counts the holder of a token as being in a room, as long as the place is kept. `None`: people are not counted.
    pub(crate) fn place(&self, grant: &Grant, room: &RoomId) -> Option<Place> {
        let name = UserName::new(grant.subject()).ok().filter(|_| self.config.presence.users)?;
        Some(self.attendance.enter(room.clone(), Attendee::User(name)))
    }
}
