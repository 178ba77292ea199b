//! Which of two tellings of a device is the newer, and what a shadow keeps of each.
//!
//! Pure. *Newer* means later in the order of the agent's records, never by a clock.

use std::collections::BTreeMap;

use lockgate_proto::ids::{AgentName, MetricName, Tag};
use lockgate_proto::time::UnixMicros;

use super::types::ReadingOrder;

/// Most metrics that one device's shadow keeps; at one more, those that were silent longest are forgotten.
pub(crate) const METRICS_PER_DEVICE_MAX: usize = 4_096;

/// So many are forgotten at once: whoever has ever-new names pays for the search once in so many, and not all
/// others for each of them.
const FORGOTTEN_AT_ONCE: usize = METRICS_PER_DEVICE_MAX / 4;

/// The record that tells something of its device.
#[derive(Clone, Debug)]
pub(crate) struct Teller<'a> {
    /// Whose record it is.
    pub(crate) agent: &'a AgentName,
    /// Where it stands among those of that agent.
    pub(crate) order: ReadingOrder,
    /// Taken before the agent's present connection.
    pub(crate) backlog: bool,
    /// When the gateway received it.
    pub(crate) received_at: UnixMicros,
}

/// What is told. `V` is a reading in whatever form the engine keeps it.
#[derive(Clone, Debug)]
pub(crate) enum Told<V> {
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
        /// Gone, and nobody said so but its silence.
        stale: bool,
        /// When that was told.
        at: UnixMicros,
    },
    /// The device is what this says.
    Described {
        /// By what it can be selected.
        tags: Vec<Tag>,
        /// The whole description.
        value: V,
    },
}

/// One metric's place in a shadow.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Slot<V> {
    /// Where its record stands among those of the agent.
    pub(crate) order: ReadingOrder,
    /// When the gateway received it.
    pub(crate) received_at: UnixMicros,
    /// The value.
    pub(crate) value: V,
}

/// What is known of one device.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Shadow<V> {
    /// The agent whose order counts.
    pub(crate) agent: AgentName,
    /// Whether the device is there.
    pub(crate) online: Option<bool>,
    /// It is not, and nobody said so but its silence.
    pub(crate) stale: bool,
    /// Where the record that said so stands.
    pub(crate) presence_order: ReadingOrder,
    /// The latest sign of life.
    pub(crate) last_seen: Option<UnixMicros>,
    /// By metric. LIMIT: [`METRICS_PER_DEVICE_MAX`].
    pub(crate) metrics: BTreeMap<MetricName, Slot<V>>,
    /// Where the record stands that described the device.
    pub(crate) described_order: ReadingOrder,
    /// What that record said of its tags.
    pub(crate) tags: Vec<Tag>,
    /// The whole of it, until the engine has taken it: it is large, and nobody decides by it.
    pub(crate) described: Option<V>,
}

impl<V> Shadow<V> {
    /// Nothing but who tells.
    pub(crate) fn new(agent: AgentName) -> Shadow<V> {
        Shadow {
            agent,
            online: None,
            stale: false,
            presence_order: ReadingOrder::default(),
            last_seen: None,
            metrics: BTreeMap::new(),
            described_order: ReadingOrder::default(),
            tags: Vec::new(),
            described: None,
        }
    }

