//! Commands: on the edge link, and as entries.

use bytes::Bytes;
use prost::Message;

use super::record::{device_name, value_from_wire, value_to_wire};
use super::{ConvertError, at_most};
use crate::command::{
    BootId, Command, CommandId, CommandUpdate, CommandUpdates, Dispatch, Failure, FailureKind, Field, Fields,
    JournalHeard, JournalId, JournalMark, Order, Outcome, Priority, Progress, ProgressReport, Report, Standing, State,
    Witness,
};
use crate::ids::{CommandName, FieldName, NameError, UserName};
use crate::limits::{
    DISPATCH_WINDOW, FIELDS_MAX, JOURNAL_COMMANDS_MAX, JOURNAL_LENGTH_MAX, REPORTS_MAX, TEXT_BYTES_MAX,
};
use crate::time::UnixMicros;
use crate::wire;

/// A priority for the wire.
pub fn priority_to_wire(priority: Priority) -> wire::CommandPriority {
    match priority {
        Priority::Low => wire::CommandPriority::Low,
        Priority::Normal => wire::CommandPriority::Normal,
        Priority::High => wire::CommandPriority::High,
    }
}

/// A command for the wire.
pub fn command_to_wire(command: &Command) -> wire::Command {
    wire::Command {
        id: command.id.as_str().to_owned(),
        device: command.device.as_str().to_owned(),
        name: command.name.as_str().to_owned(),
        arguments: fields_to_wire(&command.arguments),
        idempotent: command.idempotent,
        priority: priority_to_wire(command.priority).into(),
        deadline_us: command.deadline.0,
        sender: command.sender.as_str().to_owned(),
    }
}

/// The command that a message stands for, every bound checked.
pub fn command_from_wire(command: wire::Command) -> Result<Command, ConvertError> {
    let priority = match command.priority() {
        wire::CommandPriority::Low => Priority::Low,
        wire::CommandPriority::Normal => Priority::Normal,
        wire::CommandPriority::High => Priority::High,
        wire::CommandPriority::Unspecified => return Err(ConvertError::Missing { field: "command.priority" }),
    };
    Ok(Command {
        id: id_from_wire("command.id", &command.id)?,
        device: device_name(&command.device)?,
        name: named("command.name", CommandName::new(&command.name))?,
        arguments: fields_from_wire("command.arguments", command.arguments)?,
        idempotent: command.idempotent,
        priority,
        deadline: UnixMicros(command.deadline_us),
        sender: named("command.sender", UserName::new(&command.sender))?,
    })
}

pub(super) fn whole_from_wire(command: Option<wire::Command>) -> Result<Command, ConvertError> {
    command_from_wire(command.ok_or(ConvertError::Missing { field: "command" })?)
}

pub(super) fn id_from_wire(field: &'static str, text: &str) -> Result<CommandId, ConvertError> {
    CommandId::new(text).map_err(|source| ConvertError::CommandId { field, source })
}

fn named<N>(field: &'static str, name: Result<N, NameError>) -> Result<N, ConvertError> {
    name.map_err(|source| ConvertError::Name { field, source })
}

/// Named values for the wire.
pub fn fields_to_wire(fields: &Fields) -> Vec<wire::Field> {
    let field =
        |field: &Field| wire::Field { name: field.name.as_str().to_owned(), value: Some(value_to_wire(&field.value)) };
    fields.iter().map(field).collect()
}

/// The named values that a message carries, every bound checked; `field` is where they stand.
pub fn fields_from_wire(field: &'static str, fields: Vec<wire::Field>) -> Result<Fields, ConvertError> {
    at_most(field, fields.len(), FIELDS_MAX)?;
    let one = |wire: wire::Field| {
        let value = value_from_wire(wire.value.ok_or(ConvertError::Missing { field })?)?;
        Ok(Field { name: named(field, FieldName::new(&wire.name))?, value })
    };
    let fields = fields.into_iter().map(one).collect::<Result<Vec<_>, ConvertError>>()?;
    Fields::new(fields).map_err(|source| ConvertError::Fields { field, source })
}

