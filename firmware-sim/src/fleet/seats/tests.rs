//! What a reader makes of its gateway's messages.

use lockgate_proto::ids::Tenant;
use lockgate_proto::wire::entry::Body as EntryBody;
use lockgate_token::SigningKey;

use super::*;
use crate::fleet::mark_logic::Mark;
use crate::fleet::plan_logic::{ClientPlan, Pace, Plan};
use crate::fleet::tally_logic::Faults;

/// Two rooms with one agent each, and a reader of the first.
fn world(published: u64) -> World {
    let plan = Plan {
        rooms: 2,
        agents: 2,
        devices: 1,
        readings: 1,
        pace: Pace::Rate(1),
        time: Duration::from_secs(10),
        clients: vec![ClientPlan { user: 0, rooms: vec![0], is_slow: false }],
        name: "fleet".to_owned(),
    };
    let world = World::new(plan, Vec::new(), Some(SigningKey::from_bytes(&[7; 32])), Tenant::new("acme").unwrap(), 1);
    world.agents[0].published.store(published, Ordering::Relaxed);
    world
}

fn seats(world: &World) -> Seats {
    let mut seats = Seats::new(world, [0].into_iter(), false).unwrap();
    seats.connect();
    seats
}

fn encode(body: Answer) -> Vec<u8> {
    wire::ServerFrame { id: 0, body: Some(body) }.encode_to_vec()
}

fn at(offset: u64) -> wire::Position {
    wire::Position { offset, stamp: offset * 100 }
}

fn subscribed(offset: u64, recovered: bool) -> Vec<u8> {
    let site = "fleet-1".to_owned();
    let position = Some(at(offset));
    encode(Answer::Subscribed(wire::Subscribed { site, position, recovered, ..Default::default() }))
}

/// The record with this number of an agent, at this place of the log.
fn record(offset: u64, run: u64, agent: u64, number: u64) -> Vec<u8> {
    let raw = Mark { run, agent, number, at_us: 0 }.to_bytes().to_vec();
    let value = wire::Value { kind: Some(wire::value::Kind::Raw(raw.into())) };
    let telemetry = wire::Telemetry { values: vec![value], ..Default::default() };
    let (stamp, previous_stamp) = (offset * 100, (offset - 1) * 100);
    let body = Some(EntryBody::Telemetry(telemetry));
    let entry = wire::Entry { offset, stamp, previous_stamp, body, ..Default::default() };
    encode(Answer::Delivery(wire::Delivery { site: "fleet-1".to_owned(), entries: vec![entry] }))
}

fn hear(seats: &mut Seats, world: &World, messages: &[Vec<u8>]) -> Vec<Heard> {
    for message in messages {
        seats.hear(world, 0, message);
    }
    seats.take_heard().into()
}

#[test]
fn what_comes_in_order_is_got_and_others_records_are_left_alone() {
    let world = world(2);
    let (run, mut seats) = (world.run, seats(&world));
    let connected = encode(Answer::Connected(wire::Connected::default()));
    let heard = hear(&mut seats, &world, &[connected, subscribed(5, false)]);
    assert_eq!(heard, [Heard::LetIn, Heard::Up]);
    let came = [record(6, run, 0, 1), record(7, run ^ 1, 0, 1), record(8, run, 0, 2)];
    assert!(hear(&mut seats, &world, &came).is_empty());
    assert_eq!(world.readers[0].got.load(Ordering::Relaxed), 2);
    let end = seats.settle(&world);
    assert_eq!((end.got, end.faults), (2, Faults::default()));
}

#[test]
fn a_hole_ends_the_connection_and_the_next_goes_on_before_it() {
    let world = world(3);
    let (run, mut seats) = (world.run, seats(&world));
    let came = [subscribed(0, false), record(1, run, 0, 1), record(3, run, 0, 3), record(4, run, 0, 4)];
    assert_eq!(hear(&mut seats, &world, &came).last(), Some(&Heard::DoesNotFollow));
    seats.connect();
    let (_, request) = seats.requests().next().unwrap();
    assert_eq!(request.start, Some(Start::Since(at(1))));
    hear(&mut seats, &world, &[subscribed(1, true), record(2, run, 0, 2), record(3, run, 0, 3)]);
    let end = seats.settle(&world);
    assert_eq!((end.got, end.not_recovered, end.faults), (3, 0, Faults::default()));
}

#[test]
fn a_statement_ahead_of_what_came_shows_a_hole() {
    let world = world(1);
    let mut seats = seats(&world);
    let stated = |offset| {
        let position = wire::SitePosition { site: "fleet-1".to_owned(), position: Some(at(offset)) };
        encode(Answer::Positions(wire::Positions { positions: vec![position] }))
    };
    let fine = [subscribed(0, false), record(1, world.run, 0, 1), stated(1)];
    assert_eq!(hear(&mut seats, &world, &fine), [Heard::Up]);
    assert_eq!(hear(&mut seats, &world, &[stated(2)]), [Heard::DoesNotFollow]);
}

#[test]
fn an_entry_that_comes_twice_and_one_of_another_room_are_faults() {
    let world = world(1);
    let (run, mut seats) = (world.run, seats(&world));
    hear(&mut seats, &world, &[subscribed(0, false), record(1, run, 0, 1), record(1, run, 0, 1), record(2, run, 1, 1)]);
    assert_eq!(seats.settle(&world).faults, Faults { doubled: 1, strange: 1, ..Faults::default() });
}

#[test]
fn what_is_told_as_lagged_is_not_lost_and_what_is_not_told_is() {
    let world = world(4);
    let (run, mut seats) = (world.run, seats(&world));
    let site = "fleet-1".to_owned();
    let lagged = encode(Answer::Lagged(wire::Lagged { site, after: Some(at(1)), through: Some(at(3)) }));
    hear(&mut seats, &world, &[subscribed(0, false), record(1, run, 0, 1), lagged]);
    assert_eq!(world.readers[0].lagged.load(Ordering::Relaxed), 2);
    let end = seats.settle(&world);
    assert_eq!((end.lagged_told, end.lagged_entries, end.faults.lost), (1, 2, 1));
}

#[test]
fn a_resume_that_is_refused_is_told() {
    let world = world(0);
    let mut seats = seats(&world);
    hear(&mut seats, &world, &[subscribed(5, false)]);
    seats.connect();
    hear(&mut seats, &world, &[subscribed(9, false)]);
    assert_eq!(seats.settle(&world).not_recovered, 1);
}

#[test]
fn a_gateway_that_cannot_answer_now_is_asked_again_later() {
    let world = world(0);
    let mut seats = seats(&world);
    let error = |retry_after_ms| {
        encode(Answer::Error(wire::Error { message: "no store".to_owned(), retry_after_ms, ..Default::default() }))
    };
    let after = Duration::from_millis(700);
    let later = [Heard::GoAway { after, gateways: Vec::new() }, Heard::NotNow("no store".to_owned())];
    assert_eq!(hear(&mut seats, &world, &[error(700)]), later);
    seats.connect();
    assert_eq!(hear(&mut seats, &world, &[error(0)]), [Heard::Refused("no store".to_owned())]);
}
