//! Lanes, ranges and gaps: what all messages share.

use super::{ConvertError, at_most};
use crate::gap::{Gap, GapReason, TimeSpan};
use crate::ids::{AgentName, Site};
use crate::ranges::{RangeSet, SeqRange};
use crate::seq::{Epoch, Lane, Seq};
use crate::time::UnixMicros;
use crate::wire;

pub(super) fn lane_to_wire(lane: Lane) -> i32 {
    let lane = match lane {
        Lane::Events => wire::Lane::Events,
        Lane::Telemetry => wire::Lane::Telemetry,
    };
    lane.into()
}

pub(super) fn lane_from_wire(lane: i32) -> Result<Lane, ConvertError> {
    match wire::Lane::try_from(lane) {
        Ok(wire::Lane::Events) => Ok(Lane::Events),
        Ok(wire::Lane::Telemetry) => Ok(Lane::Telemetry),
        Ok(wire::Lane::Unspecified) | Err(_) => Err(ConvertError::Missing { field: "lane" }),
    }
}

pub(super) fn range_to_wire(range: SeqRange) -> wire::SeqRange {
    wire::SeqRange { first: range.first().get(), last: range.last().get() }
}

pub(super) fn range_from_wire(range: wire::SeqRange) -> Result<SeqRange, ConvertError> {
    SeqRange::new(Seq::new(range.first), Seq::new(range.last))
        .ok_or(ConvertError::Invalid { field: "range", problem: "is upside down or starts at 0" })
}

/// At most `max` ranges, the lowest: what is left out is only told later.
pub(super) fn set_to_wire(set: &RangeSet, max: usize) -> Vec<wire::SeqRange> {
    set.ranges().iter().take(max).copied().map(range_to_wire).collect()
}

pub(super) fn set_from_wire(
    field: &'static str,
    ranges: Vec<wire::SeqRange>,
    max: usize,
) -> Result<RangeSet, ConvertError> {
    at_most(field, ranges.len(), max)?;
    ranges.into_iter().map(range_from_wire).collect()
}

/// The reason as messages carry it.
pub fn reason_to_wire(reason: GapReason) -> i32 {
    let reason = match reason {
        GapReason::Evicted => wire::GapReason::Evicted,
        GapReason::Power => wire::GapReason::Power,
        GapReason::Corrupt => wire::GapReason::Corrupt,
        GapReason::Wiped => wire::GapReason::Wiped,
        GapReason::Aged => wire::GapReason::Aged,
        GapReason::Rejected => wire::GapReason::Rejected,
        GapReason::Compacted => wire::GapReason::Compacted,
    };
    reason.into()
}

/// The reason that a message carries; one of a later version is an error.
pub fn reason_from_wire(reason: i32) -> Result<GapReason, ConvertError> {
    match wire::GapReason::try_from(reason) {
        Ok(wire::GapReason::Evicted) => Ok(GapReason::Evicted),
        Ok(wire::GapReason::Power) => Ok(GapReason::Power),
        Ok(wire::GapReason::Corrupt) => Ok(GapReason::Corrupt),
        Ok(wire::GapReason::Wiped) => Ok(GapReason::Wiped),
        Ok(wire::GapReason::Aged) => Ok(GapReason::Aged),
        Ok(wire::GapReason::Rejected) => Ok(GapReason::Rejected),
        Ok(wire::GapReason::Compacted) => Ok(GapReason::Compacted),
        Ok(wire::GapReason::Unspecified) | Err(_) => Err(ConvertError::Missing { field: "reason" }),
    }
}

/// An instant of which 0 means "not known".
pub fn instant_to_wire(instant: Option<UnixMicros>) -> i64 {
    instant.map_or(0, |instant| instant.0)
}

/// An instant, where 0 means "not known".
pub fn instant_from_wire(micros: i64) -> Option<UnixMicros> {
    (micros != 0).then_some(UnixMicros(micros))
}

/// The gap; `agent` only where it leaves the link of that agent.
pub fn gap_to_wire(gap: &Gap, agent: Option<&AgentName>) -> wire::Gap {
    wire::Gap {
        epoch: gap.epoch.0,
        lane: lane_to_wire(gap.lane),
        range: Some(range_to_wire(gap.range)),
        reason: reason_to_wire(gap.reason),
        from_us: instant_to_wire(gap.span.from),
        to_us: instant_to_wire(gap.span.to),
        agent: agent.map(|agent| agent.as_str().to_owned()).unwrap_or_default(),
    }
}

/// The gap that a message carries; whose it is stands beside it.
pub fn gap_from_wire(gap: &wire::Gap) -> Result<Gap, ConvertError> {
    Ok(Gap {
        epoch: Epoch(gap.epoch),
        lane: lane_from_wire(gap.lane)?,
        range: range_from_wire(gap.range.ok_or(ConvertError::Missing { field: "range" })?)?,
        reason: reason_from_wire(gap.reason)?,
        span: TimeSpan { from: instant_from_wire(gap.from_us), to: instant_from_wire(gap.to_us) },
    })
}

/// Older agents do not tell their site.
pub(super) fn site_if_told(text: &str) -> Result<Option<Site>, ConvertError> {
    let site = (!text.is_empty()).then(|| Site::new(text)).transpose();
    site.map_err(|source| ConvertError::Name { field: "site", source })
}

pub(super) fn agent_name(text: &str) -> Result<AgentName, ConvertError> {
    AgentName::new(text).map_err(|source| ConvertError::Name { field: "agent", source })
}
