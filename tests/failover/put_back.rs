//! The Redis that gateways share comes back older than it was, or empty: agents fill it again, clients are told.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use lockgate_tests::account::whole_log;
use lockgate_tests::agent::{Agent, AgentPlan};
use lockgate_tests::cluster::Cluster;
use lockgate_tests::devices::Replay;
use lockgate_tests::gateway::SITE;
use lockgate_tests::loss::await_balanced;
use lockgate_tests::program::ours;
use lockgate_tests::wait;
use lockgate_tests::watch::{Watch, ask, since_another_history};
use serde_json::Value;

use super::scene::{Preferred, Scene};

#[test]
fn a_redis_that_was_put_back_to_an_older_copy_is_filled_again_and_clients_are_told() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut scene = Scene::set(folder.path(), Preferred::Each)?;
    let copy = folder.path().join("older-copy");
    // What Redis appends in this moment may be cut in its middle, as after a loss of power.
    scene.cluster.redis.copy_to(&copy)?;
    scene.goes_on("entries that the copy does not have")?;
    scene.cluster.redis.put_back(&copy)?;
    scene.is_told("clients are told that history went back")?;
    scene.goes_on("all go on with what Redis had")?;
    scene.reckon_anew()
}

#[test]
fn an_empty_redis_in_the_place_of_the_lost_one_is_filled_by_the_agents_and_clients_are_told() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut scene = Scene::set(folder.path(), Preferred::Each)?;
    scene.cluster.redis.lose_all()?;
    scene.is_told("clients are told that there is another log")?;
    scene.goes_on("all go on with an empty Redis")?;
    scene.reckon_anew()
}

/// A capture that is long enough to fill the smallest queue several times.
fn telegrams(folder: &Path) -> Result<PathBuf> {
    let capture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../codec/tests/data/dsmr5-p1/input.bin");
    let path = folder.join("telegrams.bin");
    std::fs::write(&path, std::fs::read(capture)?.repeat(10_000))?;
    Ok(path)
}

/// So many records an agent has on its disk.
fn held(agent: &Agent) -> Result<u64> {
    let mut command = Command::new(ours("lockgate-agent")?);
    let output = command.args(["queue", "--json", "--data"]).arg(agent.data()).output()?;
    let queue: Value = serde_json::from_slice(&output.stdout)?;
    let lanes = queue["lanes"].as_array().with_context(|| format!("no lanes: {queue}"))?;
    Ok(lanes.iter().filter_map(|lane| lane["records"].as_u64()).sum())
}

/// What the gateway's books say of the one agent there is.
fn book(url: &str, token: &str) -> Result<Value> {
    let agents = ask(url, token, &["loss", SITE])?;
    agents.into_iter().next().context("no agent has told of itself")
}

#[test]
fn what_nobody_holds_any_more_is_told_as_lost_when_redis_comes_back_empty() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let mut cluster = Cluster::start(folder, 0)?;
    let (url, token) = (cluster.url(), cluster.gateways[0].user_token()?);
    let port = folder.join("p1");
    let replay = Replay::again_and_again(folder, &telegrams(folder)?, &port)?;
    let mut plan = AgentPlan::new("agent-1", &url, &cluster.gateways[0].agent_token("agent-1")?);
    plan.queue = "budget = \"4MiB\"".to_owned();
    let mut agent = Agent::start(folder, &plan.serial("p1", &port, "dsmr5-p1"))?;
    let mut watch = Watch::start(folder, &url, &token, &["--since", "start", "--kind", "gap"])?;
    let has_let_go = || {
        let stored = book(&url, &token).ok()?["stored"].as_u64()?;
        (stored > held(&agent).ok()? + 1_000).then_some(())
    };
    wait::until("the agent lets go of what is stored", 3 * wait::PATIENCE, has_let_go)?;
    replay.stop()?;
    await_balanced(&url, &token)?;
    let before = book(&url, &token)?;

    cluster.redis.lose_all()?;
    let is_told = |lines: &[Value]| since_another_history(lines).is_some();
    watch.until("the client is told that there is another log", wait::PATIENCE, is_told)?;
    // The health of an agent is a record like others: there may be more by now, and never fewer.
    let is_known_again =
        || book(&url, &token).ok().filter(|book| book["produced"].as_u64() >= before["produced"].as_u64());
    wait::until("the agent has told all of its numbers", wait::PATIENCE, is_known_again)?;
    let lost = await_balanced(&url, &token)?;
    let sum: u64 = lost.as_object().into_iter().flatten().filter_map(|(_, count)| count.as_u64()).sum();
    ensure!(sum >= 1_000, "what the agent had let go of is lost, and told: {lost}");
    // On a busy machine the new log may have grown past the gap before the client was told that it is another one, and
    // from where on it hears.
    let is_gap = |line: &Value| line["kind"] == "gap";
    let gap = whole_log(&url, &token)?.into_iter().find(is_gap).context("the gap is in the log")?;
    let told = since_another_history(watch.look()?).and_then(|lines| lines.first()).cloned().unwrap_or_default();
    let from = told["position"].as_str().and_then(|position| position.split('.').next()?.parse().ok()).unwrap_or(0);
    if gap["offset"].as_u64() > Some(from) {
        watch.until("the client is told of the gap", wait::PATIENCE, |lines| lines.iter().any(is_gap))?;
    }
    agent.stop(wait::PATIENCE)?;
    // What the books call stored is in the log, record by record.
    let (book, log) = (book(&url, &token)?, whole_log(&url, &token)?);
    let mut records: Vec<&Value> = log
        .iter()
        .filter(|line| line["agent"] == "agent-1" && line["seq"].is_u64())
        .map(|line| &line["offset"])
        .collect();
    records.dedup();
    ensure!(book["stored"].as_u64() == Some(records.len() as u64), "{} of {book}", records.len());
    Ok(())
}
