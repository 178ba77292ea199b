//! The example tells the defaults; every fault is told at once.

use super::*;

const EXAMPLE: &str = include_str!("../../agent.example.toml");

/// The example without all that has a default.
const MINIMAL: &str = r#"
[agent]
name = "pump-house"
site = "plant-1"
[uplink]
url = "ws://127.0.0.1:8080"
token_file = "agent.token"
[[serial]]
name = "meter"
path = "/dev/serial/by-id/usb-FTDI_P1_cable-if00-port0"
profile = "dsmr5-p1"
device = "meter"
[[mqtt]]
name = "zigbee"
url = "mqtt://127.0.0.1:1883"
profile = "zigbee2mqtt"
"#;

fn config(text: &str) -> Config {
    Config::from_toml("agent.toml", text, Path::new("/etc/lockgate")).unwrap()
}

fn faults(text: &str) -> Vec<String> {
    let problems = Config::from_toml("agent.toml", text, Path::new("/etc/lockgate")).unwrap_err();
    problems.list().iter().map(|problem| format!("{} {}", problem.line, problem.title())).collect()
}

#[test]
fn the_example_spells_out_the_defaults() {
    assert_eq!(config(EXAMPLE), config(MINIMAL));
}

#[test]
fn paths_are_relative_to_the_files_folder() {
    let config = config(MINIMAL);
    assert_eq!(config.agent.data, Path::new("/etc/lockgate/data"));
    assert_eq!(config.uplink.token, Secret::File("/etc/lockgate/agent.token".into()));
    assert_eq!(config.serial[0].path, Path::new("/dev/serial/by-id/usb-FTDI_P1_cable-if00-port0"));
}

#[test]
fn every_fault_is_told_at_once_and_in_order() {
    let text = r#"
[agent]
name = ""
time_zone = "Mars/Base"
[uplink]
url = "http://gateway"
[queue]
budget = "1KiB"
sync_intervall = "1s"
[[serial]]
name = "meter"
path = "/dev/ttyUSB0"
parity = "evn"
profile = "dsmr5-p1"
[[serial]]
name = "meter"
path = "/dev/ttyUSB1"
profile = "dsmr5-p2"
[[mqtt]]
name = "zigbee"
url = "mqtt://user:secret@broker"
password = "secret"
password_file = "secret"
profile = "zigbee2mqtt"
"#;
    let faults = faults(text);
    let keys: Vec<&str> = faults.iter().map(|fault| fault.split(':').next().unwrap()).collect();
    let expected = [
        "2 agent.site",
        "3 agent.name",
        "4 agent.time_zone",
        "5 uplink.token_file",
        "6 uplink.url",
        "8 queue.budget",
        "9 queue.sync_intervall",
        "13 serial[0].parity",
        "16 serial[1].name",
        "18 serial[1].profile",
        "19 mqtt[0].username",
        "21 mqtt[0].url",
        "23 mqtt[0].password_file",
    ];
    assert_eq!(keys, expected, "{faults:#?}");
}

#[test]
fn a_secret_never_shows_in_debug_output() {
    let text = MINIMAL.replace("token_file = \"agent.token\"", "token = \"eyJhbGciOi\"");
    assert!(!format!("{:?}", config(&text)).contains("eyJ"));
}

#[test]
fn a_profile_of_the_wrong_kind_is_refused() {
    let text = MINIMAL.replace("profile = \"dsmr5-p1\"", "profile = \"zigbee2mqtt\"");
    assert!(faults(&text)[0].contains("serial[0].profile"));
}

#[test]
fn a_misspelt_profile_is_told_once_and_its_keys_are_not_missed() {
    let text = MINIMAL.replace("profile = \"dsmr5-p1\"", "proflie = \"dsmr5-p1\"");
    let faults = faults(&text);
    assert_eq!(faults, ["11 serial[0].proflie: is no key that is known here"]);
}

#[test]
fn what_does_not_exist_is_a_warning_and_no_fault() {
    let warnings = warnings(&config(MINIMAL));
    assert!(warnings.iter().any(|warning| warning.contains("agent.token")), "{warnings:?}");
}
