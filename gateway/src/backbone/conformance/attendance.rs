//! Who is in a room, over all instances.

use std::future::Future;
use std::sync::Arc;

use lockgate_proto::attendance::{Attendee, Present, Sheet, Turn};
use lockgate_proto::convert::{decode_entry, encode_alarm_body};
use lockgate_proto::entry::{Alarm, AlarmKind, EntryBody};
use lockgate_proto::ids::{AgentName, InstanceId, UserName};

use super::agent::{Agent, NOON, assert_linked, log_of, room};
use super::{Keep, LEASE, World};
use crate::backbone::{Backbone, EntryKind, FeedItem, NewEntry};

type Made = Box<dyn World>;

fn user(name: &str) -> Attendee {
    Attendee::User(UserName::new(name).unwrap())
}

fn sheet(instance: u64, here: &[(&str, u32)]) -> Sheet {
    let here = here.iter().map(|(name, connections)| (user(name), *connections)).collect();
    Sheet { instance: InstanceId(instance), here, lease: LEASE }
}

async fn attend(backbone: &Arc<dyn Backbone>, sheet: &Sheet) {
    backbone.attend(&room("plant"), sheet).await.unwrap();
}

/// Names and numbers of connections.
async fn present(backbone: &Arc<dyn Backbone>) -> Vec<(String, u32)> {
    let present = backbone.present(&room("plant")).await.unwrap();
    present.into_iter().map(|Present { attendee, connections, .. }| (attendee.name().to_owned(), connections)).collect()
}

/// Who came and left, by the log.
async fn turns(backbone: &Arc<dyn Backbone>) -> Vec<(String, bool)> {
    let log = log_of(backbone, &room("plant")).await;
    assert_linked(&log);
    let turn = |body| match body {
        EntryBody::Attendance(Turn { who, here }) => Some((who.attendee.name().to_owned(), here)),
        _ => None,
    };
    log.iter().filter_map(|entry| turn(decode_entry(entry.bytes.clone()).unwrap().body)).collect()
}

fn owned<T: Copy>(pairs: &[(&str, T)]) -> Vec<(String, T)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
}

pub(crate) async fn coming_and_leaving_are_entries_told_once<F: Future<Output = Made>>(make: impl Fn(Keep) -> F) {
    let world = make(Keep::default()).await;
    let backbone = world.backbone();
    let mut feed = backbone.subscribe(&room("plant")).await.unwrap();
    attend(&backbone, &sheet(1, &[("ann", 1), ("bob", 3)])).await;
    attend(&backbone, &sheet(1, &[("ann", 1), ("bob", 3)])).await;
    assert_eq!(present(&backbone).await, owned(&[("ann", 1), ("bob", 3)]));
    attend(&backbone, &sheet(1, &[("bob", 1)])).await;
    assert_eq!(present(&backbone).await, owned(&[("bob", 1)]));
    assert_eq!(turns(&backbone).await, owned(&[("ann", true), ("bob", true), ("ann", false)]));
    let FeedItem::Entries(live) = feed.next().await else { panic!("nothing came") };
    assert_eq!(live[..], log_of(&backbone, &room("plant")).await[..2]);
    assert!(backbone.present(&room("other")).await.unwrap().is_empty());
}

pub(crate) async fn people_at_two_instances_are_counted_together<F: Future<Output = Made>>(make: impl Fn(Keep) -> F) {
    let world = make(Keep::default()).await;
    let backbone = world.backbone();
    attend(&backbone, &sheet(1, &[("ann", 1)])).await;
    attend(&backbone, &sheet(2, &[("ann", 2), ("bob", 1)])).await;
    assert_eq!(present(&backbone).await, owned(&[("ann", 3), ("bob", 1)]));
    // Going over from one instance to the other is no leaving.
    attend(&backbone, &sheet(1, &[])).await;
    assert_eq!(present(&backbone).await, owned(&[("ann", 2), ("bob", 1)]));
    assert_eq!(turns(&backbone).await, owned(&[("ann", true), ("bob", true)]));
}