    /// Takes over what is newer than what is known; says whether it was.
    pub(crate) fn apply(&mut self, teller: &Teller<'_>, told: Told<V>) -> bool {
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
            Told::Online { online, stale, at } => {
                if teller.order < self.presence_order {
                    return false;
                }
                self.presence_order = teller.order;
                self.online = Some(online);
                self.stale = stale && !online;
                if online {
                    self.seen(at.min(teller.received_at));
                }
                true
            }
            Told::Described { tags, value } => {
                if teller.order < self.described_order {
                    return false;
                }
                self.described_order = teller.order;
                self.tags = tags;
                self.described = Some(value);
                true
            }
        }
    }

    fn hand_over(&mut self, agent: AgentName) {
        self.agent = agent;
        self.presence_order = ReadingOrder::default();
        self.described_order = ReadingOrder::default();
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
            self.forget_silent();
        }
        self.metrics.insert(metric, slot);
        true
    }

    fn forget_silent(&mut self) {
        let mut ages: Vec<_> = self.metrics.iter().map(|(metric, slot)| (slot.received_at, metric)).collect();
        let (silent, ..) = ages.select_nth_unstable(FORGOTTEN_AT_ONCE);
        let silent: Vec<MetricName> = silent.iter().map(|(_, metric)| (*metric).clone()).collect();
        for metric in &silent {
            self.metrics.remove(metric);
        }
    }

    fn seen(&mut self, at: UnixMicros) {
        self.last_seen = self.last_seen.max(Some(at));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn metric(at: usize) -> MetricName {
        MetricName::new(format!("metric-{at}")).unwrap()
    }

    fn tell(shadow: &mut Shadow<usize>, agent: &AgentName, order: ReadingOrder, told: Told<usize>) {
        let teller = Teller {
            agent,
            order,
            backlog: order.seq.is_multiple_of(2),
            received_at: UnixMicros(order.seq.cast_signed()),
        };
        shadow.apply(&teller, told);
    }

    proptest! {
        #[test]
        fn whatever_the_order_of_arrival_the_newest_of_each_metric_stays(
            records in prop::collection::vec((0u64..3, 0usize..4), 1..40).prop_shuffle(),
            arrival in prop::collection::vec(any::<prop::sample::Index>(), 0..60),
        ) {
            let agent = AgentName::new("pi").unwrap();
            let order = |at: usize| ReadingOrder { epoch_order: records[at].0, seq: at as u64 };
            let mut shadow = Shadow::new(agent.clone());
            // Any order, some of them twice, and at last all that are missing.
            let arrivals = arrival.iter().map(|at| at.index(records.len())).chain(0..records.len());
            for at in arrivals {
                let value = Told::Metric { metric: metric(records[at].1), sampled_at: UnixMicros(0), value: at };
                tell(&mut shadow, &agent, order(at), value);
                tell(&mut shadow, &agent, order(at), Told::Online { online: at % 3 == 0, stale: false, at: UnixMicros(0) });
                tell(&mut shadow, &agent, order(at), Told::Described { tags: Vec::new(), value: at });
            }
            let mut newest = BTreeMap::new();
            for (at, (_, of)) in records.iter().enumerate() {
                let best = newest.entry(metric(*of)).or_insert(at);
                if order(*best) < order(at) {
                    *best = at;
                }
            }
            let kept: BTreeMap<_, _> = shadow.metrics.iter().map(|(metric, slot)| (metric.clone(), slot.value)).collect();
            prop_assert_eq!(kept, newest);
            let last = (0..records.len()).max_by_key(|at| order(*at)).unwrap();
            prop_assert_eq!(shadow.online, Some(last % 3 == 0));
            prop_assert_eq!(shadow.described, Some(last));
        }
    }

    #[test]
    fn a_device_of_endless_metrics_forgets_those_silent_longest_many_at_a_time() {
        let agent = AgentName::new("pi").unwrap();
        let mut shadow = Shadow::new(agent.clone());
        let mut searches = 0;
        for at in 0..3 * METRICS_PER_DEVICE_MAX {
            let order = ReadingOrder { epoch_order: 1, seq: at as u64 };
            let before = shadow.metrics.len();
            let value = Told::Metric { metric: metric(at), sampled_at: UnixMicros(0), value: at };
            tell(&mut shadow, &agent, order, value);
            let kept = shadow.metrics.len();
            assert!(kept <= METRICS_PER_DEVICE_MAX);
            if kept <= before {
                searches += 1;
                assert_eq!(kept, METRICS_PER_DEVICE_MAX - FORGOTTEN_AT_ONCE + 1);
                let oldest = at - METRICS_PER_DEVICE_MAX + FORGOTTEN_AT_ONCE;
                assert!(shadow.metrics.values().all(|slot| slot.value >= oldest), "a newer one was forgotten");
            }
        }
        assert_eq!(searches, 8, "one search for each quarter beyond the bound");
    }
}