pub(super) fn state_to_wire(state: &State) -> (i32, Option<wire::Outcome>) {
    let word = match state {
        State::Accepted => wire::CommandState::Accepted,
        State::Queued => wire::CommandState::Queued,
        State::Dispatched => wire::CommandState::Dispatched,
        State::Delivered => wire::CommandState::Delivered,
        State::Executing => wire::CommandState::Executing,
        State::Unknown => wire::CommandState::Unknown,
        State::Ended(_) => wire::CommandState::Ended,
    };
    (word.into(), state.outcome().map(outcome_to_wire))
}

/// `None`: a state or an outcome of a later version.
pub(super) fn state_from_wire(state: i32, outcome: Option<wire::Outcome>) -> Result<Option<State>, ConvertError> {
    let state = match wire::CommandState::try_from(state) {
        Ok(wire::CommandState::Accepted) => State::Accepted,
        Ok(wire::CommandState::Queued) => State::Queued,
        Ok(wire::CommandState::Dispatched) => State::Dispatched,
        Ok(wire::CommandState::Delivered) => State::Delivered,
        Ok(wire::CommandState::Executing) => State::Executing,
        Ok(wire::CommandState::Unknown) => State::Unknown,
        Ok(wire::CommandState::Ended) => {
            let outcome = outcome.ok_or(ConvertError::Missing { field: "outcome" })?;
            return Ok(outcome_from_wire(outcome)?.map(State::Ended));
        }
        Ok(wire::CommandState::Unspecified) | Err(_) => return Ok(None),
    };
    Ok(Some(state))
}

fn outcome_to_wire(outcome: &Outcome) -> wire::Outcome {
    use wire::outcome::Kind;
    let kind = match outcome {
        Outcome::Succeeded(result) => Kind::Succeeded(wire::Success { result: fields_to_wire(result) }),
        Outcome::Failed(failure) => Kind::Failed(failure_to_wire(failure)),
        Outcome::Expired => Kind::Expired(wire::Empty {}),
        Outcome::Cancelled => Kind::Cancelled(wire::Empty {}),
        Outcome::Interrupted => Kind::Interrupted(wire::Empty {}),
    };
    wire::Outcome { kind: Some(kind) }
}

fn outcome_from_wire(outcome: wire::Outcome) -> Result<Option<Outcome>, ConvertError> {
    use wire::outcome::Kind;
    Ok(Some(match outcome.kind {
        Some(Kind::Succeeded(success)) => Outcome::Succeeded(fields_from_wire("outcome.result", success.result)?),
        Some(Kind::Failed(failure)) => Outcome::Failed(failure_from_wire(&failure)?),
        Some(Kind::Expired(_)) => Outcome::Expired,
        Some(Kind::Cancelled(_)) => Outcome::Cancelled,
        Some(Kind::Interrupted(_)) => Outcome::Interrupted,
        None => return Ok(None),
    }))
}

fn failure_to_wire(failure: &Failure) -> wire::Failure {
    let kind = match failure.kind {
        FailureKind::Refused => wire::FailureKind::Refused,
        FailureKind::NoReply => wire::FailureKind::NoReply,
        FailureKind::NotSent => wire::FailureKind::NotSent,
        FailureKind::Unsupported => wire::FailureKind::Unsupported,
        FailureKind::IdTaken => wire::FailureKind::IdTaken,
    };
    wire::Failure { kind: kind.into(), reason: super::shortened(&failure.reason) }
}

/// A failure of a kind that a later version knows is taken for the one that promises least; its words say more.
fn failure_from_wire(failure: &wire::Failure) -> Result<Failure, ConvertError> {
    at_most("outcome.failed.reason", failure.reason.len(), TEXT_BYTES_MAX)?;
    let kind = match failure.kind() {
        wire::FailureKind::Refused => FailureKind::Refused,
        wire::FailureKind::NoReply | wire::FailureKind::Unspecified => FailureKind::NoReply,
        wire::FailureKind::NotSent => FailureKind::NotSent,
        wire::FailureKind::Unsupported => FailureKind::Unsupported,
        wire::FailureKind::IdTaken => FailureKind::IdTaken,
    };
    Ok(Failure { kind, reason: failure.reason.as_str().into() })
}

fn progress_to_wire(progress: &Progress) -> wire::Progress {
    wire::Progress { percent: progress.percent.map(u32::from), text: super::shortened(&progress.text) }
}

