//! The promise: a device that is told something says what came of it, and each order that it acts on is in the journal.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

#[allow(dead_code, reason = "each test binary takes what it needs of it")]
mod support;

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;

use lockgate_sim::journal::Line;
use support::{Sim, wait_until};

fn guarded(body: &str) -> String {
    format!("{body}*{:02X}\n", body.bytes().fold(0, |sum, byte| sum ^ byte))
}

fn executed(journal: &Path) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(journal).unwrap_or_default();
    let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    lines
        .filter_map(|line| match serde_json::from_str(line).unwrap() {
            Line::Executed { command, what, .. } => Some((command.to_string(), what.to_string())),
            Line::Produced { .. } | Line::Verdict { .. } | Line::Repeated { .. } => None,
        })
        .collect()
}

struct Talk {
    port: BufReader<std::fs::File>,
}

impl Talk {
    fn open(link: &Path) -> Talk {
        Talk { port: BufReader::new(OpenOptions::new().read(true).write(true).open(link).unwrap()) }
    }

    fn tell(&mut self, body: &str) {
        self.port.get_mut().write_all(guarded(body).as_bytes()).unwrap();
    }

    /// The next line that is a reply, without its checksum.
    fn reply(&mut self) -> String {
        loop {
            let mut line = Vec::new();
            self.port.read_until(b'\n', &mut line).unwrap();
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if line.starts_with("REPLY=") {
                return line.rsplit_once('*').unwrap().0.to_owned();
            }
        }
    }
}

fn arguments<'a>(dir: &'a Path, journal: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let own = ["devices", "--thermostats", "1", "--interval", "50ms", "--dir", dir.to_str().unwrap(), "--journal"];
    own.iter().copied().chain([journal.to_str().unwrap()]).chain(more.iter().copied()).collect()
}

#[test]
fn a_device_on_a_port_obeys_refuses_and_calibrates_and_each_act_is_counted_once() {
    let dir = tempfile::tempdir().unwrap();
    let journal = dir.path().join("journal");
    let mut sim = Sim::start(&arguments(dir.path(), &journal, &[]));
    sim.event("ready");
    let mut talk = Talk::open(&dir.path().join("thermostat-1"));
    talk.tell("DO=set V=22 ID=1 CMD=warm it");
    assert_eq!(talk.reply(), "REPLY=done ID=1 V=22");
    talk.tell("DO=set V=99 ID=2 CMD=hot");
    assert_eq!(talk.reply(), "REPLY=no ID=2 WHY=out-of-range");
    talk.tell("DO=calibrate ID=3 CMD=cal");
    assert_eq!(talk.reply(), "REPLY=under-way ID=3 P=0");
    talk.tell("DO=power V=1 ID=4 CMD=on");
    assert_eq!(talk.reply(), "REPLY=busy ID=4 S=1");
    let mut words = Vec::new();
    while words.last().is_none_or(|word| word != "REPLY=done ID=3") {
        words.push(talk.reply());
    }
    assert!(words.len() > 2, "it tells how far it has come: {words:?}");
    let expected = [("warm it", "set"), ("cal", "calibrate")].map(|(id, what)| (id.to_owned(), what.to_owned()));
    wait_until("the journal", || executed(&journal).len() >= 2);
    assert_eq!(executed(&journal), expected);
    sim.end();
}

#[test]
fn a_device_that_is_always_busy_acts_on_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let journal = dir.path().join("journal");
    let mut sim = Sim::start(&arguments(dir.path(), &journal, &["--busy", "1"]));
    sim.event("ready");
    let mut talk = Talk::open(&dir.path().join("thermostat-1"));
    for id in 1..=3 {
        talk.tell(&format!("DO=reboot ID={id} CMD=r"));
        assert_eq!(talk.reply(), format!("REPLY=busy ID={id} S=1"));
    }
    sim.end();
    assert_eq!(executed(&journal), []);
}
