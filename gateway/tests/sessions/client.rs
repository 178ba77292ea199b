//! A scripted client: asks, and keeps what it is told.

use std::collections::VecDeque;

use lockgate_proto::wire;
use lockgate_proto::wire::client_frame::Request;
use lockgate_proto::wire::server_frame::Body;
use lockgate_proto::wire::subscribe::Start;
use lockgate_runtime::dial::Dialer;
use lockgate_runtime::link::{Closed, Link, LinkOptions, MessageKind, Received};
use lockgate_runtime::tls::Trust;
use prost::Message;
use tokio::time::timeout;

use crate::agent;
use crate::world::{PATIENCE, SITE, World};

pub(crate) struct Client {
    pub(crate) link: Link,
    next_id: u32,
    /// What came and was not asked for, in order.
    heard: VecDeque<Body>,
}

pub(crate) async fn dial(world: &World) -> Link {
    dial_offering(world, "lockgate.client.v1", MessageKind::Binary).await
}

/// `subprotocols`: what the header says.
pub(crate) async fn dial_offering(world: &World, subprotocols: &'static str, messages: MessageKind) -> Link {
    let url = format!("ws://{}", world.bound.listen).parse().unwrap();
    let options = LinkOptions { messages, ..LinkOptions::client_at_client() };
    Dialer::new(url, "/v1/client", subprotocols, options, Trust::default()).unwrap().dial(None).await.unwrap()
}

pub(crate) fn subscribe(start: Start) -> wire::Subscribe {
    wire::Subscribe { site: SITE.into(), filter: None, start: Some(start), snapshot: false, conflate_ms: None }
}

pub(crate) fn live() -> wire::Subscribe {
    subscribe(Start::Live(wire::Live {}))
}

impl Client {
    pub(crate) async fn new(world: &World) -> Client {
        Client::over(dial(world).await)
    }

    /// Over a link that has agreed on Protobuf.
    pub(crate) fn over(link: Link) -> Client {
        Client { link, next_id: 1, heard: VecDeque::new() }
    }

    /// Connects with a token that sees the whole site.
    pub(crate) async fn connect(world: &World) -> Client {
        Client::connect_as(world, world.token()).await
    }

    pub(crate) async fn connect_as(world: &World, token: String) -> Client {
        let mut client = Client::new(world).await;
        match client.ask(Request::Connect(wire::Connect { token, client: "test".into() })).await {
            Body::Connected(_) => client,
            other => panic!("not connected: {other:?}"),
        }
    }

    /// Connects and listens.
    pub(crate) async fn listening(world: &World, request: wire::Subscribe) -> (Client, wire::Subscribed) {
        let mut client = Client::connect(world).await;
        let subscribed = client.subscribe(request).await;
        (client, subscribed)
    }

    pub(crate) async fn ask(&mut self, request: Request) -> Body {
        let id = self.next_id;
        self.next_id += 1;
        self.link.send(wire::ClientFrame { id, request: Some(request) }.encode_to_vec().into()).await.unwrap();
        loop {
            let frame = self.frame().await;
            let body = frame.body.unwrap();
            if frame.id == id {
                return body;
            }
            self.heard.push_back(body);
        }
    }

    pub(crate) async fn subscribe(&mut self, request: wire::Subscribe) -> wire::Subscribed {
        match self.ask(Request::Subscribe(request)).await {
            Body::Subscribed(subscribed) => subscribed,
            other => panic!("not subscribed: {other:?}"),
        }
    }

    pub(crate) async fn refused(&mut self, request: Request) -> wire::Error {
        match self.ask(request).await {
            Body::Error(error) => error,
            other => panic!("an error was expected: {other:?}"),
        }
    }

    async fn frame(&mut self) -> wire::ServerFrame {
        match timeout(PATIENCE, self.link.receive()).await.expect("the gateway says something").unwrap() {
            Received::Message(frame) => wire::ServerFrame::decode(frame).unwrap(),
            Received::Closed(closed) => panic!("the gateway closed: {closed}"),
        }
    }

    /// Whether nothing has come but what was asked for.
    pub(crate) fn heard_nothing(&self) -> bool {
        self.heard.is_empty()
    }

    /// The next thing that nobody asked for.
    pub(crate) async fn hear(&mut self) -> Body {
        match self.heard.pop_front() {
            Some(body) => body,
            None => self.frame().await.body.unwrap(),
        }
    }

    /// What came of an earlier subscription before the answer to the present one is none of its business.
    pub(crate) fn forget_heard(&mut self) {
        self.heard.clear();
    }

    /// The next entries, until there are so many.
    pub(crate) async fn entries(&mut self, count: usize) -> Vec<wire::Entry> {
        let mut entries = Vec::new();
        while entries.len() < count {
            match self.hear().await {
                Body::Delivery(delivery) => entries.extend(delivery.entries),
                Body::Positions(_) => {}
                other => panic!("entries were expected: {other:?}"),
            }
        }
        entries
    }

    pub(crate) async fn closed(mut self) -> Closed {
        agent::closed(&mut self.link).await
    }
}

pub(crate) fn offsets(entries: &[wire::Entry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.offset).collect()
}

pub(crate) fn position(entry: &wire::Entry) -> wire::Position {
    wire::Position { offset: entry.offset, stamp: entry.stamp }
}

/// The device and the number of an entry.
pub(crate) fn told(entry: &wire::Entry) -> (String, i64) {
    let Some(wire::entry::Body::Telemetry(telemetry)) = &entry.body else { panic!("no telemetry: {entry:?}") };
    let Some(wire::value::Kind::Integer(number)) = telemetry.values[0].kind else { panic!("no number: {entry:?}") };
    (telemetry.device.clone(), number)
}
