//! `check`: every fault of a configuration, drawn where it stands; then what is doubtful.

use std::io::Write as _;

use lockgate_proto::time::UnixMicros;
use lockgate_runtime::clock::Clock;
use lockgate_token::Grant;

use super::{CliError, ConfigArg};
use crate::config::{self, look_at_token};
use crate::time::iso;

pub(super) fn run(args: &ConfigArg) -> Result<(), CliError> {
    let config = args.load()?;
    let now = Clock::system().wall();
    let mut out = anstream::stdout();
    for warning in config::warnings(&config, now) {
        writeln!(out, "warning: {warning}")?;
    }
    if let Ok(grant) = look_at_token(&config, now) {
        writeln!(out, "{}", token_line(&grant, now))?;
    }
    let gateways: Vec<String> = config.uplink.urls().map(ToString::to_string).collect();
    let (serial, mqtt) = (config.serial.len(), config.mqtt.len());
    writeln!(
        out,
        "{}: no faults. Agent {} of site {}, {serial} serial and {mqtt} MQTT sources, to {}.",
        args.config.display(),
        config.agent.name,
        config.agent.site,
        gateways.join(", ")
    )?;
    Ok(())
}

/// What the token says; that the gateway's key has signed it, only the gateway can tell.
fn token_line(grant: &Grant, now: UnixMicros) -> String {
    const DAY_MICROS: i64 = 86_400_000_000;
    let left = match grant.expires_at.0.saturating_sub(now.0) / DAY_MICROS {
        0 => "less than a day".to_owned(),
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    };
    let whom = grant.agent().map(|id| format!("agent {} of site {}", id.agent, id.room.site)).unwrap_or_default();
    format!("The token says: tenant {}, {whom}, good until {} ({left}).", grant.tenant, iso(grant.expires_at))
}
