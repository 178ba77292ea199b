//! Shadows: newest in the order of the agent, and never behind the position told with them.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lockgate_proto::convert::decode_entry;
use lockgate_proto::entry::{EntryBody, EntryKind};
use lockgate_proto::ids::MetricName;
use lockgate_proto::reading::Value;
use lockgate_proto::record::PresenceReason;
use lockgate_proto::seq::{Epoch, Seq};

use super::agent::{Agent, NOON, device, log_of, room};
use super::{DEVICES_MAX, Keep, World};
use crate::backbone::{Backbone, DeviceShadow, DeviceTest, MetricTest, PageWanted, Wanted};

type Made = Box<dyn World>;

async fn shadow(backbone: &dyn Backbone, name: &str) -> DeviceShadow {
    backbone.shadow(&room("plant"), &device(name)).await.unwrap().1.expect("the device is known")
}

fn values(shadow: &DeviceShadow) -> Vec<(&str, i64)> {
    let value = |value: &Value| match value {
        Value::Integer(value) => *value,
        other => panic!("{other:?}"),
    };
    shadow.metrics.iter().map(|metric| (metric.reading.metric.as_str(), value(&metric.reading.value))).collect()
}

pub(crate) async fn a_shadow_keeps_the_newest_in_the_order_of_the_agent<F: Future<Output = Made>>(
    make: impl Fn(Keep) -> F,
) {
    let mut world = make(Keep::default()).await;
    let mut agent = Agent::open(&world.backbone(), &room("plant"), "pi", 1).await;
    let late = agent.number(lockgate_proto::seq::Lane::Telemetry);
    let newer = agent.telemetry("pump", &[("level", 20), ("flow", 1)]);
    agent.step(vec![newer]).await.unwrap();
    // By the clock the late one is the newer: that must not count.
    agent.received_at = NOON.offset_by(5_000_000);
    let late = agent.numbered(late, "pump", &[("level", 10), ("heat", 3)], false, false);
    agent.step(vec![late]).await.unwrap();
    assert_eq!(values(&shadow(&*world.backbone(), "pump").await), [("flow", 1), ("heat", 3), ("level", 20)]);
    let twice = agent.telemetry("pump", &[("level", 30), ("level", 31)]);
    agent.step(vec![twice]).await.unwrap();
    world.crash().await;
    let kept = shadow(&*world.backbone(), "pump").await;
    assert_eq!(values(&kept), [("flow", 1), ("heat", 3), ("level", 31)]);
    assert_eq!((kept.agent.as_str(), kept.online), ("pi", None));
    assert_eq!(kept.last_seen, Some(agent.received_at.offset_by(-1_000)));
    let level = &kept.metrics[2];
    assert_eq!((level.received_at, level.order.seq), (agent.received_at, 3));
}

pub(crate) async fn backlog_and_history_do_not_overwrite_what_is_newer<F: Future<Output = Made>>(
    make: impl Fn(Keep) -> F,
) {
    let world = make(Keep::default()).await;
    let backbone = world.backbone();
    let mut old = Agent::open(&backbone, &room("plant"), "pi", 1).await;
    old.store("pump", 1).await;
    let epochs = [Epoch(1), Epoch(2)];
    let session = lockgate_proto::ids::SessionId(2);
    let ledger = super::agent::granted(backbone.open_session(&old.id, session, &epochs).await.unwrap());
    let mut agent = Agent { epoch: Epoch(2), epoch_order: ledger.order(Epoch(2)).unwrap(), ..old };
    agent.go_on_as(session, ledger);
    let live = agent.numbered(Seq::new(1), "pump", &[("level", 50)], false, false);
    agent.step(vec![live]).await.unwrap();
    // The first epoch's rest comes as backlog; its number is larger, its epoch is older.
    (agent.epoch, agent.epoch_order) = (Epoch(1), agent.ledger.order(Epoch(1)).unwrap());
    let backlog = agent.numbered(Seq::new(900), "pump", &[("level", 7), ("flow", 8)], true, false);
    let history = agent.numbered(Seq::new(901), "pump", &[("heat", 9)], false, true);
    agent.step(vec![backlog, history]).await.unwrap();
    assert_eq!(values(&shadow(&*backbone, "pump").await), [("flow", 8), ("level", 50)]);
    assert_eq!(agent.log().await.len(), 4);
}

