//! Commands for devices that nobody had announced come into the book of the agent that does.

use std::collections::HashSet;

use lockgate_proto::command::CommandId;
use lockgate_proto::ids::{AgentId, DeviceName};

use super::book_logic::Work;
use super::desk::Desk;
use crate::backbone::BackboneError;

impl Desk {
    /// Puts what waits for the agent's devices into its book: for those that it has just `told` of, and those that
    /// are known to be its own.
    pub(crate) async fn claim(&self, agent: &AgentId, told: &HashSet<DeviceName>) -> Result<(), BackboneError> {
        let waiting = self.backbone.book(&agent.room, &None, &[]).await?.book.commands;
        let mut ids: Vec<CommandId> = Vec::new();
        for (id, kept) in waiting {
            let device = &kept.command.device;
            if told.contains(device)
                || self.holder_of(&agent.room, device).await?.is_some_and(|holder| holder == agent.agent)
            {
                ids.push(id);
            }
        }
        if ids.is_empty() {
            return Ok(());
        }
        self.work(&agent.room, &Some(agent.agent.clone()), Work::Claim(ids)).await.map(drop)
    }
}
