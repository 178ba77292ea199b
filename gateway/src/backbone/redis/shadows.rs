//! Shadows as Redis keeps them: what a step tells of each device, and what readers get back.
//!
//! ```text
//! devices[DEVICE]      generation (4) │ order of presence (16) │ online: 1, 0, s or - │ last seen (8) │ agent
//! shadow:DEVICE[METRIC] generation (4) │ order (16) │ received at (8) │ an encoded record of one reading
//! ```
//!
//! `s`: not online, and nobody said so but the device's silence.
//!
//! An order is epoch order and number, big-endian, so that strings compare as numbers do. A device that goes
//! over to another agent gets a new generation: what is of an older one is older than anything.

use bytes::Bytes;
use lockgate_proto::convert::decode_record;
use lockgate_proto::ids::{AgentName, DeviceName};
use lockgate_proto::record::Record;
use lockgate_proto::time::UnixMicros;
use redis::{Cmd, FromRedisValue, cmd};

use super::descriptions;
use super::keys::RoomKeys;
use super::nodes::Nodes;
use crate::backbone::prepare::PreparedEntry;
use crate::backbone::shadow_logic::Shadow;
use crate::backbone::tags_logic::tags_to_text;
use crate::backbone::{BackboneError, DeviceShadow, DeviceSummary, ReadingOrder, ShadowMetric};

/// What all entries of a step together tell of one device.
pub(super) struct Telling {
    pub(super) device: DeviceName,
    /// Nothing of it is of the present.
    pub(super) backlog: bool,
    pub(super) shadow: Shadow<Bytes>,
}

/// A device's row, or one of its metrics, is not what this program writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a shadow is not readable")]
pub(super) struct BadShadow;

/// What the store keeps of a device beside its metrics.
pub(super) struct DeviceRow {
    generation: u32,
    pub(super) agent: AgentName,
    pub(super) online: Option<bool>,
    pub(super) stale: bool,
    pub(super) last_seen: Option<UnixMicros>,
}

/// Gathers what entries tell, by device.
pub(super) fn tellings(entries: &[PreparedEntry]) -> Vec<Telling> {
    let mut tellings: Vec<Telling> = Vec::new();
    let mut at = std::collections::HashMap::new();
    for entry in entries {
        let (Some(says), Some(device)) = (&entry.says, &entry.device) else { continue };
        let teller = says.teller(entry.received_at);
        let index = *at.entry(device).or_insert_with(|| {
            let shadow = Shadow::new(teller.agent.clone());
            tellings.push(Telling { device: device.clone(), backlog: true, shadow });
            tellings.len() - 1
        });
        let telling = &mut tellings[index];
        telling.backlog &= teller.backlog;
        for told in &says.told {
            telling.shadow.apply(&teller, told.clone());
        }
    }
    tellings
}

impl Telling {
    /// The arguments from which the function that applies steps reads it.
    pub(super) fn args(&self) -> Vec<Bytes> {
        let shadow = &self.shadow;
        let flag = |flag: bool| Bytes::from_static(if flag { b"1" } else { b"0" });
        let mut args = vec![
            Bytes::copy_from_slice(self.device.as_str().as_bytes()),
            flag(self.backlog),
            order_bytes(shadow.presence_order),
            if shadow.stale { Bytes::from_static(b"s") } else { shadow.online.map_or(Bytes::new(), flag) },
            seen_bytes(shadow.last_seen),
            order_bytes(shadow.described_order),
            Bytes::from(tags_to_text(&shadow.tags)),
            shadow.described.clone().unwrap_or_default(),
            Bytes::from(shadow.metrics.len().to_string()),
        ];
        for (metric, slot) in &shadow.metrics {
            let received_at = slot.received_at.0.to_be_bytes();
            args.push(Bytes::copy_from_slice(metric.as_str().as_bytes()));
            args.push(order_bytes(slot.order));
            args.push([&received_at[..], &slot.value].concat().into());
        }
        args
    }
}

impl DeviceRow {
    pub(super) fn decode(row: &[u8]) -> Result<DeviceRow, BadShadow> {
        let parts = || {
            let (generation, row) = row.split_first_chunk()?;
            let (_presence, row) = row.split_first_chunk::<16>()?;
            let (online, row) = row.split_first()?;
            let (seen, agent) = row.split_first_chunk()?;
            let agent = AgentName::new(std::str::from_utf8(agent).ok()?).ok()?;
            let (online, stale) = match online {
                b'1' => (Some(true), false),
                b'0' => (Some(false), false),
                b's' => (Some(false), true),
                b'-' => (None, false),
                _ => return None,
            };
            let last_seen = seen_from(*seen);
            Some(DeviceRow { generation: u32::from_be_bytes(*generation), agent, online, stale, last_seen })
        };
        parts().ok_or(BadShadow)
    }

    /// The shadow that this row and the device's metrics are; `metrics` are the values of the hash.
    pub(super) fn with(self, device: DeviceName, metrics: Vec<Vec<u8>>) -> Result<DeviceShadow, BadShadow> {
        let metrics = metrics.into_iter().map(|slot| decode_slot(self.generation, slot).ok_or(BadShadow));
        let mut metrics = metrics.collect::<Result<Vec<_>, _>>()?;
        metrics.sort_by(|left, right| left.reading.metric.cmp(&right.reading.metric));
        let DeviceRow { agent, online, stale, last_seen, .. } = self;
        Ok(DeviceShadow { device, agent, online, stale, last_seen, metrics })
    }
}

