//! Orders: taken once, told to who follows them, and only to who may.

use std::time::Duration;

use lockgate_proto::wire;
use lockgate_proto::wire::client_frame::Request;
use lockgate_proto::wire::send_command::Target;
use lockgate_proto::wire::server_frame::Body;

use crate::agent::Agent;
use crate::client::Client;
use crate::descriptions::described;
use crate::world::{SITE, World};

const ALL: [&str; 2] = ["telemetry:read:plant", "command:send:plant"];

async fn connect(world: &World, name: &str, scopes: &[&str]) -> Client {
    Client::connect_as(world, world.token_of(name, scopes, Duration::from_secs(60))).await
}

fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_micros()).unwrap()
}

fn order(id: &str, device: &str, ttl: Duration) -> wire::SendCommand {
    wire::SendCommand {
        site: SITE.into(),
        target: Some(Target::Device(device.into())),
        id: id.into(),
        name: "stop".into(),
        deadline_us: now() + i64::try_from(ttl.as_micros()).unwrap(),
        follow: true,
        ..wire::SendCommand::default()
    }
}

fn long(id: &str, device: &str) -> wire::SendCommand {
    order(id, device, Duration::from_secs(600))
}

/// The word of a state or outcome.
fn word(status: &wire::CommandStatus) -> &'static str {
    use wire::outcome::Kind;
    let now = status.now.as_ref().expect("it stands somewhere");
    match now.outcome.as_ref().and_then(|outcome| outcome.kind.as_ref()) {
        None => now.state().as_str_name(),
        Some(Kind::Succeeded(_)) => "succeeded",
        Some(Kind::Failed(_)) => "failed",
        Some(Kind::Expired(_)) => "expired",
        Some(Kind::Cancelled(_)) => "cancelled",
        Some(Kind::Interrupted(_)) => "interrupted",
    }
}

const ACCEPTED: &str = "COMMAND_STATE_ACCEPTED";

async fn status(client: &mut Client, request: Request) -> wire::CommandStatus {
    match client.ask(request).await {
        Body::Command(status) => status,
        other => panic!("a status was expected: {other:?}"),
    }
}

async fn group(client: &mut Client, request: Request) -> wire::GroupStatus {
    match client.ask(request).await {
        Body::Group(status) => status,
        other => panic!("a group was expected: {other:?}"),
    }
}

/// What comes next of what is followed.
async fn told(client: &mut Client) -> Body {
    loop {
        match client.hear().await {
            Body::Positions(_) => {}
            other => return other,
        }
    }
}

fn cancel(id: &str) -> Request {
    Request::CancelCommand(wire::CancelCommand { site: SITE.into(), id: id.into() })
}

fn get(id: &str) -> Request {
    Request::GetCommand(wire::GetCommand { site: SITE.into(), id: id.into(), follow: false })
}

fn list(limit: u32) -> wire::ListCommands {
    wire::ListCommands { site: SITE.into(), limit, ..wire::ListCommands::default() }
}

