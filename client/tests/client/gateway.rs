//! A gateway that does what a test's script says.

use lockgate_client::{ClientOptions, GatewayUrl, TokenSource};
use lockgate_proto::wire;
use lockgate_proto::wire::client_frame::Request;
use lockgate_proto::wire::server_frame::Body;
use lockgate_runtime::link::{Link, LinkOptions, Received};
use prost::Message as _;
use tokio::net::TcpListener;

pub(crate) struct Script {
    listener: TcpListener,
    pub(crate) url: GatewayUrl,
}

impl Script {
    pub(crate) async fn new() -> Script {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap()).parse().unwrap();
        Script { listener, url }
    }

    pub(crate) fn options(&self, token: TokenSource) -> ClientOptions {
        ClientOptions::new(self.url.clone(), token)
    }

    /// Takes this one first, and goes to the other when it is not there.
    pub(crate) fn options_with(&self, other: &Script) -> ClientOptions {
        let token = TokenSource::Text("secret".to_owned());
        ClientOptions { other_urls: vec![other.url.clone()], ..self.options(token) }
    }

    /// Hangs up on whoever comes.
    pub(crate) async fn hang_up(&self) {
        loop {
            drop(self.listener.accept().await.unwrap());
        }
    }

    /// Takes the next connection, up to and with its first request; gives the token.
    pub(crate) async fn accept(&self) -> (Session, u32, String) {
        let tcp = self.listener.accept().await.unwrap().0;
        let link = Link::accept(tcp, "lockgate.client.v1", &LinkOptions::client_at_gateway()).await.unwrap();
        let mut session = Session { link };
        let (id, request) = session.request().await;
        let Request::Connect(connect) = request else { panic!("the first request is connect: {request:?}") };
        (session, id, connect.token)
    }

    /// Takes the next connection and lets it in.
    pub(crate) async fn let_in(&self) -> Session {
        let (mut session, id, _) = self.accept().await;
        session.say(id, Body::Connected(wire::Connected::default())).await;
        session
    }

    /// Takes the next connection, lets it in, and answers its subscription; gives what it asked for.
    pub(crate) async fn subscribed(&self, answer: wire::Subscribed) -> (Session, wire::Subscribe) {
        let mut session = self.let_in().await;
        let asked = session.subscribed(answer).await;
        (session, asked)
    }
}

pub(crate) struct Session {
    pub(crate) link: Link,
}

impl Session {
    pub(crate) async fn request(&mut self) -> (u32, Request) {
        let Received::Message(bytes) = self.link.receive().await.unwrap() else { panic!("a request") };
        let frame = wire::ClientFrame::decode(bytes).unwrap();
        (frame.id, frame.request.unwrap())
    }

    pub(crate) async fn say(&mut self, id: u32, body: Body) {
        let frame = wire::ServerFrame { id, body: Some(body) };
        self.link.send(frame.encode_to_vec().into()).await.unwrap();
    }

    pub(crate) async fn subscribed(&mut self, answer: wire::Subscribed) -> wire::Subscribe {
        let (id, request) = self.request().await;
        let Request::Subscribe(asked) = request else { panic!("a subscription: {request:?}") };
        self.say(id, Body::Subscribed(answer)).await;
        asked
    }

    pub(crate) async fn deliver(&mut self, entries: Vec<wire::Entry>) {
        self.say(0, Body::Delivery(wire::Delivery { site: SITE.to_owned(), entries })).await;
    }
}

pub(crate) const SITE: &str = "plant-1";

/// The stamp of an offset in one of a log's histories.
pub(crate) fn stamp(history: u64, offset: u64) -> u64 {
    if offset == 0 { 0 } else { history * 1_000_000 + offset }
}

pub(crate) fn position(history: u64, offset: u64) -> wire::Position {
    wire::Position { offset, stamp: stamp(history, offset) }
}

pub(crate) fn entry(history: u64, offset: u64) -> wire::Entry {
    let presence = wire::Presence { device: "pump-1".to_owned(), online: true, at_us: 1, ..Default::default() };
    wire::Entry {
        offset,
        stamp: stamp(history, offset),
        previous_stamp: stamp(history, offset - 1),
        body: Some(wire::entry::Body::Presence(presence)),
        ..wire::Entry::default()
    }
}

/// "From here on, and nothing is missing."
pub(crate) fn from_here(history: u64, offset: u64) -> wire::Subscribed {
    let position = Some(position(history, offset));
    wire::Subscribed { site: SITE.to_owned(), position, recovered: true, ..wire::Subscribed::default() }
}
