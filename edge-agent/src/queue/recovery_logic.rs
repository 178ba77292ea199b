//! Decides at open what was lost, what is to be told of it, and what is to be deleted.
//!
//! Pure: from what was found on disk to the new checkpoint. Running it twice changes nothing more, so a
//! crash in the middle of an open is made good by the next one.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use lockgate_proto::gap::{Gap, GapReason, TimeSpan};
use lockgate_proto::ranges::{RangeSet, SeqRange};
use lockgate_proto::seq::{Epoch, Lane, Seq};
use lockgate_proto::time::{MonoTime, UnixMicros};

use super::book::{Book, End, EpochEntry, LaneEntry, TailEntry};
use super::layout::{SEGMENT_HEADER_BYTES, SegmentId};
use super::limits::{EPOCHS_MAX, EPOCHS_SETTLED_MAX};
use super::scan::Tail;
use super::survey::{Found, FoundBook, Survey, ends_as_noted};
use super::time::{BootId, BootTime, RecordTime, Start};
use super::types::{Fault, PreviousEnd};

/// A segment that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Number of its last record; one below its first where nothing in it is proven.
    pub(crate) last: Seq,
    /// Its length.
    pub(crate) bytes: u64,
}

/// What open has to do, in this order: flush, write the book, delete.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The new checkpoint.
    pub(crate) book: Book,
    /// Segments that stay.
    pub(crate) kept: BTreeMap<SegmentId, Kept>,
    /// Segments whose end was not proven by a clean stop: to be flushed before the book relies on them.
    pub(crate) flush: Vec<SegmentId>,
    /// Segments of which nothing is needed.
    pub(crate) delete: Vec<SegmentId>,
    /// What should not have been.
    pub(crate) faults: Vec<Fault>,
    /// Gaps that are new.
    pub(crate) gaps: Vec<Gap>,
    /// How the previous start ended.
    pub(crate) previous: PreviousEnd,
}

/// Accounts for everything of earlier starts, and opens the new epoch in the book.
pub(crate) fn plan(survey: Survey, start: &Start) -> Plan {
    let mut faults = survey.faults;
    let mut book = match survey.book {
        FoundBook::Read(book) => book,
        FoundBook::Missing => {
            faults.extend((!survey.segments.is_empty()).then_some(Fault::CheckpointMissing));
            Book::default()
        }
        FoundBook::Unreadable => {
            faults.push(Fault::CheckpointUnreadable);
            Book::default()
        }
    };
    adopt_unknown_epochs(&mut book, &survey.segments);
    let previous = previous_end(&book, start.boot);
    let mut plan =
        Plan { book, kept: BTreeMap::new(), flush: Vec::new(), delete: Vec::new(), faults, gaps: Vec::new(), previous };
    for at in 0..plan.book.epochs.len() {
        let mut entry = plan.book.epochs[at].clone();
        for lane in Lane::ALL {
            let found: Vec<&Found> =
                survey.segments.iter().filter(|found| found.id.epoch == entry.epoch && found.id.lane == lane).collect();
            account_for_lane(&mut plan, &mut entry, lane, &found, start);
        }
        entry.end = entry.end.or(Some(End::Accounted));
        plan.book.epochs[at] = entry;
    }
    forget_what_is_done(&mut plan);
    begin_epoch(&mut plan.book, start);
    plan
}

pub(crate) fn adopt_unknown_epochs(book: &mut Book, segments: &[Found]) {
    for found in segments {
        let boot = found.header.map(|header| header.boot);
        book.next_order = book.next_order.max(found.id.order.saturating_add(1));
        if let Some(entry) = book.epoch_mut(found.id.epoch) {
            entry.boot = entry.boot.or(boot);
        } else {
            let SegmentId { order, epoch, .. } = found.id;
            let lanes = [LaneEntry::default(), LaneEntry::default()];
            book.epochs.push(EpochEntry { epoch, order, boot, end: None, is_told: false, lanes });
        }
    }
    book.epochs.sort_by_key(|entry| (entry.order, entry.epoch));
}

fn previous_end(book: &Book, boot: BootId) -> PreviousEnd {
    match book.epochs.last() {
        None => PreviousEnd::None,
        Some(EpochEntry { end: Some(End::Clean), .. }) => PreviousEnd::Clean,
        Some(entry) if entry.boot == Some(boot) => PreviousEnd::Killed,
        Some(_) => PreviousEnd::PowerLost,
    }
}

