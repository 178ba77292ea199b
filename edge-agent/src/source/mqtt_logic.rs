//! Decides when a message of a broker is acknowledged, and whether it may have come before.
//!
//! Pure. A broker holds what we have not acknowledged and sends it again after a reconnect; an
//! acknowledgement too early is a reading lost with the power, one too late stalls its window.

use std::collections::VecDeque;

use lockgate_proto::seq::Seq;

/// Record numbers by [`lockgate_proto::seq::Lane::index`]: what a message needs to be on disk, or what is.
pub type LaneSeqs = [Seq; 2];

/// Which of a connection's messages may be acknowledged: in the order in which they came, each only
/// when all that was made of it is on disk.
#[derive(Debug)]
pub struct AckOrder {
    /// The oldest first.
    waiting: VecDeque<Waiting>,
    window: usize,
}

#[derive(Debug)]
struct Waiting {
    packet: u16,
    needs: LaneSeqs,
}

impl AckOrder {
    /// For a broker that has at most `window` messages under way.
    pub fn new(window: usize) -> AckOrder {
        AckOrder { waiting: VecDeque::new(), window }
    }

    /// A message came under this packet id, and this is the last record that was made of it in each lane.
    pub fn arrived(&mut self, packet: u16, needs: LaneSeqs) {
        self.waiting.push_back(Waiting { packet, needs });
    }

    /// The packet id to acknowledge next, if what is on disk allows one. It stays until
    /// [`AckOrder::acknowledged`].
    pub fn next(&self, durable: LaneSeqs) -> Option<u16> {
        self.waiting.front().filter(|front| is_durable(front.needs, durable)).map(|front| front.packet)
    }

    /// What [`AckOrder::next`] gave is on its way to the broker.
    pub fn acknowledged(&mut self) {
        self.waiting.pop_front();
    }

    /// Half of the broker's window waits for the disk: it should not wait for the regular sync.
    pub fn sync_is_due(&self, durable: LaneSeqs) -> bool {
        let waiting = self.waiting.len();
        waiting > 0 && waiting * 2 >= self.window && self.waiting.iter().any(|one| !is_durable(one.needs, durable))
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

fn is_durable(needs: LaneSeqs, durable: LaneSeqs) -> bool {
    needs.iter().zip(durable).all(|(needed, durable)| *needed <= durable)
}

/// How a broker marks what it sends again after a reconnect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redelivery {
    /// By the DUP flag and under the same packet id, as the standard asks.
    Marked,
    /// Not at all (`rumqttd`): what comes first on a resumed session and stands in the queue's tail came before.
    Unmarked,
}

/// LIMIT: so many messages at the start of a resumed session may be unmarked repeats. `rumqttd` has at
/// most 100 under way.
const REPEATS_MAX: usize = 128;

/// Which messages are to be looked up in the queue's tail.
#[derive(Debug)]
pub struct RedeliveryWatch {
    mode: Redelivery,
    /// Only for [`Redelivery::Unmarked`]: so many more messages of this connection may be repeats.
    unmarked_left: usize,
    /// Digests that a repeat on this connection has had. Each stands for one message that came before;
    /// the next one of the same words is another.
    matched: Vec<u64>,
}

impl RedeliveryWatch {
    /// For a broker of this kind.
    pub fn new(mode: Redelivery) -> RedeliveryWatch {
        RedeliveryWatch { mode, unmarked_left: 0, matched: Vec::new() }
    }

    /// A connection begins; the broker says whether it remembers us.
    pub fn connected(&mut self, session_present: bool) {
        self.unmarked_left = if session_present && self.mode == Redelivery::Unmarked { REPEATS_MAX } else { 0 };
        self.matched.clear();
    }

    /// Whether the next message of quality of service 1 may have come before.
    pub fn suspects(&mut self, dup: bool) -> bool {
        let unmarked = self.unmarked_left > 0;
        self.unmarked_left = self.unmarked_left.saturating_sub(1);
        dup || unmarked
    }

    /// Whether a digest can still be that of a repeat.
    pub fn may_match(&self, digest: u64) -> bool {
        !self.matched.contains(&digest)
    }

