//! What the system knows of the servers' processes, and of this one: processor time, memory, open files.

use std::fs;
use std::str::FromStr;
use std::time::Duration;

/// This process, in reports.
pub(super) const SELF: &str = "fleet";

/// A process to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Watched {
    /// What reports call it.
    pub name: String,
    /// Its id.
    pub pid: u32,
}

impl FromStr for Watched {
    type Err = String;

    fn from_str(text: &str) -> Result<Watched, String> {
        let expected = || "expected NAME=PID, such as gateway=4711".to_owned();
        let (name, pid) = text.split_once('=').ok_or_else(expected)?;
        Ok(Watched { name: name.to_owned(), pid: pid.parse().map_err(|_| expected())? })
    }
}

/// A process at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sample {
    /// Since its start, in user and system mode.
    pub(super) cpu: Duration,
    pub(super) rss_kib: u64,
    /// Open files, connections among them; 0 where they can't be seen, or were not counted.
    pub(super) files: u64,
}

/// A process over a run.
#[derive(Clone, Debug)]
pub(super) struct Process {
    pub(super) watched: Watched,
    /// Before anybody connects, when all are connected, and at the end of the run.
    pub(super) before: Sample,
    pub(super) connected: Sample,
    pub(super) after: Sample,
    pub(super) rss_peak_kib: u64,
    /// It ended, so that what it used is not known.
    pub(super) is_gone: bool,
}

impl Process {
    /// A first look.
    pub(super) fn new(watched: Watched) -> Process {
        let seen = sample(watched.pid).map(|sample| Sample { files: files(watched.pid), ..sample });
        let before = seen.unwrap_or_default();
        let is_gone = seen.is_none();
        Process { watched, before, connected: before, after: before, rss_peak_kib: before.rss_kib, is_gone }
    }

    /// All are connected.
    pub(super) fn connected(&mut self) {
        if let Some(sample) = self.look() {
            self.connected = Sample { files: files(self.watched.pid), ..sample };
        }
    }

    /// All has come.
    pub(super) fn after(&mut self) {
        self.after = self.look().unwrap_or(self.after);
    }

    /// A look in between, which finds the peak of memory.
    pub(super) fn look(&mut self) -> Option<Sample> {
        let sample = if self.is_gone { None } else { sample(self.watched.pid) };
        self.is_gone = sample.is_none();
        self.rss_peak_kib = self.rss_peak_kib.max(sample.unwrap_or_default().rss_kib);
        sample
    }

    /// Processor time from when all were connected to the end.
    pub(super) fn cpu(&self) -> Duration {
        self.after.cpu.saturating_sub(self.connected.cpu)
    }

    /// Connections that it took, as far as its open files tell.
    pub(super) fn connections(&self) -> u64 {
        self.connected.files.saturating_sub(self.before.files)
    }

    /// Bytes of memory that each of them brought; `None`: too few to tell.
    pub(super) fn bytes_per_connection(&self) -> Option<u64> {
        const FEW: u64 = 50;
        let connections = self.connections();
        let grown = self.connected.rss_kib.saturating_sub(self.before.rss_kib);
        (!self.is_gone && connections >= FEW).then(|| grown * 1024 / connections)
    }
}

/// `None`: there is no such process.
fn sample(pid: u32) -> Option<Sample> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let ticks_per_second = rustix::param::clock_ticks_per_second();
    Some(Sample { cpu: cpu_of(&stat, ticks_per_second)?, rss_kib: rss_of(&status)?, files: 0 })
}

/// Takes long where there are many, so it is asked only twice a run.
fn files(pid: u32) -> u64 {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, |files| files.count() as u64)
}

/// Fields 14 and 15 of proc_pid_stat(5). The name before them, in parentheses, may hold anything.
fn cpu_of(stat: &str, ticks_per_second: u64) -> Option<Duration> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_micros((user + system).checked_mul(1_000_000)?.checked_div(ticks_per_second)?))
}

fn rss_of(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_past_any_name() {
        let stat = "7 (a) b) R 1 1 1 0 -1 4194304 100 0 0 0 250 50 9 9 20 0 1 0 1 1 1";
        assert_eq!(cpu_of(stat, 100), Some(Duration::from_secs(3)));
        assert_eq!(cpu_of("7 (a) R 1", 100), None);
        assert_eq!(rss_of("Name:\ta\nVmHWM:\t  9 kB\nVmRSS:\t  1234 kB\n"), Some(1234));
    }

    #[test]
    fn this_process_is_seen_and_one_that_never_was_is_gone() {
        let this = Process::new(Watched { name: SELF.to_owned(), pid: std::process::id() });
        assert!(!this.is_gone && this.before.rss_kib > 0 && this.before.files > 0);
        let mut none = Process::new(Watched { name: "none".to_owned(), pid: u32::MAX });
        none.connected();
        assert!(none.is_gone && none.look().is_none() && none.bytes_per_connection().is_none());
    }

    #[test]
    fn memory_is_shared_out_among_the_connections_that_came() {
        let mut process = Process::new(Watched { name: SELF.to_owned(), pid: std::process::id() });
        process.before = Sample { rss_kib: 1_000, files: 10, ..Sample::default() };
        process.connected = Sample { rss_kib: 1_500, files: 110, ..Sample::default() };
        assert_eq!((process.connections(), process.bytes_per_connection()), (100, Some(5_120)));
        process.connected.files = 11;
        assert_eq!(process.bytes_per_connection(), None);
    }

    #[test]
    fn a_process_is_named_with_its_id() {
        assert_eq!("redis=12".parse(), Ok(Watched { name: "redis".to_owned(), pid: 12 }));
        for text in ["redis", "redis=", "redis=x"] {
            assert!(text.parse::<Watched>().is_err(), "{text}");
        }
    }
}
