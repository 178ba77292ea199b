//! The same sessions in JSON, as a tool without our types has them: texts written by hand, read as plain JSON.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use lockgate_proto::link::close::CloseCode;
use lockgate_proto::reading::Value as Reading;
use lockgate_proto::wire;
use lockgate_proto::wire::client_frame::Request;
use lockgate_proto::wire::server_frame::Body;
use lockgate_proto::wire::subscribe::Start;
use lockgate_runtime::link::{Closed, Link, MessageKind, Received};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::agent::{self, Agent};
use crate::client::{Client, dial_offering, live, subscribe};
use crate::world::{PATIENCE, World};

const JSON: &str = "lockgate.client.v1+json";

/// A client that knows JSON and nothing of ours.
struct Tool {
    link: Link,
    next_id: u32,
    heard: VecDeque<Value>,
}

impl Tool {
    async fn new(world: &World) -> Tool {
        let link = dial_offering(world, JSON, MessageKind::Text).await;
        Tool { link, next_id: 1, heard: VecDeque::new() }
    }

    async fn connect(world: &World) -> Tool {
        let mut tool = Tool::new(world).await;
        let connected = tool.ask("connect", json!({ "token": world.token(), "client": "tool" })).await;
        assert_eq!(
            (&connected["connected"]["subject"], &connected["connected"]["tenant"]),
            (&json!("ann"), &json!("home"))
        );
        tool
    }

    async fn send(&mut self, text: &str) {
        self.link.send(Bytes::copy_from_slice(text.as_bytes())).await.unwrap();
    }

    /// Asks, and gives the frame that answers.
    async fn ask(&mut self, request: &str, body: Value) -> Value {
        let id = self.next_id;
        self.next_id += 1;
        self.send(&json!({ "id": id, request: body }).to_string()).await;
        loop {
            let frame = self.frame().await;
            if frame["id"] == id {
                return frame;
            }
            self.heard.push_back(frame);
        }
    }

    async fn frame(&mut self) -> Value {
        match timeout(PATIENCE, self.link.receive()).await.expect("the gateway says something").unwrap() {
            Received::Message(text) => serde_json::from_slice(&text).unwrap(),
            Received::Closed(closed) => panic!("the gateway closed: {closed}"),
        }
    }

    /// The next frame that nobody asked for.
    async fn hear(&mut self) -> Value {
        match self.heard.pop_front() {
            Some(frame) => frame,
            None => self.frame().await,
        }
    }

    async fn entries(&mut self, count: usize) -> Vec<Value> {
        let mut entries = Vec::new();
        while entries.len() < count {
            let frame = self.hear().await;
            entries.extend(frame["delivery"]["entries"].as_array().cloned().unwrap_or_default());
        }
        entries
    }

    async fn closed(mut self) -> Closed {
        agent::closed(&mut self.link).await
    }
}

/// Offsets as they are written: 64-bit numbers are strings.
fn offsets(entries: &[Value]) -> Vec<&str> {
    entries.iter().map(|entry| entry["offset"].as_str().expect("a string")).collect()
}