    /// A repeat had this digest.
    pub fn has_matched(&mut self, digest: u64) {
        if self.matched.len() < REPEATS_MAX {
            self.matched.push(digest);
        }
    }

    /// What of the packet id counts for a message's digest: a repeat has the same one, where the broker
    /// keeps to the standard; then two messages of the same words are not taken for one another.
    pub fn digest_packet(&self, packet: u16) -> u16 {
        match self.mode {
            Redelivery::Marked => packet,
            Redelivery::Unmarked => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seqs(events: u64, telemetry: u64) -> LaneSeqs {
        [Seq::new(events), Seq::new(telemetry)]
    }

    fn drain(order: &mut AckOrder, durable: LaneSeqs) -> Vec<u16> {
        let mut acked = Vec::new();
        while let Some(packet) = order.next(durable) {
            acked.push(packet);
            order.acknowledged();
        }
        acked
    }

    #[test]
    fn a_message_of_both_lanes_waits_for_both() {
        let mut order = AckOrder::new(20);
        order.arrived(7, seqs(1, 2));
        assert_eq!(order.next(seqs(1, 1)), None);
        assert_eq!(order.next(seqs(0, 2)), None);
        assert_eq!(drain(&mut order, seqs(1, 2)), [7]);
    }

    #[test]
    fn a_message_that_gave_nothing_waits_for_those_before_it_only() {
        let mut order = AckOrder::new(20);
        order.arrived(1, seqs(0, 5));
        order.arrived(2, seqs(0, 0));
        assert_eq!(order.next(seqs(0, 4)), None);
        assert_eq!(drain(&mut order, seqs(0, 5)), [1, 2]);
    }

    #[test]
    fn a_sync_is_due_when_half_of_the_window_waits_for_the_disk() {
        let mut order = AckOrder::new(4);
        order.arrived(1, seqs(0, 1));
        assert!(!order.sync_is_due(seqs(0, 0)));
        order.arrived(2, seqs(0, 2));
        assert!(order.sync_is_due(seqs(0, 0)));
        assert!(!order.sync_is_due(seqs(0, 2)));
    }

    #[test]
    fn unmarked_repeats_are_suspected_only_at_the_start_of_a_resumed_session() {
        let mut watch = RedeliveryWatch::new(Redelivery::Unmarked);
        watch.connected(false);
        assert!(!watch.suspects(false));
        watch.connected(true);
        assert!((0..REPEATS_MAX).all(|_| watch.suspects(false)));
        assert!(!watch.suspects(false));
        assert!(watch.suspects(true));
    }

    #[test]
    fn a_digest_stands_for_one_repeat_on_each_connection() {
        let mut watch = RedeliveryWatch::new(Redelivery::Unmarked);
        watch.connected(true);
        assert!(watch.may_match(7));
        watch.has_matched(7);
        assert!(!watch.may_match(7));
        watch.connected(true);
        assert!(watch.may_match(7));
    }

    #[test]
    fn a_broker_that_marks_repeats_is_believed() {
        let mut watch = RedeliveryWatch::new(Redelivery::Marked);
        watch.connected(true);
        assert!(!watch.suspects(false));
        assert!(watch.suspects(true));
    }

    proptest! {
        #[test]
        fn acknowledgements_keep_the_order_of_arrival_and_wait_for_the_disk(
            steps in prop::collection::vec((any::<bool>(), 0u64..4), 0..80),
        ) {
            let mut order = AckOrder::new(20);
            let (mut came, mut acked) = (Vec::new(), Vec::new());
            let (mut last, mut durable) = (0, 0);
            for (message, count) in steps {
                if message {
                    last += count;
                    came.push(last);
                    order.arrived(u16::try_from(came.len()).unwrap(), seqs(0, last));
                } else {
                    durable = last.min(durable + count);
                    acked.extend(drain(&mut order, seqs(0, durable)));
                }
                prop_assert!(acked.iter().enumerate().all(|(at, packet)| usize::from(*packet) == at + 1));
                prop_assert!(came[..acked.len()].iter().all(|needed| *needed <= durable));
            }
            acked.extend(drain(&mut order, seqs(0, last)));
            prop_assert_eq!(acked.len(), came.len());
            prop_assert!(order.is_empty());
        }
    }
}
