//! From an agent through the backbone to clients, and on from where they were.

use lockgate_proto::link::close::CloseCode;
use lockgate_proto::reading::Value;
use lockgate_proto::wire;
use lockgate_proto::wire::client_frame::Request;
use lockgate_proto::wire::server_frame::Body;
use lockgate_proto::wire::subscribe::Start;

use crate::agent::Agent;
use crate::client::{Client, live, offsets, position, subscribe, told};
use crate::world::{SITE, World};

#[tokio::test(flavor = "multi_thread")]
async fn what_an_agent_publishes_is_acknowledged_and_reaches_every_listener() {
    let world = World::start();
    let (mut first, subscribed) = Client::listening(&world, live()).await;
    let (mut second, _) = Client::listening(&world, live()).await;
    assert_eq!(subscribed.position, Some(wire::Position::default()));
    let mut agent = Agent::connect(&world, "edge-1", 1).await;
    for number in 1..=20 {
        agent.publish("pump", [Value::Integer(number)]).await;
    }
    agent.acknowledged().await;
    for client in [&mut first, &mut second] {
        let entries = client.entries(20).await;
        assert_eq!(offsets(&entries), (1..=20).collect::<Vec<u64>>());
        assert_eq!(told(&entries[6]), ("pump".to_owned(), 7));
        let linked = entries.windows(2).all(|pair| pair[1].previous_stamp == pair[0].stamp);
        assert!(linked, "each entry names the one before it");
    }
    assert!(world.stop().await.stragglers.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_comes_back_goes_on_exactly_where_it_was() {
    let world = World::start();
    let mut agent = Agent::connect(&world, "edge-1", 1).await;
    let (mut client, _) = Client::listening(&world, live()).await;
    agent.publish_numbers("pump", 1..=10).await;
    let seen = client.entries(10).await;
    drop(client);
    agent.publish_numbers("pump", 11..=700).await;
    let since = position(&seen[5]);
    let (mut client, subscribed) = Client::listening(&world, subscribe(Start::Since(since))).await;
    assert!(subscribed.recovered && subscribed.position == Some(since), "{subscribed:?}");
    agent.publish_numbers("pump", 701..=710).await;
    let entries = client.entries(704).await;
    assert_eq!(offsets(&entries), (7..=710).collect::<Vec<u64>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_of_another_history_is_told_and_a_snapshot_comes_with_it() {
    let world = World::start();
    let mut agent = Agent::connect(&world, "edge-1", 1).await;
    agent.publish_numbers("pump", 1..=5).await;
    for (offset, stamp) in [(3, 12_345), (99, 1)] {
        let since = Start::Since(wire::Position { offset, stamp });
        let (client, subscribed) = Client::listening(&world, subscribe(since)).await;
        assert!(!subscribed.recovered);
        assert_eq!(subscribed.reason(), wire::NotRecovered::Diverged);
        assert_eq!(subscribed.position.unwrap().offset, 5);
        assert_eq!(subscribed.snapshot[0].device, "pump");
        client.link.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_entries_come_first_and_then_the_new_ones() {
    let world = World::start();
    let mut agent = Agent::connect(&world, "edge-1", 1).await;
    agent.publish_numbers("pump", 1..=30).await;
    let request = wire::Subscribe { snapshot: true, ..subscribe(Start::Last(4)) };
    let (mut client, subscribed) = Client::listening(&world, request).await;
    assert_eq!(subscribed.position.unwrap().offset, 26);
    assert_eq!(subscribed.snapshot.len(), 1);
    agent.publish_numbers("pump", 31..=32).await;
    assert_eq!(offsets(&client.entries(6).await), [27, 28, 29, 30, 31, 32]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_leaves_out_other_devices_and_positions_go_on_all_the_same() {
    let world = World::with(|config| config.client.ping_interval = std::time::Duration::from_secs(1), |it| it);
    let mut agent = Agent::connect(&world, "edge-1", 1).await;
    let filter = Some(wire::Filter { devices: vec!["fan".into()], ..Default::default() });
    let (mut client, subscribed) = Client::listening(&world, wire::Subscribe { filter, ..live() }).await;
    assert!(subscribed.filtered);
    agent.publish_numbers("pump", 1..=3).await;
    agent.publish_numbers("fan", 4..=4).await;
    agent.publish_numbers("pump", 5..=9).await;
    let entries = client.entries(1).await;
    assert_eq!((offsets(&entries), told(&entries[0])), (vec![4], ("fan".to_owned(), 4)));
    loop {
        if let Body::Positions(positions) = client.hear().await
            && positions.positions[0].position.unwrap().offset == 9
        {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_filters_hears_at_once_that_the_head_is_reached() {
    // Without pings of the gateway nothing else would tell.
    let world = World::with(|config| config.client.ping_interval = std::time::Duration::from_secs(3_600), |it| it);
    let mut agent = Agent::connect(&world, "edge-1", 1).await;
    agent.publish_numbers("pump", 1..=700).await;
    let filter = Some(wire::Filter { devices: vec!["fan".into()], ..Default::default() });
    let since = Start::Since(wire::Position::default());
    let (mut client, _) = Client::listening(&world, wire::Subscribe { filter, ..subscribe(since) }).await;
    let Body::Positions(told) = client.hear().await else { panic!("only a position can be told") };
    assert_eq!(told.positions.len(), 1);
    assert_eq!((told.positions[0].site.as_str(), told.positions[0].position.unwrap().offset), (SITE, 700));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_for_some_devices_shows_no_others() {
    let world = World::start();
    let mut agent = Agent::connect(&world, "edge-1", 1).await;
    let token = world.user_token("telemetry:read:plant/pump-*", std::time::Duration::from_secs(60));
    let mut client = Client::connect_as(&world, token).await;
    assert!(client.subscribe(live()).await.filtered);
    agent.publish_numbers("fan", 1..=1).await;
    agent.publish_numbers("pump-1", 2..=2).await;
    assert_eq!(told(&client.entries(1).await[0]), ("pump-1".to_owned(), 2));
    let Body::DeviceList(list) =
        client.ask(Request::ListDevices(wire::ListDevices { site: SITE.into(), ..Default::default() })).await
    else {
        panic!("a list was expected")
    };
    assert_eq!(list.devices.iter().map(|device| &device.device).collect::<Vec<_>>(), ["pump-1"]);
    let ask =
        |site: &str, device: &str| Request::GetShadow(wire::GetShadow { site: site.into(), device: device.into() });
    let forbidden = client.refused(ask(SITE, "fan")).await;
    assert_eq!((forbidden.code(), forbidden.field.as_str()), (wire::ErrorCode::Forbidden, "get_shadow.device"));
    assert_eq!(client.refused(ask("elsewhere", "fan")).await.field, "get_shadow.site");
    let loss = client.refused(Request::GetLoss(wire::GetLoss { site: SITE.into() })).await;
    assert_eq!((loss.code(), loss.field.as_str()), (wire::ErrorCode::Forbidden, "get_loss.site"));
    assert!(loss.message.contains("all of the site"), "{}", loss.message);
    let filter = Some(wire::Filter { devices: vec!["fan".into()], ..Default::default() });
    let named = client.refused(Request::Subscribe(wire::Subscribe { filter, ..live() })).await;
    assert_eq!((named.code(), named.field.as_str()), (wire::ErrorCode::Forbidden, "subscribe.filter.devices"));
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_are_listed_page_by_page_and_a_page_tells_of_no_others() {
    let world = World::start();
    let mut agent = Agent::connect(&world, "edge-1", 1).await;
    for at in 1..=5 {
        agent.publish_numbers(&format!("pump-{at}"), 1..=1).await;
        agent.publish_numbers(&format!("secret-{at}"), 1..=1).await;
    }
    let token = world.user_token("telemetry:read:plant/pump-*", std::time::Duration::from_secs(60));
    let mut client = Client::connect_as(&world, token).await;
    let (mut pages, mut after) = (Vec::new(), String::new());
    loop {
        let list = wire::ListDevices { site: SITE.into(), after, limit: 2, tag: String::new() };
        let Body::DeviceList(list) = client.ask(Request::ListDevices(list)).await else {
            panic!("a list was expected")
        };
        pages.push(list.devices.into_iter().map(|device| device.device).collect::<Vec<_>>());
        if list.next.is_empty() {
            break;
        }
        after = list.next;
    }
    assert_eq!(pages, [vec!["pump-1", "pump-2"], vec!["pump-3", "pump-4"], vec!["pump-5"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_lost_its_place_goes_on_even_where_the_shadows_fit_into_no_message() {
    let world = World::start();
    let mut agent = Agent::connect(&world, "edge-1", 1).await;
    let text = Value::Text("x".repeat(250_000).into());
    for at in 0..18 {
        agent.publish(&format!("pump-{at}"), [text.clone()]).await;
        agent.acknowledged().await;
    }
    let mut client = Client::connect(&world).await;
    let snapshot = wire::Subscribe { snapshot: true, ..live() };
    let refused = client.refused(Request::Subscribe(snapshot.clone())).await;
    assert_eq!((refused.code(), refused.field.as_str()), (wire::ErrorCode::Limited, "subscribe.snapshot"));
    for asked in [false, true] {
        let start = Start::Since(wire::Position { offset: 7, stamp: 7 });
        let lost = client.subscribe(wire::Subscribe { snapshot: asked, ..subscribe(start) }).await;
        assert_eq!((lost.recovered, lost.reason()), (false, wire::NotRecovered::Diverged));
        assert_eq!((lost.snapshot.len(), lost.snapshot_left_out), (0, true));
        assert_eq!(lost.position.unwrap().offset, 18);
    }
    let filter = Some(wire::Filter { devices: vec!["pump-3".into()], ..Default::default() });
    let one = client.subscribe(wire::Subscribe { filter, ..snapshot }).await;
    assert_eq!((one.snapshot.len(), one.snapshot_left_out), (1, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_about_a_site_are_answered() {
    let world = World::start();
    let mut agent = Agent::connect(&world, "edge-1", 1).await;
    agent.publish_numbers("pump", 1..=7).await;
    let mut client = Client::connect(&world).await;
    let site = || SITE.to_owned();
    let shadow = client.ask(Request::GetShadow(wire::GetShadow { site: site(), device: "pump".into() })).await;
    let Body::Shadow(shadow) = shadow else { panic!("a shadow was expected: {shadow:?}") };
    let metric = &shadow.shadow.unwrap().metrics[0];
    assert_eq!(metric.value.clone().unwrap().kind, Some(wire::value::Kind::Integer(7)));
    assert_eq!(metric.metric.clone().unwrap().unit, "m");
    let loss = client.ask(Request::GetLoss(wire::GetLoss { site: site() })).await;
    let Body::Loss(loss) = loss else { panic!("a loss ledger was expected: {loss:?}") };
    assert_eq!((loss.agents[0].produced, loss.agents[0].stored, loss.agents[0].pending), (7, 7, 0));
    let unknown = client.refused(Request::GetShadow(wire::GetShadow { site: site(), device: "fan".into() })).await;
    assert_eq!((unknown.code(), unknown.field.as_str()), (wire::ErrorCode::NotFound, "get_shadow.device"));
    let nothing = client.refused(Request::Unsubscribe(wire::Unsubscribe { site: site() })).await;
    assert_eq!(nothing.code(), wire::ErrorCode::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_is_told_once_to_a_connection_and_not_at_all_after_it_left() {
    let world = World::start();
    let mut agent = Agent::connect(&world, "edge-1", 1).await;
    let (mut client, _) = Client::listening(&world, live()).await;
    client.subscribe(live()).await;
    agent.publish_numbers("pump", 1..=2).await;
    assert_eq!(offsets(&client.entries(2).await), [1, 2]);
    let left = client.ask(Request::Unsubscribe(wire::Unsubscribe { site: SITE.into() })).await;
    assert!(matches!(left, Body::Unsubscribed(_)), "{left:?}");
    agent.publish_numbers("pump", 3..=3).await;
    let start = Start::Since(wire::Position::default());
    client.subscribe(subscribe(start)).await;
    assert_eq!(offsets(&client.entries(3).await), [1, 2, 3], "nothing came in between");
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_subscriptions_are_refused_by_a_plain_error() {
    let world = World::with(|config| config.client.subscriptions_max = 1, |it| it);
    let token = world.user_token("telemetry:read:*/*", std::time::Duration::from_secs(60));
    let mut client = Client::connect_as(&world, token).await;
    client.subscribe(live()).await;
    let other = Request::Subscribe(wire::Subscribe { site: "other".into(), ..live() });
    assert_eq!(client.refused(other).await.code(), wire::ErrorCode::Limited);
    client.subscribe(live()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_stops_says_goodbye_to_all_and_is_done_in_time() {
    let world = World::start();
    let mut agent = Agent::connect(&world, "edge-1", 1).await;
    let (client, _) = Client::listening(&world, live()).await;
    agent.publish_numbers("pump", 1..=3).await;
    let (stopped, agent_closed, client_closed) = tokio::join!(world.stop(), agent.closed(), client.closed());
    assert_eq!(client_closed.code(), Some(CloseCode::ShuttingDown));
    assert_eq!(agent_closed.code(), Some(CloseCode::ShuttingDown));
    assert!(stopped.stragglers.is_empty(), "{stopped:?}");
}