fn numbers(range: std::ops::RangeInclusive<u64>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_entries_and_the_live_ones_are_told_in_json() {
    let world = World::start();
    let mut agent = Agent::connect(&world, "edge-1", 1).await;
    agent.publish_numbers("pump", 1..=5).await;
    let mut tool = Tool::connect(&world).await;
    let subscribed = tool.ask("subscribe", json!({ "site": "plant", "last": 2, "snapshot": true })).await;
    let subscribed = &subscribed["subscribed"];
    assert_eq!((&subscribed["site"], &subscribed["position"]["offset"]), (&json!("plant"), &json!("3")));
    assert_eq!(subscribed["snapshot"][0]["metrics"][0]["value"], json!({ "integer": "5" }));
    agent.publish_numbers("pump", 6..=7).await;
    let entries = tool.entries(4).await;
    assert_eq!(offsets(&entries), numbers(4..=7));
    assert!(entries.windows(2).all(|pair| pair[1]["previousStamp"] == pair[0]["stamp"]), "{entries:?}");
    assert_eq!(
        entries[3]["telemetry"],
        json!({
            "device": "pump",
            "metrics": [{ "name": "level", "unit": "m" }],
            "baseTimeUs": "1750000000000000",
            "values": [{ "integer": "7" }],
        })
    );
    assert_eq!(entries[3]["origin"]["lane"], "LANE_TELEMETRY");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_as_it_was_told_is_where_one_goes_on() {
    let world = World::start();
    let mut agent = Agent::connect(&world, "edge-1", 1).await;
    let mut tool = Tool::connect(&world).await;
    tool.ask("subscribe", json!({ "site": "plant" })).await;
    agent.publish_numbers("pump", 1..=10).await;
    let seen = tool.entries(10).await;
    drop(tool);
    agent.publish_numbers("pump", 11..=700).await;
    let since = json!({ "offset": seen[5]["offset"], "stamp": seen[5]["stamp"] });
    let mut tool = Tool::connect(&world).await;
    let subscribed = tool.ask("subscribe", json!({ "site": "plant", "since": since })).await;
    assert_eq!((&subscribed["subscribed"]["recovered"], &subscribed["subscribed"]["position"]), (&json!(true), &since));
    agent.publish_numbers("pump", 701..=710).await;
    assert_eq!(offsets(&tool.entries(704).await), numbers(7..=710));

    let elsewhere = json!({ "offset": "3", "stamp": "12345" });
    let lost = tool.ask("subscribe", json!({ "site": "plant", "since": elsewhere })).await;
    assert_eq!(lost["subscribed"]["reason"], "NOT_RECOVERED_DIVERGED");
    assert_eq!(lost["subscribed"]["recovered"], Value::Null, "what is false is left out");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_leaves_out_other_devices_live_and_from_the_log() {
    let world = World::start();
    let mut agent = Agent::connect(&world, "edge-1", 1).await;
    agent.publish_numbers("fan", 1..=1).await;
    agent.publish_numbers("pump", 2..=700).await;
    let mut tool = Tool::connect(&world).await;
    let request = json!({ "site": "plant", "filter": { "devices": ["fan"] }, "since": { "offset": "0" } });
    assert_eq!(tool.ask("subscribe", request).await["subscribed"]["filtered"], true);
    assert_eq!(offsets(&tool.entries(1).await), ["1"]);
    let positions = tool.hear().await;
    assert_eq!(positions["positions"]["positions"][0]["position"]["offset"], "700", "{positions}");
    // One batch of both, of which a part is wanted.
    agent.publish("pump", [Reading::Integer(701)]).await;
    agent.publish_numbers("fan", 702..=703).await;
    let entries = tool.entries(2).await;
    assert_eq!(offsets(&entries), numbers(702..=703));
    assert!(entries.iter().all(|entry| entry["telemetry"]["device"] == "fan"), "{entries:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn kinds_and_metrics_are_named_in_json() {
    let world = World::start();
    let mut agent = Agent::connect(&world, "edge-1", 1).await;
    let mut tool = Tool::connect(&world).await;
    let filter = json!({ "kinds": ["ENTRY_KIND_TELEMETRY"], "metrics": ["flow"] });
    assert_eq!(
        tool.ask("subscribe", json!({ "site": "plant", "filter": filter })).await["subscribed"]["filtered"],
        true
    );
    agent.publish_metrics("pump", &["level", "flow"], 1).await;
    agent.lose_next().await;
    agent.publish_metrics("pump", &["level"], 3).await;
    agent.publish_metrics("pump", &["flow"], 4).await;
    let entries = tool.entries(2).await;
    assert_eq!(offsets(&entries), ["1", "4"]);
    assert_eq!(entries[0]["telemetry"]["metrics"], json!([{ "name": "flow", "unit": "m" }]));
    // A word that a later version may know would otherwise be passed over, and all kinds would come.
    let filter = json!({ "kinds": ["ENTRY_KIND_OMEN"] });
    let refused = tool.ask("subscribe", json!({ "site": "plant", "filter": filter })).await;
    assert_eq!(refused["error"]["field"], "subscribe.filter.kinds");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_is_told_with_code_and_field() {
    let world = World::start();
    let mut tool = Tool::new(&world).await;
    let refused = tool.ask("connect", json!({ "token": "garbage" })).await;
    assert_eq!(refused["error"]["code"], "ERROR_CODE_UNAUTHENTICATED");
    assert_eq!(refused["error"]["field"], "connect.token");
    assert_eq!(tool.closed().await.code(), Some(CloseCode::Unauthorized));

    let mut tool = Tool::connect(&world).await;
    let unknown = tool.ask("getShadow", json!({ "site": "plant", "device": "fan" })).await;
    assert_eq!(
        (&unknown["error"]["code"], &unknown["error"]["field"]),
        (&json!("ERROR_CODE_NOT_FOUND"), &json!("get_shadow.device"))
    );
    let misspelt = tool.ask("subscirbe", json!({ "site": "plant" })).await;
    assert_eq!(
        (&misspelt["error"]["code"], &misspelt["error"]["field"]),
        (&json!("ERROR_CODE_INVALID"), &json!("request"))
    );
    let forbidden = tool.ask("subscribe", json!({ "site": "elsewhere" })).await;
    assert_eq!(forbidden["error"]["code"], "ERROR_CODE_FORBIDDEN");
    assert_eq!(tool.ask("listDevices", json!({ "site": "plant" })).await["deviceList"]["site"], "plant", "it goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn text_that_is_no_frame_ends_the_session_and_the_reason_says_where() {
    let world = World::start();
    let mut stranger = Tool::new(&world).await;
    stranger.send("hello").await;
    let closed = stranger.closed().await;
    assert_eq!(closed.code(), Some(CloseCode::BadFrame));
    assert_eq!(closed.reason, "no ClientFrame in JSON: line 1, column 1: expected value");

    let mut tool = Tool::connect(&world).await;
    tool.send("{\"id\": 2,\n\"subscribe\": {\"site\": \"plant\", \"last\": \"many\"}}").await;
    let closed = tool.closed().await;
    assert_eq!(closed.code(), Some(CloseCode::BadFrame));
    assert!(closed.reason.starts_with("no ClientFrame in JSON: line 2, column 46, subscribe.last: "), "{closed}");
    assert!(world.figure("lockgate_gateway_frames_bad_total").await >= 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_the_wrong_kind_ends_the_session_and_the_reason_says_what_is_expected() {
    let world = World::start();
    for (subprotocol, sent, expected) in
        [(JSON, MessageKind::Binary, "text"), ("lockgate.client.v1", MessageKind::Text, "binary")]
    {
        let mut link = dial_offering(&world, subprotocol, sent).await;
        let connect = json!({ "id": 1, "connect": { "token": world.token() } }).to_string();
        link.send(connect.into()).await.unwrap();
        let closed = agent::closed(&mut link).await;
        assert_eq!(closed.code(), Some(CloseCode::BadFrame));
        assert!(closed.reason.contains(&format!("has {expected} messages only")), "{closed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_offers_both_gets_protobuf() {
    let world = World::start();
    for offer in ["lockgate.client.v1+json, lockgate.client.v1", "lockgate.client.v1,lockgate.client.v1+json"] {
        let mut client = Client::over(dial_offering(&world, offer, MessageKind::Binary).await);
        let connect = wire::Connect { token: world.token(), client: String::new() };
        let answer = client.ask(Request::Connect(connect)).await;
        assert!(matches!(answer, Body::Connected(_)), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_encodings_tell_the_same_of_every_kind_of_value() {
    let world = World::start();
    let mut agent = Agent::connect(&world, "edge-1", 1).await;
    let (mut client, _) = Client::listening(&world, live()).await;
    let mut tool = Tool::connect(&world).await;
    tool.ask("subscribe", json!({ "site": "plant", "live": {} })).await;
    let values = [
        Reading::Number(0.1),
        Reading::Number(-1.5e300),
        Reading::Number(21.5),
        Reading::Integer(i64::MIN),
        Reading::Flag(false),
        Reading::Text("a\"\n\u{1}ü".into()),
        Reading::Raw(vec![0, 255, 62].into()),
    ];
    let count = values.len();
    agent.publish("pump", values).await;
    agent.acknowledged().await;
    let told: Vec<wire::Entry> =
        tool.entries(count).await.into_iter().map(|entry| serde_json::from_value(entry).unwrap()).collect();
    assert_eq!(told, client.entries(count).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn shadows_that_fit_into_a_message_only_in_protobuf_are_refused_in_json() {
    let world = World::start();
    let mut agent = Agent::connect(&world, "edge-1", 1).await;
    for number in 0..20 {
        // Each of these characters takes six bytes in JSON.
        agent.publish(&format!("log-{number}"), [Reading::Text("\u{1}".repeat(40_000).into())]).await;
        agent.acknowledged().await;
    }
    let mut tool = Tool::connect(&world).await;
    let refused = tool.ask("subscribe", json!({ "site": "plant", "snapshot": true })).await;
    assert_eq!(
        (&refused["error"]["code"], &refused["error"]["field"]),
        (&json!("ERROR_CODE_LIMITED"), &json!("subscribe.snapshot"))
    );
    tool.ask("subscribe", json!({ "site": "plant", "last": 20 })).await;
    assert_eq!(offsets(&tool.entries(20).await), numbers(1..=20), "entries are cut to fit");
    let request = wire::Subscribe { snapshot: true, ..subscribe(Start::Live(wire::Live {})) };
    let (_client, subscribed) = Client::listening(&world, request).await;
    assert_eq!(subscribed.snapshot.len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_given_followed_and_taken_back() {
    let world = World::start();
    let mut tool = Tool::new(&world).await;
    let token = world.token_of("ann", &["command:send:plant"], Duration::from_secs(60));
    let connected = tool.ask("connect", json!({ "token": token, "client": "tool" })).await;
    let now: i64 = connected["connected"]["serverTimeUs"].as_str().unwrap().parse().unwrap();
    let deadline = (now + 600_000_000).to_string();
    let order = json!({
        "site": "plant", "device": "pump", "id": "c", "name": "set", "deadlineUs": deadline, "follow": true,
        "arguments": [{ "name": "level", "value": { "number": 1.5 } }],
    });
    let told = tool.ask("sendCommand", order.clone()).await;
    let status = &told["command"];
    assert_eq!(
        (&status["now"]["state"], &status["now"]["witness"]),
        (&json!("COMMAND_STATE_ACCEPTED"), &json!("WITNESS_GATEWAY"))
    );
    assert_eq!((&status["command"]["sender"], &status["command"]["deadlineUs"]), (&json!("ann"), &json!(deadline)));
    assert_eq!(tool.ask("sendCommand", order).await["command"], *status);
    let cancelled = tool.ask("cancelCommand", json!({ "site": "plant", "id": "c" })).await;
    assert_eq!(cancelled["command"]["now"]["outcome"], json!({ "cancelled": {} }));
    let told = loop {
        let frame = tool.hear().await;
        if frame["command"].is_object() {
            break frame;
        }
    };
    assert_eq!((&told["id"], &told["command"]["now"]["outcome"]), (&Value::Null, &json!({ "cancelled": {} })));
}
