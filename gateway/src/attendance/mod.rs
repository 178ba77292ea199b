//! Who is in which room at this instance, and the one task that says so to the backbone.
//!
//! A session holds a [`Place`] for as long as its agent or person is in a room. Whoever drops its last place is
//! waited for a while before it counts as gone: a quick reconnect, here or elsewhere, is no leaving.

mod roster_logic;
mod task;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lockgate_proto::attendance::Attendee;
use lockgate_proto::ids::RoomId;
use lockgate_runtime::clock::Clock;
use tokio::sync::Notify;

use roster_logic::Roster;

pub(crate) use task::AttendanceTask;

/// The handle of sessions; cheap to clone.
#[derive(Clone)]
pub(crate) struct Attendance {
    shared: Arc<Shared>,
}

struct Shared {
    /// A mutex and no task: places are given back where a value is dropped, which can't wait. Held for one change.
    roster: Mutex<Roster>,
    changed: Notify,
    clock: Clock,
}

impl Attendance {
    pub(crate) fn new(clock: Clock) -> Attendance {
        let (roster, changed) = (Mutex::default(), Notify::new());
        Attendance { shared: Arc::new(Shared { roster, changed, clock }) }
    }

    /// Counts one more connection of the attendee, until the place is dropped.
    pub(crate) fn enter(&self, room: RoomId, attendee: Attendee) -> Place {
        self.shared.roster().enter(self.shared.clock.now(), &room, &attendee);
        self.shared.changed.notify_one();
        Place { shared: Arc::clone(&self.shared), room, attendee }
    }
}

impl Shared {
    fn roster(&self) -> MutexGuard<'_, Roster> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection's place in a room.
pub(crate) struct Place {
    shared: Arc<Shared>,
    room: RoomId,
    attendee: Attendee,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.roster().leave(self.shared.clock.now(), &self.room, &self.attendee);
        self.shared.changed.notify_one();
    }
}
