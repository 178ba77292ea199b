//! Small worlds, explored in full.

use lockgate_proto::command::{Command, Outcome, Priority, State};
use stateright::{Checker, Model, Property};

use crate::world::{ALL_FAULTS, Event, Fault, Rules, World, command};

/// A world to begin with.
struct Small {
    rules: Rules,
    orders: Vec<Command>,
}

impl Model for Small {
    type State = World;
    type Action = Event;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(self.rules.clone(), self.orders.clone())]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Event>) {
        actions.extend(world.progress());
        actions.extend(world.faults());
    }

    fn next_state(&self, world: &World, event: Event) -> Option<World> {
        let mut next = world.clone();
        next.happen(&event);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Small>> {
        vec![
            Property::always("takes effect at most once", |_, world: &World| world.takes_effect_at_most_once()),
            Property::always("nothing begins late or unwritten", |_, world: &World| {
                world.nothing_begins_late_or_unwritten()
            }),
            Property::always("what is said is true", |_, world: &World| world.what_is_said_is_true()),
            Property::always("has ended where quiet", |_, world: &World| world.has_ended_where_quiet()),
            Property::always("knows the journal where quiet", |_, world: &World| world.knows_the_journal_where_quiet()),
            // A model in which these never happen would prove nothing.
            Property::sometimes("succeeds", |_, world: &World| ends_so(world, |outcome| matches!(outcome, Outcome::Succeeded(_)))),
            Property::sometimes("expires", |_, world: &World| ends_so(world, |outcome| *outcome == Outcome::Expired)),
            Property::sometimes("is interrupted", |_, world: &World| {
                ends_so(world, |outcome| *outcome == Outcome::Interrupted)
            }),
            Property::sometimes("is unknown", |_, world: &World| {
                world.book.commands.values().any(|kept| kept.standing.state == State::Unknown)
            }),
        ]
    }
}

fn ends_so(world: &World, so: fn(&Outcome) -> bool) -> bool {
    world.is_quiet() && world.book.commands.values().any(|kept| kept.standing.state.outcome().is_some_and(so))
}

fn explore(rules: Rules, orders: Vec<Command>) -> usize {
    let checker = Small { rules, orders }.checker().spawn_bfs().join();
    println!("{} states, {} unique, depth {}", checker.state_count(), checker.unique_state_count(), checker.max_depth());
    checker.assert_properties();
    checker.unique_state_count()
}

#[test]
fn one_command_survives_every_two_faults() {
    let rules = Rules { ticks: 2, journal_max: 4, faults: 2, kinds: ALL_FAULTS, by_wire: false };
    let states = explore(rules, vec![command("c", "pump", false, Priority::Normal, 1)]);
    assert!(states > 1_000, "{states}");
}
