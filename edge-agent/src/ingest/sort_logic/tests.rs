//! What records come of what outputs.

use std::time::Duration;

use lockgate_proto::convert::decode_record;
use lockgate_proto::ids::MetricName;
use proptest::prelude::*;

use super::*;

const WALL: UnixMicros = UnixMicros(1_700_000_000_000_000);

fn known() -> Arrival {
    Arrival { mono: MonoTime(Duration::from_secs(5)), wall: Some(WALL) }
}

fn unknown() -> Arrival {
    Arrival { wall: None, ..known() }
}

fn decoded(device: &str, metric: &str, value: i64) -> Decoded {
    Decoded {
        device: DeviceName::new(device).unwrap(),
        metric: MetricName::new(metric).unwrap(),
        unit: None,
        value: Value::Integer(value),
        quality: Quality::Good,
        time: None,
        retained: false,
        historical: false,
    }
}

fn reading(device: &str, metric: &str, value: i64) -> Output {
    Output::Reading(decoded(device, metric, value))
}

fn records(sorted: &Sorted, lane: Lane) -> Vec<(TakenAt, Record)> {
    let batches = sorted.batches.iter().filter(|batch| batch.lane == lane);
    let records = batches.flat_map(|batch| &batch.records);
    records.map(|record| (record.taken, decode_record(record.payload.clone()).unwrap())).collect()
}

fn telemetry(record: &Record) -> &Telemetry {
    let Record::Telemetry(telemetry) = record else { panic!("{record:?} is no telemetry") };
    telemetry
}

#[test]
fn readings_of_one_device_are_one_record_and_two_devices_are_two() {
    let outputs = vec![reading("a", "x", 1), reading("b", "x", 2), reading("a", "y", 3)];
    let records = records(&sort(outputs, known(), None), Lane::Telemetry);
    let shape: Vec<_> =
        records.iter().map(|(_, record)| (record.device().as_str(), telemetry(record).readings.len())).collect();
    assert_eq!(shape, [("a", 2), ("b", 1)]);
    assert!(records.iter().all(|(taken, record)| {
        *taken == TakenAt::Wall(WALL) && telemetry(record).readings.iter().all(|reading| reading.sampled_at == WALL)
    }));
}

#[test]
fn without_the_time_arrival_is_told_by_the_boots_clock() {
    let own = Decoded { time: Some(WALL), ..decoded("a", "gas", 2) };
    let outputs = vec![reading("a", "x", 1), Output::Reading(own), reading("a", "y", 3)];
    let records = records(&sort(outputs, unknown(), None), Lane::Telemetry);
    let mono = unknown().mono;
    let taken: Vec<_> = records.iter().map(|(taken, _)| *taken).collect();
    assert_eq!(taken, [TakenAt::Mono(mono), TakenAt::MonoDated(mono), TakenAt::Mono(mono)]);
    assert_eq!(telemetry(&records[0].1).readings[0].sampled_at, UnixMicros(5_000_000));
}

#[test]
fn a_devices_clock_never_says_when_a_record_was_taken() {
    let years_ago = WALL.offset_by(-10 * 365 * 86_400 * 1_000_000);
    let outputs = || {
        let old = Decoded { time: Some(years_ago), ..decoded("a", "gas", 2) };
        let device = DeviceName::new("a").unwrap();
        let presence = Output::Presence { device, online: true, time: Some(years_ago), retained: false };
        vec![Output::Reading(old), reading("a", "x", 1), presence]
    };
    let sorted = sort(outputs(), known(), None);
    let telemetry_records = records(&sorted, Lane::Telemetry);
    let [(TakenAt::Wall(WALL), record)] = &telemetry_records[..] else { panic!("{telemetry_records:?}") };
    let times: Vec<_> = telemetry(record).readings.iter().map(|reading| reading.sampled_at).collect();
    assert_eq!(times, [years_ago, WALL]);
    assert_eq!(records(&sorted, Lane::Events)[0].0, TakenAt::Wall(WALL));
    let sorted = sort(outputs(), unknown(), None);
    for lane in Lane::ALL {
        let (taken, record) = &records(&sorted, lane)[0];
        assert_eq!(*taken, TakenAt::MonoDated(unknown().mono));
        match record {
            Record::Telemetry(telemetry) => assert_eq!(telemetry.readings[0].sampled_at, years_ago),
            Record::Presence(presence) => assert_eq!(presence.at, years_ago),
            Record::Description(_) => panic!("nothing was described"),
        }
    }
}