fn progress_from_wire(progress: &wire::Progress) -> Result<Progress, ConvertError> {
    at_most("progress.text", progress.text.len(), TEXT_BYTES_MAX)?;
    let percent = |percent: u32| u8::try_from(percent).ok().filter(|percent| *percent <= 100);
    let problem = "is above 100";
    let percent = progress
        .percent
        .map(|number| percent(number).ok_or(ConvertError::Invalid { field: "progress.percent", problem }));
    Ok(Progress { percent: percent.transpose()?, text: progress.text.as_str().into() })
}

pub(super) fn witness_to_wire(witness: Witness) -> i32 {
    let witness = match witness {
        Witness::Gateway => wire::Witness::Gateway,
        Witness::Agent => wire::Witness::Agent,
        Witness::Device => wire::Witness::Device,
    };
    witness.into()
}

pub(super) fn witness_from_wire(witness: i32) -> Result<Witness, ConvertError> {
    match wire::Witness::try_from(witness) {
        Ok(wire::Witness::Gateway) => Ok(Witness::Gateway),
        Ok(wire::Witness::Agent) => Ok(Witness::Agent),
        Ok(wire::Witness::Device) => Ok(Witness::Device),
        Ok(wire::Witness::Unspecified) | Err(_) => Err(ConvertError::Missing { field: "witness" }),
    }
}

/// The body of an entry that tells where a command stands.
pub fn encode_command_body(update: &CommandUpdate) -> Bytes {
    let body = Some(wire::entry::Body::Command(command_update_to_wire(update)));
    wire::Entry { body, ..wire::Entry::default() }.encode_to_vec().into()
}

/// Where a command stands, for the wire.
pub fn command_update_to_wire(update: &CommandUpdate) -> wire::CommandUpdate {
    let (state, outcome) = state_to_wire(&update.standing.state);
    wire::CommandUpdate {
        id: update.id.as_str().to_owned(),
        device: update.device.as_str().to_owned(),
        name: update.name.as_str().to_owned(),
        state,
        outcome,
        witness: witness_to_wire(update.standing.witness),
        at_us: update.at.0,
        progress: update.progress.as_ref().map(progress_to_wire),
    }
}

/// Where a command stands, every bound checked. `None`: a state that a later version knows.
pub fn command_update_from_wire(update: wire::CommandUpdate) -> Result<Option<CommandUpdate>, ConvertError> {
    let Some(state) = state_from_wire(update.state, update.outcome)? else { return Ok(None) };
    Ok(Some(CommandUpdate {
        id: id_from_wire("command.id", &update.id)?,
        device: device_name(&update.device)?,
        name: named("command.name", CommandName::new(&update.name))?,
        standing: Standing { state, witness: witness_from_wire(update.witness)? },
        progress: update.progress.as_ref().map(progress_from_wire).transpose()?,
        at: UnixMicros(update.at_us),
    }))
}

pub(super) fn mark_to_wire(mark: JournalMark) -> wire::JournalMark {
    wire::JournalMark { journal: mark.id.0, boot: mark.boot.0, length: mark.length, forgotten: mark.forgotten }
}

pub(super) fn mark_from_wire(mark: wire::JournalMark) -> Result<JournalMark, ConvertError> {
    countable("journal.length", mark.length)?;
    Ok(JournalMark {
        id: JournalId(mark.journal),
        boot: BootId(mark.boot),
        length: mark.length,
        forgotten: mark.forgotten,
    })
}

pub(super) fn heard_to_wire(heard: JournalHeard) -> wire::JournalHeard {
    wire::JournalHeard { through: heard.through, put_back: heard.put_back }
}

pub(super) fn heard_from_wire(heard: wire::JournalHeard) -> Result<JournalHeard, ConvertError> {
    countable("journal_heard.through", heard.through)?;
    Ok(JournalHeard { through: heard.through, put_back: heard.put_back })
}

fn countable(field: &'static str, position: u64) -> Result<(), ConvertError> {
    const PROBLEM: &str = "is above 2^48, the highest number that a change can have";
    if position > JOURNAL_LENGTH_MAX { Err(ConvertError::Invalid { field, problem: PROBLEM }) } else { Ok(()) }
}

