//! Shadows on disk and in the writer's hands.
//!
//! A device is one row. Its `metrics` column is a version byte, then for each metric: epoch order, seq and
//! time of receipt (eight bytes each), length (four), all little-endian, and an encoded record of one reading.
//! So a step rewrites one row per device, however many readings it brings. What a device was described as is large
//! and seldom told: it has a row of its own, and only its place and its tags are here.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use bytes::Bytes;
use lockgate_proto::convert::decode_record;
use lockgate_proto::ids::{AgentName, DeviceName, Tag};
use lockgate_proto::reading::Reading;
use lockgate_proto::record::Record;
use lockgate_proto::time::UnixMicros;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::descriptions;
use super::log::damaged;
use crate::backbone::shadow_logic::{Shadow, Slot, Teller, Told};
use crate::backbone::tags_logic::{tags_from_text, tags_to_text};
use crate::backbone::{DevicePage, DeviceShadow, DeviceSummary, PageWanted, ReadingOrder, ShadowMetric, Wanted};

/// LIMIT: the writer keeps so many devices at hand; beyond, it starts afresh and reads those it needs again.
const DEVICES_KEPT_MAX: usize = 20_000;

const METRICS_VERSION: u8 = 1;
const MARK_BYTES: usize = 28;
const PUT: &str = "INSERT INTO shadows (room, device, agent, online, presence_epoch_order, presence_seq, last_seen, \
     metric_count, metrics, described_epoch_order, described_seq, tags) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) \
     ON CONFLICT (room, device) DO UPDATE SET agent = excluded.agent, online = excluded.online, \
     presence_epoch_order = excluded.presence_epoch_order, presence_seq = excluded.presence_seq, \
     last_seen = excluded.last_seen, metric_count = excluded.metric_count, metrics = excluded.metrics, \
     described_epoch_order = excluded.described_epoch_order, described_seq = excluded.described_seq, \
     tags = excluded.tags";
const COLUMNS: &str = "device, agent, online, presence_epoch_order, presence_seq, last_seen, metric_count, metrics, \
     described_epoch_order, described_seq, tags";

/// The shadows that the writer works on. Readings are kept encoded, as the rows have them.
pub(super) struct Shadows {
    kept: HashMap<Key, Shadow<Bytes>>,
    changed: Vec<Key>,
    /// How many devices each room has; counted when first needed.
    counts: HashMap<i64, usize>,
    /// Most devices of a room.
    devices_max: usize,
}

/// A device of a room.
pub(super) type Key = (i64, DeviceName);

impl Shadows {
    pub(super) fn new(devices_max: usize) -> Shadows {
        Shadows { kept: HashMap::new(), changed: Vec::new(), counts: HashMap::new(), devices_max }
    }

    /// Forgets what was not written; the rows are the truth.
    pub(super) fn forget(&mut self) {
        self.kept.clear();
        self.changed.clear();
        self.counts.clear();
    }

    /// Takes in what a record tells of a device. [`Shadows::write`] has it stored. Gives the device back where the
    /// room has as many as it may have, and this is none of them.
    pub(super) fn tell(
        &mut self,
        store: &Connection,
        key: Key,
        teller: &Teller<'_>,
        told: Vec<Told<Bytes>>,
    ) -> rusqlite::Result<Option<Key>> {
        let shadow = match self.kept.entry(key.clone()) {
            Entry::Occupied(kept) => kept.into_mut(),
            Entry::Vacant(vacant) => {
                let shadow = match load(store, key.0, &key.1)? {
                    Some(stored) => stored,
                    None if takes_one_more(&mut self.counts, store, key.0, self.devices_max)? => {
                        Shadow::new(teller.agent.clone())
                    }
                    None => return Ok(Some(key)),
                };
                vacant.insert(shadow)
            }
        };
        let mut changed = false;
        for told in told {
            changed |= shadow.apply(teller, told);
        }
        if changed {
            self.changed.push(key);
        }
        Ok(None)
    }

    /// Writes every shadow that changed since the last time.
    pub(super) fn write(&mut self, store: &Connection) -> rusqlite::Result<()> {
        if self.changed.is_empty() {
            return Ok(());
        }
        // In the order of the index, so that neighbours share a page while it is at hand.
        self.changed.sort_unstable();
        self.changed.dedup();
        let mut put = store.prepare_cached(PUT)?;
        for key in self.changed.drain(..) {
            let Some(shadow) = self.kept.get_mut(&key) else { continue };
            if let Some(description) = shadow.described.take() {
                descriptions::put(store, &key, &description)?;
            }
            put.execute(params![
                key.0,
                key.1.as_str(),
                shadow.agent.as_str(),
                standing(shadow.online, shadow.stale),
                shadow.presence_order.epoch_order.cast_signed(),
                shadow.presence_order.seq.cast_signed(),
                shadow.last_seen.map(|at| at.0),
                i64::try_from(shadow.metrics.len()).unwrap_or(i64::MAX),
                encode(shadow),
                shadow.described_order.epoch_order.cast_signed(),
                shadow.described_order.seq.cast_signed(),
                tags_to_text(&shadow.tags),
            ])?;
        }
        if self.kept.len() > DEVICES_KEPT_MAX {
            self.kept.clear();
            self.counts.clear();
        }
        Ok(())
    }
}

