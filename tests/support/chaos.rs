//! Kills programs at random moments, and starts them again.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::agent::Agent;
use crate::gateway::Gateway;
use crate::random::Random;
use crate::wait;

/// Between two kills.
const PEACE: (Duration, Duration) = (Duration::from_millis(700), Duration::from_millis(3500));
/// How long the killed one stays away.
const ABSENCE: (Duration, Duration) = (Duration::from_millis(0), Duration::from_millis(1500));

/// A seeded plan of kills.
#[derive(Debug)]
pub struct Chaos {
    random: Random,
    next: Instant,
    kills: u32,
    gateway_kills: usize,
}

impl Chaos {
    /// The same seed gives the same victims and spans.
    pub fn seeded(seed: u64) -> Chaos {
        let mut random = Random::seeded(seed);
        let next = Instant::now() + random.span(PEACE.0, PEACE.1);
        Chaos { random, next, kills: 0, gateway_kills: 0 }
    }

    /// Whether it is time for the next kill.
    pub fn is_due(&self) -> bool {
        Instant::now() >= self.next
    }

    /// How many there were.
    pub fn kills(&self) -> u32 {
        self.kills
    }

    /// `kill -9` for the agent, a gateway or both, and after a while a new start. Of several gateways, each has its turn.
    /// Names the victim.
    pub fn strike(&mut self, agent: &mut Agent, gateways: &mut [Gateway]) -> Result<String> {
        let victim = self.random.below(5);
        let turn = self.gateway_kills % gateways.len().max(1);
        let gateway = gateways.get_mut(turn).context("there is no gateway to kill")?;
        let (hits_agent, hits_gateway) = (victim != 0 && victim != 1, victim != 2 && victim != 3);
        if hits_agent {
            agent.kill()?;
        }
        if hits_gateway {
            gateway.kill()?;
        }
        wait::pass(self.random.span(ABSENCE.0, ABSENCE.1));
        if hits_gateway {
            gateway.restart()?;
        }
        if hits_agent {
            agent.restart()?;
        }
        self.kills += u32::from(hits_agent) + u32::from(hits_gateway);
        self.gateway_kills += usize::from(hits_gateway);
        self.next = Instant::now() + self.random.span(PEACE.0, PEACE.1);
        Ok(match (hits_agent, hits_gateway) {
            (true, true) => format!("agent and {}", gateway.name()),
            (true, false) => "agent".to_owned(),
            (false, _) => gateway.name().to_owned(),
        })
    }
}
