//! A source on real pseudo-terminals: unplugged, plugged in again, busy, without room.

mod orders;

use std::cell::RefCell;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use lockgate_proto::reading::Value;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

use super::*;
use crate::commands::Directory;
use crate::config::SourceProfile;
use crate::source::status::{SourceState, SourceView, StatusBoard};
use crate::testing::{Bench, profile, within_patience};

/// A device: the far end of a pseudo-terminal, under a name that stays when the number changes.
struct Device {
    line: File,
    link: PathBuf,
}

impl Device {
    fn plug(link: &Path) -> Device {
        let master: OwnedFd = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let mut settings = tcgetattr(&master).unwrap();
        settings.make_raw();
        tcsetattr(&master, OptionalActions::Now, &settings).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        symlink(name.to_str().unwrap(), link).unwrap();
        Device { line: File::from(master), link: link.to_owned() }
    }

    fn say(&mut self, words: &str) {
        self.line.write_all(words.as_bytes()).unwrap();
    }

    fn unplug(self) {
        std::fs::remove_file(&self.link).unwrap();
    }
}

fn config(path: &Path) -> SerialConfig {
    SerialConfig {
        name: "energy".to_owned(),
        path: path.to_owned(),
        baud: 115_200,
        data_bits: DataBits::Eight,
        parity: Parity::None,
        stop_bits: StopBits::One,
        profile: profile("emontx"),
    }
}

struct World {
    bench: Bench,
    path: PathBuf,
    view: SourceView,
    source: Option<SerialSource>,
    directory: RefCell<Directory>,
}

impl World {
    fn new() -> World {
        World::with(|_| profile("emontx"))
    }

    fn with(profile: impl FnOnce(&Path) -> SourceProfile) -> World {
        let bench = Bench::usual();
        let path = bench.folder.path().join("meter");
        let mut board = StatusBoard::default();
        let status = board.add("energy");
        let clock = bench.time.clock().clone();
        let config = SerialConfig { profile: profile(bench.folder.path()), ..config(&path) };
        let mut directory = Directory::default();
        let orders = directory.add("energy", &config.profile);
        let source = SerialSource::new(config, bench.ingest.clone(), status, clock, orders);
        let view = board.sources()[0].clone();
        World { bench, path, view, source: Some(source), directory: RefCell::new(directory) }
    }

    /// Runs the source beside a script, and stops it when the script is done.
    async fn play(&mut self, script: impl AsyncFnOnce(&World)) {
        let stop = CancellationToken::new();
        let source = self.source.take().expect("a world is played once").run(stop.clone());
        let script = async {
            script(self).await;
            stop.cancel();
        };
        let (ended, ()) = within_patience(Box::pin(async { tokio::join!(source, script) })).await;
        ended.unwrap();
    }

    async fn until_up(&self) {
        self.view.until(|state| *state == SourceState::Up).await;
    }

    async fn until_says(&self, words: &str) {
        self.view.until(|state| state.reason().is_some_and(|reason| reason.contains(words))).await;
    }
}

#[tokio::test]
async fn an_unplugged_device_is_heard_again_under_the_same_path() {
    let mut world = World::new();
    world
        .play(async |world| {
            world.until_says("is the device plugged in?").await;
            let mut device = Device::plug(&world.path);
            world.until_up().await;
            device.say("MSG:1,Vrms:241.37,P1:183\r\nMSG:2,Vrms:2");
            world.bench.until_records(1).await;
            device.unplug();
            world.view.until(|state| *state != SourceState::Up).await;
            let mut device = Device::plug(&world.path);
            world.until_up().await;
            device.say("MSG:3,Vrms:240.00,P1:184\r\n");
            world.bench.until_records(2).await;
        })
        .await;
    let telemetry = world.bench.telemetry().await;
    let volts: Vec<_> = telemetry.iter().map(|record| record.readings[0].value.clone()).collect();
    assert_eq!(volts, [Value::Number(241.37), Value::Number(240.0)], "half a line of before is no reading");
    assert_eq!(world.view.counters.lost.get(), 1);
}

#[tokio::test]
async fn a_busy_port_is_told_apart_from_an_absent_one() {
    let mut world = World::new();
    let _device = Device::plug(&world.path);
    let other = SerialStream::open(&builder(&config(&world.path))).unwrap();
    let mut other = Some(other);
    world
        .play(async |world| {
            world.until_says("busy: another program has it open").await;
            drop(other.take());
            world.until_up().await;
        })
        .await;
}

#[tokio::test]
async fn what_is_no_serial_port_is_told_in_plain_words() {
    let mut world = World::new();
    world
        .play(async |world| {
            std::fs::write(&world.path, "").unwrap();
            world.until_says("meter is no serial port but a plain file; correct `path`").await;
            std::fs::remove_file(&world.path).unwrap();
            symlink("/dev/null", &world.path).unwrap();
            world.until_says("meter is no serial port but a device of another kind").await;
            std::fs::remove_file(&world.path).unwrap();
            std::fs::create_dir(&world.path).unwrap();
            world.until_says("meter is no serial port but a folder").await;
        })
        .await;
}

#[test]
fn who_may_not_open_a_port_is_told_the_group_that_may() {
    let told = |group: Option<&str>| {
        let (path, user) = ("/dev/ttyUSB0".to_owned(), "pi".to_owned());
        PortError::Forbidden { path, user, group: group.map(str::to_owned) }.to_string()
    };
    assert!(told(Some("dialout")).contains("pi may not open /dev/ttyUSB0; add this user to the group dialout"));
    assert!(told(Some("dialout")).contains("`sudo usermod -aG dialout pi`"));
    assert!(told(None).contains("its owner"));
}

#[tokio::test]
async fn what_does_not_fit_on_a_full_disk_is_counted_and_hearing_goes_on() {
    let mut world = World::new();
    world
        .play(async |world| {
            let mut device = Device::plug(&world.path);
            world.until_up().await;
            world.bench.disk.set_room(Some(0));
            device.say("MSG:1,Vrms:241.37,P1:183\r\n");
            world.until_says("the disk is full").await;
            world.bench.disk.set_room(None);
            device.say("MSG:2,Vrms:240.00,P1:184\r\n");
            world.bench.until_records(1).await;
            world.until_up().await;
        })
        .await;
    assert_eq!(world.view.counters.dropped.get(), 2);
    let folder = world.bench.folder.path().join("dead-letters");
    // Another thread writes it, and nobody waits for that.
    let told = loop {
        match crate::dead_letters::list(&folder).unwrap().pop() {
            Some(letter) => break letter,
            None => std::thread::yield_now(),
        }
    };
    assert_eq!((told.source.as_str(), told.reason.as_str()), ("energy", "disk_full"));
    assert!(told.detail.starts_with("2 readings dropped from "), "{}", told.detail);
    assert_eq!(world.bench.telemetry().await[0].readings[0].value, Value::Number(240.0));
}
