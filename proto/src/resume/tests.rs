//! A reader takes one unbroken history, and learns when there is another.

use proptest::prelude::*;

use super::*;
use crate::time::UnixMicros;

fn at(offset: u64, stamp: u64) -> Position {
    Position { offset: Offset(offset), stamp: Stamp(stamp) }
}

fn entry(offset: u64, stamp: u64, previous: u64) -> EntryHeader {
    EntryHeader { position: at(offset, stamp), previous: Stamp(previous), received_at: UnixMicros::ZERO, origin: None }
}

#[test]
fn entries_are_taken_in_order_and_once() {
    let mut room = RoomProgress::new(None, false);
    room.subscribed(at(4, 44));
    assert_eq!(room.entry(&entry(5, 55, 44)), Verdict::Take);
    assert_eq!(room.entry(&entry(5, 55, 44)), Verdict::Skip);
    assert_eq!(room.entry(&entry(3, 33, 22)), Verdict::Skip);
    assert_eq!(room.entry(&entry(6, 66, 55)), Verdict::Take);
    assert_eq!(room.reached(), Some(at(6, 66)));
}

#[test]
fn a_hole_is_seen_unless_a_filter_explains_it() {
    let mut all = RoomProgress::new(Some(at(4, 44)), false);
    assert_eq!(all.entry(&entry(6, 66, 55)), Verdict::Resubscribe);
    assert_eq!(all.reached(), Some(at(4, 44)));
    let mut some = RoomProgress::new(Some(at(4, 44)), true);
    assert_eq!(some.entry(&entry(6, 66, 55)), Verdict::Take);
    assert_eq!(some.stated(at(9, 99)), Verdict::Take);
    assert_eq!(some.stated(at(8, 88)), Verdict::Skip);
    assert_eq!(some.entry(&entry(10, 100, 99)), Verdict::Take);
}

#[test]
fn another_history_of_the_log_is_seen_at_the_first_entry() {
    for other in [entry(5, 55, 43), entry(4, 43, 33)] {
        let mut room = RoomProgress::new(Some(at(4, 44)), false);
        assert_eq!(room.entry(&other), Verdict::Resubscribe);
    }
    let mut room = RoomProgress::new(Some(at(4, 44)), true);
    assert_eq!(room.stated(at(4, 45)), Verdict::Resubscribe);
}

#[test]
fn nothing_is_taken_before_the_subscription_is_answered() {
    assert_eq!(RoomProgress::default().entry(&entry(1, 1, 0)), Verdict::Resubscribe);
}

#[test]
fn a_resume_tells_trimmed_from_diverged() {
    let log = LogBounds { oldest: Offset(10), head: at(20, 200) };
    let check = |since: Position, stamp: Option<u64>, expected: Resume| {
        assert_eq!(decide_resume(since, log, stamp.map(Stamp)), expected, "{since}");
    };
    check(at(15, 150), Some(150), Resume::After(at(15, 150)));
    check(at(15, 150), Some(151), Resume::Diverged);
    check(at(20, 200), None, Resume::After(at(20, 200)));
    check(at(20, 201), None, Resume::Diverged);
    check(at(21, 210), None, Resume::Diverged);
    // The entry itself is gone, its successor still names it.
    check(at(9, 90), Some(90), Resume::After(at(9, 90)));
    check(at(9, 90), Some(91), Resume::Diverged);
    check(at(8, 80), None, Resume::Trimmed);
    check(Position::START, None, Resume::Trimmed);
}

#[test]
fn the_start_of_a_whole_log_can_be_resumed() {
    let whole = LogBounds { oldest: Offset(1), head: at(3, 30) };
    assert_eq!(decide_resume(Position::START, whole, None), Resume::After(Position::START));
    assert_eq!(decide_resume(at(0, 7), whole, None), Resume::Diverged);
    let never = LogBounds { oldest: Offset(1), head: Position::START };
    assert_eq!(decide_resume(Position::START, never, None), Resume::After(Position::START));
    assert_eq!(decide_resume(at(3, 30), never, None), Resume::Diverged);
}

/// A log that now and then goes back to an older state and grows anew.
#[derive(Clone, Debug)]
enum Event {
    Append,
    GoBack(u8),
    Trim,
    /// The reader gets the next entry.
    Deliver,
    /// The reader comes again, with `since`.
    Reconnect,
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        5 => Just(Event::Append),
        1 => any::<u8>().prop_map(Event::GoBack),
        1 => Just(Event::Trim),
        6 => Just(Event::Deliver),
        2 => Just(Event::Reconnect),
    ]
}

#[derive(Default)]
struct Log {
    entries: Vec<EntryHeader>,
    trimmed: usize,
    stamps: u64,
}

impl Log {
    fn head(&self) -> Position {
        self.entries.last().map_or(Position::START, |entry| entry.position)
    }

    fn bounds(&self) -> LogBounds {
        LogBounds { oldest: Offset(self.trimmed as u64 + 1), head: self.head() }
    }

    fn stamp(&self, offset: Offset) -> Option<Stamp> {
        let kept = &self.entries[self.trimmed..];
        let own = kept.iter().find(|entry| entry.position.offset == offset).map(|entry| entry.position.stamp);
        own.or_else(|| kept.iter().find(|entry| entry.position.offset == offset.next()).map(|entry| entry.previous))
    }
}

proptest! {
    #[test]
    fn what_a_reader_took_is_always_one_unbroken_history(events in prop::collection::vec(any_event(), 0..80)) {
        let mut log = Log::default();
        let mut reader = RoomProgress::new(Some(Position::START), false);
        let mut taken: Vec<EntryHeader> = Vec::new();
        for event in events {
            match event {
                Event::Append => {
                    log.stamps += 1;
                    let head = log.head();
                    log.entries.push(entry(head.offset.0 + 1, log.stamps, head.stamp.0));
                }
                Event::GoBack(choice) => {
                    let keep = usize::from(choice) * log.entries.len() / 256;
                    log.entries.truncate(keep.max(log.trimmed));
                }
                Event::Trim => log.trimmed = (log.trimmed + 1).min(log.entries.len()),
                Event::Deliver => {
                    let next = reader.reached().unwrap().offset.next();
                    let found = log.entries[log.trimmed..].iter().find(|entry| entry.position.offset >= next).cloned();
                    let Some(found) = found else { continue };
                    if reader.entry(&found) == Verdict::Take {
                        taken.push(found);
                    }
                }
                Event::Reconnect => {
                    let since = reader.reached().unwrap();
                    let resume = decide_resume(since, log.bounds(), log.stamp(since.offset));
                    let truth = since == Position::START && log.trimmed == 0
                        || log.entries.iter().any(|entry| entry.position == since)
                            && since.offset.0 >= log.trimmed as u64;
                    prop_assert_eq!(resume == Resume::After(since), truth, "{:?} {:?}", resume, log.bounds());
                    if resume != Resume::After(since) {
                        reader.subscribed(log.head());
                        taken.clear();
                    }
                }
            }
            for pair in taken.windows(2) {
                prop_assert_eq!(pair[1].previous, pair[0].position.stamp);
                prop_assert_eq!(pair[1].position.offset, pair[0].position.offset.next());
            }
        }
    }
}
