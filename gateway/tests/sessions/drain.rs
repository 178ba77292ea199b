//! An instance that leaves on purpose says so to everyone, and is gone in time.

use std::time::Duration;

use lockgate_proto::link::close::CloseCode;
use lockgate_proto::link::frame::GatewayFrame;
use lockgate_proto::reading::Value;
use lockgate_proto::wire::server_frame::Body;
use lockgate_runtime::dial::DialError;
use tokio::net::TcpStream;

use crate::agent::{self, Agent};
use crate::client::{Client, live};
use crate::world::{World, exchange};

const OTHER: &str = "ws://127.0.0.9:1";

/// One that knows another instance.
fn one_of_two(drain_timeout: Duration) -> World {
    let configure = |config: &mut lockgate_gateway::config::Config| {
        config.server.advertise = Some("ws://127.0.0.9:2".parse().unwrap());
        config.server.peers = vec![OTHER.parse().unwrap(), "ws://127.0.0.9:2".parse().unwrap()];
        config.server.drain_spread = Duration::from_millis(800);
        config.server.drain_timeout = drain_timeout;
    };
    World::with(configure, |it| it)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_sent_away_hears_when_to_come_back_and_where_to_go() {
    let world = one_of_two(Duration::from_secs(10));
    let mut agent = Agent::connect(&world, "edge-1", 1).await;
    let (mut client, _) = Client::listening(&world, live()).await;
    let said_to_both = async {
        let GatewayFrame::GoAway(to_agent) = agent.hear().await else { panic!("a GoAway") };
        let Body::GoAway(to_client) = client.hear().await else { panic!("a GoAway") };
        assert_eq!(
            (to_agent.gateways.as_slice(), &to_client.gateways),
            ([OTHER.to_owned()].as_slice(), &to_agent.gateways)
        );
        assert!(to_agent.reconnect_after < Duration::from_millis(800), "{to_agent:?}");
        assert!(to_client.reconnect_after_ms < 800, "{to_client:?}");
        assert_eq!(client.closed().await.code(), Some(CloseCode::ShuttingDown));
        // What is in flight when the agent hears of it is still stored and acknowledged.
        agent.publish("pump", [Value::Integer(1)]).await;
        agent.acknowledged().await;
        agent.link.close(CloseCode::ShuttingDown).await;
    };
    let (stopped, ()) = tokio::join!(world.stop(), said_to_both);
    assert!(stopped.stragglers.is_empty(), "{stopped:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_it_leaves_it_answers_probes_and_lets_nobody_in() {
    let world = one_of_two(Duration::from_secs(10));
    let mut agent = Agent::connect(&world, "edge-1", 1).await;
    let (listen, token, supervisor) = (world.bound.listen, world.agent_token("edge-2"), world.supervisor.clone());
    let metrics = world.bound.metrics;
    let probing = async {
        let GatewayFrame::GoAway(_) = agent.hear().await else { panic!("a GoAway") };
        let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: g\r\nconnection: close\r\n\r\n");
        let ready = exchange(listen, &get("/readyz")).await;
        assert!(ready.status == 503 && ready.body.contains("the gateway is stopping"), "{}", ready.body);
        assert_eq!(exchange(listen, &get("/healthz")).await.status, 200);
        assert_eq!(exchange(metrics, &get("/metrics")).await.status, 200);
        let refused = agent::dial_at(listen, Some(&token)).await;
        let Err(DialError::Refused { status: 503, retry_after, .. }) = refused else { panic!("nobody is let in") };
        assert_eq!(retry_after, Some(Duration::from_secs(1)));
        agent.link.close(CloseCode::ShuttingDown).await;
    };
    supervisor.stop("test");
    let (stopped, ()) = tokio::join!(world.stop(), probing);
    assert!(stopped.stragglers.is_empty(), "{stopped:?}");
    assert!(TcpStream::connect(listen).await.is_err(), "with the last session the listener goes");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_who_is_silent_holds_it_up_beyond_its_time() {
    let world = one_of_two(Duration::from_secs(4));
    // An agent that does not go, a client that shows no token, and a connection that asks nothing.
    let _agent = Agent::connect(&world, "edge-1", 1).await;
    let _client = Client::new(&world).await;
    let _stranger = TcpStream::connect(world.bound.listen).await.unwrap();
    let stopped = world.stop_within(Duration::from_secs(4)).await;
    assert!(stopped.stragglers.is_empty(), "{stopped:?}");
}
