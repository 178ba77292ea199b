//! JSON lines for programs: one object a line, `kind` first. Keys are only ever added.

mod orders;

use lockgate_client::{DeviceShadow, DeviceSummary, Event};
use lockgate_proto::attendance::Present;
use lockgate_proto::entry::{AgentGap, Entry, EntryBody, EntryHeader};
use lockgate_proto::gap::{Gap, TimeSpan};
use lockgate_proto::ids::Tag;
use lockgate_proto::reading::{Quality, Reading, Value};
use lockgate_proto::seq::Seq;
use serde::Serialize;
use serde_json::{Value as Json, json};

use super::CliError;
use super::describe::DescriptionJson;
use super::output::{Lines, position, rfc3339};
use orders::{CommandJson, UpdateLine};
pub(super) use orders::{command_status, order};

/// Where an entry stands, and what it was made of.
#[derive(Serialize)]
struct Place {
    offset: u64,
    position: String,
    received_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<String>,
    /// As hexadecimal text: numbers of JSON are too small for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lane: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backlog: Option<bool>,
}

impl Place {
    fn of(header: &EntryHeader) -> Place {
        let origin = header.origin.as_ref();
        Place {
            offset: header.position.offset.0,
            position: position(header.position),
            received_at: rfc3339(header.received_at),
            agent: origin.map(|origin| origin.agent.to_string()),
            epoch: origin.map(|origin| origin.epoch.to_string()),
            lane: origin.map(|origin| origin.lane.as_str()),
            seq: origin.map(|origin| origin.seq.get()),
            backlog: origin.map(|origin| origin.backlog),
        }
    }
}

/// What a reading says, in entries and in shadows.
#[derive(Serialize)]
struct Said<'r> {
    kind: &'static str,
    device: &'r str,
    metric: &'r str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Json>,
    /// In hexadecimal, where the value is bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    value_hex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<&'r str>,
    time: Option<String>,
    quality: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    quality_reason: Option<&'r str>,
}

impl<'r> Said<'r> {
    fn of(kind: &'static str, device: &'r str, reading: &'r Reading) -> Said<'r> {
        let (value, value_hex) = value_json(&reading.value);
        let (quality, quality_reason) = match &reading.quality {
            Quality::Good => ("good", None),
            Quality::Uncertain(reason) => ("uncertain", Some(&**reason)),
            Quality::Bad(reason) => ("bad", Some(&**reason)),
        };
        let time = rfc3339(reading.sampled_at);
        let (metric, unit) = (reading.metric.as_str(), reading.unit.as_deref());
        Said { kind, device, metric, value, value_hex, unit, time, quality, quality_reason }
    }
}

/// A value, or its bytes in hexadecimal.
pub(super) fn value_json(value: &Value) -> (Option<Json>, Option<String>) {
    match value {
        Value::Number(number) => (Some(json!(number)), None),
        Value::Integer(number) => (Some(json!(number)), None),
        Value::Flag(flag) => (Some(json!(flag)), None),
        Value::Text(text) => (Some(json!(**text)), None),
        Value::Raw(bytes) => (None, Some(super::text::hex(bytes))),
    }
}

#[derive(Serialize)]
struct ReadingLine<'r> {
    #[serde(flatten)]
    said: Said<'r>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    historical: bool,
    #[serde(flatten)]
    place: Place,
}

#[derive(Serialize)]
struct PresenceLine<'r> {
    kind: &'static str,
    device: &'r str,
    online: bool,
    time: Option<String>,
    retained: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(flatten)]
    place: Place,
}

/// Someone in a room.
#[derive(Serialize)]
struct AttendeeJson<'r> {
    who: &'static str,
    name: &'r str,
    connections: u32,
    since: Option<String>,
}

impl<'r> AttendeeJson<'r> {
    fn of(present: &'r Present) -> AttendeeJson<'r> {
        let (who, name) = (present.attendee.kind(), present.attendee.name());
        AttendeeJson { who, name, connections: present.connections, since: rfc3339(present.since) }
    }
}

#[derive(Serialize)]
struct AttendanceLine<'r> {
    kind: &'static str,
    #[serde(flatten)]
    attendee: AttendeeJson<'r>,
    here: bool,
    #[serde(flatten)]
    place: Place,
}