/// Counts one device more, if the room may have it.
fn takes_one_more(
    counts: &mut HashMap<i64, usize>,
    store: &Connection,
    room: i64,
    devices_max: usize,
) -> rusqlite::Result<bool> {
    let count = match counts.entry(room) {
        Entry::Occupied(known) => known.into_mut(),
        Entry::Vacant(unknown) => {
            let sql = "SELECT COUNT(*) FROM shadows WHERE room = ?1";
            let stored: i64 = store.prepare_cached(sql)?.query_row([room], |row| row.get(0))?;
            unknown.insert(usize::try_from(stored).unwrap_or(usize::MAX))
        }
    };
    let takes = *count < devices_max;
    *count += usize::from(takes);
    Ok(takes)
}

/// One device's shadow, for readers.
pub(super) fn read_one(store: &Connection, room: i64, device: &DeviceName) -> rusqlite::Result<Option<DeviceShadow>> {
    let sql = format!("SELECT {COLUMNS} FROM shadows WHERE room = ?1 AND device = ?2");
    store.prepare_cached(&sql)?.query_row(params![room, device.as_str()], for_people).optional()
}

/// All shadows of a room by name of the device, for readers.
pub(super) fn read_all(store: &Connection, room: i64) -> rusqlite::Result<Vec<DeviceShadow>> {
    let sql = format!("SELECT {COLUMNS} FROM shadows WHERE room = ?1 ORDER BY device");
    store.prepare_cached(&sql)?.query_map([room], for_people)?.collect()
}

/// Those of some devices. What is not wanted is not decoded, and nothing more once there is too much of it.
pub(super) fn read_some(store: &Connection, room: i64, wanted: &Wanted) -> rusqlite::Result<Option<Vec<DeviceShadow>>> {
    let sql = format!("SELECT {COLUMNS} FROM shadows WHERE room = ?1 ORDER BY device");
    let mut select = store.prepare_cached(&sql)?;
    let shadows = select.query_map([room], |row| {
        let device = device_name(row, 0)?;
        wanted.devices.holds(&device).then(|| for_people(row)).transpose()
    })?;
    wanted.take(shadows.filter_map(Result::transpose))
}

const SUMMARIES: &str = "SELECT device, agent, online, last_seen, metric_count, tags FROM shadows WHERE room = ?1 \
     AND device > ?2 ORDER BY device";

/// All devices of a room by name.
pub(super) fn list(store: &Connection, room: i64) -> rusqlite::Result<Vec<DeviceSummary>> {
    store.prepare_cached(SUMMARIES)?.query_map(params![room, ""], summary)?.collect()
}

/// A part of them.
pub(super) fn page(store: &Connection, room: i64, wanted: &PageWanted) -> rusqlite::Result<DevicePage> {
    let after = wanted.after.as_ref().map_or("", |after| after.as_str());
    wanted.take(store.prepare_cached(SUMMARIES)?.query_map(params![room, after], summary)?)
}

fn summary(row: &Row<'_>) -> rusqlite::Result<DeviceSummary> {
    let (online, stale) = standing_from(row)?;
    Ok(DeviceSummary {
        device: device_name(row, 0)?,
        agent: agent_name(row, 1)?,
        online,
        stale,
        last_seen: row.get::<_, Option<i64>>(3)?.map(UnixMicros),
        metrics: usize::try_from(row.get::<_, i64>(4)?).unwrap_or(0),
        tags: tags(row, 5)?,
    })
}

fn load(store: &Connection, room: i64, device: &DeviceName) -> rusqlite::Result<Option<Shadow<Bytes>>> {
    let sql = format!("SELECT {COLUMNS} FROM shadows WHERE room = ?1 AND device = ?2");
    let shadow = |row: &Row<'_>| {
        let mut shadow = Shadow::new(agent_name(row, 1)?);
        (shadow.online, shadow.stale) = standing_from(row)?;
        shadow.presence_order = order(row.get(3)?, row.get(4)?);
        shadow.last_seen = row.get::<_, Option<i64>>(5)?.map(UnixMicros);
        for stored in decode(row)? {
            let slot = Slot { order: stored.order, received_at: stored.received_at, value: stored.bytes };
            shadow.metrics.insert(stored.reading.metric, slot);
        }
        shadow.described_order = order(row.get(8)?, row.get(9)?);
        shadow.tags = tags(row, 10)?;
        Ok(shadow)
    };
    store.prepare_cached(&sql)?.query_row(params![room, device.as_str()], shadow).optional()
}

