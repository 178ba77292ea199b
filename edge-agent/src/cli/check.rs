//! `check`: every fault of a configuration, drawn where it stands; then what is doubtful.

use std::io::Write as _;
use std::path::Path;

use super::CliError;
use crate::config;

pub(super) fn run(path: &Path) -> Result<(), CliError> {
    let config = super::load(path)?;
    let mut out = anstream::stdout();
    for warning in config::warnings(&config) {
        writeln!(out, "warning: {warning}")?;
    }
    let (serial, mqtt) = (config.serial.len(), config.mqtt.len());
    writeln!(
        out,
        "{}: no faults. Agent {} of site {}, {serial} serial and {mqtt} MQTT sources, to {}.",
        path.display(),
        config.agent.name,
        config.agent.site,
        config.uplink.url
    )?;
    Ok(())
}
