//! What is right in itself and yet will hardly work: told by `check` and at start, never refused.

use std::path::Path;

use lockgate_proto::time::UnixMicros;

use super::{Config, TokenFault, look_at_token, token};
use crate::data;
use crate::source::serial::not_a_port;

/// One sentence for each thing that is named and not there, or that is unwise.
pub fn warnings(config: &Config, now: UnixMicros) -> Vec<String> {
    let mut warnings = Vec::new();
    warnings.extend(data::look(&config.agent.data).err().map(|error| error.to_string()));
    let secret = &config.uplink.token;
    match look_at_token(config, now) {
        Ok(_) => {}
        // Told below.
        Err(TokenFault::Secret(_)) if secret.file().is_some_and(|file| !file.exists()) => {}
        Err(fault) => warnings.push(format!("{}: {fault}", token::key(secret))),
    }
    let mut need = |key: String, path: Option<&Path>, what: &str| {
        if let Some(path) = path.filter(|path| !path.exists()) {
            warnings.push(format!("{key}: {} does not exist; {what}", path.display()));
        }
    };
    let later = "it is looked for again and again while the agent runs";
    need("uplink.token_file".to_owned(), config.uplink.token.file(), later);
    let trust = &config.uplink.trust;
    need("uplink.ca_file".to_owned(), trust.ca_file.as_deref(), "the gateway can't be trusted without it");
    if let Some(identity) = &trust.identity {
        need("uplink.cert_file".to_owned(), Some(&identity.cert_file), "the gateway asks for it");
        need("uplink.key_file".to_owned(), Some(&identity.key_file), "the certificate is worth nothing without it");
    }
    for serial in &config.serial {
        need(format!("serial {:?}: path", serial.name), Some(&serial.path), later);
    }
    for mqtt in &config.mqtt {
        let password = mqtt.password.as_ref().and_then(super::Secret::file);
        need(format!("mqtt {:?}: password_file", mqtt.name), password, later);
        need(
            format!("mqtt {:?}: ca_file", mqtt.name),
            mqtt.ca_file.as_deref(),
            "the broker can't be trusted without it",
        );
    }
    for serial in &config.serial {
        if let Some(what) = not_a_port(&serial.path) {
            let (name, path) = (&serial.name, serial.path.display());
            warnings.push(format!("serial {name:?}: path: {path} is no serial port but {what}"));
        }
    }
    for gateway in config.uplink.urls().filter(|gateway| !gateway.is_secure()) {
        if !is_loopback(host_of(&gateway.to_string())) {
            warnings.push(format!("uplink.url: {gateway} is not encrypted; the token can be read on the way"));
        }
    }
    for mqtt in config.mqtt.iter().filter(|mqtt| mqtt.password.is_some()) {
        if !mqtt.url.is_tls && !is_loopback(&mqtt.url.host) {
            let (name, url) = (&mqtt.name, &mqtt.url);
            warnings.push(format!("mqtt {name:?}: {url} is not encrypted; the password can be read on the way"));
        }
    }
    if config.serial.is_empty() && config.mqtt.is_empty() {
        warnings.push("there is neither a [[serial]] nor a [[mqtt]]: the agent will tell only of itself".to_owned());
    }
    warnings
}

/// The host in `scheme://host:port/…`.
fn host_of(url: &str) -> &str {
    let authority = url.split("://").nth(1).unwrap_or(url).split('/').next().unwrap_or_default();
    match authority.strip_prefix('[') {
        Some(address) => address.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}
