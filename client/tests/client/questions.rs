//! Questions get typed answers or typed refusals.

use crate::gateway::{SITE, Script};
use lockgate_client::{Client, ClientError, ErrorCode, TokenSource};
use lockgate_proto::gap::GapReason;
use lockgate_proto::ids::{DeviceName, Site};
use lockgate_proto::reading::Value;
use lockgate_proto::wire;
use lockgate_proto::wire::client_frame::Request;
use lockgate_proto::wire::server_frame::Body;

fn token() -> TokenSource {
    TokenSource::Text(" secret\n".to_owned())
}

fn site() -> Site {
    Site::new(SITE).unwrap()
}

fn refusal(code: wire::ErrorCode) -> Body {
    let error = wire::Error { code: code.into(), message: "no".to_owned(), field: "x".to_owned(), retry_after_ms: 0 };
    Body::Error(error)
}

#[tokio::test]
async fn a_shadow_comes_with_its_values_and_stray_frames_disturb_nothing() {
    let script = Script::new().await;
    let serving = async {
        let (mut session, id, token) = script.accept().await;
        assert_eq!(token, "secret");
        session.say(id, Body::Connected(wire::Connected::default())).await;
        let (id, _) = session.request().await;
        session.say(0, Body::Positions(wire::Positions::default())).await;
        session.say(id + 7, refusal(wire::ErrorCode::Invalid)).await;
        let metric = wire::ShadowMetric {
            metric: Some(wire::Metric { name: "pressure".to_owned(), unit: "bar".to_owned() }),
            value: Some(wire::Value { kind: Some(wire::value::Kind::Number(1.5)) }),
            quality: None,
            sampled_at_us: 5,
            received_at_us: 6,
        };
        let shadow = wire::DeviceShadow {
            device: "pump-1".to_owned(),
            agent: "pi".to_owned(),
            metrics: vec![metric],
            ..wire::DeviceShadow::default()
        };
        session.say(id, Body::Shadow(wire::ShadowReply { shadow: Some(shadow), ..wire::ShadowReply::default() })).await;
    };
    let asking = async {
        let mut client = Client::connect(script.options(token())).await.unwrap();
        client.shadow(&site(), &DeviceName::new("pump-1").unwrap()).await.unwrap()
    };
    let ((), shadow) = tokio::join!(serving, asking);
    let reading = &shadow.metrics[0].reading;
    assert_eq!((reading.metric.as_str(), reading.unit.as_deref()), ("pressure", Some("bar")));
    assert_eq!((&reading.value, reading.sampled_at.0, shadow.last_seen), (&Value::Number(1.5), 5, None));
}

#[tokio::test]
async fn all_devices_come_however_many_pages_they_are() {
    let script = Script::new().await;
    let page = |names: &[&str], next: &str| {
        let device = |name: &&str| wire::DeviceSummary {
            device: (*name).to_owned(),
            agent: "pi".to_owned(),
            ..wire::DeviceSummary::default()
        };
        let devices = names.iter().map(device).collect();
        Body::DeviceList(wire::DeviceList { site: SITE.to_owned(), devices, next: next.to_owned() })
    };
    let serving = async {
        let mut session = script.let_in().await;
        let mut asked = Vec::new();
        for answer in [page(&["a", "b"], "b"), page(&[], "d"), page(&["e"], ""), page(&["a"], "a"), page(&[], "a")] {
            let (id, request) = session.request().await;
            let Request::ListDevices(list) = request else { panic!("a list was expected: {request:?}") };
            asked.push((list.after, list.limit > 0));
            session.say(id, answer).await;
        }
        asked
    };
    let asking = async {
        let mut client = Client::connect(script.options(token())).await.unwrap();
        (client.devices(&site()).await, client.devices(&site()).await)
    };
    let (asked, (all, turning)) = tokio::join!(serving, asking);
    let names: Vec<String> = all.unwrap().iter().map(|device| device.device.as_str().to_owned()).collect();
    assert_eq!(names, ["a", "b", "e"]);
    assert_eq!(asked[..3], [(String::new(), true), ("b".to_owned(), true), ("d".to_owned(), true)]);
    assert!(matches!(turning, Err(ClientError::WrongAnswer)), "a list that turns in a circle has no end");
}

#[tokio::test]
async fn losses_come_by_reason() {
    let script = Script::new().await;
    let serving = async {
        let mut session = script.let_in().await;
        let (id, _) = session.request().await;
        let lost = wire::LossByReason { reason: wire::GapReason::Power.into(), records: 3, unbounded: 1 };
        let agent = wire::AgentLoss {
            agent: "pi".to_owned(),
            produced: 10,
            stored: 7,
            lost: vec![lost],
            ..wire::AgentLoss::default()
        };
        session.say(id, Body::Loss(wire::LossReply { site: SITE.to_owned(), agents: vec![agent] })).await;
    };
    let asking = async {
        let mut client = Client::connect(script.options(token())).await.unwrap();
        client.loss(&site()).await.unwrap()
    };
    let ((), agents) = tokio::join!(serving, asking);
    let totals = &agents[0].totals;
    assert_eq!((totals.produced, totals.stored, totals.lost_to(GapReason::Power).records), (10, 7, 3));
    assert_eq!(totals.lost_sum().unbounded, 1);
}

#[tokio::test]
async fn a_refusal_keeps_its_kind_and_an_answer_to_something_else_is_none() {
    let script = Script::new().await;
    let serving = async {
        let mut session = script.let_in().await;
        let (id, _) = session.request().await;
        session.say(id, refusal(wire::ErrorCode::NotFound)).await;
        let (id, _) = session.request().await;
        session.say(id, Body::Loss(wire::LossReply::default())).await;
    };
    let asking = async {
        let mut client = Client::connect(script.options(token())).await.unwrap();
        (client.devices(&site()).await, client.devices(&site()).await)
    };
    let ((), (refused, wrong)) = tokio::join!(serving, asking);
    assert!(matches!(refused, Err(ClientError::Refused(refusal)) if refusal.code == ErrorCode::NotFound));
    assert!(matches!(wrong, Err(ClientError::WrongAnswer)));
}

#[tokio::test]
async fn a_bad_token_is_told_apart_from_a_gateway_that_is_not_there() {
    let script = Script::new().await;
    let serving = async {
        let (mut session, id, _) = script.accept().await;
        session.say(id, refusal(wire::ErrorCode::Unauthenticated)).await;
    };
    let ((), refused) = tokio::join!(serving, Client::connect(script.options(token())));
    assert!(refused.err().unwrap().is_unauthorized());
    let options = script.options(token());
    drop(script);
    assert!(Client::connect(options).await.err().unwrap().is_disconnected());
}
