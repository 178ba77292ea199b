//! What people must look into, as an entry of the room.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lockgate_proto::convert::encode_alarm_body;
use lockgate_proto::entry::{Alarm, AlarmKind};
use lockgate_proto::ids::AgentId;
use tokio::time::{Instant, timeout};
use tracing::warn;

use crate::backbone::{EntryKind, NewEntry};
use crate::context::Context;
use crate::metrics::Counter;

/// A copied card tries again for ever; its room and the log are told of it no more often than this.
const REPEAT_AFTER: Duration = Duration::from_secs(10 * 60);

/// LIMIT: agents whose alarms are remembered; beyond, some may be told once more.
const REMEMBERED_MAX: usize = 10_000;

/// The session ends whether or not the alarm could be stored.
const PATIENCE: Duration = Duration::from_secs(2);

/// When each agent's alarm was last told. Cheap to clone; held for a look.
#[derive(Clone, Default)]
pub(crate) struct Alarms {
    told: Arc<Mutex<HashMap<AgentId, Instant>>>,
}

impl Alarms {
    fn is_due(&self, agent: &AgentId, now: Instant) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.get(agent).is_some_and(|at| now < *at + REPEAT_AFTER) {
            return false;
        }
        if told.len() >= REMEMBERED_MAX {
            told.clear();
        }
        told.insert(agent.clone(), now);
        true
    }
}

/// Two agents hold one identity: a copied card, one that was put back, or two programs on one queue.
pub(super) async fn agent_twice(context: &Context, agent: &AgentId) {
    Counter::AlarmsRaised.tick();
    if !context.alarms.is_due(agent, Instant::now()) {
        return;
    }
    warn!("Two agents hold one identity: a copied card, one that was put back, or two programs on one queue.");
    let alarm = Alarm {
        kind: AlarmKind::AgentTwice,
        agent: Some(agent.agent.clone()),
        text: "two agents hold one identity: a copied card, one that was put back, or two programs on one queue; \
               one of them was refused"
            .to_owned(),
    };
    let entry = NewEntry {
        received_at: context.clock.wall(),
        origin: None,
        kind: EntryKind::Alarm,
        device: None,
        body: encode_alarm_body(&alarm),
        shadow: Vec::new(),
    };
    match timeout(PATIENCE, context.backbone.append(&agent.room, &[entry])).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => warn!(%error, "The alarm could not be stored."),
        Err(_) => warn!("The alarm could not be stored in time."),
    }
}

#[cfg(test)]
mod tests {
    use lockgate_proto::ids::{AgentName, RoomId, Site, Tenant};

    use super::*;

    #[test]
    fn one_agents_alarm_is_told_once_in_a_while() {
        let room = RoomId { tenant: Tenant::new("acme").unwrap(), site: Site::new("plant").unwrap() };
        let agent = |name: &str| AgentId { room: room.clone(), agent: AgentName::new(name).unwrap() };
        let (alarms, now) = (Alarms::default(), Instant::now());
        assert!(alarms.is_due(&agent("pi"), now));
        assert!(!alarms.is_due(&agent("pi"), now + REPEAT_AFTER / 2));
        assert!(alarms.is_due(&agent("other"), now));
        assert!(alarms.is_due(&agent("pi"), now + REPEAT_AFTER));
    }
}
