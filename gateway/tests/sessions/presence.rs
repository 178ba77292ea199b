//! Who is in a room: told to those who watch, counted, and not to those who may see a part only.

use std::time::Duration;

use lockgate_proto::link::close::CloseCode;
use lockgate_proto::wire;
use lockgate_proto::wire::client_frame::Request;
use lockgate_proto::wire::entry::Body as EntryBody;
use lockgate_proto::wire::server_frame::Body;

use crate::agent::Agent;
use crate::client::{Client, live};
use crate::world::{SITE, World};

fn counting() -> World {
    World::with(
        |config| {
            config.presence.agents = true;
            config.presence.users = true;
        },
        |backbone| backbone,
    )
}

/// Who came or left, and what else.
fn turn(entry: &wire::Entry) -> Option<(String, bool)> {
    let Some(EntryBody::Attendance(turn)) = &entry.body else { return None };
    Some((turn.attendee.as_ref().unwrap().name.clone(), turn.here))
}

async fn present(client: &mut Client) -> Vec<(String, u32)> {
    match client.ask(Request::ListPresence(wire::ListPresence { site: SITE.into() })).await {
        Body::PresenceList(list) => {
            let one = |one: wire::Attendance| (one.attendee.unwrap().name, one.connections);
            list.attendees.into_iter().map(one).collect()
        }
        other => panic!("no list: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_and_people_who_come_are_told_and_listed_with_their_connections() {
    let world = counting();
    let (mut first, _) = Client::listening(&world, live()).await;
    assert_eq!(turn(&first.entries(1).await[0]), Some(("ann".to_owned(), true)));
    let (_second, _) = Client::listening(&world, live()).await;
    let _agent = Agent::connect(&world, "edge-1", 1).await;
    assert_eq!(turn(&first.entries(1).await[0]), Some(("edge-1".to_owned(), true)));
    // The second connection of one person is no entry; its count is there at the latest with the agent's.
    assert_eq!(present(&mut first).await, [("edge-1".to_owned(), 1), ("ann".to_owned(), 2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_listed_with_whether_its_agent_is_connected() {
    let world = counting();
    let (mut client, _) = Client::listening(&world, live()).await;
    client.entries(1).await;
    let mut agent = Agent::connect(&world, "edge-1", 1).await;
    agent.publish_numbers("pump", 1..=1).await;
    let mut came = false;
    while !came {
        came = client.entries(1).await.iter().any(|entry| turn(entry).is_some());
    }
    let Body::DeviceList(list) =
        client.ask(Request::ListDevices(wire::ListDevices { site: SITE.into(), ..Default::default() })).await
    else {
        panic!("no list");
    };
    assert_eq!(list.devices[0].agent_here, Some(true));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_see_a_part_of_the_site_is_not_told_who_is_there() {
    let world = counting();
    let (mut whole, _) = Client::listening(&world, live()).await;
    whole.entries(1).await;
    let token = world.user_token("telemetry:read:plant/pump", Duration::from_secs(60));
    let mut part = Client::connect_as(&world, token).await;
    part.subscribe(live()).await;
    let refused = part.refused(Request::ListPresence(wire::ListPresence { site: SITE.into() })).await;
    assert_eq!((refused.code(), refused.field.as_str()), (wire::ErrorCode::Forbidden, "list_presence.site"));
    let mut agent = Agent::connect(&world, "edge-1", 1).await;
    assert_eq!(turn(&whole.entries(1).await[0]), Some(("edge-1".to_owned(), true)));
    agent.publish_numbers("pump", 1..=1).await;
    // The next thing that it hears is the reading, though the agent's coming stands before it in the log.
    assert!(matches!(part.entries(1).await[0].body, Some(EntryBody::Telemetry(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_holder_of_an_identity_is_refused_and_the_room_is_told_once() {
    let world = counting();
    let (mut client, _) = Client::listening(&world, live()).await;
    client.entries(1).await;
    let _first = Agent::connect(&world, "edge-1", 1).await;
    let mut newer = Agent::dialled(&world, "edge-1", 2).await;
    newer.hello().await;
    newer.welcome().await;
    for _ in 0..3 {
        let mut copied = Agent::dialled(&world, "edge-1", 1).await;
        copied.hello().await;
        assert_eq!(copied.closed().await.code(), Some(CloseCode::AgentTwice));
    }
    newer.publish_numbers("pump", 1..=1).await;
    let mut alarms = Vec::new();
    let mut is_over = false;
    while !is_over {
        for entry in client.entries(1).await {
            match entry.body {
                Some(EntryBody::Alarm(alarm)) => alarms.push((alarm.kind(), alarm.agent)),
                Some(EntryBody::Telemetry(_)) => is_over = true,
                _ => {}
            }
        }
    }
    assert_eq!(alarms, [(wire::AlarmKind::AgentTwice, "edge-1".to_owned())]);
}
