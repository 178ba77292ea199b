//! Which of two tellings of a device is the newer, and what a shadow keeps of each.
//!
//! Pure. *Newer* means later in the order of the agent's records, never by a clock.

use std::collections::BTreeMap;

use lockgate_proto::ids::{AgentName, MetricName};
use lockgate_proto::time::UnixMicros;

use super::types::ReadingOrder;

/// Most metrics that one device's shadow keeps; beyond them the one that was silent longest is forgotten.
pub(super) const METRICS_PER_DEVICE_MAX: usize = 4_096;

/// The record that tells something of its device.
#[derive(Clone, Debug)]
pub(super) struct Teller<'a> {
    /// Whose record it is.
    pub(super) agent: &'a AgentName,
    /// Where it stands among those of that agent.
    pub(super) order: ReadingOrder,
    /// Taken before the agent's present connection.
    pub(super) backlog: bool,
    /// When the gateway received it.
    pub(super) received_at: UnixMicros,
}

/// What is told. `V` is a reading in whatever form the engine keeps it.
#[derive(Clone, Debug)]
pub(super) enum Told<V> {
    /// A value.
    Metric {
        /// Of what.
        metric: MetricName,
        /// When it was taken.
        sampled_at: UnixMicros,
        /// The reading.
        value: V,
    },
    /// The device is there, or gone.
    Online {
        /// There, or gone.
        online: bool,
        /// When that was told.
        at: UnixMicros,
    },
}

/// One metric's place in a shadow.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Slot<V> {
    /// Where its record stands among those of the agent.
    pub(super) order: ReadingOrder,
    /// When the gateway received it.
    pub(super) received_at: UnixMicros,
    /// The value.
    pub(super) value: V,
}

/// What is known of one device.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Shadow<V> {
    /// The agent whose order counts.
    pub(super) agent: AgentName,
    /// Whether the device is there.
    pub(super) online: Option<bool>,
    /// Where the record that said so stands.
    pub(super) presence_order: ReadingOrder,
    /// The latest sign of life.
    pub(super) last_seen: Option<UnixMicros>,
    /// By metric. LIMIT: [`METRICS_PER_DEVICE_MAX`].
    pub(super) metrics: BTreeMap<MetricName, Slot<V>>,
}

impl<V> Shadow<V> {
    /// Nothing but who tells.
    pub(super) fn new(agent: AgentName) -> Shadow<V> {
        Shadow {
            agent,
            online: None,
            presence_order: ReadingOrder::default(),
            last_seen: None,
            metrics: BTreeMap::new(),
        }
    }

    /// Takes over what is newer than what is known; says whether it was.
    pub(super) fn apply(&mut self, teller: &Teller<'_>, told: Told<V>) -> bool {
        if *teller.agent != self.agent {
            // The orders of two agents can't be compared. Who tells of the present has the device; another
            // agent's backlog is history.
            if teller.backlog {
                return false;
            }
            self.hand_over(teller.agent.clone());
        }
        match told {
            Told::Metric { metric, sampled_at, value } => {
                let newer = self.set(metric, Slot { order: teller.order, received_at: teller.received_at, value });
                if newer {
                    self.seen(sampled_at.min(teller.received_at));
                }
                newer
            }
            Told::Online { online, at } => {
                if teller.order < self.presence_order {
                    return false;
                }
                self.presence_order = teller.order;
                self.online = Some(online);
                if online {
                    self.seen(at.min(teller.received_at));
                }
                true
            }
        }
    }

    fn hand_over(&mut self, agent: AgentName) {
        self.agent = agent;
        self.presence_order = ReadingOrder::default();
        for slot in self.metrics.values_mut() {
            slot.order = ReadingOrder::default();
        }
    }

    fn set(&mut self, metric: MetricName, slot: Slot<V>) -> bool {
        if let Some(held) = self.metrics.get_mut(&metric) {
            // Equal: two readings of one metric in one record, the later last.
            let newer = held.order <= slot.order;
            if newer {
                *held = slot;
            }
            return newer;
        }
        if self.metrics.len() >= METRICS_PER_DEVICE_MAX {
            let silent_longest = self.metrics.iter().min_by_key(|(_, slot)| slot.received_at);
            if let Some(silent_longest) = silent_longest.map(|(metric, _)| metric.clone()) {
                self.metrics.remove(&silent_longest);
            }
        }
        self.metrics.insert(metric, slot);
        true
    }

    fn seen(&mut self, at: UnixMicros) {
        self.last_seen = self.last_seen.max(Some(at));
    }
}
