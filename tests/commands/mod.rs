//! A command takes effect at most once, and its sender learns what is known: through links, gateways, agents and clocks
//! that fail.

mod chaos;
mod instances;

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use lockgate_tests::agent::{Agent, AgentPlan};
use lockgate_tests::faketime::fake_clock;
use lockgate_tests::gateway::Gateway;
use lockgate_tests::orders::Person;
use lockgate_tests::servant::{Done, Servant};
use lockgate_tests::wait;
use serde_json::{Value, json};

/// Exit codes of `lockgate send`.
const DONE: i32 = 0;
const FAILED: i32 = 6;
const NO_EFFECT: i32 = 7;

/// An agent for these devices.
fn agent_of(folder: &Path, url: &str, token: &str, servants: &[&Servant]) -> Result<Agent> {
    let mut plan = AgentPlan::new("agent-1", url, token);
    plan.sources = servants.iter().map(|servant| servant.source()).collect();
    Agent::prepare(folder, &plan)
}

/// Waits until a gateway knows whose the device is: an order for it then waits for that agent.
fn until_described(person: &Person, device: &str) -> Result<()> {
    let text = format!("an agent announces {device}");
    wait::until(&text, wait::PATIENCE, || {
        // It begins only where the device is known, and whoever is sent nothing does nothing.
        let told = person.send(&[device, "refuse", "--ttl", "10s"]).ok()?;
        (told.state() == "queued").then_some(())
    })
}

fn ids(done: &[Done]) -> Vec<&str> {
    done.iter().map(|done| done.command.as_str()).collect()
}

#[test]
fn an_order_is_done_once_however_often_it_is_sent_and_its_sender_learns_what_the_device_said() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut gateway = Gateway::start(folder.path(), 0)?;
    let ann = gateway.sender("ann", &gateway.url())?;
    let servant = Servant::start("hall")?;
    let mut agent = agent_of(folder.path(), &gateway.url(), &gateway.agent_token("agent-1")?, &[&servant])?;
    agent.restart()?;
    agent.await_connected()?;

    let order = ["hall", "set", "level=21.5", "--id", "once", "--until", "2999-01-01T00:00:00Z", "--wait"];
    let refused = ann.send(&order)?;
    ensure!(refused.code == 1 && refused.complaint.contains("days ahead"), "{refused:?}");
    let until = jiff::Timestamp::now().checked_add(Duration::from_secs(600))?.to_string();
    let order = ["hall", "set", "level=21.5", "--id", "once", "--until", &until, "--wait"];
    for _again in 0..3 {
        let told = ann.send(&order)?;
        ensure!(told.code == DONE && told.state() == "succeeded", "{told:?}\n{}", agent.log_tail());
        let last = told.lines.last().cloned().unwrap_or_default();
        ensure!(last["by"] == "device" && last["result"] == json!({ "level": 21.5 }), "{last}");
    }
    let other = ann.send(&["hall", "set", "level=3", "--id", "once", "--until", &until])?;
    ensure!(other.code == 1 && other.complaint.contains("another command"), "{other:?}");
    let refused = ann.send(&["hall", "refuse", "--wait"])?;
    ensure!(refused.code == FAILED && refused.complaint.contains("it is locked"), "{refused:?}");
    let unknown = ann.send(&["hall", "fly", "--wait"])?;
    ensure!(unknown.code == FAILED || unknown.code == 1, "it knows no such command: {unknown:?}");
    ensure!(ids(&servant.done()) == ["once"], "{:?}", servant.done());

    // All of it stands, after the gateway was killed and started again.
    gateway.kill()?;
    gateway.restart()?;
    let told = ann.send(&order)?;
    ensure!(told.code == DONE, "{told:?}");
    ensure!(ids(&servant.done()) == ["once"], "{:?}", servant.done());
    ensure!(ann.cancel("once")? == 1, "it has ended");
    let once: Vec<Value> =
        ann.commands(&["--state", "succeeded"])?.into_iter().filter(|command| command["id"] == "once").collect();
    ensure!(once.len() == 1 && once[0]["sender"] == "ann", "{once:#?}");
    Ok(())
}

/// What a device that was away is told on its return, whatever its agent's clock says.
fn orders_wait_for_a_device(clock: Option<&str>) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let gateway = Gateway::start(folder.path(), 0)?;
    let ann = gateway.sender("ann", &gateway.url())?;
    let servant = Servant::start("hall")?;
    let mut agent = agent_of(folder.path(), &gateway.url(), &gateway.agent_token("agent-1")?, &[&servant])?;
    if let Some(clock) = clock {
        fake_clock(&mut agent, &folder.path().join("clock"), clock)?;
    }
    agent.restart()?;
    agent.await_connected()?;
    until_described(&ann, "hall")?;
    agent.stop(wait::PATIENCE)?;

    let send = |id: &str, words: &[&str]| ann.send(&[&["hall", "set", "level=1", "--id", id], words].concat());
    for (id, priority) in [("low", "low"), ("first", "normal"), ("urgent", "high"), ("second", "normal")] {
        let told = send(id, &["--ttl", "10min", "--priority", priority])?;
        ensure!(told.code == DONE && told.state() == "queued", "{told:?}");
    }
    ensure!(send("withdrawn", &["--ttl", "10min"])?.code == DONE);
    ensure!(ann.cancel("withdrawn")? == 0);
    let late = send("late", &["--ttl", "1s", "--wait"])?;
    ensure!(late.code == NO_EFFECT && late.state() == "expired", "{late:?}");
    ensure!(servant.done().is_empty(), "{:?}", servant.done());

    agent.restart()?;
    let done = servant.until_done(4)?;
    ensure!(ids(&done) == ["urgent", "first", "second", "low"], "{done:?}");
    wait::until("all are known to have succeeded", wait::PATIENCE, || {
        let succeeded = ann.commands(&["--state", "succeeded"]).ok()?;
        (succeeded.len() == 4).then_some(())
    })?;
    ensure!(servant.done().len() == 4, "what was withdrawn or late never happens: {:?}", servant.done());
    Ok(())
}

