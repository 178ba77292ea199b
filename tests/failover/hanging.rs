//! A gateway that is told to stop stops, whoever hangs.

use anyhow::Result;
use lockgate_tests::cluster::DRAIN_TIMEOUT;

use super::scene::{Preferred, Scene};

#[test]
fn a_gateway_ends_in_time_though_redis_and_a_client_hang() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut scene = Scene::set(folder.path(), Preferred::First)?;
    let hanging = scene.watches.remove(0);
    hanging.pause()?;
    scene.cluster.redis.pause()?;
    scene.cluster.gateways[0].stop(DRAIN_TIMEOUT)?;
    scene.cluster.redis.go_on()?;
    scene.goes_on("all others go on at the other gateway")?;
    drop(hanging);
    scene.reckon()
}
