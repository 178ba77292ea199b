//! Flipped bits, torn tails, a segment deleted by hand: reported, told as gaps, the rest delivered.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use lockgate_tests::account::{samples, whole_log};
use lockgate_tests::agent::{Agent, AgentPlan};
use lockgate_tests::devices::{Devices, Fleet};
use lockgate_tests::gateway::Gateway;
use lockgate_tests::loss::await_balanced;
use lockgate_tests::proxy::Proxy;
use lockgate_tests::wait;

const FLEET: Fleet = Fleet { pumps: 1, thermostats: 0, meters: 0, rooms: 0 };

/// Queues samples while the gateway is out of reach, lets `harm` loose on the largest segment, and lets the rest arrive.
/// Gives what was lost to corruption, and how many samples were stored of how many queued.
fn damaged(harm: impl Fn(&Path) -> Result<()>) -> Result<(u64, usize, usize)> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let gateway = Gateway::start(folder, 0)?;
    let token = gateway.user_token()?;
    let proxy = Proxy::start(gateway.address())?;
    proxy.refuse(true);
    let devices = Devices::start(&folder.join("ports"), FLEET, "", &["--interval", "20ms", "--grace", "200ms"])?;
    let plan = AgentPlan::new("agent-1", &format!("ws://{}", proxy.address()), &gateway.agent_token("agent-1")?);
    let mut agent = Agent::start(folder, &plan.serial("pump-1", &devices.port("pump-1"), "lockgate-pump"))?;
    let heard = || std::fs::read_to_string(devices.journal()).unwrap_or_default().matches("\"heard\"").count();
    wait::until("samples are heard", wait::PATIENCE, || (heard() >= 100).then_some(()))?;
    devices.stop()?;
    agent.kill()?;

    let segment = largest(&agent.data().join("queue"))?;
    harm(&segment)?;
    proxy.refuse(false);
    agent.restart()?;
    agent.await_connected()?;
    let lost = await_balanced(&gateway.url(), &token)?;
    agent.stop(wait::PATIENCE)?;
    let stored = samples(&whole_log(&gateway.url(), &token)?).len();
    Ok((lost["corrupt"].as_u64().unwrap_or(0), stored, 100))
}

/// The file that holds most of the queue.
fn largest(folder: &Path) -> Result<PathBuf> {
    let mut files = Vec::new();
    collect(folder, &mut files)?;
    let largest = files.into_iter().max_by_key(|(length, _)| *length).context("the queue has no files")?;
    Ok(largest.1)
}

fn collect(folder: &Path, files: &mut Vec<(u64, PathBuf)>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), files)?;
        } else {
            files.push((entry.metadata()?.len(), entry.path()));
        }
    }
    Ok(())
}

#[test]
fn flipped_bits_cost_the_records_they_hit_and_no_other() -> Result<()> {
    let flip = |segment: &Path| {
        let file = OpenOptions::new().read(true).write(true).open(segment)?;
        let middle = file.metadata()?.len() / 2;
        let mut byte = [0];
        file.read_exact_at(&mut byte, middle)?;
        Ok(file.write_all_at(&[byte[0] ^ 0x10], middle)?)
    };
    let (lost, stored, queued) = damaged(flip)?;
    ensure!((1..=2).contains(&lost), "{lost} records were lost to one bit");
    ensure!(stored + 3 >= queued, "{stored} of at least {queued} samples were stored");
    Ok(())
}

#[test]
fn a_torn_tail_costs_no_more_than_the_torn_record() -> Result<()> {
    let tear = |segment: &Path| {
        let file = File::options().write(true).open(segment)?;
        let length = file.metadata()?.len();
        Ok(file.set_len(length - 7)?)
    };
    let (_, stored, queued) = damaged(tear)?;
    ensure!(stored + 3 >= queued, "{stored} of at least {queued} samples were stored");
    Ok(())
}

#[test]
fn a_segment_deleted_by_hand_is_told_as_a_gap() -> Result<()> {
    let (lost, ..) = damaged(|segment| Ok(std::fs::remove_file(segment)?))?;
    ensure!(lost > 10, "only {lost} records are told as lost");
    Ok(())
}
