//! Long random walks through large worlds: several devices, more faults than a model checker can follow, and a journal
//! that fills up.

use lockgate_proto::command::{Command, Priority};
use proptest::prelude::*;
use proptest::test_runner::Config;

use crate::world::{ALL_FAULTS, Event, Rules, World, command};

fn any_order() -> impl Strategy<Value = (bool, bool, usize, u32)> {
    (any::<bool>(), any::<bool>(), 0usize..Priority::ALL.len(), 0u32..6)
}

fn orders(orders: &[(bool, bool, usize, u32)]) -> Vec<Command> {
    let order = |(at, (second, idempotent, priority, ticks)): (usize, &(bool, bool, usize, u32))| {
        let device = if *second { "valve" } else { "pump" };
        command(&format!("c{at}"), device, *idempotent, Priority::ALL[*priority], *ticks)
    };
    orders.iter().enumerate().map(order).collect()
}

/// So many cases that the suite stays quick; `PROPTEST_CASES` asks for more.
fn config() -> Config {
    let default = Config { max_shrink_iters: 4_000, failure_persistence: None, ..Config::default() };
    if std::env::var_os("PROPTEST_CASES").is_some() { default } else { Config { cases: 512, ..default } }
}

fn holds(world: &World) -> Result<(), TestCaseError> {
    prop_assert!(world.takes_effect_at_most_once(), "began twice: {world:?}");
    prop_assert!(world.nothing_begins_late_or_unwritten(), "began late or unwritten: {world:?}");
    prop_assert!(world.what_is_said_is_true(), "a state is not true: {world:?}");
    prop_assert!(world.has_ended_where_quiet(), "a command has not ended: {world:?}");
    prop_assert!(world.knows_the_journal_where_quiet(), "an outcome is lost: {world:?}");
    Ok(())
}

fn walk(
    ticks: u32,
    journal_max: usize,
    faults: u8,
    list: &[(bool, bool, usize, u32)],
    steps: &[(u8, u8)],
) -> Result<(), TestCaseError> {
    let rules = Rules { ticks, journal_max, faults, kinds: ALL_FAULTS, by_wire: true };
    let mut world = World::new(rules, orders(list));
    for (kind, choice) in steps {
        // Time is slow, and faults are rarer than what goes well.
        let events = if *kind < 40 { world.faults() } else { world.progress() };
        let is_soon = |event: &Event| *event != Event::Tick || *kind >= 240;
        let events: Vec<Event> = events.into_iter().filter(is_soon).collect();
        let Some(event) = events.get(usize::from(*choice) % events.len().max(1)) else { continue };
        world.happen(event);
        holds(&world)?;
    }
    world.come_to_rest();
    holds(&world)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn many_commands_survive_many_faults(
        faults in 0u8..20,
        list in prop::collection::vec(any_order(), 1..8),
        steps in prop::collection::vec(any::<(u8, u8)>(), 1..250),
    ) {
        walk(12, 16, faults, &list, &steps)?;
    }

    #[test]
    fn a_full_journal_takes_no_command_rather_than_forget_one(
        faults in 0u8..8,
        list in prop::collection::vec(any_order(), 2..8),
        steps in prop::collection::vec(any::<(u8, u8)>(), 1..250),
    ) {
        walk(60, 2, faults, &list, &steps)?;
    }
}
