//! Says what is due, gives up what others no longer say, and says goodbye.

use std::sync::Arc;

use lockgate_proto::attendance::{Here, Sheet};
use lockgate_proto::ids::{InstanceId, RoomId};
use lockgate_proto::limits::{ATTENDANCE_LEASE, LEAVE_GRACE};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::Attendance;
use crate::backbone::{Backbone, BackboneError};

/// The one task.
pub(crate) struct AttendanceTask {
    pub(crate) attendance: Attendance,
    pub(crate) backbone: Arc<dyn Backbone>,
    pub(crate) instance: InstanceId,
}

enum Woken {
    Stop,
    Changed,
    Due,
    Expire,
}

impl AttendanceTask {
    /// Works until the gateway stops. Then those who were here are left to be waited for: they go elsewhere.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let shared = Arc::clone(&self.attendance.shared);
        let mut expire_at = Instant::now() + ATTENDANCE_LEASE / 3;
        loop {
            let due = shared.roster().next_due().map(|due| shared.clock.tokio_instant(due));
            let woken = tokio::select! {
                biased;
                () = stop.cancelled() => Woken::Stop,
                // CANCEL-SAFE: they only wait.
                () = sleep_until(due.unwrap_or(expire_at)), if due.is_some() => Woken::Due,
                () = sleep_until(expire_at) => Woken::Expire,
                // CANCEL-SAFE: a notice that was not taken is still there.
                () = shared.changed.notified() => Woken::Changed,
            };
            match woken {
                Woken::Stop => return self.say_goodbye().await,
                Woken::Changed => {}
                Woken::Due => self.say_due().await,
                Woken::Expire => {
                    expire_at = Instant::now() + ATTENDANCE_LEASE / 3;
                    if let Err(error) = self.backbone.expire_attendance().await {
                        debug!(%error, "Cannot look for people who are gone; trying again.");
                    }
                }
            }
        }
    }

    async fn say_due(&self) {
        let shared = &self.attendance.shared;
        let due = shared.roster().take_due(shared.clock.now());
        for (room, here) in due {
            match self.say(&room, here, ATTENDANCE_LEASE).await {
                Ok(()) => shared.roster().said(&room),
                Err(error) => {
                    debug!(%room, %error, "Cannot say who is in the room; trying again.");
                    shared.roster().failed(shared.clock.now(), &room);
                }
            }
        }
    }

    async fn say_goodbye(&self) {
        let all = self.attendance.shared.roster().all();
        for (room, here) in all {
            if self.say(&room, here, LEAVE_GRACE).await.is_err() {
                // Then the lease ends it, somewhat later.
                return;
            }
        }
    }

    async fn say(&self, room: &RoomId, here: Here, lease: std::time::Duration) -> Result<(), BackboneError> {
        self.backbone.attend(room, &Sheet { instance: self.instance, here, lease }).await
    }
}
