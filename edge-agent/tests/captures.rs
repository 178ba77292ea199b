//! Recorded inputs of real kinds of devices give the readings that they must give, through
//! `lockgate-agent decode` as a user runs it.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn data(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../codec/tests/data").join(case)
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().filter(|line| !line.trim().is_empty()).map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn decode(args: &[&str], input: &Path) -> Vec<Value> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockgate-agent"));
    command.arg("decode").args(args).arg("--input").arg(input);
    let output = command.output().expect("the agent can be run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    lines(&String::from_utf8(output.stdout).expect("UTF-8"))
}

/// A serial input: whole, byte by byte, in pieces of odd lengths, and in random ones.
fn check_in_pieces(case: &str, input: &str, profile: &str) {
    check(case, input, &["--profile", profile]);
    for pieces in ["1", "7", "1048576"] {
        check(case, input, &["--profile", profile, "--pieces", pieces]);
    }
    for seed in 0..8 {
        check(case, input, &["--profile", profile, "--pieces", "random", "--seed", &seed.to_string()]);
    }
}

fn check(case: &str, input: &str, args: &[&str]) {
    let expected =
        lines(&std::fs::read_to_string(data(case).join("expected.jsonl")).expect("the case has its readings"));
    let mut got = decode(args, &data(case).join(input));
    // Noise before the first frame may be told, as we join in mid-stream.
    if got.len() == expected.len() + 1 && got[0].get("dead_letter").is_some() {
        got.remove(0);
    }
    for (at, (expected, got)) in expected.iter().zip(&got).enumerate() {
        assert!(is_same(expected, got), "{case} {args:?}, line {}:\nexpected {expected}\ngot      {got}", at + 1);
    }
    assert_eq!(expected.len(), got.len(), "{case} {args:?}: {:#?}", got.get(expected.len()..));
}

fn is_same(expected: &Value, got: &Value) -> bool {
    if expected.get("dead_letter").is_some() {
        return got.get("dead_letter").is_some();
    }
    let same = |key: &str| expected.get(key) == got.get(key);
    let flag = |line: &Value, key: &str| line.get(key).and_then(Value::as_bool).unwrap_or(false);
    same("device")
        && same("metric")
        && same("unit")
        && is_same_value(&expected["value"], &got["value"])
        && is_same_time(expected.get("time"), got.get("time"))
        && flag(expected, "retained") == flag(got, "retained")
        && flag(expected, "historical") == flag(got, "historical")
}

fn is_same_value(expected: &Value, got: &Value) -> bool {
    match (expected.as_f64(), got.as_f64()) {
        (Some(_), Some(_)) if expected.is_i64() && got.is_i64() => expected == got,
        (Some(expected), Some(got)) => (expected - got).abs() <= expected.abs() * 1e-6,
        _ => expected == got,
    }
}

fn is_same_time(expected: Option<&Value>, got: Option<&Value>) -> bool {
    let micros = |time: &Value| {
        let time: jiff::Timestamp = time.as_str().expect("a time is text").parse().expect("a time is RFC 3339");
        time.as_microsecond()
    };
    expected.map(micros) == got.map(micros)
}

#[test]
fn a_dutch_smart_meter_is_read() {
    check_in_pieces("dsmr5-p1", "input.bin", "dsmr5-p1");
}

#[test]
fn an_energy_monitor_of_key_value_lines_is_read() {
    check_in_pieces("emontx-keyvalue", "input.txt", "emontx");
}

#[test]
fn zigbee_devices_behind_zigbee2mqtt_are_read() {
    check("zigbee2mqtt", "input.jsonl", &["--profile", "zigbee2mqtt"]);
}

#[test]
fn esphome_devices_are_read() {
    check("esphome-mqtt", "input.jsonl", &["--profile", "esphome"]);
}

#[test]
fn pieces_are_for_serial_input_only() {
    for args in [["zigbee2mqtt", "1"], ["emontx", "0"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lockgate-agent"));
        command.args(["decode", "--profile", args[0], "--pieces", args[1], "--input", "-"]);
        let output = command.output().expect("the agent can be run");
        assert!(!output.status.success());
        assert!(String::from_utf8_lossy(&output.stderr).contains("pieces"));
    }
}

#[test]
fn standard_input_is_an_input() {
    let file = std::fs::File::open(data("emontx-keyvalue").join("input.txt")).expect("the capture is there");
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockgate-agent"));
    command.args(["decode", "--profile", "emontx", "--input", "-"]).stdin(file);
    let output = command.output().expect("the agent can be run");
    assert!(output.status.success());
    assert!(lines(&String::from_utf8_lossy(&output.stdout)).len() > 20);
}

/// What decode writes for an input in a file of its own: standard output, standard error.
fn decode_text(profile: &str, input: &[u8]) -> (String, String) {
    let folder = tempfile::TempDir::new().expect("a folder");
    std::fs::write(folder.path().join("profile.toml"), profile).expect("a file in it");
    std::fs::write(folder.path().join("input"), input).expect("a file in it");
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockgate-agent"));
    command.args(["decode", "--profile", "./profile.toml", "--input", "input"]).current_dir(folder.path());
    let output = command.output().expect("the agent can be run");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}", text(&output.stderr));
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn an_input_of_which_nothing_comes_is_not_answered_by_silence() {
    let serial = "framing = 'lines'\ndecode = 'json'\ndevice = 'd'\n[[route]]\nstarts = '{'\nvalue = [{ key = 'a' }]\n";
    let (out, counts) = decode_text(serial, b"hello\nworld\n");
    assert_eq!(
        (out.as_str(), counts.as_str()),
        ("", "2 frames: 2 ignored or taken by no route; 0 readings, 0 dead letters\n")
    );
    let (out, counts) = decode_text(serial, b"hello\n{\"a\":1}\n{\"a\":null}\n{\"a\"\n");
    assert_eq!(out.lines().count(), 2, "{out}");
    let expected = "4 frames: 1 ignored or taken by no route; 1 reading, 1 dead letter; 1 without a value\n";
    assert_eq!(counts, expected);
    let mqtt = "decode = 'text'\n[[route]]\ntopic = 'a/{device}'\nvalue = [{ presence = true, map = { on = true } }]\n";
    let (_, counts) =
        decode_text(mqtt, b"{\"topic\":\"a/b\",\"payload\":\"on\"}\n{\"topic\":\"x\",\"payload\":\"\"}\n");
    assert_eq!(counts, "2 messages: 1 ignored or taken by no route; 0 readings, 1 of presence, 0 dead letters\n");
}

#[test]
fn the_documents_example_of_positional_lines_works() {
    let document = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/mapping.md"));
    let document = document.expect("the document is there");
    let example = document.split("```toml\n").filter_map(|rest| rest.split("```").next());
    let example = example.into_iter().find(|example| example.contains("\"position\"")).expect("the example is there");
    let line = example.lines().next().and_then(|line| line.strip_prefix("# ")).expect("it begins with a line of data");
    let (out, _) = decode_text(&format!("device = 'mast'\n{example}"), format!("{line}\n").as_bytes());
    let readings = lines(&out);
    let got: Vec<_> = readings.iter().map(|line| (line["metric"].as_str(), line["value"].as_f64())).collect();
    assert_eq!(got, [(Some("temperature"), Some(21.7))], "{out}");
    assert_eq!(readings[0]["unit"], "Cel");
}
