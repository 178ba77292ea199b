//! Entries and answers that the tests of the output are drawn from.

use bytes::Bytes;
use lockgate_client::{
    AgentLoss, CommandStatus, DeviceShadow, DeviceSummary, Event, GroupStatus, NotRecovered, OrderStatus, ShadowMetric,
};
use lockgate_proto::attendance::{Attendee, Present, Turn};
use lockgate_proto::command::{
    Command, CommandId, CommandUpdate, Failure, FailureKind, Field, Fields, Outcome, Priority, Progress, Standing,
    State,
};
use lockgate_proto::entry::{AgentGap, Alarm, AlarmKind, Entry, EntryBody, EntryHeader, Origin};
use lockgate_proto::gap::{Gap, GapReason, TimeSpan};
use lockgate_proto::ids::{AgentName, CommandName, DeviceName, FieldName, MetricName, UserName};
use lockgate_proto::loss::{Lost, Totals};
use lockgate_proto::position::{Offset, Position, Stamp};
use lockgate_proto::ranges::SeqRange;
use lockgate_proto::reading::{Quality, Reading, Value};
use lockgate_proto::record::{Presence, PresenceReason, Telemetry};
use lockgate_proto::seq::{Epoch, Lane, Seq};
use lockgate_proto::time::UnixMicros;

const NOON: UnixMicros = UnixMicros(1_764_072_000_000_000);

fn at(offset: u64) -> Position {
    Position { offset: Offset(offset), stamp: Stamp(0xab00 + offset) }
}

fn reading(metric: &str, unit: Option<&str>, value: Value, quality: Quality) -> Reading {
    let metric = MetricName::new(metric).unwrap();
    Reading { metric, unit: unit.map(Into::into), value, sampled_at: NOON.offset_by(-250_000), quality }
}

fn entry(offset: u64, backlog: bool, body: EntryBody) -> Event {
    let lane = if matches!(body, EntryBody::Telemetry(_)) { Lane::Telemetry } else { Lane::Events };
    let origin = Origin {
        agent: AgentName::new("pi").unwrap(),
        epoch: Epoch(0xfeed),
        epoch_order: 1,
        lane,
        seq: Seq::new(offset),
        backlog,
    };
    let header = EntryHeader { position: at(offset), previous: Stamp(0), received_at: NOON, origin: Some(origin) };
    Event::Entry(Box::new(Entry { header, body }))
}

/// An entry that was made of no record.
fn told(offset: u64, body: EntryBody) -> Event {
    let header = EntryHeader { position: at(offset), previous: Stamp(0), received_at: NOON, origin: None };
    Event::Entry(Box::new(Entry { header, body }))
}

pub(super) fn present(name: &str, connections: u32) -> Present {
    Present { attendee: Attendee::User(UserName::new(name).unwrap()), connections, since: NOON }
}

fn gap(reason: GapReason, first: u64, last: Seq) -> AgentGap {
    let range = SeqRange::new(Seq::new(first), last).unwrap();
    let span = TimeSpan { from: Some(NOON.offset_by(-60_000_000)), to: None };
    let gap = Gap { epoch: Epoch(0xfeed), lane: Lane::Telemetry, range, reason, span };
    AgentGap { agent: AgentName::new("pi").unwrap(), gap }
}

pub(super) fn readings() -> Vec<Reading> {
    vec![
        reading("temperature", Some("Cel"), Value::Number(21.5), Quality::Good),
        reading("strokes", None, Value::Integer(i64::MAX), Quality::Uncertain(Quality::CLOCK.into())),
        reading("running", None, Value::Flag(true), Quality::Bad("sensor".into())),
        reading("note", None, Value::Text("a\u{1b}[31m\nb".into()), Quality::Good),
        reading("raw", None, Value::Raw(Bytes::from_static(&[0, 255])), Quality::Good),
    ]
}

pub(super) fn events() -> Vec<Event> {
    let device = DeviceName::new("pump 1").unwrap();
    let telemetry = Telemetry { device: device.clone(), readings: readings(), historical: false };
    let presence = Presence::said(device, false, NOON, true);
    let stale = Presence { retained: false, reason: PresenceReason::Stale, ..presence.clone() };
    let lost = gap(GapReason::Evicted, 12, Seq::new(41));
    let agent = Some(AgentName::new("pi").unwrap());
    let alarm = Alarm { kind: AlarmKind::AgentTwice, agent, text: "two agents hold one identity".to_owned() };
    vec![
        entry(1, true, EntryBody::Telemetry(telemetry)),
        entry(2, false, EntryBody::Presence(presence)),
        entry(3, false, EntryBody::Gap(lost.clone())),
        entry(4, false, EntryBody::GapWithdrawn(lost)),
        entry(5, false, EntryBody::Unknown),
        told(6, EntryBody::Attendance(Turn { who: present("ann", 2), here: true })),
        told(7, EntryBody::Alarm(alarm)),
        told(8, EntryBody::Presence(stale)),
        told(9, EntryBody::Command(progress())),
        told(10, EntryBody::Command(command_status().now)),
        Event::Conflated { after: at(7), through: at(99), latest: vec![shadow()], left_out: 90 },
        Event::Lagged { after: at(5), through: at(1_500) },
        Event::Fetching { after: at(5), through: at(1_500) },
        Event::NotRecovered { reason: NotRecovered::Diverged, position: at(7) },
        Event::Degraded { reason: "disk full".to_owned() },
        Event::Restored,
        Event::Reconnected { position: at(8) },
    ]
}

