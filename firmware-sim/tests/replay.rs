//! The promise: a replayed capture arrives byte for byte, in whatever pieces and however slow its reader is.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

#[allow(dead_code, reason = "each test binary takes what it needs of it")]
mod support;

use std::fs::File;
use std::io::Read;

use lockgate_sim::random::Random;
use support::{Sim, wait_until};

/// Every byte value many times, with those that a terminal not in raw mode would act on.
fn capture() -> Vec<u8> {
    let mut random = Random::new(9);
    (0..40_000).map(|_| random.byte()).collect()
}

fn replayed(more: &[&str]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let (file, link) = (dir.path().join("input.bin"), dir.path().join("port"));
    std::fs::write(&file, capture()).unwrap();
    let own = ["replay", file.to_str().unwrap(), "--pty", link.to_str().unwrap()];
    let mut sim = Sim::start(&own.iter().chain(more).copied().collect::<Vec<_>>());
    sim.event("ready");
    let mut port = File::open(&link).unwrap();
    let mut read = Vec::new();
    let mut buffer = [0; 700];
    // Without --hold the port vanishes at the end, which ends the reading.
    while let Ok(length @ 1..) = port.read(&mut buffer) {
        read.extend_from_slice(&buffer[..length]);
    }
    assert_eq!(sim.event("played")["bytes"], 40_000);
    wait_until("the link to go", || !link.exists());
    read
}

#[test]
fn a_pseudo_terminal_gives_the_bytes_of_the_capture() {
    assert!(replayed(&[]) == capture());
}

#[test]
fn pieces_of_any_size_give_the_same_bytes() {
    assert!(replayed(&["--chunk", "random", "--seed", "4"]) == capture());
    assert!(replayed(&["--chunk", "5000"]) == capture());
}

#[test]
fn a_serial_speed_gives_the_same_bytes() {
    assert!(replayed(&["--baud", "921600", "--speed", "4"]) == capture());
}

#[test]
fn a_command_line_that_makes_no_sense_ends_with_2_and_what_fails_with_1() {
    let code = |args: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_lockgate-sim")).args(args).output().unwrap();
        output.status.code()
    };
    assert_eq!(code(&["fly"]), Some(2));
    assert_eq!(code(&["devices"]), Some(2), "of no device");
    assert_eq!(code(&["devices", "--log", "loud"]), Some(2));
    assert_eq!(code(&["account", "absent.jsonl"]), Some(1));
}
