//! `lockgate describe`: what a device measures, and what it can be told to do.

use clap::Args;
use lockgate_client::Client;
use lockgate_proto::description::{
    ArgumentDescription, ArgumentKind, CommandDescription, Description, MetricDescription, ValueKind,
};
use lockgate_proto::ids::{DeviceName, Site, Tag};
use lockgate_proto::reading::Value;
use serde::Serialize;
use serde_json::{Value as Json, json};

use super::CliError;
use super::args::GatewayArgs;
use super::json::value_json;
use super::output::{BOLD, DIM, Lines, NAME, WARN, printable, styled};

/// Show what a device measures, and what it can be told to do.
#[derive(Args)]
pub(super) struct DescribeArgs {
    /// The site
    site: Site,
    /// The device
    device: DeviceName,
    /// One JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    gateway: GatewayArgs,
}

pub(super) async fn run(args: DescribeArgs) -> Result<(), CliError> {
    let mut client = Client::connect(args.gateway.options()?).await?;
    let description = client.describe(&args.site, &args.device).await?;
    client.close().await;
    let Some(description) = description else {
        let device = printable(args.device.as_str());
        return Err(CliError::Found(format!(
            "the agent of {device} has not described it; it may take commands all the same"
        )));
    };
    let mut lines = Lines::default();
    if args.json {
        lines.json(&DescriptionJson::of(&description))?;
    } else {
        text(&mut lines, &description);
    }
    lines.write()
}

/// A description, for programs.
#[derive(Serialize)]
pub(super) struct DescriptionJson<'r> {
    kind: &'static str,
    device: &'r str,
    /// As hexadecimal text: numbers of JSON are too small for it.
    version: String,
    metrics: Vec<MetricJson<'r>>,
    commands: Vec<CommandJson<'r>>,
    tags: Vec<&'r str>,
}

#[derive(Serialize)]
struct MetricJson<'r> {
    name: &'r str,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<&'r str>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'r str>,
}

#[derive(Serialize)]
struct CommandJson<'r> {
    name: &'r str,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'r str>,
    arguments: Vec<ArgumentJson<'r>>,
    confirm: bool,
    idempotent: bool,
    at_once: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_ms: Option<u64>,
}

#[derive(Serialize)]
struct ArgumentJson<'r> {
    name: &'r str,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<&'r str>,
    required: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    default: Option<Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    default_hex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min: Option<Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max: Option<Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_max: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    of: Option<Vec<&'r str>>,
}

impl<'r> DescriptionJson<'r> {
    pub(super) fn of(description: &'r Description) -> DescriptionJson<'r> {
        DescriptionJson {
            kind: "description",
            device: description.device.as_str(),
            version: format!("{:016x}", description.version),
            metrics: description.metrics.iter().map(metric_json).collect(),
            commands: description.commands.iter().map(command_json).collect(),
            tags: description.tags.iter().map(Tag::as_str).collect(),
        }
    }
}

fn metric_json(metric: &MetricDescription) -> MetricJson<'_> {
    MetricJson {
        name: metric.name.as_str(),
        unit: metric.unit.as_deref(),
        kind: metric.kind.map(ValueKind::as_str),
        label: metric.label.as_deref(),
    }
}

fn command_json(command: &CommandDescription) -> CommandJson<'_> {
    CommandJson {
        name: command.name.as_str(),
        label: command.label.as_deref(),
        arguments: command.arguments.iter().map(argument_json).collect(),
        confirm: command.confirm,
        idempotent: command.idempotent,
        at_once: command.at_once,
        timeout_ms: command.timeout.map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)),
    }
}

fn argument_json(argument: &ArgumentDescription) -> ArgumentJson<'_> {
    let (default, default_hex) = argument.default.as_ref().map(value_json).unwrap_or_default();
    let (mut min, mut max, mut step, mut bytes_max, mut of) = (None, None, None, None, None);
    let kind = match &argument.kind {
        ArgumentKind::Flag => "flag",
        ArgumentKind::Integer { min: least, max: greatest } => {
            (min, max) = (least.map(|number| json!(number)), greatest.map(|number| json!(number)));
            "integer"
        }
        ArgumentKind::Number { min: least, max: greatest, step: steps } => {
            (min, max) = (least.map(|number| json!(number)), greatest.map(|number| json!(number)));
            step = *steps;
            "number"
        }
        ArgumentKind::Text { bytes_max: most } => {
            bytes_max = Some(*most);
            "text"
        }
        ArgumentKind::Choice { of: words } => {
            of = Some(words.iter().map(AsRef::as_ref).collect());
            "choice"
        }
        ArgumentKind::Any => "any",
    };
    let (name, label, unit) = (argument.name.as_str(), argument.label.as_deref(), argument.unit.as_deref());
    let required = argument.required;
    ArgumentJson { name, kind, label, unit, required, default, default_hex, min, max, step, bytes_max, of }
}