pub(crate) async fn presence_follows_its_own_order<F: Future<Output = Made>>(make: impl Fn(Keep) -> F) {
    let mut world = make(Keep::default()).await;
    let mut agent = Agent::open(&world.backbone(), &room("plant"), "pi", 1).await;
    let (on, off) = (agent.presence("pump", true), agent.presence("pump", false));
    agent.step(vec![off]).await.unwrap();
    agent.step(vec![on]).await.unwrap();
    assert_eq!(shadow(&*world.backbone(), "pump").await.online, Some(false));
    agent.store("pump", 5).await;
    world.crash().await;
    agent.backbone = world.backbone();
    assert_eq!(shadow(&*world.backbone(), "pump").await.online, Some(false));
    let on = agent.presence("pump", true);
    agent.step(vec![on]).await.unwrap();
    let present = shadow(&*world.backbone(), "pump").await;
    assert_eq!((present.online, present.last_seen), (Some(true), Some(agent.received_at)));
    assert_eq!(values(&present), [("level", 4)]);
}

pub(crate) async fn a_device_is_stale_until_it_is_heard_again<F: Future<Output = Made>>(make: impl Fn(Keep) -> F) {
    let mut world = make(Keep::default()).await;
    let mut agent = Agent::open(&world.backbone(), &room("plant"), "pi", 1).await;
    let told = [
        (false, PresenceReason::Stale, true),
        (true, PresenceReason::Heard, false),
        (false, PresenceReason::Said, false),
        (false, PresenceReason::Stale, true),
    ];
    for (online, reason, stale) in told {
        let entry = agent.presence_by("pump", online, reason);
        agent.step(vec![entry]).await.unwrap();
        let shadow = shadow(&*world.backbone(), "pump").await;
        assert_eq!((shadow.online, shadow.stale), (Some(online), stale), "{reason:?}");
    }
    world.crash().await;
    let backbone = world.backbone();
    assert!(shadow(&*backbone, "pump").await.stale);
    let listed = backbone.devices(&room("plant")).await.unwrap();
    assert_eq!((listed[0].online, listed[0].stale), (Some(false), true));
    // A step in which a device fell silent and was heard tells the end of it.
    agent.backbone = backbone;
    let both = [(true, PresenceReason::Heard), (false, PresenceReason::Stale), (true, PresenceReason::Heard)];
    let both = both.map(|(online, reason)| agent.presence_by("pump", online, reason));
    agent.step(both.into()).await.unwrap();
    let shadow = shadow(&*world.backbone(), "pump").await;
    assert_eq!((shadow.online, shadow.stale), (Some(true), false));
}

pub(crate) async fn a_device_goes_over_to_the_agent_that_tells_of_it_now<F: Future<Output = Made>>(
    make: impl Fn(Keep) -> F,
) {
    let world = make(Keep::default()).await;
    let backbone = world.backbone();
    let mut first = Agent::open(&backbone, &room("plant"), "first", 1).await;
    let mut second = Agent::open(&backbone, &room("plant"), "second", 2).await;
    first.store("pump", 9).await;
    let taken_over = second.telemetry("pump", &[("level", 100)]);
    second.step(vec![taken_over]).await.unwrap();
    let backlog = first.numbered(Seq::new(500), "pump", &[("level", 1)], true, false);
    first.step(vec![backlog]).await.unwrap();
    let shadow = shadow(&*backbone, "pump").await;
    assert_eq!((shadow.agent.as_str(), values(&shadow)), ("second", vec![("level", 100)]));
}

