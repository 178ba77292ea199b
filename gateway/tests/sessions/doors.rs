//! Who is let in, who is not, and that strangers harm nobody.

use std::time::Duration;

use lockgate_gateway::config::Config;
use lockgate_proto::link::close::CloseCode;
use lockgate_proto::wire;
use lockgate_proto::wire::client_frame::Request;
use lockgate_runtime::dial::DialError;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::agent::{self, Agent};
use crate::client::{self, Client, live};
use crate::world::{PATIENCE, SITE, World, exchange};

#[tokio::test(flavor = "multi_thread")]
async fn probes_and_figures_are_served_and_unknown_pages_are_not() {
    let world = World::start();
    let health = world.get("/healthz").await;
    assert!(health.status == 200 && health.body.contains("\"ok\""), "{}", health.body);
    assert_eq!(world.get("/readyz").await.status, 200);
    assert_eq!(world.get("/nowhere").await.status, 404);
    let metrics = world.get("/metrics").await;
    // What it says is what the last gateway of this process found; see the test of the program.
    assert!(metrics.body.contains("lockgate_gateway_backbone_up "), "{}", metrics.body);
    let elsewhere = exchange(world.bound.listen, "GET /metrics HTTP/1.1\r\nhost: g\r\nconnection: close\r\n\r\n").await;
    assert_eq!(elsewhere.status, 404, "figures have a door of their own");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_is_none_is_refused_in_plain_words() {
    let world = World::start();
    let plain = world.get("/v1/edge").await;
    assert!(plain.status == 426 && plain.body.contains("WebSocket"), "{}", plain.body);
    let upgrade = |path: &str, protocol: &str| {
        format!(
            "GET {path} HTTP/1.1\r\nhost: g\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{protocol}\r\n"
        )
    };
    let request = upgrade("/v1/client", "connection: close\r\nsec-websocket-protocol: lockgate.edge.v1\r\n");
    let wrong = exchange(world.bound.listen, &request).await;
    assert_eq!(wrong.status, 400);
    let spoken = "speaks the subprotocol lockgate.client.v1 or lockgate.client.v1+json; the request offers";
    assert!(wrong.body.contains(spoken) && wrong.body.contains("lockgate.edge.v1"), "{}", wrong.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_without_a_good_token_of_its_own_stays_outside() {
    let world = World::start();
    for token in [None, Some("garbage".to_owned()), Some(world.token())] {
        let refused = agent::dial(&world, token.as_deref()).await;
        assert!(matches!(refused, Err(DialError::Refused { status: 401, .. })), "{token:?}");
    }
    let mut other = Agent::dialled(&world, "edge-1", 1).await;
    other.call_itself("edge-2");
    other.hello().await;
    let closed = other.closed().await;
    assert_eq!(closed.code(), Some(CloseCode::Unauthorized));
    assert_eq!(closed.reason, "agent.name is \"edge-2\", but the token is for \"edge-1\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_configured_for_another_site_than_its_tokens_is_told_and_closed() {
    let world = World::start();
    let mut right = Agent::dialled(&world, "edge-1", 1).await;
    right.place_itself(SITE);
    right.hello().await;
    right.welcome().await;
    let mut wrong = Agent::dialled(&world, "edge-2", 1).await;
    wrong.place_itself("plant-9");
    wrong.hello().await;
    let closed = wrong.closed().await;
    assert_eq!(closed.code(), Some(CloseCode::Unauthorized));
    assert!(closed.reason.starts_with("agent.site is \"plant-9\", but the token is for site"), "{closed}");
    assert!(closed.reason.ends_with("--site plant-9"), "{closed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_a_good_token_is_told_and_closed() {
    let world = World::with(|config| config.auth.timeout = Duration::from_secs(1), |it| it);
    let connect = |token: String| Request::Connect(wire::Connect { token, client: String::new() });
    let requests = [connect("garbage".into()), connect(world.agent_token("edge-1")), Request::Subscribe(live())];
    for request in requests {
        let mut client = Client::new(&world).await;
        let error = client.refused(request).await;
        assert_eq!(error.code(), wire::ErrorCode::Unauthenticated);
        assert_eq!(client.closed().await.code(), Some(CloseCode::Unauthorized));
    }
    let silent = Client::new(&world).await;
    assert_eq!(silent.closed().await.code(), Some(CloseCode::Unauthorized));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_with_its_token() {
    let world = World::start();
    let token = world.user_token("telemetry:read:plant/*", Duration::from_secs(2));
    let client = Client::connect_as(&world, token).await;
    let closed = client.closed().await;
    assert_eq!(closed.code(), Some(CloseCode::Unauthorized));
    assert!(closed.reason.contains("expired"), "{closed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_a_request_byte_by_byte_is_cut_and_holds_up_nobody() {
    let world = World::with(
        |config| {
            config.server.first_request_timeout = Duration::from_secs(1);
            config.server.unauthenticated_max = 3;
        },
        |it| it,
    );
    let mut slow = Vec::new();
    for text in ["", "G", "GET /healthz HTTP/1.1\r\nx: "] {
        let mut stream = TcpStream::connect(world.bound.listen).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    // All places of strangers are taken until the first of them is cut, which none can put off.
    for mut stream in slow {
        let mut rest = Vec::new();
        let ended = timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "cut in time");
    }
    assert_eq!(world.get("/healthz").await.status, 200);
    assert!(world.figure("lockgate_gateway_connections_accepted_total").await >= 4.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_beyond_the_bound_are_refused_at_once_while_sessions_go_on() {
    let world = World::with(|config| config.server.unauthenticated_max = 1, |it| it);
    let mut agent = Agent::connect(&world, "edge-1", 1).await;
    let (mut client, _) = Client::listening(&world, live()).await;
    let _stranger = client::dial(&world).await;
    // Who has sent its request, who sends it late and who sends none: all of them can read the answer.
    assert_eq!(world.get("/healthz").await.status, 503);
    let mut refused = TcpStream::connect(world.bound.listen).await.unwrap();
    let mut answer = Vec::new();
    timeout(PATIENCE, refused.read_to_end(&mut answer)).await.unwrap().unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("retry-after: "), "{answer}");
    refused.write_all(b"GET /healthz HTTP/1.1\r\n\r\n").await.unwrap();
    assert!(matches!(agent::dial(&world, None).await, Err(DialError::Refused { status: 503, .. })));
    assert!(world.figure("lockgate_gateway_connections_refused_total").await >= 3.0);
    agent.publish_numbers("pump", 1..=1).await;
    assert_eq!(client.entries(1).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_takes_no_more_than_its_share_of_the_places() {
    let world = World::with(|config| config.server.unauthenticated_per_address_max = 2, |it| it);
    let mut half = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(world.bound.listen).await.unwrap();
        stream.write_all(b"GET /heal").await.unwrap();
        half.push(stream);
    }
    assert_eq!(world.get("/healthz").await.status, 503);
    let elsewhere = TcpSocket::new_v4().unwrap();
    elsewhere.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut elsewhere = elsewhere.connect(world.bound.listen).await.unwrap();
    elsewhere.write_all(b"GET /healthz HTTP/1.1\r\nhost: g\r\n\r\n").await.unwrap();
    let mut answer = [0; 12];
    timeout(PATIENCE, elsewhere.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    drop(half);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_got_a_page_keeps_no_place() {
    let world = World::with(|config| config.server.unauthenticated_max = 1, |it| it);
    let mut kept = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(world.bound.listen).await.unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: g\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        // It does not ask for the end, and is shown out all the same, long before it would be too old.
        timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"), "{answer}");
        kept.push(stream);
    }
}

/// Frames of garbage, and frames that are almost right.
fn garbage() -> Vec<Vec<u8>> {
    let mut runner = TestRunner::deterministic();
    let bytes = proptest::collection::vec(proptest::num::u8::ANY, 1..120);
    let mut frames: Vec<Vec<u8>> =
        (0..40).map(|_| bytes.new_tree(&mut runner).expect("any bytes can be drawn").current()).collect();
    let hello = [0x0a, 0x08, 0x0a, 0x06];
    frames.extend((0..8).map(|bit| [&hello[..], &[b'e' ^ (1 << bit); 6]].concat()));
    frames
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_ends_the_connection_it_came_on_and_nothing_else() {
    let world = World::start();
    let mut bystander = Agent::connect(&world, "edge-1", 1).await;
    let mut closed_bad = 0;
    for frame in garbage() {
        let mut link = agent::dial(&world, Some(&world.agent_token("edge-9"))).await.unwrap();
        link.send(frame.clone().into()).await.unwrap();
        // Whatever it was taken for, this is no frame.
        link.send(vec![0xff; 9].into()).await.unwrap();
        let closed = agent::closed(&mut link).await;
        closed_bad += i32::from(closed.code() == Some(CloseCode::BadFrame));

        let mut client = Client::connect(&world).await;
        client.link.send(frame.into()).await.unwrap();
        client.link.send(vec![0xff; 9].into()).await.unwrap();
        assert_eq!(client.closed().await.code(), Some(CloseCode::BadFrame));
    }
    assert!(closed_bad > 0, "a Hello in another's name may have ended some otherwise");
    assert!(world.figure("lockgate_gateway_frames_bad_total").await >= f64::from(closed_bad));
    assert!(world.figure("lockgate_gateway_sessions_panicked_total").await < 1.0);
    bystander.publish_numbers("pump", 1..=3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_serves_what_it_is_for_and_says_what_that_is() {
    let text = "[server]\nserve = ['client']";
    let serve = Config::from_toml("gateway.toml", text).unwrap().server.serve;
    let world = World::with(|config| config.server.serve = serve, |it| it);
    let refused = agent::dial(&world, Some(&world.agent_token("edge-1"))).await;
    let Err(DialError::Refused { status: 404, message, .. }) = refused else { panic!("agents are not served") };
    assert!(message.contains("clients (/v1/client)") && !message.contains("/v1/edge"), "{message}");
    Client::connect(&world).await;
    assert_eq!((world.get("/healthz").await.status, world.get("/readyz").await.status), (200, 200));
}
