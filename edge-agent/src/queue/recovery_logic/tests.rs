//! How many epochs are kept, and that a plan changes nothing when it is made again.

use super::*;
use crate::queue::time::BootId;

fn start() -> Start {
    Start { epoch: Epoch(999_999), boot: BootId(5), mono: MonoTime::default(), anchor: None }
}

fn entry(number: u32, last: u64, settled: bool) -> EpochEntry {
    let all = SeqRange::new(Seq::FIRST, Seq::new(last));
    let tail = all.map(|_| TailEntry { first: Seq::FIRST, bytes: Some(100) });
    let settled = all.filter(|_| settled).map(RangeSet::from).unwrap_or_default();
    let telemetry = LaneEntry { last: all.map(SeqRange::last), tail, gone: RangeSet::new(), settled };
    let lanes = [LaneEntry::default(), telemetry];
    let epoch = Epoch(u64::from(number) + 1);
    EpochEntry { epoch, order: number, boot: Some(BootId(1)), end: Some(End::Clean), is_told: false, lanes }
}

fn found(entry: &EpochEntry) -> Option<Found> {
    let EpochEntry { order, epoch, .. } = *entry;
    let tail = entry.lanes[Lane::Telemetry.index()].tail?;
    let id = SegmentId { order, epoch, lane: Lane::Telemetry, first: tail.first };
    Some(Found { id, bytes: 100, header: None, walked: None })
}

fn plan_of(entries: Vec<EpochEntry>) -> Plan {
    let segments = entries.iter().filter_map(found).collect();
    let next_order = entries.last().map_or(0, |entry| entry.order + 1);
    let book = Book { epochs: entries, next_order, ..Book::default() };
    plan(Survey { book: FoundBook::Read(book), segments, faults: Vec::new() }, &start())
}

#[test]
fn with_too_many_epochs_those_of_which_nothing_is_left_go_first_and_then_the_oldest() {
    let count = u32::try_from(EPOCHS_MAX).unwrap();
    let mut entries: Vec<EpochEntry> = (0..count + 2).map(|number| entry(number, 10, false)).collect();
    entries[500] = entry(500, 0, false);
    let plan = plan_of(entries);
    assert_eq!(plan.book.epochs.len(), EPOCHS_MAX);
    assert_eq!(plan.book.epochs.last().map(|entry| entry.epoch), Some(start().epoch));
    let given_up: Vec<u64> = plan
        .faults
        .iter()
        .filter_map(|fault| if let Fault::EpochGivenUp { epoch } = fault { Some(epoch.0) } else { None })
        .collect();
    assert_eq!(given_up, [501, 1, 2]);
    assert_eq!(plan.delete.len(), 2, "the empty one has no file");
    assert!(plan.delete.iter().all(|id| !plan.kept.contains_key(id)));
}

#[test]
fn settled_epochs_are_kept_up_to_a_bound() {
    let surplus = 3;
    let count = u32::try_from(EPOCHS_SETTLED_MAX).unwrap() + surplus;
    let plan = plan_of((0..count).map(|number| entry(number, 10, true)).collect());
    assert_eq!(plan.book.epochs.len(), EPOCHS_SETTLED_MAX + 1);
    assert_eq!((plan.faults, plan.gaps), (vec![], vec![]));
    assert_eq!(plan.delete.iter().map(|id| id.order).collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn a_plan_made_again_from_its_own_book_finds_nothing_new() {
    let mut died = entry(0, 10, false);
    died.end = None;
    let first = plan_of(vec![died.clone()]);
    assert_eq!(first.previous, PreviousEnd::PowerLost);
    assert_eq!(first.gaps.len(), 2, "both lanes have an open end");
    let mut book = first.book.clone();
    book.epochs.pop();
    let survey =
        Survey { book: FoundBook::Read(book), segments: found(&died).into_iter().collect(), faults: Vec::new() };
    let second = plan(survey, &start());
    assert_eq!((second.gaps, second.faults), (vec![], vec![]));
    assert_eq!(second.book.gaps, first.book.gaps);
    assert_eq!(second.kept, first.kept);
}
