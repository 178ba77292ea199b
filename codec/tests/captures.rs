//! The captures of real devices give the readings that stand beside them, through the shipped profiles,
//! and whole, byte by byte and in random pieces alike.
#![allow(clippy::unwrap_used, reason = "a fault in a capture ends the test")]

mod support;

use serde_json::{Value as Json, json};

use support::{Fed, capture, differences, feed_messages, feed_stream, profile};

fn check_stream(case: &str, profile_name: &str, input: &str) {
    let bytes = std::fs::read(capture(case, input)).unwrap();
    let profile = profile(profile_name);
    let whole = feed_stream(&profile, &[&bytes]);
    assert_eq!(differences(case, &whole), Vec::<String>::new());
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(feed_stream(&profile, &single), whole, "byte by byte");
    for seed in 0..200 {
        let pieces = support::random_pieces(&bytes, seed);
        assert_eq!(feed_stream(&profile, &pieces), whole, "pieces of seed {seed}");
    }
}

fn check_messages(case: &str, profile_name: &str) {
    let fed = feed_messages(&profile(profile_name), &capture(case, "input.jsonl"));
    assert_eq!(differences(case, &fed), Vec::<String>::new());
}

#[test]
fn a_smart_meter() {
    check_stream("dsmr5-p1", "dsmr5-p1", "input.bin");
}

#[test]
fn an_energy_monitor() {
    check_stream("emontx-keyvalue", "emontx", "input.txt");
}

#[test]
fn a_zigbee_bridge() {
    check_messages("zigbee2mqtt", "zigbee2mqtt");
}

#[test]
fn a_node_with_sensors_and_switches() {
    check_messages("esphome-mqtt", "esphome");
}

#[test]
fn subscriptions_are_the_fewest_that_suffice() {
    assert_eq!(profile("zigbee2mqtt").topics(), ["zigbee2mqtt/#"]);
    assert!(profile("esphome").topics().contains(&"+/sensor/+/state".to_owned()));
    assert_eq!(profile("lockgate-room").topics(), ["sim/+/availability", "sim/+", "sim/+/reply"]);
    assert!(profile("dsmr5-p1").topics().is_empty());
}

fn readings(fed: &Fed) -> Vec<(String, Json)> {
    let text = |line: &Json, key: &str| line[key].as_str().unwrap_or("dead letter").to_owned();
    fed.iter().map(|line| (text(line, "metric"), line["value"].clone())).collect()
}

#[test]
fn the_simulated_pump_is_read_and_its_faults_are_told() {
    let object = br#"{"n":123,"flow":12.5,"pressure":3.2,"rpm":1450,"state":"running"}"#;
    // 0x00 stands nowhere in the frame, so COBS puts only its code before it.
    let crc = crc::Crc::<u16>::new(&crc::CRC_16_MODBUS).checksum(object).to_le_bytes();
    let mut frame = vec![u8::try_from(object.len() + 3).unwrap()];
    frame.extend(object);
    frame.extend(crc);
    assert!(!frame.contains(&0));
    let mut flipped = frame.clone();
    flipped[10] ^= 4;
    let stream = [&frame[20..], &[0], &frame, &[0], &flipped, &[0, 0], &frame, &[0], &frame[..9]].concat();
    let fed = feed_stream(&profile("lockgate-pump"), &[&stream]);
    let one = [
        ("n".to_owned(), json!(123)),
        ("flow".to_owned(), json!(12.5)),
        ("pressure".to_owned(), json!(3.2)),
        ("rpm".to_owned(), json!(1450.0)),
        ("state".to_owned(), json!("running")),
    ];
    let dead = [("dead letter".to_owned(), Json::Null)];
    assert_eq!(readings(&fed), [&one[..], &dead, &one, &dead].concat());
}

#[test]
fn the_simulated_thermostat_is_read_and_its_faults_are_told() {
    let line = |text: &str| format!("{text}*{:02X}\r\n", text.bytes().fold(0, |sum, byte| sum ^ byte));
    let good = line("T=21.5 SP=20.0 HEAT=1 N=123");
    let stream = ["SP=20.0 HEAT=1 N=122*00\r\n", &good, &good.replace("21", "31"), &good].concat();
    let fed = feed_stream(&profile("lockgate-thermostat"), &[stream.as_bytes()]);
    let one = [
        ("temperature".to_owned(), json!(21.5)),
        ("setpoint".to_owned(), json!(20.0)),
        ("heating".to_owned(), json!(true)),
        ("n".to_owned(), json!(123)),
    ];
    assert_eq!(readings(&fed), [&one[..], &[("dead letter".to_owned(), Json::Null)], &one].concat());
}
