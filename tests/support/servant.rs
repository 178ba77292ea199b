//! A device on a pseudo-terminal that does what it is told, and counts.
//!
//! Written apart from the simulator and the agent: what it counts is what was done, whoever says otherwise.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios;
use serde_json::{Value, json};

use crate::wait;

/// Of an agent's config: how this device is told something, and what it replies.
const SOURCE: &str = r#"
framing = "lines"
decode = "json"

[[serial.command]]
name = "set"
timeout = "20s"
write = { id = "$id", command = "$command_id", do = "set", level = "$level" }
argument = [{ name = "level", type = "number", range = [0, 100] }]

[[serial.command]]
name = "home"
idempotent = true
timeout = "20s"
write = { id = "$id", command = "$command_id", do = "home" }

[[serial.command]]
name = "refuse"
timeout = "20s"
write = { id = "$id", command = "$command_id", do = "refuse" }

[[serial.reply]]
when = { key = "said", is = "no" }
id = "id"
says = "refused"
reason = "why"

[[serial.reply]]
when = { key = "said", is = "yes" }
id = "id"
says = "success"
result = { level = "level" }
"#;

/// A running device.
#[derive(Debug)]
pub struct Servant {
    name: String,
    node: PathBuf,
    /// Held so that the master never reads an end; a line through it wakes the thread.
    slave: File,
    master: File,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    ends: AtomicBool,
    holds: AtomicBool,
    /// What it takes to do something, in milliseconds.
    takes_ms: AtomicU64,
    done: Mutex<Vec<Done>>,
    /// Replies that are held back.
    held: Mutex<Vec<String>>,
}

/// Something that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// The command's id, as its sender chose it.
    pub command: String,
    /// What.
    pub name: String,
}

impl Servant {
    /// Plugs it in.
    pub fn start(name: &str) -> Result<Servant> {
        let (master, slave, node) = open_pair().context("no pseudo-terminal")?;
        let (master, slave) = (File::from(master), File::from(slave));
        let shared = Arc::new(Shared::default());
        let (reader, theirs) = (master.try_clone()?, Arc::clone(&shared));
        let thread = std::thread::spawn(move || serve(reader, &theirs));
        Ok(Servant { name: name.to_owned(), node, slave, master, shared, thread: Some(thread) })
    }

    /// The block of an agent's config that reads it.
    pub fn source(&self) -> String {
        let (name, node) = (&self.name, self.node.display());
        format!("\n[[serial]]\nname = {name:?}\npath = \"{node}\"\ndevice = {name:?}\n{SOURCE}")
    }

    /// All that it has done, in order.
    pub fn done(&self) -> Vec<Done> {
        self.shared.done.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often it has done this command.
    pub fn count(&self, command: &str) -> usize {
        self.done().iter().filter(|done| done.command == command).count()
    }

    /// Waits until it has done so much.
    pub fn until_done(&self, count: usize) -> Result<Vec<Done>> {
        let what = format!("{} does {count} things", self.name);
        wait::until(&what, wait::PATIENCE, || Some(self.done()).filter(|done| done.len() >= count))
            .with_context(|| format!("{:?}", self.done()))
    }

    /// From now on it takes so long from doing something to saying so.
    pub fn take_time(&self, span: Duration) {
        self.shared.takes_ms.store(u64::try_from(span.as_millis()).unwrap_or(u64::MAX), Ordering::SeqCst);
    }

    /// From now on it does what it is told, and says so later.
    pub fn hold_replies(&self) {
        self.shared.holds.store(true, Ordering::SeqCst);
    }

    /// Says what it has held back.
    pub fn release_replies(&self) -> Result<()> {
        self.shared.holds.store(false, Ordering::SeqCst);
        let held = std::mem::take(&mut *self.shared.held.lock().unwrap_or_else(PoisonError::into_inner));
        for reply in held {
            (&self.master).write_all(reply.as_bytes())?;
        }
        Ok(())
    }
}

impl Drop for Servant {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::SeqCst);
        // What is left is to wake the thread, which ends with the process at the latest.
        drop((&self.slave).write_all(b"\n"));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn serve(line: File, shared: &Shared) {
    let Ok(mut out) = line.try_clone() else { return };
    for told in BufReader::new(line).lines().map_while(Result::ok) {
        if shared.ends.load(Ordering::SeqCst) {
            return;
        }
        // Half a line of an agent that was killed is no order.
        let Ok(told) = serde_json::from_str::<Value>(&told) else { continue };
        let Some(reply) = obey(&told, shared) else { continue };
        let text = format!("{reply}\n");
        wait::pass(Duration::from_millis(shared.takes_ms.load(Ordering::SeqCst)));
        if shared.holds.load(Ordering::SeqCst) {
            shared.held.lock().unwrap_or_else(PoisonError::into_inner).push(text);
        } else if out.write_all(text.as_bytes()).is_err() {
            return;
        }
    }
}

fn obey(told: &Value, shared: &Shared) -> Option<Value> {
    let (command, name) = (told["command"].as_str()?.to_owned(), told["do"].as_str()?.to_owned());
    if name == "refuse" {
        return Some(json!({ "id": told["id"], "said": "no", "why": "it is locked" }));
    }
    shared.done.lock().unwrap_or_else(PoisonError::into_inner).push(Done { command, name });
    Some(json!({ "id": told["id"], "said": "yes", "level": told["level"] }))
}

fn open_pair() -> rustix::io::Result<(OwnedFd, OwnedFd, PathBuf)> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let node = PathBuf::from(OsStr::from_bytes(ptsname(&master, Vec::new())?.as_bytes()));
    let slave = open_slave(&node)?;
    let mut mode = termios::tcgetattr(&slave)?;
    mode.make_raw();
    termios::tcsetattr(&slave, termios::OptionalActions::Now, &mode)?;
    Ok((master, slave, node))
}

fn open_slave(node: &Path) -> rustix::io::Result<OwnedFd> {
    rustix::fs::open(node, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())
}