pub(crate) async fn a_snapshot_knows_all_up_to_its_position<F: Future<Output = Made>>(make: impl Fn(Keep) -> F) {
    let world = make(Keep::default()).await;
    let backbone = world.backbone();
    let writer = {
        let backbone = backbone.clone();
        async move {
            let mut agent = Agent::open(&backbone, &room("plant"), "pi", 1).await;
            for value in 1..=60 {
                let entry = agent.telemetry("pump", &[("level", value)]);
                agent.step(vec![entry]).await.unwrap();
            }
        }
    };
    let reader = async {
        let mut snapshots = Vec::new();
        loop {
            let snapshot = backbone.snapshot(&room("plant")).await.unwrap();
            let done = snapshot.position.offset.0 == 60;
            snapshots.push(snapshot);
            if done {
                return snapshots;
            }
        }
    };
    let ((), snapshots) = tokio::join!(writer, reader);
    let log = log_of(&backbone, &room("plant")).await;
    for snapshot in snapshots.iter().filter(|snapshot| snapshot.position.offset.0 > 0) {
        let at = usize::try_from(snapshot.position.offset.0).unwrap() - 1;
        assert_eq!(log[at].position, snapshot.position);
        let EntryBody::Telemetry(telemetry) = decode_entry(log[at].bytes.clone()).unwrap().body else { panic!() };
        let Value::Integer(logged) = telemetry.readings[0].value else { panic!() };
        assert!(values(&snapshot.devices[0])[0].1 >= logged);
    }
}

pub(crate) async fn devices_are_listed_by_name<F: Future<Output = Made>>(make: impl Fn(Keep) -> F) {
    let world = make(Keep::default()).await;
    let mut agent = Agent::open(&world.backbone(), &room("plant"), "pi", 1).await;
    let entries = vec![
        agent.telemetry("valve 2/a", &[("level", 1), ("flow", 2)]),
        agent.presence("Ärger", true),
        agent.telemetry("pump", &[("level", 1)]),
    ];
    agent.step(entries).await.unwrap();
    let devices = world.backbone().devices(&room("plant")).await.unwrap();
    let list: Vec<_> = devices.iter().map(|device| (device.device.as_str(), device.metrics, device.online)).collect();
    assert_eq!(list, [("pump", 1, None), ("valve 2/a", 2, None), ("Ärger", 0, Some(true))]);
    let snapshot = world.backbone().snapshot(&room("plant")).await.unwrap();
    let names: Vec<_> = snapshot.devices.iter().map(|shadow| shadow.device.as_str()).collect();
    assert_eq!(names, ["pump", "valve 2/a", "Ärger"]);
    assert_eq!(world.backbone().shadow(&room("plant"), &device("nobody")).await.unwrap().1, None);
}

pub(crate) async fn a_list_goes_on_where_it_stopped<F: Future<Output = Made>>(make: impl Fn(Keep) -> F) {
    let world = make(Keep::default()).await;
    let mut agent = Agent::open(&world.backbone(), &room("plant"), "pi", 1).await;
    let entries = ["d", "b", "hidden", "a", "c", "e"].map(|name| agent.telemetry(name, &[("level", 1)]));
    agent.step(entries.into()).await.unwrap();
    let mut pages: Vec<(Vec<String>, bool)> = Vec::new();
    let mut after = None;
    loop {
        let devices = DeviceTest::new(|device| device.as_str() != "hidden");
        let wanted = PageWanted { devices, tag: None, after, count_max: 2 };
        let page = world.backbone().page(&room("plant"), wanted).await.unwrap();
        pages.push((page.devices.iter().map(|device| device.device.as_str().to_owned()).collect(), page.more));
        after = page.devices.last().map(|last| last.device.clone());
        if !page.more {
            break;
        }
    }
    let named = |names: &[&str], more| (names.iter().map(ToString::to_string).collect::<Vec<_>>(), more);
    assert_eq!(pages, [named(&["a", "b"], true), named(&["c", "d"], true), named(&["e"], false)]);
    let nowhere = PageWanted { devices: DeviceTest::new(|_| true), tag: None, after: None, count_max: 1 };
    assert!(!world.backbone().page(&room("nowhere"), nowhere).await.unwrap().more);
}

