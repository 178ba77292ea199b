//! The Redis that gateways share is killed and paused.

use std::time::Duration;

use anyhow::Result;
use lockgate_tests::wait;

use super::scene::{Preferred, Scene};

/// Longer than a gateway waits for an answer.
const PAUSE: Duration = Duration::from_secs(7);

#[test]
fn a_redis_that_is_killed_or_paused_in_mid_run_loses_nothing() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut scene = Scene::set(folder.path(), Preferred::Each)?;
    scene.cluster.redis.kill()?;
    scene.is_degraded("a gateway says that its store is away")?;
    scene.cluster.redis.restart()?;
    scene.goes_on("all go on after Redis was killed")?;
    scene.cluster.redis.pause()?;
    wait::pass(PAUSE);
    scene.is_degraded("a gateway says that its store does not answer")?;
    scene.cluster.redis.go_on()?;
    scene.goes_on("all go on after Redis was paused")?;
    scene.reckon()
}
