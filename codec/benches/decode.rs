//! What it costs to make readings of bytes: each framing, and the mapping of one JSON payload.
#![allow(clippy::unwrap_used, reason = "a profile that can't be read ends the benchmark")]

use std::path::Path;
use std::sync::Arc;

use divan::counter::{BytesCount, ItemsCount};
use lockgate_codec::{Context, Output, Profile};
use lockgate_config::Problems;
use lockgate_proto::time::MonoTime;

const LINE: &[u8] = b"T=21.5 SP=20.0 HEAT=1 N=123\r\n";

/// One message of a temperature sensor: eight keys, six readings with a time.
const PAYLOAD: &[u8] = br#"{"battery":97,"humidity":51.08,"last_seen":"2025-05-20T07:01:12.345Z","linkquality":112,"power_outage_count":2,"pressure":1003.5,"temperature":4.31,"voltage":2995}"#;

fn main() {
    divan::main();
}

fn parse(name: &str, text: &str) -> Arc<Profile> {
    let problems = Problems::new();
    Profile::parse(name, text, &problems).unwrap()
}

fn shipped(name: &str) -> Arc<Profile> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../edge-agent/profiles/{name}.toml"));
    parse(name, &std::fs::read_to_string(file).unwrap())
}

fn capture(file: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(file)).unwrap()
}

fn outputs(profile: &Arc<Profile>, bytes: &[u8]) -> usize {
    let mut reader = profile.stream(Context::default()).unwrap();
    let mut out = Vec::new();
    reader.push(bytes, MonoTime::default(), &mut out);
    out.len()
}

/// Feeds a stream in one piece; what is made of it is dropped.
fn feed(bencher: divan::Bencher<'_, '_>, profile: &Arc<Profile>, bytes: &[u8]) {
    bencher.counter(BytesCount::of_slice(bytes)).bench(|| outputs(profile, divan::black_box(bytes)));
}

/// Frames whose route ignores them: the framing alone.
fn framing(bencher: divan::Bencher<'_, '_>, framing: &str, frame: &[u8]) {
    let text = format!("framing = '{framing}'\ndecode = 'text'\ndevice = 'd'\nroute = [{{ ignore = true }}]");
    feed(bencher, &parse("framing", &text), &frame.repeat(64 * 1024 / frame.len()));
}

#[divan::bench]
fn lines_cut(bencher: divan::Bencher<'_, '_>) {
    framing(bencher, "lines", LINE);
}

/// For comparison: the same bytes cut at line feeds by the standard library, and nothing kept of them.
#[divan::bench]
fn lines_cut_by_std(bencher: divan::Bencher<'_, '_>) {
    let bytes = LINE.repeat(64 * 1024 / LINE.len());
    let lines = |bytes: &[u8]| bytes.split(|byte| *byte == b'\n').map(divan::black_box).count();
    bencher.counter(BytesCount::of_slice(&bytes)).bench(|| lines(divan::black_box(&bytes)));
}

#[divan::bench]
fn telegrams_cut(bencher: divan::Bencher<'_, '_>) {
    framing(bencher, "telegram", b"/LGT5\\2SIM\r\n\r\n1-0:1.8.1(004512.317*kWh)\r\n1-0:1.7.0(00.412*kW)\r\n!5EB2\r\n");
}

#[divan::bench]
fn cobs_cut(bencher: divan::Bencher<'_, '_>) {
    framing(bencher, "cobs", &[&[60][..], &[7; 59], &[0]].concat());
}

#[divan::bench]
fn smart_meter_read(bencher: divan::Bencher<'_, '_>) {
    feed(bencher, &shipped("dsmr5-p1"), &capture("dsmr5-p1/input.bin"));
}

#[divan::bench]
fn energy_monitor_read(bencher: divan::Bencher<'_, '_>) {
    feed(bencher, &shipped("emontx"), &capture("emontx-keyvalue/input.txt"));
}

/// [`PAYLOAD`] to readings by the profile of its kind.
#[divan::bench]
fn json_payload_mapped(bencher: divan::Bencher<'_, '_>) {
    let mut reader = shipped("zigbee2mqtt").messages(Context::default());
    let mut out: Vec<Output> = Vec::new();
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| {
        out.clear();
        reader.message("zigbee2mqtt/fridge", divan::black_box(PAYLOAD), false, &mut out);
        out.len()
    });
}

/// For comparison: the same payload made a tree by `serde_json`, and nothing asked of it.
#[divan::bench]
fn json_payload_parsed(bencher: divan::Bencher<'_, '_>) {
    let parse = || serde_json::from_slice::<serde_json::Value>(divan::black_box(PAYLOAD)).unwrap();
    bencher.counter(ItemsCount::new(1_usize)).bench_local(parse);
}

/// A payload through paths that only the JSONPath engine can follow.
#[divan::bench]
fn json_payload_mapped_by_paths(bencher: divan::Bencher<'_, '_>) {
    let payload = br#"{"time":"2025-05-20T07:01:12Z","rx":[{"rssi":-97},{"rssi":-113}],"object":{"history":[{"t":1.5},{"t":2.5}]}}"#;
    let text = "decode = 'json'
        time = { path = '$.time' }
        route = [{ topic = 'a/{device}' }]
        value = [{ path = '$.rx[*].rssi', metric = 'rssi_$index' }, { path = '$..t', metric = 't_$index' }]";
    let mut reader = parse("paths", text).messages(Context::default());
    let mut out: Vec<Output> = Vec::new();
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| {
        out.clear();
        reader.message("a/b", divan::black_box(payload), false, &mut out);
        out.len()
    });
}