pub(crate) async fn no_more_shadows_are_read_than_are_wanted<F: Future<Output = Made>>(make: impl Fn(Keep) -> F) {
    let world = make(Keep::default()).await;
    let mut agent = Agent::open(&world.backbone(), &room("plant"), "pi", 1).await;
    for at in 0..20 {
        let entry = agent.telemetry(&format!("pump-{at:02}"), &[("level", at), ("flow", at)]);
        agent.step(vec![entry]).await.unwrap();
    }
    let select = async |test: DeviceTest, bytes_max| {
        let wanted = Wanted { devices: test, metrics: MetricTest::all(), bytes_max };
        world.backbone().select(&room("plant"), wanted).await.unwrap()
    };
    let all = select(DeviceTest::new(|_| true), 20 * 200).await;
    assert_eq!(all.position.offset.0, 20);
    assert_eq!(all.devices, Some(world.backbone().snapshot(&room("plant")).await.unwrap().devices));
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let counted = DeviceTest::new(move |_| counter.fetch_add(1, Ordering::Relaxed) < usize::MAX);
    let too_large = select(counted, 100).await;
    assert_eq!((too_large.devices, too_large.position), (None, all.position));
    assert!(asked.load(Ordering::Relaxed) <= 3, "nobody looks at the rest");
    let few = select(DeviceTest::new(|device| device.as_str() == "pump-07"), 100).await;
    let few: Vec<_> = few.devices.unwrap().iter().map(|shadow| shadow.device.as_str().to_owned()).collect();
    assert_eq!(few, ["pump-07"]);
    // What is not wanted of a device makes nothing too large.
    let metrics = MetricTest::new(|metric: &MetricName| metric.as_str() == "flow");
    let bytes_max = 20 * 30;
    assert_eq!(select(DeviceTest::all(), bytes_max).await.devices, None);
    let wanted = Wanted { devices: DeviceTest::all(), metrics, bytes_max };
    let part = world.backbone().select(&room("plant"), wanted).await.unwrap();
    let part: Vec<_> = part.devices.unwrap().into_iter().flat_map(|shadow| shadow.metrics).collect();
    assert_eq!(part.len(), 20);
    assert!(part.iter().all(|metric| metric.reading.metric.as_str() == "flow"), "{part:?}");
}

pub(crate) async fn devices_beyond_the_bound_are_logged_and_get_no_shadow<F: Future<Output = Made>>(
    make: impl Fn(Keep) -> F,
) {
    let mut world = make(Keep::default()).await;
    let mut agent = Agent::open(&world.backbone(), &room("plant"), "pi", 1).await;
    for at in 0..DEVICES_MAX {
        let entry = agent.telemetry(&format!("pump-{at:02}"), &[("level", 1)]);
        agent.step(vec![entry]).await.unwrap();
    }
    for round in 2..=3 {
        let mut entries = vec![agent.telemetry("pump-00", &[("level", round)])];
        entries.extend((0..3).map(|at| agent.telemetry(&format!("junk-{round}-{at}"), &[("level", round)])));
        entries.push(agent.presence("junk", true));
        agent.step(entries).await.unwrap();
    }
    let backbone = world.backbone();
    let kinds: Vec<EntryKind> = log_of(&backbone, &room("plant")).await.iter().map(|entry| entry.kind).collect();
    assert_eq!(kinds.len(), DEVICES_MAX + 2 * 5 + 1);
    let alarms: Vec<usize> = (0..kinds.len()).filter(|at| kinds[*at] == EntryKind::Alarm).collect();
    assert_eq!(alarms, [DEVICES_MAX + 5], "told once, behind the step that passed the bound");
    let names = async |backbone: &dyn Backbone| -> Vec<String> {
        let devices = backbone.devices(&room("plant")).await.unwrap();
        devices.iter().map(|device| device.device.as_str().to_owned()).collect()
    };
    let known: Vec<String> = (0..DEVICES_MAX).map(|at| format!("pump-{at:02}")).collect();
    assert_eq!(names(&*backbone).await, known);
    assert_eq!(values(&shadow(&*backbone, "pump-00").await), [("level", 3)], "who has a place keeps it");
    world.crash().await;
    let backbone = world.backbone();
    agent.backbone = Arc::clone(&backbone);
    let entries = vec![agent.telemetry("junk", &[("level", 4)]), agent.telemetry("pump-23", &[("level", 4)])];
    agent.step(entries).await.unwrap();
    assert_eq!(names(&*backbone).await, known);
    assert_eq!(values(&shadow(&*backbone, "pump-23").await), [("level", 4)]);
    let mut elsewhere = Agent::open(&backbone, &room("other"), "pi", 1).await;
    let entry = elsewhere.telemetry("junk", &[("level", 1)]);
    elsewhere.step(vec![entry]).await.unwrap();
    assert_eq!(backbone.devices(&room("other")).await.unwrap().len(), 1, "each room has its own bound");
}