fn fields(values: impl IntoIterator<Item = (&'static str, Value)>) -> Fields {
    let field = |(name, value)| Field { name: FieldName::new(name).unwrap(), value };
    Fields::new(values.into_iter().map(field)).unwrap()
}

/// One that succeeded.
pub(super) fn command_status() -> CommandStatus {
    let command = Command {
        id: CommandId::new("c-1").unwrap(),
        device: DeviceName::new("pump 1").unwrap(),
        name: CommandName::new("set").unwrap(),
        arguments: fields([("level", Value::Number(1.5)), ("mode", Value::Text("eco".into()))]),
        idempotent: true,
        priority: Priority::High,
        deadline: NOON.offset_by(30_000_000),
        sender: UserName::new("ann").unwrap(),
    };
    let outcome =
        Outcome::Succeeded(fields([("was", Value::Integer(1)), ("raw", Value::Raw(Bytes::from_static(&[7])))]));
    let now = CommandUpdate {
        id: command.id.clone(),
        device: command.device.clone(),
        name: command.name.clone(),
        standing: Standing::by_agent(State::Ended(outcome)),
        progress: None,
        at: NOON.offset_by(1_500_000),
    };
    CommandStatus { now, ordered: Some((command, NOON)), cancel_asked: false }
}

fn progress() -> CommandUpdate {
    let progress = Some(Progress { percent: Some(40), text: "warming\u{1b}up".into() });
    CommandUpdate { standing: Standing::by_agent(State::Executing), progress, ..command_status().now }
}

/// What is told of orders: each kind of state.
pub(super) fn orders() -> Vec<OrderStatus> {
    let whole = command_status();
    let failure = Failure { kind: FailureKind::Refused, reason: "too hot".into() };
    let states = [
        State::Queued,
        State::Dispatched,
        State::Ended(Outcome::Failed(failure)),
        State::Ended(Outcome::Interrupted),
        State::Unknown,
    ];
    let in_state = |state: State| {
        let now = CommandUpdate { standing: Standing::by_agent(state), ..command_status().now };
        OrderStatus::Command(Box::new(CommandStatus { now, ordered: None, cancel_asked: false }))
    };
    let asked = CommandStatus {
        now: CommandUpdate { standing: Standing::by_gateway(State::Dispatched), ..whole.now.clone() },
        cancel_asked: true,
        ..whole.clone()
    };
    let counts = [("executing", 1), ("succeeded", 2), ("failed", 1)];
    let group = GroupStatus {
        id: CommandId::new("night").unwrap(),
        members: 4,
        ended: 3,
        over: 3,
        counts: counts.map(|(word, commands)| (word.to_owned(), commands)).into(),
    };
    let mut all = vec![OrderStatus::Command(Box::new(whole)), OrderStatus::Command(Box::new(asked))];
    all.extend(states.map(in_state));
    all.push(OrderStatus::Group(group));
    all
}

pub(super) fn shadow() -> DeviceShadow {
    DeviceShadow {
        device: DeviceName::new("pump 1").unwrap(),
        agent: AgentName::new("pi").unwrap(),
        metrics: readings().into_iter().map(|reading| ShadowMetric { reading, received_at: NOON }).collect(),
        online: Some(true),
        stale: false,
        last_seen: Some(NOON),
    }
}

pub(super) fn devices() -> Vec<DeviceSummary> {
    let device = |name: &str, online, last_seen| DeviceSummary {
        device: DeviceName::new(name).unwrap(),
        agent: AgentName::new("pi").unwrap(),
        last_seen,
        metrics: 3,
        online,
        stale: false,
        agent_here: Some(true),
        tags: Vec::new(),
    };
    let away = DeviceSummary { agent_here: Some(false), ..device("fan", Some(true), Some(NOON)) };
    let stale = DeviceSummary { stale: true, ..device("lift", Some(false), Some(NOON)) };
    vec![device("pump 1", Some(true), Some(NOON)), device("a rather long name", None, None), away, stale]
}

pub(super) fn loss() -> AgentLoss {
    let mut totals = Totals { produced: 1_234, stored: 1_200, pending: 3, ..Totals::default() };
    totals.lost[0] = Lost { records: 31, unbounded: 0 };
    totals.lost[1] = Lost { records: 0, unbounded: 1 };
    let gaps = vec![gap(GapReason::Evicted, 12, Seq::new(42)), gap(GapReason::Power, 1_235, Seq::MAX)];
    AgentLoss { agent: AgentName::new("pi").unwrap(), totals, gaps }
}
