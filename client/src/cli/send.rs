//! `lockgate send`: orders something of a device, and tells what becomes of it.

use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use lockgate_client::{Client, GroupStatus, Order, OrderEvent, OrderStatus, Target, Until};
use lockgate_proto::command::{CommandId, CommandIdError, CommandUpdate, Field, Fields, Outcome, Priority, State};
use lockgate_proto::ids::{CommandName, DeviceName, FieldName, Site, Tag};
use lockgate_proto::reading::Value;
use lockgate_proto::time::UnixMicros;
use serde_json::Value as Json;

use super::args::{GatewayArgs, duration};
use super::output::{GOOD, Lines, WARN};
use super::text::{Painter, note};
use super::{CliError, json};

const FAILED: u8 = 6;
const NO_EFFECT: u8 = 7;
/// Whether it took effect.
pub(super) const NOBODY_KNOWS: u8 = 8;

/// Send a command to a device, to all of a site, or to those with a tag.
///
/// Ends once a gateway has stored the command, or with --wait once it is known what became of it. Where the connection
/// breaks, the very same is sent again: it is one command all the same.
#[derive(Args)]
#[command(override_usage = "lockgate send [OPTIONS] <SITE> <DEVICE> <NAME> [KEY=VALUE]...
       lockgate send [OPTIONS] <--all|--tag <TAG>> <SITE> <NAME> [KEY=VALUE]...")]
pub(super) struct SendArgs {
    #[command(flatten)]
    order: OrderArgs,
    /// Wait until it is known what became of it
    #[arg(long)]
    wait: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    gateway: GatewayArgs,
}

/// What is ordered.
#[derive(Args)]
struct OrderArgs {
    /// The site
    site: Site,
    /// The device, what it shall do, and with what. Values are numbers, true, false or text; "3" in quotes is text
    #[arg(value_name = "DEVICE NAME KEY=VALUE", required = true)]
    words: Vec<String>,
    /// To every device of the site that is known now, in place of DEVICE
    #[arg(long, conflicts_with = "tag")]
    all: bool,
    /// To every device that has this tag now, in place of DEVICE
    #[arg(long, value_name = "TAG")]
    tag: Option<Tag>,
    /// How long the command is good: no effect begins later
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration, conflicts_with = "until")]
    ttl: Duration,
    /// Until when it is good, such as 2026-11-25T15:00:00Z; with --id, to send the very same again
    #[arg(long, value_name = "TIME", value_parser = instant)]
    until: Option<UnixMicros>,
    /// Doing it twice does no more than doing it once: it may run again where nobody knows whether it ran
    #[arg(long)]
    idempotent: bool,
    /// One id is one command; a random one if none is given
    #[arg(long, value_name = "ID", value_parser = id)]
    id: Option<CommandId>,
    /// Who goes first where several wait for one device
    #[arg(long, value_name = "PRIORITY", default_value = "normal", value_parser = priorities())]
    priority: Priority,
}

pub(super) fn id(text: &str) -> Result<CommandId, String> {
    CommandId::new(text).map_err(|error: CommandIdError| format!("it {error}"))
}

fn instant(text: &str) -> Result<UnixMicros, String> {
    let parsed = jiff::Timestamp::from_str(text);
    parsed.map(|time| UnixMicros(time.as_microsecond())).map_err(|_| "write it like 2026-11-25T15:00:00Z".to_owned())
}

fn priorities() -> impl TypedValueParser<Value = Priority> {
    let words = PossibleValuesParser::new(Priority::ALL.map(Priority::as_str));
    let of_word = |word: String| Priority::ALL.into_iter().find(|priority| priority.as_str() == word);
    words.try_map(move |word| of_word(word).ok_or("it is no priority"))
}

pub(super) async fn run(args: SendArgs) -> Result<(), CliError> {
    let order = args.order.order()?;
    let client = Client::connect(args.gateway.options()?).await?;
    let mut sent = client.send(order);
    let mut shown = Shown { painter: (!args.json).then(|| Painter::new(None)), lines: Lines::default() };
    let mut last = None;
    while let Some(event) = sent.next().await? {
        shown.event(&event)?;
        if let OrderEvent::Status(status) = event {
            last = Some(status);
            if !args.wait {
                break;
            }
        }
    }
    sent.close().await;
    last.as_ref().map_or(Ok(()), verdict)
}

struct Shown {
    /// `None`: JSON.
    painter: Option<Painter>,
    lines: Lines,
}

impl Shown {
    fn event(&mut self, event: &OrderEvent) -> Result<(), CliError> {
        let aside = match (event, &mut self.painter) {
            (OrderEvent::Status(status), Some(painter)) => {
                painter.order(&mut self.lines, status);
                return self.lines.write();
            }
            (OrderEvent::Status(status), None) => {
                json::order(&mut self.lines, status)?;
                return self.lines.write();
            }
            (OrderEvent::Disconnected { error, retry_in }, _) => {
                note(WARN, &format!("{error}; sending the same again in {:.1} s", retry_in.as_secs_f64()))
            }
            (OrderEvent::Reconnected, _) => note(GOOD, "connected again"),
        };
        let mut lines = Lines::default();
        lines.text(aside);
        lines.write_aside();
        Ok(())
    }
}

