//! Ends waits that are over, in all rooms, whoever's they are: every instance looks, and whichever lives does it.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::book_logic::Work;
use super::desk::Desk;
use crate::backbone::BackboneError;

/// A wait ends at most so long after its deadline, and a little.
const SWEEP_INTERVAL: Duration = Duration::from_millis(500);

/// LIMIT: books of one look; the others are the next one's, which then comes at once.
const BOOKS_MAX: usize = 256;

/// The one task.
pub(crate) struct SweepTask {
    pub(crate) desk: Desk,
}

impl SweepTask {
    /// Works until the gateway stops.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut pause = SWEEP_INTERVAL;
        // CANCEL-SAFE: every transition may be repeated.
        while stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
            pause = SWEEP_INTERVAL;
            match stop.run_until_cancelled(self.sweep()).await {
                Some(Ok(true)) => pause = Duration::ZERO,
                Some(Ok(false)) => {}
                Some(Err(error)) => debug!(%error, "Cannot look for overdue commands; trying again."),
                None => return,
            }
        }
    }

    /// Says whether there may be more.
    async fn sweep(&self) -> Result<bool, BackboneError> {
        let overdue = self.desk.backbone.overdue(BOOKS_MAX).await?;
        for (room, holder) in &overdue {
            self.desk.work(room, holder, Work::PassTime).await?;
        }
        Ok(overdue.len() >= BOOKS_MAX)
    }
}
