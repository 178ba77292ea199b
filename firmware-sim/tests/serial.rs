//! The promise: what the simulator calls heard was read, whatever happens to the reader, and nothing else counts.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

#[allow(dead_code, reason = "each test binary takes what it needs of it")]
mod support;

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use lockgate_sim::account::{Account, Summary};
use lockgate_sim::random::Random;
use support::{Sim, size, wait_until};

/// A reader as simple as can be: `cat` writes on what it reads, and dies between the two if killed there.
fn cat(link: &Path, into: &Path) -> Child {
    let out = OpenOptions::new().create(true).append(true).open(into).unwrap();
    Command::new("cat").arg(link).stdout(out).stderr(Stdio::null()).spawn().unwrap()
}

/// The sample numbers of all whole thermostat lines whose checksum is right.
fn numbers(bytes: &[u8]) -> Vec<u64> {
    let lines = bytes.split_inclusive(|&byte| byte == b'\n');
    lines
        .filter_map(|line| {
            let line = std::str::from_utf8(line).ok()?.strip_suffix("\r\n")?;
            let (body, sum) = line.rsplit_once('*')?;
            let own = body.bytes().fold(0, |sum, byte| sum ^ byte);
            (format!("{own:02X}") == sum).then(|| body.rsplit_once("N=").unwrap().1.parse().unwrap())
        })
        .collect()
}

fn settle(journal: &Path, read: &[u8]) -> Summary {
    let account = Account::read(&std::fs::read_to_string(journal).unwrap()).unwrap();
    account.settle(numbers(read).into_iter().map(|n| ("thermostat-1", n)))
}

fn arguments<'a>(dir: &'a Path, journal: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let own = ["devices", "--thermostats", "1", "--dir", dir.to_str().unwrap(), "--journal", journal.to_str().unwrap()];
    own.iter().chain(more).copied().collect()
}

#[test]
fn with_a_reader_that_stays_nothing_is_lost_or_cut() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, out) = (dir.path().join("journal"), dir.path().join("out"));
    let mut sim = Sim::start(&arguments(dir.path(), &journal, &["--interval", "5ms", "--grace", "100ms"]));
    sim.event("ready");
    let mut reader = cat(&dir.path().join("thermostat-1"), &out);
    wait_until("a hundred lines", || size(&out) > 3500);
    sim.end();
    // The port is gone, and with it the reader's reason to live.
    reader.wait().unwrap();
    let summary = settle(&journal, &std::fs::read(&out).unwrap());
    assert!(summary.is_clean(), "{summary:?}");
    assert_eq!(summary.cut, 0);
    assert!(summary.stored > 80, "{summary:?}");
    assert_eq!(summary.produced, summary.stored + summary.unheard);
}

#[test]
fn readers_killed_at_random_leave_nothing_lost_and_nothing_doubled() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, out) = (dir.path().join("journal"), dir.path().join("out"));
    let mut sim = Sim::start(&arguments(dir.path(), &journal, &["--interval", "2ms", "--grace", "50ms"]));
    sim.event("ready");
    let mut random = Random::new(11);
    let mut read = Vec::new();
    for _ in 0..15 {
        // Each reader has a file of its own, so that half a line at one's end does not spoil the next one's start.
        std::fs::write(&out, b"").unwrap();
        let mut reader = cat(&dir.path().join("thermostat-1"), &out);
        let enough = random.index(1..4000);
        wait_until("lines for one reader", || size(&out) > enough as u64);
        reader.kill().unwrap();
        reader.wait().unwrap();
        read.extend(numbers(&std::fs::read(&out).unwrap()));
    }
    sim.end();
    let account = Account::read(&std::fs::read_to_string(&journal).unwrap()).unwrap();
    let summary = account.settle(read.into_iter().map(|n| ("thermostat-1", n)));
    assert!(summary.is_clean(), "{summary:?}");
    assert!(summary.stored > 100 && summary.unheard > 100, "{summary:?}");
}

#[test]
fn an_unplugged_port_comes_back_under_the_same_name() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, link) = (dir.path().join("journal"), dir.path().join("port"));
    let place = format!("thermostat-1={}", link.display());
    let more = ["--interval", "5ms", "--grace", "50ms", "--unplug", "0.005", "--link", &place];
    let mut sim = Sim::start(&arguments(dir.path(), &journal, &more));
    sim.event("ready");
    let mut read = Vec::new();
    for _ in 0..3 {
        wait_until("the port", || link.exists());
        // Reads until the plug is pulled; a pseudo-terminal whose other end is gone gives an error or nothing.
        let mut port = File::open(&link).unwrap();
        let mut buffer = [0; 1024];
        while let Ok(length @ 1..) = port.read(&mut buffer) {
            read.extend_from_slice(&buffer[..length]);
        }
        // Half a line at the end must not spoil the next one.
        read.push(b'\n');
        drop(port);
        wait_until("the port to be gone", || !link.exists());
    }
    sim.end();
    assert!(!link.exists(), "the link goes with the simulator");
    let summary = settle(&journal, &read);
    assert!(summary.is_clean(), "{summary:?}");
    assert!(summary.stored > 0, "{summary:?}");
}

#[test]
fn spoiled_samples_are_refused_and_spoil_no_others() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, out) = (dir.path().join("journal"), dir.path().join("out"));
    let faults =
        ["--bit-errors", "0.1", "--half-frames", "0.1", "--babble", "0.1", "--reset", "0.1", "--silence", "0.02"];
    let more: Vec<&str> = ["--interval", "3ms", "--grace", "100ms"].iter().chain(&faults).copied().collect();
    let mut sim = Sim::start(&arguments(dir.path(), &journal, &more));
    sim.event("ready");
    let mut reader = cat(&dir.path().join("thermostat-1"), &out);
    wait_until("many lines", || size(&out) > 15_000);
    sim.end();
    reader.wait().unwrap();
    let summary = settle(&journal, &std::fs::read(&out).unwrap());
    assert!(summary.is_clean(), "{summary:?}");
    assert!(summary.spoiled > 50 && summary.stored > 100, "{summary:?}");
}
