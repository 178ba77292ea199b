//! What the agent itself can be told: commands for the device that has the agent's name.

use std::path::PathBuf;
use std::sync::Arc;

use lockgate_proto::command::{Answer, Failure, FailureKind, Field, Fields};
use lockgate_proto::description::{ArgumentDescription, ArgumentKind, CommandDescription};
use lockgate_proto::ids::{CommandName, DeviceName, FieldName};
use lockgate_proto::reading::Value;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::Job;
use crate::config::Config;
use crate::data::DEAD_LETTERS_FOLDER;
use crate::dead_letters::{self, KeptLetter};
use crate::time::iso;

/// LIMIT: letters in one answer, so that they fit.
const LETTERS_MAX: i64 = 32;

/// LIMIT: characters of one letter in an answer.
const LETTER_CHARACTERS_MAX: usize = 400;

const RESTART_SOURCE: &str = "restart-source";
const REPORT_CONFIG: &str = "report-config";
const LIST_DEAD_LETTERS: &str = "list-dead-letters";

/// The agent as a device of its own.
pub struct OwnCommands {
    device: DeviceName,
    commands: Vec<CommandDescription>,
    /// By name, in the order of the configuration.
    sources: Vec<(String, Arc<Notify>)>,
    report: Fields,
    dead_letters: PathBuf,
}

impl OwnCommands {
    /// Of an agent with this configuration and these sources.
    pub fn new(device: DeviceName, config: &Config, sources: Vec<(String, Arc<Notify>)>) -> OwnCommands {
        let names: Vec<Arc<str>> = sources.iter().map(|(name, _)| Arc::from(name.as_str())).collect();
        let commands = described(&names);
        let dead_letters = config.agent.data.join(DEAD_LETTERS_FOLDER);
        OwnCommands { device, commands, sources, report: report(config), dead_letters }
    }

    /// The device under which the agent is told something.
    pub fn device(&self) -> &DeviceName {
        &self.device
    }

    /// What it can be told.
    pub fn commands(&self) -> &[CommandDescription] {
        &self.commands
    }

    /// Carries out what it is told, until told to stop.
    pub async fn run(self, mut jobs: mpsc::Receiver<Job>, stop: CancellationToken) -> anyhow::Result<()> {
        loop {
            let job = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                // CANCEL-SAFE: nothing is taken until `recv` completes.
                Some(job) = jobs.recv() => job,
            };
            let answer = match self.carry_out(&job.command.name, &job.command.arguments) {
                Ok(result) => Answer::Succeeded(result),
                Err(failure) => Answer::Failed(failure),
            };
            job.answer(answer).await;
        }
    }

    fn carry_out(&self, name: &CommandName, arguments: &Fields) -> Result<Fields, Failure> {
        let known = self.commands.iter().find(|command| command.name == *name);
        let known = known.ok_or_else(|| {
            let names: Vec<&str> = self.commands.iter().map(|command| command.name.as_str()).collect();
            failure(FailureKind::Unsupported, &format!("the agent has no command {name}; it has {}", names.join(", ")))
        })?;
        let arguments = known.check(arguments).map_err(|error| failure(FailureKind::NotSent, &error.to_string()))?;
        match name.as_str() {
            RESTART_SOURCE => self.restart(&arguments),
            REPORT_CONFIG => Ok(self.report.clone()),
            _ => self.letters(&arguments),
        }
    }

    fn restart(&self, arguments: &Fields) -> Result<Fields, Failure> {
        let Some(Value::Text(wanted)) = arguments.get("source") else {
            return Err(failure(FailureKind::NotSent, "source is missing"));
        };
        let found = self.sources.iter().find(|(name, _)| **name == **wanted);
        let (name, restart) = found.ok_or_else(|| failure(FailureKind::Unsupported, "the agent has no such source"))?;
        info!(source = %name, "The source begins anew, as it was told.");
        restart.notify_one();
        Ok(Fields::default())
    }

    /// At most what the dead letters' budget holds is read, for one answer at a time.
    fn letters(&self, arguments: &Fields) -> Result<Fields, Failure> {
        let count = match arguments.get("count") {
            Some(Value::Integer(count)) => usize::try_from(*count).unwrap_or(0),
            _ => 0,
        };
        let letters = dead_letters::list(&self.dead_letters)
            .map_err(|error| failure(FailureKind::NotSent, &format!("the dead letters can't be read: {error}")))?;
        let newest = letters.iter().rev().take(count).enumerate();
        let shown = newest.filter_map(|(at, letter)| field(&format!("{:02}", at + 1), text(&shown(letter))));
        Ok(fitting(shown.collect()))
    }
}

