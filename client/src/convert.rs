//! Answers of the client link to domain types. Nothing outside `connection`, `subscription` and this file
//! sees the wire.

use lockgate_proto::attendance::Present;
use lockgate_proto::command::CommandId;
use lockgate_proto::convert::{
    ConvertError, attendee_from_wire, command_from_wire, command_update_from_wire, entry_from_wire, gap_from_wire,
    instant_from_wire, reason_from_wire,
};
use lockgate_proto::entry::{AgentGap, Entry, EntryBody};
use lockgate_proto::gap::GapReason;
use lockgate_proto::ids::{AgentName, DeviceName, Tag};
use lockgate_proto::loss::Totals;
use lockgate_proto::position::{Offset, Position, Stamp};
use lockgate_proto::reading::Reading;
use lockgate_proto::record::Telemetry;
use lockgate_proto::time::UnixMicros;
use lockgate_proto::wire;
use lockgate_proto::wire::entry::Body;
use lockgate_proto::wire::server_frame;

use crate::error::ClientError;
use crate::event::{AgentLoss, DeviceShadow, DeviceSummary, NotRecovered, ShadowMetric, Snapshot};
use crate::order::{CommandStatus, GroupStatus, OrderStatus};

pub(crate) fn position(position: Option<wire::Position>) -> Result<Position, ClientError> {
    let position = position.ok_or(ConvertError::Missing { field: "position" })?;
    Ok(Position { offset: Offset(position.offset), stamp: Stamp(position.stamp) })
}

/// The entry. One whose body this version does not understand keeps its place, and says nothing more.
pub(crate) fn entry(entry: wire::Entry) -> Result<Entry, ClientError> {
    let bare = wire::Entry {
        offset: entry.offset,
        stamp: entry.stamp,
        previous_stamp: entry.previous_stamp,
        received_at_us: entry.received_at_us,
        origin: None,
        body: None,
    };
    entry_from_wire(entry).or_else(|_| Ok(entry_from_wire(bare)?))
}

pub(crate) fn not_recovered(reason: i32) -> NotRecovered {
    match wire::NotRecovered::try_from(reason) {
        Ok(wire::NotRecovered::Trimmed) => NotRecovered::Trimmed,
        Ok(wire::NotRecovered::Diverged) => NotRecovered::Diverged,
        Ok(wire::NotRecovered::Unspecified) | Err(_) => NotRecovered::Unknown,
    }
}

pub(crate) fn snapshot(position: Position, shadows: Vec<wire::DeviceShadow>) -> Result<Snapshot, ClientError> {
    let devices = shadows.into_iter().map(shadow).collect::<Result<_, _>>()?;
    Ok(Snapshot { position, devices })
}

pub(crate) fn shadow(shadow: wire::DeviceShadow) -> Result<DeviceShadow, ClientError> {
    let device = shadow.device;
    let metrics = shadow.metrics.into_iter().map(|metric| shadow_metric(&device, metric)).collect::<Result<_, _>>()?;
    Ok(DeviceShadow {
        device: DeviceName::new(&device)?,
        agent: AgentName::new(shadow.agent)?,
        metrics,
        online: shadow.online,
        stale: shadow.stale,
        last_seen: instant_from_wire(shadow.last_seen_us),
    })
}

/// A shadow's metric has the parts of a record's reading, and so is checked as one.
fn shadow_metric(device: &str, metric: wire::ShadowMetric) -> Result<ShadowMetric, ClientError> {
    let quality: Vec<wire::Quality> = metric.quality.into_iter().collect();
    let telemetry = wire::Telemetry {
        device: device.to_owned(),
        metrics: metric.metric.into_iter().collect(),
        base_time_us: metric.sampled_at_us,
        values: metric.value.into_iter().collect(),
        quality_index: quality.iter().map(|_| 1).collect(),
        qualities: quality,
        ..wire::Telemetry::default()
    };
    match body_of(Body::Telemetry(telemetry))? {
        EntryBody::Telemetry(Telemetry { readings, .. }) => {
            let [reading] = <[Reading; 1]>::try_from(readings)
                .map_err(|_| ConvertError::Invalid { field: "shadow.metrics", problem: "is not one reading" })?;
            Ok(ShadowMetric { reading, received_at: UnixMicros(metric.received_at_us) })
        }
        _ => Err(ClientError::WrongAnswer),
    }
}

fn body_of(body: Body) -> Result<EntryBody, ConvertError> {
    let entry = wire::Entry { offset: 1, body: Some(body), ..wire::Entry::default() };
    Ok(entry_from_wire(entry)?.body)
}

