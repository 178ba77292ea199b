//! Steps and shadows beyond what is usual.

use tempfile::TempDir;

use super::{connect, start};
use crate::backbone::Stepped;
use crate::backbone::conformance::agent::{Agent, device, room};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_of_endless_metrics_forgets_those_silent_longest_and_none_that_speaks() {
    let place = TempDir::new().unwrap();
    let redis = start(place.path());
    let backbone = connect(&redis.url()).await;
    let mut agent = Agent::open(&backbone, &room("plant"), "pi", 1).await;
    let metrics = |range: std::ops::Range<i64>| range.map(|at| (format!("m{at:05}"), at)).collect::<Vec<_>>();
    for range in [0..2_000, 2_000..4_000, 4_000..4_096] {
        agent.received_at = agent.received_at.offset_by(1);
        let metrics = metrics(range);
        let metrics: Vec<_> = metrics.iter().map(|(metric, value)| (metric.as_str(), *value)).collect();
        let entry = agent.telemetry("pump", &metrics);
        assert_eq!(agent.step(vec![entry]).await, Ok(Stepped::Done));
    }
    // Half of the oldest speak again, beside as many new ones.
    agent.received_at = agent.received_at.offset_by(1);
    let speaking = [metrics(0..1_000), metrics(5_000..6_000)].concat();
    let speaking: Vec<_> = speaking.iter().map(|(metric, _)| (metric.as_str(), -1)).collect();
    let entry = agent.telemetry("pump", &speaking);
    assert_eq!(agent.step(vec![entry]).await, Ok(Stepped::Done));
    let shadow = backbone.shadow(&room("plant"), &device("pump")).await.unwrap().1.unwrap();
    let kept: Vec<&str> = shadow.metrics.iter().map(|metric| metric.reading.metric.as_str()).collect();
    let expected = [metrics(0..1_000), metrics(2_000..4_096), metrics(5_000..6_000)].concat();
    assert_eq!(kept, expected.iter().map(|(metric, _)| metric.as_str()).collect::<Vec<_>>());
    assert_eq!(backbone.devices(&room("plant")).await.unwrap()[0].metrics, 4_096);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_of_more_metrics_than_a_shadow_keeps_is_stored() {
    let place = TempDir::new().unwrap();
    let redis = start(place.path());
    let backbone = connect(&redis.url()).await;
    let mut agent = Agent::open(&backbone, &room("plant"), "pi", 1).await;
    for round in 0..2 {
        let metrics: Vec<_> = (0..9_000).map(|at| format!("m{at}-{round}")).collect();
        let metrics: Vec<_> = metrics.iter().map(|metric| (metric.as_str(), 1)).collect();
        let entry = agent.telemetry("pump", &metrics);
        assert_eq!(agent.step(vec![entry]).await, Ok(Stepped::Done));
    }
    assert_eq!(agent.log().await.len(), 2);
    assert_eq!(backbone.devices(&room("plant")).await.unwrap()[0].metrics, 4_096);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_of_thousands_of_devices_is_one_step() {
    let place = TempDir::new().unwrap();
    let redis = start(place.path());
    let backbone = connect(&redis.url()).await;
    let mut agent = Agent::open(&backbone, &room("plant"), "pi", 1).await;
    let entries = (0..8_500).map(|at| agent.telemetry(&format!("pump-{at}"), &[("level", at)])).collect();
    assert_eq!(agent.step(entries).await, Ok(Stepped::Done));
    assert_eq!(agent.log().await.len(), 8_500);
    let snapshot = backbone.snapshot(&room("plant")).await.unwrap();
    assert_eq!((snapshot.devices.len(), snapshot.position.offset.0), (8_500, 8_500));
    assert!(snapshot.devices.iter().all(|device| device.metrics.len() == 1));
}
