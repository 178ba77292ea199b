//! The end of every script: all is repaired, all settles, and the promises are held against what came of it.

use std::collections::BTreeMap;
use std::time::Duration;

use lockgate_proto::link::close::CloseCode;
use lockgate_proto::seq::Lane;
use proptest::prelude::*;

use super::World;

impl World {
    /// No more faults. One agent after the other comes, a copy as well, until each has settled.
    pub(crate) fn heal(&mut self) -> Result<(), TestCaseError> {
        self.healed = true;
        for at in 0..self.agents.len() {
            for other in (0..self.agents.len()).filter(|other| *other != at) {
                self.break_link(other)?;
            }
            // Something is always measured: it shows whether a connection is still good.
            for lane in Lane::ALL {
                self.append(at, lane, None)?;
            }
            self.settle(at)?;
        }
        Ok(())
    }

    fn settle(&mut self, at: usize) -> Result<(), TestCaseError> {
        for _ in 0..400 {
            while let Some(step) = self.steps().first().copied() {
                self.run(step, 255)?;
                self.now = self.now + Duration::from_millis(1);
            }
            if self.agents[at].connection.is_none() {
                if self.agents[at].closed == Some(CloseCode::AgentTwice) {
                    self.take_over(at)?;
                }
                self.connect(at)?;
                continue;
            }
            if self.is_settled(at) {
                return Ok(());
            }
            self.wait(Duration::from_millis(500))?;
        }
        prop_assert!(false, "agent {} does not settle: {:?}", at, self.agents[at].link);
        Ok(())
    }

    /// The queue is free to release all.
    fn is_settled(&self, at: usize) -> bool {
        let lanes = self.agents[at].queue.epochs.iter().flat_map(|file| &file.lanes);
        lanes.into_iter().all(|lane| lane.records.keys().all(|seq| lane.settled.contains(*seq)))
    }

    pub(crate) fn check_the_end(&self) -> Result<(), TestCaseError> {
        let ledger = self.backbone.ledger();
        let stored: BTreeMap<_, _> = self.backbone.stored().into_iter().collect();
        for (key, bytes) in &stored {
            let made = self.made.get(key).map(|made| &made.bytes);
            prop_assert_eq!(made, Some(bytes), "the log says what nobody made: {:?}", key);
        }
        for ((epoch, lane, seq), made) in &self.made {
            let held = self.agents.iter().any(|agent| agent.queue.epochs.iter().any(|file| file.epoch == *epoch));
            // An epoch that neither a store nor a card knows has left no trace at all.
            if !ledger.knows(*epoch) {
                prop_assert!(!held, "an epoch is held and unknown");
                continue;
            }
            let key = (*epoch, *lane, *seq);
            prop_assert!(ledger.settled(*epoch, *lane).contains(*seq), "neither stored nor told: {:?}", key);
            prop_assert!(made.usable || !stored.contains_key(&key), "stored what can't be used: {:?}", key);
        }
        for agent in &self.agents {
            for key in agent.queue.records().filter(|key| self.made[key].usable) {
                let aged = self.rules.retention_millis.is_some();
                prop_assert!(aged || stored.contains_key(&key), "held, and told as lost: {:?}", key);
            }
        }
        prop_assert_eq!(ledger.totals().pending, 0);
        Ok(())
    }
}