#[test]
fn orders_for_a_device_that_is_away_wait_by_priority_and_age_or_expire() -> Result<()> {
    orders_wait_for_a_device(None)
}

#[test]
fn an_agent_whose_clock_is_a_day_ahead_lets_nothing_expire_too_early() -> Result<()> {
    orders_wait_for_a_device(Some("+86400"))
}

#[test]
fn an_agent_whose_clock_is_a_day_behind_does_nothing_too_late() -> Result<()> {
    orders_wait_for_a_device(Some("-86400"))
}

#[test]
fn a_gateway_that_dies_between_order_and_device_changes_nothing() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut gateway = Gateway::start(folder.path(), 0)?;
    let ann = gateway.sender("ann", &gateway.url())?;
    let servant = Servant::start("hall")?;
    let mut agent = agent_of(folder.path(), &gateway.url(), &gateway.agent_token("agent-1")?, &[&servant])?;
    // Nobody has announced the device yet.
    let told = ann.send(&["hall", "set", "level=2", "--id", "c", "--ttl", "5min"])?;
    ensure!(told.code == DONE && told.state() == "accepted", "{told:?}");
    gateway.kill()?;
    gateway.restart()?;
    agent.restart()?;
    servant.until_done(1)?;
    gateway.kill()?;
    gateway.restart()?;
    wait::until("the outcome is known", wait::PATIENCE, || {
        (ann.commands(&["--state", "succeeded"]).ok()?.len() == 1).then_some(())
    })?;
    ensure!(ids(&servant.done()) == ["c"], "{:?}", servant.done());
    Ok(())
}

#[test]
fn an_agent_that_dies_while_it_acts_does_it_no_second_time() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let gateway = Gateway::start(folder.path(), 0)?;
    let ann = gateway.sender("ann", &gateway.url())?;
    let servant = Servant::start("hall")?;
    let mut agent = agent_of(folder.path(), &gateway.url(), &gateway.agent_token("agent-1")?, &[&servant])?;
    agent.restart()?;
    agent.await_connected()?;
    servant.hold_replies();
    let mut sending = ann.begin_to_send(folder.path(), &["hall", "set", "level=4", "--id", "c", "--ttl", "5min"])?;
    sending.until("executing")?;
    servant.until_done(1)?;
    agent.kill()?;
    agent.restart()?;
    let told = sending.end(wait::PATIENCE)?;
    ensure!(told.code == 8 && told.state() == "interrupted", "{told:?}");
    servant.release_replies()?;
    // What comes later shows that nothing of it waits.
    let next = ann.send(&["hall", "set", "level=5", "--id", "next", "--wait", "--ttl", "5min"])?;
    ensure!(next.code == DONE, "{next:?}");
    ensure!(ids(&servant.done()) == ["c", "next"], "{:?}", servant.done());
    Ok(())
}

#[test]
fn an_order_to_all_is_told_as_one() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let gateway = Gateway::start(folder.path(), 0)?;
    let ann = gateway.sender("ann", &gateway.url())?;
    let servants = [Servant::start("hall")?, Servant::start("yard")?, Servant::start("roof")?];
    let [hall, yard, roof] = &servants;
    let mut agent = agent_of(folder.path(), &gateway.url(), &gateway.agent_token("agent-1")?, &[hall, yard, roof])?;
    agent.restart()?;
    agent.await_connected()?;
    for name in ["hall", "yard", "roof"] {
        until_described(&ann, name)?;
    }
    let told = ann.send(&["--all", "home", "--idempotent", "--id", "night", "--wait", "--ttl", "5min"])?;
    let last = told.lines.last().cloned().unwrap_or_default();
    let members = last["members"].as_u64().unwrap_or_default();
    // The agent is a device as well, and knows no such command: it is not of the group.
    ensure!(told.code == DONE && members == 3 && last["over"] == 3, "{told:?}");
    ensure!(last["counts"]["succeeded"] == 3, "{told:?}");
    for servant in &servants {
        ensure!(servant.done().len() == 1, "{:?}", servant.done());
    }
    ensure!(ann.commands(&["--group", "night"])?.len() == 3);
    let nobody = ann.send(&["--all", "fly"])?;
    ensure!(nobody.code == 5 && nobody.complaint.contains("takes \"fly\""), "{nobody:?}");
    Ok(())
}