impl OrderArgs {
    fn order(&self) -> Result<Order, CliError> {
        let mut words = self.words.iter();
        let target = if self.all {
            Target::All
        } else if let Some(tag) = &self.tag {
            Target::Tagged(tag.clone())
        } else {
            let word = words.next().ok_or_else(|| usage("name the device"))?;
            Target::Device(DeviceName::new(word).map_err(|error| usage(&format!("the device's name {error}")))?)
        };
        let name = words.next().ok_or_else(|| usage("say what is to be done: lockgate send SITE DEVICE NAME"))?;
        let name = CommandName::new(name).map_err(|error| usage(&format!("the command's name {error}")))?;
        let fields = words.map(|word| field(word)).collect::<Result<Vec<Field>, _>>()?;
        let arguments = Fields::new(fields).map_err(|error| usage(&format!("arguments: {error}")))?;
        if self.id.as_ref().is_some_and(CommandId::is_member) {
            return Err(usage("--id has a slash, which stands between a group's id and a device; choose one without"));
        }
        Ok(Order {
            site: self.site.clone(),
            target,
            name,
            arguments,
            idempotent: self.idempotent,
            priority: self.priority,
            until: self.until.map_or(Until::After(self.ttl), Until::At),
            id: self.id.clone(),
        })
    }
}

fn usage(text: &str) -> CliError {
    CliError::Usage(text.to_owned())
}

/// `level=1.5`, `on=true`, `mode=eco`.
fn field(word: &str) -> Result<Field, CliError> {
    let Some((name, text)) = word.split_once('=') else {
        return Err(usage(&format!("{word:?} is no argument; write KEY=VALUE")));
    };
    let name = FieldName::new(name).map_err(|error| usage(&format!("the name of {word:?} {error}")))?;
    let value = match serde_json::from_str(text) {
        Ok(Json::Bool(flag)) => Value::Flag(flag),
        Ok(Json::String(text)) => Value::Text(text.into()),
        Ok(Json::Number(number)) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => Value::Integer(integer),
            (None, Some(float)) if text.contains(['.', 'e', 'E']) => Value::Number(float),
            // Whole, and as a number with a point it would be another one.
            (None, _) => return Err(usage(&format!("the number of {word:?} is too large"))),
        },
        Ok(Json::Null | Json::Array(_) | Json::Object(_)) => {
            return Err(usage(&format!("the value of {word:?} is none; give a number, true, false or text")));
        }
        Err(_) => Value::Text(text.into()),
    };
    Ok(Field { name, value })
}

/// How the program ends, by what became of it.
fn verdict(status: &OrderStatus) -> Result<(), CliError> {
    let (exit_code, text) = match status {
        OrderStatus::Command(status) => match told(&status.now) {
            Some(told) => told,
            None => return Ok(()),
        },
        OrderStatus::Group(group) => match told_of_group(group) {
            Some(told) => told,
            None => return Ok(()),
        },
    };
    Err(CliError::NotDone { exit_code, text })
}

fn told(now: &CommandUpdate) -> Option<(u8, String)> {
    let id = &now.id;
    match &now.standing.state {
        State::Accepted
        | State::Queued
        | State::Dispatched
        | State::Delivered
        | State::Executing
        | State::Ended(Outcome::Succeeded(_)) => None,
        State::Ended(Outcome::Failed(failure)) => {
            let (kind, reason) = (failure.kind.as_str(), super::output::printable(&failure.reason));
            Some((FAILED, format!("command {id} failed: {kind}: {reason}")))
        }
        State::Ended(Outcome::Expired) => {
            Some((NO_EFFECT, format!("command {id} has expired: it did not begin in time, and has had no effect")))
        }
        State::Ended(Outcome::Cancelled) => {
            Some((NO_EFFECT, format!("command {id} was cancelled before it began: it has had no effect")))
        }
        State::Ended(Outcome::Interrupted) => {
            Some((NOBODY_KNOWS, format!("command {id} was interrupted: nobody knows whether it took effect")))
        }
        State::Unknown => Some((
            NOBODY_KNOWS,
            format!("what became of command {id} is not known yet: its agent is away; `lockgate commands` tells later"),
        )),
    }
}

fn told_of_group(group: &GroupStatus) -> Option<(u8, String)> {
    let any = |words: &[&str]| words.iter().any(|word| group.count(word) > 0);
    let exit_code = if any(&["interrupted", "unknown"]) {
        NOBODY_KNOWS
    } else if any(&["failed"]) {
        FAILED
    } else if any(&["expired", "cancelled"]) {
        NO_EFFECT
    } else {
        return None;
    };
    let (id, done, members) = (&group.id, group.count("succeeded"), group.members);
    let rest = format!("`lockgate commands SITE --group {id}` tells of each");
    Some((exit_code, format!("of the {members} commands of group {id}, {done} succeeded; {rest}")))
}

#[cfg(test)]
mod tests;
