//! A reader that asks for some kinds of entry and some metrics gets these, and a position for all else.

use std::time::Duration;

use lockgate_proto::wire;
use lockgate_proto::wire::client_frame::Request;
use lockgate_proto::wire::entry::Body as EntryBody;
use lockgate_proto::wire::server_frame::Body;
use lockgate_proto::wire::subscribe::Start;

use crate::agent::Agent;
use crate::client::{Client, live, offsets, subscribe};
use crate::world::World;

fn metrics(names: &[&str]) -> wire::Filter {
    wire::Filter { metrics: names.iter().map(ToString::to_string).collect(), ..Default::default() }
}

fn kinds(kinds: &[wire::EntryKind]) -> wire::Filter {
    wire::Filter { kinds: kinds.iter().map(|kind| (*kind).into()).collect(), ..Default::default() }
}

fn filtered(request: wire::Subscribe, filter: wire::Filter) -> wire::Subscribe {
    wire::Subscribe { filter: Some(filter), ..request }
}

fn from_start() -> wire::Subscribe {
    subscribe(Start::Since(wire::Position::default()))
}

/// The place of an entry, and what metrics it tells.
fn shown(entry: &wire::Entry) -> (u64, Vec<&str>) {
    let metrics = match &entry.body {
        Some(EntryBody::Telemetry(telemetry)) => {
            assert_eq!(telemetry.values.len(), telemetry.metrics.len(), "one value each: {telemetry:?}");
            telemetry.metrics.iter().map(|metric| metric.name.as_str()).collect()
        }
        _ => Vec::new(),
    };
    (entry.offset, metrics)
}

fn names(shadow: &wire::DeviceShadow) -> Vec<&str> {
    shadow.metrics.iter().map(|metric| metric.metric.as_ref().unwrap().name.as_str()).collect()
}

/// Where the client is told to stand, once it is told to stand there.
async fn told_to_stand_at(client: &mut Client, offset: u64) -> wire::Position {
    loop {
        match client.hear().await {
            Body::Positions(positions) => {
                let position = positions.positions[0].position.unwrap();
                if position.offset == offset {
                    return position;
                }
            }
            other => panic!("only positions can be told: {other:?}"),
        }
    }
}

fn often_pinging() -> World {
    World::with(|config| config.client.ping_interval = Duration::from_secs(1), |it| it)
}

