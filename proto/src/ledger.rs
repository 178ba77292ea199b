//! What the backbone knows of one agent: who may write, what is stored, what is lost.
//!
//! A ledger is one value. A session takes it at its Hello, and every step of the session replaces it,
//! in the same atomic write as the entries: so ledger and log never disagree. Everything here is
//! idempotent: a number is stored once, and lost only if it is not stored.

mod hear;
mod lane;

use crate::convert::{ConvertError, ledger_from_bytes, ledger_to_bytes};
use crate::gap::Gap;
use crate::ids::SessionId;
use crate::loss::Totals;
use crate::ranges::{RangeSet, SeqRange};
use crate::seq::{Epoch, Lane, Seq};

pub use hear::{HearError, Heard};
pub(crate) use lane::{LaneGap, LaneLedger};

/// Order of the first epoch that a ledger hears of. Far from 0, because an epoch first heard of after a
/// later one gets an order below all others'.
const ORDER_FIRST: u64 = 1 << 32;

/// What the backbone knows of one agent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ledger {
    pub(crate) session: Option<SessionId>,
    /// Stands for all sessions so far and how far each came: equal claims, equal histories.
    pub(crate) claim: u64,
    pub(crate) step: u64,
    /// INVARIANT: ascending by `order`; the last one is the latest.
    pub(crate) epochs: Vec<EpochLedger>,
    /// Oldest first.
    pub(crate) retired: Vec<Epoch>,
    pub(crate) folded: Totals,
}

/// One start of the agent.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct EpochLedger {
    pub(crate) epoch: Epoch,
    pub(crate) order: u64,
    /// The agent has named it as one of its past: nothing will be added.
    pub(crate) closed: bool,
    pub(crate) lanes: [LaneLedger; 2],
}

/// The Hello's current epoch is not the latest one: two holders of one identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the agent's current epoch has been superseded by a later one")]
pub struct Superseded;

/// What a backbone must do with a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fence {
    /// Write it.
    Apply,
    /// It is written already: answer "done".
    Repeat,
    /// Write nothing; the session is over.
    Refuse,
}

/// What became of a record that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// Not seen before: log it.
    New,
    /// It had been told as lost by a gap of this reason and span: withdraw that, and log it.
    Withdraws(Gap),
    /// Known already: log nothing.
    Known,
}

impl Ledger {
    /// The ledger of an agent that nobody has heard of.
    pub fn new() -> Ledger {
        Ledger::default()
    }

    /// Gives the ledger to a session, and an order to each epoch that is new. `epochs` are those of the
    /// Hello: oldest first, the current one last. Repeating the same call changes nothing; where another
    /// session came between, it is a new claim, and no step made under the old one is applied any more.
    pub fn open_session(&mut self, session: SessionId, epochs: &[Epoch]) -> Result<(), Superseded> {
        let Some(current) = epochs.last() else { return Err(Superseded) };
        let latest = self.epochs.last().map(|epoch| epoch.epoch);
        if self.knows(*current) && latest != Some(*current) {
            return Err(Superseded);
        }
        self.number(epochs, latest);
        if self.session != Some(session) {
            self.claim = mixed(mixed(self.claim, self.step), session.0);
            self.session = Some(session);
            self.step = 0;
        }
        Ok(())
    }

    /// The session that may write.
    pub fn session(&self) -> Option<SessionId> {
        self.session
    }

    /// Session (0: none), claim and step, by which [`Ledger::fence`] decides: for an engine whose store does.
    pub fn mark(&self) -> (u64, u64, u64) {
        (self.session.map_or(0, |session| session.0), self.claim, self.step)
    }

    /// Whether `next`, the ledger of a step, may take the place of this one.
    ///
    /// The claim matters where a request can run again long after it was answered: it fences the steps
    /// of a session that was opened twice, once before and once after another one.
    pub fn fence(&self, next: &Ledger) -> Fence {
        if self.session.is_none() || (self.session, self.claim) != (next.session, next.claim) {
            return Fence::Refuse;
        }
        match next.step.checked_sub(self.step) {
            Some(1) => Fence::Apply,
            Some(0) if self.step > 0 => Fence::Repeat,
            Some(_) | None => Fence::Refuse,
        }
    }

    /// Place of an epoch among those of its agent; larger is newer. `None`: never heard of, or retired.
    pub fn order(&self, epoch: Epoch) -> Option<u64> {
        self.epoch(epoch).map(|epoch| epoch.order)
    }

    /// The epochs that are known in detail, the oldest first.
    pub fn epochs(&self) -> Vec<Epoch> {
        self.epochs.iter().map(|epoch| epoch.epoch).collect()
    }

    /// Whether the epoch was ever heard of, as far as the ledger remembers.
    pub fn knows(&self, epoch: Epoch) -> bool {
        self.epoch(epoch).is_some() || self.retired.contains(&epoch)
    }

    /// What needs no sending: stored, lost, or in a retired epoch.
    pub fn settled(&self, epoch: Epoch, lane: Lane) -> RangeSet {
        match self.epoch(epoch) {
            Some(epoch) => epoch.lanes[lane.index()].settled.clone(),
            None if self.retired.contains(&epoch) => SeqRange::new(Seq::FIRST, Seq::MAX).into_iter().collect(),
            None => RangeSet::new(),
        }
    }

    /// What is told as lost and would be stored all the same, should it come.
    pub fn missed(&self, epoch: Epoch, lane: Lane) -> RangeSet {
        let gaps = self.epoch(epoch).into_iter().flat_map(|epoch| &epoch.lanes[lane.index()].gaps);
        gaps.filter(|gap| gap.reason.may_come_back()).map(|gap| gap.range).collect()
    }

