//! A gateway on a Redis Cluster, of which masters die.

use anyhow::{Context as _, Result};
use lockgate_tests::gateway::{Gateway, SITE, TENANT};
use lockgate_tests::line::Line;
use lockgate_tests::redis_cluster::RedisCluster;
use lockgate_tests::wait;

#[test]
fn the_death_of_the_master_that_has_a_room_loses_nothing_of_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let mut redis = RedisCluster::start(&folder.join("redis"))?;
    let config = format!("[redis]\nurl = {:?}\n", redis.url());
    let gateway = Gateway::start_one(folder, "gateway", 0, &folder.join("token.key"), &config)?;
    let mut line = Line::start(folder, gateway)?;
    let room = format!("lockgate:{{{TENANT}:{SITE}}}:log");
    for _ in 0..2 {
        let owner = redis.owner_of(&room)?;
        redis.nodes[owner].kill()?;
        line.goes_on("its replica has taken over").with_context(|| line.gateway.log_tail())?;
        // It comes back as the replica of the one that was its own.
        redis.nodes[owner].restart()?;
        redis.settle()?;
    }
    wait::until("each master has come back", wait::PATIENCE, || (redis.masters().count() == 3).then_some(()))?;
    line.reckon()
}