async fn listed(client: &mut Client, list: wire::ListCommands) -> (Vec<String>, String) {
    match client.ask(Request::ListCommands(list)).await {
        Body::CommandList(list) => (list.commands.into_iter().map(|one| one.command.unwrap().id).collect(), list.next),
        other => panic!("a list was expected: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_is_sent_again_is_the_same_and_everyone_who_follows_hears_its_end_once() {
    let world = World::start();
    let (mut ann, mut bob) = (connect(&world, "ann", &ALL).await, connect(&world, "bob", &ALL).await);
    let order = long("c", "pump");
    let first = status(&mut ann, Request::SendCommand(order.clone())).await;
    assert_eq!(word(&first), ACCEPTED);
    let command = first.command.clone().unwrap();
    assert_eq!((command.sender.as_str(), command.deadline_us), ("ann", order.deadline_us));
    assert_eq!(status(&mut ann, Request::SendCommand(order.clone())).await, first);
    let other = wire::SendCommand { name: "start".into(), ..order.clone() };
    let refused = ann.refused(Request::SendCommand(other)).await;
    assert_eq!((refused.code(), refused.field.as_str()), (wire::ErrorCode::Invalid, "send_command.id"));
    // It is another one if another person sends it.
    assert_eq!(bob.refused(Request::SendCommand(order)).await.field, "send_command.id");
    let followed = Request::GetCommand(wire::GetCommand { site: SITE.into(), id: "c".into(), follow: true });
    assert_eq!(status(&mut bob, followed).await, first);
    assert_eq!(word(&status(&mut bob, cancel("c")).await), "cancelled");
    for client in [&mut ann, &mut bob] {
        let Body::Command(end) = told(client).await else { panic!("its end") };
        assert_eq!((word(&end), end.command), ("cancelled", None));
        // Nothing comes after it: the answer is the next thing.
        assert_eq!(word(&status(client, get("c")).await), "cancelled");
        assert!(client.heard_nothing());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_waits_no_longer_than_its_deadline() {
    let world = World::start();
    let mut ann = connect(&world, "ann", &ALL).await;
    let answer = status(&mut ann, Request::SendCommand(order("c", "pump", Duration::from_millis(300)))).await;
    assert_eq!(word(&answer), ACCEPTED);
    let Body::Command(end) = told(&mut ann).await else { panic!("its end") };
    assert_eq!(word(&end), "expired");
    let late = ann.refused(Request::SendCommand(order("d", "pump", Duration::ZERO))).await;
    assert_eq!((late.code(), late.field.as_str()), (wire::ErrorCode::Invalid, "send_command.deadline_us"));
    assert!(late.message.contains("give a later one"), "{}", late.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_send_is_told_which_scope_it_needs_and_may_see_all_the_same() {
    let world = World::start();
    let mut ann = connect(&world, "ann", &ALL).await;
    let mut reader = connect(&world, "eve", &["telemetry:read:plant/pump"]).await;
    let mut sender = connect(&world, "joe", &["command:send:plant/pump"]).await;
    for device in ["pump", "fan"] {
        status(&mut ann, Request::SendCommand(long(device, device))).await;
    }
    let refused = reader.refused(Request::SendCommand(long("mine", "pump"))).await;
    assert_eq!((refused.code(), refused.field.as_str()), (wire::ErrorCode::Forbidden, "send_command.device"));
    assert!(refused.message.contains("command:send:SITE/DEVICE"), "{}", refused.message);
    assert_eq!(reader.refused(cancel("pump")).await.code(), wire::ErrorCode::Forbidden);
    assert_eq!(sender.refused(Request::SendCommand(long("mine", "fan"))).await.code(), wire::ErrorCode::Forbidden);
    let all = wire::SendCommand { target: Some(Target::All(wire::AllDevices {})), ..long("all", "") };
    assert_eq!(sender.refused(Request::SendCommand(all)).await.field, "send_command.all");
    for client in [&mut reader, &mut sender] {
        assert_eq!(word(&status(client, get("pump")).await), ACCEPTED);
        assert_eq!(client.refused(get("fan")).await.code(), wire::ErrorCode::NotFound, "that it is there is not told");
        assert_eq!(listed(client, list(0)).await, (vec!["pump".to_owned()], String::new()));
        let of_fan = wire::ListCommands { device: "fan".into(), ..list(0) };
        assert_eq!(client.refused(Request::ListCommands(of_fan)).await.field, "list_commands.device");
    }
    assert_eq!(word(&status(&mut sender, cancel("pump")).await), "cancelled");
    let mut stranger = connect(&world, "sue", &["command:send:ship"]).await;
    assert_eq!(stranger.refused(get("pump")).await.code(), wire::ErrorCode::Forbidden);
    assert_eq!(stranger.refused(Request::ListCommands(list(0))).await.field, "list_commands.site");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_has_the_devices_that_there_were_and_is_told_as_a_whole() {
    let world = World::start();
    let mut ann = connect(&world, "ann", &ALL).await;
    let send = wire::SendCommand { target: Some(Target::All(wire::AllDevices {})), ..long("g", "") };
    let none = ann.refused(Request::SendCommand(send.clone())).await;
    assert_eq!((none.code(), none.field.as_str()), (wire::ErrorCode::NotFound, "send_command.all"));
    let mut agent = Agent::connect(&world, "edge-1", 1).await;
    agent.publish_numbers("pump", 1..=1).await;
    agent.publish_numbers("fan", 2..=2).await;
    let queued = |commands| vec![wire::StateCount { state: "queued".into(), commands }];
    let first = group(&mut ann, Request::SendCommand(send.clone())).await;
    assert_eq!((first.members, first.over, first.counts.clone()), (2, 0, queued(2)));
    agent.publish_numbers("lift", 3..=3).await;
    let again = wire::SendCommand { answered: true, ..send };
    assert_eq!(group(&mut ann, Request::SendCommand(again)).await, first, "the lift came later");
    let of_group = wire::ListCommands { group: "g".into(), ..list(0) };
    let mut members = listed(&mut ann, of_group).await.0;
    members.sort();
    assert_eq!(members, ["g/fan", "g/pump"]);
    let cancelled = group(&mut ann, cancel("g")).await;
    assert_eq!((cancelled.members, cancelled.ended, cancelled.over), (2, 2, 2));
    loop {
        let Body::Group(told) = told(&mut ann).await else { panic!("the group") };
        assert_eq!((told.id.as_str(), told.members), ("g", 2));
        if told.over == 2 {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_names_those_that_have_it_and_whoever_may_not_send_to_all_of_them_sends_to_none() {
    let world = World::start();
    let mut ann = connect(&world, "ann", &ALL).await;
    let mut part = connect(&world, "joe", &["command:send:plant/fan"]).await;
    let mut agent = Agent::connect(&world, "edge-1", 1).await;
    agent.describe(described("pump", &["wet"])).await;
    agent.describe(described("fan", &["wet", "dry"])).await;
    let tagged = |id: &str, tag: &str| {
        let run = wire::Field {
            name: "speed".into(),
            value: Some(wire::Value { kind: Some(wire::value::Kind::Integer(3)) }),
        };
        let target = Some(Target::Tag(tag.into()));
        Request::SendCommand(wire::SendCommand { target, name: "run".into(), arguments: vec![run], ..long(id, "") })
    };
    assert_eq!(group(&mut ann, tagged("g", "wet")).await.members, 2);
    assert_eq!(group(&mut part, tagged("h", "dry")).await.members, 1);
    let refused = part.refused(tagged("i", "wet")).await;
    assert_eq!((refused.code(), refused.field.as_str()), (wire::ErrorCode::Forbidden, "send_command.tag"));
    assert!(!refused.message.contains("pump"), "{}", refused.message);
    assert_eq!(ann.refused(tagged("j", "hot")).await.code(), wire::ErrorCode::NotFound);
    assert_eq!(listed(&mut ann, wire::ListCommands { device: "pump".into(), ..list(0) }).await.0, ["g/pump"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_comes_in_pages_and_by_what_is_wanted() {
    let world = World::start();
    let mut ann = connect(&world, "ann", &ALL).await;
    for id in ["a", "b", "c", "d", "e"] {
        status(&mut ann, Request::SendCommand(wire::SendCommand { follow: false, ..long(id, "pump") })).await;
    }
    status(&mut ann, cancel("b")).await;
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let (ids, next) = listed(&mut ann, wire::ListCommands { after, ..list(2) }).await;
        assert!(ids.len() <= 2);
        all.extend(ids);
        after = next;
        if after.is_empty() {
            break;
        }
    }
    assert_eq!(all, ["e", "d", "c", "b", "a"]);
    let by = |state: &str| wire::ListCommands { state: state.into(), ..list(0) };
    assert_eq!(listed(&mut ann, by("cancelled")).await.0, ["b"]);
    assert_eq!(listed(&mut ann, by("open")).await.0, ["e", "d", "c", "a"]);
    assert_eq!(ann.refused(Request::ListCommands(by("done"))).await.field, "list_commands.state");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_followed_no_more_is_not_told() {
    let world = World::start();
    let mut ann = connect(&world, "ann", &ALL).await;
    let unfollow = |id: &str| Request::UnfollowCommand(wire::UnfollowCommand { site: SITE.into(), id: id.into() });
    for id in ["a", "b"] {
        status(&mut ann, Request::SendCommand(long(id, "pump"))).await;
    }
    assert!(matches!(ann.ask(unfollow("a")).await, Body::Unfollowed(_)));
    assert_eq!(ann.refused(unfollow("a")).await.code(), wire::ErrorCode::NotFound);
    let mut bob = connect(&world, "bob", &ALL).await;
    for id in ["a", "b"] {
        status(&mut bob, cancel(id)).await;
    }
    let Body::Command(end) = told(&mut ann).await else { panic!("an end") };
    assert_eq!(end.now.unwrap().id, "b");
}