#[derive(Serialize)]
struct PresentLine<'r> {
    kind: &'static str,
    #[serde(flatten)]
    attendee: AttendeeJson<'r>,
}

#[derive(Serialize)]
struct AlarmLine<'r> {
    kind: &'static str,
    alarm: &'static str,
    /// The agent that it is about.
    about: Option<String>,
    text: &'r str,
    #[serde(flatten)]
    place: Place,
}

#[derive(Serialize)]
struct DescriptionLine<'r> {
    #[serde(flatten)]
    told: DescriptionJson<'r>,
    #[serde(flatten)]
    place: Place,
}

#[derive(Serialize)]
struct GapLine {
    kind: &'static str,
    #[serde(flatten)]
    gap: GapJson,
    offset: u64,
    position: String,
    received_at: Option<String>,
}

/// A gap.
#[derive(Serialize)]
pub(super) struct GapJson {
    agent: String,
    reason: &'static str,
    epoch: String,
    lane: &'static str,
    first: u64,
    /// `null`: all that followed, however many.
    last: Option<u64>,
    from: Option<String>,
    to: Option<String>,
}

impl GapJson {
    pub(super) fn of(gap: &AgentGap) -> GapJson {
        let AgentGap { agent, gap: Gap { epoch, lane, range, reason, span: TimeSpan { from, to } } } = gap;
        let last = range.last();
        GapJson {
            agent: agent.to_string(),
            reason: reason.as_str(),
            epoch: epoch.to_string(),
            lane: lane.as_str(),
            first: range.first().get(),
            last: (last != Seq::MAX).then_some(last.get()),
            from: from.and_then(rfc3339),
            to: to.and_then(rfc3339),
        }
    }
}

#[derive(Serialize)]
struct DeviceLine<'r> {
    kind: &'static str,
    device: &'r str,
    agent: &'r str,
    online: Option<bool>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stale: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent_here: Option<bool>,
    last_seen: Option<String>,
    metrics: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<&'r str>,
}

#[derive(Serialize)]
struct ShadowLine<'r> {
    #[serde(flatten)]
    said: Said<'r>,
    agent: &'r str,
    received_at: Option<String>,
}

/// What is told of the connection, or of the log as a whole.
#[derive(Default, Serialize)]
struct Notice {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    through: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    left_out: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_in_ms: Option<u64>,
}

impl Notice {
    fn of(kind: &'static str) -> Notice {
        Notice { kind, ..Notice::default() }
    }
}

/// Someone in a room.
pub(super) fn present(lines: &mut Lines, present: &Present) -> Result<(), CliError> {
    lines.json(&PresentLine { kind: "present", attendee: AttendeeJson::of(present) })
}

/// A device of a list.
pub(super) fn device(lines: &mut Lines, summary: &DeviceSummary) -> Result<(), CliError> {
    lines.json(&DeviceLine {
        kind: "device",
        device: summary.device.as_str(),
        agent: summary.agent.as_str(),
        online: summary.online,
        stale: summary.stale,
        agent_here: summary.agent_here,
        last_seen: summary.last_seen.and_then(rfc3339),
        metrics: summary.metrics.into(),
        tags: summary.tags.iter().map(Tag::as_str).collect(),
    })
}

/// A device, then its metrics.
pub(super) fn shadow(lines: &mut Lines, shadow: &DeviceShadow) -> Result<(), CliError> {
    let (device, agent) = (shadow.device.as_str(), shadow.agent.as_str());
    let last_seen = shadow.last_seen.and_then(rfc3339);
    let metrics = shadow.metrics.len() as u64;
    let (online, stale, agent_here) = (shadow.online, shadow.stale, None);
    lines.json(&DeviceLine {
        kind: "device",
        device,
        agent,
        online,
        stale,
        agent_here,
        last_seen,
        metrics,
        tags: Vec::new(),
    })?;
    for metric in &shadow.metrics {
        let said = Said::of("shadow", device, &metric.reading);
        lines.json(&ShadowLine { said, agent, received_at: rfc3339(metric.received_at) })?;
    }
    Ok(())
}

