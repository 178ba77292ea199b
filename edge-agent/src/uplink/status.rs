//! How the way to the gateway is, for health and logs.

use std::sync::Arc;
use std::time::Duration;

/// The connection to the gateway as it is just now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LinkStatus {
    /// Not tried yet.
    #[default]
    Starting,
    /// There is none; tried again and again.
    Down {
        /// What the last attempt failed of, for people.
        reason: Arc<str>,
    },
    /// The gateway has let us in.
    Up {
        /// To the gateway and back, as last measured.
        rtt: Duration,
    },
}

impl LinkStatus {
    /// To the gateway and back; `None` without a connection.
    pub fn rtt(&self) -> Option<Duration> {
        match self {
            LinkStatus::Starting | LinkStatus::Down { .. } => None,
            LinkStatus::Up { rtt } => Some(*rtt),
        }
    }
}
