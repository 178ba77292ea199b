//! Nobody leaves who is still there, nobody stays who is gone, and each turn is told once.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const LEASE: Duration = Duration::from_secs(30);
const SECOND: i64 = 1_000_000;

fn at(seconds: i64) -> UnixMicros {
    UnixMicros(1_700_000_000_000_000 + seconds * SECOND)
}

fn user(name: &str) -> Attendee {
    Attendee::User(UserName::new(name).unwrap())
}

fn sheet(instance: u64, names: &[&str]) -> Sheet {
    let here = names.iter().map(|name| (user(name), 1)).collect();
    Sheet { instance: InstanceId(instance), here, lease: LEASE }
}

fn told(turns: &[Turn]) -> Vec<(&str, bool)> {
    turns.iter().map(|turn| (turn.who.attendee.name(), turn.here)).collect()
}

#[test]
fn coming_and_leaving_are_told_once() {
    let mut book = Book::default();
    assert_eq!(told(&book.say(at(0), sheet(1, &["ann", "bob"]), LEASE)), [("ann", true), ("bob", true)]);
    assert_eq!(told(&book.say(at(10), sheet(1, &["ann", "bob"]), LEASE)), []);
    assert_eq!(told(&book.say(at(12), sheet(2, &["bob"]), LEASE)), []);
    assert_eq!(book.present()[1], Present { attendee: user("bob"), connections: 2, since: at(0) });
    assert_eq!(told(&book.say(at(13), sheet(1, &["ann"]), LEASE)), []);
    assert_eq!(told(&book.say(at(14), sheet(2, &[]), LEASE)), [("bob", false)]);
    assert_eq!(told(&book.say(at(15), sheet(1, &[]), LEASE)), [("ann", false)]);
    assert_eq!(book.present(), []);
}

#[test]
fn who_was_at_an_instance_that_died_leaves_after_its_lease() {
    let mut book = Book::default();
    book.say(at(0), sheet(1, &["ann", "bob"]), LEASE);
    for second in 1..=30 {
        assert_eq!(told(&book.say(at(second), sheet(2, &["bob"]), LEASE)), [], "after {second} s");
    }
    assert_eq!(told(&book.say(at(31), sheet(2, &["bob"]), LEASE)), [("ann", false)]);
    assert_eq!(book.present().len(), 1);
}

#[test]
fn nobody_leaves_because_the_backbone_was_paused() {
    let mut book = Book::default();
    book.say(at(0), sheet(1, &["ann"]), LEASE);
    book.say(at(1), sheet(2, &["bob"]), LEASE);
    // Far longer than a lease; then the second instance is the first to be heard again.
    assert_eq!(told(&book.say(at(100), sheet(2, &["bob"]), LEASE)), []);
    assert_eq!(told(&book.expire(at(120), LEASE)), []);
    assert_eq!(told(&book.say(at(125), sheet(1, &["ann"]), LEASE)), []);
    // One that does not come back within a lease is gone all the same.
    book.say(at(129), sheet(2, &["bob"]), LEASE);
    book.say(at(143), sheet(2, &["bob"]), LEASE);
    book.say(at(155), sheet(2, &["bob"]), LEASE);
    assert_eq!(told(&book.say(at(156), sheet(2, &["bob"]), LEASE)), [("ann", false)]);
}

#[test]
fn the_last_instance_that_died_is_found_by_whoever_looks() {
    let mut book = Book::default();
    book.say(at(0), sheet(1, &["ann"]), LEASE);
    assert_eq!(told(&book.expire(at(29), LEASE)), []);
    // Silence for so long may be a pause: one more lease, however often somebody looks.
    for second in (30..59).step_by(7) {
        assert_eq!(told(&book.expire(at(second), LEASE)), [], "after {second} s");
    }
    assert!(book.has_expired(at(60), LEASE));
    assert_eq!(told(&book.expire(at(60), LEASE)), [("ann", false)]);
    assert!(book.is_empty());
}

#[test]
fn a_clock_that_jumps_makes_nobody_leave_and_nobody_stay_for_ever() {
    for jump in [3_600, -3_600] {
        let mut book = Book::default();
        book.say(at(0), sheet(1, &["ann"]), LEASE);
        book.say(at(1), sheet(2, &["bob"]), LEASE);
        for second in (2..=30).step_by(7) {
            assert_eq!(told(&book.say(at(jump + second), sheet(2, &["bob"]), LEASE)), [], "{jump} + {second}");
        }
        let mut left = Vec::new();
        for second in 31..=70 {
            left.extend(book.say(at(jump + second), sheet(2, &["bob"]), LEASE));
        }
        assert_eq!(told(&left), [("ann", false)], "{jump}");
    }
}

#[test]
fn an_instance_that_says_goodbye_may_say_for_how_long_its_people_are_waited_for() {
    let mut book = Book::default();
    book.say(at(0), Sheet { lease: LEASE / 3, ..sheet(1, &["ann", "bob"]) }, LEASE);
    assert_eq!(told(&book.say(at(5), sheet(2, &["bob"]), LEASE)), []);
    assert_eq!(told(&book.say(at(11), sheet(2, &["bob"]), LEASE)), [("ann", false)]);
}

proptest! {
    #[test]
    fn turns_alternate_and_the_book_comes_back_as_it_was_stored(
        says in prop::collection::vec((0i64..40, 1u64..4, prop::collection::btree_set(0usize..4, 0..4)), 0..60),
    ) {
        const NAMES: [&str; 4] = ["ann", "bob", "eve", "kim"];
        let (mut book, mut here, mut now) = (Book::default(), BTreeSet::new(), 0);
        for (pause, instance, names) in says {
            now += pause;
            let names: Vec<&str> = names.into_iter().map(|at| NAMES[at]).collect();
            for turn in book.say(at(now), sheet(instance, &names), LEASE) {
                let name = turn.who.attendee.name().to_owned();
                let alternates = if turn.here { here.insert(name) } else { here.remove(&name) };
                prop_assert!(alternates, "{turn:?}");
            }
            for name in names {
                prop_assert!(here.contains(name), "{name} has just been said to be there");
            }
            let present: BTreeSet<String> =
                book.present().iter().map(|present| present.attendee.name().to_owned()).collect();
            prop_assert_eq!(&present, &here);
            prop_assert_eq!(&Book::from_bytes(&book.to_bytes()), &Ok(book.clone()));
        }
        // Nobody says anything any more: after two leases nobody is there.
        book.expire(at(now + 31), LEASE);
        book.expire(at(now + 62), LEASE);
        prop_assert!(book.is_empty(), "{book:?}");
    }
}
