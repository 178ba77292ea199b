//! A client that does not read beside one that does: nobody waits, nobody grows, nothing goes missing silently.

use lockgate_proto::reading::Value;
use lockgate_proto::wire::server_frame::Body;
use lockgate_proto::wire::subscribe::Start;

use crate::agent::Agent;
use crate::client::{Client, live, offsets, subscribe};
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