fn shown(letter: &KeptLetter) -> String {
    let at = letter.at.map_or("at an unknown time".to_owned(), iso);
    let whole = format!("{at} {} {}: {}", letter.source, letter.reason, letter.detail);
    whole.chars().take(LETTER_CHARACTERS_MAX).collect()
}

fn failure(kind: FailureKind, reason: &str) -> Failure {
    Failure { kind, reason: reason.into() }
}

fn text(text: &str) -> Value {
    Value::Text(text.into())
}

/// `None`: the name can be no field's.
fn field(name: &str, value: Value) -> Option<Field> {
    Some(Field { name: FieldName::new(name).ok()?, value })
}

/// As many as a result may have; the last ones go.
fn fitting(mut fields: Vec<Field>) -> Fields {
    loop {
        match Fields::new(fields.clone()) {
            Ok(checked) => return checked,
            Err(_) if fields.pop().is_some() => {}
            Err(_) => return Fields::default(),
        }
    }
}

/// The configuration as it was checked. Secrets are not among it: a token or password never leaves the agent.
fn report(config: &Config) -> Fields {
    let urls: Vec<String> = config.uplink.urls().map(ToString::to_string).collect();
    let bytes = |bytes: u64| Value::Integer(i64::try_from(bytes).unwrap_or(i64::MAX));
    let seconds = |span: std::time::Duration| Value::Number(span.as_secs_f64());
    let mut fields = vec![
        field("agent.name", text(config.agent.name.as_str())),
        field("agent.site", text(config.agent.site.as_str())),
        field("agent.data", text(&config.agent.data.display().to_string())),
        field("agent.time_zone", text(&config.agent.time_zone)),
        field("uplink.url", text(&urls.join(", "))),
        field("queue.budget", bytes(config.queue.budget_bytes)),
        field("queue.events_reserve", bytes(config.queue.events_reserve_bytes)),
        field("queue.sync_interval", seconds(config.queue.sync_interval)),
        field("health.interval", seconds(config.health.interval)),
    ];
    let profile = |name: &Option<String>| name.clone().unwrap_or_else(|| "its own".to_owned());
    fields.extend(config.serial.iter().map(|serial| {
        let (path, profile) = (serial.path.display(), profile(&serial.profile.name));
        field(&format!("serial.{}", serial.name), text(&format!("{path} at {} baud, profile {profile}", serial.baud)))
    }));
    fields.extend(config.mqtt.iter().map(|mqtt| {
        let profile = profile(&mqtt.profile.name);
        let shown = format!("{} as {}, profile {profile}", mqtt.url, mqtt.client_id);
        field(&format!("mqtt.{}", mqtt.name), text(&shown))
    }));
    fitting(fields.into_iter().flatten().collect())
}

fn described(sources: &[Arc<str>]) -> Vec<CommandDescription> {
    let command = |name: &str, label: &str, arguments: Vec<ArgumentDescription>| {
        Some(CommandDescription {
            name: CommandName::new(name).ok()?,
            label: Some(label.into()),
            arguments,
            confirm: false,
            idempotent: true,
            at_once: 1,
            timeout: None,
        })
    };
    let argument = |name: &str, required: bool, default: Option<Value>, kind: ArgumentKind| {
        let name = FieldName::new(name).ok()?;
        Some(ArgumentDescription { name, label: None, unit: None, required, default, kind })
    };
    let source = argument("source", true, None, ArgumentKind::Choice { of: sources.to_vec() });
    let letters = ArgumentKind::Integer { min: Some(1), max: Some(LETTERS_MAX) };
    let count = argument("count", false, Some(Value::Integer(10)), letters);
    let restart = command(RESTART_SOURCE, "Close a source and begin it anew", source.into_iter().collect());
    let commands = [
        restart.filter(|_| !sources.is_empty()),
        command(REPORT_CONFIG, "Report the configuration, without secrets", Vec::new()),
        command(LIST_DEAD_LETTERS, "List the newest dead letters", count.into_iter().collect()),
    ];
    commands.into_iter().flatten().collect()
}

#[cfg(test)]
#[path = "own_tests.rs"]
mod tests;
