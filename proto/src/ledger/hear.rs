//! What a Hello tells a ledger: which epochs are over, how they ended, and what has vanished without a word.

use super::Ledger;
use crate::gap::{Gap, GapReason, TimeSpan};
use crate::limits::{LEDGER_EPOCHS_KEPT, LEDGER_EPOCHS_RETIRED_MAX};
use crate::link::frame::EpochHeld;
use crate::ranges::SeqRange;
use crate::seq::{Epoch, Lane, Seq};
use crate::time::UnixMicros;

/// A Hello that can't be true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HearError {
    /// The current epoch's numbers went back: a running machine was copied or put back, and numbers
    /// would be given twice.
    #[error("numbers of the current epoch went back from {known} to {told} in lane {lane}")]
    WentBack {
        /// The lane.
        lane: Lane,
        /// The highest number that the ledger knows of.
        known: Seq,
        /// The highest number by the Hello.
        told: Seq,
    },
    /// A gap with an open end in an epoch to which the agent still adds.
    #[error("a gap of the current epoch has an open end")]
    OpenEnd,
}

/// What a Hello changed in what is told as lost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Lost, and not told before.
    pub lost: Vec<Gap>,
    /// Told as lost, and never given: how an epoch ended is known now.
    pub withdrawn: Vec<Gap>,
}

impl Ledger {
    /// Takes in what a Hello says the agent holds, and its gaps.
    ///
    /// Numbers that the agent has given, by what the ledger knows, and of which the agent no longer
    /// knows, are `wiped`. What it knows of and does not hold it will tell itself.
    pub fn hear(&mut self, held: &[EpochHeld], gaps: &[Gap], now: UnixMicros) -> Result<Heard, HearError> {
        let Some((current, past)) = held.split_last() else { return Ok(Heard::default()) };
        for lane in Lane::ALL {
            let (known, told) = (self.last(current.epoch, lane), current.lane(lane).last);
            if told < known {
                return Err(HearError::WentBack { lane, known, told });
            }
            self.note_last(current.epoch, lane, told);
        }
        if gaps.iter().any(|gap| gap.epoch == current.epoch && gap.is_unbounded()) {
            return Err(HearError::OpenEnd);
        }
        // Before its own gaps: one of those may have an open end for a better reason.
        let withdrawn = past.iter().flat_map(|held| self.end_wiped(held)).collect();
        let mut lost: Vec<Gap> = gaps.iter().flat_map(|gap| self.lose(gap)).collect();
        for epoch in self.epochs.iter().map(|epoch| epoch.epoch).collect::<Vec<_>>() {
            if epoch != current.epoch {
                lost.extend(self.close(epoch, past.iter().find(|held| held.epoch == epoch), now));
            }
        }
        self.retire(held);
        Ok(Heard { lost, withdrawn })
    }

    /// An epoch taken for wiped, because another holder of the identity did not know it, is here again.
    fn end_wiped(&mut self, held: &EpochHeld) -> Vec<Gap> {
        let Some(ledger) = self.epoch_mut(held.epoch) else { return Vec::new() };
        let lanes = Lane::ALL.into_iter();
        let ended = lanes.filter_map(|lane| Some((lane, ledger.lanes[lane.index()].end_wiped(held.lane(lane).last)?)));
        ended.map(|(lane, gap)| gap.of(held.epoch, lane)).collect()
    }

    /// Closes an epoch of the agent's past; `held` is `None` where the Hello does not name it.
    fn close(&mut self, epoch: Epoch, held: Option<&EpochHeld>, now: UnixMicros) -> Vec<Gap> {
        let mut news = Vec::new();
        let was_closed = self.epoch_mut(epoch).is_none_or(|ledger| std::mem::replace(&mut ledger.closed, true));
        for lane in Lane::ALL {
            let known = self.last(epoch, lane);
            let told = held.map_or(Seq::NONE, |held| held.lane(lane).last);
            self.note_last(epoch, lane, told);
            // Where the ledger never heard the end, more numbers may have been given than it knows of.
            let end = if was_closed { known } else { Seq::MAX };
            let vanished = held.is_none() || told < known;
            let range = SeqRange::new(told.next(), end).filter(|_| vanished);
            if let Some(range) = range {
                let span = TimeSpan { from: None, to: Some(now) };
                news.extend(self.lose(&Gap { epoch, lane, range, reason: GapReason::Wiped, span }));
            }
        }
        news
    }

    /// Gives up the details of epochs that the agent no longer holds and of which nothing is open; the
    /// youngest few are kept, so that a late arrival can still withdraw a gap.
    fn retire(&mut self, held: &[EpochHeld]) {
        let gone = |epoch: Epoch| held.iter().all(|held| held.epoch != epoch);
        let over: Vec<Epoch> = self
            .epochs
            .iter()
            .filter(|ledger| gone(ledger.epoch) && ledger.is_settled())
            .map(|ledger| ledger.epoch)
            .collect();
        for epoch in over.iter().take(over.len().saturating_sub(LEDGER_EPOCHS_KEPT)) {
            let Some(at) = self.epochs.iter().position(|ledger| ledger.epoch == *epoch) else { continue };
            let ledger = self.epochs.remove(at);
            self.folded = ledger.lanes.iter().fold(self.folded, |sum, lane| sum.plus(&lane.totals()));
            self.retired.push(ledger.epoch);
        }
        // An epoch that the agent still names must not be forgotten: its records would count as new.
        let mut excess = self.retired.len().saturating_sub(LEDGER_EPOCHS_RETIRED_MAX);
        self.retired.retain(|epoch| {
            let forget = excess > 0 && gone(*epoch);
            excess -= usize::from(forget);
            !forget
        });
    }
}
