//! Small worlds, explored in full.

use lockgate_proto::command::{Command, Outcome, Priority, State};
use stateright::{Checker, Expectation, Model, Property};

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
        let mut world = World::new(self.rules.clone(), self.orders.clone());
        world.happen(&Event::Accept);
        vec![world]
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
            Property::sometimes("succeeds", |_, world: &World| {
                ends_so(world, |outcome| matches!(outcome, Outcome::Succeeded(_)))
            }),
            Property::sometimes("expires", |_, world: &World| ends_so(world, |outcome| *outcome == Outcome::Expired)),
            Property::sometimes("is unknown", |_, world: &World| {
                world.book.commands.values().any(|kept| kept.standing.state == State::Unknown)
            }),
        ]
    }
}

fn ends_so(world: &World, so: fn(&Outcome) -> bool) -> bool {
    world.is_quiet() && world.book.commands.values().any(|kept| kept.standing.state.outcome().is_some_and(so))
}

/// One command of an agent, whose deadline passes with the last step of time, and so many faults of these kinds, in
/// every order and at every moment.
fn explore(ticks: u32, idempotent: bool, faults: u8, kinds: &'static [Fault]) {
    let rules = Rules { ticks, journal_max: 4, faults, kinds, by_wire: false };
    let orders = vec![command("c", "pump", idempotent, Priority::Normal, ticks - 1)];
    let checker = Small { rules, orders }.checker().spawn_bfs().join();
    for (name, path) in checker.discoveries() {
        let is_broken = checker.model().property(name).expectation == Expectation::Always;
        assert!(!is_broken, "{name} is broken by {:#?}\n{:#?}", path.clone().into_actions(), path.last_state());
    }
    checker.assert_properties();
    let (states, depth) = (checker.unique_state_count(), checker.max_depth());
    assert!(states > 10_000 && depth > 20, "{states} states, {depth} deep, are no exploration");
}

#[test]
fn any_one_fault() {
    explore(1, false, 1, ALL_FAULTS);
}

#[test]
fn crashes_of_agent_and_gateway() {
    explore(
        1,
        false,
        2,
        &[Fault::Kill { kept: 0 }, Fault::LosePower { kept: 1 }, Fault::Break, Fault::CrashGateway(0), Fault::Busy],
    );
}

#[test]
fn answers_lost_and_requests_late() {
    explore(1, false, 2, &[Fault::LoseAnswer(0), Fault::Delay(0), Fault::RunGhost, Fault::Break, Fault::DoubleDown]);
}

#[test]
fn a_card_wiped_or_put_back() {
    explore(1, false, 2, &[Fault::SaveCard, Fault::PutBackCard, Fault::WipeCard, Fault::LosePower { kept: 0 }]);
}

#[test]
fn a_card_put_back_to_when_a_device_was_busy() {
    explore(2, false, 3, &[Fault::SaveCard, Fault::PutBackCard, Fault::Busy]);
}

#[test]
fn a_backbone_gone_back() {
    explore(1, false, 2, &[Fault::SaveStore, Fault::RollBackStore, Fault::LosePower { kept: 0 }]);
}

#[test]
fn a_command_taken_back() {
    explore(1, false, 2, &[Fault::Cancel, Fault::Busy, Fault::Kill { kept: 0 }, Fault::LoseAnswer(0)]);
}

#[test]
fn an_idempotent_command_runs_again() {
    explore(1, true, 2, &[Fault::Kill { kept: 0 }, Fault::LosePower { kept: 1 }, Fault::PutBackCard, Fault::SaveCard]);
}
