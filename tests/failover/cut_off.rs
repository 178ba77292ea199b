//! The connections between a gateway and its Redis are cut at random moments.

use std::time::Duration;

use anyhow::{Context as _, Result};
use lockgate_tests::gateway::Gateway;
use lockgate_tests::line::Line;
use lockgate_tests::proxy::Proxy;
use lockgate_tests::random::Random;
use lockgate_tests::redis::Redis;
use lockgate_tests::wait;

const CUTS: u32 = 25;

#[test]
fn connections_to_redis_that_are_cut_again_and_again_lose_and_double_nothing() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let redis = Redis::start(&folder.join("redis"))?;
    let way = Proxy::start(redis.address())?;
    let config = format!("[redis]\nurl = \"redis://{}\"\ndurability = \"fsync\"\n", way.address());
    let gateway = Gateway::start_one(folder, "gateway", 0, &folder.join("token.key"), &config)?;
    let mut line = Line::start(folder, gateway)?;
    let mut random = Random::seeded(7);
    for _ in 0..CUTS {
        wait::pass(random.span(Duration::from_millis(20), Duration::from_millis(400)));
        way.cut();
    }
    line.goes_on("readings come through again").with_context(|| line.gateway.log_tail())?;
    // A longer one, of which agent and client are told.
    way.refuse(true);
    let is_told = |lines: &[serde_json::Value]| lines.iter().any(|line| line["kind"] == "degraded");
    line.watch.until("the client is told that the store is away", wait::PATIENCE, is_told)?;
    way.refuse(false);
    line.goes_on("readings come through after a longer cut").with_context(|| line.gateway.log_tail())?;
    line.reckon()
}
