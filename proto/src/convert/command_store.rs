//! Commands as a backbone stores them, and the records of an agent's journal.

use bytes::Bytes;
use prost::Message;

use super::ConvertError;
use super::command::{
    command_to_wire, id_from_wire, journal_state, mark_from_wire, mark_to_wire, state_from_wire, state_to_wire,
    whole_from_wire, witness_from_wire, witness_to_wire,
};
use crate::command::{
    BootId, Bound, Held, JournalId, JournalRecord, JournalStep, Kept, Mark, Phase, Place, Standing, State,
};
use crate::ids::SessionId;
use crate::time::UnixMicros;
use crate::wire;

/// A command in the form in which a backbone stores it.
pub fn kept_command_to_bytes(kept: &Kept) -> Vec<u8> {
    let (state, outcome) = state_to_wire(&kept.standing.state);
    let stored = wire::StoredCommand {
        command: Some(command_to_wire(&kept.command)),
        accepted_at_us: kept.accepted_at.0,
        state,
        outcome,
        witness: witness_to_wire(kept.standing.witness),
        since_us: kept.since.0,
        bound: kept.bound.map(|bound| wire::StoredBound { journal: bound.journal.0, boot: bound.boot.0 }),
        told: kept.told,
        cancel: kept.cancel,
    };
    stored.encode_to_vec()
}

/// The command that was stored.
pub fn kept_command_from_bytes(bytes: &[u8]) -> Result<Kept, ConvertError> {
    let stored = wire::StoredCommand::decode(bytes)?;
    let state = state_from_wire(stored.state, stored.outcome)?.ok_or(ConvertError::Missing { field: "state" })?;
    let bound = |bound: wire::StoredBound| Bound { journal: JournalId(bound.journal), boot: BootId(bound.boot) };
    Ok(Kept {
        command: whole_from_wire(stored.command)?,
        accepted_at: UnixMicros(stored.accepted_at_us),
        standing: Standing { state, witness: witness_from_wire(stored.witness)? },
        since: UnixMicros(stored.since_us),
        bound: stored.bound.map(bound),
        told: stored.told,
        cancel: stored.cancel,
    })
}

/// What a backbone stores of an agent's commands besides themselves.
pub fn command_mark_to_bytes(mark: &Mark) -> Vec<u8> {
    let stored = wire::StoredCommandMark {
        session: mark.session.map(|session| session.0),
        journal: mark.journal.map(mark_to_wire),
        heard: mark.heard,
        put_back: mark.put_back,
    };
    stored.encode_to_vec()
}

/// The mark that was stored.
pub fn command_mark_from_bytes(bytes: &[u8]) -> Result<Mark, ConvertError> {
    let stored = wire::StoredCommandMark::decode(bytes)?;
    Ok(Mark {
        session: stored.session.map(SessionId),
        journal: stored.journal.map(mark_from_wire).transpose()?,
        heard: stored.heard,
        put_back: stored.put_back,
    })
}

/// One record of a journal; the file frames and proves it.
pub fn journal_record_to_bytes(record: &JournalRecord) -> Vec<u8> {
    use wire::journal_record::Kind;
    let kind = match record {
        JournalRecord::Opened { id, length, forgotten } => {
            Kind::Opened(wire::JournalOpened { journal: id.0, length: *length, forgotten: *forgotten })
        }
        JournalRecord::Kept(held) => Kind::Kept(held_to_wire(held)),
        JournalRecord::Step { position, step: JournalStep::Arrived { command, boot } } => {
            Kind::Arrived(wire::JournalArrived {
                position: *position,
                command: Some(command_to_wire(command)),
                boot: boot.0,
            })
        }
        JournalRecord::Step { position, step: JournalStep::Skipped } => {
            Kind::Skipped(wire::JournalSkipped { position: *position })
        }
        JournalRecord::Step { position, step: JournalStep::Moved { id, phase } } => {
            let (state, outcome) = state_to_wire(&phase.state());
            Kind::Moved(wire::JournalMoved { position: *position, id: id.as_str().to_owned(), state, outcome })
        }
    };
    wire::JournalRecord { kind: Some(kind) }.encode_to_vec()
}

/// The record that was written. One of a later version is an error: what it says can't be passed over.
pub fn journal_record_from_bytes(bytes: Bytes) -> Result<JournalRecord, ConvertError> {
    use wire::journal_record::Kind;
    Ok(match wire::JournalRecord::decode(bytes)?.kind.ok_or(ConvertError::Missing { field: "kind" })? {
        Kind::Opened(opened) => {
            JournalRecord::Opened { id: JournalId(opened.journal), length: opened.length, forgotten: opened.forgotten }
        }
        Kind::Kept(kept) => JournalRecord::Kept(held_from_wire(kept)?),
        Kind::Arrived(arrived) => {
            let (command, boot) = (whole_from_wire(arrived.command)?, BootId(arrived.boot));
            JournalRecord::Step { position: arrived.position, step: JournalStep::Arrived { command, boot } }
        }
        Kind::Skipped(skipped) => JournalRecord::Step { position: skipped.position, step: JournalStep::Skipped },
        Kind::Moved(moved) => {
            let phase = phase_from_wire(moved.state, moved.outcome)?;
            let step = JournalStep::Moved { id: id_from_wire("moved.id", &moved.id)?, phase };
            JournalRecord::Step { position: moved.position, step }
        }
    })
}

fn held_to_wire(held: &Held) -> wire::JournalKept {
    let (state, outcome) = state_to_wire(&held.phase.state());
    wire::JournalKept {
        command: Some(command_to_wire(&held.command)),
        boot: held.boot.0,
        arrived: held.place.arrived,
        changed: held.place.changed,
        state,
        outcome,
        attempts: held.attempts,
        doubt: held.doubt,
    }
}

fn held_from_wire(kept: wire::JournalKept) -> Result<Held, ConvertError> {
    Ok(Held {
        command: whole_from_wire(kept.command)?,
        boot: BootId(kept.boot),
        place: Place { arrived: kept.arrived, changed: kept.changed },
        phase: phase_from_wire(kept.state, kept.outcome)?,
        attempts: kept.attempts,
        doubt: kept.doubt,
    })
}

fn phase_from_wire(state: i32, outcome: Option<wire::Outcome>) -> Result<Phase, ConvertError> {
    Ok(match journal_state(state, outcome)? {
        State::Executing => Phase::Executing,
        State::Ended(outcome) => Phase::Ended(outcome),
        State::Delivered | State::Accepted | State::Queued | State::Dispatched | State::Unknown => Phase::Delivered,
    })
}
