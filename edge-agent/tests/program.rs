//! The program as its users meet it: exit codes, messages, and a stop in good order.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const CONFIG: &str = r#"
[agent]
name = "a"
site = "plant-1"
[uplink]
url = "ws://127.0.0.1:9"
token = "t"
[[serial]]
name = "meter"
path = "absent/port"
profile = "dsmr5-p1"
[[mqtt]]
name = "zigbee"
url = "mqtt://127.0.0.1:9"
profile = "zigbee2mqtt"
"#;

fn agent(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockgate-agent"));
    command.args(args).current_dir(folder).env_remove("LOCKGATE_LOG");
    command
}

fn output(folder: &Path, args: &[&str]) -> Output {
    agent(folder, args).output().expect("the agent can be run")
}

fn folder(config: &str) -> TempDir {
    let folder = TempDir::new().expect("a folder");
    fs::write(folder.path().join("agent.toml"), config).expect("a file in it");
    folder
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn check_draws_every_fault_and_exits_with_2() {
    let folder = folder(&CONFIG.replace("site = \"plant-1\"", "sites = \"plant-1\"").replace("dsmr5-p1", "dsmr5-p2"));
    let output = output(folder.path(), &["check", "--config", "agent.toml"]);
    let shown = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{shown}");
    assert!(shown.contains("did you mean `site`?") && shown.contains("did you mean \"dsmr5-p1\"?"), "{shown}");
    assert!(shown.contains("agent.toml:4:1"), "{shown}");
}

#[test]
fn check_warns_of_what_is_not_there_and_exits_with_0() {
    let folder = folder(CONFIG);
    let output = output(folder.path(), &["check", "--config", "agent.toml"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).contains("absent/port does not exist"), "{}", stdout(&output));
}

#[test]
fn a_wrong_command_line_exits_with_2_and_a_missing_queue_with_1() {
    let folder = folder(CONFIG);
    for args in [&["decode", "--input", "-"][..], &["fly"], &["decode", "--profile", "nonsense", "--input", "-"]] {
        assert_eq!(output(folder.path(), args).status.code(), Some(2), "{args:?}");
    }
    let queue = output(folder.path(), &["queue", "--data", "nowhere"]);
    assert_eq!(queue.status.code(), Some(1));
    assert!(stderr(&queue).contains("has the agent run with this data folder?"));
}

#[test]
fn nothing_that_is_absent_ends_the_agent_and_sigterm_does_with_0() {
    let folder = folder(CONFIG);
    let mut running = agent(folder.path(), &["run", "--config", "agent.toml"])
        .stderr(Stdio::piped())
        .spawn()
        .expect("the agent can be run");
    let log = BufReader::new(running.stderr.take().expect("its log is piped"));
    let mut wanted = vec!["source=meter", "source=zigbee", "No connection to the gateway"];
    for line in log.lines() {
        let line = line.expect("the log is text");
        wanted.retain(|words| !line.contains(words));
        if wanted.is_empty() {
            break;
        }
    }
    assert!(wanted.is_empty(), "the log ended without {wanted:?}");
    assert!(running.try_wait().expect("it can be asked").is_none(), "it runs on");
    let pid = Pid::from_child(&running);
    let asked = Instant::now();
    kill_process(pid, Signal::TERM).expect("it is ours");
    let status = running.wait().expect("it ends");
    assert_eq!(status.code(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    let queue = output(folder.path(), &["queue", "--config", "agent.toml", "--json"]);
    let shown: serde_json::Value = serde_json::from_slice(&queue.stdout).expect("one JSON object");
    let lanes = shown["lanes"].as_array().expect("a list");
    for (lane, what) in [("telemetry", "its own health"), ("events", "what its devices are")] {
        let held = lanes.iter().find(|held| held["lane"] == lane).unwrap_or_else(|| panic!("{what}: {shown}"));
        assert_eq!(held["open"].as_bool(), Some(false), "{shown}");
        assert!(held["waiting"].as_u64().is_some_and(|waiting| waiting > 0), "{what} waits: {shown}");
    }
    let letters = output(folder.path(), &["dead-letters", "--config", "agent.toml"]);
    assert_eq!(stdout(&letters), "There are no dead letters.\n");
}

#[test]
fn two_agents_never_share_a_queue() {
    let folder = folder(CONFIG);
    let mut first = agent(folder.path(), &["run", "--config", "agent.toml"])
        .stderr(Stdio::piped())
        .spawn()
        .expect("the agent can be run");
    let log = BufReader::new(first.stderr.take().expect("its log is piped"));
    let mut lines = log.lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("The agent runs.")));
    let second = output(folder.path(), &["run", "--config", "agent.toml"]);
    assert_eq!(second.status.code(), Some(1));
    assert!(stderr(&second).contains("another lockgate-agent"), "{}", stderr(&second));
    first.kill().expect("it is ours");
    first.wait().expect("it ends");
    let third = agent(folder.path(), &["queue", "--config", "agent.toml"]).output().expect("the agent can be run");
    assert_eq!(third.status.code(), Some(0), "a killed agent's queue can be looked into");
}

#[test]
fn profiles_are_listed_and_shown() {
    let folder = folder(CONFIG);
    assert!(stdout(&output(folder.path(), &["profiles"])).contains("zigbee2mqtt"));
    assert!(stdout(&output(folder.path(), &["profiles", "dsmr5-p1"])).contains("framing"));
}

#[test]
fn every_sub_command_takes_the_configuration_of_the_folder_unless_told_another() {
    let folder = folder(CONFIG);
    for args in [&["queue"][..], &["dead-letters"], &["check"], &["decode", "--source", "meter", "--input", "-"]] {
        let here = agent(folder.path(), args).stdin(Stdio::null()).output().expect("the agent can be run");
        assert_ne!(here.status.code(), Some(2), "{args:?}: {}", stderr(&here));
        let elsewhere: Vec<&str> = args.iter().copied().chain(["--config", "other.toml"]).collect();
        let there = output(folder.path(), &elsewhere);
        assert!(stderr(&there).contains("other.toml"), "{args:?}: {}", stderr(&there));
    }
}

#[test]
fn a_profile_that_is_none_is_told_with_those_that_are() {
    let folder = folder(CONFIG);
    for args in [&["decode", "--profile", "zigbee2mqt", "--input", "-"][..], &["profiles", "zigbee2mqt"]] {
        let told = stderr(&output(folder.path(), args));
        assert!(told.contains("did you mean \"zigbee2mqtt\"?") && told.contains("emontx, esphome"), "{told}");
    }
    let told = stderr(&output(folder.path(), &["decode", "--profile", "wx", "--input", "-"]));
    assert!(told.contains("possible: dsmr5-p1, emontx, esphome"), "{told}");
}

#[test]
fn data_that_cannot_be_kept_is_told_with_its_key_and_the_path_by_check_and_by_run() {
    let folder = folder(&CONFIG.replace("site = \"plant-1\"", "site = \"plant-1\"\ndata = \"agent.toml/data\""));
    let told = "agent.data: agent.toml is no folder";
    let check = output(folder.path(), &["check"]);
    assert!(stdout(&check).contains(told), "{}", stdout(&check));
    let run = output(folder.path(), &["run"]);
    assert_eq!(run.status.code(), Some(1));
    assert_eq!(stderr(&run), format!("error: {told}; name a folder, which is made where it is missing\n"));
}

#[test]
fn check_tells_what_the_token_says() {
    let claims = r#"{"aud":"lockgate","jti":"1","ten":"acme","kind":"agent","sub":"a","site":"plant-1","iat":1763000000,"exp":4102444800}"#;
    let token = format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims));
    let folder = folder(&CONFIG.replace("token = \"t\"", &format!("token = \"{token}\"")));
    let told = stdout(&output(folder.path(), &["check"]));
    let wanted = "The token says: tenant acme, agent a of site plant-1, good until 2100-01-01T00:00:00Z (";
    assert!(told.contains(wanted), "{told}");
}

#[test]
fn help_tells_the_exit_codes() {
    assert!(stdout(&output(Path::new("."), &["--help"])).contains("Exit codes:\n  0  "));
}
