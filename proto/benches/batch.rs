//! Encoding and decoding a record of 10 and 100 readings, and the same readings as JSON for comparison.
//!
//! `cargo bench -p lockgate-proto`; the sizes and the ratio of times are printed first.

use std::hint::black_box;
use std::io::Write;
use std::time::{Duration, Instant};

use bytes::Bytes;
use divan::Bencher;
use lockgate_proto::convert::{decode_record, encode_record};
use lockgate_proto::ids::{DeviceName, MetricName};
use lockgate_proto::reading::{Quality, Reading, Value};
use lockgate_proto::record::{Record, Telemetry};
use lockgate_proto::time::UnixMicros;
use serde::{Deserialize, Serialize};

const COUNTS: [i64; 2] = [10, 100];

/// Four metrics, sampled in turn ten times a second.
fn record(count: i64) -> Record {
    let metrics = [("flow", "m3/h"), ("pressure", "bar"), ("temperature", "Cel"), ("speed", "/min")];
    let reading = |(at, (metric, unit)): (i64, &(&str, &str))| Reading {
        metric: MetricName::new(metric).expect("it is a name"),
        unit: Some((*unit).into()),
        value: Value::Number(f64::from(i32::try_from(at).expect("it is small")) * 0.37 + 12.5),
        sampled_at: UnixMicros(1_700_000_000_000_000 + at * 100_000),
        quality: Quality::Good,
    };
    let device = DeviceName::new("pump-7").expect("it is a name");
    let readings = (0..count).zip(metrics.iter().cycle()).map(reading).collect();
    Record::Telemetry(Telemetry { device, readings, historical: false })
}

/// The same as people would write it in JSON.
#[derive(Serialize, Deserialize)]
struct JsonRecord {
    device: String,
    readings: Vec<JsonReading>,
}

#[derive(Serialize, Deserialize)]
struct JsonReading {
    metric: String,
    unit: Option<String>,
    value: f64,
    sampled_at: i64,
}

fn json(record: &Record) -> Option<JsonRecord> {
    let Record::Telemetry(telemetry) = record else { return None };
    let reading = |reading: &Reading| match reading.value {
        Value::Number(value) => Some(JsonReading {
            metric: reading.metric.as_str().to_owned(),
            unit: reading.unit.as_deref().map(str::to_owned),
            value,
            sampled_at: reading.sampled_at.0,
        }),
        Value::Integer(_) | Value::Flag(_) | Value::Text(_) | Value::Raw(_) => None,
    };
    let readings = telemetry.readings.iter().map(reading).collect::<Option<_>>()?;
    Some(JsonRecord { device: telemetry.device.as_str().to_owned(), readings })
}

fn encode_json(record: Option<&JsonRecord>) -> Vec<u8> {
    serde_json::to_vec(&record).expect("a value can be written")
}

fn decode_json(bytes: &[u8]) -> JsonRecord {
    serde_json::from_slice(bytes).expect("we wrote it")
}

#[divan::bench(args = COUNTS)]
fn encode(bencher: Bencher<'_, '_>, count: i64) {
    let record = record(count);
    bencher.counter(count.unsigned_abs()).bench(|| encode_record(black_box(&record)));
}

#[divan::bench(args = COUNTS)]
fn decode(bencher: Bencher<'_, '_>, count: i64) {
    let bytes = encode_record(&record(count));
    bencher.counter(count.unsigned_abs()).bench(|| decode_record(black_box(bytes.clone())));
}

#[divan::bench(args = COUNTS)]
fn encode_as_json(bencher: Bencher<'_, '_>, count: i64) {
    let record = json(&record(count));
    bencher.counter(count.unsigned_abs()).bench(|| encode_json(black_box(record.as_ref())));
}

#[divan::bench(args = COUNTS)]
fn decode_from_json(bencher: Bencher<'_, '_>, count: i64) {
    let bytes = encode_json(json(&record(count)).as_ref());
    bencher.counter(count.unsigned_abs()).bench(|| decode_json(black_box(&bytes)));
}

/// The shortest of many runs: what the work costs when nothing disturbs it.
fn shortest(mut work: impl FnMut()) -> Duration {
    let run = |()| {
        let begun = Instant::now();
        work();
        begun.elapsed()
    };
    (0..2_000).map(|_| ()).map(run).min().unwrap_or_default()
}

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for count in COUNTS {
        let record = record(count);
        let readable = json(&record);
        let (bytes, text): (Bytes, Vec<u8>) = (encode_record(&record), encode_json(readable.as_ref()));
        let written = [
            shortest(|| drop(black_box(encode_record(&record)))),
            shortest(|| drop(black_box(encode_json(readable.as_ref())))),
        ];
        let read = [
            shortest(|| drop(black_box(decode_record(bytes.clone())))),
            shortest(|| drop(black_box(decode_json(&text)))),
        ];
        let times = |pair: [Duration; 2]| pair[1].as_secs_f64() / pair[0].as_secs_f64();
        writeln!(
            out,
            "{count} readings: {} bytes, JSON {} ({:.1} times); JSON takes {:.1} times as long to write, {:.1} times to read",
            bytes.len(),
            text.len(),
            f64::from(u32::try_from(text.len()).unwrap_or(u32::MAX))
                / f64::from(u32::try_from(bytes.len()).unwrap_or(1)),
            times(written),
            times(read),
        )?;
    }
    drop(out);
    divan::main();
    Ok(())
}
