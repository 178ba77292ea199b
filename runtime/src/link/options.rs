//! Bounds and times of a link.

use std::fmt;
use std::time::Duration;

use lockgate_proto::limits::{
    CLIENT_MESSAGE_BYTES_MAX, EDGE_MESSAGE_BYTES_MAX, IDLE_TIMEOUT, PING_INTERVAL, SERVER_MESSAGE_BYTES_MAX,
};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

/// What a link's messages are: one kind, in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// Any bytes.
    Binary,
    /// UTF-8.
    Text,
}

impl fmt::Display for MessageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            MessageKind::Binary => "binary",
            MessageKind::Text => "text",
        })
    }
}

/// Bounds and times of a link. The four makers are the ends of our two links.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkOptions {
    /// The kind of message that is sent, and the only one that is accepted.
    pub messages: MessageKind,
    /// Largest message that is accepted; a larger one breaks the link.
    pub receive_bytes_max: usize,
    /// Largest message that is sent.
    pub send_bytes_max: usize,
    /// Read buffer, allocated at once and for as long as the link lives.
    pub read_buffer_bytes: usize,
    /// What the system may keep that it has not sent yet, where the link is over TCP; `None`: as much as it likes.
    pub unsent_bytes_max: Option<u32>,
    /// Silence of this length breaks the link, and so does a peer that takes nothing for as long. What comes or goes slowly is
    /// no silence.
    pub idle_timeout: Duration,
    /// How often this end pings; `None`: the other end does.
    pub ping_interval: Option<Duration>,
}

/// What is gathered before it is written without being asked to.
pub(super) const WRITE_BUFFER_BYTES: usize = 16 * 1024;

/// What waits in the system for a client of a gateway: as much as one write.
const UNSENT_BYTES_MAX: u32 = 16 * 1024;

/// Room for pings, pongs, closes and frame headers beside the largest message.
const WRITE_SLACK_BYTES: usize = 4 * 1024;

impl LinkOptions {
    /// The edge link, at the agent.
    pub const fn edge_at_agent() -> LinkOptions {
        LinkOptions {
            messages: MessageKind::Binary,
            receive_bytes_max: EDGE_MESSAGE_BYTES_MAX,
            send_bytes_max: EDGE_MESSAGE_BYTES_MAX,
            // The agent hears little more than acknowledgements.
            read_buffer_bytes: 4 * 1024,
            unsent_bytes_max: None,
            idle_timeout: IDLE_TIMEOUT,
            ping_interval: None,
        }
    }

    /// The edge link, at the gateway.
    pub const fn edge_at_gateway() -> LinkOptions {
        LinkOptions {
            messages: MessageKind::Binary,
            receive_bytes_max: EDGE_MESSAGE_BYTES_MAX,
            send_bytes_max: EDGE_MESSAGE_BYTES_MAX,
            read_buffer_bytes: 4 * 1024,
            unsent_bytes_max: None,
            idle_timeout: IDLE_TIMEOUT,
            ping_interval: Some(PING_INTERVAL),
        }
    }

    /// The client link, at the client.
    pub const fn client_at_client() -> LinkOptions {
        LinkOptions {
            messages: MessageKind::Binary,
            receive_bytes_max: SERVER_MESSAGE_BYTES_MAX,
            send_bytes_max: CLIENT_MESSAGE_BYTES_MAX,
            read_buffer_bytes: 4 * 1024,
            unsent_bytes_max: None,
            idle_timeout: IDLE_TIMEOUT,
            ping_interval: None,
        }
    }

    /// The client link, at the gateway, which has many of them, most of them idle.
    pub const fn client_at_gateway() -> LinkOptions {
        LinkOptions {
            messages: MessageKind::Binary,
            receive_bytes_max: CLIENT_MESSAGE_BYTES_MAX,
            send_bytes_max: SERVER_MESSAGE_BYTES_MAX,
            read_buffer_bytes: 1024,
            unsent_bytes_max: Some(UNSENT_BYTES_MAX),
            idle_timeout: IDLE_TIMEOUT,
            ping_interval: Some(PING_INTERVAL),
        }
    }

    pub(crate) fn config(&self) -> WebSocketConfig {
        WebSocketConfig::default()
            .read_buffer_size(self.read_buffer_bytes)
            .write_buffer_size(WRITE_BUFFER_BYTES)
            .max_write_buffer_size(WRITE_BUFFER_BYTES + self.send_bytes_max + WRITE_SLACK_BYTES)
            .max_message_size(Some(self.receive_bytes_max))
            .max_frame_size(Some(self.receive_bytes_max))
    }
}