/// What happened.
pub(super) fn event(lines: &mut Lines, event: &Event) -> Result<(), CliError> {
    match event {
        Event::Entry(item) => entry(lines, item),
        Event::Snapshot(snapshot) => snapshot.devices.iter().try_for_each(|device| shadow(lines, device)),
        Event::NotRecovered { reason, position: at } => lines.json(&Notice {
            reason: Some(reason.as_str().to_owned()),
            position: Some(position(*at)),
            ..Notice::of("not_recovered")
        }),
        Event::Conflated { after, through, latest, left_out } => {
            for device in latest {
                for metric in &device.metrics {
                    let said = Said::of("latest", device.device.as_str(), &metric.reading);
                    let (agent, received_at) = (device.agent.as_str(), rfc3339(metric.received_at));
                    lines.json(&ShadowLine { said, agent, received_at })?;
                }
            }
            lines.json(&Notice {
                after: Some(position(*after)),
                through: Some(position(*through)),
                left_out: Some(*left_out),
                ..Notice::of("conflated")
            })
        }
        Event::Lagged { after, through } => lines.json(&Notice {
            after: Some(position(*after)),
            through: Some(position(*through)),
            ..Notice::of("lagged")
        }),
        Event::Fetching { after, through } => lines.json(&Notice {
            after: Some(position(*after)),
            through: Some(position(*through)),
            ..Notice::of("fetching")
        }),
        Event::Degraded { reason } => lines.json(&Notice { reason: Some(reason.clone()), ..Notice::of("degraded") }),
        Event::Restored => lines.json(&Notice::of("restored")),
        Event::Disconnected { error, retry_in } => lines.json(&Notice {
            reason: Some(error.to_string()),
            retry_in_ms: Some(u64::try_from(retry_in.as_millis()).unwrap_or(u64::MAX)),
            ..Notice::of("disconnected")
        }),
        Event::Reconnected { position: at } => {
            lines.json(&Notice { position: Some(position(*at)), ..Notice::of("reconnected") })
        }
        Event::CaughtUp { position: at } => {
            lines.json(&Notice { position: Some(position(*at)), ..Notice::of("caught_up") })
        }
    }
}

fn entry(lines: &mut Lines, entry: &Entry) -> Result<(), CliError> {
    let header = &entry.header;
    let gap_line = |kind, gap| GapLine {
        kind,
        gap: GapJson::of(gap),
        offset: header.position.offset.0,
        position: position(header.position),
        received_at: rfc3339(header.received_at),
    };
    match &entry.body {
        EntryBody::Telemetry(telemetry) => telemetry.readings.iter().try_for_each(|reading| {
            let said = Said::of("reading", telemetry.device.as_str(), reading);
            lines.json(&ReadingLine { said, historical: telemetry.historical, place: Place::of(header) })
        }),
        EntryBody::Presence(presence) => lines.json(&PresenceLine {
            kind: "presence",
            device: presence.device.as_str(),
            online: presence.online,
            time: rfc3339(presence.at),
            retained: presence.retained,
            reason: presence.reason.as_str(),
            place: Place::of(header),
        }),
        EntryBody::Gap(gap) => lines.json(&gap_line("gap", gap)),
        EntryBody::GapWithdrawn(gap) => lines.json(&gap_line("gap_withdrawn", gap)),
        EntryBody::Attendance(turn) => lines.json(&AttendanceLine {
            kind: "attendance",
            attendee: AttendeeJson::of(&turn.who),
            here: turn.here,
            place: Place::of(header),
        }),
        EntryBody::Alarm(alarm) => lines.json(&AlarmLine {
            kind: "alarm",
            alarm: alarm.kind.as_str(),
            about: alarm.agent.as_ref().map(ToString::to_string),
            text: &alarm.text,
            place: Place::of(header),
        }),
        EntryBody::Command(update) => {
            lines.json(&UpdateLine { now: CommandJson::of(update), place: Place::of(header) })
        }
        EntryBody::Description(description) => {
            lines.json(&DescriptionLine { told: DescriptionJson::of(description), place: Place::of(header) })
        }
        EntryBody::Unknown => lines.json(&Notice {
            offset: Some(header.position.offset.0),
            position: Some(position(header.position)),
            ..Notice::of("unknown")
        }),
    }
}
