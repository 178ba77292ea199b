//! Pages for people: the same answers as over the client link, and problems that name the field and the fix.

use std::time::Duration;

use lockgate_gateway::config::Config;
use serde_json::{Value, json};

use crate::agent::Agent;
use crate::descriptions::described;
use crate::world::{Answer, World};

/// A token that sees and orders all of the site, of a person of this name.
fn operator(world: &World, name: &str) -> String {
    world.token_of(name, &["telemetry:read:plant", "command:send:plant"], Duration::from_secs(60))
}

async fn order(world: &World, token: &str, device: &str, key: &str, body: &Value) -> Answer {
    let headers =
        format!("authorization: Bearer {token}\r\ncontent-type: application/json\r\nidempotency-key: {key}\r\n");
    world.ask("POST", &format!("/v1/sites/plant/devices/{device}/commands"), &headers, &body.to_string()).await
}

/// The status, the field at fault and what is told of it.
fn problem(answer: &Answer) -> (u16, String, String) {
    assert!(answer.head.contains("content-type: application/problem+json"), "{}", answer.head);
    let problem = answer.json();
    assert_eq!(problem["status"], answer.status);
    let text = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
    (answer.status, text("field"), text("detail"))
}

fn offsets(history: &Value) -> Vec<&str> {
    history["entries"].as_array().unwrap().iter().map(|entry| entry["offset"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_are_listed_in_pages_and_told_one_by_one() {
    let world = World::start();
    let mut agent = Agent::connect(&world, "edge-1", 1).await;
    agent.describe(described("pump/1 a", &["wet"])).await;
    agent.publish_numbers("fan", 1..=3).await;
    agent.publish_numbers("pump/1 a", 7..=7).await;
    let token = world.token();
    let first = world.page("/v1/sites/plant/devices?limit=1", &token).await;
    assert!(first.head.contains("content-type: application/json"), "{}", first.head);
    let first = first.json();
    assert_eq!((&first["devices"][0]["device"], &first["next"]), (&json!("fan"), &json!("fan")));
    let rest = world.page("/v1/sites/plant/devices?after=fan", &token).await.json();
    assert_eq!(rest["devices"][0]["tags"], json!(["wet"]));
    assert!(rest["next"].is_null() && rest["devices"].as_array().unwrap().len() == 1, "{rest}");
    let tagged = world.page("/v1/sites/plant/devices?tag=wet", &token).await.json();
    assert_eq!(tagged, rest);
    let device = world.page("/v1/sites/plant/devices/pump%2F1%20a", &token).await.json();
    assert_eq!(device["shadow"]["metrics"][0]["value"], json!({ "integer": "7" }));
    assert_eq!(device["description"]["commands"][0]["name"], "run");
    assert!(world.page("/v1/sites/plant/devices/fan", &token).await.json()["description"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_read_to_its_end_in_stretches_and_by_filters() {
    let world = World::start();
    let mut agent = Agent::connect(&world, "edge-1", 1).await;
    agent.describe(described("pump", &[])).await;
    agent.publish_numbers("pump", 1..=4).await;
    agent.publish_metrics("fan", &["level", "heat"], 9).await;
    let token = world.token();
    let last = world.page("/v1/sites/plant/history?limit=2", &token).await.json();
    assert_eq!(offsets(&last), ["5", "6"]);
    let (mut after, mut read) = ("0.0".to_owned(), Vec::new());
    loop {
        let path = format!("/v1/sites/plant/history?after={after}&limit=4");
        let stretch = world.page(&path, &token).await.json();
        read.extend(offsets(&stretch).into_iter().map(str::to_owned));
        after = stretch["next"].as_str().unwrap().to_owned();
        if stretch["more"].is_null() {
            break;
        }
    }
    assert_eq!(read, ["1", "2", "3", "4", "5", "6"]);
    assert_eq!(after, last["next"].as_str().unwrap());
    let of = |words: &'static str| {
        let (world, token) = (&world, &token);
        async move { world.page(&format!("/v1/sites/plant/history?{words}"), token).await.json() }
    };
    assert_eq!(offsets(&of("device=fan").await), ["6"]);
    assert_eq!(offsets(&of("kind=description&kind=alarm").await), ["1"]);
    let heat = of("metric=heat&after=0.0").await;
    assert_eq!(
        heat["entries"].as_array().unwrap().last().unwrap()["telemetry"]["metrics"],
        json!([{ "name": "heat", "unit": "m" }])
    );
    agent.publish_numbers("pump", 5..=5).await;
    let news = world.page(&format!("/v1/sites/plant/history?after={after}"), &token).await.json();
    assert_eq!(offsets(&news), ["7"]);
    let gone = world.page("/v1/sites/plant/history?after=3.1234", &token).await;
    let (status, field, fix) = problem(&gone);
    assert!((status, field.as_str()) == (410, "after") && fix.contains("leave out `after`"), "{fix}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_told_by_its_field_with_what_mends_it() {
    let world = World::start();
    let mut agent = Agent::connect(&world, "edge-1", 1).await;
    agent.publish_numbers("fan", 1..=1).await;
    let (all, fan) = (world.token(), world.user_token("telemetry:read:plant/fan", Duration::from_secs(60)));
    let bare = world.ask("GET", "/v1/sites/plant/devices", "", "").await;
    assert!(bare.head.contains("www-authenticate: bearer"), "{}", bare.head);
    let (status, field, fix) = problem(&bare);
    assert!((status, field.as_str()) == (401, "authorization") && fix.contains("Bearer TOKEN"), "{fix}");
    assert_eq!(problem(&world.page("/v1/sites/plant/devices", "x.y.z").await).0, 401);
    assert_eq!(problem(&world.page("/v1/sites/plant/devices", &world.agent_token("edge-1")).await).0, 401);
    for (token, path, status, field) in [
        (&all, "/v1/sites/elsewhere/devices", 403, "site"),
        (&fan, "/v1/sites/plant/devices/pump", 403, "device"),
        (&fan, "/v1/sites/plant/history?device=pump", 403, "device"),
        (&fan, "/v1/sites/plant/presence", 403, "site"),
        (&fan, "/v1/sites/plant/loss", 403, "site"),
        (&all, "/v1/sites/plant/devices/pmup", 404, "device"),
        (&all, "/v1/sites/plant/devices?limit=0", 400, "limit"),
        (&all, "/v1/sites/plant/devices?limit=5000", 400, "limit"),
        (&all, "/v1/sites/plant/devices?limit=x", 400, "limit"),
        (&all, "/v1/sites/plant/devices?lmit=1", 400, "lmit"),
        (&all, "/v1/sites/plant/devices?after=%07", 400, "after"),
        (&all, "/v1/sites/a%07b/devices", 400, "site"),
        (&all, "/v1/sites/%ff/devices", 400, "path"),
        (&all, "/v1/sites/plant/history?after=7", 400, "after"),
        (&all, "/v1/sites/plant/history?kind=readings", 400, "kind"),
        (&all, "/v1/sites/plant/history?limit=1&limit=2", 400, "limit"),
    ] {
        let told = problem(&world.page(path, token).await);
        assert_eq!((told.0, told.1.as_str()), (status, field), "{path}: {}", told.2);
        assert!(!told.2.is_empty());
    }
    let posted = world.ask("POST", "/v1/sites/plant/devices", "", "").await;
    assert!(posted.head.contains("allow: get"), "{}", posted.head);
    assert_eq!(problem(&posted).0, 405);
    assert!(world.figure("lockgate_gateway_rest_requests_total").await >= 20.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_there_and_what_was_lost_is_told_to_those_who_may_see_the_site() {
    let world = World::with(|config| config.presence.agents = true, |backbone| backbone);
    let mut agent = Agent::connect(&world, "edge-1", 1).await;
    agent.publish_numbers("fan", 1..=3).await;
    let token = world.token();
    let loss = world.page("/v1/sites/plant/loss", &token).await.json();
    assert_eq!((&loss["agents"][0]["produced"], &loss["agents"][0]["stored"]), (&json!("3"), &json!("3")));
    let mut present = world.page("/v1/sites/plant/presence", &token).await.json();
    while present["attendees"].is_null() {
        present = world.page("/v1/sites/plant/presence", &token).await.json();
    }
    assert_eq!(present["attendees"][0]["attendee"]["name"], "edge-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_needs_no_token_and_is_openapi() {
    let world = World::start();
    let document = world.get("/v1/openapi.json").await.json();
    assert_eq!(document["openapi"], "3.1.0");
    assert!(document["paths"]["/v1/sites/{site}/devices"]["get"]["responses"]["200"].is_object());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_is_ordered_again_is_the_same_and_its_arguments_are_checked_once() {
    let world = World::start();
    let mut agent = Agent::connect(&world, "edge-1", 1).await;
    agent.describe(described("pump", &[])).await;
    let ann = operator(&world, "ann");
    let run = json!({ "name": "run", "arguments": { "speed": 3.0 }, "ttl": "10min" });
    let first = order(&world, &ann, "pump", "c%1", &run).await;
    assert_eq!(first.status, 202, "{}", first.body);
    assert!(first.head.contains("location: /v1/sites/plant/commands/c%251"), "{}", first.head);
    let status = first.json();
    assert_eq!(status["now"]["state"], "COMMAND_STATE_QUEUED");
    assert_eq!(status["command"]["arguments"], json!([{ "name": "speed", "value": { "integer": "3" } }]));
    // The span is counted from the first time.
    let again = order(&world, &ann, "pump", "c%1", &run).await;
    assert_eq!((again.status, again.json()), (202, status.clone()));
    assert_eq!(world.page("/v1/sites/plant/commands/c%251", &ann).await.json(), status);
    let other = json!({ "name": "run", "arguments": { "speed": 4 }, "ttl": "10min" });
    let (code, field, _) = problem(&order(&world, &ann, "pump", "c%1", &other).await);
    assert_eq!((code, field.as_str()), (409, "idempotency-key"));
    // It is described otherwise meanwhile: what was taken stays taken.
    let bare = lockgate_proto::description::Description::new(
        lockgate_proto::ids::DeviceName::new("pump").unwrap(),
        Vec::new(),
        Vec::new(),
        Vec::new(),
    );
    agent.describe(bare.unwrap()).await;
    assert_eq!(order(&world, &ann, "pump", "c%1", &run).await.json(), status);
    let (code, field, fix) = problem(&order(&world, &ann, "pump", "d", &run).await);
    assert_eq!((code, field.as_str(), fix.as_str()), (400, "name", "the device has no command run; it has none"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_an_order_is_told_by_its_field() {
    let world = World::start();
    let mut agent = Agent::connect(&world, "edge-1", 1).await;
    agent.describe(described("pump", &[])).await;
    let ann = operator(&world, "ann");
    let run = |arguments: Value| json!({ "name": "run", "arguments": arguments });
    for (device, key, body, status, field) in [
        ("pump", "a", run(json!({ "speed": 10 })), 400, "arguments.speed"),
        ("pump", "a", run(json!({})), 400, "arguments.speed"),
        ("pump", "a", run(json!({ "speed": 1, "deep": true })), 400, "arguments.deep"),
        ("pump", "a", run(json!({ "speed": null })), 400, "arguments.speed"),
        ("pump", "a", json!({ "name": "fly" }), 400, "name"),
        ("pump", "a", json!({ "name": "" }), 400, "name"),
        ("pump", "a", json!({}), 400, ""),
        ("pump", "a", json!([]), 400, ""),
        ("pump", "a/b", json!({ "name": "stop" }), 400, "idempotency-key"),
        ("fan", "a", json!({ "name": "stop", "ttl": "8d" }), 400, "deadlineUs"),
        ("fan", "a", json!({ "name": "stop", "ttl": "soon" }), 400, "ttl"),
        ("fan", "a", json!({ "name": "stop", "deadlineUs": "1" }), 400, "deadlineUs"),
        ("fan", "a", json!({ "name": "stop", "priority": "urgent" }), 400, "priority"),
        ("fan%07", "a", json!({ "name": "stop" }), 400, "device"),
    ] {
        let told = problem(&order(&world, &ann, device, key, &body).await);
        assert_eq!((told.0, told.1.as_str()), (status, field), "{body}: {}", told.2);
    }
    let told = problem(&order(&world, &ann, "pump", "a", &run(json!({ "speed": 10 }))).await);
    assert_eq!(told.2, "speed is 10; it may be a whole number from 1 to 9");
    let (status, field, fix) = problem(&order(&world, &world.token(), "fan", "a", &json!({ "name": "stop" })).await);
    assert!((status, field.as_str()) == (403, "device") && fix.contains("command:send:"), "{fix}");
    let page = "/v1/sites/plant/devices/fan/commands";
    let token = format!("authorization: Bearer {ann}\r\n");
    let json = format!("{token}content-type: application/json\r\n");
    assert_eq!(problem(&world.ask("POST", page, &json, "{}").await).1, "idempotency-key");
    let keyed = format!("{token}idempotency-key: a\r\n");
    assert_eq!(problem(&world.ask("POST", page, &keyed, "{}").await).0, 415);
    let keyed = format!("{json}idempotency-key: a\r\n");
    let large = json!({ "name": "x".repeat(70_000) }).to_string();
    assert_eq!(problem(&world.ask("POST", page, &keyed, &large).await).0, 413);
    assert_eq!(problem(&world.page("/v1/sites/plant/commands/a", &ann).await).0, 404);
    assert_eq!(problem(&world.page("/v1/sites/plant/commands/a?wait=31s", &ann).await).1, "wait");
    assert_eq!(problem(&world.page("/v1/sites/plant/commands?state=stuck", &ann).await).1, "state");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_command_is_answered_when_it_has_ended() {
    let world = World::start();
    let ann = operator(&world, "ann");
    for id in ["c", "d"] {
        assert_eq!(order(&world, &ann, "pump", id, &json!({ "name": "stop", "ttl": "10min" })).await.status, 202);
    }
    let unmet = world.page("/v1/sites/plant/commands/c?wait=1ms", &ann).await.json();
    assert_eq!(unmet["now"]["state"], "COMMAND_STATE_ACCEPTED");
    let token = format!("authorization: Bearer {ann}\r\n");
    let waiting = world.page("/v1/sites/plant/commands/c?wait=30s", &ann);
    let cancelling = world.ask("POST", "/v1/sites/plant/commands/c/cancel", &token, "");
    let (waited, cancelled) = tokio::join!(waiting, cancelling);
    assert_eq!(cancelled.json()["now"]["outcome"], json!({ "cancelled": {} }));
    assert_eq!(waited.json(), cancelled.json());
    let open = world.page("/v1/sites/plant/commands?state=open", &ann).await.json();
    assert_eq!(open["commands"][0]["command"]["id"], "d");
    let page = world.page("/v1/sites/plant/commands?limit=1", &ann).await.json();
    let next = page["next"].as_str().unwrap();
    let second = world.page(&format!("/v1/sites/plant/commands?limit=1&after={next}"), &ann).await.json();
    assert_eq!(
        (&page["commands"][0]["command"]["id"], &second["commands"][0]["command"]["id"]),
        (&json!("d"), &json!("c"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_where_the_api_is_served_and_nowhere_else() {
    for (words, status) in [("'api'", 401), ("'edge', 'client'", 404)] {
        let text = format!("[server]\nserve = [{words}]");
        let serve = Config::from_toml("gateway.toml", &text).unwrap().server.serve;
        let world = World::with(|config| config.server.serve = serve, |backbone| backbone);
        assert_eq!(world.get("/v1/sites/plant/devices").await.status, status, "{words}");
    }
}
