//! A command as it is ordered in JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use lockgate_proto::ids::{DeviceName, Site};
use lockgate_proto::time::UnixMicros;
use lockgate_proto::wire;
use lockgate_proto::wire::value::Kind;
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;
use utoipa::openapi::Schema;

use super::problem::Problem;
use crate::client_session::order_logic::Deadline;

/// Where a command says nothing of its deadline, it must begin within so long.
const TTL: Duration = Duration::from_secs(30);

/// What a device is to do.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NewCommand {
    /// The command, as the device's description calls it.
    #[schema(min_length = 1, max_length = 256)]
    name: String,
    /// By name: true or false, a number or a text; or one as a message `Value`, which can also be bytes.
    #[serde(default)]
    #[schema(schema_with = arguments_schema)]
    arguments: BTreeMap<String, Argument>,
    /// It may run again where nobody knows whether it ran.
    #[serde(default)]
    idempotent: bool,
    #[serde(default)]
    priority: Priority,
    /// No effect begins at or after this instant, in microseconds since 1970, UTC.
    #[schema(value_type = Option<String>, pattern = "^[0-9]{1,18}$")]
    deadline_us: Option<Micros>,
    /// Instead of an instant: so long after it is accepted first, such as 30s, 5min or 2h. 30s, where neither is given.
    #[schema(pattern = "^[0-9]{1,6} ?(ms|s|m|min|h|d)$")]
    ttl: Option<String>,
}

/// Who goes first where several wait for one device.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Priority {
    Low,
    #[default]
    Normal,
    High,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected true or false, a number, a text, or an object like {\"raw\": \"base64\"}")]
pub(super) enum Argument {
    Flag(bool),
    Integer(i64),
    Number(f64),
    Text(String),
    Value(wire::Value),
}

/// A number of JSON is too small for it in many languages.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a whole number, as a number or a text")]
enum Micros {
    Number(i64),
    Text(String),
}

fn arguments_schema() -> Schema {
    let kinds = json!([
        { "type": "boolean" }, { "type": "number" }, { "type": "string" }, { "$ref": "#/components/schemas/Value" },
    ]);
    let schema = json!({
        "type": "object",
        "description": "By name: true or false, a number or a text; or one as a message `Value`, which can also be bytes.",
        "additionalProperties": { "anyOf": kinds },
    });
    serde_json::from_value(schema).expect("it is a schema")
}

impl NewCommand {
    /// What the client link would be sent, and how its deadline is meant.
    pub(super) fn order(
        self,
        site: &Site,
        device: &DeviceName,
        id: &str,
        now: UnixMicros,
    ) -> Result<(wire::SendCommand, Deadline), Problem> {
        let deadline = self.deadline(now)?;
        let priority = match self.priority {
            Priority::Low => wire::CommandPriority::Low,
            Priority::Normal => wire::CommandPriority::Normal,
            Priority::High => wire::CommandPriority::High,
        };
        let (Deadline::At(instant) | Deadline::Within(instant)) = deadline;
        let send = wire::SendCommand {
            site: site.as_str().to_owned(),
            target: Some(wire::send_command::Target::Device(device.as_str().to_owned())),
            id: id.to_owned(),
            name: self.name,
            arguments: self.arguments.into_iter().map(|(name, argument)| field(name, argument)).collect(),
            idempotent: self.idempotent,
            priority: priority.into(),
            deadline_us: instant.0,
            ..wire::SendCommand::default()
        };
        Ok((send, deadline))
    }

    fn deadline(&self, now: UnixMicros) -> Result<Deadline, Problem> {
        match (&self.deadline_us, &self.ttl) {
            (Some(_), Some(_)) => Err(Problem::invalid("ttl", "both deadlineUs and ttl are given; give one of them")),
            (Some(Micros::Number(micros)), None) => Ok(Deadline::At(UnixMicros(*micros))),
            (Some(Micros::Text(text)), None) => {
                let micros =
                    text.parse().map_err(|_| Problem::invalid("deadlineUs", format!("{text:?} is no whole number")))?;
                Ok(Deadline::At(UnixMicros(micros)))
            }
            (None, Some(ttl)) => within(now, span("ttl", ttl)?),
            (None, None) => within(now, TTL),
        }
    }
}

