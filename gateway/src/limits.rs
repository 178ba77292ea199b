//! Bounds of the gateway that nobody has to configure, and how they hang together.

use std::time::Duration;

use lockgate_proto::limits::{CLIENT_MESSAGE_BYTES_MAX, ENTRY_BYTES_MAX, RECORD_BYTES_MAX, SERVER_MESSAGE_BYTES_MAX};

/// Batches that a room keeps for subscribers which have not taken them yet. One that is farther behind
/// reads the log instead.
pub const ROOM_RING_BATCHES: usize = 128;

/// Bytes of entries that a room keeps at hand for readers who are a little behind.
pub const RECENT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The same in entries.
pub const RECENT_ENTRIES_MAX: u32 = 16_384;

/// A room cuts what it hands out into frames of about this size, so that the ring is bounded in bytes too. In
/// JSON, which is written only where somebody reads it, they are a few times as large.
pub const DELIVERY_BYTES_TARGET: usize = 64 * 1024;

/// How many times as large as in Protobuf an entry can be in JSON: a control character in a text takes six
/// bytes, a quality without reason, of which there are few, seven times its four.
pub const JSON_GROWTH_MAX: usize = 8;

/// How long an entry may wait for others in rooms where they come fast, unless it is configured otherwise. Timers
/// round up to whole milliseconds: this is five at most.
pub const COALESCE: Duration = Duration::from_millis(4);

/// The same, at most.
pub const COALESCE_MAX: Duration = Duration::from_secs(1);

/// Entries that one read of the log asks for.
pub const LOG_READ_ENTRIES_MAX: u32 = 512;

/// Bytes that one read of the log asks for.
pub const LOG_READ_BYTES_MAX: usize = 256 * 1024;

/// Requests to the registry of rooms that may wait; those who ask wait with them.
pub const ROOM_REQUESTS_MAX: usize = 64;

/// What an instance says of itself in the backbone stands for so long; it says it again three times as often.
pub const INSTANCE_LEASE: Duration = Duration::from_secs(30);

/// Devices of one room that get a shadow, unless it is configured otherwise.
pub const DEVICES_PER_ROOM_MAX: usize = 10_000;

/// Connections to the listener for metrics.
pub const METRICS_CONNECTIONS_MAX: usize = 32;

/// Connections that were refused and are still open, so that the answer gets through; beyond, some see a reset.
pub const REFUSALS_MAX: usize = 64;

/// A refused connection has so long to read its answer.
pub const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);

/// Longest HTTP request head, which is all that a request may have before it is a WebSocket.
pub const REQUEST_HEAD_BYTES_MAX: usize = 16 * 1024;

/// A connection that asks for nothing but pages is closed when it is this old.
pub const PAGE_CONNECTION_AGE_MAX: Duration = Duration::from_secs(60);

/// A connection whose upgrade was answered must have become a WebSocket within this time.
pub const UPGRADE_TIMEOUT: Duration = Duration::from_secs(5);

/// While the gateway stops, a peer that does not read is waited for no longer than this.
pub const SEND_PATIENCE_IN_DRAIN: Duration = Duration::from_secs(1);

/// How long a plain HTTP connection has to finish when it is told to; less, where the whole drain has not much more.
pub const PAGE_CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// How often a gateway looks whether ready work waits for a processor.
pub const LAG_LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// The accept loop rests this long when the system is out of file descriptors or memory.
pub const ACCEPT_REST: Duration = Duration::from_millis(100);

/// How long to wait before a backbone that could not be read is asked again.
pub const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// What a client is told to wait whose subscription came too late: as long as a restart takes.
pub const RECONNECT_AFTER_DRAIN: Duration = Duration::from_millis(500);

/// REST requests that are answered at the same time; beyond, the answer is to come back.
pub const REST_REQUESTS_MAX: usize = 256;

/// Those of them that wait for a command to end; others are answered as it stands.
pub const REST_WAITS_MAX: usize = REST_REQUESTS_MAX / 2;

/// Longest wait of a REST request: well within the age of its connection.
pub const REST_WAIT_MAX: Duration = Duration::from_secs(30);

/// Largest body of a REST request.
pub const REST_BODY_BYTES_MAX: usize = CLIENT_MESSAGE_BYTES_MAX;

/// A REST request's body has so long to come.
pub const REST_BODY_TIMEOUT: Duration = Duration::from_secs(10);

const _: () = assert!(REST_WAIT_MAX.as_secs() * 2 <= PAGE_CONNECTION_AGE_MAX.as_secs());

/// Entries that one REST request looks at; those that it does not give are the next one's.
pub const HISTORY_LOOKED_AT_MAX: usize = 16 * LOG_READ_ENTRIES_MAX as usize;

/// Most entries that one REST request gives.
pub const HISTORY_ENTRIES_MAX: u32 = 1_000;

/// A REST request gives no more entries once they have so many bytes.
pub const HISTORY_BYTES_TARGET: usize = 256 * 1024;

const _: () = assert!((HISTORY_BYTES_TARGET + ENTRY_BYTES_MAX) * JSON_GROWTH_MAX <= 2 * SERVER_MESSAGE_BYTES_MAX);
const _: () = assert!(DELIVERY_BYTES_TARGET + RECORD_BYTES_MAX * 2 <= SERVER_MESSAGE_BYTES_MAX);
const _: () = assert!(DELIVERY_BYTES_TARGET < ENTRY_BYTES_MAX);
const _: () = assert!(ENTRY_BYTES_MAX * JSON_GROWTH_MAX <= SERVER_MESSAGE_BYTES_MAX);
const _: () = assert!(LOG_READ_BYTES_MAX + RECORD_BYTES_MAX * 2 <= SERVER_MESSAGE_BYTES_MAX);
