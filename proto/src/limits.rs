//! Every bound of the protocol, in one place, checked against each other at compile time.

use std::time::Duration;

/// Longest name of a tenant, site, agent, device or metric, in bytes of UTF-8.
pub const NAME_BYTES_MAX: usize = 256;

/// Longest unit symbol and longest reason of a quality, in bytes.
pub const SYMBOL_BYTES_MAX: usize = 64;

/// Most readings in one record.
pub const READINGS_PER_RECORD_MAX: usize = 4_096;

/// Largest encoded record.
pub const RECORD_BYTES_MAX: usize = 256 * 1024;

/// Largest WebSocket message on the edge link.
pub const EDGE_MESSAGE_BYTES_MAX: usize = 1024 * 1024;

/// Largest WebSocket message from a client.
pub const CLIENT_MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// Largest WebSocket message to a client.
pub const SERVER_MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The agent fills one Publish up to about this size.
pub const PUBLISH_BYTES_TARGET: usize = 64 * 1024;

/// Most records in one Publish.
pub const PUBLISH_RECORDS_MAX: usize = 1_024;

/// Most ranges in a settled set; when there would be more, the backlog closes one first.
pub const SETTLED_RANGES_MAX: usize = 64;

/// Most epochs that a Hello may name.
pub const EPOCHS_HELD_MAX: usize = 1_024;

/// Most gaps in one Publish.
pub const PUBLISH_GAPS_MAX: usize = 256;

/// What a gap weighs against the credit in bytes: the most that one is in a frame.
pub const GAP_BYTES: u64 = 64;

/// One step of an agent's session takes up no further Publish once it has so many entries; the rest is the next
/// one's, so that all agents get their turn.
pub const STEP_ENTRIES_TARGET: usize = 2_048;

/// Longest free text in a frame: a build, a reason, an address.
pub const TEXT_BYTES_MAX: usize = 512;

/// Most gateways in a GoAway, most capabilities in a Hello.
pub const GATEWAYS_MAX: usize = 32;

/// Largest encoded entry: a record and its header.
pub const ENTRY_BYTES_MAX: usize = RECORD_BYTES_MAX + 1024;

/// Credit that a gateway gives unless it is configured otherwise: bytes of records, and of gaps by [`GAP_BYTES`], that
/// are not yet acknowledged.
pub const WINDOW_BYTES: u64 = 1024 * 1024;

/// The same in records and gaps.
pub const WINDOW_RECORDS: u64 = 8_192;

/// Most ranges that a ledger keeps of one lane; an agent that makes more breaks the protocol.
pub const LEDGER_RANGES_MAX: usize = 4 * SETTLED_RANGES_MAX;

/// Gaps of one lane that a ledger keeps in detail; when there are twice as many, the older half is folded.
pub const LEDGER_GAPS_KEPT: usize = 128;

/// Epochs that the agent no longer holds and that a ledger keeps in detail all the same.
pub const LEDGER_EPOCHS_KEPT: usize = 32;

/// Epochs of which a ledger remembers only that they are over.
pub const LEDGER_EPOCHS_RETIRED_MAX: usize = 256;

/// A connection that has not said Hello by then is closed; one that got no Welcome, too.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(20);

/// The agent asks for the gateway's time this often.
pub const TIME_INTERVAL: Duration = Duration::from_secs(60);

/// Where the queue could give nothing, it is asked again after so long.
pub const READ_RETRY: Duration = Duration::from_secs(1);

/// An agent that was asked to leave waits so long for what is in flight.
pub const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// What a frame and each record in it take beside the record's own bytes, at most.
pub const PUBLISH_OVERHEAD_BYTES: usize = 256;
/// See [`PUBLISH_OVERHEAD_BYTES`].
pub const RECORD_OVERHEAD_BYTES: usize = 32;

/// Backlog in flight stays within what was acknowledged in the last so long (promise 4).
pub const BACKLOG_WINDOW: Duration = Duration::from_millis(300);

/// One batch of backlog may always be in flight; this is its size on a link of which nothing is known yet.
pub const BACKLOG_BATCH_BYTES: u64 = 16 * 1024;

/// On a slow link the batch shrinks down to this.
pub const BACKLOG_BATCH_BYTES_MIN: u64 = 2 * 1024;