fn text(lines: &mut Lines, description: &Description) {
    let tags: Vec<String> = description.tags.iter().map(|tag| printable(tag.as_str())).collect();
    lines.text(format!("{}  {}", styled(NAME, printable(description.device.as_str())), styled(DIM, tags.join("  "))));
    for metric in &description.metrics {
        let kind = metric.kind.map_or("", |kind| kind.as_str());
        let unit = metric.unit.as_deref().map(printable).unwrap_or_default();
        let about = metric.label.as_deref().map(printable).unwrap_or_default();
        lines.text(format!("  measures {}  {kind}  {unit}  {}", printable(metric.name.as_str()), styled(DIM, about)));
    }
    for command in &description.commands {
        let about = command.label.as_deref().map(printable).unwrap_or_default();
        let mut marks = Vec::new();
        marks.extend(command.confirm.then(|| styled(WARN, "asks to be confirmed")));
        marks.extend(command.idempotent.then(|| styled(DIM, "may be repeated")));
        let name = styled(BOLD, printable(command.name.as_str()));
        lines.text(format!("  takes {name}  {}  {}", styled(DIM, about), marks.join("  ")));
        for argument in &command.arguments {
            lines.text(format!("    {}", argument_text(argument)));
        }
    }
}

fn argument_text(argument: &ArgumentDescription) -> String {
    let given = match &argument.default {
        _ if argument.required => "required".to_owned(),
        Some(default) => format!("else {}", value_text(default)),
        None => "may be left out".to_owned(),
    };
    let unit = argument.unit.as_deref().map(|unit| format!(" {}", printable(unit))).unwrap_or_default();
    let about = argument.label.as_deref().map(printable).unwrap_or_default();
    let allowed = printable(&argument.kind.to_string());
    format!("{}  {allowed}{unit}; {given}  {}", printable(argument.name.as_str()), styled(DIM, about))
}

fn value_text(value: &Value) -> String {
    match value_json(value) {
        (Some(json), _) => printable(&json.to_string()),
        (None, hex) => hex.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lockgate_proto::ids::{CommandName, FieldName, MetricName};

    use super::*;

    fn sample() -> Description {
        let argument = |name: &str, kind| ArgumentDescription {
            name: FieldName::new(name).unwrap(),
            label: None,
            unit: None,
            required: false,
            default: None,
            kind,
        };
        let speed = ArgumentKind::Number { min: Some(0.5), max: Some(3.0), step: Some(0.1) };
        let speed = ArgumentDescription { unit: Some("m/s".into()), required: true, ..argument("speed", speed) };
        let mode = ArgumentKind::Choice { of: vec!["eco".into(), "boost".into()] };
        let mode = ArgumentDescription { default: Some(Value::Text("eco".into())), ..argument("mode", mode) };
        let runs = argument("runs", ArgumentKind::Integer { min: Some(1), max: None });
        let command = CommandDescription {
            name: CommandName::new("run").unwrap(),
            label: Some("Run the pump".into()),
            arguments: vec![speed, mode, runs],
            confirm: true,
            idempotent: true,
            at_once: 1,
            timeout: Some(Duration::from_secs(5)),
        };
        let level = MetricDescription {
            name: MetricName::new("level").unwrap(),
            unit: Some("m".into()),
            kind: Some(ValueKind::Number),
            label: Some("Water level".into()),
        };
        let tags = vec![Tag::new("hall 1").unwrap()];
        Description::new(DeviceName::new("pump 1").unwrap(), vec![level], vec![command], tags).unwrap()
    }

    #[test]
    fn people_read_what_they_can_order() {
        let mut lines = Lines::default();
        text(&mut lines, &sample());
        insta::assert_snapshot!(lines.into_plain());
    }

    #[test]
    fn programs_read_all_of_it() {
        let mut lines = Lines::default();
        lines.json(&DescriptionJson::of(&sample())).unwrap();
        insta::assert_snapshot!(lines.into_plain());
    }
}