pub(crate) async fn who_was_at_an_instance_that_died_leaves_after_the_lease<F: Future<Output = Made>>(
    make: impl Fn(Keep) -> F,
) {
    let mut world = make(Keep::default()).await;
    let backbone = world.backbone();
    attend(&backbone, &sheet(1, &[("ann", 1), ("bob", 1)])).await;
    // The second instance lives on, and says so three times a lease.
    let mut renewals = 0;
    while present(&backbone).await.len() > 1 || renewals == 0 {
        world.pass(LEASE / 3).await;
        attend(&backbone, &sheet(2, &[("bob", 1)])).await;
        backbone.expire_attendance().await.unwrap();
        renewals += 1;
        assert!(renewals < 100, "ann never left");
    }
    assert!(renewals >= 3, "ann left after {renewals} thirds of a lease");
    assert_eq!(turns(&backbone).await, owned(&[("ann", true), ("bob", true), ("ann", false)]));
    // The last instance dies too, and only the clock goes on.
    while !present(&backbone).await.is_empty() {
        world.pass(LEASE / 3).await;
        backbone.expire_attendance().await.unwrap();
        renewals += 1;
        assert!(renewals < 200, "bob never left");
    }
    assert_eq!(turns(&backbone).await.len(), 4);
}

pub(crate) async fn who_is_in_a_room_outlives_a_crash<F: Future<Output = Made>>(make: impl Fn(Keep) -> F) {
    let mut world = make(Keep::default()).await;
    attend(&world.backbone(), &sheet(1, &[("ann", 1)])).await;
    world.crash().await;
    let backbone = world.backbone();
    assert_eq!(present(&backbone).await, owned(&[("ann", 1)]));
    attend(&backbone, &sheet(2, &[("ann", 1)])).await;
    assert_eq!(turns(&backbone).await, owned(&[("ann", true)]));
}

pub(crate) async fn instances_that_speak_at_once_lose_nobody<F: Future<Output = Made>>(make: impl Fn(Keep) -> F) {
    let world = make(Keep::default()).await;
    let backbone = world.backbone();
    let mut instances = tokio::task::JoinSet::new();
    for instance in 0..4u64 {
        let backbone = backbone.clone();
        instances.spawn(async move {
            for round in 0..5u32 {
                let name = format!("user-{instance}");
                attend(&backbone, &sheet(instance, &[(&name, round + 1), ("everybody", 1)])).await;
            }
        });
    }
    instances.join_all().await;
    let all: Vec<(String, u32)> = present(&backbone).await;
    assert_eq!(all, owned(&[("everybody", 4), ("user-0", 5), ("user-1", 5), ("user-2", 5), ("user-3", 5)]));
    assert_eq!(turns(&backbone).await.len(), 5);
}

pub(crate) async fn entries_of_no_record_take_their_place_in_the_log<F: Future<Output = Made>>(
    make: impl Fn(Keep) -> F,
) {
    let world = make(Keep::default()).await;
    let backbone = world.backbone();
    let mut agent = Agent::open(&backbone, &room("plant"), "pi", 1).await;
    agent.store("pump", 2).await;
    let alarm = Alarm {
        kind: AlarmKind::AgentTwice,
        agent: Some(AgentName::new("pi").unwrap()),
        text: "two agents hold one identity".to_owned(),
    };
    let entry = NewEntry {
        received_at: NOON,
        origin: None,
        kind: EntryKind::Alarm,
        device: None,
        body: encode_alarm_body(&alarm),
        shadow: Vec::new(),
    };
    backbone.append(&room("plant"), &[entry]).await.unwrap();
    agent.store("pump", 1).await;
    let log = agent.log().await;
    assert_linked(&log);
    assert_eq!(log[2].kind, EntryKind::Alarm);
    assert_eq!(decode_entry(log[2].bytes.clone()).unwrap().body, EntryBody::Alarm(alarm));
    assert_eq!(log.len(), 4);
}
