//! What devices are: told by agents, kept, listed by tag, and told to those who may see the device.

use std::time::Duration;

use lockgate_proto::convert::description_from_wire;
use lockgate_proto::description::{ArgumentDescription, ArgumentKind, CommandDescription, Description};
use lockgate_proto::ids::{CommandName, DeviceName, FieldName, Tag};
use lockgate_proto::wire;
use lockgate_proto::wire::client_frame::Request;
use lockgate_proto::wire::entry::Body as EntryBody;
use lockgate_proto::wire::server_frame::Body;

use crate::agent::Agent;
use crate::client::{Client, live};
use crate::world::{SITE, World};

/// A device that can be told its speed, from 1 to 9.
pub(crate) fn described(device: &str, tags: &[&str]) -> Description {
    let speed = ArgumentDescription {
        name: FieldName::new("speed").unwrap(),
        label: None,
        unit: None,
        required: true,
        default: None,
        kind: ArgumentKind::Integer { min: Some(1), max: Some(9) },
    };
    let command = CommandDescription {
        name: CommandName::new("run").unwrap(),
        label: None,
        arguments: vec![speed],
        confirm: false,
        idempotent: false,
        at_once: 1,
        timeout: None,
    };
    let tags = tags.iter().map(|tag| Tag::new(tag).unwrap()).collect();
    Description::new(DeviceName::new(device).unwrap(), Vec::new(), vec![command], tags).unwrap()
}

fn describe(device: &str) -> Request {
    Request::DescribeDevice(wire::DescribeDevice { site: SITE.into(), device: device.into() })
}

async fn listed(client: &mut Client, tag: &str) -> Vec<String> {
    let list = wire::ListDevices { site: SITE.into(), tag: tag.into(), ..Default::default() };
    match client.ask(Request::ListDevices(list)).await {
        Body::DeviceList(list) => list.devices.into_iter().map(|device| device.device).collect(),
        other => panic!("no list: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_what_its_agent_says_and_is_found_by_its_tags() {
    let world = World::start();
    let (mut client, _) = Client::listening(&world, live()).await;
    let mut agent = Agent::connect(&world, "edge-1", 1).await;
    agent.describe(described("pump", &["wet", "hall 1"])).await;
    agent.describe(described("fan", &["hall 1"])).await;
    agent.publish_numbers("lamp", 1..=1).await;
    let told = client.entries(3).await;
    assert!(matches!(&told[0].body, Some(EntryBody::Description(told)) if told.device == "pump"));
    let Body::Description(reply) = client.ask(describe("pump")).await else { panic!("no description") };
    let kept = description_from_wire(reply.description.unwrap()).unwrap();
    assert_eq!(kept, described("pump", &["wet", "hall 1"]));
    let Body::Description(reply) = client.ask(describe("lamp")).await else { panic!("no answer") };
    assert_eq!(reply.description, None, "it is known, and was never described");
    assert_eq!(listed(&mut client, "hall 1").await, ["fan", "pump"]);
    assert_eq!(listed(&mut client, "wet").await, ["pump"]);
    assert_eq!(listed(&mut client, "").await, ["fan", "lamp", "pump"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_see_a_device_is_not_told_what_it_is() {
    let world = World::start();
    let mut agent = Agent::connect(&world, "edge-1", 1).await;
    agent.describe(described("pump", &["wet"])).await;
    agent.describe(described("fan", &["wet"])).await;
    let token = world.user_token("telemetry:read:plant/fan", Duration::from_secs(60));
    let mut part = Client::connect_as(&world, token).await;
    let refused = part.refused(describe("pump")).await;
    assert_eq!((refused.code(), refused.field.as_str()), (wire::ErrorCode::Forbidden, "describe_device.device"));
    assert_eq!(listed(&mut part, "wet").await, ["fan"]);
    let mut whole = Client::connect(&world).await;
    let unknown = whole.refused(describe("pmup")).await;
    assert_eq!((unknown.code(), unknown.field.as_str()), (wire::ErrorCode::NotFound, "describe_device.device"));
}