pub(super) fn dispatch_to_wire(dispatch: &Dispatch) -> wire::Dispatch {
    let order = |order: &Order| wire::Order { command: Some(command_to_wire(&order.command)), cancel: order.cancel };
    wire::Dispatch { orders: dispatch.orders.iter().map(order).collect() }
}

pub(super) fn dispatch_from_wire(dispatch: wire::Dispatch) -> Result<Dispatch, ConvertError> {
    at_most("orders", dispatch.orders.len(), DISPATCH_WINDOW)?;
    let order = |order: wire::Order| Ok(Order { command: whole_from_wire(order.command)?, cancel: order.cancel });
    Ok(Dispatch { orders: dispatch.orders.into_iter().map(order).collect::<Result<_, ConvertError>>()? })
}

pub(super) fn updates_to_wire(updates: &CommandUpdates) -> wire::CommandUpdates {
    let report = |report: &Report| {
        let (state, outcome) = state_to_wire(&report.state);
        let command = report.command.as_ref().map(command_to_wire);
        let (id, position) = (report.id.as_str().to_owned(), report.position);
        wire::CommandReport { id, position, state, outcome, command }
    };
    let progress = |report: &ProgressReport| wire::CommandProgress {
        id: report.id.as_str().to_owned(),
        progress: Some(progress_to_wire(&report.progress)),
    };
    wire::CommandUpdates {
        after: updates.after,
        through: updates.through,
        reports: updates.reports.iter().map(report).collect(),
        progress: updates.progress.iter().map(progress).collect(),
        full: updates.full.iter().map(|id| id.as_str().to_owned()).collect(),
    }
}

pub(super) fn updates_from_wire(updates: wire::CommandUpdates) -> Result<CommandUpdates, ConvertError> {
    at_most("reports", updates.reports.len(), REPORTS_MAX)?;
    at_most("progress", updates.progress.len(), JOURNAL_COMMANDS_MAX)?;
    at_most("full", updates.full.len(), JOURNAL_COMMANDS_MAX)?;
    if updates.through < updates.after {
        return Err(ConvertError::Invalid { field: "through", problem: "is below after" });
    }
    countable("through", updates.through)?;
    let progress = |report: wire::CommandProgress| {
        let progress = report.progress.ok_or(ConvertError::Missing { field: "progress.progress" })?;
        Ok(ProgressReport { id: id_from_wire("progress.id", &report.id)?, progress: progress_from_wire(&progress)? })
    };
    let through = updates.through;
    Ok(CommandUpdates {
        after: updates.after,
        through,
        reports: updates
            .reports
            .into_iter()
            .map(|report| report_from_wire(report, through))
            .collect::<Result<_, _>>()?,
        progress: updates.progress.into_iter().map(progress).collect::<Result<_, ConvertError>>()?,
        full: updates.full.iter().map(|id| id_from_wire("full", id)).collect::<Result<_, _>>()?,
    })
}

fn report_from_wire(report: wire::CommandReport, through: u64) -> Result<Report, ConvertError> {
    let id = id_from_wire("reports.id", &report.id)?;
    let command = report.command.map(command_from_wire).transpose()?;
    if command.as_ref().is_some_and(|command| command.id != id) {
        return Err(ConvertError::Invalid { field: "reports.command", problem: "is another than the report's" });
    }
    if report.position == 0 || through < report.position {
        return Err(ConvertError::Invalid { field: "reports.position", problem: "is 0, or above through" });
    }
    Ok(Report { id, position: report.position, state: journal_state(report.state, report.outcome)?, command })
}

/// Of the states, those that an agent can be in.
pub(super) fn journal_state(state: i32, outcome: Option<wire::Outcome>) -> Result<State, ConvertError> {
    match state_from_wire(state, outcome)? {
        Some(state @ (State::Delivered | State::Executing | State::Ended(_))) => Ok(state),
        Some(State::Accepted | State::Queued | State::Dispatched | State::Unknown) => {
            Err(ConvertError::Invalid { field: "state", problem: "is none that an agent can tell" })
        }
        None => Err(ConvertError::Missing { field: "state" }),
    }
}