fn decode_slot(generation: u32, slot: Vec<u8>) -> Option<ShadowMetric> {
    let slot = Bytes::from(slot);
    let (written_in, rest) = slot.split_first_chunk()?;
    let (epoch_order, rest) = rest.split_first_chunk()?;
    let (seq, rest) = rest.split_first_chunk()?;
    let (received_at, record) = rest.split_first_chunk()?;
    let Record::Telemetry(mut telemetry) = decode_record(slot.slice_ref(record)).ok()? else { return None };
    let order = if u32::from_be_bytes(*written_in) == generation {
        ReadingOrder { epoch_order: u64::from_be_bytes(*epoch_order), seq: u64::from_be_bytes(*seq) }
    } else {
        ReadingOrder::default()
    };
    let received_at = UnixMicros(i64::from_be_bytes(*received_at));
    Some(ShadowMetric { reading: telemetry.readings.pop()?, received_at, order })
}

fn order_bytes(order: ReadingOrder) -> Bytes {
    [order.epoch_order.to_be_bytes(), order.seq.to_be_bytes()].concat().into()
}

/// Times before 1970 are negative; with the sign's bit turned over, bytes compare as times do.
fn seen_bytes(seen: Option<UnixMicros>) -> Bytes {
    let bits = seen.map_or(0, |at| at.0.cast_unsigned() ^ SIGN);
    Bytes::copy_from_slice(&bits.to_be_bytes())
}

fn seen_from(bytes: [u8; 8]) -> Option<UnixMicros> {
    match u64::from_be_bytes(bytes) {
        0 => None,
        bits => Some(UnixMicros((bits ^ SIGN).cast_signed())),
    }
}

const SIGN: u64 = 1 << 63;

/// LIMIT: devices whose metrics one round trip brings.
const DEVICES_PER_TRIP: usize = 256;

/// All devices of a room, by name.
pub(super) async fn rows(nodes: &Nodes, keys: &RoomKeys) -> Result<Vec<(DeviceName, DeviceRow)>, BackboneError> {
    let stored: Vec<(String, Vec<u8>)> = nodes.ask_one(keys, cmd("HGETALL").arg(keys.devices()).take()).await?;
    let row = |(device, row): (String, Vec<u8>)| {
        Ok((DeviceName::new(device).map_err(|_| damaged())?, DeviceRow::decode(&row).map_err(|_| damaged())?))
    };
    let mut rows = stored.into_iter().map(row).collect::<Result<Vec<_>, BackboneError>>()?;
    rows.sort_by(|left, right| left.0.cmp(&right.0));
    Ok(rows)
}

/// One device, if it is known.
pub(super) async fn row(
    nodes: &Nodes,
    keys: &RoomKeys,
    device: &DeviceName,
) -> Result<Option<DeviceRow>, BackboneError> {
    let asked = cmd("HGET").arg(keys.devices()).arg(device.as_str()).take();
    let row: Option<Vec<u8>> = nodes.ask_one(keys, asked).await?;
    row.map(|row| DeviceRow::decode(&row).map_err(|_| damaged())).transpose()
}

/// The shadows of these devices.
pub(super) async fn read(
    nodes: &Nodes,
    keys: &RoomKeys,
    rows: Vec<(DeviceName, DeviceRow)>,
) -> Result<Vec<DeviceShadow>, BackboneError> {
    let asked = |device: &DeviceName| cmd("HVALS").arg(keys.shadow(device)).take();
    let metrics: Vec<Vec<Vec<u8>>> = of_each(nodes, keys, &rows, asked).await?;
    let shadows = rows.into_iter().zip(metrics).map(|((device, row), metrics)| row.with(device, metrics));
    shadows.collect::<Result<_, _>>().map_err(|_| damaged())
}

/// The devices of a room in short, by name.
pub(super) async fn list(nodes: &Nodes, keys: &RoomKeys) -> Result<Vec<DeviceSummary>, BackboneError> {
    let rows = rows(nodes, keys).await?;
    let asked = |device: &DeviceName| cmd("HLEN").arg(keys.shadow(device)).take();
    let counts: Vec<usize> = of_each(nodes, keys, &rows, asked).await?;
    let mut tags = descriptions::tags(nodes, keys).await?;
    let summary = |((device, row), metrics): ((DeviceName, DeviceRow), usize)| DeviceSummary {
        tags: tags.remove(device.as_str()).unwrap_or_default(),
        device,
        agent: row.agent,
        online: row.online,
        stale: row.stale,
        last_seen: row.last_seen,
        metrics,
    };
    Ok(rows.into_iter().zip(counts).map(summary).collect())
}

/// Asks the same of each device, many in one round trip.
async fn of_each<T: FromRedisValue>(
    nodes: &Nodes,
    keys: &RoomKeys,
    rows: &[(DeviceName, DeviceRow)],
    asked: impl Fn(&DeviceName) -> Cmd,
) -> Result<Vec<T>, BackboneError> {
    let mut answers = Vec::with_capacity(rows.len());
    for rows in rows.chunks(DEVICES_PER_TRIP) {
        let commands: Vec<Cmd> = rows.iter().map(|(device, _)| asked(device)).collect();
        answers.extend(nodes.ask(keys, &commands).await?);
    }
    Ok(answers)
}

fn damaged() -> BackboneError {
    BackboneError::Damaged { what: BadShadow.to_string() }
}
