//! What clients are told: domain values → bodies of `ServerFrame`s. Deliveries are framed by the room.

use std::time::Duration;

use lockgate_proto::attendance::{Attendee, Present};
use lockgate_proto::command::{CommandId, CommandUpdate, Kept, Summary};
use lockgate_proto::convert::{
    attendee_to_wire, command_to_wire, command_update_to_wire, description_to_wire, instant_to_wire, quality_to_wire,
    value_to_wire,
};
use lockgate_proto::description::Description;
use lockgate_proto::ids::{AgentName, DeviceName, Site};
use lockgate_proto::position::Position;
use lockgate_proto::wire;
use lockgate_proto::wire::server_frame::Body;
use prost::Message;

use crate::backbone::{CommandPage, DevicePage, DeviceShadow, ShadowMetric};
use crate::client_session::conflate_logic::Conflated;
use crate::client_session::request::{RequestError, place_text};
use crate::drain::Farewell;

/// Answers carry the request's number; this one is for what nobody asked.
pub(crate) const UNASKED: u32 = 0;

/// How a subscription begins, or goes on elsewhere.
#[derive(Clone, Debug)]
pub(crate) struct Begun {
    /// Everything up to here is settled for the client.
    pub(crate) position: Position,
    /// Why what was asked for could not be had; `None`: it was.
    pub(crate) not_recovered: Option<wire::NotRecovered>,
    /// The shadows that pass the filter.
    pub(crate) snapshot: Vec<DeviceShadow>,
    /// There are shadows to tell, but too many of them.
    pub(crate) snapshot_left_out: bool,
    /// Entries may be left out.
    pub(crate) filtered: bool,
}

pub(crate) fn error(error: &RequestError) -> Body {
    Body::Error(wire::Error {
        code: error.code.into(),
        message: error.message.clone(),
        field: error.field.to_string(),
        retry_after_ms: error.retry_after.map_or(0, millis),
    })
}

pub(crate) fn subscribed(site: &Site, asked_since: bool, begun: Begun) -> wire::Subscribed {
    wire::Subscribed {
        site: site.as_str().to_owned(),
        position: Some(position(begun.position)),
        recovered: asked_since && begun.not_recovered.is_none(),
        reason: begun.not_recovered.unwrap_or_default().into(),
        snapshot: begun.snapshot.into_iter().map(shadow).collect(),
        time_zone: String::new(),
        filtered: begun.filtered,
        snapshot_left_out: begun.snapshot_left_out,
    }
}

pub(crate) fn positions<'p>(positions: impl Iterator<Item = (&'p Site, Position)>) -> Body {
    let positions =
        positions.map(|(site, at)| wire::SitePosition { site: site.as_str().to_owned(), position: Some(position(at)) });
    Body::Positions(wire::Positions { positions: positions.collect() })
}

pub(crate) fn lagged(site: &Site, after: Position, through: Position) -> Body {
    Body::Lagged(wire::Lagged {
        site: site.as_str().to_owned(),
        after: Some(position(after)),
        through: Some(position(through)),
    })
}

/// `here`: who is in the room, where agents are counted.
pub(crate) fn device_list(site: &Site, page: DevicePage, here: Option<&[Present]>) -> wire::DeviceList {
    let is_here = |agent: &AgentName| {
        let same = |present: &Present| matches!(&present.attendee, Attendee::Agent(name) if name == agent);
        here.map(|here| here.iter().any(same))
    };
    let last = page.devices.last().filter(|_| page.more);
    let next = last.map(|last| last.device.as_str().to_owned()).unwrap_or_default();
    let devices = page.devices.into_iter().map(|summary| wire::DeviceSummary {
        device: summary.device.as_str().to_owned(),
        agent: summary.agent.as_str().to_owned(),
        last_seen_us: instant_to_wire(summary.last_seen),
        metrics: u32::try_from(summary.metrics).unwrap_or(u32::MAX),
        online: summary.online,
        stale: summary.stale,
        agent_here: is_here(&summary.agent),
        tags: summary.tags.iter().map(|tag| tag.as_str().to_owned()).collect(),
    });
    wire::DeviceList { site: site.as_str().to_owned(), devices: devices.collect(), next }
}

pub(crate) fn presence_list(site: &Site, present: Vec<Present>) -> wire::PresenceList {
    let attendees = present.into_iter().map(|present| wire::Attendance {
        attendee: Some(attendee_to_wire(&present.attendee)),
        here: true,
        connections: present.connections,
        since_us: present.since.0,
    });
    wire::PresenceList { site: site.as_str().to_owned(), attendees: attendees.collect() }
}

