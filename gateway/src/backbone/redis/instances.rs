//! The gateways that share the store, as they say of themselves. Leases run by Redis's clock.
//!
//! ```text
//! urls[INSTANCE] until, in µs (8, big-endian) │ serves: 1 agents, 2 clients, 3 both │ where it is reached
//! ```

use std::time::Duration;

use lockgate_proto::ids::InstanceId;
use redis::{Value, cmd};

use super::keys::RoomKeys;
use super::line::read;
use super::nodes::Nodes;
use crate::backbone::{BackboneError, Instance};

const EDGE: u8 = 1;
const CLIENT: u8 = 2;

/// What an instance said is dropped so long after its lease.
const FORGET_AFTER: Duration = Duration::from_secs(600);

/// Until when something stands, and what.
struct Kept {
    until: i64,
    instance: Instance,
}

/// By the name of the field. `None`: another version wrote it.
type Row = (Vec<u8>, Option<Kept>);

/// Says that an instance is there, or without a lease, that it is there no more.
pub(super) async fn announce(nodes: &Nodes, instance: &Instance, lease: Duration) -> Result<(), BackboneError> {
    let keys = RoomKeys::of_no_room();
    let field = field(instance.id);
    if lease.is_zero() {
        return nodes.ask_one(&keys, cmd("HDEL").arg(keys.urls()).arg(field).take()).await;
    }
    let (now, rows) = stored(nodes, &keys).await?;
    let is_old =
        |(_, kept): &&Row| kept.as_ref().is_some_and(|kept| kept.until.saturating_add(micros(FORGET_AFTER)) < now);
    let old: Vec<&[u8]> = rows.iter().filter(is_old).map(|(field, _)| field.as_slice()).collect();
    if !old.is_empty() {
        nodes.ask_one::<()>(&keys, cmd("HDEL").arg(keys.urls()).arg(old).take()).await?;
    }
    let row = encode(instance, now.saturating_add(micros(lease)));
    nodes.ask_one(&keys, cmd("HSET").arg(keys.urls()).arg(field).arg(row).take()).await
}

/// The instances whose lease stands, by their ids.
pub(super) async fn read_all(nodes: &Nodes) -> Result<Vec<Instance>, BackboneError> {
    let (now, rows) = stored(nodes, &RoomKeys::of_no_room()).await?;
    let standing = rows.into_iter().filter_map(|(_, kept)| kept.filter(|kept| now <= kept.until));
    let mut instances: Vec<Instance> = standing.map(|kept| kept.instance).collect();
    instances.sort_unstable_by_key(|instance| instance.id);
    Ok(instances)
}

/// Redis's time, and all that is stored.
async fn stored(nodes: &Nodes, keys: &RoomKeys) -> Result<(i64, Vec<Row>), BackboneError> {
    let asked = [cmd("TIME"), cmd("HGETALL").arg(keys.urls()).take()];
    let answers: Vec<Value> = nodes.ask(keys, &asked).await?;
    let [time, rows] = answers
        .try_into()
        .map_err(|_| BackboneError::Damaged { what: "Redis does not answer all that was asked".to_owned() })?;
    let (seconds, micros): (i64, i64) = read(Ok(time))?;
    let rows: Vec<(Vec<u8>, Vec<u8>)> = read(Ok(rows))?;
    let row = |(field, row): (Vec<u8>, Vec<u8>)| {
        let kept = decode(&field, &row);
        (field, kept)
    };
    Ok((seconds.saturating_mul(1_000_000).saturating_add(micros), rows.into_iter().map(row).collect()))
}

fn field(id: InstanceId) -> String {
    format!("{:016x}", id.0)
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

fn encode(instance: &Instance, until: i64) -> Vec<u8> {
    let serves = u8::from(instance.edge) * EDGE + u8::from(instance.client) * CLIENT;
    [&until.to_be_bytes()[..], &[serves], instance.url.to_string().as_bytes()].concat()
}

fn decode(field: &[u8], row: &[u8]) -> Option<Kept> {
    let id = InstanceId(u64::from_str_radix(std::str::from_utf8(field).ok()?, 16).ok()?);
    let (until, rest) = row.split_first_chunk()?;
    let (serves, url) = rest.split_first()?;
    let url = std::str::from_utf8(url).ok()?.parse().ok()?;
    let instance = Instance { id, url, edge: serves & EDGE != 0, client: serves & CLIENT != 0 };
    Some(Kept { until: i64::from_be_bytes(*until), instance })
}
