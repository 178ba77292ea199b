//! Cases by hand, then a world in which gateways come and go as they like.

use proptest::prelude::*;

use super::*;

const HALF: u64 = u64::MAX / 2;

fn at(millis: u64) -> MonoTime {
    MonoTime(Duration::from_millis(millis))
}

fn known(names: &[&'static str]) -> Gateways<&'static str> {
    Gateways::new(names[0], names[1..].iter().copied())
}

/// Fails until this one is to be tried; gives the time.
fn fail_until(gateways: &mut Gateways<&'static str>, wanted: &str, mut now: MonoTime) -> MonoTime {
    while *gateways.current() != wanted {
        now = now + gateways.ended(now, Trouble::Passing, HALF).delay;
    }
    now
}

#[test]
fn a_dead_one_costs_no_wait_before_the_next() {
    let mut gateways = known(&["a", "b", "c"]);
    assert_eq!(gateways.first().address, "a");
    let next = gateways.ended(at(0), Trouble::Passing, HALF);
    assert_eq!((next.address, next.delay), ("b", Duration::ZERO));
    let next = gateways.ended(at(1), Trouble::Passing, HALF);
    assert_eq!((next.address, next.delay), ("c", Duration::ZERO));
    let next = gateways.ended(at(2), Trouble::Passing, HALF);
    assert_eq!((next.address, next.delay), ("a", Duration::from_nanos(122_999_999)));
}

#[test]
fn who_loses_a_gateway_is_at_the_next_one_soon_and_not_in_step_with_the_others() {
    let lose = |random| {
        let mut gateways = known(&["a", "b"]);
        gateways.up(at(0));
        gateways.ended(at(60_000), Trouble::Passing, random)
    };
    let (early, late) = (lose(0), lose(u64::MAX));
    assert_eq!((early.address, early.delay), ("b", Duration::ZERO));
    assert_eq!((late.address, late.delay.as_millis()), ("b", 249));
}

#[test]
fn the_preferred_one_is_come_back_to_with_the_next_connection() {
    let mut gateways = known(&["a", "b"]);
    let now = fail_until(&mut gateways, "b", at(0));
    gateways.up(now);
    // However long it is there again: the connection to the other one works.
    assert_eq!(gateways.current(), &"b");
    let next = gateways.ended(at(600_000), Trouble::Passing, HALF);
    assert_eq!(next.address, "a");
}

#[test]
fn those_whom_a_leaving_gateway_names_go_before_all_others() {
    let mut gateways = known(&["a", "b"]);
    gateways.up(at(0));
    gateways.go_away(Duration::from_secs(2), ["a", "d", "c", "d"]);
    let next = gateways.ended(at(5_000), Trouble::Passing, HALF);
    assert_eq!((next.address, next.delay), ("d", Duration::from_secs(2)));
    let next = gateways.ended(at(7_000), Trouble::Passing, HALF);
    assert_eq!((next.address, next.delay), ("c", Duration::ZERO));
    let next = gateways.ended(at(7_001), Trouble::Passing, HALF);
    assert_eq!(next.address, "b");
    assert_eq!(gateways.candidates.len(), 2, "what was named and is not there is forgotten");
}

#[test]
fn one_that_was_named_and_was_there_is_remembered_until_the_next_list() {
    let mut gateways = known(&["a"]);
    gateways.up(at(0));
    gateways.go_away(Duration::ZERO, ["b"]);
    let now = fail_until(&mut gateways, "b", at(5_000));
    gateways.up(now);
    let mut now = now + Duration::from_secs(60);
    now = now + gateways.ended(now, Trouble::Passing, HALF).delay;
    let now = fail_until(&mut gateways, "b", now);
    gateways.up(now);
    gateways.go_away(Duration::ZERO, ["c"]);
    assert_eq!(gateways.ended(now, Trouble::Passing, HALF).address, "c");
}

#[test]
fn a_gateway_that_is_alone_is_waited_for_as_it_asks() {
    let mut gateways = known(&["a", "a"]);
    assert_eq!(gateways.first().patience, PATIENCE_MAX);
    gateways.up(at(0));
    gateways.go_away(Duration::from_secs(2), []);
    let next = gateways.ended(at(5_000), Trouble::Passing, 0);
    assert_eq!(next.delay, Duration::from_secs(2) + PAUSE_MIN);
    let next = gateways.ended(at(8_000), Trouble::Asked(Duration::from_secs(5)), 0);
    assert_eq!(next.delay, Duration::from_secs(5));
    let next = gateways.ended(at(14_000), Trouble::Lasting, 0);
    assert_eq!(next.delay, Duration::from_secs(15));
}

#[test]
fn one_that_lets_in_and_throws_out_is_waited_for_longer_than_one_that_held() {
    let mut gateways = known(&["a"]);
    let mut now = at(0);
    for attempts in 1..=12 {
        gateways.up(now);
        now = now + gateways.ended(now, Trouble::Passing, u64::MAX).delay;
        assert_eq!(gateways.attempts(), attempts, "that it lets us in is no proof that it lives");
    }
    gateways.up(now);
    gateways.proved();
    let spread = BACKOFF.0;
    let thrown_out = gateways.ended(now, Trouble::Passing, u64::MAX).delay;
    assert_eq!(thrown_out.as_millis(), (spread + BACKOFF.0 * 4).as_millis() - 1);
    gateways.up(now);
    assert!(gateways.ended(now + STEADY, Trouble::Passing, u64::MAX).delay < spread + BACKOFF.0);
}

#[test]
fn one_that_does_not_even_refuse_is_given_less_time_where_there_are_others() {
    let mut gateways = known(&["a", "b"]);
    let mut given = vec![gateways.first().patience];
    let mut now = at(0);
    while given.len() < 5 {
        let next = gateways.ended(now, Trouble::Passing, HALF);
        now = now + next.delay;
        given.extend((next.address == "a").then_some(next.patience));
    }
    assert_eq!(given.iter().map(Duration::as_secs).collect::<Vec<_>>(), [4, 8, 12, 15, 15]);
}

/// What becomes of one attempt.
#[derive(Clone, Debug)]
enum Fate {
    /// Refused at once, or after as long as one has patience.
    Fails(Trouble, bool),
    /// Let in, and lost after so long.
    Lost(Duration),
    /// Let in, and asked to leave.
    Leaves(Duration, Vec<u8>),
}

fn fate() -> impl Strategy<Value = Fate> {
    let span = |max: u64| (0..max).prop_map(Duration::from_millis);
    let trouble = prop_oneof![3 => Just(Trouble::Passing), 1 => span(20_000).prop_map(Trouble::Asked), 1 => Just(Trouble::Lasting)];
    prop_oneof![
        4 => (trouble, any::<bool>()).prop_map(|(trouble, hangs)| Fate::Fails(trouble, hangs)),
        2 => span(5_000).prop_map(Fate::Lost),
        2 => (span(20_000), proptest::collection::vec(0u8..12, 0..10)).prop_map(|(after, others)| Fate::Leaves(after, others)),
    ]
}

/// Lets an attempt have its fate; gives the next one, and when it begins.
fn suffer(
    gateways: &mut Gateways<u8>,
    now: MonoTime,
    patience: Duration,
    fate: &Fate,
    random: u64,
) -> (Attempt<u8>, MonoTime) {
    let (now, trouble) = match fate {
        Fate::Fails(trouble, hangs) => (now + if *hangs { patience } else { Duration::ZERO }, *trouble),
        Fate::Lost(after) => {
            gateways.up(now);
            (now + *after, Trouble::Passing)
        }
        Fate::Leaves(after, others) => {
            gateways.up(now);
            gateways.go_away(*after, others.iter().copied());
            (now, Trouble::Passing)
        }
    };
    let next = gateways.ended(now, trouble, random);
    let begins = now + next.delay;
    (next, begins)
}

/// Random numbers, and the extremes that jitter could go wrong with.
fn dice() -> impl Strategy<Value = u64> {
    prop_oneof![2 => any::<u64>(), 1 => Just(0), 1 => Just(u64::MAX)]
}

proptest! {
    #[test]
    fn no_address_is_tried_in_a_hot_loop_whatever_happens(
        fates in proptest::collection::vec((fate(), dice()), 1..200), count in 1u8..5,
    ) {
        let mut gateways = Gateways::new(0, 1..count);
        let mut last = std::collections::BTreeMap::from([(0, at(0))]);
        let (mut now, mut patience) = (at(0), gateways.first().patience);
        for (fate, random) in &fates {
            let (next, begins) = suffer(&mut gateways, now, patience, fate, *random);
            (now, patience) = (begins, next.patience);
            if let Some(before) = last.insert(next.address, now) {
                prop_assert!(now.since(before) >= PAUSE_MIN, "{} again after {:?}", next.address, now.since(before));
            }
            prop_assert!(next.delay <= Duration::from_secs(20) + BACKOFF.1 * 2, "{next:?}");
        }
    }

    #[test]
    fn one_that_lives_is_found_however_many_are_dead(
        fates in proptest::collection::vec((fate(), dice()), 0..100), count in 1u8..5, living in any::<prop::sample::Index>(),
        dice in proptest::collection::vec(dice(), 100),
    ) {
        let mut gateways = Gateways::new(0, 1..count);
        let (mut now, mut attempt) = (at(0), gateways.first());
        for (fate, random) in &fates {
            (attempt, now) = suffer(&mut gateways, now, attempt.patience, fate, *random);
        }
        // From now on all are dead but one; the dead ones do not even refuse.
        let living = u8::try_from(living.index(count.into())).unwrap();
        let began = now;
        let mut dice = dice.into_iter();
        while attempt.address != living {
            let random = dice.next().expect("an address that can be had is found");
            (attempt, now) = suffer(&mut gateways, now, attempt.patience, &Fate::Fails(Trouble::Passing, true), random);
        }
        // What it had asked for, the longest backoff, and each of the others once while that passes and once after.
        let others = u32::from(count) + u32::try_from(DETOURS_MAX).unwrap();
        let longest = Duration::from_secs(20) * 2 + BACKOFF.1 + PATIENCE_MAX * others * 2;
        prop_assert!(now.since(began) <= longest, "found after {:?}", now.since(began));
    }

    #[test]
    fn one_that_lives_and_was_never_in_trouble_is_reached_before_any_is_tried_twice(
        count in 2u8..6, living in any::<prop::sample::Index>(), dice in proptest::collection::vec(dice(), 8),
    ) {
        let living = u8::try_from(living.index(count.into())).unwrap();
        let mut gateways = Gateways::new(0, 1..count);
        let mut tried = vec![gateways.first().address];
        for random in dice.into_iter().take(living.into()) {
            let next = gateways.ended(at(0), Trouble::Passing, random);
            prop_assert_eq!(next.delay, Duration::ZERO);
            tried.push(next.address);
        }
        prop_assert_eq!(tried, (0..=living).collect::<Vec<_>>());
    }
}