/// What is held of one lane, and what is missing.
struct LaneFindings {
    held: RangeSet,
    /// Let go on purpose, as the segments themselves say.
    let_go: RangeSet,
    last: Seq,
    tail: Tail,
    /// The segment that the checkpoint names as the newest is not there, nor a newer one.
    tail_is_missing: bool,
}

fn account_for_lane(plan: &mut Plan, entry: &mut EpochEntry, lane: Lane, found: &[&Found], start: &Start) {
    let ended = entry.end.is_some();
    let findings = keep_or_delete(plan, entry, lane, found);
    let noted = &entry.lanes[lane.index()];
    let closed_last = if noted.gone.last() == Seq::MAX { Seq::NONE } else { noted.gone.last() };
    // A segment is begun only when all numbers before its first one were given, and flushed.
    let begun = found.last().map_or(Seq::NONE, |found| found.id.first.previous());
    let found_last = findings.last.max(closed_last).max(begun);
    let last = found_last.max(noted.last());
    let mut lost = RangeSet::new();
    if let Some(all) = SeqRange::new(Seq::FIRST, last) {
        lost = findings.held.missing_in(all).difference(&noted.gone);
    }
    let mut reason_of_rest = None;
    if !ended {
        if let Some((rest, reason)) = lost_at_end(entry, &findings, found_last, start.boot) {
            lost.remove(rest);
            reason_of_rest = Some((rest, reason));
        }
        if let Tail::Torn { bytes } = findings.tail
            && let Some(tail) = found.last()
        {
            plan.faults.push(Fault::TornTail { name: tail.id.name(), bytes });
        }
        if entry.boot == Some(start.boot) {
            plan.flush.extend(found.last().map(|found| found.id));
        }
    }
    // Only where the checkpoint was lost: it knew of them before they went.
    for range in lost.intersection(&findings.let_go).ranges() {
        lose(plan, entry, lane, (*range, GapReason::Compacted), TimeSpan::default());
    }
    for range in lost.difference(&findings.let_go).ranges() {
        plan.faults.push(Fault::RecordsLost { epoch: entry.epoch, lane, range: *range });
        lose(plan, entry, lane, (*range, GapReason::Corrupt), TimeSpan::default());
    }
    if let Some((rest, reason)) = reason_of_rest {
        if reason == GapReason::Corrupt {
            plan.faults.push(Fault::RecordsLost { epoch: entry.epoch, lane, range: rest });
        }
        let span = span_of_rest(&plan.book, entry, found.last().copied(), start);
        lose(plan, entry, lane, (rest, reason), span);
    }
    let noted = &mut entry.lanes[lane.index()];
    noted.last = (last > Seq::NONE).then_some(last);
    noted.tail = found.last().map(|found| TailEntry { first: found.id.first, bytes: Some(found.bytes) });
}

/// Sorts the segments into those that stay and those of which nothing is needed.
fn keep_or_delete(plan: &mut Plan, entry: &EpochEntry, lane: Lane, found: &[&Found]) -> LaneFindings {
    let noted = &entry.lanes[lane.index()];
    let newest = found.last().map_or(Seq::NONE, |found| found.id.first);
    let tail_is_missing = noted.tail.is_some_and(|tail| newest < tail.first);
    let mut findings = LaneFindings {
        held: RangeSet::new(),
        let_go: RangeSet::new(),
        last: Seq::NONE,
        tail: Tail::Clean,
        tail_is_missing,
    };
    for (at, segment) in found.iter().enumerate() {
        let before = segment.id.first.previous();
        let next_first = found.get(at + 1).map(|next| next.id.first);
        let (last, tail) = match &segment.walked {
            Some(walked) if entry.end.is_none() && next_first.is_none() => cut_unfinished_batch(walked, segment),
            Some(walked) => (walked.last, walked.tail),
            // Proven by its successor, by the checkpoint, or not readable at all.
            None => match next_first {
                Some(next) => (next.previous(), Tail::Clean),
                None if ends_as_noted(entry, segment) => (noted.last().max(before), Tail::Clean),
                None => (before, Tail::Garbled { bytes: segment.bytes }),
            },
        };
        if next_first.is_none() {
            findings.tail = tail;
        }
        let Some(range) = SeqRange::new(segment.id.first, last) else {
            let is_empty = segment.bytes <= SEGMENT_HEADER_BYTES as u64 || matches!(tail, Tail::Torn { .. });
            if is_empty {
                plan.delete.push(segment.id);
            } else {
                plan.kept.insert(segment.id, Kept { last, bytes: segment.bytes });
            }
            continue;
        };
        findings.last = findings.last.max(last);
        if noted.gone.contains_range(range) {
            // Let go before; the delete did not happen or did not last.
            plan.delete.push(segment.id);
            continue;
        }
        findings.held.insert(range);
        for lost in segment.walked.iter().flat_map(|walked| &walked.lost) {
            findings.held.remove(*lost);
        }
        for hole in segment.walked.iter().flat_map(|walked| &walked.let_go) {
            findings.held.remove(*hole);
            findings.let_go.insert(*hole);
        }
        plan.kept.insert(segment.id, Kept { last, bytes: segment.bytes });
    }
    findings
}

