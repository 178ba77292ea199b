//! The example tells the defaults; every fault is told at once.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lockgate_proto::time::UnixMicros;

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
fn a_gateway_is_one_address_or_a_list_with_the_preferred_one_first() {
    let with = |urls: &str| MINIMAL.replace("url = \"ws://127.0.0.1:8080\"", &format!("url = {urls}"));
    let urls: Vec<String> = config(&with("['wss://a', 'wss://b/p']")).uplink.urls().map(ToString::to_string).collect();
    assert_eq!(urls, ["wss://a", "wss://b/p"]);
    assert!(faults(&with("[]"))[0].contains("uplink.url"));
    let faults = faults(&with("['wss://a', 'b', 'http://c']"));
    assert!(faults.len() == 2 && faults[1].contains("uplink.url[2]"), "{faults:?}");
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
    let warnings = warnings(&config(MINIMAL), UnixMicros(0));
    assert!(warnings.iter().any(|warning| warning.contains("agent.token")), "{warnings:?}");
}

#[test]
fn a_file_in_a_ports_place_is_a_warning() {
    let text = MINIMAL
        .replace("/dev/serial/by-id/usb-FTDI_P1_cable-if00-port0", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
    let warnings = warnings(&config(&text), UnixMicros(0));
    assert!(warnings.iter().any(|warning| warning.ends_with("is no serial port but a plain file")), "{warnings:?}");
}

#[test]
fn two_sources_never_share_a_port_under_whatever_path() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ttyUSB0"), "").unwrap();
    std::os::unix::fs::symlink("ttyUSB0", folder.path().join("by-id")).unwrap();
    let told = |first: &str, second: &str| {
        let one =
            |name: &str, path: &str| format!("[[serial]]\nname = '{name}'\npath = '{path}'\nprofile = 'dsmr5-p1'\n");
        let (head, _) = MINIMAL.split_once("[[serial]]").unwrap();
        let text = format!("{head}{}{}", one("meter", first), one("pump", second));
        let checked = Config::from_toml("agent.toml", &text, folder.path());
        checked.err().map(|problems| problems.list().iter().map(lockgate_config::Problem::title).collect::<String>())
    };
    assert_eq!(told("absent-1", "absent-2"), None);
    let same = "serial[1].path: is the port of the source \"meter\" too";
    assert_eq!(told("absent-1", "absent-1").as_deref(), Some(same));
    assert_eq!(told("ttyUSB0", "./ttyUSB0").unwrap().split(" (").next(), Some(same));
    let linked = told("ttyUSB0", "by-id").unwrap();
    assert!(linked.starts_with(same) && linked.ends_with("/ttyUSB0)"), "{linked}");
}

/// Seconds since 1970 at which the tests of tokens take place.
const NOW_SECONDS: i64 = 1_800_000_000;

/// What is said of a token with these claims; nobody has signed it.
fn said_of_token(claims: &str) -> Result<String, String> {
    let json = format!("{{\"aud\":\"lockgate\",\"jti\":\"1\",\"ten\":\"acme\",{claims}}}");
    let token = format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(json));
    let config = config(&MINIMAL.replace("token_file = \"agent.token\"", &format!("token = \"{token}\"")));
    let now = UnixMicros(NOW_SECONDS * 1_000_000);
    let warned = warnings(&config, now).into_iter().find(|warning| warning.starts_with("uplink.token: "));
    match look_at_token(&config, now) {
        Ok(grant) => {
            assert_eq!(warned, None);
            Ok(grant.tenant.to_string())
        }
        Err(fault) => {
            assert_eq!(warned, Some(format!("uplink.token: {fault}")));
            Err(fault.to_string())
        }
    }
}

#[test]
fn a_token_that_no_gateway_will_take_is_told_before_one_is_asked() {
    let make = "lockgate token agent pump-house --site plant-1 --tenant acme --key token.key";
    let fix = &format!("; make one where the gateway has its key: `{make}`");
    let times = |from: i64, to: i64| format!("\"iat\":{},\"exp\":{}", NOW_SECONDS + from, NOW_SECONDS + to);
    let of_agent = |agent: &str, times: String| {
        said_of_token(&format!("\"kind\":\"agent\",\"sub\":\"{agent}\",\"site\":\"plant-1\",{times}"))
    };
    assert_eq!(of_agent("pump-house", times(0, 1)), Ok("acme".to_owned()));
    let user = said_of_token(&format!("\"kind\":\"user\",\"sub\":\"ann\",{}", times(-1, 1))).unwrap_err();
    assert!(user.starts_with("this is the token of the user \"ann\", and an agent needs one") && user.ends_with(fix));
    let other = of_agent("barn", times(-1, 1)).unwrap_err();
    assert!(other.starts_with("this is the token of agent barn of site plant-1, and this is agent pump-house of"));
    let expired = of_agent("pump-house", times(-1, 0)).unwrap_err();
    assert_eq!(expired, format!("the token has expired at 2027-01-15T08:00:00Z{fix}"));
    let early = of_agent("pump-house", times(1, 2)).unwrap_err();
    assert!(early.starts_with("the token was made at 2027-01-15T08:00:01Z, which is still to come"), "{early}");
    assert!(said_of_token("\"kind\":1").unwrap_err().starts_with("the token is damaged, or is not a token of"));
}