fn within(now: UnixMicros, span: Duration) -> Result<Deadline, Problem> {
    let micros = i64::try_from(span.as_micros()).ok().and_then(|span| now.0.checked_add(span));
    micros.map(|micros| Deadline::Within(UnixMicros(micros))).ok_or_else(|| Problem::invalid("ttl", "it is too long"))
}

fn field(name: String, argument: Argument) -> wire::Field {
    let kind = match argument {
        Argument::Flag(flag) => Kind::Flag(flag),
        Argument::Integer(integer) => Kind::Integer(integer),
        Argument::Number(number) => Kind::Number(number),
        Argument::Text(text) => Kind::Text(text),
        Argument::Value(value) => return wire::Field { name, value: Some(value) },
    };
    wire::Field { name, value: Some(wire::Value { kind: Some(kind) }) }
}

/// A span as people write it: 500ms, 30s, 5min, 2h, 7d.
pub(super) fn span(name: &str, text: &str) -> Result<Duration, Problem> {
    let refused = || {
        let shown: String = text.chars().take(32).collect();
        Problem::invalid(
            name,
            format!("{name} is {shown:?}; write a whole number with its unit: ms, s, min, h or d, such as 30s"),
        )
    };
    let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let millis_per_unit: u64 = match unit.trim() {
        "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(refused()),
    };
    let number: u64 = number.parse().map_err(|_| refused())?;
    number.checked_mul(millis_per_unit).map(Duration::from_millis).ok_or_else(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMicros = UnixMicros(1_000_000);

    fn order(json: &str) -> Result<(wire::SendCommand, Deadline), String> {
        let command: NewCommand = serde_json::from_str(json).map_err(|error| error.to_string())?;
        let (site, device) = (Site::new("plant").unwrap(), DeviceName::new("pump").unwrap());
        let problem = |problem| serde_json::to_value::<Problem>(problem).unwrap()["detail"].to_string();
        command.order(&site, &device, "c", NOW).map_err(problem)
    }

    #[test]
    fn plain_values_get_their_kind_and_bytes_are_said_as_such() {
        let (send, _) =
            order(r#"{"name": "run", "arguments": {"a": 2, "b": 2.5, "c": "x", "d": true, "e": {"raw": "AP8="}}}"#)
                .unwrap();
        let kinds: Vec<Kind> = send.arguments.into_iter().map(|field| field.value.unwrap().kind.unwrap()).collect();
        let raw = Kind::Raw(bytes::Bytes::from_static(&[0, 255]));
        assert_eq!(kinds, [Kind::Integer(2), Kind::Number(2.5), Kind::Text("x".into()), Kind::Flag(true), raw]);
        assert!(order(r#"{"name": "run", "arguments": {"a": null}}"#).unwrap_err().contains("a number, a text"));
        assert!(order(r#"{"name": "run", "argments": {}}"#).unwrap_err().contains("argments"));
    }

    #[test]
    fn a_deadline_is_an_instant_or_a_span_and_not_both() {
        let deadline = |rest: &str| order(&format!(r#"{{"name": "run"{rest}}}"#)).map(|(_, deadline)| deadline);
        assert_eq!(deadline(""), Ok(Deadline::Within(UnixMicros(31_000_000))));
        assert_eq!(deadline(r#", "ttl": "5min""#), Ok(Deadline::Within(UnixMicros(301_000_000))));
        assert_eq!(deadline(r#", "deadlineUs": "77""#), Ok(Deadline::At(UnixMicros(77))));
        assert_eq!(deadline(r#", "deadlineUs": 77"#), Ok(Deadline::At(UnixMicros(77))));
        assert!(deadline(r#", "deadlineUs": "77", "ttl": "1s""#).unwrap_err().contains("one of them"));
        for wrong in ["5", "s", "-1s", "99999999999999999999d", "18446744073709551615d", "9999999999d"] {
            assert!(deadline(&format!(r#", "ttl": "{wrong}""#)).is_err(), "{wrong}");
        }
    }
}
