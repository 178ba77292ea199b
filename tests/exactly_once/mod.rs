//! A reading that the agent accepted reaches the room's log exactly once.

mod kills;
mod rolled_back;

use anyhow::Result;
use lockgate_tests::gateway::{Gateway, SITE};
use lockgate_tests::watch::ask;
use serde_json::Value;

/// Every line that the room's log has, from its first entry to its last.
pub(crate) fn whole_log(gateway: &Gateway, token: &str) -> Result<Vec<Value>> {
    ask(&gateway.url(), token, &["watch", SITE, "--since", "start", "--until-head"])
}
