//! Instances and their Redis die and are paused, and those who are in the room are told by those who see all of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use lockgate_tests::agent::{Agent, AgentPlan};
use lockgate_tests::cluster::Cluster;
use lockgate_tests::gateway::SITE;
use lockgate_tests::wait;
use lockgate_tests::watch::{Watch, ask};
use serde_json::Value;

/// As long as whoever is there may be cut off without leaving.
const PAUSE: Duration = Duration::from_secs(20);

/// A lease, a look for those whose lease is over, and generous time for a busy machine.
const LEAVING: Duration = Duration::from_secs(150);

/// Everybody who is in the room.
const CAST: [&str; 6] = ["agent-1", "agent-2", "ann", "bob", "carl", "eve"];

/// Two gateways, and who is where: `agent-1` and `ann` at the first, which they leave for the second when they must;
/// `bob` and `carl` at the first and nowhere else; `agent-2` and `eve`, who watches, at the second.
struct Room {
    cluster: Cluster,
    _agents: [Agent; 2],
    _ann: Watch,
    _bob: Watch,
    carl: Watch,
    eve: Watch,
}

impl Room {
    fn enter(folder: &Path) -> Result<Room> {
        let cluster = Cluster::start(folder, 0)?;
        let [first, second] = [cluster.gateways[0].url(), cluster.gateways[1].url()];
        let watch = |user: &str, url: &str| {
            let folder = folder.join(user);
            std::fs::create_dir_all(&folder)?;
            Watch::start(&folder, url, &cluster.gateways[0].token_of(user)?, &["--since", "start"])
        };
        let agent = |name: &str, url: &str| {
            Agent::start(folder, &AgentPlan::new(name, url, &cluster.gateways[0].agent_token(name)?))
        };
        let agents = [agent("agent-1", &cluster.url())?, agent("agent-2", &second)?];
        let [ann, bob, carl] =
            [("ann", cluster.url()), ("bob", first.clone()), ("carl", first)].map(|(user, url)| watch(user, &url));
        let eve = watch("eve", &second)?;
        let mut room = Room { cluster, _agents: agents, _ann: ann?, _bob: bob?, carl: carl?, eve };
        room.await_turns("everybody has come", |turns| CAST.iter().all(|name| turns.contains_key(*name)))?;
        Ok(room)
    }

    /// Waits until the comings (`true`) and leavings that `eve` was told, by name, satisfy a condition.
    fn await_turns(&mut self, what: &str, is_met: impl Fn(&Turns) -> bool) -> Result<Turns> {
        self.eve.until(what, LEAVING, |lines| is_met(&turns(lines)))?;
        Ok(turns(self.eve.look()?))
    }

    /// Everybody who is in the room, with the number of connections.
    fn present(&self) -> Result<BTreeMap<String, u64>> {
        let gateway = &self.cluster.gateways[1];
        let lines = ask(&gateway.url(), &gateway.token_of("eve")?, &["presence", SITE])?;
        let one = |line: &Value| Some((line["name"].as_str()?.to_owned(), line["connections"].as_u64()?));
        Ok(lines.iter().filter_map(one).collect())
    }
}

type Turns = BTreeMap<String, Vec<bool>>;

fn turns(lines: &[Value]) -> Turns {
    let mut turns = Turns::new();
    for line in lines.iter().filter(|line| line["kind"] == "attendance") {
        let (Some(name), Some(here)) = (line["name"].as_str(), line["here"].as_bool()) else { continue };
        turns.entry(name.to_owned()).or_default().push(here);
    }
    turns
}

/// That nobody came twice or left, but those named.
fn ensure_stayed(turns: &Turns, but: &[&str]) -> Result<()> {
    let stayed = turns.iter().all(|(name, turns)| but.contains(&name.as_str()) || *turns == [true]);
    ensure!(stayed, "only {but:?} came and went: {turns:?}");
    Ok(())
}

#[test]
fn who_was_at_an_instance_that_was_killed_leaves_once_and_who_goes_elsewhere_does_not() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut room = Room::enter(folder.path())?;
    room.cluster.gateways[0].kill()?;
    let gone = |turns: &Turns| ["bob", "carl"].iter().all(|name| turns[*name].last() == Some(&false));
    let turns = room.await_turns("those who can't go elsewhere leave", gone)?;
    ensure_stayed(&turns, &["bob", "carl"])?;
    let present = room.present()?;
    let is_here = |name: &&str| present.get(*name) == Some(&1);
    ensure!(["agent-1", "agent-2", "ann", "eve"].iter().all(is_here) && present.len() == 4, "{present:?}");

    room.cluster.gateways[0].restart()?;
    let back = |turns: &Turns| ["bob", "carl"].iter().all(|name| turns[*name].last() == Some(&true));
    let turns = room.await_turns("they come back with their instance", back)?;
    ensure_stayed(&turns, &["bob", "carl"])?;
    ensure!(turns["bob"] == [true, false, true] && turns["carl"] == [true, false, true], "once each: {turns:?}");
    Ok(())
}

#[test]
fn nobody_leaves_while_an_instance_and_then_their_redis_is_paused() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut room = Room::enter(folder.path())?;
    room.cluster.gateways[0].pause()?;
    wait::pass(PAUSE);
    room.cluster.gateways[0].go_on()?;
    room.cluster.redis.pause()?;
    wait::pass(PAUSE);
    room.cluster.redis.go_on()?;
    // Leaving is told again, and was not told of anybody else.
    room.carl.kill()?;
    let turns = room.await_turns("one who does leave is told", |turns| turns["carl"].last() == Some(&false))?;
    ensure_stayed(&turns, &["carl"])?;
    ensure!(turns["carl"] == [true, false], "once: {turns:?}");
    let present = room.present()?;
    ensure!(present.len() == CAST.len() - 1 && !present.contains_key("carl"), "{present:?}");
    Ok(())
}
