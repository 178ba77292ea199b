//! The turnstile at the doors, and the task that watches how busy the machine is.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lockgate_runtime::clock::Clock;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::turnstile_logic::Turnstile;
use crate::limits::LAG_LOOK_INTERVAL;

/// Shared by all doors.
#[derive(Clone)]
pub(crate) struct Turnstiles {
    /// A mutex and no task: it is held to count, never while waiting.
    turnstile: Arc<Mutex<Turnstile>>,
    clock: Clock,
}

impl Turnstiles {
    pub(crate) fn new(clock: Clock) -> Turnstiles {
        Turnstiles { turnstile: Arc::new(Mutex::new(Turnstile::new(clock.now()))), clock }
    }

    /// Whether a handshake may begin; else in how long it may be tried again.
    pub(crate) fn enter(&self) -> Result<(), Duration> {
        self.with(|turnstile| turnstile.enter(self.clock.now()))
    }

    /// Watches until `stop` how much later than it should ready work begins, by beginning some.
    pub(crate) async fn watch(self, stop: CancellationToken) {
        loop {
            let due = Instant::now() + LAG_LOOK_INTERVAL;
            if stop.run_until_cancelled(tokio::time::sleep_until(due)).await.is_none() {
                return;
            }
            let lag = due.elapsed();
            self.with(|turnstile| turnstile.look(self.clock.now(), lag));
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Turnstile) -> T) -> T {
        work(&mut self.turnstile.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