fn for_people(row: &Row<'_>) -> rusqlite::Result<DeviceShadow> {
    let metrics = decode(row)?.into_iter().map(|stored| ShadowMetric {
        reading: stored.reading,
        received_at: stored.received_at,
        order: stored.order,
    });
    let (online, stale) = standing_from(row)?;
    Ok(DeviceShadow {
        device: device_name(row, 0)?,
        agent: agent_name(row, 1)?,
        online,
        stale,
        last_seen: row.get::<_, Option<i64>>(5)?.map(UnixMicros),
        metrics: metrics.collect(),
    })
}

/// The `metrics` column.
fn encode(shadow: &Shadow<Bytes>) -> Vec<u8> {
    let size = shadow.metrics.values().fold(1, |sum, slot| sum + MARK_BYTES + slot.value.len());
    let mut column = Vec::with_capacity(size);
    column.push(METRICS_VERSION);
    for slot in shadow.metrics.values() {
        let length = u32::try_from(slot.value.len()).expect("a record is limited to far less");
        column.extend_from_slice(&slot.order.epoch_order.to_le_bytes());
        column.extend_from_slice(&slot.order.seq.to_le_bytes());
        column.extend_from_slice(&slot.received_at.0.to_le_bytes());
        column.extend_from_slice(&length.to_le_bytes());
        column.extend_from_slice(&slot.value);
    }
    column
}

struct Stored {
    order: ReadingOrder,
    received_at: UnixMicros,
    reading: Reading,
    bytes: Bytes,
}

fn decode(row: &Row<'_>) -> rusqlite::Result<Vec<Stored>> {
    const COLUMN: usize = 7;
    let broken = || damaged(COLUMN, "a shadow is not readable");
    let column = row.get_ref(COLUMN)?.as_blob().map_err(|_| broken())?;
    let Some((&METRICS_VERSION, mut rest)) = column.split_first() else { return Err(broken()) };
    let mut metrics = Vec::new();
    while !rest.is_empty() {
        let (stored, after) = decode_metric(rest).ok_or_else(broken)?;
        metrics.push(stored);
        rest = after;
    }
    Ok(metrics)
}

fn decode_metric(bytes: &[u8]) -> Option<(Stored, &[u8])> {
    let (epoch_order, bytes) = bytes.split_first_chunk()?;
    let (seq, bytes) = bytes.split_first_chunk()?;
    let (received_at, bytes) = bytes.split_first_chunk()?;
    let (length, bytes) = bytes.split_first_chunk()?;
    let (record, rest) = bytes.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    let bytes = Bytes::copy_from_slice(record);
    let Record::Telemetry(mut telemetry) = decode_record(bytes.clone()).ok()? else { return None };
    let reading = telemetry.readings.pop()?;
    let order = ReadingOrder { epoch_order: u64::from_le_bytes(*epoch_order), seq: u64::from_le_bytes(*seq) };
    let received_at = UnixMicros(i64::from_le_bytes(*received_at));
    Some((Stored { order, received_at, reading, bytes }, rest))
}

/// The `online` column: 1 there, 0 gone, 2 gone because it was silent, null never told.
fn standing(online: Option<bool>, stale: bool) -> Option<i64> {
    online.map(|online| if stale { STALE } else { i64::from(online) })
}

fn standing_from(row: &Row<'_>) -> rusqlite::Result<(Option<bool>, bool)> {
    let column: Option<i64> = row.get(2)?;
    Ok((column.map(|standing| standing == 1), column == Some(STALE)))
}

const STALE: i64 = 2;

fn order(epoch_order: i64, seq: i64) -> ReadingOrder {
    ReadingOrder { epoch_order: epoch_order.cast_unsigned(), seq: seq.cast_unsigned() }
}

fn device_name(row: &Row<'_>, column: usize) -> rusqlite::Result<DeviceName> {
    DeviceName::new(row.get::<_, String>(column)?).map_err(|_| damaged(column, "a device has no name"))
}

fn tags(row: &Row<'_>, column: usize) -> rusqlite::Result<Vec<Tag>> {
    let text = row.get_ref(column)?.as_str().map_err(|_| damaged(column, "a device's tags are no text"))?;
    tags_from_text(text).ok_or_else(|| damaged(column, "a device has a tag that is none"))
}

pub(super) fn agent_name(row: &Row<'_>, column: usize) -> rusqlite::Result<AgentName> {
    AgentName::new(row.get::<_, String>(column)?).map_err(|_| damaged(column, "an agent has no name"))
}
