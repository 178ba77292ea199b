//! What is accounted for and what is not, lane by lane: pure sets.

use crate::gap::{Gap, GapReason, TimeSpan};
use crate::limits::SETTLED_RANGES_MAX;
use crate::link::frame::{EpochHeld, LaneHeld};
use crate::ranges::{RangeSet, SeqRange};
use crate::seq::{Epoch, Lane, Seq};

#[derive(Clone, Debug)]
pub(super) struct EpochState {
    pub(super) epoch: Epoch,
    pub(super) lanes: [LaneState; 2],
}

impl EpochState {
    pub(super) fn new(held: &EpochHeld, gaps: &[Gap]) -> EpochState {
        let lane = |lane: Lane| {
            let mut state = LaneState::new(held.epoch, lane, held.lane(lane));
            state.learn_gaps(gaps);
            state
        };
        EpochState { epoch: held.epoch, lanes: Lane::ALL.map(lane) }
    }
}

#[derive(Clone, Debug)]
pub(super) struct LaneState {
    pub(super) epoch: Epoch,
    pub(super) lane: Lane,
    /// The highest number given.
    pub(super) last: Seq,
    held: RangeSet,
    /// What the gateway says is stored or lost.
    pub(super) told: RangeSet,
    /// The Welcome's set was as long as can be told: above this number more may be settled than it said.
    pub(super) untold_above: Option<Seq>,
    /// `told`, and what was sent on this connection, records and gaps.
    pub(super) accounted: RangeSet,
    /// Losses still to be told. INVARIANT: ascending, apart, and apart from `accounted`.
    gaps: Vec<Gap>,
    /// The queue had nothing to give here; not before the next change or retry.
    pub(super) blocked: bool,
}

impl LaneState {
    fn new(epoch: Epoch, lane: Lane, held: &LaneHeld) -> LaneState {
        LaneState {
            epoch,
            lane,
            last: held.last,
            held: held.held.clone(),
            told: RangeSet::new(),
            untold_above: None,
            accounted: RangeSet::new(),
            gaps: Vec::new(),
            blocked: false,
        }
    }

    pub(super) fn appended(&mut self, seq: Seq) {
        if let Some(range) = SeqRange::new(self.last.next(), seq) {
            self.held.insert(range);
            self.last = seq;
        }
    }

    pub(super) fn queue_changed(&mut self, held: &LaneHeld) {
        self.held = held.held.clone();
        // Appended since the queue was asked: not missing, only not yet seen by that answer.
        self.held.extend(SeqRange::new(held.last.next(), self.last));
        self.last = self.last.max(held.last);
        self.blocked = false;
    }

    /// The gateway's truth at the start of a session.
    pub(super) fn welcomed(&mut self, settled: RangeSet) {
        self.untold_above = (settled.ranges().len() >= SETTLED_RANGES_MAX).then(|| settled.last());
        self.accounted = settled.clone();
        self.told = settled;
        let known = std::mem::take(&mut self.gaps);
        self.learn_gaps(&known);
    }

    /// What of an answer nobody can have stored: it was neither sent nor told before.
    pub(super) fn beyond(&self, settled: &RangeSet) -> RangeSet {
        let mut beyond = settled.difference(&self.accounted);
        let untold = self.untold_above.and_then(|above| SeqRange::new(above.next(), self.last));
        if let Some(untold) = untold {
            beyond.remove(untold);
        }
        beyond
    }

    /// Notes losses that the queue knows of.
    pub(super) fn learn_gaps(&mut self, gaps: &[Gap]) {
        for gap in gaps {
            self.add_gap(gap);
        }
    }

    /// Notes a loss, as far as it is neither accounted for nor known; says what is news.
    pub(super) fn add_gap(&mut self, gap: &Gap) -> Vec<Gap> {
        if (gap.epoch, gap.lane) != (self.epoch, self.lane) {
            return Vec::new();
        }
        let known: RangeSet = self.gaps.iter().map(|known| known.range).collect();
        let news = self.accounted.missing_in(gap.range).difference(&known);
        let news: Vec<Gap> = news.ranges().iter().map(|range| Gap { range: *range, ..*gap }).collect();
        self.gaps.extend_from_slice(&news);
        self.gaps.sort_unstable_by_key(|gap| gap.range);
        self.gaps.dedup_by(|right, left| {
            let range = SeqRange::new(left.range.first(), right.range.last());
            let joins = left.reason == right.reason && left.range.last().next() == right.range.first();
            if let Some(range) = range.filter(|_| joins) {
                *left = Gap { range, span: left.span.hull(right.span), ..*left };
            }
            joins
        });
        news
    }

    /// Numbers given of which nothing is on the disk and nobody has said why: they were
    /// acknowledged, then evicted, and now the gateway no longer knows them.
    pub(super) fn find_missing(&mut self) -> Vec<Gap> {
        let Some(given) = SeqRange::new(Seq::FIRST, self.last) else { return Vec::new() };
        let missing = self.accounted.missing_in(given).difference(&self.held);
        missing.ranges().iter().flat_map(|range| self.add_gap(&self.evicted(*range))).collect()
    }

    pub(super) fn evicted(&self, range: SeqRange) -> Gap {
        self.gap(range, GapReason::Evicted, TimeSpan::default())
    }

    pub(super) fn gap(&self, range: SeqRange, reason: GapReason, span: TimeSpan) -> Gap {
        Gap { epoch: self.epoch, lane: self.lane, range, reason, span }
    }

    /// Takes out up to `max` losses that may be told now, and counts them as accounted for.
    pub(super) fn take_gaps(&mut self, max: usize) -> Vec<Gap> {
        let mut taken = Vec::new();
        let mut kept = Vec::new();
        for gap in std::mem::take(&mut self.gaps) {
            if taken.len() < max && self.may_add(gap.range.first()) {
                self.accounted.insert(gap.range);
                taken.push(gap);
            } else {
                kept.push(gap);
            }
        }
        self.gaps = kept;
        taken
    }

    /// The lowest records within `within` that are to be sent, if they may be sent now.
    pub(super) fn to_send(&self, within: SeqRange) -> Option<SeqRange> {
        if self.blocked {
            return None;
        }
        let lost: RangeSet = self.gaps.iter().map(|gap| gap.range).collect();
        let open = self.accounted.missing_in(within).difference(&lost);
        open.ranges().first().copied().filter(|range| self.may_add(range.first()))
    }

    /// Whether the number can be accounted for without one range too many. The lowest hole always can,
    /// so the set shrinks again.
    fn may_add(&self, seq: Seq) -> bool {
        let below = seq.previous();
        below == Seq::NONE || self.accounted.contains(below) || self.accounted.ranges().len() < SETTLED_RANGES_MAX
    }

    /// Everything given is stored or told as lost, by the gateway's own word.
    pub(super) fn is_settled(&self) -> bool {
        self.gaps.is_empty() && SeqRange::new(Seq::FIRST, self.last).is_none_or(|given| self.told.contains_range(given))
    }
}
