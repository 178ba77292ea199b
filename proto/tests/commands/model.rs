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

fn explore(rules: Rules, orders: Vec<Command>) -> usize {
    let checker = Small { rules, orders }.checker().spawn_bfs().join();
    println!(
        "{} states, {} unique, depth {}",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth()
    );
    for (name, path) in checker.discoveries() {
        if checker.model().property(name).expectation == stateright::Expectation::Always {
            println!("{name}: {:#?} {:?}", path.clone().into_actions(), path.last_state().book);
            println!("{:?} {:?}", path.last_state().agent, path.last_state().devices);
        }
    }
    checker.assert_properties();
    checker.unique_state_count()
}

fn probe(kinds: &'static [Fault], idempotent: bool) {
    let faults = std::env::var("F").unwrap().parse().unwrap();
    let ticks: u32 = std::env::var("T").unwrap().parse().unwrap();
    let rules = Rules { ticks, journal_max: 4, faults, kinds, by_wire: false };
    let begin = std::time::Instant::now();
    explore(rules, vec![command("c", "pump", idempotent, Priority::Normal, ticks - 1)]);
    println!("{:?}", begin.elapsed());
}
#[test]
fn p_cards() {
    probe(&[Fault::SaveCard, Fault::PutBackCard, Fault::WipeCard, Fault::LosePower { kept: 0 }, Fault::Break], false);
}
#[test]
fn p_store() {
    probe(&[Fault::SaveStore, Fault::RollBackStore, Fault::LosePower { kept: 0 }, Fault::Break], false);
}
#[test]
fn p_crash() {
    probe(
        &[
            Fault::Kill { kept: 0 },
            Fault::Kill { kept: 1 },
            Fault::LosePower { kept: 0 },
            Fault::LosePower { kept: 1 },
            Fault::Break,
            Fault::CrashGateway(0),
            Fault::Busy,
        ],
        false,
    );
}
#[test]
fn p_requests() {
    probe(
        &[
            Fault::LoseAnswer(0),
            Fault::LoseAnswer(1),
            Fault::Delay(0),
            Fault::Delay(1),
            Fault::RunGhost,
            Fault::Break,
            Fault::DoubleDown,
            Fault::DoubleUp(0),
        ],
        false,
    );
}
#[test]
fn p_cancel() {
    probe(&[Fault::Cancel, Fault::Busy, Fault::Kill { kept: 0 }, Fault::Break, Fault::LoseAnswer(0)], false);
}
#[test]
fn p_idem() {
    probe(
        &[Fault::Kill { kept: 0 }, Fault::LosePower { kept: 1 }, Fault::Busy, Fault::SaveCard, Fault::PutBackCard],
        true,
    );
}