/// A message whose records are not all there was not accepted; its source delivers it again, and what
/// stands of it must not be delivered beside that.
fn cut_unfinished_batch(walked: &super::survey::Walked, segment: &Found) -> (Seq, Tail) {
    if walked.last_whole == walked.last {
        return (walked.last, walked.tail);
    }
    // The damage may have taken the end of an accepted batch, so that more than the last one is in doubt.
    let is_damaged = walked.lost.iter().any(|lost| walked.last_whole < lost.last());
    let tail = match walked.tail {
        Tail::Clean if !is_damaged => Tail::Torn { bytes: 0 },
        Tail::Torn { bytes } if !is_damaged => Tail::Torn { bytes },
        Tail::Clean | Tail::Torn { .. } | Tail::OneRecord | Tail::Garbled { .. } => {
            Tail::Garbled { bytes: segment.bytes }
        }
    };
    (walked.last_whole, tail)
}

/// What an epoch that nobody closed has lost at its end.
fn lost_at_end(
    entry: &EpochEntry,
    findings: &LaneFindings,
    found_last: Seq,
    boot: BootId,
) -> Option<(SeqRange, GapReason)> {
    let rest = SeqRange::new(found_last.next(), Seq::MAX)?;
    if entry.boot != Some(boot) {
        return Some((rest, GapReason::Power));
    }
    match findings.tail {
        _ if findings.tail_is_missing => Some((rest, GapReason::Corrupt)),
        Tail::Clean | Tail::Torn { .. } => None,
        Tail::OneRecord => SeqRange::one(found_last.next()).map(|one| (one, GapReason::Corrupt)),
        Tail::Garbled { .. } => Some((rest, GapReason::Corrupt)),
    }
}

fn lose(plan: &mut Plan, entry: &mut EpochEntry, lane: Lane, what: (SeqRange, GapReason), span: TimeSpan) {
    let (range, reason) = what;
    let noted = &mut entry.lanes[lane.index()];
    noted.gone.insert(range);
    for unsettled in noted.settled.missing_in(range).ranges() {
        let gap = Gap { epoch: entry.epoch, lane, range: *unsettled, reason, span };
        plan.gaps.push(gap);
        plan.book.add_gap(gap);
    }
}

/// When the records were taken that the end of an epoch has lost.
fn span_of_rest(book: &Book, entry: &EpochEntry, tail: Option<&Found>, start: &Start) -> TimeSpan {
    let newest = tail.and_then(|found| found.walked.as_ref()).and_then(|walked| walked.newest);
    let newest = newest.and_then(|time| match time {
        RecordTime::Wall { at } => Some(at),
        RecordTime::Boot { at, .. } => wall_in(book, entry.boot?, at),
    });
    // The last known time was written down when nothing was waiting for its flush.
    let from = newest.max(book.last_wall);
    let same_boot = entry.boot == Some(start.boot);
    let until = if same_boot { start.mono } else { MonoTime::default() };
    let to = start.anchor.map(|anchor| anchor.wall(until)).filter(|to| Some(*to) >= from);
    TimeSpan { from, to }
}

/// The wall time of an instant of a boot, if that boot's time was ever known.
pub(crate) fn wall_in(book: &Book, boot: BootId, mono: MonoTime) -> Option<UnixMicros> {
    let time = book.boots.iter().find(|time| time.boot == boot)?;
    Some(time.anchor?.wall(mono))
}

