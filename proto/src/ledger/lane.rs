//! One lane of one epoch: which numbers are stored, which are lost, and why.

use crate::gap::{Gap, GapReason, TimeSpan};
use crate::limits::LEDGER_GAPS_KEPT;
use crate::loss::{Lost, Totals};
use crate::ranges::{RangeSet, SeqRange};
use crate::seq::{Epoch, Lane, Seq};

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct LaneLedger {
    /// The highest number known to have been given.
    pub(crate) last: Seq,
    pub(crate) stored: RangeSet,
    /// INVARIANT: ascending; no two overlap, and none overlaps `stored` or `folded`.
    pub(crate) gaps: Vec<LaneGap>,
    /// Settled, and known only by its sums.
    pub(crate) folded: RangeSet,
    pub(crate) folded_totals: Totals,
    /// INVARIANT: the union of `stored`, `gaps` and `folded`.
    pub(crate) settled: RangeSet,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LaneGap {
    pub(crate) range: SeqRange,
    pub(crate) reason: GapReason,
    pub(crate) span: TimeSpan,
}

pub(super) enum LaneStored {
    New,
    Withdraws(LaneGap),
    Known,
}

impl LaneGap {
    pub(crate) fn of(&self, epoch: Epoch, lane: Lane) -> Gap {
        Gap { epoch, lane, range: self.range, reason: self.reason, span: self.span }
    }

    fn lost(&self, last: Seq) -> Lost {
        let known = SeqRange::new(Seq::FIRST, last).and_then(|given| given.intersection(self.range));
        Lost { records: known.map_or(0, SeqRange::count), unbounded: u64::from(self.range.last() == Seq::MAX) }
    }
}

impl LaneLedger {
    pub(super) fn wants(&self, seq: Seq) -> bool {
        Seq::NONE < seq && seq < Seq::MAX && !self.stored.contains(seq) && !self.folded.contains(seq)
    }

    pub(super) fn store(&mut self, seq: Seq) -> LaneStored {
        let Some(one) = SeqRange::one(seq).filter(|_| self.wants(seq)) else { return LaneStored::Known };
        self.last = self.last.max(seq);
        self.stored.insert(one);
        if self.settled.insert(one) {
            return LaneStored::New;
        }
        let at = self.gaps.partition_point(|gap| gap.range.last() < seq);
        let gap = self.gaps[at];
        let rest = RangeSet::from(gap.range).difference(&one.into());
        self.gaps.splice(at..=at, rest.ranges().iter().map(|range| LaneGap { range: *range, ..gap }));
        self.fold_details();
        LaneStored::Withdraws(LaneGap { range: one, ..gap })
    }

    /// Gives back the parts of the range that are news.
    pub(super) fn lose(&mut self, gap: LaneGap) -> Vec<SeqRange> {
        let news = self.settled.missing_in(gap.range).ranges().to_vec();
        for range in &news {
            if range.last() != Seq::MAX {
                self.last = self.last.max(range.last());
            }
            self.settled.insert(*range);
            self.add_gap(LaneGap { range: *range, ..gap });
        }
        self.fold_details();
        news
    }

    /// Ends a `wiped` gap that has an open end, now that the last number given is told; gives back what
    /// was told as lost and never was. Whoever knows less than the ledger does not know the end.
    pub(super) fn end_wiped(&mut self, last: Seq) -> Option<LaneGap> {
        let open = self
            .gaps
            .pop_if(|gap| gap.range.last() == Seq::MAX && gap.reason == GapReason::Wiped && last >= self.last)?;
        let never = SeqRange::new(last.next().max(open.range.first()), Seq::MAX)?;
        self.gaps.extend(SeqRange::new(open.range.first(), last).map(|range| LaneGap { range, ..open }));
        self.settled.remove(never);
        self.last = last;
        Some(LaneGap { range: never, ..open })
    }

    fn add_gap(&mut self, gap: LaneGap) {
        let at = self.gaps.partition_point(|other| other.range.last() < gap.range.first());
        self.gaps.insert(at, gap);
        self.merge_with_next(at);
        if at > 0 {
            self.merge_with_next(at - 1);
        }
    }

    fn merge_with_next(&mut self, at: usize) {
        let (Some(left), Some(right)) = (self.gaps.get(at).copied(), self.gaps.get(at + 1).copied()) else { return };
        let Some(range) = SeqRange::new(left.range.first(), right.range.last()) else { return };
        if left.reason == right.reason && left.range.last().next() == right.range.first() {
            self.gaps[at] = LaneGap { range, reason: left.reason, span: left.span.hull(right.span) };
            self.gaps.remove(at + 1);
        }
    }

    pub(super) fn totals(&self) -> Totals {
        let given = SeqRange::new(Seq::FIRST, self.last);
        let open = given.map_or(0, |given| self.settled.missing_in(given).count());
        let mut totals = self.folded_totals;
        totals.produced = self.last.get();
        totals.stored = totals.stored.saturating_add(self.stored.count());
        totals.pending = open;
        for gap in &self.gaps {
            totals.lose(gap.reason, gap.lost(self.last));
        }
        totals
    }

    /// Keeps the number of gaps bounded: of the older half only the sums stay.
    fn fold_details(&mut self) {
        if self.gaps.len() <= 2 * LEDGER_GAPS_KEPT {
            return;
        }
        let cut = self.gaps[self.gaps.len() - LEDGER_GAPS_KEPT].range.first().previous();
        let Some(below) = SeqRange::new(Seq::FIRST, cut) else { return };
        let stored = self.stored.intersection(&below.into());
        let mut folded = Totals { produced: stored.count(), stored: stored.count(), ..Totals::default() };
        self.folded.union_with(&stored);
        self.stored.remove(below);
        let kept = self.gaps.split_off(self.gaps.partition_point(|gap| gap.range.last() <= cut));
        for gap in std::mem::replace(&mut self.gaps, kept) {
            let lost = gap.lost(self.last);
            folded.produced = folded.produced.saturating_add(lost.records);
            folded.lose(gap.reason, lost);
            self.folded.insert(gap.range);
        }
        self.folded_totals = self.folded_totals.plus(&folded);
    }
}