#[test]
fn a_retained_message_never_passes_for_a_fresh_one() {
    let retained = |time| Output::Reading(Decoded { retained: true, time, ..decoded("a", "x", 1) });
    let bad = Decoded { retained: true, quality: Quality::Bad("fault".into()), ..decoded("a", "x", 1) };
    let outputs = vec![retained(None), retained(Some(WALL)), Output::Reading(bad)];
    let records = records(&sort(outputs, known(), None), Lane::Telemetry);
    let qualities: Vec<_> = telemetry(&records[0].1).readings.iter().map(|reading| reading.quality.clone()).collect();
    assert_eq!(qualities, [Quality::Uncertain("retained".into()), Quality::Good, Quality::Bad("fault".into())]);
}

#[test]
fn past_values_are_records_of_their_own() {
    let past = Output::Reading(Decoded { historical: true, time: Some(WALL), ..decoded("a", "x", 1) });
    let records =
        records(&sort(vec![reading("a", "x", 2), past, reading("a", "x", 3)], known(), None), Lane::Telemetry);
    let shape: Vec<_> = records.iter().map(|(_, record)| telemetry(record).historical).collect();
    assert_eq!(shape, [false, true, false]);
}

#[test]
fn presence_goes_to_the_lane_of_events() {
    let device = DeviceName::new("a").unwrap();
    let outputs = vec![reading("a", "x", 1), Output::Presence { device, online: false, time: None, retained: true }];
    let sorted = sort(outputs, known(), Some(7));
    let events = records(&sorted, Lane::Events);
    assert!(
        matches!(&events[0].1, Record::Presence(presence) if !presence.online && presence.retained && presence.at == WALL)
    );
    assert_eq!(records(&sorted, Lane::Telemetry).len(), 1);
    let digests: Vec<_> = sorted.batches.iter().map(|batch| batch.digest).collect();
    assert!(digests.iter().all(Option::is_some) && digests[0] != digests[1]);
}

#[test]
fn a_reading_too_large_to_be_sent_is_a_dead_letter_and_costs_nothing_else() {
    let huge = Decoded { value: Value::Text("x".repeat(RECORD_BYTES_MAX).into()), ..decoded("a", "log", 0) };
    let sorted = sort(vec![reading("a", "x", 1), Output::Reading(huge), reading("a", "y", 1)], known(), None);
    assert_eq!(sorted.dead_letters.len(), 1);
    assert_eq!(sorted.counts, [2]);
}

proptest! {
    #[test]
    fn nothing_is_lost_and_each_device_keeps_its_order(
        inputs in prop::collection::vec((0u8..4, any::<bool>(), any::<bool>(), 0usize..3000), 0..3000),
        clock in any::<bool>(),
    ) {
        let arrival = if clock { known() } else { unknown() };
        let outputs = inputs.iter().enumerate().map(|(at, (device, own_time, historical, text))| {
            let text = format!("{at}:{}", "x".repeat(*text));
            Output::Reading(Decoded {
                value: Value::Text(text.into()),
                time: own_time.then_some(WALL),
                historical: *historical,
                ..decoded(&format!("device {device}"), "m", 0)
            })
        }).collect();
        let sorted = sort(outputs, arrival, None);
        for batch in &sorted.batches {
            prop_assert!(batch.records.len() <= BATCH_RECORDS_MAX);
            prop_assert!(batch.records.iter().map(|record| record.payload.len()).sum::<usize>() <= BATCH_BYTES_MAX);
        }
        let mut heard: Vec<Vec<usize>> = vec![Vec::new(); 4];
        let mut count = 0;
        for (_, record) in records(&sorted, Lane::Telemetry) {
            let telemetry = telemetry(&record);
            let device: usize = telemetry.device.as_str()["device ".len()..].parse().unwrap();
            for reading in &telemetry.readings {
                let Value::Text(text) = &reading.value else { panic!("no text") };
                let at: usize = text.split_once(':').unwrap().0.parse().unwrap();
                prop_assert_eq!(telemetry.historical, inputs[at].2);
                heard[device].push(at);
                count += 1;
            }
        }
        prop_assert_eq!(count, inputs.len());
        prop_assert_eq!(sorted.counts.iter().sum::<usize>(), inputs.len());
        prop_assert!(heard.iter().all(|order| order.is_sorted()));
    }
}
