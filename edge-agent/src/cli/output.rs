//! How readings and dead letters are written as JSON lines: the keys of the captures' `expected.jsonl`.

use lockgate_codec::{DeadLetter, Decoded, Output, Reply, Says};
use lockgate_proto::reading::{Quality, Value};
use lockgate_proto::time::UnixMicros;
use serde_json::{Map, json};

use crate::time::iso;

/// One line, without its end.
pub(super) fn json_line(output: &Output) -> String {
    let mut line = Map::new();
    match output {
        Output::Reading(reading) => self::reading(&mut line, reading),
        Output::Presence { device, online, time, retained } => {
            line.insert("device".to_owned(), json!(device.as_str()));
            line.insert("metric".to_owned(), json!("online"));
            line.insert("value".to_owned(), json!(online));
            insert_time(&mut line, *time);
            insert_flag(&mut line, "retained", *retained);
        }
        Output::Reply(reply) => self::reply(&mut line, reply),
        Output::DeadLetter(letter) => {
            line.insert("dead_letter".to_owned(), json!(why(letter)));
            line.insert("reason".to_owned(), json!(letter.reason.as_str()));
        }
    }
    serde_json::Value::Object(line).to_string()
}

/// A word about a command: of whom, to which attempt, and what it says.
fn reply(line: &mut Map<String, serde_json::Value>, reply: &Reply) {
    line.insert("reply".to_owned(), json!(reply.says.as_str()));
    if let Some(device) = &reply.device {
        line.insert("device".to_owned(), json!(device.as_str()));
    }
    if let Some(id) = &reply.id {
        line.insert("id".to_owned(), json!(id));
    }
    match &reply.says {
        Says::Success(result) if result.is_empty() => {}
        Says::Success(result) => {
            let fields = result.iter().map(|field| (field.name.as_str().to_owned(), value(&field.value)));
            line.insert("result".to_owned(), serde_json::Value::Object(fields.collect()));
        }
        Says::Refused(reason) => drop(line.insert("reason".to_owned(), json!(**reason))),
        Says::Busy { retry_after } => drop(line.insert("retry_after".to_owned(), json!(retry_after.as_secs_f64()))),
        Says::Progress { percent, text } => {
            line.insert("percent".to_owned(), json!(percent));
            line.insert("text".to_owned(), json!(**text));
        }
    }
}

/// Reason and detail in one text.
fn why(letter: &DeadLetter) -> String {
    if letter.detail.is_empty() { letter.reason.to_string() } else { format!("{}: {}", letter.reason, letter.detail) }
}

fn reading(line: &mut Map<String, serde_json::Value>, reading: &Decoded) {
    line.insert("device".to_owned(), json!(reading.device.as_str()));
    line.insert("metric".to_owned(), json!(reading.metric.as_str()));
    line.insert("value".to_owned(), value(&reading.value));
    if let Some(unit) = &reading.unit {
        line.insert("unit".to_owned(), json!(**unit));
    }
    insert_time(line, reading.time);
    insert_flag(line, "retained", reading.retained);
    insert_flag(line, "historical", reading.historical);
    let quality = match &reading.quality {
        Quality::Good => return,
        Quality::Uncertain(reason) => format!("uncertain: {reason}"),
        Quality::Bad(reason) => format!("bad: {reason}"),
    };
    line.insert("quality".to_owned(), json!(quality));
}

fn value(value: &Value) -> serde_json::Value {
    match value {
        Value::Number(number) => json!(number),
        Value::Integer(integer) => json!(integer),
        Value::Flag(flag) => json!(flag),
        Value::Text(text) => json!(**text),
        Value::Raw(bytes) => json!(hex(bytes)),
    }
}

fn insert_flag(line: &mut Map<String, serde_json::Value>, key: &str, flag: bool) {
    if flag {
        line.insert(key.to_owned(), json!(true));
    }
}

fn insert_time(line: &mut Map<String, serde_json::Value>, time: Option<UnixMicros>) {
    if let Some(time) = time {
        line.insert("time".to_owned(), json!(iso(time)));
    }
}

/// Bytes as two hex digits each.
pub(super) fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).expect("four bits are one digit");
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}
