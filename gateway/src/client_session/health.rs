//! The backbone's health, as a session waits for its changes.

use std::task::{Context, Poll};

use tokio::sync::watch;
use tokio::sync::watch::error::RecvError;
use tokio_util::sync::ReusableBoxFuture;

use crate::backbone::Health;

type Heard = (Result<(), RecvError>, watch::Receiver<Health>);

/// Tells each change once. It stays registered from one question to the next.
pub(super) struct HealthWatch {
    next: ReusableBoxFuture<'static, Heard>,
}

impl HealthWatch {
    /// How it stands, and what comes after that.
    pub(super) fn new(mut health: watch::Receiver<Health>) -> (Health, HealthWatch) {
        let now = health.borrow_and_update().clone();
        (now, HealthWatch { next: ReusableBoxFuture::new(change(health)) })
    }

    /// The next change; `None`: there will be none, because the gateway ends.
    pub(super) fn poll_changed(&mut self, context: &mut Context<'_>) -> Poll<Option<Health>> {
        self.next.poll(context).map(|(heard, mut health)| {
            let now = health.borrow_and_update().clone();
            self.next.set(change(health));
            heard.ok().map(|()| now)
        })
    }
}

async fn change(mut health: watch::Receiver<Health>) -> Heard {
    let heard = health.changed().await;
    (heard, health)
}
