//! The stored form of a ledger.

use prost::Message;

use super::basic::{
    instant_from_wire, instant_to_wire, lane_from_wire, lane_to_wire, range_from_wire, range_to_wire, reason_from_wire,
    reason_to_wire, set_from_wire, set_to_wire,
};
use super::{ConvertError, at_most};
use crate::gap::{GapReason, TimeSpan};
use crate::ids::SessionId;
use crate::ledger::{EpochLedger, LaneGap, LaneLedger, Ledger};
use crate::loss::{Lost, Totals};
use crate::seq::{Epoch, Lane, Seq};
use crate::wire;

pub(crate) fn ledger_to_bytes(ledger: &Ledger) -> Vec<u8> {
    let stored = wire::StoredLedger {
        session: ledger.session.map(|session| session.0),
        claim: ledger.claim,
        step: ledger.step,
        epochs: ledger.epochs.iter().map(epoch_to_wire).collect(),
        retired: ledger.retired.iter().map(|epoch| epoch.0).collect(),
        folded: Some(totals_to_wire(&ledger.folded)),
    };
    stored.encode_to_vec()
}

pub(crate) fn ledger_from_bytes(bytes: &[u8]) -> Result<Ledger, ConvertError> {
    let stored = wire::StoredLedger::decode(bytes)?;
    let ledger = Ledger {
        session: stored.session.map(SessionId),
        claim: stored.claim,
        step: stored.step,
        epochs: stored.epochs.into_iter().map(epoch_from_wire).collect::<Result<_, _>>()?,
        retired: stored.retired.into_iter().map(Epoch).collect(),
        folded: folded_from_wire(stored.folded)?,
    };
    if ledger.epochs.windows(2).any(|pair| pair[0].order >= pair[1].order) {
        return Err(ConvertError::Invalid { field: "epochs.order", problem: "does not ascend" });
    }
    Ok(ledger)
}

fn epoch_to_wire(epoch: &EpochLedger) -> wire::StoredEpoch {
    let lane = |lane: Lane| {
        let ledger = &epoch.lanes[lane.index()];
        wire::StoredLane {
            lane: lane_to_wire(lane),
            last: ledger.last.get(),
            stored: set_to_wire(&ledger.stored, usize::MAX),
            gaps: ledger.gaps.iter().map(gap_to_wire).collect(),
            folded: set_to_wire(&ledger.folded, usize::MAX),
            folded_totals: (!ledger.folded.is_empty()).then(|| totals_to_wire(&ledger.folded_totals)),
        }
    };
    wire::StoredEpoch {
        epoch: epoch.epoch.0,
        order: epoch.order,
        closed: epoch.closed,
        lanes: Lane::ALL.map(lane).into_iter().filter(|lane| lane.last != 0 || !lane.gaps.is_empty()).collect(),
    }
}

fn epoch_from_wire(epoch: wire::StoredEpoch) -> Result<EpochLedger, ConvertError> {
    let mut lanes = [LaneLedger::default(), LaneLedger::default()];
    at_most("epochs.lanes", epoch.lanes.len(), lanes.len())?;
    for lane in epoch.lanes {
        let at = lane_from_wire(lane.lane)?.index();
        lanes[at] = lane_ledger_from_wire(lane)?;
    }
    Ok(EpochLedger { epoch: Epoch(epoch.epoch), order: epoch.order, closed: epoch.closed, lanes })
}

fn lane_ledger_from_wire(lane: wire::StoredLane) -> Result<LaneLedger, ConvertError> {
    let stored = set_from_wire("epochs.lanes.stored", lane.stored, usize::MAX)?;
    let gaps = lane.gaps.into_iter().map(gap_from_wire).collect::<Result<Vec<_>, _>>()?;
    let folded = set_from_wire("epochs.lanes.folded", lane.folded, usize::MAX)?;
    let mut settled = stored.clone();
    settled.union_with(&folded);
    for gap in &gaps {
        // What overlaps would be counted twice, and a withdrawal would look for a gap in vain.
        if settled.missing_in(gap.range).ranges() != [gap.range] {
            return Err(ConvertError::Invalid { field: "epochs.lanes.gaps", problem: "overlap what is settled" });
        }
        settled.insert(gap.range);
    }
    if gaps.windows(2).any(|pair| pair[0].range.last() >= pair[1].range.first()) {
        return Err(ConvertError::Invalid { field: "epochs.lanes.gaps", problem: "do not ascend" });
    }
    Ok(LaneLedger {
        last: Seq::new(lane.last),
        stored,
        gaps,
        folded,
        folded_totals: folded_from_wire(lane.folded_totals)?,
        settled,
    })
}

fn gap_to_wire(gap: &LaneGap) -> wire::StoredGap {
    wire::StoredGap {
        range: Some(range_to_wire(gap.range)),
        reason: reason_to_wire(gap.reason),
        from_us: instant_to_wire(gap.span.from),
        to_us: instant_to_wire(gap.span.to),
    }
}

fn gap_from_wire(gap: wire::StoredGap) -> Result<LaneGap, ConvertError> {
    Ok(LaneGap {
        range: range_from_wire(gap.range.ok_or(ConvertError::Missing { field: "range" })?)?,
        reason: reason_from_wire(gap.reason)?,
        span: TimeSpan { from: instant_from_wire(gap.from_us), to: instant_from_wire(gap.to_us) },
    })
}

/// Only what does not follow from other fields: `produced` of a lane is its last number, and nothing
/// that is folded is pending.
fn totals_to_wire(totals: &Totals) -> wire::StoredTotals {
    let lost = GapReason::ALL.into_iter().filter(|reason| totals.lost_to(*reason) != Lost::default());
    wire::StoredTotals {
        stored: totals.stored,
        lost: lost
            .map(|reason| {
                let lost = totals.lost_to(reason);
                wire::StoredLoss { reason: reason_to_wire(reason), records: lost.records, unbounded: lost.unbounded }
            })
            .collect(),
    }
}

fn folded_from_wire(totals: Option<wire::StoredTotals>) -> Result<Totals, ConvertError> {
    let stored = totals.unwrap_or_default();
    let mut totals = Totals { stored: stored.stored, ..Totals::default() };
    for loss in stored.lost {
        let lost = Lost { records: loss.records, unbounded: loss.unbounded };
        totals.lose(reason_from_wire(loss.reason)?, lost);
    }
    totals.produced = totals.stored.saturating_add(totals.lost_sum().records);
    Ok(totals)
}
