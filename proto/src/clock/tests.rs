//! Which clocks are believed, and what that makes of the times of readings.

use proptest::prelude::*;

use super::*;

const FLOOR: UnixMicros = UnixMicros(1_700_000_000_000_000);
const NOON: UnixMicros = UnixMicros(1_760_000_000_000_000);

fn mono(millis: u64) -> MonoTime {
    MonoTime(Duration::from_millis(millis))
}

fn noon_plus(millis: i64) -> UnixMicros {
    NOON.offset_by(millis * 1_000)
}

#[test]
fn a_clock_before_the_floor_is_not_believed() {
    let mut keeper = TimeKeeper::new(FLOOR);
    keeper.system_time(mono(5_000), UnixMicros(5_000_000));
    assert_eq!(keeper.wall_at(mono(5_000)), None);
}

#[test]
fn how_wrong_a_clock_is_that_stands_in_1970_is_told() {
    let mut keeper = TimeKeeper::new(FLOOR);
    keeper.system_time(mono(5_000), UnixMicros(5_000_000));
    assert_eq!(keeper.offset_to_gateway(mono(5_000)), None);
    keeper.gateway_time(mono(5_000), mono(5_000), NOON);
    keeper.system_time(mono(5_000), UnixMicros(5_000_000));
    assert_eq!(keeper.offset_to_gateway(mono(5_000)), Some((5_000_000 - NOON.0, 0)));
    assert_eq!(keeper.wall_at(mono(5_000)), Some(NOON));
}

#[test]
fn what_came_before_the_time_was_known_is_dated_afterwards() {
    let mut keeper = TimeKeeper::new(FLOOR);
    keeper.system_time(mono(5_000), UnixMicros(5_000_000));
    keeper.gateway_time(mono(10_000), mono(10_040), noon_plus(10_020));
    assert_eq!(keeper.wall_at(mono(1_000)), Some(noon_plus(1_000)));
    assert_eq!(keeper.wall_at(mono(20_000)), Some(noon_plus(20_000)));
}

#[test]
fn a_jump_of_an_hour_does_not_move_reading_times() {
    let mut keeper = TimeKeeper::new(FLOOR);
    keeper.gateway_time(mono(0), mono(40), noon_plus(20));
    keeper.system_time(mono(1_000), noon_plus(1_000));
    for hour in [3_600_000, -3_600_000] {
        keeper.system_time(mono(2_000), noon_plus(2_000 + hour));
        assert_eq!(keeper.wall_at(mono(2_000)), Some(noon_plus(2_000)));
        // Nor does the next answer of the gateway take the jump for the truth.
        keeper.gateway_time(mono(3_000), mono(3_030), noon_plus(3_015));
        assert_eq!(keeper.wall_at(mono(3_000)), Some(noon_plus(3_000)));
        assert_eq!(keeper.offset_to_gateway(mono(3_030)), Some((hour * 1_000, 15_000)));
    }
}

#[test]
fn a_system_clock_that_agrees_is_followed() {
    let mut keeper = TimeKeeper::new(FLOOR);
    keeper.gateway_time(mono(0), mono(1_000), noon_plus(900));
    assert_eq!(keeper.wall_at(mono(0)), Some(noon_plus(400)));
    keeper.system_time(mono(2_000), noon_plus(2_000));
    assert_eq!(keeper.wall_at(mono(0)), Some(noon_plus(0)));
}

#[test]
fn before_a_gateway_was_heard_a_corrected_system_clock_counts() {
    let mut keeper = TimeKeeper::new(FLOOR);
    keeper.system_time(mono(1_000), FLOOR.offset_by(1_000_000));
    keeper.system_time(mono(60_000), noon_plus(60_000));
    assert!(!keeper.is_anchored());
    assert_eq!(keeper.wall_at(mono(1_000)), Some(noon_plus(1_000)));
    keeper.system_time(mono(61_000), UnixMicros(0));
    assert_eq!(keeper.wall_at(mono(61_000)), Some(noon_plus(61_000)));
}

#[test]
fn a_slow_answer_does_not_replace_a_quick_one() {
    let mut keeper = TimeKeeper::new(FLOOR);
    keeper.gateway_time(mono(0), mono(20), noon_plus(10));
    keeper.gateway_time(mono(100), mono(9_100), noon_plus(9_099));
    assert_eq!(keeper.wall_at(mono(0)), Some(noon_plus(0)));
}

#[test]
fn a_boot_without_time_lies_between_what_was_persisted_and_the_next_one() {
    let hour = Duration::from_secs(3_600);
    let anchored = FLOOR.offset_by(10 * 3_600_000_000);
    let bounds = BootBounds::new(FLOOR, hour, &[hour], anchored);
    let span = bounds.span_at(MonoTime(hour));
    assert_eq!(span.from, Some(FLOOR.offset_by(3_600_000_000)));
    assert_eq!(span.to, Some(FLOOR.offset_by(9 * 3_600_000_000)));
    assert_eq!(bounds.wall_at(MonoTime(hour)), FLOOR.offset_by(5 * 3_600_000_000));
}

#[test]
fn bounds_that_contradict_each_other_never_turn_around() {
    let bounds = BootBounds::new(NOON, Duration::from_secs(60), &[], NOON);
    let span = bounds.span_at(mono(0));
    assert_eq!((span.from, span.to), (Some(NOON), Some(NOON)));
}

proptest! {
    #[test]
    fn an_anchored_time_is_right_to_half_the_round_trip(boot in 0i64..1_000_000_000, half_trip in 0u64..500, early in 0u64..500) {
        let truth = |millis: u64| NOON.offset_by(boot + i64::try_from(millis).unwrap() * 1_000);
        let mut keeper = TimeKeeper::new(FLOOR);
        keeper.gateway_time(mono(1_000), mono(1_000 + 2 * half_trip), truth(1_000 + early.min(2 * half_trip)));
        let error = keeper.wall_at(mono(500)).unwrap().0 - truth(500).0;
        prop_assert!(error.unsigned_abs() <= half_trip * 1_000 + 1);
    }

    #[test]
    fn no_reading_of_any_clock_makes_it_panic(readings in prop::collection::vec((any::<bool>(), any::<u64>(), any::<u64>(), any::<i64>()), 0..20)) {
        let mut keeper = TimeKeeper::new(FLOOR);
        for (gateway, first, second, wall) in readings {
            let (first, second) = (MonoTime(Duration::from_nanos(first)), MonoTime(Duration::from_secs(second)));
            if gateway {
                keeper.gateway_time(first, second, UnixMicros(wall));
            } else {
                keeper.system_time(second, UnixMicros(wall));
            }
            keeper.wall_at(second);
            keeper.offset_to_gateway(first);
        }
    }
}
