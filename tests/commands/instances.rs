//! The same over two gateways: whichever dies, the other goes on.

use anyhow::{Result, ensure};
use lockgate_tests::cluster::Cluster;
use lockgate_tests::servant::Servant;
use lockgate_tests::wait;

use super::chaos::through_kills;
use super::{DONE, agent_of, ids};

#[test]
fn a_sender_whose_gateway_dies_learns_the_outcome_at_another_one() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut cluster = Cluster::start(folder.path(), 0)?;
    let ann = cluster.gateways[0].sender("ann", &cluster.url())?;
    let servant = Servant::start("hall")?;
    let token = cluster.gateways[0].agent_token("agent-1")?;
    let mut agent = agent_of(folder.path(), &cluster.url_from_second(), &token, &[&servant])?;
    agent.restart()?;
    agent.await_connected()?;

    servant.hold_replies();
    let mut sending = ann.begin_to_send(folder.path(), &["hall", "set", "level=4", "--id", "c", "--ttl", "5min"])?;
    sending.until("executing")?;
    servant.until_done(1)?;
    cluster.gateways[0].kill()?;
    servant.release_replies()?;
    let told = sending.end(wait::PATIENCE)?;
    ensure!(told.code == DONE && told.state() == "succeeded", "{told:?}");
    ensure!(ids(&servant.done()) == ["c"], "{:?}", servant.done());
    Ok(())
}

#[test]
fn what_is_said_of_commands_is_what_devices_did_over_two_gateways_that_are_killed_in_turn() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut cluster = Cluster::start(folder.path(), 0)?;
    let urls = [cluster.url(), cluster.url_from_second()];
    through_kills(folder.path(), &mut cluster.gateways, &urls, 10)
}
