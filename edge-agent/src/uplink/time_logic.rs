//! Decides the wall time of records that were taken before the clock was set.
//!
//! Pure. A record of a boot whose time was learnt later gets its exact time. One of a boot that died
//! without learning it gets the earliest time that its bounds allow and the quality `uncertain: clock`;
//! until the bounds are known it is held back. What the device has dated goes as it is, and at once.

use bytes::Bytes;
use lockgate_proto::convert::{decode_record, encode_record};
use lockgate_proto::reading::Quality;
use lockgate_proto::record::Record;
use lockgate_proto::time::{MonoTime, UnixMicros};

use crate::queue::{BootId, BootTime, RecordTime, StoredRecord};

/// A record as it can be sent, or why not.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Resolved {
    /// Its bytes with wall times, and when it was taken, where that is known exactly.
    Ready(Bytes, Option<UnixMicros>),
    /// The time of its boot is not known yet, and may be later.
    NotYet,
}

/// Gives a stored record the world's time. `current` is the boot that the machine is in.
pub(super) fn resolve(record: &StoredRecord, boots: &[BootTime], current: BootId) -> Resolved {
    let (boot, mono, dated) = match record.time {
        RecordTime::Wall { at } => return Resolved::Ready(record.payload.clone(), Some(at)),
        RecordTime::Boot { boot, at, dated } => (boot, at, dated),
    };
    let known = boots.iter().find(|known| known.boot == boot);
    let anchor = known.and_then(|known| known.anchor);
    let taken_at = anchor.map(|anchor| anchor.wall(mono));
    if dated {
        return Resolved::Ready(record.payload.clone(), taken_at);
    }
    let (offset, is_exact) = match anchor {
        Some(anchor) => (anchor.offset_micros, true),
        None if boot == current => return Resolved::NotYet,
        None => match known.and_then(|known| bounded_offset(known, mono)) {
            Some(offset) => (offset, false),
            None => return Resolved::NotYet,
        },
    };
    match decode_record(record.payload.clone()) {
        Ok(decoded) => {
            let moved = moved(decoded, offset, is_exact);
            Resolved::Ready(encode_record(&moved), taken_at)
        }
        // Ours was encoded by us; a record that can't be read is for the gateway to refuse and to count.
        Err(_) => Resolved::Ready(record.payload.clone(), taken_at),
    }
}

/// The offset with which a boot that never learnt the time began as early as it can have: right after the
/// last time that was known before it, and so that the record is not younger than the next known boot.
fn bounded_offset(known: &BootTime, mono: MonoTime) -> Option<i64> {
    let after = known.not_after?.0;
    let latest = after.saturating_sub(mono.micros());
    Some(match known.not_before {
        Some(before) => before.0.min(latest),
        None => latest,
    })
}

fn moved(record: Record, offset: i64, is_exact: bool) -> Record {
    let doubtful = || Quality::Uncertain(Quality::CLOCK.into());
    match record {
        Record::Telemetry(mut telemetry) => {
            for reading in &mut telemetry.readings {
                reading.sampled_at = reading.sampled_at.offset_by(offset);
                if !is_exact && reading.quality == Quality::Good {
                    reading.quality = doubtful();
                }
            }
            Record::Telemetry(telemetry)
        }
        Record::Presence(mut presence) => {
            presence.at = presence.at.offset_by(offset);
            Record::Presence(presence)
        }
        // It tells no time.
        description @ Record::Description(_) => description,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lockgate_proto::ids::{DeviceName, MetricName};
    use lockgate_proto::reading::{Reading, Value};
    use lockgate_proto::record::Telemetry;
    use lockgate_proto::seq::Seq;

    use super::*;
    use crate::queue::Anchor;

    const OLD: BootId = BootId(1);
    const NOW: BootId = BootId(2);

    fn record(boot: BootId, seconds: u64) -> StoredRecord {
        let at = MonoTime(Duration::from_secs(seconds));
        let reading = Reading {
            metric: MetricName::new("level").unwrap(),
            unit: None,
            value: Value::Integer(4),
            sampled_at: UnixMicros(at.micros()),
            quality: Quality::Good,
        };
        let device = DeviceName::new("tank").unwrap();
        let record = Record::Telemetry(Telemetry { device, readings: vec![reading], historical: false });
        StoredRecord {
            seq: Seq::FIRST,
            time: RecordTime::Boot { boot, at, dated: false },
            payload: encode_record(&record),
        }
    }

    fn boot(boot: BootId, anchor: Option<i64>, bounds: (Option<i64>, Option<i64>)) -> BootTime {
        let anchor = anchor.map(|seconds| Anchor { offset_micros: seconds * 1_000_000, error_micros: 0 });
        let instant = |seconds: i64| UnixMicros(seconds * 1_000_000);
        BootTime { boot, anchor, not_before: bounds.0.map(instant), not_after: bounds.1.map(instant) }
    }

    fn check(resolved: Resolved, seconds: i64, quality: &Quality) {
        let Resolved::Ready(bytes, taken_at) = resolved else { panic!("held back") };
        let time = UnixMicros(seconds * 1_000_000);
        // What is known within bounds only is never too old.
        assert_eq!(taken_at, (*quality == Quality::Good).then_some(time));
        let Record::Telemetry(telemetry) = decode_record(bytes).unwrap() else { panic!("no telemetry") };
        assert_eq!(telemetry.readings[0].sampled_at, time);
        assert_eq!(&telemetry.readings[0].quality, quality);
    }

    #[test]
    fn a_time_learnt_later_dates_what_was_taken_before() {
        let boots = [boot(NOW, Some(1_700_000_000), (None, None))];
        check(resolve(&record(NOW, 12), &boots, NOW), 1_700_000_012, &Quality::Good);
    }

    #[test]
    fn what_was_taken_in_this_boot_waits_for_the_time() {
        let boots = [boot(NOW, None, (Some(100), None))];
        assert_eq!(resolve(&record(NOW, 12), &boots, NOW), Resolved::NotYet);
    }

    #[test]
    fn what_the_device_has_dated_waits_for_nothing_and_stays_as_it_is() {
        let mut dated = record(NOW, 12);
        dated.time = RecordTime::Boot { boot: NOW, at: MonoTime(Duration::from_secs(12)), dated: true };
        assert_eq!(resolve(&dated, &[], NOW), Resolved::Ready(dated.payload.clone(), None));
        let boots = [boot(NOW, Some(1_700_000_000), (None, None))];
        let taken_at = Some(UnixMicros(1_700_000_012_000_000));
        assert_eq!(resolve(&dated, &boots, NOW), Resolved::Ready(dated.payload.clone(), taken_at));
    }

    #[test]
    fn a_boot_that_died_without_the_time_gives_bounds_and_doubt() {
        let doubt = Quality::Uncertain("clock".into());
        let boots = [boot(OLD, None, (Some(1_000), Some(2_000))), boot(NOW, Some(2_000), (None, None))];
        check(resolve(&record(OLD, 12), &boots, NOW), 1_012, &doubt);
        check(resolve(&record(OLD, 1_500), &boots, NOW), 2_000, &doubt);
        let unbounded = [boot(OLD, None, (None, Some(2_000)))];
        check(resolve(&record(OLD, 12), &unbounded, NOW), 2_000, &doubt);
    }

    #[test]
    fn a_dead_boot_waits_until_a_later_one_knows_the_time() {
        let boots = [boot(OLD, None, (Some(1_000), None)), boot(NOW, None, (Some(1_000), None))];
        assert_eq!(resolve(&record(OLD, 12), &boots, NOW), Resolved::NotYet);
    }
}
