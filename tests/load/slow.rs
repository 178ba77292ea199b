//! Readers of 1 kB a second in a room of 5,000 messages a second, next to fast ones.

use anyhow::{Context as _, Result, ensure};
use lockgate_tests::fleet::{FleetRun, Target};
use lockgate_tests::gateway::Gateway;
use lockgate_tests::watch::ask;

use super::ensure_whole;
use super::slow_reader::{Account, SlowReader};

/// The fleet's only room.
const SITE: &str = "fleet-1";

const RATE: u64 = 5_000;
const SECONDS: u64 = 6;

/// What lies between the gateway and its reader is as old as it takes to read it. Aimed at: what the kernel may keep
/// unsent, a write buffer and a message, about 50 kB.
const STALE_BYTES_MAX: u64 = 500_000;

/// The ring of a room and what it has at hand are 12 MiB, whoever reads how slowly; ten times that.
const GROWTH_KIB_MAX: u64 = 120 * 1024;

/// What a process has had in memory at most, in KiB.
fn peak_kib(process: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no peak")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

#[test]
fn readers_of_a_kilobyte_a_second_get_what_is_recent_and_fast_ones_notice_nothing() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let gateway = Gateway::start(folder.path(), 0)?;
    let (token, process) = (gateway.user_token()?, gateway.id().context("it runs")?);
    let start = |conflate_ms| SlowReader::start(gateway.address(), &token, SITE, conflate_ms);
    let slow = [start(None)?, start(None)?, start(Some(0))?, start(Some(0))?];
    let before = peak_kib(process)?;
    let (rate, seconds) = (RATE.to_string(), SECONDS.to_string());
    let words =
        ["--agents", "10", "--devices-per-agent", "2", "--readers", "3", "--rate", &rate, "--seconds", &seconds];
    let target = Target::gateways([&gateway], None);
    let figures = FleetRun::start(folder.path(), "fleet", &target, &words)?.end()?;
    ensure_whole(&figures, RATE * SECONDS)?;
    ensure!(figures["reader_reconnects"] == 0, "{figures:#}");
    let growth = peak_kib(process)?.saturating_sub(before);

    let head = ask(&gateway.url(), &token, &["watch", SITE, "--last", "1", "--until-head"])?;
    let head = head.iter().rev().find_map(|line| line["offset"].as_u64()).context("the log has entries")?;
    let accounts: Vec<Account> = slow.into_iter().map(|reader| reader.read_through(head)).collect::<Result<_>>()?;
    let told = format!("{accounts:#?}\nmemory grew by {growth} KiB");
    // Shown by --nocapture: the figures of docs/performance.md.
    eprintln!("{told}");
    for (at, account) in accounts.iter().enumerate() {
        let (stale, in_short) = (account.stale_bytes.with_context(|| told.clone())?, at >= 2);
        ensure!(stale <= STALE_BYTES_MAX, "{stale} bytes were under way: {told}");
        ensure!(account.delivered + account.conflated + account.lagged >= RATE * SECONDS, "{told}");
        ensure!(account.conflated + account.lagged > RATE * SECONDS / 2, "it was not slow: {told}");
        ensure!((account.conflated > 0) == in_short, "in short only where it was asked for: {told}");
    }
    ensure!(growth <= GROWTH_KIB_MAX, "{told}");
    Ok(())
}
