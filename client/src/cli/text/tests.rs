//! Promises of the output, for people and for programs.

use super::super::json;
use super::super::samples;
use super::*;

fn painter() -> Painter {
    Painter::new(Some("Europe/Berlin"))
}

#[test]
fn people_get_aligned_lines_in_local_time_with_marks() {
    let (mut lines, mut painter) = (Lines::default(), painter());
    for event in samples::events() {
        painter.event(&mut lines, &event);
    }
    insta::assert_snapshot!(lines.into_plain());
}

#[test]
fn programs_get_one_json_object_a_line() {
    let mut lines = Lines::default();
    for event in samples::events() {
        json::event(&mut lines, &event).unwrap();
    }
    let text = lines.into_plain();
    assert!(text.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
    insta::assert_snapshot!(text);
}

#[test]
fn devices_and_shadows_are_tables() {
    let (mut lines, mut painter) = (Lines::default(), painter());
    painter.devices(&mut lines, &samples::devices());
    painter.shadow(&mut lines, &samples::shadow());
    insta::assert_snapshot!(lines.into_plain());
}

#[test]
fn orders_are_told_to_people_and_to_programs() {
    let (mut text, mut lines, mut painter) = (Lines::default(), Lines::default(), painter());
    for order in samples::orders() {
        painter.order(&mut text, &order);
        json::order(&mut lines, &order).unwrap();
    }
    let programs = lines.into_plain();
    assert!(programs.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
    insta::assert_snapshot!(format!("{}\n{programs}", text.into_plain()));
}

#[test]
fn people_get_six_decimals_and_whole_numbers_as_they_are() {
    let numbers = [0.998_186_914_250_879_9, 21.5, -0.000_012_345_678_9, 101_325.123_456_78, 0.999_999_99, 1e15, 0.0];
    let shown = numbers.map(decimal);
    assert_eq!(shown, ["0.998187", "21.5", "-0.0000123457", "101325.123457", "1", "1000000000000000", "0"]);
}