    /// What is in the log, as far as it is still known in detail.
    pub fn stored(&self, epoch: Epoch, lane: Lane) -> RangeSet {
        self.epoch(epoch).map(|epoch| epoch.lanes[lane.index()].stored.clone()).unwrap_or_default()
    }

    /// The highest number known to have been given.
    pub fn last(&self, epoch: Epoch, lane: Lane) -> Seq {
        self.epoch(epoch).map_or(Seq::NONE, |epoch| epoch.lanes[lane.index()].last)
    }

    /// All gaps that are still known in detail, oldest epoch first.
    pub fn gaps(&self) -> Vec<Gap> {
        let lanes = self.epochs.iter().flat_map(|epoch| Lane::ALL.map(|lane| (epoch, lane)));
        lanes
            .flat_map(|(epoch, lane)| epoch.lanes[lane.index()].gaps.iter().map(move |gap| gap.of(epoch.epoch, lane)))
            .collect()
    }

    /// The loss ledger's sums over all that the agent ever did.
    pub fn totals(&self) -> Totals {
        let lanes = self.epochs.iter().flat_map(|epoch| &epoch.lanes);
        lanes.fold(self.folded, |sum, lane| sum.plus(&lane.totals()))
    }

    /// Whether a record is still to be stored: it is not, and its epoch is not over.
    pub fn wants(&self, epoch: Epoch, lane: Lane, seq: Seq) -> bool {
        self.epoch(epoch).is_some_and(|epoch| epoch.lanes[lane.index()].wants(seq))
    }

    /// Notes a record. In an epoch that is retired or was never heard of, all counts as known.
    pub fn store(&mut self, epoch: Epoch, lane: Lane, seq: Seq) -> Stored {
        match self.epoch_mut(epoch) {
            Some(ledger) => match ledger.lanes[lane.index()].store(seq) {
                lane::LaneStored::New => Stored::New,
                lane::LaneStored::Known => Stored::Known,
                lane::LaneStored::Withdraws(gap) => Stored::Withdraws(gap.of(epoch, lane)),
            },
            None => Stored::Known,
        }
    }

    /// Notes a loss; gives back what of it is news: neither stored nor lost before.
    pub fn lose(&mut self, gap: &Gap) -> Vec<Gap> {
        let Some(ledger) = self.epoch_mut(gap.epoch) else { return Vec::new() };
        let news =
            ledger.lanes[gap.lane.index()].lose(LaneGap { range: gap.range, reason: gap.reason, span: gap.span });
        news.into_iter().map(|range| Gap { range, ..*gap }).collect()
    }

    /// Notes the highest number that the agent says it has given.
    pub fn note_last(&mut self, epoch: Epoch, lane: Lane, last: Seq) {
        if let Some(ledger) = self.epoch_mut(epoch) {
            let lane = &mut ledger.lanes[lane.index()];
            lane.last = lane.last.max(last);
        }
    }

    /// How many ranges the settled set of a lane has.
    pub fn range_count(&self, epoch: Epoch, lane: Lane) -> usize {
        self.epoch(epoch).map_or(0, |epoch| epoch.lanes[lane.index()].settled.ranges().len())
    }

    /// The form in which a backbone stores it.
    pub fn to_bytes(&self) -> Vec<u8> {
        ledger_to_bytes(self)
    }

    /// The ledger that was stored.
    pub fn from_bytes(bytes: &[u8]) -> Result<Ledger, ConvertError> {
        ledger_from_bytes(bytes)
    }

    pub(crate) fn advance(&mut self) -> u64 {
        self.step += 1;
        self.step
    }

    fn epoch(&self, epoch: Epoch) -> Option<&EpochLedger> {
        self.epochs.iter().find(|ledger| ledger.epoch == epoch)
    }

    fn epoch_mut(&mut self, epoch: Epoch) -> Option<&mut EpochLedger> {
        self.epochs.iter_mut().find(|ledger| ledger.epoch == epoch)
    }

    /// An epoch that follows the latest one in the Hello is newer than all. One that does not, while
    /// later ones are known, is older: whatever it brings must not overwrite a newer shadow.
    fn number(&mut self, epochs: &[Epoch], latest: Option<Epoch>) {
        let newer_from = match latest {
            None => 0,
            Some(latest) => {
                epochs.iter().position(|epoch| *epoch == latest).map_or(epochs.len().saturating_sub(1), |at| at + 1)
            }
        };
        let (older, newer) = epochs.split_at(newer_from);
        for epoch in older.iter().rev().filter(|epoch| !self.knows(**epoch)).collect::<Vec<_>>() {
            let order = self.epochs.first().map_or(ORDER_FIRST, |first| first.order.saturating_sub(1));
            self.epochs.insert(0, EpochLedger::new(*epoch, order));
        }
        for epoch in newer.iter().filter(|epoch| !self.knows(**epoch)).collect::<Vec<_>>() {
            let order = self.epochs.last().map_or(ORDER_FIRST, |last| last.order.saturating_add(1));
            self.epochs.push(EpochLedger::new(*epoch, order));
        }
    }
}

/// A 64-bit mix in which every bit of either input reaches every bit of the result (SplitMix64's finish).
const fn mixed(sum: u64, more: u64) -> u64 {
    let mut word = sum.rotate_left(23).wrapping_add(more).wrapping_add(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

impl EpochLedger {
    fn new(epoch: Epoch, order: u64) -> EpochLedger {
        EpochLedger { epoch, order, closed: false, lanes: [LaneLedger::default(), LaneLedger::default()] }
    }

    /// Nothing of it can come any more, by all that is known.
    fn is_settled(&self) -> bool {
        self.closed && self.lanes.iter().all(|lane| lane.totals().pending == 0)
    }
}

#[cfg(test)]
mod tests;