/// A batch should be acknowledged within so long: that is how late it may make a live record.
pub const BACKLOG_BATCH_TIME: Duration = Duration::from_secs(1);

/// What the gateway pings at, and says in Welcome and Connected.
pub const PING_INTERVAL: Duration = Duration::from_secs(15);

/// Silence of this length ends a connection.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(35);

const _: () = assert!(RECORD_BYTES_MAX * 2 <= EDGE_MESSAGE_BYTES_MAX);
const _: () = assert!(PUBLISH_BYTES_TARGET * 2 <= EDGE_MESSAGE_BYTES_MAX);
// What an agent sent that does not count its gaps fits into what a gateway allows beyond the credit.
const _: () = assert!(PUBLISH_GAPS_MAX < PUBLISH_RECORDS_MAX);
const _: () = assert!(PUBLISH_GAPS_MAX as u64 * GAP_BYTES <= PUBLISH_BYTES_TARGET as u64);
const _: () = assert!(PING_INTERVAL.as_millis() * 2 < IDLE_TIMEOUT.as_millis());

/// What an instance says of who is in a room stands for so long; it says it again three times as often. Longer than
/// the pauses that must not look like leaving.
pub const ATTENDANCE_LEASE: Duration = Duration::from_secs(30);

/// Whoever loses its last connection is waited for so long before it counts as gone.
pub const LEAVE_GRACE: Duration = Duration::from_secs(10);

/// Longest id that a sender may choose for a command, in bytes.
pub const COMMAND_ID_BYTES_MAX: usize = 64;

/// Most arguments of a command, most values of a result.
pub const FIELDS_MAX: usize = 64;

/// Bytes of all names and values of one set of fields.
pub const FIELDS_BYTES_MAX: usize = 16 * 1024;

/// A command's deadline lies at most so far ahead: an agent must remember the command until then.
pub const COMMAND_TTL_MAX: Duration = Duration::from_secs(7 * 24 * 3_600);

/// An agent remembers a command for so long after its deadline, should the backbone's clock be set back, or the
/// backbone itself.
pub const COMMAND_KEPT_AFTER: Duration = Duration::from_secs(3_600);

/// Most commands that an agent's journal holds, ended ones included. A full one takes no new command.
pub const JOURNAL_COMMANDS_MAX: usize = 1_024;

/// Records after which a journal is written anew with only what still matters.
pub const JOURNAL_RECORDS_MAX: usize = 8 * JOURNAL_COMMANDS_MAX;

/// The highest number of a change in a journal: more than any agent makes, so that the next one can always be counted.
pub const JOURNAL_LENGTH_MAX: u64 = 1 << 48;

/// Commands that a gateway has sent and of which the agent has said nothing yet, at most.
pub const DISPATCH_WINDOW: usize = 16;

/// Most reports in one message of the agent.
pub const REPORTS_MAX: usize = 16;

/// An agent whose journal is full is asked again after so long.
pub const JOURNAL_FULL_RETRY: Duration = Duration::from_secs(5);

/// Most devices of one group of commands.
pub const GROUP_MEMBERS_MAX: usize = 1_024;

/// Most metrics that a device is described with.
pub const DESCRIPTION_METRICS_MAX: usize = 512;

/// Most commands that a device is described with.
pub const DESCRIPTION_COMMANDS_MAX: usize = 64;

/// Most choices of one argument.
pub const CHOICES_MAX: usize = 64;

/// Most tags of one device.
pub const TAGS_MAX: usize = 32;

/// Largest description of one device, encoded: a site's shadows hold one for each.
pub const DESCRIPTION_BYTES_MAX: usize = 64 * 1024;

const _: () = assert!(DESCRIPTION_BYTES_MAX < RECORD_BYTES_MAX);

// A message of as many of the largest commands as may be in one fits into a message of the link, with their results.
const _: () = assert!(DISPATCH_WINDOW * 2 * FIELDS_BYTES_MAX <= EDGE_MESSAGE_BYTES_MAX * 3 / 4);
const _: () = assert!(REPORTS_MAX * 2 * FIELDS_BYTES_MAX <= EDGE_MESSAGE_BYTES_MAX * 3 / 4);
