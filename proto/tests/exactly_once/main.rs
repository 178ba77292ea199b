//! Promise 1: a record that the agent accepted is stored exactly once, or told as a gap.
//!
//! Both ends of the edge link run against each other in one thread: a queue that loses its tail with the
//! power, a card that is copied or put back, a wire that breaks anywhere while its other end goes on, a
//! backbone whose answers get lost, whose requests run twice and late, and which goes back to an older
//! state. proptest makes the script and, where a promise breaks, the shortest one that breaks it.

mod backbone;
mod promises;
mod queue;
mod random;
mod script;
mod world;

use proptest::prelude::*;
use proptest::test_runner::Config;

use script::{Fault, Op, Rules};
use world::World;

fn any_fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        4 => Just(Fault::BreakLink),
        3 => Just(Fault::CrashGateway),
        3 => Just(Fault::KillAgent),
        3 => Just(Fault::LosePower),
        2 => any::<u8>().prop_map(Fault::RollBackStore),
        2 => any::<u8>().prop_map(Fault::RunGhost),
        2 => Just(Fault::Evict),
        1 => any::<u8>().prop_map(Fault::Corrupt),
    ]
}

fn any_card_fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        2 => Just(Fault::SaveCard),
        2 => any::<u8>().prop_map(Fault::PutBackCard),
        1 => Just(Fault::CloneCard),
        1 => Just(Fault::WipeCard),
        2 => Just(Fault::TakeOver),
    ]
}

fn any_op(fault: impl Strategy<Value = Fault> + 'static) -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (any::<bool>(), any::<bool>(), 1u8..6).prop_map(|(second, events, count)| Op::Append { second, events, count }),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(second, huge)| Op::AppendBad { second, huge }),
        3 => any::<bool>().prop_map(|second| Op::Sync { second }),
        5 => any::<bool>().prop_map(|second| Op::Connect { second }),
        24 => (any::<u8>(), 1u8..12).prop_map(|(choice, steps)| Op::Run { choice, steps }),
        2 => (1u16..2_000).prop_map(Op::Wait),
        4 => (any::<bool>(), fault).prop_map(|(second, fault)| Op::Fault { second, fault }),
    ]
}

/// What happens while two copies of one agent live, and each takes over from the other.
fn any_turn() -> impl Strategy<Value = Op> {
    let fault = prop_oneof![4 => Just(Fault::TakeOver), 1 => Just(Fault::BreakLink), 1 => Just(Fault::CrashGateway)];
    prop_oneof![
        4 => (any::<bool>(), any::<bool>(), 1u8..6).prop_map(|(second, events, count)| Op::Append { second, events, count }),
        6 => any::<bool>().prop_map(|second| Op::Connect { second }),
        16 => (any::<u8>(), 1u8..12).prop_map(|(choice, steps)| Op::Run { choice, steps }),
        4 => (any::<bool>(), fault).prop_map(|(second, fault)| Op::Fault { second, fault }),
    ]
}

/// So many cases that the suite stays quick; `PROPTEST_CASES` asks for more.
fn config() -> Config {
    let default = Config { max_shrink_iters: 4_000, failure_persistence: None, ..Config::default() };
    if std::env::var_os("PROPTEST_CASES").is_some() { default } else { Config { cases: 128, ..default } }
}

fn play(rules: Rules, seed: u64, script: &[Op]) -> Result<(), TestCaseError> {
    let mut world = World::new(rules, seed);
    for op in script {
        world.apply(op)?;
    }
    world.heal()?;
    world.check_the_end()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn every_record_is_stored_once_or_told_as_a_gap(
        seed: u64,
        script in prop::collection::vec(any_op(any_fault()), 1..120),
    ) {
        play(Rules::default(), seed, &script)?;
    }

    #[test]
    fn copied_wiped_and_put_back_cards_double_nothing_and_hide_nothing(
        seed: u64,
        script in prop::collection::vec(any_op(prop_oneof![any_fault(), any_card_fault()]), 1..120),
    ) {
        play(Rules::default(), seed, &script)?;
    }

    #[test]
    fn two_living_copies_that_take_turns_lose_and_double_nothing(
        seed: u64,
        before in prop::collection::vec(any_turn(), 0..30),
        turns in prop::collection::vec(any_turn(), 1..120),
    ) {
        let copied = [Op::Sync { second: false }, Op::Fault { second: false, fault: Fault::CloneCard }];
        play(Rules::default(), seed, &[&before[..], &copied, &turns].concat())?;
    }

    #[test]
    fn a_narrow_window_delays_and_loses_nothing(
        seed: u64,
        script in prop::collection::vec(any_op(any_fault()), 1..80),
    ) {
        play(Rules { window_bytes: 60, window_records: 3, ..Rules::default() }, seed, &script)?;
    }

    #[test]
    fn what_retention_no_longer_wants_is_told_as_aged(
        seed: u64,
        script in prop::collection::vec(any_op(any_fault()), 1..80),
    ) {
        play(Rules { retention_millis: Some(1_500), ..Rules::default() }, seed, &script)?;
    }
}
