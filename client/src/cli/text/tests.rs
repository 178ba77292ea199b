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
    painter.devices(&mut lines, &[]);
    insta::assert_snapshot!(lines.into_plain());
}