/// Whether nothing of the epoch is left to be sent or told.
fn is_settled(entry: &EpochEntry, gaps: &[Gap], kept: &BTreeMap<SegmentId, Kept>) -> bool {
    let told = gaps.iter().all(|gap| gap.epoch != entry.epoch);
    let sent = kept.iter().filter(|(id, _)| id.epoch == entry.epoch).all(|(id, segment)| {
        let noted = &entry.lanes[id.lane.index()];
        SeqRange::new(id.first, segment.last)
            .is_none_or(|range| noted.settled.missing_in(range).difference(&noted.gone).is_empty())
    });
    told && sent
}

/// Epochs of which nothing is left are forgotten once the backbone has heard of their end; settled ones
/// that are kept only in case the backbone goes back, once they are too many.
///
/// LIMIT: where there are too many all the same, the oldest are given up, those of which nothing is left
/// first. What they still held, the gateway tells as `wiped`.
fn forget_what_is_done(plan: &mut Plan) {
    let Plan { book, kept, .. } = plan;
    let holds = |entry: &&EpochEntry| kept.keys().any(|id| id.epoch == entry.epoch);
    let settled: Vec<&EpochEntry> = book.epochs.iter().filter(|entry| is_settled(entry, &book.gaps, kept)).collect();
    let (full, empty): (Vec<&EpochEntry>, Vec<&EpochEntry>) = settled.into_iter().partition(holds);
    let surplus = full.len().saturating_sub(EPOCHS_SETTLED_MAX);
    let mut forgotten: Vec<Epoch> = full[..surplus].iter().map(|entry| entry.epoch).collect();
    forgotten.extend(empty.iter().filter(|entry| entry.is_told).map(|entry| entry.epoch));
    let left = book.epochs.len() - forgotten.len();
    let oldest = book.epochs.iter().map(|entry| entry.epoch);
    let mut given_up: Vec<Epoch> = empty.iter().map(|entry| entry.epoch).chain(oldest).collect();
    given_up.retain(|epoch| !forgotten.contains(epoch));
    for epoch in given_up.into_iter().take(left.saturating_sub(EPOCHS_MAX - 1)) {
        if !forgotten.contains(&epoch) {
            plan.faults.push(Fault::EpochGivenUp { epoch });
            forgotten.push(epoch);
        }
    }
    plan.delete.extend(kept.keys().filter(|id| forgotten.contains(&id.epoch)));
    kept.retain(|id, _| !forgotten.contains(&id.epoch));
    plan.flush.retain(|id| kept.contains_key(id));
    book.forget_epochs(|entry| forgotten.contains(&entry.epoch));
}

/// Enters the epoch of a start, and its boot.
pub(crate) fn begin_epoch(book: &mut Book, start: &Start) {
    let lanes = [LaneEntry::default(), LaneEntry::default()];
    let order = book.next_order;
    book.next_order = order.saturating_add(1);
    book.epochs.push(EpochEntry {
        epoch: start.epoch,
        order,
        boot: Some(start.boot),
        end: None,
        is_told: false,
        lanes,
    });
    if book.boots.iter().all(|time| time.boot != start.boot) {
        book.boots.push(BootTime { boot: start.boot, anchor: None, not_before: book.last_wall, not_after: None });
    }
    if let Some(anchor) = start.anchor {
        anchor_boot(book, start.boot, anchor);
    }
}

/// Notes the time of a boot; it bounds what earlier boots without a time have taken and lost.
pub(crate) fn anchor_boot(book: &mut Book, boot: BootId, anchor: super::time::Anchor) {
    let began = anchor.wall(MonoTime::default());
    let Some(at) = book.boots.iter().position(|time| time.boot == boot) else { return };
    book.boots[at].anchor = Some(anchor);
    for earlier in &mut book.boots[..at] {
        if earlier.anchor.is_none() && earlier.not_after.is_none() {
            earlier.not_after = Some(began);
        }
    }
    let earlier: Vec<_> =
        book.epochs.iter().filter(|entry| entry.boot != Some(boot)).map(|entry| entry.epoch).collect();
    for gap in &mut book.gaps {
        let lost_before = gap.reason == GapReason::Power && earlier.contains(&gap.epoch);
        if lost_before && gap.span.to.is_none() && gap.span.from <= Some(began) {
            gap.span.to = Some(began);
        }
    }
}
