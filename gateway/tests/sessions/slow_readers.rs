//! A client that does not read beside one that does: nobody waits, nobody grows, nothing goes missing silently.

use lockgate_proto::reading::Value;
use lockgate_proto::wire;
use lockgate_proto::wire::entry::Body as EntryBody;
use lockgate_proto::wire::server_frame::Body;
use lockgate_proto::wire::subscribe::Start;

use crate::agent::Agent;
use crate::client::{Client, live, offsets, position, subscribe};
use crate::world::World;

/// More than sockets and a room's ring can hold: the slow one must fall behind.
const RECORDS: u64 = 400;
const RECORD_BYTES: usize = 60_000;

async fn flood(agent: &mut Agent) {
    for number in 0..RECORDS {
        let bytes = vec![u8::try_from(number % 251).unwrap(); RECORD_BYTES];
        agent.publish("camera", [Value::Raw(bytes.into())]).await;
        agent.acknowledged().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_is_sent_on_from_the_log_and_misses_nothing() {
    let world = World::start();
    let mut agent = Agent::connect(&world, "edge-1", 1).await;
    let (mut slow, _) = Client::listening(&world, live()).await;
    let (mut fast, _) = Client::listening(&world, live()).await;
    let all: Vec<u64> = (1..=RECORDS).collect();
    let reading = async { offsets(&fast.entries(all.len()).await) };
    let ((), fast_seen) = tokio::join!(flood(&mut agent), reading);
    assert_eq!(fast_seen, all, "the fast one waits for nobody");
    let slow_seen = offsets(&slow.entries(all.len()).await);
    assert_eq!(slow_seen, all);
    assert!(world.figure("lockgate_gateway_client_overruns_total").await >= 1.0, "it did fall behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_is_too_slow_even_for_that_is_told_what_it_did_not_get() {
    let world = World::with(|config| config.client.lag_entries_max = 5, |it| it);
    let mut agent = Agent::connect(&world, "edge-1", 1).await;
    let (mut slow, _) = Client::listening(&world, live()).await;
    flood(&mut agent).await;
    let mut reached = 0;
    let mut lagged = 0;
    while reached < RECORDS {
        match slow.hear().await {
            Body::Delivery(delivery) => {
                for offset in offsets(&delivery.entries) {
                    assert_eq!(offset, reached + 1, "in order, none twice, none left out");
                    reached = offset;
                }
            }
            Body::Lagged(gap) => {
                assert_eq!(gap.after.unwrap().offset, reached);
                reached = gap.through.unwrap().offset;
                lagged += 1;
            }
            Body::Positions(_) => {}
            other => panic!("neither entries nor a gap: {other:?}"),
        }
    }
    assert!(lagged >= 1);
    agent.publish_numbers("pump", 1..=1).await;
    assert_eq!(offsets(&slow.entries(1).await), [RECORDS + 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_slow_reader_did_not_get_is_had_by_subscribing_again_on_the_same_connection() {
    let world = World::with(|config| config.client.lag_entries_max = 5, |it| it);
    let mut agent = Agent::connect(&world, "edge-1", 1).await;
    let (mut slow, _) = Client::listening(&world, live()).await;
    flood(&mut agent).await;
    let mut seen = Vec::new();
    let after = loop {
        match slow.hear().await {
            Body::Delivery(delivery) => seen.extend(offsets(&delivery.entries)),
            Body::Lagged(lagged) => break lagged.after.unwrap(),
            Body::Positions(_) => {}
            other => panic!("neither entries nor a gap: {other:?}"),
        }
    };
    slow.subscribe(subscribe(Start::Since(after))).await;
    slow.forget_heard();
    let rest = usize::try_from(RECORDS).unwrap() - seen.len();
    seen.extend(offsets(&slow.entries(rest).await));
    assert_eq!(seen, (1..=RECORDS).collect::<Vec<_>>(), "each once and in order");
}

/// What a reader in short has been told: where it stands, the latest number of each device, and everything else.
#[derive(Default)]
struct InShort {
    reached: u64,
    latest: std::collections::BTreeMap<String, i64>,
    others: Vec<u64>,
    conflated: usize,
    lagged: usize,
}

impl InShort {
    fn take(&mut self, body: Body) {
        let number = |value: Option<&wire::Value>| match value.and_then(|value| value.kind.as_ref()) {
            Some(wire::value::Kind::Integer(number)) => Some(*number),
            _ => None,
        };
        match body {
            Body::Delivery(delivery) => {
                for entry in delivery.entries {
                    assert_eq!(entry.offset, self.reached + 1, "in order, none twice, none left out");
                    self.reached = entry.offset;
                    match entry.body {
                        Some(EntryBody::Telemetry(told)) => {
                            let number = number(told.values.first());
                            self.latest.extend(number.map(|number| (told.device, number)));
                        }
                        _ => self.others.push(entry.offset),
                    }
                }
            }
            Body::Conflated(conflated) => {
                assert_eq!(conflated.after.unwrap().offset, self.reached);
                self.reached = conflated.through.unwrap().offset;
                self.conflated += 1;
                self.others.extend(offsets(&conflated.entries));
                for shadow in conflated.latest {
                    let number = number(shadow.metrics[0].value.as_ref());
                    self.latest.extend(number.map(|number| (shadow.device, number)));
                }
            }
            Body::Lagged(gap) => {
                assert_eq!(gap.after.unwrap().offset, self.reached);
                self.reached = gap.through.unwrap().offset;
                self.lagged += 1;
            }
            Body::Positions(_) => {}
            other => panic!("neither entries nor a gap: {other:?}"),
        }
    }

    async fn read_through(&mut self, client: &mut Client, offset: u64) {
        while self.reached < offset {
            self.take(client.hear().await);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_that_wants_it_gets_the_latest_of_each_metric_and_all_else() {
    let world = World::start();
    let mut agent = Agent::connect(&world, "edge-1", 1).await;
    let (mut slow, _) = Client::listening(&world, wire::Subscribe { conflate_ms: Some(0), ..live() }).await;
    let (mut fast, _) = Client::listening(&world, live()).await;
    let padding = vec![7; RECORD_BYTES];
    let mut gaps = Vec::new();
    let reading = async { fast.entries(2 * usize::try_from(RECORDS).unwrap() + 4).await };
    let writing = async {
        for number in 0..RECORDS {
            agent.publish("camera", [Value::Raw(padding.clone().into())]).await;
            agent.publish("pump", [Value::Integer(number.cast_signed())]).await;
            if number % 100 == 50 {
                agent.lose_next().await;
            }
            agent.acknowledged().await;
        }
    };
    let (all, ()) = tokio::join!(reading, writing);
    gaps.extend(all.iter().filter(|entry| matches!(entry.body, Some(EntryBody::Gap(_)))).map(|entry| entry.offset));
    assert_eq!(gaps.len(), 4);
    let mut told = InShort::default();
    told.read_through(&mut slow, all.last().unwrap().offset).await;
    assert!(told.conflated >= 1, "it did fall behind");
    assert_eq!(told.latest["pump"], (RECORDS - 1).cast_signed());
    // What was told as lagged is fetched by its positions; in what was told in short, no gap is missing.
    assert!(told.lagged > 0 || told.others == gaps, "{:?} of {gaps:?}", told.others);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_it_gets_telemetry_no_more_often_than_it_wants() {
    let world = World::start();
    let mut agent = Agent::connect(&world, "edge-1", 1).await;
    // So long that nothing but the first message can come within the test.
    let request = wire::Subscribe { conflate_ms: Some(600_000), ..live() };
    let (mut rare, _) = Client::listening(&world, request).await;
    let (mut often, _) = Client::listening(&world, live()).await;
    agent.publish_numbers("pump", 1..=1).await;
    let mut told = InShort::default();
    told.read_through(&mut rare, 1).await;
    assert_eq!((told.conflated, told.latest["pump"]), (1, 1));
    agent.publish_numbers("pump", 2..=300).await;
    let seen = often.entries(300).await;
    // The answer to a question comes behind all that was sent before.
    let list = rare
        .ask(wire::client_frame::Request::ListDevices(wire::ListDevices { site: "plant".into(), ..Default::default() }))
        .await;
    assert!(matches!(list, Body::DeviceList(_)));
    assert!(rare.heard_nothing(), "it was told more often than it wants");
    // It comes back sooner: one message tells all of it in short.
    drop(rare);
    let since = wire::Subscribe { conflate_ms: Some(600_000), ..subscribe(Start::Since(position(&seen[0]))) };
    let (mut back, subscribed) = Client::listening(&world, since).await;
    assert!(subscribed.recovered);
    let Body::Conflated(conflated) = back.hear().await else { panic!("in short") };
    assert_eq!((conflated.through.unwrap().offset, conflated.left_out), (300, 299));
}
