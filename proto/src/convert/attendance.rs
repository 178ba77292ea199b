//! Who is in a room: as an entry, and in the stored form.

use bytes::Bytes;
use prost::Message;

use super::ConvertError;
use super::basic::agent_name;
use crate::attendance::{Attendee, Book, KeptSheet, Present, Turn};
use crate::entry::{Alarm, AlarmKind};
use crate::ids::{InstanceId, UserName};
use crate::limits::TEXT_BYTES_MAX;
use crate::time::UnixMicros;
use crate::wire;

/// The body of an entry that tells who came or left.
pub fn encode_attendance_body(turn: &Turn) -> Bytes {
    body(wire::entry::Body::Attendance(wire::Attendance {
        attendee: Some(attendee_to_wire(&turn.who.attendee)),
        here: turn.here,
        connections: turn.who.connections,
        since_us: turn.who.since.0,
    }))
}

/// The body of an entry that tells an alarm.
pub fn encode_alarm_body(alarm: &Alarm) -> Bytes {
    let kind = match alarm.kind {
        AlarmKind::AgentTwice => wire::AlarmKind::AgentTwice,
        AlarmKind::TooManyDevices => wire::AlarmKind::TooManyDevices,
    };
    body(wire::entry::Body::Alarm(wire::Alarm {
        kind: kind.into(),
        agent: alarm.agent.as_ref().map(|agent| agent.as_str().to_owned()).unwrap_or_default(),
        text: alarm.text.clone(),
    }))
}

fn body(body: wire::entry::Body) -> Bytes {
    wire::Entry { body: Some(body), ..wire::Entry::default() }.encode_to_vec().into()
}

pub(super) fn turn_from_wire(turn: wire::Attendance) -> Result<Turn, ConvertError> {
    let attendee = attendee_from_wire(turn.attendee)?;
    let who = Present { attendee, connections: turn.connections, since: UnixMicros(turn.since_us) };
    Ok(Turn { who, here: turn.here })
}

/// `None`: an alarm that a later version knows.
pub(super) fn alarm_from_wire(alarm: wire::Alarm) -> Result<Option<Alarm>, ConvertError> {
    super::at_most("alarm.text", alarm.text.len(), TEXT_BYTES_MAX)?;
    let kind = match alarm.kind() {
        wire::AlarmKind::Unspecified => return Ok(None),
        wire::AlarmKind::AgentTwice => AlarmKind::AgentTwice,
        wire::AlarmKind::TooManyDevices => AlarmKind::TooManyDevices,
    };
    let agent = if alarm.agent.is_empty() { None } else { Some(agent_name(&alarm.agent)?) };
    Ok(Some(Alarm { kind, agent, text: alarm.text }))
}

/// An attendee for the wire.
pub fn attendee_to_wire(attendee: &Attendee) -> wire::Attendee {
    let kind = match attendee {
        Attendee::Agent(_) => wire::AttendeeKind::Agent,
        Attendee::User(_) => wire::AttendeeKind::User,
    };
    wire::Attendee { kind: kind.into(), name: attendee.name().to_owned() }
}

/// An attendee from the wire.
pub fn attendee_from_wire(attendee: Option<wire::Attendee>) -> Result<Attendee, ConvertError> {
    let attendee = attendee.ok_or(ConvertError::Missing { field: "attendee" })?;
    match attendee.kind() {
        wire::AttendeeKind::Unspecified => Err(ConvertError::Missing { field: "attendee.kind" }),
        wire::AttendeeKind::Agent => Ok(Attendee::Agent(agent_name(&attendee.name)?)),
        wire::AttendeeKind::User => {
            let name = UserName::new(&attendee.name);
            Ok(Attendee::User(name.map_err(|source| ConvertError::Name { field: "attendee.name", source })?))
        }
    }
}

pub(crate) fn attendance_to_bytes(book: &Book) -> Vec<u8> {
    let sheet = |(instance, sheet): (&InstanceId, &KeptSheet)| wire::StoredSheet {
        instance: instance.0,
        until_us: sheet.until.0,
        here: sheet
            .here
            .iter()
            .map(|(attendee, connections)| wire::StoredHere {
                attendee: Some(attendee_to_wire(attendee)),
                connections: *connections,
            })
            .collect(),
    };
    let present = |(attendee, since): (&Attendee, &UnixMicros)| wire::StoredPresent {
        attendee: Some(attendee_to_wire(attendee)),
        since_us: since.0,
    };
    let stored = wire::StoredAttendance {
        sheets: book.sheets.iter().map(sheet).collect(),
        present: book.present.iter().map(present).collect(),
        told_at_us: book.told_at.0,
        expire_from_us: book.expire_from.0,
    };
    stored.encode_to_vec()
}

pub(crate) fn attendance_from_bytes(bytes: &[u8]) -> Result<Book, ConvertError> {
    let stored = wire::StoredAttendance::decode(bytes)?;
    let mut book = Book {
        told_at: UnixMicros(stored.told_at_us),
        expire_from: UnixMicros(stored.expire_from_us),
        ..Book::default()
    };
    for sheet in stored.sheets {
        let here = sheet.here.into_iter().map(|here| Ok((attendee_from_wire(here.attendee)?, here.connections)));
        let here = here.collect::<Result<_, ConvertError>>()?;
        book.sheets.insert(InstanceId(sheet.instance), KeptSheet { until: UnixMicros(sheet.until_us), here });
    }
    for present in stored.present {
        book.present.insert(attendee_from_wire(present.attendee)?, UnixMicros(present.since_us));
    }
    Ok(book)
}