#[tokio::test(flavor = "multi_thread")]
async fn of_telemetry_only_the_metrics_come_that_were_asked_for_live_and_from_the_log() {
    let world = World::start();
    let mut agent = Agent::connect(&world, "edge-1", 1).await;
    let publish = async |agent: &mut Agent| {
        agent.publish_metrics("pump", &["level", "flow", "rpm"], 1).await;
        agent.publish_metrics("pump", &["rpm"], 2).await;
        agent.publish_metrics("fan", &["flow"], 3).await;
        agent.lose_next().await;
        agent.acknowledged().await;
    };
    publish(&mut agent).await;
    let request = filtered(from_start(), metrics(&["level", "flow"]));
    let (mut client, subscribed) = Client::listening(&world, request).await;
    assert!(subscribed.filtered && subscribed.recovered);
    let logged = client.entries(3).await;
    publish(&mut agent).await;
    let live = client.entries(3).await;
    let expected = [(1, vec!["level", "flow"]), (3, vec!["flow"]), (4, vec![])];
    assert_eq!(logged.iter().map(shown).collect::<Vec<_>>(), expected);
    let expected = expected.map(|(offset, metrics)| (offset + 4, metrics));
    assert_eq!(live.iter().map(shown).collect::<Vec<_>>(), expected);
    assert!(logged.iter().all(|entry| entry.origin.is_some() == (entry.offset != 4)), "headers stay: {logged:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_kinds_come_that_were_asked_for() {
    let world = World::start();
    let mut agent = Agent::connect(&world, "edge-1", 1).await;
    let request = filtered(live(), kinds(&[wire::EntryKind::Gap, wire::EntryKind::Alarm]));
    let (mut client, subscribed) = Client::listening(&world, request).await;
    assert!(subscribed.filtered);
    for _ in 0..2 {
        agent.publish_numbers("pump", 1..=2).await;
        agent.lose_next().await;
        agent.acknowledged().await;
    }
    assert_eq!(offsets(&client.entries(2).await), [3, 6]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_back_to_a_place_that_was_left_out_misses_nothing() {
    let world = often_pinging();
    let mut agent = Agent::connect(&world, "edge-1", 1).await;
    for filter in [metrics(&["level"]), kinds(&[wire::EntryKind::Gap])] {
        let (mut client, subscribed) = Client::listening(&world, filtered(live(), filter.clone())).await;
        let begin = subscribed.position.unwrap().offset;
        agent.publish_metrics("pump", &["rpm"], 1).await;
        agent.publish_metrics("pump", &["flow"], 2).await;
        let since = told_to_stand_at(&mut client, begin + 2).await;
        drop(client);
        agent.publish_metrics("pump", &["rpm"], 3).await;
        agent.publish_metrics("pump", &["level"], 4).await;
        agent.lose_next().await;
        agent.acknowledged().await;
        let request = filtered(subscribe(Start::Since(since)), filter.clone());
        let (mut client, subscribed) = Client::listening(&world, request).await;
        assert!(subscribed.recovered, "{subscribed:?}");
        let expected: &[u64] = if filter.kinds.is_empty() { &[begin + 4, begin + 5] } else { &[begin + 5] };
        assert_eq!(offsets(&client.entries(expected.len()).await), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_has_what_the_filter_lets_pass() {
    let world = World::start();
    let mut agent = Agent::connect(&world, "edge-1", 1).await;
    agent.publish_metrics("pump", &["level", "flow"], 1).await;
    agent.publish_metrics("fan", &["rpm"], 2).await;
    let mut client = Client::connect(&world).await;
    let mut snapshot = async |filter: wire::Filter| {
        let request = wire::Subscribe { snapshot: true, ..filtered(live(), filter) };
        client.subscribe(request).await.snapshot
    };
    let all = snapshot(wire::Filter::default()).await;
    assert_eq!(all.iter().map(names).collect::<Vec<_>>(), [vec!["rpm"], vec!["flow", "level"]]);
    let some = snapshot(metrics(&["level", "humidity"])).await;
    assert_eq!(some.iter().map(|shadow| shadow.device.as_str()).collect::<Vec<_>>(), ["pump"]);
    assert_eq!(names(&some[0]), ["level"]);
    assert_eq!(snapshot(kinds(&[wire::EntryKind::Alarm])).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_short_too_only_the_metrics_come_that_were_asked_for() {
    let world = World::start();
    let mut agent = Agent::connect(&world, "edge-1", 1).await;
    for number in 1..=5 {
        agent.publish_metrics("pump", &["level", "flow"], number).await;
        agent.publish_metrics("fan", &["rpm"], number).await;
    }
    // So long that all comes in one message.
    let request = wire::Subscribe { conflate_ms: Some(600_000), ..filtered(from_start(), metrics(&["flow"])) };
    let (mut client, _) = Client::listening(&world, request).await;
    let Body::Conflated(conflated) = client.hear().await else { panic!("in short") };
    assert_eq!((conflated.through.unwrap().offset, conflated.left_out, conflated.latest.len()), (10, 5, 1));
    assert_eq!((conflated.latest[0].device.as_str(), names(&conflated.latest[0])), ("pump", vec!["flow"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_of_a_later_version_is_refused_with_the_field_and_what_is_known() {
    let world = World::start();
    let mut client = Client::connect(&world).await;
    let later = wire::Filter { kinds: vec![wire::EntryKind::Gap.into(), 77], ..Default::default() };
    let refused = client.refused(Request::Subscribe(filtered(live(), later))).await;
    assert_eq!((refused.code(), refused.field.as_str()), (wire::ErrorCode::Invalid, "subscribe.filter.kinds"));
    assert!(refused.message.contains("ENTRY_KIND_TELEMETRY, ENTRY_KIND_PRESENCE"), "{}", refused.message);
    let many = wire::Filter { metrics: vec!["m".into(); 1_025], ..Default::default() };
    let refused = client.refused(Request::Subscribe(filtered(live(), many))).await;
    assert_eq!((refused.code(), refused.field.as_str()), (wire::ErrorCode::Invalid, "subscribe.filter.metrics"));
}
