//! The lines that tell of commands.

use std::collections::BTreeMap;

use lockgate_client::{CommandStatus, GroupStatus, OrderStatus};
use lockgate_proto::command::{Command, CommandUpdate, Failure, Fields, Outcome, Progress};
use lockgate_proto::reading::Value;
use lockgate_proto::time::UnixMicros;
use serde::Serialize;
use serde_json::{Map, Value as Json, json};

use super::Place;
use crate::cli::CliError;
use crate::cli::output::{Lines, rfc3339};

/// Where a command stands.
#[derive(Serialize)]
pub(super) struct CommandJson<'r> {
    kind: &'static str,
    id: &'r str,
    device: &'r str,
    name: &'r str,
    state: &'static str,
    /// Who proved it.
    by: &'static str,
    time: Option<String>,
    /// How far a running one has come.
    #[serde(skip_serializing_if = "Option::is_none")]
    percent: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<&'r str>,
    /// What the device said when it had done it.
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Json>,
    /// Why it failed, for programs and for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'r str>,
}

impl<'r> CommandJson<'r> {
    pub(super) fn of(update: &'r CommandUpdate) -> CommandJson<'r> {
        let outcome = update.standing.state.outcome();
        let failure = match outcome {
            Some(Outcome::Failed(failure)) => Some(failure),
            Some(_) | None => None,
        };
        let told = |progress: &'r Progress| (!progress.text.is_empty()).then_some(&*progress.text);
        CommandJson {
            kind: "command",
            id: update.id.as_str(),
            device: update.device.as_str(),
            name: update.name.as_str(),
            state: update.standing.state.as_str(),
            by: update.standing.witness.as_str(),
            time: rfc3339(update.at),
            percent: update.progress.as_ref().and_then(|progress| progress.percent),
            progress: update.progress.as_ref().and_then(told),
            result: match outcome {
                Some(Outcome::Succeeded(result)) => Some(fields(result)),
                Some(_) | None => None,
            },
            failure: failure.map(|failure: &Failure| failure.kind.as_str()),
            reason: failure.map(|failure| &*failure.reason),
        }
    }
}

/// The entry that tells it.
#[derive(Serialize)]
pub(super) struct UpdateLine<'r> {
    #[serde(flatten)]
    pub(super) now: CommandJson<'r>,
    #[serde(flatten)]
    pub(super) place: Place,
}

#[derive(Serialize)]
struct StatusLine<'r> {
    #[serde(flatten)]
    now: CommandJson<'r>,
    #[serde(flatten)]
    ordered: Option<OrderedJson<'r>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    cancel_asked: bool,
}

/// What was ordered.
#[derive(Serialize)]
struct OrderedJson<'r> {
    arguments: Json,
    sender: &'r str,
    priority: &'static str,
    idempotent: bool,
    deadline: Option<String>,
    accepted_at: Option<String>,
}

impl<'r> OrderedJson<'r> {
    fn of(command: &'r Command, accepted_at: UnixMicros) -> OrderedJson<'r> {
        OrderedJson {
            arguments: fields(&command.arguments),
            sender: command.sender.as_str(),
            priority: command.priority.as_str(),
            idempotent: command.idempotent,
            deadline: rfc3339(command.deadline),
            accepted_at: rfc3339(accepted_at),
        }
    }
}

#[derive(Serialize)]
struct GroupLine<'r> {
    kind: &'static str,
    id: &'r str,
    members: u32,
    ended: u32,
    over: u32,
    counts: BTreeMap<&'r str, u32>,
}

/// Named values; bytes are in hexadecimal.
fn fields(fields: &Fields) -> Json {
    let value = |value: &Value| match value {
        Value::Number(number) => json!(number),
        Value::Integer(number) => json!(number),
        Value::Flag(flag) => json!(flag),
        Value::Text(text) => json!(**text),
        Value::Raw(bytes) => json!(super::super::text::hex(bytes)),
    };
    let named: Map<String, Json> =
        fields.iter().map(|field| (field.name.as_str().to_owned(), value(&field.value))).collect();
    Json::Object(named)
}

/// Where something stands that was ordered.
pub(in crate::cli) fn order(lines: &mut Lines, status: &OrderStatus) -> Result<(), CliError> {
    match status {
        OrderStatus::Command(status) => command_status(lines, status),
        OrderStatus::Group(GroupStatus { id, members, ended, over, counts }) => {
            let counts = counts.iter().map(|(word, commands)| (word.as_str(), *commands)).collect();
            let (members, ended, over) = (*members, *ended, *over);
            lines.json(&GroupLine { kind: "group", id: id.as_str(), members, ended, over, counts })
        }
    }
}

/// A command, and where it stands.
pub(in crate::cli) fn command_status(lines: &mut Lines, status: &CommandStatus) -> Result<(), CliError> {
    lines.json(&StatusLine {
        now: CommandJson::of(&status.now),
        ordered: status.ordered.as_ref().map(|(command, accepted_at)| OrderedJson::of(command, *accepted_at)),
        cancel_asked: status.cancel_asked,
    })
}
