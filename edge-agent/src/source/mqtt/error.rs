//! Why a broker is not heard.

use std::io;

use rumqttc::{ConnectionError, StateError};

use crate::config::SecretError;
use crate::ingest::NoRoom;

/// Why there is no connection, or no longer.
#[derive(Debug, thiserror::Error)]
pub(super) enum MqttError {
    /// The password can't be had.
    #[error("password: {0}")]
    Password(#[from] SecretError),
    /// The certificates to trust can't be used.
    #[error("{0}")]
    Tls(#[from] lockgate_runtime::tls::TlsError),
    /// No connection, or it broke, or the broker refused us.
    #[error("{why}")]
    Connection { why: String },
    /// The broker does not let us hear this.
    #[error("the broker refuses a subscription to {topic:?}; may this user read it?")]
    Subscription { topic: String },
    /// Requests to rumqttc pile up, which a broker that reads can't cause.
    #[error("the broker takes nothing from us")]
    Stuck,
    /// The broker has a message that no connection of ours can carry.
    #[error(
        "{url} has a message of {bytes} bytes, beyond the {bytes_max} that a connection carries; it is read past. \
         Let the broker refuse such ones (Mosquitto: message_size_limit)"
    )]
    TooLarge { url: String, bytes: usize, bytes_max: usize },
    /// The connection that reads past such messages.
    #[error("{url}: cannot read past a message that is too large: {source}")]
    ReadPast { url: String, source: io::Error },
    /// Somebody wants the source to begin anew.
    #[error("closed, to begin anew")]
    Restarted,
    /// The queue has begun a new epoch: what waits to be acknowledged is numbered by the old one. It is on disk,
    /// and is acknowledged when the broker sends it again.
    #[error("the queue's numbers begin anew")]
    Renewed,
    /// Closed by us: what the broker still has is safer there.
    #[error("{0}")]
    NoRoom(#[from] NoRoom),
}

/// The length of a message that was too large for the connection, where that has ended it.
pub(super) fn too_large(error: &ConnectionError) -> Option<usize> {
    use rumqttc::mqttbytes::Error;
    match error {
        ConnectionError::MqttState(StateError::Deserialization(Error::PayloadSizeLimitExceeded(bytes))) => Some(*bytes),
        _ => None,
    }
}
