//! Feeds captures to profiles and compares what comes out by the rules that captures are written by.
#![allow(clippy::unwrap_used, reason = "test support: a fault in a capture ends the test")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lockgate_codec::{Context, Decoded, Output, Profile};
use lockgate_config::Problems;
use lockgate_proto::reading::Value;
use lockgate_proto::time::{MonoTime, UnixMicros};
use serde_json::{Value as Json, json};

/// Outputs in the form of `expected.jsonl`.
pub(crate) type Fed = Vec<Json>;

/// A file of a capture.
pub(crate) fn capture(case: &str, file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(case).join(file)
}

/// A shipped profile, from where the agent has them.
pub(crate) fn profile(name: &str) -> Arc<Profile> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../edge-agent/profiles/{name}.toml"));
    let text = std::fs::read_to_string(file).unwrap();
    let problems = Problems::new();
    let profile = Profile::parse(name, &text, &problems);
    assert!(problems.is_empty(), "{problems}");
    profile.unwrap()
}

/// Feeds bytes, and then the silence at their end.
pub(crate) fn feed_stream(profile: &Arc<Profile>, pieces: &[&[u8]]) -> Fed {
    let mut reader = profile.stream(Context::default()).unwrap();
    let mut out = Vec::new();
    for piece in pieces {
        reader.push(piece, MonoTime::default(), &mut out);
    }
    reader.silence(&mut out);
    out.iter().map(line).collect()
}

/// Feeds the messages of a file of JSON lines.
pub(crate) fn feed_messages(profile: &Arc<Profile>, file: &Path) -> Fed {
    let mut reader = profile.messages(Context::default());
    let mut out = Vec::new();
    for line in std::fs::read_to_string(file).unwrap().lines() {
        let message: Json = serde_json::from_str(line).unwrap();
        let payload = match message["payload_base64"].as_str() {
            Some(coded) => STANDARD.decode(coded).unwrap(),
            None => message["payload"].as_str().unwrap().into(),
        };
        let retained = message["retain"].as_bool().unwrap_or(false);
        reader.message(message["topic"].as_str().unwrap(), &payload, retained, &mut out);
    }
    out.iter().map(line).collect()
}

fn line(output: &Output) -> Json {
    let mut line = match output {
        Output::Reading(Decoded { device, metric, unit, value, time, retained, .. }) => {
            let value = match value {
                Value::Number(number) => json!(number),
                Value::Integer(integer) => json!(integer),
                Value::Flag(flag) => json!(flag),
                Value::Text(text) => json!(**text),
                Value::Raw(bytes) => json!(STANDARD.encode(bytes)),
            };
            let time = time.map(|UnixMicros(micros)| micros);
            json!({ "device": device.as_str(), "metric": metric.as_str(), "value": value, "unit": unit.as_deref(),
                "time": time, "retained": retained })
        }
        Output::Presence { device, online, time, retained } => {
            let time = time.map(|UnixMicros(micros)| micros);
            json!({ "device": device.as_str(), "metric": "online", "value": online, "time": time, "retained": retained })
        }
        Output::Reply(reply) => json!({ "reply": reply.says.as_str() }),
        Output::DeadLetter(letter) => json!({ "dead_letter": format!("{}: {}", letter.reason, letter.detail) }),
    };
    if let Json::Object(keys) = &mut line {
        keys.retain(|_, value| !value.is_null());
    }
    line
}

/// What differs from `expected.jsonl`.
pub(crate) fn differences(case: &str, fed: &Fed) -> Vec<String> {
    let expected = std::fs::read_to_string(capture(case, "expected.jsonl")).unwrap();
    let expected: Vec<Json> = expected.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut differences = Vec::new();
    for at in 0..expected.len().max(fed.len()) {
        let (wanted, got) = (expected.get(at), fed.get(at));
        if !wanted.zip(got).is_some_and(|(wanted, got)| alike(wanted, got)) {
            differences.push(format!("{at}: wanted {wanted:?}, got {got:?}"));
        }
    }
    differences
}

fn alike(wanted: &Json, got: &Json) -> bool {
    if wanted["dead_letter"].is_string() || got["dead_letter"].is_string() {
        return wanted["dead_letter"].is_string() && got["dead_letter"].is_string();
    }
    let texts = ["device", "metric", "unit"].iter().all(|key| wanted[key] == got[key]);
    let time = wanted["time"].as_str().map(|text| text.parse::<jiff::Timestamp>().unwrap().as_microsecond());
    let retained = wanted["retained"].as_bool().unwrap_or(false) == got["retained"].as_bool().unwrap_or(false);
    texts && time == got["time"].as_i64() && retained && same_value(&wanted["value"], &got["value"])
}

fn same_value(wanted: &Json, got: &Json) -> bool {
    match (wanted.as_f64(), got.as_f64()) {
        (Some(_), Some(_)) if wanted.is_i64() && got.is_i64() => wanted == got,
        (Some(wanted), Some(got)) => (wanted - got).abs() <= wanted.abs() * 1e-6,
        _ => wanted == got,
    }
}

/// Cuts bytes into pieces of 0 to 40 bytes that the seed chooses.
pub(crate) fn random_pieces(bytes: &[u8], seed: u64) -> Vec<&[u8]> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut rest = bytes;
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let length = usize::try_from(state % 41).unwrap().min(rest.len());
        let (piece, tail) = rest.split_at(length);
        pieces.push(piece);
        rest = tail;
    }
    pieces
}
