//! The tables, and how an older file becomes a present one.

use rusqlite::Connection;

/// Says in the file's header whose file it is ("LkGt").
pub(super) const APPLICATION_ID: i32 = 0x4c6b_4774;

/// The i-th brings a file from version i to i+1. Never changed once released; new ones are added at the end.
///
/// `log.bytes_through` sums the bytes of all entries up to and with the row, trimmed ones included: the size of
/// any stretch of a log is the difference of two rows. `commands.agent` is empty for a device that no agent has
/// announced; `waits` is 1 until the command has ended or is overdue; `over_at` is null until it has ended.
/// `shadows.metrics` is described in `shadows.rs`.
const MIGRATIONS: &[&str] = &[
    "
CREATE TABLE rooms (
    id INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    site TEXT NOT NULL,
    UNIQUE (tenant, site)
) STRICT;
CREATE TABLE log (
    room INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    stamp INTEGER NOT NULL,
    previous INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    bytes_through INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    device TEXT,
    entry BLOB NOT NULL,
    PRIMARY KEY (room, offset)
) STRICT, WITHOUT ROWID;
CREATE TABLE shadows (
    room INTEGER NOT NULL,
    device TEXT NOT NULL,
    agent TEXT NOT NULL,
    online INTEGER,
    presence_epoch_order INTEGER NOT NULL,
    presence_seq INTEGER NOT NULL,
    last_seen INTEGER,
    metric_count INTEGER NOT NULL,
    metrics BLOB NOT NULL,
    PRIMARY KEY (room, device)
) STRICT;
CREATE TABLE ledgers (
    id INTEGER PRIMARY KEY,
    room INTEGER NOT NULL,
    agent TEXT NOT NULL,
    session INTEGER NOT NULL,
    step INTEGER NOT NULL,
    ledger BLOB NOT NULL,
    UNIQUE (room, agent)
) STRICT;
CREATE TABLE probe (
    id INTEGER PRIMARY KEY,
    filler BLOB NOT NULL
) STRICT;
",
    "
CREATE TABLE attendance (
    room INTEGER PRIMARY KEY,
    book BLOB NOT NULL
) STRICT;
",
    "
CREATE TABLE command_books (
    room INTEGER NOT NULL,
    agent TEXT NOT NULL,
    version INTEGER NOT NULL,
    mark BLOB NOT NULL,
    PRIMARY KEY (room, agent)
) STRICT, WITHOUT ROWID;
CREATE TABLE commands (
    row INTEGER PRIMARY KEY,
    room INTEGER NOT NULL,
    id TEXT NOT NULL,
    agent TEXT NOT NULL,
    device TEXT NOT NULL,
    sender TEXT NOT NULL,
    state TEXT NOT NULL,
    accepted_at INTEGER NOT NULL,
    deadline INTEGER NOT NULL,
    waits INTEGER NOT NULL,
    over_at INTEGER,
    kept BLOB NOT NULL,
    UNIQUE (room, id)
) STRICT;
CREATE INDEX commands_open ON commands (room, agent) WHERE over_at IS NULL;
CREATE INDEX commands_waiting ON commands (deadline) WHERE waits;
CREATE INDEX commands_over ON commands (over_at) WHERE over_at IS NOT NULL;
CREATE INDEX commands_by_age ON commands (room, accepted_at, id);
CREATE INDEX commands_by_device ON commands (room, device, accepted_at, id);
",
    "
ALTER TABLE shadows ADD COLUMN described_epoch_order INTEGER NOT NULL DEFAULT 0;
ALTER TABLE shadows ADD COLUMN described_seq INTEGER NOT NULL DEFAULT 0;
ALTER TABLE shadows ADD COLUMN tags TEXT NOT NULL DEFAULT '';
CREATE TABLE descriptions (
    room INTEGER NOT NULL,
    device TEXT NOT NULL,
    description BLOB NOT NULL,
    PRIMARY KEY (room, device)
) STRICT;
",
];

/// The version that this program writes.
pub(super) fn version() -> i32 {
    i32::try_from(MIGRATIONS.len()).expect("there are a handful of migrations")
}

/// What a file says about itself: application id and version; both 0 in a new one.
pub(super) fn identity(store: &Connection) -> rusqlite::Result<(i32, i32)> {
    let application = store.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let version = store.pragma_query_value(None, "user_version", |row| row.get(0))?;
    Ok((application, version))
}

/// Brings the file from `found` to the present version, all in one transaction.
pub(super) fn migrate(store: &mut Connection, found: i32) -> rusqlite::Result<()> {
    let applied = usize::try_from(found).unwrap_or(0);
    if applied == MIGRATIONS.len() {
        return Ok(());
    }
    let transaction = store.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    for migration in &MIGRATIONS[applied..] {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", version())?;
    transaction.commit()
}
