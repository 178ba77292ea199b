//! The task with a real queue and a real clock.

use lockgate_codec::{Decoded, Zone};
use lockgate_proto::ids::MetricName;
use lockgate_proto::reading::{Quality, Value};
use lockgate_proto::record::{PresenceReason, Record};
use lockgate_proto::seq::{Lane, Seq};

use super::*;
use crate::source::status::StatusBoard;
use crate::testing::{Bench, within_patience};

const PROFILE: &str = "framing = \"lines\"\ndecode = \"json\"\nvalue = [{ keys = \".*\" }]\nstale_after = \"1s\"\n";

/// A start of the agent: its vigil beside a script.
async fn start(bench: &Bench, script: impl AsyncFnOnce(&Watcher)) {
    let path = bench.folder.path().join("profile.toml");
    std::fs::write(&path, PROFILE).unwrap();
    let profile = SourceProfile::by_name(path.to_str().unwrap(), None, Zone::default()).unwrap();
    let ingest = Ingest::new(bench.queue.clone(), bench.dead_letters.clone(), bench.time.clone());
    let watcher = ingest.watcher("meter", &profile);
    let status = StatusBoard::default().add("presence");
    let file = bench.folder.path().join("devices");
    let task = VigilTask::new(ingest, status, file, std::slice::from_ref(&watcher));
    let stop = CancellationToken::new();
    let script = async {
        script(&watcher).await;
        stop.cancel();
    };
    let (ended, ()) = within_patience(async { tokio::join!(task.run(stop.clone()), script) }).await;
    ended.unwrap();
}

fn reading(device: &str, retained: bool) -> Output {
    Output::Reading(Decoded {
        device: DeviceName::new(device).unwrap(),
        metric: MetricName::new("level").unwrap(),
        unit: None,
        value: Value::Integer(1),
        quality: Quality::Good,
        time: None,
        retained,
        historical: false,
    })
}

/// Waits for so many events, and gives the last.
async fn told(bench: &Bench, count: u64) -> (String, bool, PresenceReason) {
    let mut progress = bench.queue.progress();
    let appended = |progress: &crate::queue::Progress| progress.appended[Lane::Events.index()] >= Seq::new(count);
    progress.wait_for(appended).await.unwrap();
    let records = bench.records(Lane::Events).await;
    assert_eq!(records.len() as u64, count, "{records:?}");
    match records.last() {
        Some(Record::Presence(presence)) => (presence.device.to_string(), presence.online, presence.reason),
        other => panic!("{other:?} is no presence"),
    }
}

#[tokio::test]
async fn a_device_that_falls_silent_is_told_stale_also_when_that_was_while_no_agent_ran() {
    let bench = Bench::usual();
    let stale = ("door".to_owned(), false, PresenceReason::Stale);
    let heard = ("door".to_owned(), true, PresenceReason::Heard);
    start(&bench, async |watcher| {
        watcher.heard(&[reading("lamp", true), reading("door", false), reading("door", false)], bench.time.now());
        assert_eq!(told(&bench, 1).await, heard);
        assert_eq!(told(&bench, 2).await, stale);
        watcher.heard(&[reading("door", false)], bench.time.now());
        assert_eq!(told(&bench, 3).await, heard);
    })
    .await;
    // It stays silent from here on.
    start(&bench, async |_| assert_eq!(told(&bench, 4).await, stale)).await;
    start(&bench, async |watcher| {
        watcher.heard(&[reading("lamp", false)], bench.time.now());
        assert_eq!(told(&bench, 5).await, ("lamp".to_owned(), true, PresenceReason::Heard));
        watcher.heard(&[reading("door", false)], bench.time.now());
        assert_eq!(told(&bench, 6).await, heard);
    })
    .await;
}