pub(crate) fn shadow_reply(site: &Site, at: Position, device: DeviceShadow) -> wire::ShadowReply {
    let shadow = Some(shadow(device));
    wire::ShadowReply { site: site.as_str().to_owned(), shadow, position: Some(position(at)) }
}

/// A stretch of the log in short. An entry that can't be read is left out; its place is settled all the same.
pub(crate) fn conflated(site: &Site, conflated: Conflated) -> Body {
    let entries = conflated.others.iter().filter_map(|entry| wire::Entry::decode(entry.bytes.clone()).ok());
    Body::Conflated(wire::Conflated {
        site: site.as_str().to_owned(),
        after: Some(position(conflated.after)),
        through: Some(position(conflated.through)),
        entries: entries.collect(),
        left_out: conflated.left_out,
        latest: conflated.latest.into_iter().map(shadow).collect(),
    })
}

/// A command as it was ordered, and where it stands.
pub(crate) fn command_status(site: &Site, kept: &Kept) -> wire::CommandStatus {
    wire::CommandStatus {
        command: Some(command_to_wire(&kept.command)),
        accepted_at_us: kept.accepted_at.0,
        cancel_asked: kept.cancel && kept.standing.state.outcome().is_none(),
        ..command_update(site, &kept.update())
    }
}

/// Where a command stands now.
pub(crate) fn command_update(site: &Site, update: &CommandUpdate) -> wire::CommandStatus {
    let now = Some(command_update_to_wire(update));
    wire::CommandStatus { site: site.as_str().to_owned(), now, ..wire::CommandStatus::default() }
}

pub(crate) fn group_status(site: &Site, id: &CommandId, summary: &Summary) -> Body {
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let counts = summary.counts.iter();
    Body::Group(wire::GroupStatus {
        site: site.as_str().to_owned(),
        id: id.as_str().to_owned(),
        members: number(summary.members),
        ended: number(summary.ended),
        over: number(summary.over),
        counts: counts
            .map(|(word, count)| wire::StateCount { state: (*word).to_owned(), commands: number(*count) })
            .collect(),
    })
}

pub(crate) fn command_list(site: &Site, page: &CommandPage) -> wire::CommandList {
    let next = page.next.as_ref().map(place_text).unwrap_or_default();
    let commands = page.commands.iter().map(|kept| command_status(site, kept)).collect();
    wire::CommandList { site: site.as_str().to_owned(), commands, next }
}

pub(crate) fn go_away(reason: &str, farewell: Farewell) -> Body {
    let reconnect_after_ms = millis(farewell.reconnect_after);
    Body::GoAway(wire::GoAwayClient { reason: reason.to_owned(), reconnect_after_ms, gateways: farewell.gateways })
}

pub(crate) fn degraded(reason: Option<&str>) -> Body {
    let degraded = reason.is_some();
    Body::Degraded(wire::Degraded { degraded, reason: reason.unwrap_or_default().to_owned() })
}

pub(crate) fn description_reply(site: &Site, description: Option<&Description>) -> wire::DescriptionReply {
    let description = description.map(description_to_wire);
    wire::DescriptionReply { site: site.as_str().to_owned(), description }
}

/// What a client is told where a name is asked for that nobody has told of.
pub(crate) fn no_such_device(device: &DeviceName, field: &'static str) -> RequestError {
    let message = format!("no device {:?} is known in this site; `lockgate devices SITE` lists them", device.as_str());
    RequestError::new(wire::ErrorCode::NotFound, field, message)
}

pub(crate) fn position(position: Position) -> wire::Position {
    wire::Position { offset: position.offset.0, stamp: position.stamp.0 }
}

pub(crate) fn millis(span: Duration) -> u32 {
    u32::try_from(span.as_millis()).unwrap_or(u32::MAX)
}

fn shadow(shadow: DeviceShadow) -> wire::DeviceShadow {
    wire::DeviceShadow {
        device: shadow.device.as_str().to_owned(),
        agent: shadow.agent.as_str().to_owned(),
        metrics: shadow.metrics.into_iter().map(shadow_metric).collect(),
        online: shadow.online,
        stale: shadow.stale,
        last_seen_us: instant_to_wire(shadow.last_seen),
    }
}

fn shadow_metric(metric: ShadowMetric) -> wire::ShadowMetric {
    let reading = metric.reading;
    wire::ShadowMetric {
        metric: Some(wire::Metric {
            name: reading.metric.as_str().to_owned(),
            unit: reading.unit.as_deref().unwrap_or_default().to_owned(),
        }),
        value: Some(value_to_wire(&reading.value)),
        quality: quality_to_wire(&reading.quality),
        sampled_at_us: reading.sampled_at.0,
        received_at_us: metric.received_at.0,
    }
}