pub(crate) fn summary(device: wire::DeviceSummary) -> Result<DeviceSummary, ClientError> {
    Ok(DeviceSummary {
        device: DeviceName::new(device.device)?,
        agent: AgentName::new(device.agent)?,
        last_seen: instant_from_wire(device.last_seen_us),
        metrics: device.metrics,
        online: device.online,
        stale: device.stale,
        agent_here: device.agent_here,
        tags: device.tags.iter().map(Tag::new).collect::<Result<_, _>>()?,
    })
}

pub(crate) fn present(present: wire::Attendance) -> Result<Present, ClientError> {
    let attendee = attendee_from_wire(present.attendee)?;
    Ok(Present { attendee, connections: present.connections, since: UnixMicros(present.since_us) })
}

pub(crate) fn loss(loss: wire::AgentLoss) -> Result<AgentLoss, ClientError> {
    let mut totals =
        Totals { produced: loss.produced, stored: loss.stored, pending: loss.pending, ..Totals::default() };
    for by_reason in &loss.lost {
        let reason = reason_from_wire(by_reason.reason)?;
        let place = GapReason::ALL.iter().position(|other| *other == reason);
        if let Some(lost) = place.and_then(|place| totals.lost.get_mut(place)) {
            lost.records = lost.records.saturating_add(by_reason.records);
            lost.unbounded = lost.unbounded.saturating_add(by_reason.unbounded);
        }
    }
    let agent = AgentName::new(loss.agent)?;
    let gap = |gap| Ok(AgentGap { agent: agent.clone(), gap: gap_from_wire(gap)? });
    let gaps = loss.gaps.iter().map(gap).collect::<Result<_, ConvertError>>()?;
    Ok(AgentLoss { agent, totals, gaps })
}

/// Where something stands that was ordered. `None`: in a state that a later version knows, or something else was told.
pub(crate) fn order_status(body: server_frame::Body) -> Result<Option<OrderStatus>, ClientError> {
    Ok(match body {
        server_frame::Body::Command(status) => {
            command_status(status)?.map(|status| OrderStatus::Command(Box::new(status)))
        }
        server_frame::Body::Group(status) => Some(OrderStatus::Group(group_status(status)?)),
        _ => None,
    })
}

/// Where a command stands. `None`: in a state that a later version knows.
pub(crate) fn command_status(status: wire::CommandStatus) -> Result<Option<CommandStatus>, ClientError> {
    let now = status.now.ok_or(ConvertError::Missing { field: "now" })?;
    let Some(now) = command_update_from_wire(now)? else { return Ok(None) };
    let ordered = match status.command {
        Some(command) => Some((command_from_wire(command)?, UnixMicros(status.accepted_at_us))),
        None => None,
    };
    Ok(Some(CommandStatus { now, ordered, cancel_asked: status.cancel_asked }))
}

fn group_status(status: wire::GroupStatus) -> Result<GroupStatus, ClientError> {
    let id = CommandId::new(status.id).map_err(|source| ConvertError::CommandId { field: "group.id", source })?;
    let counts = status.counts.into_iter().map(|count| (count.state, count.commands)).collect();
    Ok(GroupStatus { id, members: status.members, ended: status.ended, over: status.over, counts })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;

    use super::*;

    /// Whatever parses as Protobuf may come.
    fn parsed<M: Message + Default>(bytes: &[u8]) -> Option<M> {
        M::decode(bytes).ok()
    }

    proptest! {
        #[test]
        fn no_answer_of_a_gateway_breaks_a_client(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _shadow = parsed(&bytes).map(shadow);
            let _summary = parsed(&bytes).map(summary);
            let _loss = parsed(&bytes).map(loss);
            let _present = parsed(&bytes).map(present);
            let _entry = parsed(&bytes).map(entry);
            let _command = parsed(&bytes).map(command_status);
            let _group = parsed(&bytes).map(group_status);
            let _frame = parsed::<wire::ServerFrame>(&bytes);
        }

        #[test]
        fn an_entry_of_a_later_version_keeps_its_place(offset in 1_u64.., stamp: u64, reason in 8_i32..) {
            let gap = wire::Gap { reason, agent: "pi".to_owned(), ..wire::Gap::default() };
            let body = Some(Body::Gap(gap));
            let entry = entry(wire::Entry { offset, stamp, body, ..wire::Entry::default() }).unwrap();
            prop_assert_eq!(entry.body, EntryBody::Unknown);
            prop_assert_eq!(entry.header.position, Position { offset: Offset(offset), stamp: Stamp(stamp) });
        }
    }
}
