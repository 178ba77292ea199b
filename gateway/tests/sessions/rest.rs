//! Pages for people: the same answers as over the client link, and problems that name the field and the fix.

use std::time::Duration;

use serde_json::{Value, json};

use crate::agent::Agent;
use crate::descriptions::described;
use crate::world::{Answer, World};

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
